"""What ``lab.libvirt_server`` can do instead of answering a call: one ``Answer`` for each fault."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol

from lab.libvirt_rpc import Header, Status, Type, error, message, u32

NO_SUPPORT, RPC, NO_DOMAIN, OPERATION_INVALID = 3, 39, 42, 55
"""virErrorNumber, those that the server itself says."""
FROM_RPC, FROM_QEMU = 7, 10
"""virErrorDomain: which part of libvirt says it."""


class Call(Protocol):
    """A call that waits for its answer."""

    @property
    def header(self) -> Header:
        """Of the answer that says yes."""

    def honest(self) -> bytes:
        """Return the whole answer that a healthy libvirtd would give."""

    async def say(self, data: bytes) -> None:
        """Send bytes as they are."""

    def close(self) -> None:
        """Close the connection, when what was said is sent."""

    def fall_silent(self) -> None:
        """Say nothing more on this connection, whatever comes; not even that it lives."""


Answer = Callable[[Call], Coroutine[Any, Any, None]]


def fails(code: int, text: str, domain: int = FROM_QEMU) -> Answer:
    """Answer with an error of libvirt's (virErrorNumber, its message, virErrorDomain)."""

    async def answer(call: Call) -> None:
        header = replace(call.header, status=Status.ERROR)
        await call.say(message(header, error(code, domain, text)))

    return answer


def gives(payload: bytes) -> Answer:
    """Answer with a payload that a test packed, in the right message."""

    async def answer(call: Call) -> None:
        await call.say(message(call.header, payload))

    return answer


def raw(data: bytes) -> Answer:
    """Answer with bytes that are no message, or another one."""

    async def answer(call: Call) -> None:
        await call.say(data)

    return answer


def late(seconds: float) -> Answer:
    """Give the honest answer, but not yet. Other calls and pings are answered meanwhile."""

    async def answer(call: Call) -> None:
        await asyncio.sleep(seconds)
        await call.say(call.honest())

    return answer


def mangled(change: Callable[[bytes], bytes]) -> Answer:
    """Answer with the honest answer after a change to its bytes."""

    async def answer(call: Call) -> None:
        await call.say(change(call.honest()))

    return answer


def headed(change: Callable[[Header], Header]) -> Answer:
    """Answer with the honest payload under another header."""

    async def answer(call: Call) -> None:
        head = len(message(call.header))
        await call.say(message(change(call.header), call.honest()[head:]))

    return answer


async def says_nothing(_call: Call) -> None:
    """Leave this call unanswered; other calls and pings are answered."""


async def falls_silent(call: Call) -> None:
    """Leave this and all that follows on the connection unanswered, pings too."""
    call.fall_silent()


async def closes(call: Call) -> None:
    """Close instead of answering."""
    call.close()


async def half_then_closes(call: Call) -> None:
    """Close in the middle of the answer."""
    data = call.honest()
    await call.say(data[: len(data) // 2])
    call.close()


async def half_then_stalls(call: Call) -> None:
    """Send half of the answer and leave it at that, and the connection too."""
    data = call.honest()
    await call.say(data[: len(data) // 2])
    call.fall_silent()


def _length(value: int) -> Answer:
    return mangled(lambda data: u32(value) + data[4:])


def _cut(data: bytes) -> bytes:
    """Take the last word away and say so in the length."""
    return u32(len(data) - 4) + data[4:-4]


GARBAGE: dict[str, Answer] = {
    "a length of zero": _length(0),
    "a length of less than a header": _length(27),
    "a length above what is allowed": _length(0x7FFFFFFF),
    "a negative length": _length(0xFFFFFFFF),
    "a payload without its last word": mangled(_cut),
    "an empty payload": mangled(lambda data: u32(28) + data[4:28]),
    "a payload with words too many": mangled(lambda data: u32(len(data) + 8) + data[4:] + bytes(8)),
    "an array of more than there are": mangled(
        lambda data: data[:28] + u32(0x7FFFFFFF) + data[32:]
    ),
    "another program": headed(lambda header: replace(header, program=0x12345678)),
    "another version": headed(lambda header: replace(header, version=9)),
    "another procedure": headed(lambda header: replace(header, procedure=header.procedure + 1)),
    "another serial": headed(lambda header: replace(header, serial=header.serial + 100)),
    "a call": headed(lambda header: replace(header, type=Type.CALL)),
    "an unknown type": headed(lambda header: replace(header, type=77)),
    "an unknown status": headed(lambda header: replace(header, status=77)),
    "an error without its text": headed(lambda header: replace(header, status=Status.ERROR)),
    "random bytes": raw(bytes(number * 167 % 251 for number in range(1, 400))),
    "an answer of HTTP": raw(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
}
"""Answers that are not the protocol, by what is wrong with them."""
