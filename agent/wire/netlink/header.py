"""Netlink messages in a datagram, and requests for more of them (linux/netlink.h, netlink(7)).

```
 0        4     6     8        12       16
 +--------+-----+-----+--------+--------+---------
 | length |type |flags|  seq   |port id | payload …
 +--------+-----+-----+--------+--------+---------
```
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from agent.errors import ParseError

HEADER = struct.Struct("=IHHII")
LENGTH = HEADER.size
ERRNO = struct.Struct("=i")

NOOP, ERROR, DONE, OVERRUN = 1, 2, 3, 4
"""Message types below NLMSG_MIN_TYPE are the protocol's own."""


class Flag:
    """``nlmsg_flags``; a GET has no others than these.

    Plain numbers: an IntFlag's own ``&`` costs a microsecond, as much as a link's statistics.
    """

    REQUEST = 0x1
    MULTI = 0x2
    DUMP_INTERRUPTED = 0x10
    DUMP = 0x300


class Message(NamedTuple):
    """One message.

    Attributes:
        type: ``nlmsg_type``.
        flags: ``nlmsg_flags``.
        sequence: Of the request that it answers, 0 for an event.
        payload: What follows the header, without padding.
    """

    type: int
    flags: int
    sequence: int
    payload: bytes

    @property
    def errno(self) -> int:
        """The error number of an ERROR or DONE message, positive; 0 for success.

        Raises:
            ParseError: If there is none in it.
        """
        if len(self.payload) < ERRNO.size:
            # NLMSG_DONE of a dump has had its number since Linux 2.6; an error always.
            raise ParseError(f"a message of type {self.type} without its error number")
        number: int = ERRNO.unpack_from(self.payload)[0]
        return -number


def messages(datagram: bytes) -> Iterator[Message]:
    """Split a datagram.

    Raises:
        ParseError: If a message is shorter than its header or longer than what is there.
    """
    at, end = 0, len(datagram)
    while at < end:
        if end - at < LENGTH:
            raise ParseError(f"{end - at} bytes instead of a netlink header")
        length, kind, flags, sequence, _ = HEADER.unpack_from(datagram, at)
        if length < LENGTH or at + length > end:
            raise ParseError(f"a netlink message of {length} bytes in {end - at}")
        yield Message(kind, flags, sequence, datagram[at + LENGTH : at + length])
        at += (length + 3) & ~3


def request(kind: int, payload: bytes, sequence: int, *, dump: bool = True) -> bytes:
    """Write a GET.

    Args:
        kind: ``nlmsg_type``.
        payload: The family's own header, and attributes.
        sequence: Answers bear it.
        dump: Ask for all there are.
    """
    flags = Flag.REQUEST | (Flag.DUMP if dump else 0)
    return HEADER.pack(LENGTH + len(payload), kind, flags, sequence, 0) + payload
