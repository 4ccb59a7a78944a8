"""Connection tracking as files and as netlink say it."""

import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from agent.errors import ParseError
from agent.wire.netlink.attributes import attribute
from agent.wire.netlink.conntrack import (
    COLUMNS,
    ENTRY_MESSAGE,
    STATS_MESSAGE,
    count_zones,
    parse_cpu_statistics,
    parse_number,
    parse_stat_file,
)
from agent.wire.netlink.header import HEADER, LENGTH
from tests.wire.netlink.record_counters import ZONES

FIXTURES = Path(__file__).parent / "fixtures"
KERNELS = ("6.1", "6.18")
OF_OLD = (
    b"entries  searched found new invalid ignore delete delete_list insert insert_failed drop"
    b" early_drop icmp_error  expect_new expect_create expect_delete search_restart\n"
    b"0000001f  00000001 00000002 00000003 00000004 00000005 00000006 00000007 00000008 00000009"
    b" 0000000a 0000000b 0000000c  0000000d 0000000e 0000000f ffffffff\n"
    b"0000001f  00000011 00000012 00000013 00000014 00000015 00000016 00000017 00000018 DEADBEEF"
    b" 0000001a 0000001b 0000001c  0000001d 0000001e 0000001f 00000020\n"
)
"""As Linux 2.6 to 5.8 have it: searched and delete_list instead of clashres and chainlength."""


def columns(statistics: object) -> dict[str, list[int]]:
    assert isinstance(statistics, dict)
    return {name: column.tolist() for name, column in statistics.items()}


def message(kind: int, number: int, *attributes: bytes) -> bytes:
    payload = struct.pack(">BBH", 2, 0, number) + b"".join(attributes)
    return HEADER.pack(LENGTH + len(payload), kind, 2, 1, 1) + payload


def big(kind: int, number: int) -> bytes:
    return attribute(kind, number.to_bytes(4, "big"))


@pytest.mark.parametrize("data", [b"0\n", b"262144\n", b"18446744073709551615"])
def test_reads_a_number(data: bytes) -> None:
    assert parse_number(data) == int(data)


@pytest.mark.parametrize("data", [b"", b"\n", b"-1\n", b"1 2", b"0x10", b"\xb2", b"9" * 5000])
def test_refuses_what_is_no_number(data: bytes) -> None:
    with pytest.raises(ParseError):
        parse_number(data)


def test_finds_columns_by_their_names() -> None:
    assert columns(parse_stat_file(OF_OLD)) == {
        "insert_failed": [9, 0xDEADBEEF],
        "drop": [10, 0x1A],
        "early_drop": [11, 0x1B],
        "search_restart": [0xFFFFFFFF, 0x20],
    }


@pytest.mark.parametrize("kernel", KERNELS)
def test_file_and_netlink_say_the_same(kernel: str) -> None:
    by_file = parse_stat_file((FIXTURES / f"conntrack-stat-{kernel}.txt").read_bytes())
    by_netlink = parse_cpu_statistics([(FIXTURES / f"conntrack-cpus-{kernel}.bin").read_bytes()])
    assert tuple(by_file) == tuple(by_netlink) == COLUMNS
    assert columns(by_file) == columns(by_netlink)
    assert {len(column) for column in by_file.values()} == {2}


def test_a_column_that_this_kernel_does_not_have_is_not_there() -> None:
    renamed = OF_OLD.replace(b"search_restart", b"chain_restarts")
    assert set(parse_stat_file(renamed)) == {"insert_failed", "drop", "early_drop"}


def test_many_cpus_are_no_trouble() -> None:
    head, first, _ = OF_OLD.splitlines(keepends=True)
    statistics = parse_stat_file(head + first * 8192)
    assert statistics["drop"].dtype == np.uint32
    assert statistics["drop"].sum() == 8192 * 10


HEAD, LINE, OTHER = OF_OLD.splitlines(keepends=True)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(HEAD, id="only names"),
        pytest.param(b"\n" + LINE, id="no names"),
        pytest.param(OF_OLD[:-1], id="cut"),
        pytest.param(HEAD + LINE + OTHER[1:], id="lines of two lengths"),
        pytest.param(HEAD + LINE + OTHER[:-2] + b"\nf", id="line ends early"),
        pytest.param(HEAD.replace(b"drop ", b"", 1) + LINE, id="more numbers than names"),
        pytest.param(HEAD + LINE + OTHER.replace(b"DEADBEEF", b"DEADBEEG"), id="no digit"),
        pytest.param(HEAD + LINE + OTHER.replace(b"DEADBEEF", b"DEAD  EF"), id="blanks in it"),
        pytest.param(HEAD + LINE + OTHER.replace(b"DEADBEEF", b"DEADBE\xc3\xa9"), id="no ASCII"),
        pytest.param(HEAD + LINE.replace(b"00000009", b"9"), id="few digits"),
    ],
)
def test_refuses_what_is_no_table(data: bytes) -> None:
    with pytest.raises(ParseError):
        parse_stat_file(data)


def test_cpus_of_netlink_come_in_order() -> None:
    second = message(STATS_MESSAGE, 1, big(9, 1), big(10, 2), big(11, 3), big(13, 4))
    first = message(STATS_MESSAGE, 0, big(9, 5), big(10, 6), big(11, 7))
    assert columns(parse_cpu_statistics([second, first])) == {
        "insert_failed": [5, 1],
        "drop": [6, 2],
        "early_drop": [7, 3],
    }
    assert parse_cpu_statistics([]) == {}


@pytest.mark.parametrize("kernel", KERNELS)
def test_counts_the_connections_that_were_made_in_each_zone(kernel: str) -> None:
    zones: Counter[int] = Counter()
    count_zones((FIXTURES / f"conntrack-entries-{kernel}.bin").read_bytes(), zones)
    assert zones == Counter(ZONES)


def test_datagrams_add_up() -> None:
    zones: Counter[int] = Counter({5: 1})
    entry = message(ENTRY_MESSAGE, 0, attribute(1 | 1 << 15, bytes(5)), attribute(18, b"\0\5"))
    count_zones(entry + message(ENTRY_MESSAGE, 0) + message(STATS_MESSAGE, 0), zones)
    assert zones == {5: 2, 0: 1}


def test_what_is_inside_another_attribute_is_no_zone() -> None:
    zones: Counter[int] = Counter()
    count_zones(message(ENTRY_MESSAGE, 0, attribute(1, attribute(18, b"\0\5"))), zones)
    assert zones == {0: 1}


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        message(ENTRY_MESSAGE, 0, attribute(18, b"\0\5"))[:-1],
        message(ENTRY_MESSAGE, 0, attribute(18, b"\5")),
        message(ENTRY_MESSAGE, 0, b"\3\0\1\0"),
        message(ENTRY_MESSAGE, 0, b"\xff\0\1\0"),
        HEADER.pack(8, ENTRY_MESSAGE, 2, 1, 1),
        HEADER.pack(LENGTH, ENTRY_MESSAGE, 2, 1, 1),
    ],
    ids=["no header", "cut", "zone cut", "too short", "too long", "short", "no nfgenmsg"],
)
def test_refuses_entries_that_are_cut(data: bytes) -> None:
    with pytest.raises(ParseError):
        count_zones(data, Counter())


@pytest.mark.parametrize(
    "data",
    [
        message(STATS_MESSAGE, 0, attribute(9, b"\0\0")),
        message(STATS_MESSAGE, 0, b"\xff\0\1\0"),
        HEADER.pack(LENGTH + 2, STATS_MESSAGE, 2, 1, 1) + bytes(2),
    ],
    ids=["number cut", "too long", "no nfgenmsg"],
)
def test_refuses_statistics_that_are_cut(data: bytes) -> None:
    with pytest.raises(ParseError):
        parse_cpu_statistics([data])
