"""Namespaces, addresses, and drops of queueing disciplines: whose are shown."""

import pytest

from agent.collectors import NAMES, ON_REQUEST, address, namespace, qdisc
from agent.model.link import Address, LinkPatterns, Qdisc
from agent.model.namespace import HOST, Namespace
from tests.collectors.links import devices, link, namespaces, node, page, switch
from tests.page import of

DROPPED = "netns_qdisc_dropped_total"


@pytest.mark.parametrize(
    ("name", "role", "identity"),
    [
        ("qrouter-703db450", "qrouter", "703db450"),
        ("fip-02e2d514", "fip", "02e2d514"),
        ("snat-1", "snat", "1"),
        ("qdhcp-1", "qdhcp", "1"),
        ("ovnmeta-1", "ovnmeta", "1"),
        ("qrouter-", "other", None),
        ("my-qrouter-1", "other", None),
    ],
)
def test_a_namespace_has_the_role_and_the_id_that_its_name_tells(
    name: str, role: str, identity: str | None
) -> None:
    known = {HOST: Namespace(HOST), name: Namespace(name)}
    ((_, labels),) = page(namespace.COLLECTOR, node(known))
    expected = {"netns": name, "role": role, "id": identity}
    assert dict(labels) == {key: value for key, value in expected.items() if value}


def test_addresses_are_shown_of_links_that_are_shown() -> None:
    links = {2: link(2, "eth0", None), 3: link(3, "veth0")}
    given = (
        Address(2, "192.0.2.1/24", "inet", "global"),
        Address(3, "fe80::1/64", "inet6", "link"),
        Address(3, "fe80::2/64", "inet6", "link"),
        Address(9, "192.0.2.9/32", "inet", "global"),
    )
    known = {name: Namespace(name, links, addresses=given) for name in (HOST, "router")}
    found = page(address.COLLECTOR, node(known))
    assert devices(found, "netns_address_info") == [
        "/veth0",
        "/veth0",
        "router/eth0",
        "router/veth0",
        "router/veth0",
    ]
    assert of(
        found,
        "netns_address_info",
        netns="router",
        address="192.0.2.1/24",
        family="inet",
        scope="global",
    ) == [1]


def test_addresses_that_are_not_followed_have_no_series() -> None:
    assert page(address.COLLECTOR, node(namespaces(router=(link(2, "eth0"),)))) == {}


def test_addresses_are_shown_on_request_only() -> None:
    assert "address" in NAMES
    assert "address" in ON_REQUEST
    assert not {"link", "linux_bridge", "namespace", "qdisc", "tunnel"} & set(ON_REQUEST)


def test_drops_are_shown_also_of_the_switchs_devices_which_no_other_family_tells() -> None:
    known = namespaces(
        host=(
            link(2, "ovs-system", "openvswitch"),
            link(3, "tap-kernel", "tun", master=2),
            link(4, "tap-userspace", "tun"),
            link(5, "tap-nobodys", "tun"),
            link(6, "eth0", None),
            link(7, "veth0"),
        ),
        router=(link(6, "eth0", None),),
    )
    drops = [Qdisc(HOST, index, "fq_codel", index) for index in range(2, 10)]
    of_router = [Qdisc("router", 6, "htb", 60), Qdisc("router", 6, "ingress", 61)]
    elsewhere = [Qdisc("gone", 2, "htb", 1), Qdisc("router", 99, "htb", 1)]
    facts = {"switch": switch("tap-userspace"), "qdiscs": (*drops, *of_router, *elsewhere)}
    found = page(qdisc.COLLECTOR, node(known, **facts))
    assert devices(found, DROPPED) == [
        "/tap-kernel",
        "/tap-userspace",
        "/veth0",
        "router/eth0",
        "router/eth0",
    ]
    assert of(found, DROPPED, device="tap-userspace", kind="fq_codel") == [4]
    assert of(found, DROPPED, netns="router", kind="ingress") == [61]


def test_drops_of_devices_that_a_pattern_hides_are_hidden() -> None:
    known = namespaces(host=(link(2, "ovs-system", "openvswitch"), link(3, "tap0", master=2)))
    drops = (Qdisc(HOST, 3, "fq_codel", 1),)
    hidden = LinkPatterns(exclude=("tap*",))
    assert page(qdisc.COLLECTOR, node(known, qdiscs=drops))
    assert page(qdisc.COLLECTOR, node(known, qdiscs=drops, link_patterns=hidden)) == {}
