"""Port descriptions and port statistics."""

import struct
from collections.abc import Iterator

from agent.errors import ParseError
from agent.model.bridge import PortStats
from agent.wire.openflow.header import Version

UNKNOWN = 0xFFFFFFFFFFFFFFFF
INTEL_VENDOR = 0x0000AA01
INTEL_CUSTOM = 2
ETHERNET_PROPERTY = 0
EXPERIMENTER_PROPERTY = 0xFFFF

_DESC_13_BYTES = 64
_DESC_13 = struct.Struct(">I12x16s")
_DESC_14 = struct.Struct(">IH10x16s8x")
_STATS_13 = struct.Struct(">I4x12Q8x")
_STATS_14 = struct.Struct(">HxxI8x8Q")
_STATS_14_LENGTH = struct.Struct(">H")
_DESC_14_LENGTH = struct.Struct(">4xH")
_ETHERNET = struct.Struct(">8x4Q")
_PROPERTY = struct.Struct(">HH")
_CUSTOM = struct.Struct(">4xII2xH")
_COUNTER = struct.Struct(">Q")


def parse_port_desc(version: Version, bodies: list[bytes]) -> dict[int, str]:
    """Read port descriptions (OpenFlow 1.3, 7.3.5.7; 1.4 adds a length and properties).

    1.3: ``00000005 00000000 aa558efa64bb 0000 7461703133616263 3033332d39330000 …``, 64 bytes:
    port 5 is ``tap13abc033-93``.

    Returns:
        Name by OpenFlow port number (the bridge's own is 0xfffffffe). Names are cut at 15 bytes
        by the protocol, so two ports may have the same.

    Raises:
        ParseError: If an entry is cut off or its length impossible.
    """
    names: dict[int, str] = {}
    for body in bodies:
        if version >= Version.OF14:
            for offset, _end in _entries(body, _DESC_14.size, _DESC_14_LENGTH):
                number, _length, name = _DESC_14.unpack_from(body, offset)
                names[number] = _text(name)
            continue
        if len(body) % _DESC_13_BYTES:
            raise ParseError(f"port descriptions of {len(body)} bytes")
        for offset in range(0, len(body), _DESC_13_BYTES):
            number, name = _DESC_13.unpack_from(body, offset)
            names[number] = _text(name)
    return names


def parse_port_stats(version: Version, bodies: list[bytes]) -> dict[int, PortStats]:
    """Read port statistics (OpenFlow 1.3, 7.3.5.6; in 1.4 the rare counters are properties).

    1.3 has 112 bytes a port: number, then twelve counters of 8 bytes in the order of
    ``PortStats``, then the duration. All-ones means not known. Custom statistics are in 1.4
    only, in the property of Intel that OVS sends (intel-ext.h).

    Returns:
        Statistics by OpenFlow port number.

    Raises:
        ParseError: If an entry is cut off or a length impossible.
    """
    read = _stats_14 if version >= Version.OF14 else _stats_13
    return {stats.number: stats for body in bodies for stats in read(body)}


def _stats_13(body: bytes) -> Iterator[PortStats]:
    if len(body) % _STATS_13.size:
        raise ParseError(f"port statistics of {len(body)} bytes")
    for number, *counters in _STATS_13.iter_unpack(body):
        yield _port_stats(number, counters, {})


def _stats_14(body: bytes) -> Iterator[PortStats]:
    for start, end in _entries(body, _STATS_14.size, _STATS_14_LENGTH):
        _length, number, *counters = _STATS_14.unpack_from(body, start)
        ethernet: tuple[int, ...] = (UNKNOWN,) * 4
        custom: dict[str, int] = {}
        for kind, offset, length in _properties(body, start + _STATS_14.size, end):
            if kind == ETHERNET_PROPERTY:
                if length != _ETHERNET.size:
                    raise ParseError(f"Ethernet property of {length} bytes")
                ethernet = _ETHERNET.unpack_from(body, offset)
            elif kind == EXPERIMENTER_PROPERTY:
                custom.update(_custom(body[offset : offset + length]))
        yield _port_stats(number, [*counters, *ethernet], custom)


def _port_stats(number: int, counters: list[int], custom: dict[str, int]) -> PortStats:
    """Name twelve counters; both versions have them in the same order."""
    known = [None if counter == UNKNOWN else counter for counter in counters]
    return PortStats(
        number,
        rx_packets=known[0],
        tx_packets=known[1],
        rx_bytes=known[2],
        tx_bytes=known[3],
        rx_dropped=known[4],
        tx_dropped=known[5],
        rx_errors=known[6],
        tx_errors=known[7],
        rx_frame_errors=known[8],
        rx_over_errors=known[9],
        rx_crc_errors=known[10],
        collisions=known[11],
        custom=custom,
    )


def _custom(prop: bytes) -> Iterator[tuple[str, int]]:
    """Yield name and value of Intel's custom statistics; of other experimenters nothing."""
    if len(prop) < _CUSTOM.size:
        return
    vendor, kind, count = _CUSTOM.unpack_from(prop)
    if (vendor, kind) != (INTEL_VENDOR, INTEL_CUSTOM):
        return
    offset = _CUSTOM.size
    for _ in range(count):
        if offset >= len(prop):
            raise ParseError("custom statistics end early")
        value_at = offset + 1 + prop[offset]
        if value_at + _COUNTER.size > len(prop):
            raise ParseError("custom statistics end inside a counter")
        (value,) = _COUNTER.unpack_from(prop, value_at)
        if value != UNKNOWN:
            yield _text(prop[offset + 1 : value_at]), value
        offset = value_at + _COUNTER.size


def _entries(body: bytes, least: int, length_at: struct.Struct) -> Iterator[tuple[int, int]]:
    """Yield start and end of entries that state their own length."""
    offset = 0
    while offset < len(body):
        if offset + least > len(body):
            raise ParseError(f"{len(body) - offset} bytes left over")
        (length,) = length_at.unpack_from(body, offset)
        if length < least or offset + length > len(body):
            raise ParseError(f"entry of {length} bytes")
        yield offset, offset + length
        offset += length


def _properties(body: bytes, offset: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield type, offset and length of properties; each is padded to 8 bytes."""
    while offset < end:
        if offset + _PROPERTY.size > end:
            raise ParseError(f"{end - offset} bytes of a property")
        kind, length = _PROPERTY.unpack_from(body, offset)
        if length < _PROPERTY.size or offset + length > end:
            raise ParseError(f"property of {length} bytes")
        yield kind, offset, length
        offset += (length + 7) // 8 * 8


def _text(name: bytes) -> str:
    """Decode a name up to its NUL; bytes that are no UTF-8 stay visible as escapes."""
    return name.partition(b"\0")[0].decode("utf-8", "backslashreplace")
