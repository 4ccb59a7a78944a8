"""HELLO and the agreement on a version (OpenFlow 1.3.1, 6.3.1)."""

import struct
from collections.abc import Collection

from agent.errors import ParseError
from agent.wire.openflow.header import HEADER_LENGTH, Type, Version, message, whole

_ELEMENT = struct.Struct(">HH")
_BITMAP_BYTES = 4
VERSION_BITMAP = 1


def hello(versions: Collection[Version], xid: int) -> bytes:
    """Build a HELLO that offers these versions, in a bitmap and the highest in the header.

    Raises:
        ValueError: If there are none.
    """
    bitmap = sum(1 << version for version in set(versions))
    element = _ELEMENT.pack(VERSION_BITMAP, _ELEMENT.size + _BITMAP_BYTES)
    body = element + bitmap.to_bytes(_BITMAP_BYTES, "big")
    return message(max(versions), Type.HELLO, xid, body)


def negotiate(hello_message: bytes, ours: Collection[Version]) -> Version | None:
    """Agree on a version with a peer: the highest common one.

    A HELLO of OVS that allows 1.0 and 1.3: ``04 00 0010 00000007 0001 0008 00000012``. Without
    a bitmap a peer means its header's version and all below: the lower of the two highest is
    taken, if it is one of ours.

    Args:
        hello_message: The peer's whole HELLO.
        ours: What we offered; not empty.

    Returns:
        ``None`` when there is no common version.

    Raises:
        ParseError: If it is no HELLO or an element of it has an impossible length.
    """
    header = whole(hello_message, Type.HELLO)
    bitmap = _version_bitmap(hello_message)
    if bitmap is not None:
        return max((version for version in ours if bitmap >> version & 1), default=None)
    lower = min(header.version, max(ours))
    return Version(lower) if lower in ours else None


def _version_bitmap(hello_message: bytes) -> int | None:
    """Return the offered versions as bits, ``None`` without such an element.

    Of a bitmap longer than one word only the first counts: it has versions 0 to 31.
    """
    offset = HEADER_LENGTH
    while offset + _ELEMENT.size <= len(hello_message):
        kind, length = _ELEMENT.unpack_from(hello_message, offset)
        if length < _ELEMENT.size or offset + length > len(hello_message):
            raise ParseError(f"HELLO element of {length} bytes")
        if kind == VERSION_BITMAP:
            if length < _ELEMENT.size + _BITMAP_BYTES or length % _BITMAP_BYTES:
                raise ParseError(f"version bitmap of {length} bytes")
            start = offset + _ELEMENT.size
            return int.from_bytes(hello_message[start : start + _BITMAP_BYTES], "big")
        offset += (length + 7) // 8 * 8
    return None
