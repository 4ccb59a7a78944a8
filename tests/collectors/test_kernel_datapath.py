"""What the kernel counts comes from the kernel, once, and from elsewhere only what it does not."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agent.collectors import conntrack, conntrack_zone, datapath, interface
from agent.collectors.base import Collector
from agent.errors import UnknownFactError
from agent.model.bridge import LOCAL, BridgeReading, PortStats
from agent.model.datapath import Conntrack, Datapath
from agent.model.kernel_datapath import KernelDatapath, Vport, ZoneLimit
from agent.model.link import FIELDS, LinkCounters
from agent.model.namespace import HOST, ConntrackTable
from agent.model.node import AgentFacts, Known, Node
from agent.model.switch import Bridge, Interface, Port, Switch
from tests.collectors.links import counted, link, namespaces, page
from tests.harness import Harness
from tests.page import Series, of

RX, UPCALLS = "ovs_interface_rx_packets_total", "ovs_interface_upcall_packets_total"
MISSED = "ovs_interface_rx_missed_errors_total"
SYSTEM, USERSPACE = "system@ovs-system", "netdev@ovs-netdev"
FROM_KERNEL, FROM_OPENFLOW = 1000, 2000


def vport(name: str, kind: str = "netdev", **others: Any) -> Vport:
    return Vport(name, kind, PortStats(9, rx_packets=FROM_KERNEL), **others)


def in_kernel(*vports: Vport, name: str = SYSTEM, **others: Any) -> KernelDatapath:
    return KernelDatapath(Datapath(name, hits=1, ports=len(vports)), vports, **others)


def known(**facts: Any) -> Node:
    named: dict[str, Any] = {name: Known(name, value) for name, value in facts.items()}
    return Node(AgentFacts("0", "0"), **named)


def switch(*interfaces: Interface, bridge: str = "br0", kind: str = "system") -> Switch:
    ports = tuple(Port(f"port-{each.name}", (each,)) for each in interfaces)
    return Switch(bridges=(Bridge(bridge, datapath_type=kind, ports=ports),))


def by_openflow(names: Mapping[int, str], bridge: str = "br0") -> dict[str, BridgeReading]:
    ports = {n: PortStats(n, rx_packets=FROM_OPENFLOW, rx_crc_errors=3) for n in names}
    return {bridge: BridgeReading(bridge, 0.001, (), ports, names)}


def both(interface_: Interface, *vports: Vport, kind: str = "system", **others: Any) -> Node:
    """Return a node where one interface has statistics by OpenFlow, and these ports exist."""
    number = interface_.openflow_port
    return known(
        switch=switch(interface_, kind=kind),
        bridges=by_openflow({} if number is None else {number: interface_.name}),
        kernel_datapaths=(in_kernel(*vports, **others),),
        namespaces={},
        link_counters=counted({}),
    )


def said(collector: Collector, node: Node) -> Series:
    return page(collector, node)


def received(node: Node) -> dict[str, float]:
    """Return received packets by interface; a series that stands there twice fails the test."""
    found = said(interface.COLLECTOR, node)
    return {dict(labels)["interface"]: n for (name, labels), n in found.items() if name == RX}


@pytest.mark.parametrize(
    ("kind", "in_the_kernel"), [("system", "netdev"), ("internal", "internal")]
)
def test_a_port_that_the_kernel_has_is_counted_by_the_kernel_alone(
    kind: str, in_the_kernel: str
) -> None:
    node = both(Interface("tap", type=kind, ofport=5), vport("tap", in_the_kernel))
    assert received(node) == {"tap": FROM_KERNEL}
    found = said(interface.COLLECTOR, node)
    labels = {"bridge": "br0", "port": "port-tap", "interface": "tap", "type": kind}
    assert of(found, RX, **labels) == [FROM_KERNEL]


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (Interface("vxlan_sys_4789", type="vxlan", ofport=5), vport("vxlan_sys_4789", "vxlan")),
        (Interface("vxlan_sys_4789", type="vxlan", ofport=5), vport("vxlan_sys_4789")),
        (Interface("patch", type="patch", ofport=5), vport("patch")),
        (Interface("tap", ofport=5), vport("other")),
        # Made anew with another type: the database and the kernel speak of two devices.
        (Interface("tap", type="internal", ofport=5), vport("tap", "netdev")),
    ],
)
def test_what_shares_a_port_in_the_kernel_or_has_none_stays_with_openflow(
    mine: Interface, theirs: Vport
) -> None:
    assert received(both(mine, theirs)) == {mine.name: FROM_OPENFLOW}


def test_a_bridge_on_the_userspace_datapath_stays_with_openflow() -> None:
    node = both(Interface("tap", ofport=5), vport("tap"), kind="netdev")
    assert received(node) == {"tap": FROM_OPENFLOW}


def test_another_datapath_of_the_kernel_is_not_the_switchs() -> None:
    node = both(Interface("tap", ofport=5), vport("tap"), name="system@mine")
    assert received(node) == {"tap": FROM_OPENFLOW}


def test_without_the_kernels_answer_all_comes_by_openflow() -> None:
    node = replace(both(Interface("tap", ofport=5)), kernel_datapaths=Known("kernel datapaths"))
    assert received(node) == {"tap": FROM_OPENFLOW}


def test_an_interface_that_could_not_be_opened_is_not_the_port_of_its_name() -> None:
    assert received(both(Interface("tap", error="in use"), vport("tap"))) == {}


def test_a_bridge_without_a_row_for_its_own_port_gets_one() -> None:
    node = known(
        switch=switch(),
        bridges=by_openflow({LOCAL: "br0"}),
        kernel_datapaths=(in_kernel(vport("br0", "internal")),),
        namespaces={},
        link_counters=counted({}),
    )
    found = said(interface.COLLECTOR, node)
    labels = {"bridge": "br0", "port": "br0", "interface": "br0", "type": "internal"}
    assert of(found, RX, **labels) == [FROM_KERNEL]
    assert received(node) == {"br0": FROM_KERNEL}


def test_errors_of_a_wire_still_come_by_openflow() -> None:
    node = both(Interface("eth0", ofport=5, driver="ixgbe"), vport("eth0"))
    found = said(interface.COLLECTOR, node)
    assert of(found, "ovs_interface_rx_crc_errors_total", interface="eth0") == [3]
    assert received(node) == {"eth0": FROM_KERNEL}


async def test_counters_keep_coming_while_ovs_vswitchd_does_not_answer() -> None:
    harness = Harness((interface.COLLECTOR,))
    node = both(Interface("tap", ofport=5), vport("tap", upcall_packets=7, upcall_errors=0))
    harness.fill(replace(node, bridges=Known("bridges")))
    found = await harness.series()
    assert of(found, RX) == [FROM_KERNEL]
    assert of(found, UPCALLS) == [7]
    assert of(found, "ovs_interface_upcall_errors_total") == [0]
    facts = await harness.facts()
    assert not facts["interface"].success  # which says that not everything is there


def test_upcalls_are_shown_where_the_kernel_counts_them() -> None:
    with_them = both(Interface("tap", ofport=5), vport("tap", upcall_packets=7, upcall_errors=2))
    assert of(said(interface.COLLECTOR, with_them), UPCALLS, interface="tap") == [7]
    without = both(Interface("tap", ofport=5), vport("tap"))
    assert of(said(interface.COLLECTOR, without), UPCALLS) == []


def on_links(numbers: LinkCounters, of_: Mapping[str, Any], *interfaces: Interface) -> Node:
    return known(switch=switch(*interfaces), bridges={}, namespaces=of_, link_counters=numbers)


def test_packets_that_a_card_missed_are_its_own_links_in_the_hosts_namespace() -> None:
    links = namespaces(host=(link(2, "eth0", None), link(3, "tap")), other=(link(2, "eth0"),))
    numbers = counted(links)
    node = on_links(numbers, links, Interface("eth0", driver="ixgbe"), Interface("tap", ofport=5))
    found = said(interface.COLLECTOR, node)
    (row,) = (at for at, of_row in enumerate(numbers.links) if of_row == (HOST, 2))
    expected = int(numbers.numbers[row, FIELDS.index("rx_missed_errors")])
    assert {key: n for key, n in found.items() if key[0] == MISSED} == {
        (
            MISSED,
            frozenset(
                {
                    "bridge": "br0",
                    "port": "port-eth0",
                    "interface": "eth0",
                    "type": "system",
                }.items()
            ),
        ): expected
    }


def test_packets_missed_that_the_kernel_does_not_know_have_no_series() -> None:
    links = namespaces(host=(link(2, "eth0", None),))
    numbers = counted(links)
    numbers.numbers[:] = np.uint64(2**64 - 1)
    node = on_links(numbers, links, Interface("eth0", driver="ixgbe"))
    assert of(said(interface.COLLECTOR, node), MISSED) == []


def test_a_host_whose_links_are_not_followed_yet_has_missed_nothing() -> None:
    node = on_links(counted({}), {}, Interface("eth0", driver="ixgbe"))
    assert of(said(interface.COLLECTOR, node), MISSED) == []


TOLD = (
    Datapath(USERSPACE, hits=30, ports=2),
    Datapath(SYSTEM, hits=20, ports=2, masks=5, offloaded_flows=4),
)
HITS, OFFLOADED = "ovs_datapath_lookup_hits_total", "ovs_datapath_offloaded_flows"


def hits(node: Node) -> dict[str, float]:
    found = said(datapath.COLLECTOR, node)
    return {dict(labels)["datapath"]: n for (name, labels), n in found.items() if name == HITS}


def test_a_datapath_that_both_know_is_shown_once_as_the_kernel_tells_it() -> None:
    node = known(kernel_datapaths=(in_kernel(vport("tap")),), datapaths=TOLD)
    assert hits(node) == {SYSTEM: 1, USERSPACE: 30}
    found = said(datapath.COLLECTOR, node)
    assert of(found, OFFLOADED, datapath=SYSTEM) == [4]  # which only ovs-vswitchd knows
    assert of(found, "ovs_datapath_masks", datapath=SYSTEM) == []
    assert of(found, "ovs_datapath_ports", datapath=SYSTEM) == [1]


def test_either_origin_is_enough() -> None:
    assert hits(known(kernel_datapaths=(in_kernel(),))) == {SYSTEM: 1}
    assert hits(known(datapaths=TOLD)) == {SYSTEM: 20, USERSPACE: 30}
    # The agent may live in another network namespace than the switch's datapath.
    assert hits(known(datapaths=TOLD, kernel_datapaths=())) == {SYSTEM: 20, USERSPACE: 30}


@pytest.mark.parametrize("facts", [{}, {"kernel_datapaths": ()}])
def test_no_origin_is_not_enough(facts: dict[str, Any]) -> None:
    with pytest.raises(UnknownFactError, match="datapaths is not known"):
        said(datapath.COLLECTOR, known(**facts))


TABLES = (
    ConntrackTable(HOST, 61, 262_144, 1, 2, 3, 4),
    ConntrackTable("qrouter-1", 7, 262_144, 5, 6, 7, 8),
)


def test_the_hosts_table_is_that_of_the_kernel_datapath() -> None:
    with_one = known(conntrack_tables=TABLES, kernel_datapaths=(in_kernel(),), conntracks=())
    found = said(conntrack.COLLECTOR, with_one)
    assert of(found, "ovs_conntrack_entries", datapath=SYSTEM) == [61]
    assert of(found, "ovs_conntrack_entries_limit", datapath=SYSTEM) == [262_144]
    without = known(conntrack_tables=TABLES, conntracks=(Conntrack(USERSPACE, 42, 3_000_000),))
    found = said(conntrack.COLLECTOR, without)
    assert [key for key in found if key[0] == "ovs_conntrack_entries"] == [
        ("ovs_conntrack_entries", frozenset({("datapath", USERSPACE)}))
    ]


def test_only_a_userspace_datapath_needs_its_daemon_for_its_table() -> None:
    found = said(conntrack.COLLECTOR, known(conntrack_tables=TABLES, switch=switch()))
    assert of(found, "netns_conntrack_entries", netns="qrouter-1") == [7]
    userspace = known(conntrack_tables=TABLES, switch=switch(kind="netdev"))
    with pytest.raises(UnknownFactError, match="conntracks is not known"):
        said(conntrack.COLLECTOR, userspace)


def test_every_namespace_has_its_table_and_the_hosts_own_no_label() -> None:
    found = said(conntrack.COLLECTOR, known(conntrack_tables=TABLES, conntracks=()))
    expected = {
        "netns_conntrack_entries": (61, 7),
        "netns_conntrack_entries_limit": (262_144, 262_144),
        "netns_conntrack_insert_failed_total": (1, 5),
        "netns_conntrack_drop_total": (2, 6),
        "netns_conntrack_early_drop_total": (3, 7),
        "netns_conntrack_search_restart_total": (4, 8),
    }
    assert found == {
        (name, frozenset({("netns", netns)} if netns else set())): value
        for name, values in expected.items()
        for netns, value in zip(("", "qrouter-1"), values, strict=True)
    }


def test_what_a_kernel_does_not_tell_of_its_table_has_no_series() -> None:
    found = said(
        conntrack.COLLECTOR, known(conntrack_tables=(ConntrackTable(HOST, 0),), conntracks=())
    )
    assert found == {("netns_conntrack_entries", frozenset()): 0}


@pytest.mark.parametrize(
    ("missing", "silent", "speaking"),
    [
        ("conntracks", (USERSPACE,), (SYSTEM,)),
        ("conntrack_tables", (SYSTEM,), (USERSPACE,)),
    ],
)
async def test_a_table_that_is_not_known_takes_no_other_with_it(
    missing: str, silent: tuple[str, ...], speaking: tuple[str, ...]
) -> None:
    whole = known(
        conntrack_tables=TABLES,
        conntracks=(Conntrack(USERSPACE, 42, 3_000_000),),
        kernel_datapaths=(in_kernel(zone_limits=(ZoneLimit(4, 500, 30),)),),
    )
    changed: dict[str, Any] = {missing: Known(missing)}
    harness = Harness((conntrack.COLLECTOR,))
    harness.fill(replace(whole, **changed))
    found = await harness.series()
    for name in silent:
        assert of(found, "ovs_conntrack_entries", datapath=name) == []
    for name in speaking:
        assert len(of(found, "ovs_conntrack_entries", datapath=name)) == 1
    assert of(found, "ovs_conntrack_zone_entries", datapath=SYSTEM, zone="4") == [30]
    assert of(found, "ovs_conntrack_zone_entries_limit", datapath=SYSTEM, zone="4") == [500]


def test_zones_have_their_number_as_the_label() -> None:
    found = said(conntrack_zone.COLLECTOR, known(conntrack_zones={4097: 3, 0: 9}))
    assert found == {
        ("netns_conntrack_zone_entries", frozenset({("zone", "0")})): 9,
        ("netns_conntrack_zone_entries", frozenset({("zone", "4097")})): 3,
    }
    assert conntrack_zone.COLLECTOR.on_request
