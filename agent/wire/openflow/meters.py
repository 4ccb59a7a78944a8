"""Meter statistics."""

import struct

from agent.errors import ParseError
from agent.model.bridge import MeterStats

ALL_METERS = 0xFFFFFFFF
"""OFPM_ALL."""
UNKNOWN = 0xFFFFFFFFFFFFFFFF

_REQUEST = struct.Struct(">Ixxxx")
_METER = struct.Struct(">IH10xQQ8x")
_BAND = struct.Struct(">QQ")


def meter_stats_request_body() -> bytes:
    """Ask for all meters."""
    return _REQUEST.pack(ALL_METERS)


def parse_meter_stats(bodies: list[bytes]) -> tuple[MeterStats, ...]:
    """Read the answer to a METER request (OpenFlow 1.3, 7.3.5.12; the same in 1.4).

    40 bytes a meter and 16 a band: ``00000001 0038 … 0000000000000003 0000000000000162 …
    0000000000000001 0000000000000076`` is meter 1, 56 bytes, which 3 packets of 354 bytes went
    to, of which 1 of 118 bytes was beyond the rate of its one band. All-ones is not known.

    Returns:
        Statistics in the switch's order. The numbers from 0xfffffffd on are its own meters for
        what goes to controllers.

    Raises:
        ParseError: If a part ends inside a meter, or a length is impossible.
    """
    return tuple(stats for body in bodies for stats in _meters(body))


def _meters(body: bytes) -> list[MeterStats]:
    meters: list[MeterStats] = []
    offset = 0
    while offset < len(body):
        if offset + _METER.size > len(body):
            raise ParseError(f"{len(body) - offset} bytes of meter statistics left over")
        meter_id, length, packets, octets = _METER.unpack_from(body, offset)
        bands_at, end = offset + _METER.size, offset + length
        if end < bands_at or end > len(body) or (end - bands_at) % _BAND.size:
            raise ParseError(f"statistics of a meter with {length} bytes")
        bands = [*_BAND.iter_unpack(body[bands_at:end])]
        meters.append(
            MeterStats(
                meter_id,
                _known(packets),
                _known(octets),
                tuple(_known(packets) for packets, _ in bands),
                tuple(_known(octets) for _, octets in bands),
            )
        )
        offset = end
    return meters


def _known(count: int) -> int | None:
    return None if count == UNKNOWN else count
