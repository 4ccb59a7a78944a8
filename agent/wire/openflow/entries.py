"""Entries of flow statistics as columns of 64-bit words (OpenFlow 1.3, 7.3.5.2; the same in 1.4).

``0048 47 00 | 00000a93 | 37dd8e80 | 000a | 0000 0000 0000 00000000 | 50ebd87957cf5c44 |
0000000000000006 | 0000000000000188 | 0001 000c 80000004 00000005 00000000 | …`` is an entry of 72
bytes in table 71: length, table; duration in seconds and nanoseconds; priority; timeouts and
flags; cookie; n_packets; n_bytes; the match, padded to 8; instructions. Its length is a multiple
of 8, so that each entry begins at a word.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.errors import ParseError

Words = NDArray[np.uint64]
Places = NDArray[np.int64]

WORD = 8
LEAST_WORDS = 7
"""An entry with the shortest match: 48 bytes and 8."""
CHUNK_ENTRIES = 4096
"""Compared in one go: what is copied for it stays in the processor's cache."""

_COOKIE, _PACKETS, _OCTETS = 3, 4, 5
OXM_MATCH = 1
_LENGTH_AND_TABLE = struct.Struct(">HB")
_MATCH_HEADER = struct.Struct(">48xHH")
_MATCH_AT, _MATCH_HEADER_BYTES = 48, 4
# What changes by itself: the second half of the first word and the first half of the next are
# the duration. Words are read little-endian, so that these are high and low bits.
_NOT_SECONDS = np.uint64(0x00000000FFFFFFFF)
_NOT_NANOSECONDS = np.uint64(0xFFFFFFFF00000000)
_RESET_COUNTS_WORD, _RESET_COUNTS = 2, np.uint64(0x04 << 24)
"""OFPFF_RESET_COUNTS (1 << 2) of the flags in bytes 18 and 19 of an entry."""


class Entries:
    """Entries without what changes by itself: duration and counters are zero.

    Attributes:
        words: All entries, one behind the other.
        starts: Where each begins, in words; one more than there are entries, the last is the end.
        resettable: Whether any has the flag reset_counts.
    """

    def __init__(self, words: Words, starts: Places) -> None:
        self.words = words
        self.starts = starts
        flags = words[starts[:-1] + _RESET_COUNTS_WORD] & _RESET_COUNTS
        self.resettable = bool(flags.any())

    def __len__(self) -> int:
        return len(self.starts) - 1

    def octets(self, index: int) -> bytes:
        """Return one entry."""
        return self.words[self.starts[index] : self.starts[index + 1]].tobytes()

    def cookies(self) -> Words:
        """Return the cookies."""
        return self.words[self.starts[:-1] + _COOKIE].byteswap()

    def reset_counts(self) -> Places:
        """Return the indexes of entries that have the flag reset_counts."""
        flags = self.words[self.starts[:-1] + _RESET_COUNTS_WORD] & _RESET_COUNTS
        return np.flatnonzero(flags)

    def only(self, kept: Places) -> "Entries":
        """Return some of the entries."""
        lengths = np.diff(self.starts)[kept]
        words = [self.words[self.starts[i] : self.starts[i + 1]] for i in kept.tolist()]
        starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        return Entries(np.concatenate(words) if words else self.words[:0], starts)


class Answer:
    """The complete answer to a question for one table's flows.

    Args:
        data: The bodies of all parts.
        table_id: The table that was asked for.

    Raises:
        ParseError: If it does not consist of whole words.
    """

    def __init__(self, data: bytes, table_id: int) -> None:
        if len(data) % WORD:
            raise ParseError(f"flow statistics of {len(data)} bytes")
        self._data = data
        self._table_id = table_id
        self.words: Words = np.frombuffer(data, "<u8")

    def same_as(self, known: Entries) -> bool:
        """Say whether it is these entries in this order, whatever their counters."""
        if len(self.words) != len(known.words):
            return False
        for first in range(0, len(known), CHUNK_ENTRIES):
            last = min(first + CHUNK_ENTRIES, len(known))
            begin, end = known.starts[first], known.starts[last]
            chunk = masked(self.words[begin:end], known.starts[first:last] - begin)
            if not np.array_equal(chunk, known.words[begin:end]):
                return False
        return True

    def length(self, start: int) -> int:
        """Return the length of the entry that begins there, in words.

        Raises:
            ParseError: If it is cut off, its length is impossible, or it is of another table.
        """
        left = len(self.words) - start
        length, table = _LENGTH_AND_TABLE.unpack_from(self._data, start * WORD)
        if length % WORD or not LEAST_WORDS <= length // WORD <= left:
            raise ParseError(f"flow entry says it has {length} of {left * WORD} bytes")
        if table != self._table_id:
            raise ParseError(f"flow of table {table} in the answer for table {self._table_id}")
        return int(length // WORD)

    def entry(self, start: int) -> bytes:
        """Return the entry that begins there as ``Entries.octets`` would. Raises ParseError."""
        first, data = start * WORD, self._data
        last = first + self.length(start) * WORD
        return b"".join(
            (
                data[first : first + 4],
                bytes(8),
                data[first + 12 : first + 32],
                bytes(16),
                data[first + _MATCH_AT : last],
            )
        )

    def starts(self) -> Places:
        """Return where each entry begins, and the end, by going from one to the next.

        Raises:
            ParseError: As ``length``.
        """
        starts, start, end, length = [0], 0, len(self.words), self.length
        while start < end:
            start += length(start)
            starts.append(start)
        return np.array(starts, np.int64)

    def entries(self, starts: Places) -> Entries:
        """Return the entries that begin at these places, the last place being the end."""
        return Entries(masked(self.words, starts[:-1]), starts)

    def packets(self, starts: Places) -> Words:
        """Return n_packets of the entries."""
        return self.words[starts[:-1] + _PACKETS].byteswap()

    def octets(self, starts: Places) -> Words:
        """Return n_bytes of the entries."""
        return self.words[starts[:-1] + _OCTETS].byteswap()

    def durations(self, starts: Places) -> NDArray[np.float64]:
        """Return how long ago each flow was created, in seconds."""
        halves = np.frombuffer(self._data, ">u4")
        seconds, nanoseconds = halves[2 * starts[:-1] + 1], halves[2 * starts[:-1] + 2]
        return seconds + nanoseconds * 1e-9


def masked(words: Words, starts: Places) -> Words:
    """Return a copy of entries without their durations and counters."""
    copy = words.copy()
    copy[starts] &= _NOT_SECONDS
    copy[starts + 1] &= _NOT_NANOSECONDS
    copy[starts + _PACKETS] = 0
    copy[starts + _OCTETS] = 0
    return copy


# Where the parts of an entry stand in a key.
_KEY_PRIORITY = struct.Struct(">2xH")
_KEY_COOKIE = struct.Struct(">14xQ")
_KEY_MATCH_LENGTH = struct.Struct(">24xH")
_KEY_MATCH_AT = 22


@dataclass(frozen=True, slots=True)
class FlowEntry:
    """One flow, its parts cut from the key when asked for.

    Attributes:
        key: All bytes of the entry that identify and describe the flow (table, priority, cookie,
            flags, configured timeouts, match, instructions) and none that change by themselves.
    """

    key: bytes

    @property
    def table_id(self) -> int:
        """OpenFlow table."""
        return self.key[0]

    @property
    def priority(self) -> int:
        """0 to 65535."""
        return int(_KEY_PRIORITY.unpack_from(self.key)[0])

    @property
    def cookie(self) -> int:
        """As the controller set it."""
        return int(_KEY_COOKIE.unpack_from(self.key)[0])

    @property
    def match(self) -> bytes:
        """The OXM fields, without header and padding."""
        return self.key[_KEY_MATCH_AT + _MATCH_HEADER_BYTES : _KEY_MATCH_AT + self._match_length]

    @property
    def instructions(self) -> bytes:
        """All instructions; empty for a flow that drops."""
        return self.key[_KEY_MATCH_AT + (self._match_length + 7) // 8 * 8 :]

    @property
    def _match_length(self) -> int:
        return int(_KEY_MATCH_LENGTH.unpack_from(self.key)[0])


def entry_of(octets: bytes) -> FlowEntry:
    """Return an entry's parts.

    Raises:
        ParseError: If its match is not OXM, or longer than the entry.
    """
    kind, length = _MATCH_HEADER.unpack_from(octets)
    if kind != OXM_MATCH or not _MATCH_HEADER_BYTES <= length <= len(octets) - _MATCH_AT:
        raise ParseError(f"match of type {kind} with {length} bytes")
    return FlowEntry(octets[2:4] + octets[12:32] + octets[_MATCH_AT:])


def identity(octets: bytes) -> bytes:
    """Return the bytes of an entry that make a flow the same flow: priority and match.

    The table is the same for all. A match that claims to be longer than the entry is cut.
    """
    _kind, length = _MATCH_HEADER.unpack_from(octets)
    return octets[12:14] + octets[_MATCH_AT : _MATCH_AT + length]
