"""Datagrams fall into messages, requests are what the kernel expects."""

import errno
import struct

import pytest
from pyroute2.netlink import nlmsg

from agent.errors import ParseError
from agent.wire.netlink.header import (
    DONE,
    ERROR,
    HEADER,
    LENGTH,
    Flag,
    Message,
    messages,
    request,
)
from agent.wire.netlink.links import NEWLINK
from tests.wire.netlink.recorded import FIXTURES, KERNELS, recorded


def packed(kind: int, payload: bytes, flags: int = 0) -> bytes:
    padding = bytes(-len(payload) % 4)
    return HEADER.pack(LENGTH + len(payload), kind, flags, 7, 99) + payload + padding


def test_a_datagram_falls_into_messages_without_their_padding() -> None:
    datagram = packed(16, b"abcde", Flag.MULTI) + packed(17, b"") + packed(DONE, bytes(4))
    assert list(messages(datagram)) == [
        Message(16, Flag.MULTI, 7, b"abcde"),
        Message(17, 0, 7, b""),
        Message(DONE, 0, 7, bytes(4)),
    ]


def test_the_last_message_may_lack_its_padding() -> None:
    assert [it.payload for it in messages(packed(16, b"abcde")[:-3])] == [b"abcde"]


def test_nothing_has_no_messages() -> None:
    assert list(messages(b"")) == []


@pytest.mark.parametrize(
    "datagram",
    [
        packed(16, b"abcd")[:-1],
        packed(16, b"abcd")[:15],
        packed(16, b"abcd") + bytes(15),
        HEADER.pack(15, 16, 0, 0, 0),
        HEADER.pack(0, 16, 0, 0, 0),
        HEADER.pack(0xFFFFFFFF, 16, 0, 0, 0),
    ],
)
def test_a_message_cut_short_is_refused(datagram: bytes) -> None:
    with pytest.raises(ParseError):
        list(messages(datagram))


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_the_kernel_sent_is_found_whole(kernel: str) -> None:
    data = (FIXTURES / f"links-{kernel}.bin").read_bytes()
    found = list(messages(data))
    assert [it.type for it in found] == [NEWLINK] * (len(found) - 1) + [DONE]
    assert {it.flags for it in found} == {Flag.MULTI}
    assert (found[-1].errno, found[-1].sequence) == (0, 1)
    assert sum(LENGTH + (len(it.payload) + 3 & ~3) for it in found) == len(data)
    assert len(recorded("links", kernel)) == len(found) - 1


def test_an_error_has_a_positive_number() -> None:
    (refused,) = messages(packed(ERROR, struct.pack("=i", -errno.EPERM) + bytes(16)))
    assert refused.errno == errno.EPERM


def test_an_error_without_a_number_is_refused() -> None:
    with pytest.raises(ParseError):
        _ = Message(ERROR, 0, 0, b"\1\2\3").errno


@pytest.mark.parametrize("dump", [True, False])
def test_a_request_is_as_pyroute2_reads_it(dump: bool) -> None:  # noqa: FBT001 - a parameter
    read = nlmsg(request(18, b"abcd", 5, dump=dump))
    read.decode()
    expected = {
        "length": 20,
        "type": 18,
        "flags": 0x301 if dump else 1,
        "sequence_number": 5,
        "pid": 0,
    }
    assert {name: read["header"][name] for name in expected} == expected
