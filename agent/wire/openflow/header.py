"""The header of every message, its types, and those that are no more than a header."""

import struct
from enum import IntEnum
from typing import NamedTuple

from agent.errors import ParseError

HEADER = struct.Struct(">BBHI")
HEADER_LENGTH = HEADER.size
MAX_MESSAGE_BYTES = 0xFFFF


class Version(IntEnum):
    """Versions spoken here, by their number on the wire."""

    OF13 = 0x04
    OF14 = 0x05


class Type(IntEnum):
    """Message types that matter to a reader; the same numbers in 1.3 and 1.4."""

    HELLO = 0
    ERROR = 1
    ECHO_REQUEST = 2
    ECHO_REPLY = 3
    FEATURES_REQUEST = 5
    FEATURES_REPLY = 6
    MULTIPART_REQUEST = 18
    MULTIPART_REPLY = 19


class Header(NamedTuple):
    """The first 8 bytes of a message; ``length`` is that of the whole message in bytes."""

    version: int
    type: int
    length: int
    xid: int


def parse_header(data: bytes) -> Header:
    """Read a header (openflow-common.h, struct ofp_header).

    ``04 03 0008 00000001`` is an ECHO reply of OpenFlow 1.3 without payload.

    Args:
        data: At least the first 8 bytes of the message.

    Raises:
        ParseError: If there are fewer, or the message claims to be shorter than its header.
    """
    if len(data) < HEADER_LENGTH:
        raise ParseError(f"OpenFlow header of {len(data)} bytes")
    header = Header._make(HEADER.unpack_from(data))
    if header.length < HEADER_LENGTH:
        raise ParseError(f"OpenFlow message of {header.length} bytes")
    return header


def whole(message: bytes, kind: Type) -> Header:
    """Return the header of a message that must be whole and of one type.

    Raises:
        ParseError: If it is of another type or its length is not the one it states.
    """
    header = parse_header(message)
    if header.type != kind:
        raise ParseError(f"OpenFlow message of type {header.type}, not {kind.name}")
    if header.length != len(message):
        raise ParseError(f"{kind.name} of {len(message)} bytes says it has {header.length}")
    return header


def message(version: int, kind: Type, xid: int, body: bytes = b"") -> bytes:
    """Put a header before a body.

    Raises:
        ValueError: If it does not fit into the 65,535 bytes of a message.
    """
    length = HEADER_LENGTH + len(body)
    if length > MAX_MESSAGE_BYTES:
        raise ValueError(f"OpenFlow message of {length} bytes")
    return HEADER.pack(version, kind, length, xid) + body


def echo_request(version: Version, xid: int, payload: bytes = b"") -> bytes:
    """Build an ECHO request."""
    return message(version, Type.ECHO_REQUEST, xid, payload)


def echo_reply(version: Version, xid: int, payload: bytes = b"") -> bytes:
    """Build the answer to an ECHO request, with its xid and payload."""
    return message(version, Type.ECHO_REPLY, xid, payload)


def features_request(version: Version, xid: int) -> bytes:
    """Build a FEATURES request."""
    return message(version, Type.FEATURES_REQUEST, xid)
