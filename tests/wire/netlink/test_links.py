"""What a link's message says is what ip prints and pyroute2 decodes."""

import ipaddress
from dataclasses import replace
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from agent.errors import ParseError
from agent.model.link import Link, LinuxBridge, Tunnel
from agent.wire.netlink import tunnels
from agent.wire.netlink.attributes import attribute, attributes
from agent.wire.netlink.header import HEADER, LENGTH, Message
from agent.wire.netlink.links import (
    ADDRESS,
    AF_BRIDGE,
    ARPHRD_ETHER,
    BRPORT_STATE,
    DELLINK,
    IFF_UP,
    IFINFOMSG,
    IFNAME,
    INFO_DATA,
    INFO_KIND,
    LINKINFO,
    MTU,
    NEWLINK,
    PROTINFO,
    VLAN_ID,
    LinkMessage,
    parse_link,
)
from tests.wire.netlink.recorded import KERNELS, recorded, shown

PORT_STATES = {"disabled": 0, "listening": 1, "learning": 2, "forwarding": 3, "blocking": 4}
AF_SPEC, INET6_CONF, INET6_STATS, INET6_ICMP6STATS = 26, 2, 3, 6
UNSET = {None, "any", "0.0.0.0", "::"}  # noqa: S104 - as a tunnel's end, not to listen on
AF_INET6 = 10
DECODED = {"vxlan", "geneve", "gre", "gretap", "ipip", "sit", "ip6tnl"}
"""Tunnels of which pyroute2 decodes all that we do."""


def links_of(name: str, kernel: str) -> list[Link]:
    parsed = [parse_link(it.payload) for it in recorded(name, kernel, NEWLINK)]
    return [it.link for it in parsed if it.link is not None]


def as_printed(link: dict[str, Any], indexes: dict[str, int]) -> dict[str, Any]:
    """Return what ``ip -d -j link`` says in our words."""
    info = link.get("linkinfo", {})
    kind, data = info.get("info_kind"), info.get("info_data", {})
    member = info.get("info_slave_kind") == "bridge"
    return {
        "index": link["ifindex"],
        "name": link["ifname"],
        "kind": kind,
        "mac": link["address"] if link["link_type"] == "ether" else None,
        "mtu_bytes": link["mtu"],
        "up": "UP" in link["flags"],
        "master": indexes[link["master"]] if "master" in link else None,
        "vlan_id": data["id"] if kind == "vlan" else None,
        "tunnel": printed_tunnel(kind, data) if kind in tunnels._KINDS else None,
        "bridge": LinuxBridge(bool(data["stp_state"]), bool(data["vlan_filtering"]))
        if kind == "bridge"
        else None,
        "bridge_port_state": PORT_STATES[info["info_slave_data"]["state"]] if member else None,
    }


def printed_tunnel(kind: str, data: dict[str, Any]) -> Tunnel:
    external = data.get("external", False)
    quad = data.get("okey", data.get("ikey"))  # as a dotted quad
    key = data.get("id") if quad is None else int(ipaddress.IPv4Address(quad))
    local, remote = (
        next((data[name] for name in names if data.get(name) not in UNSET), None)
        for names in (("local", "local6"), ("remote", "remote6", "group", "group6"))
    )
    text = None if external or key is None else str(key)
    return Tunnel(kind, local, remote, text, data.get("port"), external)


@pytest.mark.parametrize("kernel", KERNELS)
def test_links_are_as_ip_prints_them(kernel: str) -> None:
    printed = shown("links", kernel)
    indexes = {it["ifname"]: it["ifindex"] for it in printed}
    expected = [as_printed(it, indexes) for it in printed]
    found = links_of("links", kernel)
    assert [{field: getattr(it, field) for field in expected[0]} for it in found] == expected


def test_every_kind_of_tunnel_was_recorded() -> None:
    kinds = {it.kind for it in links_of("links", KERNELS[0])}
    assert kinds >= {*tunnels._KINDS, "bridge", "vlan", "veth", "tun", "bond", "vrf"}


def decoded(message: Message) -> Any:
    """Decode all of a message with pyroute2."""
    header = HEADER.pack(LENGTH + len(message.payload), message.type, 0, 0, 0)
    whole = ifinfmsg(header + message.payload)
    whole.decode()
    return whole


def as_decoded(message: Message) -> LinkMessage:
    """Return what pyroute2 says in our words."""
    whole = decoded(message)
    family, index = whole["family"], whole["index"]
    if family == AF_BRIDGE:
        port = whole.get_nested("IFLA_PROTINFO", "IFLA_BRPORT_STATE")
        return LinkMessage(family, index, None, port)
    info = dict((whole.get_attr("IFLA_LINKINFO") or {"attrs": []})["attrs"])
    kind = info.get("IFLA_INFO_KIND")
    data = info.get("IFLA_INFO_DATA")
    values = dict(data["attrs"]) if isinstance(data, dict) else {}
    bridge = None
    if kind == "bridge":
        names = ("IFLA_BR_STP_STATE", "IFLA_BR_VLAN_FILTERING")
        bridge = LinuxBridge(*(bool(values[it]) for it in names))
    port = None
    if info.get("IFLA_INFO_SLAVE_KIND") == "bridge":
        port = info["IFLA_INFO_SLAVE_DATA"].get_attr("IFLA_BRPORT_STATE")
    link = Link(
        index=index,
        name=whole.get_attr("IFLA_IFNAME"),
        kind=kind,
        mac=whole.get_attr("IFLA_ADDRESS") if whole["ifi_type"] == ARPHRD_ETHER else None,
        mtu_bytes=whole.get_attr("IFLA_MTU"),
        up=bool(whole["flags"] & IFF_UP),
        carrier=bool(whole.get_attr("IFLA_CARRIER")),
        master=whole.get_attr("IFLA_MASTER"),
        carrier_changes=whole.get_attr("IFLA_CARRIER_CHANGES"),
        vlan_id=values["IFLA_VLAN_ID"] if kind == "vlan" else None,
        tunnel=decoded_tunnel(kind, values) if kind in DECODED else None,
        bridge=bridge,
        bridge_port_state=port,
    )
    return LinkMessage(family, index, link, None)


def decoded_tunnel(kind: str, found: dict[str, Any]) -> Tunnel:
    values = {name.split("_", 2)[-1]: value for name, value in found.items()}
    external = bool(values.get("COLLECT_METADATA"))
    local, remote = (
        next((values[name] for name in names if values.get(name) not in UNSET), None)
        for names in (("LOCAL", "LOCAL6"), ("REMOTE", "REMOTE6", "GROUP", "GROUP6"))
    )
    key = values.get("ID")
    for side in "IO":
        if values.get(f"{side}FLAGS", 0) & tunnels.GRE_KEY:
            key = values[f"{side}KEY"]
    text = None if external or key is None else str(key)
    return Tunnel(kind, local, remote, text, values.get("PORT"), external)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["links", "events"])
def test_links_are_as_pyroute2_decodes_them(name: str, kernel: str) -> None:
    found = recorded(name, kernel, NEWLINK, DELLINK)
    assert len(found) > 15
    for message in found:
        parsed, expected = parse_link(message.payload), as_decoded(message)
        if parsed.link and parsed.link.kind in tunnels._KINDS.keys() - DECODED:
            parsed = parsed._replace(link=replace(parsed.link, tunnel=None))
        assert parsed == expected


@pytest.mark.parametrize("kernel", KERNELS)
def test_following_events_leads_to_what_a_dump_says(kernel: str) -> None:
    links: dict[int, Link] = {}
    for message in recorded("events", kernel, NEWLINK, DELLINK):
        said = parse_link(message.payload)
        if said.link is not None:
            if message.type == NEWLINK:
                links[said.index] = said.link
            else:
                del links[said.index]
        elif message.type == NEWLINK and said.index in links:
            links[said.index] = replace(links[said.index], bridge_port_state=said.port_state)
    dumped = {it.index: it for it in links_of("links", kernel)}
    assert links == {index: dumped[index] for index in links}
    before = {dumped[index].name.rstrip("0") for index in dumped.keys() - links.keys()}
    assert before <= {"lo", "gre", "gretap", "erspan", "ip6tnl", "ip6gre", "tunl", "sit"}


@pytest.mark.parametrize("kernel", KERNELS)
def test_leaving_a_bridge_is_not_the_end_of_a_link(kernel: str) -> None:
    said = [parse_link(it.payload) for it in recorded("events", kernel, DELLINK)]
    left = [it.index for it in said if it.family == AF_BRIDGE]
    gone = [it.link.name for it in said if it.link is not None]
    names = {it.index: it.name for it in links_of("links", kernel)}
    assert [names.get(it) for it in left] == ["veth1", "vx-unicast", None]
    assert sorted(gone) == ["gone", "gone-peer"]


def test_states_of_spanning_tree_come_in_messages_of_the_bridge() -> None:
    (port,) = (it.index for it in links_of("links", "6.1") if it.name == "dummy0")
    said = [parse_link(it.payload) for it in recorded("events", "6.1", NEWLINK)]
    states = [it.port_state for it in said if it.index == port and it.family == AF_BRIDGE]
    assert set(states) == {0, 1, 2, 3}
    assert states[-1] == PORT_STATES["forwarding"]


@pytest.mark.parametrize("kernel", KERNELS)
def test_statistics_of_ipv6_and_virtual_functions_are_not_asked_for(kernel: str) -> None:
    said = [
        attributes(attributes(it.payload, IFINFOMSG.size)[AF_SPEC]).get(AF_INET6)
        for it in recorded("links", kernel, NEWLINK)
    ]
    kinds = [set(attributes(it)) for it in said if it is not None]
    assert sum(INET6_CONF in it for it in kinds) > 15
    assert not any({INET6_STATS, INET6_ICMP6STATS} & it for it in kinds)


def info(kind: bytes, data: bytes) -> bytes:
    inside = attribute(INFO_KIND, kind + b"\0") + attribute(INFO_DATA, data)
    return IFINFOMSG.pack(0, 1, 7, 0, 0) + attribute(IFNAME, b"x\0") + attribute(LINKINFO, inside)


def test_what_a_kernel_does_not_say_is_not_known() -> None:
    bare = IFINFOMSG.pack(0, 1, 7, 0, 0) + attribute(IFNAME, b"x\0")
    assert parse_link(bare).link == Link(7, "x")
    assert parse_link(info(b"bridge", b"")).link == Link(7, "x", "bridge", bridge=LinuxBridge())
    assert parse_link(info(b"vxlan", b"")).link == Link(7, "x", "vxlan", tunnel=Tunnel("vxlan"))
    assert parse_link(info(b"gre", b"")).link == Link(7, "x", "gre", tunnel=Tunnel("gre"))
    assert parse_link(info(b"vlan", b"")).link == Link(7, "x", "vlan")


def test_a_message_that_names_no_link_has_none() -> None:
    assert parse_link(IFINFOMSG.pack(0, 1, 7, 0, 0)) == LinkMessage(0, 7, None, None)
    other = IFINFOMSG.pack(AF_INET6, 1, 7, 0, 0) + attribute(IFNAME, b"x\0")
    assert parse_link(other) == LinkMessage(AF_INET6, 7, None, None)


def test_a_name_that_is_no_text_is_escaped() -> None:
    message = IFINFOMSG.pack(0, 1, 7, 0, 0) + attribute(IFNAME, b"a\xff\0")
    link = parse_link(message).link
    assert link is not None
    assert link.name == "a\\xff"


def test_only_ethernet_addresses_are_macs() -> None:
    address = attribute(IFNAME, b"x\0") + attribute(ADDRESS, bytes.fromhex("020000000001"))
    ethernet, tunnel = (parse_link(IFINFOMSG.pack(0, it, 7, 0, 0) + address) for it in (1, 776))
    assert (ethernet.link, tunnel.link) == (Link(7, "x", mac="02:00:00:00:00:01"), Link(7, "x"))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        bytes(15),
        IFINFOMSG.pack(0, 1, 7, 0, 0) + b"\3\0\3\0",
        IFINFOMSG.pack(0, 1, 7, 0, 0) + b"\xff\0\3\0abcd",
        IFINFOMSG.pack(0, 1, 7, 0, 0) + attribute(IFNAME, b"x\0") + attribute(MTU, b"\1\2"),
        IFINFOMSG.pack(AF_BRIDGE, 1, 7, 0, 0) + attribute(PROTINFO, attribute(BRPORT_STATE, b"")),
        info(b"vxlan", attribute(2, b"\1\2\3")),
        info(b"vlan", attribute(VLAN_ID, b"\1")),
    ],
)
def test_a_message_cut_short_is_refused(message: bytes) -> None:
    with pytest.raises(ParseError):
        parse_link(message)
