"""Entries are those that bridge prints; an entry keeps its key; other neighbours wake nobody."""

import json
import os
import socket
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing

import pytest

from agent.errors import ParseError
from agent.sources.netlink_socket import NetlinkSocket
from agent.wire.netlink.allowed import GETNEIGH, ROUTE
from agent.wire.netlink.attributes import attribute
from agent.wire.netlink.forwarding import (
    AF_BRIDGE,
    DELNEIGH,
    FORWARDING,
    NDA_DST,
    NDA_LLADDR,
    NDA_MASTER,
    NDMSG,
    NEWNEIGH,
    ONLY_FORWARDING,
    Entry,
    _steps,
    parse_entry,
)
from agent.wire.netlink.header import Message
from agent.wire.netlink.links import DELLINK, NEWLINK, parse_link
from lab import namespace
from lab.process import run, wait_until
from tests.conftest import require_parts
from tests.wire.netlink.recorded import KERNELS, recorded, shown

AF_INET = 2
RTNLGRP_LINK, RTNLGRP_NEIGH = 1, 3
MAC = bytes.fromhex("020000000001")
VETH_ENDS = ("port0", "peer0")
VETH = ("type", "veth", "peer", "name", "peer0")
LOAD_HALF, LOAD_BYTE, IF_EQUAL, GIVE = 0x28, 0x30, 0x15, 0x06


def entries(name: str, kernel: str, *kinds: int) -> list[Entry]:
    found = [parse_entry(it.payload) for it in recorded(name, kernel, *kinds)]
    return [it for it in found if it is not None]


@pytest.mark.parametrize("kernel", KERNELS)
def test_entries_are_as_bridge_prints_them(kernel: str) -> None:
    indexes = {it["ifname"]: it["ifindex"] for it in shown("links", kernel)}
    printed = [
        (
            indexes[it["ifname"]],
            "master" in it,
            "master" in it and it["state"] == "permanent",
            it.get("dst"),
        )
        for it in shown("forwarding", kernel)
    ]
    found = [(it.index, it.bridge, it.local, it.remote) for it in entries("forwarding", kernel)]
    assert found == printed
    assert {bridge for _, bridge, _, _ in found} == {True, False}
    assert {"10.0.0.11", "239.1.1.1", "fd00::5"} <= {remote for *_, remote in found}


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_two_entries_have_the_same_key(kernel: str) -> None:
    keys = Counter(it.key for it in entries("forwarding", kernel))
    assert max(keys.values()) == 1


def following(messages: list[Message]) -> dict[bytes, Entry]:
    known: dict[bytes, Entry] = {}
    for message in messages:
        entry = parse_entry(message.payload)
        if entry is None:
            continue
        if message.type == NEWNEIGH:
            known[entry.key] = entry
        else:
            gone = known.pop(entry.key)
            # Of two members with the same address the bridge says nothing when one takes over.
            assert gone.local or gone.index == entry.index
    return known


def told_by_events(found: Iterable[Entry]) -> set[Entry]:
    """Leave out what a link listens to, and addresses of ports: not all of that has events."""
    return {it for it in found if not it.local and (it.bridge or it.remote is not None)}


@pytest.mark.parametrize("kernel", KERNELS)
def test_following_events_leads_to_what_a_dump_says(kernel: str) -> None:
    known = following(recorded("events", kernel, NEWNEIGH, DELNEIGH))
    assert len(known) > 20
    assert told_by_events(known.values()) == told_by_events(entries("forwarding", kernel))


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_moves_replaces_itself(kernel: str) -> None:
    names = {it["ifindex"]: it["ifname"] for it in shown("links", kernel)}
    said = entries("events", kernel, NEWNEIGH)
    moved = [it for it in said if it.bridge and it.key.endswith(b"\2\0\0\0\0\xaa")]
    assert [names[it.index] for it in moved] == ["veth0", "veth1"]
    assert len({it.key for it in moved}) == 1
    roamed = [it for it in said if not it.bridge and it.key.endswith(b"\2\0\0\0\0\xbb")]
    assert [it.remote for it in roamed] == ["127.0.0.2", "127.0.0.3"]
    assert len({it.key for it in roamed}) == 1


def test_neighbours_of_other_families_are_none() -> None:
    assert parse_entry(NDMSG.pack(AF_INET, 1, 0, 0, 0)) is None


@pytest.mark.parametrize(
    "message",
    [
        b"",
        bytes(11),
        NDMSG.pack(AF_BRIDGE, 1, 0, 0, 0) + attribute(NDA_MASTER, b"\1"),
        NDMSG.pack(AF_BRIDGE, 1, 0, 0, 0) + attribute(NDA_DST, b"\1\2\3"),
        NDMSG.pack(AF_BRIDGE, 1, 0, 0, 0) + attribute(NDA_LLADDR, MAC)[:-3],
    ],
)
def test_a_message_cut_short_is_refused(message: bytes) -> None:
    with pytest.raises(ParseError):
        parse_entry(message)


def given(steps: tuple[tuple[int, int, int, int], ...], packet: bytes) -> int:
    """Run a filter as bpf(4) says: how many bytes of the packet go through."""
    at, loaded = 0, 0
    while True:
        code, if_true, if_false, number = steps[at]
        at += 1
        if code == GIVE:
            return number
        if code == IF_EQUAL:
            at += if_true if loaded == number else if_false
        else:
            size = {LOAD_HALF: 2, LOAD_BYTE: 1}[code]
            loaded = int.from_bytes(packet[number : number + size], "big")


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_filter_reads_numbers_of_both_byte_orders(order: str) -> None:
    steps = _steps("little" if order == "<" else "big")
    passed = {
        (kind, family)
        for kind in range(0x200)
        for family in (0, 2, AF_BRIDGE, 10)
        if given(steps, struct.pack(f"{order}IHHIIB", 28, kind, 0, 0, 0, family))
    }
    others = {(kind, family) for kind, family in passed if kind not in (NEWNEIGH, DELNEIGH)}
    assert len(others) == (0x200 - 2) * 4
    assert passed - others == {(NEWNEIGH, AF_BRIDGE), (DELNEIGH, AF_BRIDGE)}


@pytest.fixture
def netns() -> Iterator[str]:
    """A namespace with a bridge br0, its member port0, and that one's peer0."""
    require_parts("ip", "bridge", "nsenter")
    name, directory = namespace.create()
    try:
        run("ip", "link", "add", "name", "br0", "up", "type", "bridge", netns=name)
        run("ip", "link", "add", "name", "port0", "up", "master", "br0", *VETH, netns=name)
        run("ip", "link", "set", "peer0", "up", netns=name)
        yield name
    finally:
        namespace.delete(name, directory)


def events_in(netns: str, filtered: bytes) -> NetlinkSocket:
    events = namespace.inside(netns, lambda: NetlinkSocket(ROUTE, 5.0))
    events.subscribe(RTNLGRP_LINK, RTNLGRP_NEIGH, filtered=filtered)
    return events


def test_only_neighbours_of_bridges_come_as_events(netns: str) -> None:
    with (
        closing(events_in(netns, ONLY_FORWARDING)) as events,
        closing(events_in(netns, b"")) as all_,
    ):
        for state in ("permanent", "stale"):  # neighbours as ARP makes them, and loses them
            neighbour = ("192.0.2.9", "lladdr", "02:00:00:00:00:09", "dev", "peer0")
            run("ip", "neighbour", "replace", *neighbour, "nud", state, netns=netns)
        run("ip", "neighbour", "delete", *neighbour, netns=netns)
        run("bridge", "fdb", "add", "02:00:00:00:00:01", "dev", "port0", "master", netns=netns)
        run("bridge", "fdb", "delete", "02:00:00:00:00:01", "dev", "port0", "master", netns=netns)
        run("ip", "link", "set", "peer0", "mtu", "1400", netns=netns)
        run("ip", "link", "delete", "port0", netns=netns)
        found, unfiltered = until_gone(events), until_gone(all_)
    neighbours = [it for it in unfiltered if it.type in (NEWNEIGH, DELNEIGH)]
    assert {it.payload[0] for it in neighbours} == {AF_INET, AF_BRIDGE}
    others = [it for it in neighbours if it.payload[0] != AF_BRIDGE]
    assert found == [it for it in unfiltered if it not in others]
    added = [it for it in found if it.payload.find(MAC) > 0]
    assert [it.type for it in added] == [NEWNEIGH, DELNEIGH]
    assert len({parse_entry(it.payload) for it in added}) == 1
    assert {NEWLINK, DELLINK} <= {it.type for it in found}


def until_gone(events: NetlinkSocket) -> list[Message]:
    """Return events up to the last: both ends of the pair are gone."""
    found: list[Message] = []
    wait_until(lambda: sum(is_gone(it) for it in heard(events, found)) == len(VETH_ENDS))
    return found


def is_gone(message: Message) -> bool:
    return message.type == DELLINK and parse_link(message.payload).link is not None


def heard(events: NetlinkSocket, found: list[Message]) -> list[Message]:
    found.extend(events.receive_events(100))
    return found


def test_what_is_asked_for_is_what_bridge_prints(netns: str) -> None:
    learn(netns, "peer0", MAC)
    asked = namespace.inside(netns, lambda: NetlinkSocket(ROUTE, 5.0))
    with closing(asked):
        found = [parse_entry(it.payload) for it in asked.dump(GETNEIGH, FORWARDING)]
    printed = json.loads(run("bridge", "-j", "fdb", netns=netns))
    assert len(found) == len(printed)
    learned = [it for it in found if it and it.key.endswith(MAC)]
    assert [(it.bridge, it.local) for it in learned] == [(True, False)]


def learn(netns: str, device: str, mac: bytes) -> None:
    """Send from this address until the bridge knows it: its port may not be forwarding yet."""
    descriptor = namespace.open_device(netns, device)
    try:
        with socket.socket(fileno=os.dup(descriptor)) as packets:
            frame = bytes.fromhex("020000000099") + mac + bytes.fromhex("88b5") + bytes(46)
            text = mac.hex(":")
            wait_until(lambda: packets.send(frame) and text in run("bridge", "fdb", netns=netns))
    finally:
        os.close(descriptor)
