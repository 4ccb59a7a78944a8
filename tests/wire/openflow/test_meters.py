import re

import pytest

from agent.errors import ParseError
from agent.model.bridge import MeterStats
from agent.wire.openflow import messages as of
from tests.wire.openflow import recorded

CONTROLLER = 0xFFFFFFFE
METER = (
    r"meter:(\w+) flow_count:\d+ packet_in_count:(\d+) byte_in_count:(\d+).*bands:\n"
    r"((?:\d+: .*\n)*)"
)
BAND = r"\d+: packet_count:(\d+) byte_count:(\d+)"


def _bodies(version: str) -> list[bytes]:
    return recorded.bodies(f"br-effects-meters-{version}", of.Multipart.METER)


def _printed(dump: str) -> list[MeterStats]:
    """Read ``ovs-ofctl meter-stats``."""
    meters = []
    for name, packets, octets, lines in re.findall(METER, dump):
        bands = re.findall(BAND, lines)
        meters.append(
            MeterStats(
                CONTROLLER if name == "controller" else int(name),
                int(packets),
                int(octets),
                tuple(int(band[0]) for band in bands),
                tuple(int(band[1]) for band in bands),
            )
        )
    return meters


@pytest.mark.parametrize("version", recorded.VERSIONS)
def test_meter_statistics_are_those_that_ofctl_prints(version: str) -> None:
    meters = of.parse_meter_stats(_bodies(version))
    assert list(meters) == _printed(recorded.text(f"br-effects-meters-{version}"))
    assert {meter.meter_id: meter for meter in meters} == {
        1: MeterStats(1, 4, 2000, (3,), (1500,)),
        2: MeterStats(2, 6, 3000, (6, 0), (3000, 0)),
        7: MeterStats(7, 0, 0, (0,), (0,)),
        CONTROLLER: MeterStats(CONTROLLER, 0, 0, (0,), (0,)),
    }


def test_asks_for_all_meters() -> None:
    body = of.meter_stats_request_body()
    assert body == bytes.fromhex("ffffffff 00000000")
    assert of.is_allowed(of.multipart_request(of.Version.OF13, of.Multipart.METER, 1, body))


def test_a_bridge_without_meters_has_none() -> None:
    assert of.parse_meter_stats([b""]) == ()


def _entry(length: int, *counts: int) -> bytes:
    packets, octets, *bands = counts
    fixed = (5).to_bytes(4, "big") + length.to_bytes(2, "big") + bytes(10)
    numbers = b"".join(count.to_bytes(8, "big") for count in (packets, octets))
    return fixed + numbers + bytes(8) + b"".join(band.to_bytes(8, "big") for band in bands)


def test_what_the_switch_does_not_know_is_unknown_and_not_a_number() -> None:
    unknown = 0xFFFFFFFFFFFFFFFF
    body = _entry(72, unknown, 3, unknown, 4, 5, unknown)
    assert of.parse_meter_stats([body]) == (MeterStats(5, None, 3, (None, 5), (4, None)),)


def test_a_meter_may_have_no_band() -> None:
    assert of.parse_meter_stats([_entry(40, 1, 2), _entry(40, 3, 4)]) == (
        MeterStats(5, 1, 2),
        MeterStats(5, 3, 4),
    )


@pytest.mark.parametrize("length", [0, 39, 41, 48, 57, 72, 0xFFFF])
def test_refuses_an_impossible_length(length: int) -> None:
    with pytest.raises(ParseError):
        of.parse_meter_stats([_entry(length, 1, 2, 3, 4)])


@pytest.mark.parametrize("end", [1, 39, 40, 55])
def test_refuses_a_meter_that_is_cut(end: int) -> None:
    with pytest.raises(ParseError):
        of.parse_meter_stats([_entry(56, 1, 2, 3, 4)[:end]])
