"""The entries of flow statistics one by one, of all tables, with their counters.

Recordings hold all tables of a bridge in one answer; the agent asks for one at a time.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agent.errors import ParseError
from agent.wire.openflow.entries import FlowEntry, entry_of

LEAST_BYTES = 56
_LENGTH, _COUNTERS = struct.Struct(">H"), struct.Struct(">32xQQ")


@dataclass(frozen=True, slots=True)
class CountedFlow(FlowEntry):
    """An entry with n_packets and n_bytes."""

    packets: int
    octets: int


def iter_flow_stats(bodies: Iterable[bytes]) -> Iterator[CountedFlow]:
    """Yield the entries of an answer. Raises ParseError."""
    for body in bodies:
        for octets in iter_entries(body):
            yield CountedFlow(entry_of(octets).key, *_COUNTERS.unpack_from(octets))


def iter_entries(body: bytes) -> Iterator[bytes]:
    """Yield the bytes of each entry. Raises ParseError."""
    offset = 0
    while offset < len(body):
        left = len(body) - offset
        length = _LENGTH.unpack_from(body, offset)[0] if left >= LEAST_BYTES else 0
        if not LEAST_BYTES <= length <= left:
            raise ParseError(f"flow entry says it has {length} of {left} bytes")
        yield body[offset : offset + length]
        offset += length
