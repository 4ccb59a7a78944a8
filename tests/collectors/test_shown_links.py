"""Which links have series, in the host's own namespace and in the others."""

from dataclasses import replace

import pytest

from agent.collectors.shown_links import Selection, has_ends
from agent.errors import UnknownFactError
from agent.model.link import Link, LinkPatterns, Tunnel
from agent.model.namespace import HOST
from agent.model.node import Known, Node
from tests.collectors.links import AGENT, link, namespaces, node, switch

BRIDGE = link(1, "brq0", "bridge")
OVS_SYSTEM = link(2, "ovs-system", "openvswitch")
VXLAN = Tunnel("vxlan", key="5", dst_port=4789)
EXTERNAL = Tunnel("vxlan", dst_port=4789, external=True)


def shown(of: Node, netns: str = HOST) -> list[str]:
    return [each.name for each in Selection().of(of)[netns].links.values()]


def switched(of: Node) -> list[str]:
    return [each.name for each in Selection().of(of)[HOST].switched.values()]


SHOWN = (
    link(9, "tap0", "tun", master=1),
    link(9, "eth1", None, master=1),
    link(9, "brq1", "bridge"),
    link(9, "veth0", "veth"),
    link(9, "vxlan-5", "vxlan", tunnel=VXLAN),
    link(9, "cilium", "vxlan", tunnel=EXTERNAL),
)
COUNTED_ELSEWHERE = (
    link(9, "eth0", None),
    link(9, "eth0.5", "vlan", vlan_id=5),
    link(9, "tap0", "tun"),
    link(9, "gre0", "gre", tunnel=Tunnel("gre")),
    link(9, "br-int", "openvswitch"),
    link(9, "qvo0", "veth", master=2),
    link(9, "vxlan_sys_4789", "vxlan", tunnel=EXTERNAL, master=2),
    link(9, "genev_sys_6081", "geneve", tunnel=EXTERNAL),
    link(9, "gre_sys", "gretap", tunnel=Tunnel("gretap", external=True)),
    link(9, "eth2", None, master=77),
)


@pytest.mark.parametrize("each", SHOWN, ids=lambda each: each.name)
def test_the_hosts_own_namespace_shows_the_virtual_network(each: Link) -> None:
    assert each.name in shown(node(namespaces(host=(BRIDGE, OVS_SYSTEM, each))))


@pytest.mark.parametrize("each", COUNTED_ELSEWHERE, ids=lambda each: each.name)
def test_the_hosts_own_namespace_does_not_show_what_others_count(each: Link) -> None:
    assert shown(node(namespaces(host=(BRIDGE, OVS_SYSTEM, each)))) == [BRIDGE.name]


def test_in_a_named_namespace_every_link() -> None:
    links = (link(2, "eth0", None), link(3, "ovs-system", "openvswitch"), link(4, "p0", master=3))
    assert shown(node(namespaces(host=(), router=links)), "router") == ["eth0", "ovs-system", "p0"]


def test_devices_of_a_userspace_datapath_are_known_by_the_names_in_the_database() -> None:
    of = namespaces(host=(BRIDGE, link(3, "veth0"), link(4, "veth1"), link(5, "vm", master=1)))
    assert shown(node(of)) == ["brq0", "veth0", "veth1", "vm"]
    with_switch = node(of, switch=switch("veth1", "vm"))
    assert switched(with_switch) == ["veth1"]
    # A member of a Linux bridge is counted there, whatever the database wishes.
    assert shown(with_switch) == ["brq0", "veth0", "vm"]


def test_a_name_in_the_database_hides_nothing_in_a_named_namespace() -> None:
    of = namespaces(host=(), router=(link(3, "qr-1", "openvswitch"),))
    assert shown(node(of, switch=switch("qr-1")), "router") == ["qr-1"]


def test_patterns_add_to_the_hosts_own_and_take_away_everywhere() -> None:
    links = (link(2, "eth0", None), link(3, "veth0"), link(4, "tap0", "tun", master=7))
    of = namespaces(host=(*links, link(7, "ovs-system", "openvswitch")), other=links)
    patterns = LinkPatterns(include=("eth*", "tap*"), exclude=("*0",))
    assert shown(node(of, link_patterns=replace(patterns, exclude=()))) == ["eth0", "veth0", "tap0"]
    assert shown(node(of, link_patterns=patterns)) == []
    assert shown(node(of, link_patterns=patterns), "other") == []
    assert shown(node(of, link_patterns=LinkPatterns(exclude=("veth?",))), "other") == [
        "eth0",
        "tap0",
    ]


def test_what_is_hidden_by_a_pattern_is_hidden_from_all() -> None:
    of = namespaces(host=(OVS_SYSTEM, link(4, "tap0", "tun", master=2)))
    only = Selection().of(node(of, link_patterns=LinkPatterns(exclude=("tap*",))))[HOST]
    assert list(only.all) == [2]
    assert not only.switched


def test_what_did_not_change_is_the_same_object() -> None:
    selection = Selection()
    of = namespaces(host=(link(2, "veth0"),), a=(link(2, "eth0"),), b=(link(2, "eth0"),))
    first = selection.of(node(of, switch=switch("x")))
    assert selection.of(node(of, switch=switch("x"))) is first
    assert selection.of(node(dict(of), switch=switch("x"))) is first
    other = selection.of(node(of, switch=switch("veth0")))
    assert other["a"] is first["a"]
    assert (len(first[HOST].links), len(other[HOST].links)) == (1, 0)
    changed = {**of, "b": namespaces(b=(link(2, "eth0"), link(3, "eth1")))["b"]}
    last = selection.of(node(changed, switch=switch("veth0")))
    assert last["a"] is first["a"]
    assert [each.name for each in last["b"].links.values()] == ["eth0", "eth1"]
    assert "a" not in selection.of(node({HOST: of[HOST]}))


def test_a_switch_that_is_no_longer_known_hides_nothing() -> None:
    selection = Selection()
    of = namespaces(host=(link(2, "veth0"),))
    assert not selection.of(node(of, switch=switch("veth0")))[HOST].links
    assert selection.of(node(of))[HOST].links


def test_addresses_and_entries_that_change_leave_the_links_as_they_were() -> None:
    selection = Selection()
    of = namespaces(host=(link(2, "veth0"),))
    first = selection.of(node(of))[HOST]
    again = selection.of(node({HOST: replace(of[HOST], forwarding={2: 7})}))[HOST]
    assert again.links is first.links
    assert again.namespace.forwarding == {2: 7}


def test_says_that_namespaces_are_not_known_and_remembers_nothing_of_it() -> None:
    selection = Selection()
    of = namespaces(host=(link(2, "veth0"),))
    first = selection.of(node(of))
    with pytest.raises(UnknownFactError):
        selection.of(Node(AGENT, namespaces=Known("namespaces")))
    assert selection.of(node(of)) is first


@pytest.mark.parametrize(
    "tunnel",
    [
        Tunnel("gretap", external=True),
        Tunnel("vxlan", key="0"),
        Tunnel("gre", remote_ip="192.0.2.1"),
        Tunnel("ipip", local_ip="192.0.2.1"),
    ],
)
def test_a_tunnel_device_with_any_setting_leads_somewhere(tunnel: Tunnel) -> None:
    assert has_ends(tunnel)
    assert not has_ends(Tunnel(tunnel.tunnel_type))
