"""Messages are applied in whatever order they come, and what did not change is the same object."""

import ipaddress
import struct

import pytest

from agent.model.link import Address, Link
from agent.model.namespace import Namespace
from agent.sources.known_links import KnownLinks
from agent.wire.netlink import forwarding, links
from agent.wire.netlink.addresses import DELADDR, IFADDRMSG, NEWADDR
from agent.wire.netlink.attributes import attribute
from agent.wire.netlink.forwarding import DELNEIGH, NEWNEIGH
from agent.wire.netlink.header import DONE, Message
from agent.wire.netlink.links import AF_BRIDGE, AF_UNSPEC, DELLINK, IFINFOMSG, NEWLINK


def link(kind: int, index: int, name: str = "", *, master: int = 0, state: int = 0) -> Message:
    payload = IFINFOMSG.pack(AF_UNSPEC, links.ARPHRD_ETHER, index, 0, 0)
    payload += attribute(links.IFNAME, name.encode() + b"\0") if name else b""
    if master:
        payload += attribute(links.MASTER, struct.pack("=I", master))
        data = attribute(links.BRPORT_STATE, bytes([state]))
        info = attribute(links.INFO_SLAVE_KIND, b"bridge\0")
        info += attribute(links.INFO_SLAVE_DATA, data)
        payload += attribute(links.LINKINFO, info)
    return Message(kind, 0, 0, payload)


def bridge_link(kind: int, index: int, state: int | None) -> Message:
    payload = IFINFOMSG.pack(AF_BRIDGE, links.ARPHRD_ETHER, index, 0, 0)
    if state is not None:
        data = attribute(links.BRPORT_STATE, bytes([state]))
        payload += attribute(links.PROTINFO, data)
    return Message(kind, 0, 0, payload)


def address(kind: int, index: int, text: str, scope: int = 0) -> Message:
    interface = ipaddress.ip_interface(text)
    family = {4: 2, 6: 10}[interface.version]
    payload = IFADDRMSG.pack(family, interface.network.prefixlen, 0, scope, index)
    return Message(kind, 0, 0, payload + attribute(1, interface.ip.packed))


def behind(kind: int, port: int, mac: int, *, bridge: int = 9, permanent: bool = False) -> Message:
    """An entry of a bridge's table."""
    state = forwarding.NUD_PERMANENT if permanent else 0
    payload = forwarding.NDMSG.pack(forwarding.AF_BRIDGE, port, state, 0, 0)
    payload += attribute(forwarding.NDA_LLADDR, mac.to_bytes(6))
    payload += attribute(forwarding.NDA_MASTER, struct.pack("=I", bridge))
    return Message(kind, 0, 0, payload)


def remote(kind: int, device: int, mac: int, vtep: str | None) -> Message:
    """An entry of a vxlan device's table."""
    payload = forwarding.NDMSG.pack(forwarding.AF_BRIDGE, device, 0, forwarding.NTF_SELF, 0)
    payload += attribute(forwarding.NDA_LLADDR, mac.to_bytes(6))
    if vtep is not None:
        payload += attribute(forwarding.NDA_DST, ipaddress.ip_address(vtep).packed)
    return Message(kind, 0, 0, payload)


def known(*messages: Message, most: int = 100, addresses: bool = True) -> KnownLinks:
    made = KnownLinks("a", most, addresses=addresses)
    for message in messages:
        made.apply(message)
    return made


def test_nothing_is_known_of_an_empty_namespace() -> None:
    assert known().namespace() == Namespace("a", {}, (), {}, {})
    assert known(addresses=False).namespace() == Namespace("a", {}, None, {}, {})


def test_links_come_change_and_go() -> None:
    it = known(link(NEWLINK, 2, "eth0"), link(NEWLINK, 3, "eth1"))
    assert it.events == {"link_added": 2}
    it.apply(link(NEWLINK, 2, "renamed"))
    it.apply(link(DELLINK, 3, "eth1"))
    assert it.namespace().links == {2: Link(2, "renamed")}
    assert it.events == {"link_added": 2, "link_changed": 1, "link_removed": 1}


def test_lo_and_what_is_on_it_are_left_out() -> None:
    it = known(link(NEWLINK, 1, "lo"), address(NEWADDR, 1, "127.0.0.1/8"))
    assert it.namespace() == Namespace("a", {}, (), {}, {})
    assert not it.events


def test_the_same_again_is_no_event_and_changes_nothing() -> None:
    messages = (
        link(NEWLINK, 2, "eth0"),
        address(NEWADDR, 2, "192.0.2.1/24"),
        behind(NEWNEIGH, 2, 1),
        remote(NEWNEIGH, 2, 1, "192.0.2.9"),
    )
    it = known(*messages)
    before = it.namespace()
    it.events.clear()
    assert not it.changed
    for message in messages:
        it.apply(message)
    for message in (
        link(DELLINK, 7, "x"),
        address(DELADDR, 7, "192.0.2.7/24"),
        behind(DELNEIGH, 7, 7),
        remote(DELNEIGH, 7, 7, "192.0.2.7"),
        Message(DONE, 0, 0, bytes(4)),
    ):
        it.apply(message)
    assert not it.changed
    assert not it.events
    assert it.namespace() is before


def test_parts_that_did_not_change_are_the_same_objects() -> None:
    it = known(link(NEWLINK, 2, "eth0"), address(NEWADDR, 2, "192.0.2.1/24"))
    before = it.namespace()
    it.apply(behind(NEWNEIGH, 2, 1))
    after = it.namespace()
    assert after.links is before.links
    assert after.addresses is before.addresses
    assert (before.forwarding, after.forwarding) == ({}, {2: 1})
    it.apply(link(NEWLINK, 3, "eth1"))
    assert before.links.keys() == {2}  # what was given away does not change


def test_the_state_of_a_port_comes_by_messages_of_the_bridge() -> None:
    it = known(link(NEWLINK, 2, "eth0", master=9, state=1))
    assert it.namespace().links[2].bridge_port_state == 1
    it.apply(bridge_link(NEWLINK, 2, 3))
    assert it.namespace().links[2] == Link(2, "eth0", master=9, bridge_port_state=3)
    for message in (
        bridge_link(DELLINK, 2, None),  # left its bridge, but is still there
        bridge_link(NEWLINK, 2, None),
        bridge_link(NEWLINK, 8, 3),  # not known
    ):
        it.apply(message)
        assert not it.changed
    it.apply(link(NEWLINK, 2, "eth0"))
    it.apply(bridge_link(NEWLINK, 2, 3))  # an older one, no member any more
    assert it.namespace().links == {2: Link(2, "eth0")}


def test_an_event_without_a_name_is_about_something_else() -> None:
    it = known(link(NEWLINK, 2, "wlan0"))
    it.namespace()
    it.apply(link(NEWLINK, 2))
    assert not it.changed


def test_addresses_come_and_go_also_with_their_link() -> None:
    it = known(
        link(NEWLINK, 2, "eth0"),
        address(NEWADDR, 2, "192.0.2.1/24"),
        address(NEWADDR, 2, "192.0.2.1/32"),
        address(NEWADDR, 3, "2001:db8::1/64"),
    )
    assert it.namespace().addresses == (
        Address(2, "192.0.2.1/24", "inet", "global"),
        Address(2, "192.0.2.1/32", "inet", "global"),
        Address(3, "2001:db8::1/64", "inet6", "global"),
    )
    it.apply(address(DELADDR, 2, "192.0.2.1/32"))
    it.apply(link(DELLINK, 2, "eth0"))
    assert it.namespace().addresses == (Address(3, "2001:db8::1/64", "inet6", "global"),)
    assert it.events["address_removed"] == 2


def test_entries_are_counted_where_they_lead() -> None:
    it = known(
        behind(NEWNEIGH, 2, 0x0200000001),
        behind(NEWNEIGH, 2, 0x0200000002),
        behind(NEWNEIGH, 3, 0x0200000003),
        behind(NEWNEIGH, 3, 0x0200000004, permanent=True),  # the port's own address
        remote(NEWNEIGH, 5, 0, "192.0.2.8"),
        remote(NEWNEIGH, 5, 0, "192.0.2.9"),
        remote(NEWNEIGH, 5, 0x0200000001, "192.0.2.9"),
        remote(NEWNEIGH, 6, 0x333300000001, None),  # what hardware listens to
    )
    assert it.namespace().forwarding == {2: 2, 3: 1}
    assert it.namespace().remotes == {(5, "192.0.2.8"): 1, (5, "192.0.2.9"): 2}
    it.apply(remote(DELNEIGH, 5, 0, "192.0.2.8"))
    it.apply(behind(DELNEIGH, 2, 0x0200000002))
    assert it.namespace().forwarding == {2: 1, 3: 1}
    assert it.namespace().remotes == {(5, "192.0.2.9"): 2}


def test_an_entry_that_moves_is_counted_in_its_new_place_only() -> None:
    it = known(behind(NEWNEIGH, 2, 1), remote(NEWNEIGH, 5, 0x0200000001, "192.0.2.8"))
    it.apply(behind(NEWNEIGH, 3, 1))
    it.apply(remote(NEWNEIGH, 5, 0x0200000001, "2001:db8::9"))
    assert it.namespace().forwarding == {3: 1}
    assert it.namespace().remotes == {(5, "2001:db8::9"): 1}
    it.apply(behind(NEWNEIGH, 3, 1, permanent=True))
    assert it.namespace().forwarding == {}
    assert it.events == {"forwarding_added": 4, "forwarding_removed": 3}


def test_entries_go_with_their_link() -> None:
    it = known(
        link(NEWLINK, 2, "eth0"),
        link(NEWLINK, 5, "vxlan-5"),
        behind(NEWNEIGH, 2, 1),
        behind(NEWNEIGH, 3, 2),
        remote(NEWNEIGH, 5, 0, "192.0.2.8"),
    )
    it.apply(link(DELLINK, 5, "vxlan-5"))
    it.apply(link(DELLINK, 2, "eth0"))
    assert it.namespace().forwarding == {3: 1}
    assert it.namespace().remotes == {}


def test_too_many_entries_are_none_and_take_no_memory() -> None:
    it = known(behind(NEWNEIGH, 2, 1), remote(NEWNEIGH, 5, 0, "192.0.2.8"), most=2)
    it.apply(behind(NEWNEIGH, 3, 1))  # moved: as many as before
    assert it.namespace().forwarding == {3: 1}
    assert (it.too_many, it.changed) == (False, False)
    it.apply(behind(NEWNEIGH, 3, 2))
    assert (it.too_many, it.changed) == (True, True)
    assert (it.namespace().forwarding, it.namespace().remotes) == (None, None)
    for message in (behind(NEWNEIGH, 3, 3), behind(DELNEIGH, 3, 1), link(DELLINK, 3, "x")):
        it.apply(message)
    assert (it.too_many, it.changed) == (True, False)
    assert (it._entries, it._counts, it._places) == (None, {}, {})


def test_addresses_that_are_not_wanted_are_not_known() -> None:
    it = known(address(NEWADDR, 2, "192.0.2.1/24"), addresses=False)
    assert it.namespace().addresses is None


@pytest.mark.parametrize("kind", [NEWLINK, DELLINK, NEWADDR, DELADDR, NEWNEIGH, DELNEIGH])
def test_what_is_cut_short_is_passed_over_and_noted(kind: int) -> None:
    it = known(link(NEWLINK, 2, "eth0"))
    before = it.namespace()
    it.apply(Message(kind, 0, 0, b"\0\0"))
    assert it.namespace() == before
    assert it.refused is not None
    assert f"message of type {kind}: " in it.refused
