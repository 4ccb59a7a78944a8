"""Connection tracking: files of /proc, and the same and the zones of entries by netlink.

(linux/netfilter/nfnetlink_conntrack.h, net/netfilter/nf_conntrack_standalone.c)
"""

import struct
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from agent.errors import ParseError
from agent.wire.netlink.attributes import ATTRIBUTE, TYPE_MASK, attributes
from agent.wire.netlink.header import HEADER, LENGTH, messages

COLUMNS = ("insert_failed", "drop", "early_drop", "search_restart")
"""What is read of the statistics; the names are the file's."""

CpuStatistics = Mapping[str, NDArray[np.uint32]]
"""Of ``COLUMNS`` those that the kernel has: of each possible CPU the number, of 32 bits."""

STATS_MESSAGE, ENTRY_MESSAGE = 0x0104, 0x0100
"""Types of the answers: IPCTNL_MSG_CT_GET_STATS_CPU as that of the question, IPCTNL_MSG_CT_NEW."""
_NFGENMSG = struct.Struct(">BBH")
REQUEST = _NFGENMSG.pack(0, 0, 0)
"""Payload of both questions: of every address family."""
_CTA_STATS = {"insert_failed": 9, "drop": 10, "early_drop": 11, "search_restart": 13}
_CTA_ZONE = 18
_BIG_U16, _BIG_U32 = struct.Struct(">H"), struct.Struct(">I")
_DIGITS = 8


def parse_number(data: bytes) -> int:
    r"""Read ``nf_conntrack_count`` or ``nf_conntrack_max``: ``b"262144\n"``.

    Raises:
        ParseError: If it is not a number.
    """
    text = data.strip()
    if not text.isdigit() or len(text) > 20:  # noqa: PLR2004 - digits of 64 bits
        raise ParseError(f"{text[:40]!r} instead of a number")
    return int(text)


def parse_stat_file(data: bytes) -> CpuStatistics:
    """Read ``/proc/net/stat/nf_conntrack``: names of columns, then a line for each possible CPU.

    Which columns there are differs by kernel; every number has eight hexadecimal digits:

    ```
    entries  clashres found new invalid ignore delete chainlength insert insert_failed drop …
    00000007  00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 …
    00000007  00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 …
    ```

    Raises:
        ParseError: If a line has another shape than the others, or other columns than the names.
    """
    head, _, rest = data.partition(b"\n")
    names = head.decode("ascii", "replace").split()
    width = rest.find(b"\n") + 1
    if not names or width == 0 or len(rest) % width:
        raise ParseError("connection tracking statistics without lines of one length")
    places = _places(rest[: width - 1])
    if len(places) != len(names):
        raise ParseError(f"{len(places)} numbers under {len(names)} names")
    lines = np.frombuffer(rest, np.uint8).reshape(-1, width)
    if not bool((lines[:, -1] == ord("\n")).all()):
        raise ParseError("connection tracking statistics with lines of unequal length")
    starts = dict(zip(names, places, strict=True))
    return {name: _hex(lines, starts[name]) for name in COLUMNS if name in starts}


def parse_cpu_statistics(datagrams: Iterable[bytes]) -> CpuStatistics:
    """Read the answer to IPCTNL_MSG_CT_GET_STATS_CPU, a message for each possible CPU:

    ```
    64000000 0401 0200 01000000 44c793b2     nlmsghdr
    00 00 0001                               nfgenmsg: family, version, and the CPU in res_id
    0800 0200 00000000                       CTA_STATS_FOUND, big-endian as all
    …
    0800 0900 00000000                       CTA_STATS_INSERT_FAILED
    ```

    Raises:
        ParseError: If a message or an attribute is too short or too long.
    """  # noqa: D415 - ends in the sample
    rows: dict[int, dict[int, bytes]] = {}
    for data in datagrams:
        for message in messages(data):
            if message.type == STATS_MESSAGE:
                rows[_nfgenmsg(message.payload)] = attributes(message.payload, _NFGENMSG.size)
    return {
        name: np.array([_big_u32(rows[cpu][kind]) for cpu in sorted(rows)], np.uint32)
        for name, kind in _CTA_STATS.items()
        if rows and all(kind in row for row in rows.values())
    }


def count_zones(data: bytes, zones: Counter[int]) -> None:
    """Count the entries of one datagram of a dump by their zone; without one they are in zone 0.

    ```
    c8000000 0001 0200 02000000 44c793b2     nlmsghdr: IPCTNL_MSG_CT_NEW
    02 00 0000                               nfgenmsg: AF_INET
    3400 0180 …                              CTA_TUPLE_ORIG
    3400 0280 …                              CTA_TUPLE_REPLY
    0600 1200 000e 0000                      CTA_ZONE 14, only where it is not 0
    0800 0300 00000008                       CTA_STATUS, and more
    ```

    Raises:
        ParseError: If a message or an attribute is too short or too long.
    """
    at, end = 0, len(data)
    header, attribute = HEADER.unpack_from, ATTRIBUTE.unpack_from
    while at < end:
        if end - at < LENGTH:
            raise ParseError(f"{end - at} bytes instead of a netlink header")
        length, kind, *_ = header(data, at)
        stop = at + length
        if length < LENGTH or stop > end:
            raise ParseError(f"a netlink message of {length} bytes in {end - at}")
        if kind == ENTRY_MESSAGE:
            zone = 0
            inside = at + LENGTH + _NFGENMSG.size
            if inside > stop:
                raise ParseError(f"a message of {length} bytes without its nfgenmsg")
            # No attributes(): a table of a million entries is no rarity, and this is four times
            # as fast, because the zone is the third of ten.
            while inside + ATTRIBUTE.size <= stop:
                size, name = attribute(data, inside)
                if size < ATTRIBUTE.size or inside + size > stop:
                    raise ParseError(f"a netlink attribute of {size} bytes in {stop - inside}")
                if name & TYPE_MASK == _CTA_ZONE:
                    zone = _big_u16(data[inside + ATTRIBUTE.size : inside + size])
                    break
                inside += (size + 3) & ~3
            zones[zone] += 1
        at += (length + 3) & ~3


def _places(line: bytes) -> list[int]:
    """Return where the numbers of a line begin.

    Raises:
        ParseError: If one has not eight digits.
    """
    places: list[int] = []
    at = 0
    for word in line.split():
        if len(word) != _DIGITS:
            raise ParseError(f"{word[:40]!r} instead of eight hexadecimal digits")
        at = line.index(word, at)
        places.append(at)
        at += _DIGITS
    return places


def _hex(lines: NDArray[np.uint8], at: int) -> NDArray[np.uint32]:
    digits = lines[:, at : at + _DIGITS].tobytes()
    try:
        numbers = bytes.fromhex(digits.decode("ascii"))
    except ValueError as error:
        raise ParseError(f"connection tracking statistics: {error}") from error
    if len(numbers) != len(digits) // 2:  # fromhex() skips blanks
        raise ParseError("connection tracking statistics with numbers of fewer digits")
    return np.frombuffer(numbers, ">u4").astype(np.uint32)


def _nfgenmsg(payload: bytes) -> int:
    if len(payload) < _NFGENMSG.size:
        raise ParseError(f"{len(payload)} bytes instead of a nfgenmsg")
    number: int = _NFGENMSG.unpack_from(payload)[2]
    return number


def _big_u16(value: bytes) -> int:
    return _fixed(_BIG_U16, value)


def _big_u32(value: bytes) -> int:
    return _fixed(_BIG_U32, value)


def _fixed(form: struct.Struct, value: bytes) -> int:
    if len(value) < form.size:
        raise ParseError(f"{len(value)} bytes instead of a number of {form.size}")
    number: int = form.unpack_from(value)[0]
    return number
