"""Nothing that changes anything is ever sent to the kernel."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire.netlink.addresses import ADDRESSES
from agent.wire.netlink.allowed import (
    CT_GET,
    CT_GET_STATS_CPU,
    GENERIC,
    GENL_CTRL,
    GETADDR,
    GETLINK,
    GETNEIGH,
    GETQDISC,
    GETSTATS,
    NETFILTER,
    ROUTE,
    is_allowed,
)
from agent.wire.netlink.forwarding import FORWARDING
from agent.wire.netlink.header import HEADER, LENGTH, request
from agent.wire.netlink.links import LINKS

OVS = 25
FAMILIES = frozenset((OVS,))
GET = bytes((3, 1, 0, 0))
"""A generic netlink header with command 3."""
REQUEST, ACK, ECHO, DUMP, ATOMIC = 0x1, 0x4, 0x8, 0x300, 0x400
ROUTE_GETS = {GETLINK, GETADDR, GETNEIGH, GETQDISC, GETSTATS}
RTM_MAX = 150


def message(kind: int, payload: bytes = b"", flags: int = REQUEST | DUMP) -> bytes:
    return HEADER.pack(LENGTH + len(payload), kind, flags, 1, 0) + payload


@pytest.mark.parametrize(
    ("protocol", "kind", "payload"),
    [
        (ROUTE, GETLINK, LINKS),
        (ROUTE, GETADDR, ADDRESSES),
        (ROUTE, GETNEIGH, FORWARDING),
        (ROUTE, GETQDISC, bytes(20)),
        (ROUTE, GETSTATS, bytes(12)),
        (NETFILTER, CT_GET, bytes(4)),
        (NETFILTER, CT_GET_STATS_CPU, bytes(4)),
        (GENERIC, GENL_CTRL, GET),
        (GENERIC, OVS, GET),
    ],
)
def test_what_the_agent_asks_is_allowed(protocol: int, kind: int, payload: bytes) -> None:
    assert is_allowed(protocol, request(kind, payload, 1), FAMILIES)


def test_of_the_types_of_rtnetlink_only_these_are_allowed() -> None:
    allowed = {it for it in range(RTM_MAX) if is_allowed(ROUTE, message(it, bytes(20)))}
    assert allowed == ROUTE_GETS
    # Of each group of four (linux/rtnetlink.h) NEW, DEL and SET have the other remainders.
    assert {it % 4 for it in allowed} == {2}


def test_of_connection_tracking_only_reading_is_allowed() -> None:
    subsystem = {it for it in range(0x100, 0x200) if is_allowed(NETFILTER, message(it, bytes(4)))}
    assert subsystem == {0x101, 0x104}
    others = (*range(0x100), *range(0x200, 0x1000))
    assert not any(is_allowed(NETFILTER, message(it, bytes(4))) for it in others)


def test_of_generic_families_only_command_3_of_known_ones_is_allowed() -> None:
    for command in range(256):
        payload = bytes((command, 1, 0, 0))
        assert is_allowed(GENERIC, message(OVS, payload), FAMILIES) == (command == 3)
        assert is_allowed(GENERIC, message(GENL_CTRL, payload), FAMILIES) == (command == 3)
    assert not is_allowed(GENERIC, message(OVS + 1, GET), FAMILIES)
    assert not is_allowed(GENERIC, message(OVS, GET))
    assert not is_allowed(GENERIC, message(OVS, b""), FAMILIES)


def test_a_family_is_never_asked_for_by_its_name() -> None:
    assert not is_allowed(GENERIC, message(GENL_CTRL, GET, REQUEST), FAMILIES)
    assert not is_allowed(GENERIC, message(GENL_CTRL, GET, REQUEST), frozenset((GENL_CTRL,)))


@given(st.integers(0, 0xFFFF))
def test_no_flags_but_those_of_a_get(flags: int) -> None:
    assert is_allowed(ROUTE, message(GETLINK, LINKS, flags)) == (flags in (REQUEST, REQUEST | DUMP))


@pytest.mark.parametrize("flags", [0, DUMP, REQUEST | ACK, REQUEST | ECHO, REQUEST | DUMP | ATOMIC])
def test_unusual_requests_are_refused(flags: int) -> None:
    assert not is_allowed(ROUTE, message(GETLINK, LINKS, flags))


def test_nothing_rides_behind_an_allowed_request() -> None:
    get, delete = message(GETLINK, LINKS), message(17, LINKS, REQUEST)
    assert not is_allowed(ROUTE, get + delete)
    assert not is_allowed(ROUTE, get + get)
    assert not is_allowed(ROUTE, get + b"\0")
    assert not is_allowed(ROUTE, get[:-1])
    assert not is_allowed(ROUTE, b"")


@pytest.mark.parametrize(
    "protocol", [it for it in range(32) if it not in (ROUTE, NETFILTER, GENERIC)]
)
def test_other_protocols_are_not_spoken(protocol: int) -> None:
    assert not any(is_allowed(protocol, message(it, GET), FAMILIES) for it in range(512))


@given(st.binary(max_size=80), st.sampled_from((ROUTE, NETFILTER, GENERIC)))
def test_bytes_that_are_no_message_are_refused(data: bytes, protocol: int) -> None:
    if is_allowed(protocol, data, FAMILIES):
        assert HEADER.unpack_from(data)[0] == len(data)
