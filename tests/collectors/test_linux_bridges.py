"""Ports of Linux bridges, and what is known of their forwarding tables."""

from agent.collectors.linux_bridge import COLLECTOR
from agent.model.link import LinkPatterns, LinuxBridge
from agent.model.namespace import HOST, Namespace
from tests.collectors.links import devices, link, namespaces, node, page, switch
from tests.page import of

STATE, ENTRIES = "linux_bridge_port_state", "linux_bridge_fdb_entries"
BR0 = (
    link(2, "br0", "bridge", bridge=LinuxBridge(stp=True, vlan_filtering=False)),
    link(3, "port0", master=2, bridge_port_state=4),
)


def test_bridges_of_one_name_in_two_namespaces_stay_apart() -> None:
    known = namespaces(host=BR0, a=BR0, b=BR0)
    found = page(COLLECTOR, node(known))
    for family in (STATE, ENTRIES):
        assert devices(found, family) == ["/port0", "a/port0", "b/port0"]
    assert devices(found, "linux_bridge_info") == ["/br0", "a/br0", "b/br0"]
    assert of(found, STATE, netns="a", bridge="br0", device="port0") == [4]


def test_a_port_without_entries_has_a_zero_that_was_read_and_none_when_nothing_is_known() -> None:
    links = {each.index: each for each in (*BR0, link(4, "port1", master=2))}
    known = {
        HOST: Namespace(HOST, links, forwarding={3: 31, 77: 5}),
        "full": Namespace("full", links, forwarding=None),
    }
    found = page(COLLECTOR, node(known))
    assert of(found, ENTRIES, device="port0") == [31]
    assert of(found, ENTRIES, device="port1") == [0]
    assert of(found, ENTRIES, netns="full") == []
    assert of(found, STATE, netns="full") == [4]


def test_a_state_that_the_kernel_did_not_tell_is_absent() -> None:
    known = namespaces(host=(BR0[0], link(4, "port1", master=2)))
    assert of(page(COLLECTOR, node(known)), STATE) == []


def test_settings_are_what_ip_prints_and_absent_where_they_are_not_told() -> None:
    bridges = (BR0[0], link(5, "br1", "bridge", bridge=LinuxBridge()))
    found = page(COLLECTOR, node(namespaces(host=bridges)))
    assert of(found, "linux_bridge_info", device="br0", stp="1", vlan_filtering="0") == [1]
    (bare,) = [labels for _, labels in found if ("device", "br1") in labels]
    assert dict(bare) == {"device": "br1"}


def test_members_of_what_is_no_linux_bridge_are_no_ports() -> None:
    masters = (link(2, "ovs-system", "openvswitch"), link(3, "bond0", "bond"))
    members = (link(4, "tap0", master=2), link(5, "eth0", None, master=3), link(6, "x", master=77))
    assert page(COLLECTOR, node(namespaces(host=(*masters, *members)))) == {}


def test_a_port_is_shown_whatever_the_switchs_database_wishes_and_hidden_by_a_pattern() -> None:
    known = namespaces(host=BR0)
    assert devices(page(COLLECTOR, node(known, switch=switch("port0"))), STATE) == ["/port0"]
    hidden = node(known, link_patterns=LinkPatterns(exclude=("port*",)))
    assert devices(page(COLLECTOR, hidden), STATE) == []
