"""Instances on the page: keys that are keys, directions, what is kept and what is left out."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agent.collectors import domain, instance
from agent.errors import UnknownFactError
from agent.families import Block
from agent.model.bridge import BridgeReading, PortStats
from agent.model.domain import FIELDS, Domain, DomainCounters, DomainInterface, Owner
from agent.model.link import Link
from agent.model.namespace import HOST, Namespace
from agent.model.node import Known, Node
from agent.model.switch import Bridge, Interface, Port, Switch
from tests.collectors.links import AGENT, page
from tests.collectors.sample import counted
from tests.page import Series, of

UUID = "aaaaaaaa-0000-4000-8000-000000000001"
MAC = "fa:16:3e:00:00:01"
META = "libvirt_domain_interface_meta"
RECEIVED = "libvirt_domain_interface_stats_receive_packets_total"
SENT = "libvirt_domain_interface_stats_transmit_packets_total"
INFO = "dataplane_instance_interface_info"


def node(*plugs: DomainInterface, **facts: Any) -> Node:
    settings = {name: facts.pop(name) for name in ("domain_interfaces",) if name in facts}
    facts.setdefault("domain_counters", counters())
    facts.setdefault("namespaces", host())
    facts["domains"] = {UUID: Domain(UUID, "d", 1, plugs)}
    known: Mapping[str, Any] = {name: Known(name, value) for name, value in facts.items()}
    return Node(AGENT, **known, **settings)


def host(**kinds: str) -> dict[str, Namespace]:
    """Return the host's links: the kind of each by its name."""
    links = {index: Link(index, *link) for index, link in enumerate(kinds.items(), 2)}
    return {HOST: Namespace(HOST, links)}


def counters(**devices: int) -> DomainCounters:
    """Return counters that begin at this number for each device of domain d."""
    rows = [np.arange(first, first + len(FIELDS)) for first in devices.values()]
    numbers = np.array(rows, np.uint64).reshape(len(rows), len(FIELDS))
    return DomainCounters(tuple(("d", device) for device in devices), numbers)


def shown(*plugs: DomainInterface, **facts: Any) -> Series:
    return page(domain.COLLECTOR, node(*plugs, **facts))


def test_sr_iov_is_known_by_its_address_and_has_no_series_with_an_empty_device() -> None:
    found = shown(DomainInterface("hostdev", MAC), DomainInterface("hostdev"))
    assert of(found, META, mac=MAC, type="hostdev") == [1]
    assert len(of(found, META)) == 1, "without an address there is no key"
    assert not any("target_device" in dict(labels) for _, labels in found)


def test_an_address_is_a_key_also_when_a_domain_has_it_twice() -> None:
    found = shown(
        DomainInterface("hostdev", MAC),
        DomainInterface("ethernet", MAC, "tap1"),
        DomainInterface("ethernet", MAC, "tap2"),
    )
    assert [dict(labels)["target_device"] for name, labels in found if name == META] == ["tap1"]


def test_a_device_is_a_key_also_when_a_domain_names_it_twice() -> None:
    """As one that is only defined can; a join by device would be refused for the whole fleet."""
    other = "fa:16:3e:00:00:02"
    plugs = (DomainInterface("ethernet", MAC, "tap1"), DomainInterface("bridge", other, "tap1"))
    found = shown(*plugs)
    assert of(found, META, target_device="tap1") == of(found, META, mac=MAC) == [1]
    assert of(found, META, mac=other) == [1]


def test_a_domain_is_a_key_also_while_two_have_its_name() -> None:
    """One was renamed and another made, and one of the events is still on its way."""
    both = {
        UUID: Domain(UUID, "d", 5, owner=Owner("before")),
        "b": Domain("b", "d", 1, owner=Owner("now")),
    }
    known = Node(AGENT, domains=Known("domains", both))
    blocks = [item for item in domain.state(known) if isinstance(item, Block)]
    text = b"".join(block.lines for block in blocks)
    assert text.count(b'libvirt_domain_state{domain="d"} 1') == 1
    assert text.count(b"\n") == 2
    assert b"before" not in text


def test_every_counter_stands_at_its_own_name() -> None:
    found = shown(domain_counters=counters(tap1=100))
    values = {
        field: of(found, f"libvirt_domain_interface_stats_{field}_total", target_device="tap1")
        for field in FIELDS
    }
    assert values == {field: [100 + place] for place, field in enumerate(FIELDS)}


def test_a_number_that_libvirt_does_not_know_has_no_series() -> None:
    reading = counters(tap1=1, tap2=2)
    reading.numbers[0, FIELDS.index("receive_packets")] = np.iinfo(np.uint64).max
    found = shown(domain_counters=reading)
    assert (len(of(found, RECEIVED)), len(of(found, SENT))) == (1, 2)


def test_interfaces_come_go_and_change_places() -> None:
    for names in (("tap1",), ("tap1", "tap2"), ("tap2", "tap1"), (), ("tap3",)):
        devices = {name: 100 * int(name[-1]) for name in names}
        found = shown(domain_counters=counters(**devices))
        place = FIELDS.index("transmit_packets")
        assert {dict(k)["target_device"]: v for (n, k), v in found.items() if n == SENT} == {
            name: first + place for name, first in devices.items()
        }


SWITCH = Switch(
    bridges=(
        Bridge(
            "br-int",
            ports=(
                Port("tap1", (Interface("tap1", ofport=1, vm_uuid=UUID),)),
                Port(
                    "vhu1",
                    (
                        Interface(
                            "vhu1",
                            type="dpdkvhostuserclient",
                            ofport=2,
                            options={"vhost-server-path": "/run/vhu1"},
                        ),
                    ),
                ),
            ),
        ),
    )
)
VHOSTUSER = DomainInterface("vhostuser", MAC, socket_path="/run/vhu1")
BRIDGES = {
    "br-int": BridgeReading(
        "br-int", 0.001, (), {1: counted(1, 50), 2: counted(2, 70)}, {1: "tap1", 2: "vhu1"}
    )
}


def test_vhostuser_counts_what_the_switch_counts_turned_round() -> None:
    found = shown(VHOSTUSER, switch=SWITCH, bridges=BRIDGES)
    of_port: PortStats = BRIDGES["br-int"].ports[2]
    for field, turned in domain.OF_PORT.items():
        name = f"libvirt_domain_interface_stats_{field}_total"
        assert of(found, name, domain="d", target_device="vhu1") == [getattr(of_port, turned)]
    assert of(found, RECEIVED) == [of_port.tx_packets]
    assert of(found, SENT) == [of_port.rx_packets]


def test_vhostuser_is_not_counted_twice_nor_by_a_number_that_changed_hands() -> None:
    read = shown(VHOSTUSER, switch=SWITCH, bridges=BRIDGES, domain_counters=counters(vhu1=5))
    assert of(read, RECEIVED, target_device="vhu1") == [6]
    other = replace(BRIDGES["br-int"], port_names={1: "tap1", 2: "vhu9"})
    assert not of(shown(VHOSTUSER, switch=SWITCH, bridges={"br-int": other}), RECEIVED)


def test_vhostuser_of_another_switch_needs_nothing_of_open_vswitch() -> None:
    plug = replace(VHOSTUSER, target_device="vhu1")
    assert of(shown(plug, switch=Switch(), bridges=None), META, target_device="vhu1") == [1]


def test_a_macvtap_of_somebody_elses_is_turned_back() -> None:
    """libvirt goes by the type in the XML: of type direct it turns nothing, of ethernet it does."""
    own, others, tap = "macvtap0", "macvtap1", "tap2"
    found = shown(
        DomainInterface("direct", MAC, own),
        DomainInterface("ethernet", MAC, others),
        DomainInterface("ethernet", MAC, tap),
        namespaces=host(macvtap0="macvtap", macvtap1="macvtap", tap2="tun"),
        domain_counters=counters(macvtap0=100, macvtap1=200, tap2=300),
    )
    received, sent = (FIELDS.index(f"{way}_packets") for way in ("receive", "transmit"))
    for device, first, (got, gave) in (
        (own, 100, (received, sent)),
        (others, 200, (sent, received)),
        (tap, 300, (received, sent)),
    ):
        assert of(found, RECEIVED, target_device=device) == [first + got], device
        assert of(found, SENT, target_device=device) == [first + gave], device


def test_a_macvtap_of_somebody_elses_is_not_turned_twice_while_something_is_not_known() -> None:
    """The other sense for one scrape would be a spike in both."""
    turned = domain.Turned()
    keys = (("d", "macvtap1"),)
    plug = DomainInterface("ethernet", MAC, "macvtap1")
    known = node(plug, namespaces=host(macvtap1="macvtap"))
    links_unknown = node(plug, namespaces=None)
    link_gone = node(plug, namespaces=host())
    domain_gone = replace(known, domains=Known("domains", {}))
    stopped = {UUID: Domain(UUID, "d", 5, (plug,))}
    domain_stopped = replace(known, domains=Known("domains", stopped))
    both_gone = replace(link_gone, domains=Known("domains", {}))
    assert turned.of(links_unknown, keys) == {keys[0]: None}, "nobody knows yet"
    for now in (known, links_unknown, link_gone, domain_gone, domain_stopped, both_gone):
        assert turned.of(now, keys) == {keys[0]: True}
    assert turned.of(known, keys) is turned.of(known, keys)
    assert turned.of(node(plug, namespaces=host(macvtap1="tun")), keys) == {keys[0]: False}
    assert not turned.of(known, ()), "what is not counted any more is forgotten"


def test_whose_sense_is_not_known_has_no_series() -> None:
    """When the agent has just started, libvirt may have answered before the kernel."""
    plugs = (DomainInterface("ethernet", MAC, "tap1"), DomainInterface("bridge", MAC, "tap2"))
    facts = {"domain_counters": counters(tap1=1, tap2=2)}
    domain._turned.of(node(), ())  # forget what other tests have left
    for namespaces, devices in ((None, {"tap2"}), (host(), {"tap1", "tap2"})):
        found = shown(*plugs, **facts, namespaces=namespaces)
        assert {dict(k)["target_device"] for n, k in found if n == SENT} == devices
    new = counters(macvtap5=1)  # of a domain that is not known yet: of type direct, or ethernet?
    assert not of(shown(domain_counters=new, namespaces=host(macvtap5="macvtap")), SENT)


def test_auto_leaves_out_what_open_vswitch_counts_and_never_all() -> None:
    facts = {
        "switch": SWITCH,
        "bridges": BRIDGES,
        "domain_counters": counters(tap1=1, tap2=2),
    }
    plugs = (VHOSTUSER, DomainInterface("ethernet", MAC, "tap1"))
    for setting, devices in (
        ("always", {"tap1", "tap2", "vhu1"}),
        ("auto", {"tap2"}),
        ("never", set()),
    ):
        found = shown(*plugs, **facts, domain_interfaces=setting)
        assert {dict(k)["target_device"] for n, k in found if n == SENT} == devices, setting
        assert of(found, META), "what they are is shown all the same"


def test_what_stays_is_not_written_again() -> None:
    known = node(DomainInterface("ethernet", MAC, "tap1"), switch=SWITCH)
    (first,), (again,) = instance.collect(known), instance.collect(known)
    assert isinstance(first, Block)
    assert isinstance(again, Block)
    assert first.lines is again.lines
    descriptions = [list(domain.state(known)) for _ in range(2)]
    assert all(a is b for a, b in zip(*descriptions, strict=True))


def test_either_side_alone_makes_rows_and_neither_is_a_fact_that_is_missed() -> None:
    only_switch = Node(AGENT, switch=Known("switch", SWITCH))
    assert of(page(instance.COLLECTOR, only_switch), INFO, interface="tap1", instance_id=UUID)
    only_libvirt = node(DomainInterface("ethernet", MAC, "tap9"))
    assert of(page(instance.COLLECTOR, only_libvirt), INFO, interface="tap9", domain="d")
    with pytest.raises(UnknownFactError, match="domains"):
        list(instance.collect(Node(AGENT)))
