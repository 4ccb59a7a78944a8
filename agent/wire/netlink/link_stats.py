"""Statistics of links, column by column: RTM_GETSTATS with IFLA_STATS_LINK_64.

Every message of a dump has the same size, so that a node's thousands of them are one table
(linux/if_link.h, linux/rtnetlink.h):

```
 e8000000 5c00 0200 07000000 da270000     nlmsghdr: 232 bytes, RTM_NEWSTATS, MULTI, seq, port id
 00 00 0000 02000000 01000000             if_stats_msg: family, pads, ifindex 2, filter_mask
 cc00 0100                                nlattr: 204 bytes, IFLA_STATS_LINK_64
 0000000000000000 …                       rtnl_link_stats64: 25 numbers of 64 bits
```
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.errors import ParseError
from agent.model.link import FIELDS, Numbers
from agent.wire.netlink.header import DONE, HEADER, LENGTH

NEWSTATS = 92
LINK_64 = 1
_STATS_MESSAGE = struct.Struct("=BBHII")
REQUEST = _STATS_MESSAGE.pack(0, 0, 0, 0, 1 << (LINK_64 - 1))
"""Payload of the question: all links, of their statistics these."""

_ALL_FIELDS = (
    "rx_packets", "tx_packets", "rx_bytes", "tx_bytes",
    "rx_errors", "tx_errors", "rx_dropped", "tx_dropped", "multicast", "collisions",
    "rx_length_errors", "rx_over_errors", "rx_crc_errors", "rx_frame_errors", "rx_fifo_errors",
    "rx_missed_errors",
)  # fmt: skip
"""``struct rtnl_link_stats64`` as far as it is read; newer kernels' is longer, never different."""
_COLUMNS = np.array([_ALL_FIELDS.index(name) for name in FIELDS])
_STATS_AT = LENGTH + _STATS_MESSAGE.size + 4
_STATS_END = _STATS_AT + 8 * len(_ALL_FIELDS)


class LinkStats(NamedTuple):
    """Statistics of links of many namespaces.

    Attributes:
        owners: Of each row, which of the answers it came in.
        indexes: Of each row, the link's.
        numbers: Of each row the columns ``FIELDS``; all-ones is not known.
    """

    owners: NDArray[np.intp]
    indexes: NDArray[np.uint32]
    numbers: Numbers


def parse_link_stats(answers: Sequence[Sequence[bytes]]) -> LinkStats:
    """Read what many namespaces answered.

    Args:
        answers: Of each namespace its datagrams. The end of a dump is in the last of them, behind
            the messages (Linux 6.9 and later) or alone.

    Raises:
        ParseError: If a message is of another type or size than the first of all, or too short.
    """
    size = _size(answers)
    pieces: list[bytes] = []
    counts = [0] * len(answers)
    for owner, answer in enumerate(answers):
        for data in answer:
            count, rest = divmod(len(data), size)
            if rest:
                _check_end(data, count * size)
                data = data[: count * size]  # noqa: PLW2901 - the same without its end
            pieces.append(data)
            counts[owner] += count
    table = np.frombuffer(b"".join(pieces), np.uint8).reshape(-1, size)
    _check(table, size)
    numbers = np.ascontiguousarray(table[:, _STATS_AT:_STATS_END]).view(np.uint64)
    return LinkStats(
        np.repeat(np.arange(len(answers)), counts),
        _u32(table, LENGTH + 4),
        numbers[:, _COLUMNS],
    )


def _size(answers: Sequence[Sequence[bytes]]) -> int:
    """Return the size of the first message; of a table without rows any size will do."""
    for answer in answers:
        for data in answer:
            if len(data) < LENGTH:
                raise ParseError(f"{len(data)} bytes instead of a netlink header")
            length, kind, *_ = HEADER.unpack_from(data)
            if kind == DONE:
                continue
            if kind != NEWSTATS or length < _STATS_END or length % 4:
                raise ParseError(f"a message of type {kind} with {length} bytes, no statistics")
            return int(length)
    return _STATS_END


def _check_end(data: bytes, at: int) -> None:
    if len(data) - at < LENGTH:
        raise ParseError(f"{len(data) - at} bytes instead of a netlink header")
    length, kind, *_ = HEADER.unpack_from(data, at)
    if kind != DONE or length != len(data) - at:
        raise ParseError(f"a message of type {kind} with {length} bytes among statistics")


def _check(table: NDArray[np.uint8], size: int) -> None:
    """Refuse a table in which not every row is a message of this size with this attribute."""
    attribute_at = _STATS_AT - 4
    if not (
        bool((_u32(table, 0) == size).all())
        and bool((_u16(table, 4) == NEWSTATS).all())
        and bool((_u16(table, attribute_at) == size - attribute_at).all())
        and bool((_u16(table, attribute_at + 2) == LINK_64).all())
    ):
        raise ParseError("link statistics of different shapes")


def _u32(table: NDArray[np.uint8], at: int) -> NDArray[np.uint32]:
    return np.ascontiguousarray(table[:, at : at + 4]).view(np.uint32)[:, 0]


def _u16(table: NDArray[np.uint8], at: int) -> NDArray[np.uint16]:
    return np.ascontiguousarray(table[:, at : at + 2]).view(np.uint16)[:, 0]
