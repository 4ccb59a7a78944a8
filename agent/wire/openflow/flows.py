"""Flow statistics: the hot path of a scrape."""

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from agent.errors import ParseError

UNKNOWN = 0xFFFFFFFFFFFFFFFF
OXM_MATCH = 1

# Length; table (and pad); not the duration; priority to cookie; packets; bytes; then of the match
# its type and length. A key's first parts come out of one call, as slices ready to be joined.
_ENTRY = struct.Struct(">H2s8x20sQQHH")
_MATCH_AT = 48
_LEAST_BYTES = _MATCH_AT + 8
_MATCH_HEADER_BYTES = 4

# The same fields where they stand in a key.
_KEY_PRIORITY = struct.Struct(">2xH")
_KEY_COOKIE = struct.Struct(">14xQ")
_KEY_MATCH_LENGTH = struct.Struct(">24xH")
_KEY_MATCH_AT = 22

Octets = bytes  # in FlowEntry the name is taken by the counter


class FlowEntry(NamedTuple):
    """One flow with its counters; what else it has is cut from the key when asked for.

    Attributes:
        key: All bytes of the entry that identify and describe the flow (table, priority, cookie,
            flags, configured timeouts, match, instructions) and none that change by themselves.
        packets: n_packets; ``None`` where the switch says all-ones, which means not known.
        bytes: n_bytes; likewise.
    """

    key: Octets
    packets: int | None
    bytes: int | None

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
    def match(self) -> Octets:
        """The OXM fields, without header and padding."""
        return self.key[_KEY_MATCH_AT + _MATCH_HEADER_BYTES : _KEY_MATCH_AT + self._match_length]

    @property
    def instructions(self) -> Octets:
        """All instructions; empty for a flow that drops."""
        return self.key[_KEY_MATCH_AT + (self._match_length + 7) // 8 * 8 :]

    @property
    def _match_length(self) -> int:
        return int(_KEY_MATCH_LENGTH.unpack_from(self.key)[0])


def iter_flow_stats(bodies: Iterable[bytes]) -> Iterator[FlowEntry]:
    """Yield the flows of an answer to a FLOW request (OpenFlow 1.3, 7.3.5.2; the same in 1.4).

    ``0048 47 00 …`` is an entry of 72 bytes in table 71: 48 with its counters, then the match
    (``0001 000c 80000004 00000005`` and 4 bytes of padding: in_port=5), then instructions, here
    none. A flow whose key the caller knows costs it nothing but the lookup.

    Raises:
        ParseError: If an entry is cut off, its length is impossible, or its match is not OXM.
    """
    unpack, fixed, least, unknown = _ENTRY.unpack_from, _MATCH_AT, _LEAST_BYTES, UNKNOWN
    head = _MATCH_HEADER_BYTES
    for body in bodies:
        offset, end = 0, len(body)
        while offset < end:
            if end - offset < least:
                raise ParseError(f"flow entry of {end - offset} bytes")
            length, table, rest, packets, octets, kind, match_length = unpack(body, offset)
            after = offset + length
            if length < least or after > end:
                raise ParseError(f"flow entry says it has {length} of {end - offset} bytes")
            if kind != OXM_MATCH or not head <= match_length <= length - fixed:
                raise ParseError(f"match of type {kind} with {match_length} bytes")
            yield FlowEntry(
                table + rest + body[offset + fixed : after],
                packets if packets != unknown else None,
                octets if octets != unknown else None,
            )
            offset = after
