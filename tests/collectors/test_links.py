"""State and counters of links: what is written again, and what has no series."""

from dataclasses import replace

import numpy as np
import pytest

from agent.collectors import link as collector
from agent.collectors.link import COLLECTOR, COUNTERS
from agent.families import Block
from agent.model.link import FIELDS, LinkCounters
from agent.model.namespace import HOST, Namespace
from agent.model.node import Known, Node
from tests.collectors.links import counted, devices, link, namespaces, node, page
from tests.harness import Harness
from tests.page import of

RX = "netns_network_rx_packets_total"
UP = "netns_network_up"
UNKNOWN = np.uint64(0xFFFFFFFFFFFFFFFF)
TWO = namespaces(host=(link(2, "veth0"),), router=(link(2, "eth0"), link(3, "eth1")))


def blocks(of_node: Node) -> dict[str, bytes]:
    """Return lines by family."""
    items = [item for part in COLLECTOR.collect for item in part(of_node)]
    return {item.family.name: item.lines for item in items if isinstance(item, Block)}


def test_each_counter_comes_from_its_own_column() -> None:
    found = page(COLLECTOR, node(TWO, link_counters=counted(TWO, start=100)))
    columns = {field: 100 + len(FIELDS) + at for at, field in enumerate(FIELDS)}
    for field, family in COUNTERS.items():
        assert of(found, family.name, netns="router", device="eth0") == [columns[field]]
    assert devices(found, RX) == ["/veth0", "router/eth0", "router/eth1"]


def test_the_hosts_own_namespace_has_no_label() -> None:
    found = page(COLLECTOR, node(TWO, link_counters=counted(TWO)))
    assert {dict(labels).get("netns") for name, labels in found if name == RX} == {None, "router"}


def test_counters_follow_every_reading() -> None:
    for start in (5, 5, 900, 7):
        found = page(COLLECTOR, node(TWO, link_counters=counted(TWO, start)))
        assert of(found, RX, device="veth0") == [start]


def test_a_reading_that_writes_into_the_array_of_the_last_one_is_still_seen() -> None:
    reading = counted(TWO)
    assert of(page(COLLECTOR, node(TWO, link_counters=reading)), RX, device="veth0") == [0]
    reading.numbers[:] += np.uint64(5)
    assert of(page(COLLECTOR, node(TWO, link_counters=reading)), RX, device="veth0") == [5]


def test_a_counter_that_is_not_known_has_no_series() -> None:
    reading = counted(TWO)
    reading.numbers[1, FIELDS.index("rx_packets")] = UNKNOWN
    found = page(COLLECTOR, node(TWO, link_counters=reading))
    assert devices(found, RX) == ["/veth0", "router/eth1"]
    assert len(devices(found, "netns_network_tx_packets_total")) == 3


def test_a_link_that_only_one_side_knows_has_no_counters() -> None:
    more = namespaces(host=(link(2, "veth0"),), router=(link(9, "new0"),), gone=(link(2, "eth0"),))
    found = page(COLLECTOR, node(TWO, link_counters=counted(more)))
    assert devices(found, RX) == ["/veth0"]
    assert devices(found, UP) == ["/veth0", "router/eth0", "router/eth1"]


def test_what_was_counted_of_a_namespace_that_had_the_name_before_is_not_the_new_ones() -> None:
    """A new namespace gives its links the same indexes as the one before it."""
    reading = replace(counted(TWO), keys={HOST: (1,), "router": (2,)})
    same = {name: replace(TWO[name], key=key) for name, key in reading.keys.items()}
    other = {**same, "router": replace(TWO["router"], key=(3,))}
    for known, shown in ((same, 3), (other, 1), (same, 3)):
        found = page(COLLECTOR, node(known, link_counters=reading))
        assert len(devices(found, RX)) == shown
        assert len(devices(found, UP)) == 3


def test_links_that_come_and_go_leave_the_counters_of_the_others_right() -> None:
    three = namespaces(host=(link(2, "veth0"),), router=(link(3, "eth1"), link(4, "eth2")))
    for known in (TWO, three, TWO):
        found = page(COLLECTOR, node(known, link_counters=counted(known, start=50)))
        rows = [row for row, _ in enumerate(counted(known).links)]
        assert [found[key] for key in found if key[0] == RX] == [
            50 + row * len(FIELDS) for row in rows
        ]


def test_a_link_that_is_renamed_has_its_new_name_and_only_that() -> None:
    before = namespaces(router=(link(2, "eth0"), link(3, "eth1")))
    page(COLLECTOR, node(before, link_counters=counted(before)))
    after = namespaces(router=(link(2, "eth9"), link(3, "eth1")))
    found = page(COLLECTOR, node(after, link_counters=counted(before)))
    for family in (RX, UP, "netns_network_info"):
        assert devices(found, family) == ["router/eth9", "router/eth1"]


def test_state_follows_the_link_and_the_name_of_its_master() -> None:
    bridge = link(2, "br0", "bridge")
    tap = link(3, "tap0", "tun", master=2, up=True, carrier=True)
    first = page(COLLECTOR, node(namespaces(host=(bridge, tap)), link_counters=counted({})))
    assert of(first, "netns_network_info", device="tap0", master="br0") == [1]
    assert of(first, "netns_network_carrier", device="tap0") == [1]
    changed = namespaces(host=(replace(bridge, name="br9"), replace(tap, carrier=False)))
    second = page(COLLECTOR, node(changed, link_counters=counted({})))
    assert of(second, "netns_network_info", device="tap0", master="br9") == [1]
    assert of(second, "netns_network_info", device="tap0", master="br0") == []
    assert of(second, "netns_network_carrier", device="tap0") == [0]


def test_what_a_link_does_not_say_has_no_series() -> None:
    bare = namespaces(router=(link(2, "eth0", None),))
    found = page(COLLECTOR, node(bare, link_counters=counted({})))
    assert {name for name, _ in found} == {"netns_network_info", UP}


def test_the_lines_are_kept_while_nothing_moves() -> None:
    first = blocks(node(TWO, link_counters=counted(TWO)))
    again = blocks(node(TWO, link_counters=counted(TWO)))
    assert all(again[family] is lines for family, lines in first.items())


def test_a_name_that_stands_at_two_links_for_a_moment_is_the_newer_ones() -> None:
    """Between the events of a device that is replaced; the indexes may come in any order."""
    twice = namespaces(router=(link(9, "eth0", mtu_bytes=9), link(4, "eth0", mtu_bytes=4)))
    found = page(COLLECTOR, node(twice, link_counters=counted(twice)))
    assert of(found, "netns_network_mtu_bytes", device="eth0") == [9]
    assert of(found, RX, device="eth0") == [0]


def test_a_row_that_is_read_twice_is_shown_once() -> None:
    rows = (("router", 2), ("router", 2))
    numbers = np.array([[1] * len(FIELDS), [2] * len(FIELDS)], np.uint64)
    found = page(COLLECTOR, node(TWO, link_counters=LinkCounters(rows, numbers)))
    assert of(found, RX, device="eth0") == [2]


def test_names_that_need_quoting_are_quoted() -> None:
    odd = {'a"b\\c\n': Namespace('a"b\\c\n', {2: link(2, 'x"\\', None, mac="m")})}
    found = page(COLLECTOR, node(odd, link_counters=counted(odd)))
    assert devices(found, RX) == devices(found, "netns_network_info") == ['a"b\\c\n/x"\\']


def test_carrier_changes_are_counted_only_while_they_are_followed() -> None:
    changes = namespaces(router=(link(2, "eth0", carrier_changes=5),))
    for live, expected in ((True, [5]), (False, []), (True, [5])):
        known = node(changes, link_counters=counted(changes))
        found = page(COLLECTOR, replace(known, namespaces=Known("namespaces", changes, live)))
        assert of(found, "netns_network_carrier_changes_total") == expected
        assert of(found, UP) == [0]


@pytest.mark.parametrize("known", [{}, namespaces(host=()), namespaces(host=(), router=())])
def test_a_node_without_links_has_no_series(known: dict[str, Namespace]) -> None:
    assert page(COLLECTOR, node(known, link_counters=counted(known))) == {}
    assert page(COLLECTOR, node(TWO, link_counters=counted(TWO)))
    assert page(COLLECTOR, node(known, link_counters=counted(TWO))) == {}


async def test_state_speaks_when_the_counters_could_not_be_read() -> None:
    harness = Harness((COLLECTOR,))
    harness.store.namespaces.put(TWO)
    (collected,) = await harness.scrape()
    assert not collected.facts.success
    assert {item.family for item in collected.samples} >= {collector.INFO, collector.UP}
    harness.store.link_counters.put(counted(TWO))
    facts = (await harness.facts())["link"]
    assert (facts.success, facts.series) == (True, 3 * (len(COUNTERS) + 2))


def test_many_links_are_named_once_each() -> None:
    many = {
        name: Namespace(name, {n: link(n, f"eth{n}", carrier=True) for n in range(2, 12)})
        for name in (HOST, *(f"qrouter-{n}" for n in range(20)))
    }
    found = page(COLLECTOR, node(many, link_counters=counted(many)))
    assert len(found) == 21 * 10 * (3 + len(COUNTERS))


@pytest.mark.parametrize(
    ("up", "carrier", "shown"),
    [(True, True, [1]), (True, False, [0]), (False, True, [0]), (False, False, [0])],
)
def test_a_carrier_is_what_ip_calls_lower_up(up: bool, carrier: bool, shown: list[int]) -> None:  # noqa: FBT001 - two bits
    known = namespaces(host=(link(2, "br0", "bridge", up=up, carrier=carrier),))
    found = page(COLLECTOR, node(known, link_counters=counted(known)))
    assert of(found, "netns_network_carrier", device="br0") == shown


def test_a_carrier_that_the_kernel_does_not_tell_is_absent() -> None:
    known = namespaces(host=(link(2, "br0", "bridge", up=True, carrier=None),))
    found = page(COLLECTOR, node(known, link_counters=counted(known)))
    assert of(found, "netns_network_carrier") == []
