"""What collectors leave out, and why: a wrong number is worse than none."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agent.collectors import COLLECTORS, interface
from agent.collectors.base import Collector
from agent.collectors.flow import CUT_MATCH, MAX_MATCH, Views, cut
from agent.errors import UnknownFactError
from agent.families import Block, Output, Sample, Suppressed
from agent.model.bridge import LOCAL, BridgeReading, PortStats
from agent.model.flow import Fate, Flow, FlowReading, Scope
from agent.model.node import AgentFacts, Known, Node
from agent.model.switch import Bridge, Controller, Interface, Port, Switch
from tests.collectors import sample
from tests.harness import Harness
from tests.page import of

PEERS = [collector for collector in COLLECTORS if collector.name != "agent"]
PORT_15 = "a-name-of-15-by"


def switch_with(*interfaces: Interface, bridge: str = "br0") -> Known[Switch]:
    """Return a switch of one bridge with a port for each interface."""
    ports = tuple(Port(each.name, (each,)) for each in interfaces)
    return Known("switch", Switch(bridges=(Bridge(bridge, ports=ports),)))


def read(
    names: dict[int, str], *stats: PortStats, bridge: str = "br0"
) -> Known[Mapping[str, BridgeReading]]:
    """Return a reading of one bridge."""
    reading = BridgeReading(bridge, 0.001, (), {each.number: each for each in stats}, names)
    return Known("bridges", {bridge: reading})


def counters(node: Node) -> dict[tuple[str, str], float | None]:
    """Return values by (metric, labels) of what the interface collector says from OpenFlow."""
    samples = [item for item in interface.from_openflow(node) if isinstance(item, Sample)]
    return {(s.family.name, s.labels): s.value for s in samples if s.value is not None}


def interfaces_of(node: Node) -> set[str]:
    return {labels.split('interface="')[1].split('"')[0] for _, labels in counters(node)}


def without(fact: str) -> Node:
    """Return the sample, except that this is not known."""
    node = sample.node()
    unknown: dict[str, Any] = {fact: Known(fact)}
    return replace(node, **unknown)


@pytest.mark.parametrize("collector", PEERS, ids=lambda collector: collector.name)
async def test_a_node_of_which_nothing_is_known_has_no_series_and_no_success(
    collector: Collector,
) -> None:
    harness = Harness((collector,))
    (collected,) = await harness.scrape()
    assert collected.samples == ()
    assert (collected.facts.success, collected.facts.series) == (False, 0)


@pytest.mark.parametrize("collector", PEERS, ids=lambda collector: collector.name)
async def test_a_node_of_which_all_is_known_is_a_success(collector: Collector) -> None:
    harness = Harness((collector,))
    harness.fill(sample.node())
    (collected,) = await harness.scrape()
    assert collected.facts.success
    assert collected.facts.series > 0


@pytest.mark.parametrize(
    ("fact", "name", "silent", "speaking"),
    [
        ("fdbs", "bridge", "ovs_bridge_fdb_entries", "ovs_bridge_flows"),
        ("bridges", "bridge", "ovs_bridge_flows", "ovs_bridge_fdb_entries"),
        ("switch", "bridge", "ovs_bridge_info", "ovs_bridge_flows"),
        (
            "bridges",
            "interface",
            "ovs_interface_rx_crc_errors_total",
            "ovs_interface_rx_packets_total",
        ),
        ("vswitchd", "switch", "ovs_vswitchd_start_time_seconds", "ovs_build_info"),
        ("switch", "switch", "ovs_build_info", "ovs_vswitchd_start_time_seconds"),
    ],
)
async def test_a_part_without_its_fact_is_silent_and_the_others_still_speak(
    fact: str, name: str, silent: str, speaking: str
) -> None:
    harness = Harness()
    harness.fill(without(fact))
    page = await harness.series()
    assert of(page, silent) == []
    assert of(page, speaking)
    assert of(page, "dataplane_agent_scrape_collector_success", collector=name) == [0]


async def test_an_empty_fact_is_a_success_without_series() -> None:
    harness = Harness()
    harness.store.bonds.put(())
    harness.store.pmds.put(())
    facts = await harness.facts({"bond", "pmd"})
    assert {name: (each.success, each.series) for name, each in facts.items()} == {
        "bond": (True, 0),
        "pmd": (True, 0),
    }


@pytest.mark.parametrize(
    "part",
    [part for collector in PEERS for part in collector.collect],
    ids=lambda part: f"{part.__module__.rpartition('.')[2]}.{part.__name__}",
)
def test_a_collector_says_which_fact_it_misses(part: Callable[[Node], Output]) -> None:
    with pytest.raises(UnknownFactError, match="is not known"):
        list(part(Node(AgentFacts("0", "0"))))


def test_a_bridge_without_a_row_for_its_own_port_gets_one() -> None:
    node = Node(
        AgentFacts("0", "0"),
        switch=switch_with(),
        bridges=read({LOCAL: "br0"}, PortStats(LOCAL, rx_packets=7)),
    )
    labels = '{bridge="br0",port="br0",interface="br0",type="internal"}'
    assert counters(node) == {("ovs_interface_rx_packets_total", labels): 7}


def test_a_port_that_is_in_no_database_row_has_no_counters() -> None:
    node = Node(
        AgentFacts("0", "0"),
        switch=switch_with(),
        bridges=read({9: "new"}, PortStats(9, rx_packets=7)),
    )
    assert counters(node) == {}


@pytest.mark.parametrize("described", ["tap-new", "", None])
def test_a_port_number_that_changed_hands_is_left_out(described: str | None) -> None:
    names = {} if described is None else {5: described}
    node = Node(
        AgentFacts("0", "0"),
        switch=switch_with(Interface("tap-old", ofport=5)),
        bridges=read(names, PortStats(5, rx_packets=7)),
    )
    assert counters(node) == {}


@pytest.mark.parametrize(
    ("name", "described"),
    [
        (PORT_15, PORT_15),
        (f"{PORT_15}tes", PORT_15),
        ("トンネル接続", "トンネル接"),  # 18 bytes, five characters of three bytes remain
        ("aトンネル接続", "aトンネル\\xe6\\x8e"),  # the cut falls into a character
    ],
)
def test_a_name_that_openflow_cuts_is_still_the_same_port(name: str, described: str) -> None:
    node = Node(
        AgentFacts("0", "0"),
        switch=switch_with(Interface(name, ofport=5)),
        bridges=read({5: described}, PortStats(5, rx_packets=7)),
    )
    assert interfaces_of(node) == {name}


def test_equal_port_numbers_of_two_bridges_are_not_mixed_up() -> None:
    node = sample.node()
    found = counters(node)
    labels = '{{bridge="{0}",port="{1}",interface="{1}",type="system"}}'
    assert found["ovs_interface_rx_packets_total", labels.format("br-mgmt", "eth3")] == 2100
    assert found["ovs_interface_rx_packets_total", labels.format("br-provider", "eth2")] == 3100


@pytest.mark.parametrize(
    ("kind", "driver", "physical"),
    [
        ("system", "ixgbe", True),
        ("system", "hv_netvsc", True),
        ("dpdk", None, True),
        ("system", "tun", False),
        ("system", "veth", False),
        ("system", None, False),
        ("internal", "openvswitch", False),
        ("patch", None, False),
        ("vxlan", None, False),
        ("dpdkvhostuserclient", None, False),
    ],
)
def test_only_what_has_a_wire_has_the_errors_of_a_wire(
    *, kind: str, driver: str | None, physical: bool
) -> None:
    node = Node(
        AgentFacts("0", "0"),
        switch=switch_with(Interface("port", type=kind, driver=driver, ofport=5)),
        bridges=read({5: "port"}, PortStats(5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)),
    )
    names = {name for name, _ in counters(node)}
    wire = {family.name for family in interface.PHYSICAL_PORT.values()}
    assert names >= {family.name for family in interface.EVERY_PORT.values()}
    assert (names & wire) == (wire if physical else set())


def test_a_counter_that_the_switch_does_not_know_has_no_series() -> None:
    node = Node(
        AgentFacts("0", "0"),
        switch=switch_with(Interface("port", ofport=5)),
        bridges=read({5: "port"}, PortStats(5, rx_packets=0, tx_packets=None)),
    )
    assert [(name, value) for (name, _), value in counters(node).items()] == [
        ("ovs_interface_rx_packets_total", 0)
    ]


async def test_state_outlives_its_subscription_and_the_counter_in_it_does_not() -> None:
    harness = Harness()
    harness.fill(sample.node())
    before = await harness.series({"interface"})
    harness.store.switch.lost()
    after = await harness.series({"interface"})
    gone = {name for name, _ in before} - {name for name, _ in after}
    assert gone == {"ovs_interface_link_resets_total"}


def test_an_interface_without_device_is_there_with_its_error() -> None:
    samples = [each for each in interface.from_database(sample.node()) if isinstance(each, Sample)]
    shown = {
        each.family.name
        for each in samples
        if "tap0ab9a23c-99" in each.labels and each.value is not None
    }
    assert shown == {"ovs_interface_info", "ovs_interface_open_error"}


def test_a_controller_without_a_known_role_has_none() -> None:
    from_database = next(c for c in COLLECTORS if c.name == "bridge").collect[0]
    bridge = Bridge("br0", controllers=(Controller("tcp:[::1]:6633", role="unheard-of"),))
    node = Node(AgentFacts("0", "0"), switch=Known("switch", Switch(bridges=(bridge,))))
    shown = {s.family.name for s in from_database(node) if isinstance(s, Sample) and s.value}
    assert shown == {"ovs_bridge_info"}


async def test_flows_that_the_rules_leave_out_are_counted() -> None:
    harness = Harness()
    harness.fill(sample.node())
    page = await harness.series()
    assert of(page, "dataplane_agent_series_suppressed", collector="flow") == [3 * 3]
    assert of(page, "ovs_flow_packets_total", bridge="br-mgmt") == []
    assert of(page, "dataplane_agent_scrape_collector_success", collector="flow") == [1]


def test_suppressed_stands_in_the_stream_and_not_on_the_page() -> None:
    collect = next(c for c in COLLECTORS if c.name == "flow").collect[0]
    assert [i.series for i in collect(sample.node()) if isinstance(i, Suppressed)] == [0, 9, 0, 0]


def test_a_match_of_512_characters_is_whole_and_a_longer_one_is_cut_and_distinct() -> None:
    whole = "x" * MAX_MATCH
    assert cut(whole) == whole
    first, second = cut(whole + "1"), cut(whole + "2")
    assert first != second
    assert first[:CUT_MATCH] == second[:CUT_MATCH] == whole[:CUT_MATCH]
    assert len(first) == CUT_MATCH + len("…#") + 8
    assert first == cut(whole + "1")


def reading(*flows: Flow, bridge: str = "br0") -> FlowReading:
    counted = sample.table(*((flow, 1, 64) for flow in flows))
    return FlowReading(bridge, (counted,), shown={counted.table_id: None})


def lines(views: Views, of: FlowReading, interfaces: dict[int, str]) -> tuple[bytes, bytes]:
    """Return the lines of counters and of descriptions."""
    ((counted, view),) = views.of(of)
    counters = [item for item in view.counters(counted) if isinstance(item, Block)]
    info = view.info(interfaces, of.fate, counted.table_id)
    return b"".join(each.lines for each in counters), info.lines


def test_the_lines_of_a_flow_are_kept_while_it_stays() -> None:
    views = Views()
    flow = Flow(0, 1, 'in_port="tap"', 0, Scope(5))
    first = views.of(reading(flow))[0][1]
    same = reading(flow)
    assert views.of(same)[0][1] is not first
    assert views.of(same)[0][1] is views.of(same)[0][1]


def test_a_description_follows_the_interface_behind_the_port_number() -> None:
    views = Views()
    flows = reading(Flow(0, 1, "in_port=5", 0, Scope(5)))
    counters, unknown = lines(views, flows, {})
    again, known = lines(views, flows, {5: "tap"})
    assert b"interface" not in unknown
    assert b'interface="tap"' in known
    assert again == counters


def test_a_flow_that_loses_packets_is_of_the_interface_whose_they_are() -> None:
    """Neutron refuses what is bound for a port by its register: no in_port says whose it is."""
    refused, spoofed = Flow(82, 40, "reg5=0x6", 0), Flow(82, 9, "in_port=5,reg5=0x6", 0, Scope(5))
    for shown in (None, np.array([1, 2])):
        flows = sample.table(*((each, 1, 64) for each in (Flow(82, 50, "", 0), refused, spoofed)))
        fate = Fate({82: np.array([0, 1, 1], np.uint8)}, owners={82: {1: (6, "to_instance")}})
        of_table = FlowReading("br0", (flows,), fate, shown={82: shown})
        _, info = lines(Views(), of_table, {5: "tap5", 6: "tap6"})
        told = {
            int(line.split(b'priority="')[1].split(b'"')[0]): line for line in info.splitlines()
        }
        assert b'interface="tap6"' in told[40]
        assert b'interface="tap5"' in told[9]
        assert b"interface" not in told.get(50, b""), "the packets of several are nobody's"


def test_flows_that_come_and_go_leave_the_lines_of_the_others_as_they_were() -> None:
    views = Views()
    one, two, three = (Flow(0, n, "", n) for n in (1, 2, 3))
    before, _ = lines(views, reading(one, two), {})
    after, info = lines(views, reading(three, two), {})
    kept = b'ovs_flow_packets_total{bridge="br0",table="0",priority="2"} 1\n'
    assert kept in before
    assert kept in after
    assert after.count(b"\n") == 4
    assert b'priority="1"' not in after + info


def test_views_forget_bridges_that_are_gone() -> None:
    views = Views()
    views.of(reading(Flow(0, 1, "", 0)))
    views.of(reading(Flow(0, 1, "", 0), bridge="br1"))
    views.keep({"br1": reading(Flow(0, 1, "", 0), bridge="br1")})
    assert list(views._bridges) == ["br1"]


def test_only_the_flows_that_are_shown_have_series() -> None:
    flows = sample.table(*((Flow(0, n, "", 0), n, n) for n in (1, 2, 3)))
    views = Views()
    some = FlowReading("br0", (flows,), shown={0: np.array([0, 2])})
    counters, info = lines(views, some, {})
    assert [line.split()[-1] for line in counters.splitlines()] == [b"1", b"3", b"1", b"3"]
    assert b'priority="2"' not in counters + info
    assert views.of(FlowReading("br0", (flows,))) == []
