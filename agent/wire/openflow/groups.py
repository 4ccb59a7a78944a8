"""Group descriptions: what the buckets of each group do."""

import struct
from collections.abc import Iterator

from agent.errors import ParseError
from agent.model.flow import Group
from agent.wire.openflow.effects import read_bucket

ALL = 0
"""OFPGT_ALL. The other types (select, indirect, fast failover) choose one bucket."""

_GROUP = struct.Struct(">HBxI")
_BUCKET = struct.Struct(">H14x")


def parse_group_desc(bodies: list[bytes]) -> dict[int, Group]:
    """Read the answer to a GROUP_DESC request (OpenFlow 1.3, 7.3.5.10; the same in 1.4).

    8 bytes a group and 16 a bucket, each with what belongs to it behind it. ``0028 00 00
    00000001`` is group 1 of type all with 40 bytes; ``0020 0000 ffffffff ffffffff 00000000`` a
    bucket with 32 of them that watches neither port nor group; ``0000 0010 00000001 0000
    000000000000`` its output to port 1. The request has no body.

    Returns:
        Groups by their number.

    Raises:
        ParseError: If a part ends inside a group or a bucket, a length is impossible, or as
            ``read_bucket``.
    """
    groups: dict[int, Group] = {}
    for body in bodies:
        for (kind, group_id), rest in _records(memoryview(body), _GROUP, "group"):
            buckets = tuple(
                read_bucket(actions) for _, actions in _records(rest, _BUCKET, "bucket")
            )
            groups[group_id] = Group(group_id, kind == ALL, buckets)
    return groups


def _records(
    data: memoryview, header: struct.Struct, what: str
) -> Iterator[tuple[list[int], memoryview]]:
    """Yield the header's fields and what is behind it; the first field is the length of both."""
    offset, end = 0, len(data)
    while offset < end:
        if end - offset < header.size:
            raise ParseError(f"{what} of {end - offset} bytes")
        length, *fields = header.unpack_from(data, offset)
        if length < header.size or offset + length > end:
            raise ParseError(f"{what} says it has {length} of {end - offset} bytes")
        yield fields, data[offset + header.size : offset + length]
        offset += length
