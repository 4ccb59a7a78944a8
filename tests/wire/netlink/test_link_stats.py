"""What the columns say is what ip prints."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.errors import ParseError
from agent.model.link import FIELDS
from agent.wire.netlink.header import DONE, HEADER
from agent.wire.netlink.link_stats import NEWSTATS, LinkStats, parse_link_stats

FIXTURES = Path(__file__).parent / "fixtures"
KERNELS = ("6.1", "6.18")
SIZE, STATS_AT = 232, 32
END = HEADER.pack(20, DONE, 2, 1, 1) + bytes(4)
UNKNOWN = 0xFFFFFFFFFFFFFFFF


def recorded(kernel: str) -> bytes:
    return (FIXTURES / f"link-stats-{kernel}.bin").read_bytes()


def message(index: int, *numbers: int, size: int = SIZE) -> bytes:
    """A message of any kernel: newer ones have more numbers."""
    stats = b"".join(number.to_bytes(8, "little") for number in numbers).ljust(size - 32, b"\0")
    return (
        HEADER.pack(size, NEWSTATS, 2, 1, 1)
        + struct.pack("=BBHII", 0, 0, 0, index, 1)
        + struct.pack("=HH", size - 28, 1)
        + stats
    )


def rows(stats: LinkStats) -> dict[tuple[int, int], dict[str, int]]:
    return {
        (owner, index): dict(zip(FIELDS, numbers, strict=True))
        for owner, index, numbers in zip(
            stats.owners.tolist(), stats.indexes.tolist(), stats.numbers.tolist(), strict=True
        )
    }


def printed(link: dict[str, Any]) -> dict[str, int]:
    rx, tx = link["stats64"]["rx"], link["stats64"]["tx"]
    return {
        "rx_packets": rx["packets"],
        "tx_packets": tx["packets"],
        "rx_bytes": rx["bytes"],
        "tx_bytes": tx["bytes"],
        "rx_errors": rx["errors"],
        "tx_errors": tx["errors"],
        "rx_dropped": rx["dropped"],
        "tx_dropped": tx["dropped"],
        "rx_missed_errors": rx["missed_errors"],
    }


@pytest.mark.parametrize("kernel", KERNELS)
def test_tells_of_every_link_what_ip_prints(kernel: str) -> None:
    links = json.loads((FIXTURES / f"link-stats-{kernel}.json").read_bytes())
    expected = {(0, link["ifindex"]): printed(link) for link in links}
    assert rows(parse_link_stats([[recorded(kernel)]])) == expected
    assert any(link["tx_packets"] for link in expected.values())


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_end_may_come_in_a_datagram_of_its_own(kernel: str) -> None:
    data = recorded(kernel)
    together = parse_link_stats([[data]])
    apart = parse_link_stats([[data[: 2 * SIZE], data[2 * SIZE : -20], data[-20:]]])
    assert rows(apart) == rows(together)


def test_reads_every_column_at_its_own_place() -> None:
    data = message(2, *range(100, 125))
    assert rows(parse_link_stats([[data + END]])) == {
        (0, 2): {
            "rx_packets": 100,
            "tx_packets": 101,
            "rx_bytes": 102,
            "tx_bytes": 103,
            "rx_errors": 104,
            "tx_errors": 105,
            "rx_dropped": 106,
            "tx_dropped": 107,
            "rx_missed_errors": 115,
        }
    }


def test_rows_know_which_namespace_they_came_from() -> None:
    answers = [[message(1) + message(2), message(3), END], [END], [message(1) + END]]
    stats = parse_link_stats(answers)
    assert stats.owners.tolist() == [0, 0, 0, 2]
    assert stats.indexes.tolist() == [1, 2, 3, 1]


def test_numbers_of_64_bits_and_unknown_ones_stay_what_they_are() -> None:
    stats = parse_link_stats([[message(2, UNKNOWN, UNKNOWN - 1, 1 << 63) + END]])
    assert stats.numbers.dtype == np.uint64
    assert stats.numbers[0, :3].tolist() == [UNKNOWN, UNKNOWN - 1, 1 << 63]


@pytest.mark.parametrize("size", [32 + 8 * 16, 32 + 8 * 24, 32 + 8 * 25, 32 + 8 * 25 + 4])
def test_kernels_with_fewer_or_more_numbers_say_the_same(size: int) -> None:
    data = message(7, *range(16), size=size) * 2 + END
    stats = parse_link_stats([[data]])
    assert stats.indexes.tolist() == [7, 7]
    assert stats.numbers[1].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 15]


@pytest.mark.parametrize("answers", [[], [[]], [[END]], [[END], [END]]])
def test_nothing_is_a_table_without_rows(answers: list[list[bytes]]) -> None:
    stats = parse_link_stats(answers)
    assert stats.numbers.shape == (0, len(FIELDS))
    assert stats.indexes.tolist() == stats.owners.tolist() == []


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\0", id="shorter than a header"),
        pytest.param(message(1)[:-4], id="cut"),
        pytest.param(message(1, size=152), id="too few numbers"),
        pytest.param(message(1) + message(2, size=224), id="of two sizes"),
        pytest.param(message(1) + message(2)[:8], id="cut in the next header"),
        pytest.param(message(1) + END[:-4], id="end cut"),
        pytest.param(message(1) + END + END, id="two ends"),
        pytest.param(message(1) + message(2).replace(b"\xcc\0\1\0", b"\xcc\0\2\0"), id="another"),
        pytest.param(message(1) + message(2).replace(b"\xcc\0\1\0", b"\xc8\0\1\0"), id="shorter"),
        pytest.param(message(1) + b"\xe8\0\0\0\x5d" + message(2)[5:], id="of another type"),
        pytest.param(b"\xe8\0\0\0\x5d" + message(2)[5:], id="first of another type"),
        pytest.param(message(1) + b"\xe9" + message(2)[1:], id="length of its own"),
    ],
)
def test_refuses_what_is_no_table(data: bytes) -> None:
    with pytest.raises(ParseError):
        parse_link_stats([[message(3) + END], [data]])
    with pytest.raises(ParseError):
        parse_link_stats([[data]])
