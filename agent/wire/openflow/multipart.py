"""Multipart requests and how their answers are put together."""

import struct
from enum import IntEnum

from agent.errors import ParseError
from agent.model.bridge import TableStats
from agent.wire.openflow.header import HEADER_LENGTH, Type, Version, message, whole

MULTIPART = struct.Struct(">HHxxxx")
BODY_OFFSET = HEADER_LENGTH + MULTIPART.size
REPLY_MORE = 1 << 0

ANY = 0xFFFFFFFF
"""OFPP_ANY and OFPG_ANY: no restriction by port or group."""
ALL_TABLES = 0xFF
_FLOW_REQUEST = struct.Struct(">BxxxIIxxxxQQ")
_EMPTY_MATCH = struct.pack(">HHxxxx", 1, 4)
_TABLE = struct.Struct(">BxxxIQQ")


class Multipart(IntEnum):
    """What may be asked for; the same numbers in 1.3 and 1.4."""

    DESC = 0
    FLOW = 1
    TABLE = 3
    PORT_STATS = 4
    GROUP = 6
    GROUP_DESC = 7
    METER = 9
    TABLE_FEATURES = 12
    PORT_DESC = 13


def multipart_request(version: Version, kind: Multipart, xid: int, body: bytes = b"") -> bytes:
    """Build a request in one part."""
    return message(version, Type.MULTIPART_REQUEST, xid, MULTIPART.pack(kind, 0) + body)


def flow_request_body(table_id: int = ALL_TABLES, cookie: int = 0, cookie_mask: int = 0) -> bytes:
    """Ask for all flows of a table, or those whose cookie has ``cookie`` under the mask."""
    return _FLOW_REQUEST.pack(table_id, ANY, ANY, cookie, cookie_mask) + _EMPTY_MATCH


def port_stats_request_body() -> bytes:
    """Ask for all ports."""
    return struct.pack(">Ixxxx", ANY)


class Assembler:
    """Collects the parts of one answer; the caller has matched them by xid.

    Args:
        kind: The multipart type that was asked for.
        limit_bytes: An answer with more bytes in all its messages is refused.

    Attributes:
        bodies: Of the parts, in order, without headers. Entries never span parts.
    """

    def __init__(self, kind: Multipart, limit_bytes: int) -> None:
        self.bodies: list[bytes] = []
        self._kind = kind
        self._left_bytes = limit_bytes
        self._done = False

    def add(self, part: bytes) -> bool:
        """Take the next message; True when it was the last part.

        Raises:
            ParseError: If it is no part of this answer, makes it too large, or follows its end.
        """
        whole(part, Type.MULTIPART_REPLY)
        if self._done:
            raise ParseError("multipart reply after its last part")
        if len(part) < BODY_OFFSET:
            raise ParseError(f"multipart reply of {len(part)} bytes")
        kind, flags = MULTIPART.unpack_from(part, HEADER_LENGTH)
        if kind != self._kind:
            raise ParseError(f"multipart reply of type {kind}, not {self._kind.name}")
        self._left_bytes -= len(part)
        if self._left_bytes < 0:
            raise ParseError(f"{self._kind.name} reply above the limit")
        self.bodies.append(part[BODY_OFFSET:])
        self._done = not flags & REPLY_MORE
        return self._done


def parse_table_stats(bodies: list[bytes]) -> list[TableStats]:
    """Read table statistics (OpenFlow 1.3, 7.3.5.3), the same in 1.4; OVS answers for all 254.

    24 bytes a table: ``47 000000 0000001e 0000000000000390 0000000000000388`` is table 71 with
    30 flows, 912 lookups, 904 matches.

    Raises:
        ParseError: If a part ends inside an entry, or a table comes twice.
    """
    tables: list[TableStats] = []
    for body in bodies:
        if len(body) % _TABLE.size:
            raise ParseError(f"table statistics of {len(body)} bytes")
        tables += (TableStats(*entry) for entry in _TABLE.iter_unpack(body))
    if len({table.table_id for table in tables}) < len(tables):
        raise ParseError("a table has statistics twice")
    return tables
