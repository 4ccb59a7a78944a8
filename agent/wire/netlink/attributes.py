"""Netlink attributes: length, type, value, padded to four bytes (linux/netlink.h)."""

import struct
from socket import AF_INET6, inet_ntop  # functions of bytes; nothing is opened

from agent.errors import ParseError

ATTRIBUTE = struct.Struct("=HH")
_HEADER_BYTES = ATTRIBUTE.size
_unpack = ATTRIBUTE.unpack_from
UNKNOWN = 0xFFFF_FFFF_FFFF_FFFF
TYPE_MASK = 0x3FFF
"""Without NLA_F_NESTED and NLA_F_NET_BYTEORDER."""

_U8, _U16, _U32, _U64 = (struct.Struct(f"={code}") for code in "BHIQ")
_BIG_U16, _BIG_U32 = struct.Struct(">H"), struct.Struct(">I")
_IP_BYTES, _IP6_BYTES = 4, 16


def attributes(data: bytes, at: int = 0) -> dict[int, bytes]:
    """Return values by type; of a type that is there twice the last.

    Args:
        data: Attributes up to the end.
        at: Where they begin.

    Raises:
        ParseError: If one is shorter than its header or longer than what is there.
    """
    found: dict[int, bytes] = {}
    end = len(data)
    while at + _HEADER_BYTES <= end:
        length, kind = _unpack(data, at)
        stop = at + length
        if length < _HEADER_BYTES or stop > end:
            raise _cut_short(length, end - at)
        found[kind & TYPE_MASK] = data[at + _HEADER_BYTES : stop]
        at = (stop + 3) & ~3
    return found


# The loop is written three times: a third of the time of an event goes into it.
def selected(data: bytes, kinds: frozenset[int], at: int = 0) -> dict[int, bytes]:
    """Return only values of these types, else as ``attributes`` (measured: in 2/3 of its time)."""
    found: dict[int, bytes] = {}
    end = len(data)
    while at + _HEADER_BYTES <= end:
        length, kind = _unpack(data, at)
        stop = at + length
        if length < _HEADER_BYTES or stop > end:
            raise _cut_short(length, end - at)
        if (kind := kind & TYPE_MASK) in kinds:
            found[kind] = data[at + _HEADER_BYTES : stop]
        at = (stop + 3) & ~3
    return found


def first(data: bytes, wanted: int, at: int = 0) -> bytes | None:
    """Return the first value of a type without looking further; ``None`` if there is none.

    Raises:
        ParseError: If it is cut short, or one before it.
    """
    end = len(data)
    while at + _HEADER_BYTES <= end:
        length, kind = _unpack(data, at)
        stop = at + length
        if length < _HEADER_BYTES or stop > end:
            raise _cut_short(length, end - at)
        if kind & TYPE_MASK == wanted:
            return data[at + _HEADER_BYTES : stop]
        at = (stop + 3) & ~3
    return None


def _cut_short(length: int, available: int) -> ParseError:
    return ParseError(f"a netlink attribute of {length} bytes in {available}")


def attribute(kind: int, value: bytes) -> bytes:
    """Write one, padded."""
    padding = bytes(-len(value) % 4)
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + padding


def u8(value: bytes | None) -> int | None:
    """Return a number, ``None`` for none. Raises ParseError if it is too short, as all here."""
    return _number(_U8, value)


def u16(value: bytes | None) -> int | None:
    """Return a number of 16 bits in the machine's order."""
    return _number(_U16, value)


def big_u16(value: bytes | None) -> int | None:
    """Return a number of 16 bits in network order: UDP ports."""
    return _number(_BIG_U16, value)


def big_u32(value: bytes | None) -> int | None:
    """Return a number of 32 bits in network order: keys of GRE."""
    return _number(_BIG_U32, value)


def u32(value: bytes | None) -> int | None:
    """Return a number of 32 bits."""
    return _number(_U32, value)


def u64(value: bytes | None) -> int | None:
    """Return a number of 64 bits."""
    return _number(_U64, value)


def counters(form: struct.Struct, value: bytes, what: str) -> tuple[int | None, ...]:
    """Read a structure of counters, which later kernels may make longer; all-ones is not known.

    Args:
        form: Its numbers, of 64 bits where they can be unknown.
        value: Its bytes.
        what: What it is, for messages.
    """
    if len(value) < form.size:
        raise ParseError(f"{len(value)} bytes instead of {what} of {form.size}")
    read: tuple[int | None, ...] = form.unpack_from(value)
    return tuple(None if each == UNKNOWN else each for each in read) if UNKNOWN in read else read


def text(value: bytes | None) -> str | None:
    """Return a text up to its NUL; bytes that are no UTF-8 become backslash escapes."""
    return None if value is None else value.partition(b"\0")[0].decode("utf-8", "backslashreplace")


def ip_text(value: bytes) -> str:
    """Write an IPv4 address of 4 bytes or an IPv6 address of 16.

    Raises:
        ParseError: If it has another length.
    """
    if len(value) == _IP_BYTES:
        return ".".join(map(str, value))
    if len(value) == _IP6_BYTES:
        return inet_ntop(AF_INET6, value)
    raise ParseError(f"{len(value)} bytes instead of an IP address")


def ip_address(value: bytes | None) -> str | None:
    """Write an IP address; ``None`` for none and for one of zeros, which is none in the kernel."""
    return ip_text(value) if value and any(value) else None


def _number(form: struct.Struct, value: bytes | None) -> int | None:
    if value is None:
        return None
    if len(value) < form.size:
        raise ParseError(f"{len(value)} bytes instead of a number of {form.size}")
    number: int = form.unpack_from(value)[0]
    return number
