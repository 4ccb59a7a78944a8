import re
import struct
from dataclasses import asdict

import pytest

from agent.errors import ParseError
from agent.wire.openflow import messages as of
from tests.wire.openflow import recorded

WORDS = {
    "rx pkts": "rx_packets",
    "rx bytes": "rx_bytes",
    "rx drop": "rx_dropped",
    "rx errs": "rx_errors",
    "rx frame": "rx_frame_errors",
    "rx over": "rx_over_errors",
    "rx crc": "rx_crc_errors",
    "tx pkts": "tx_packets",
    "tx bytes": "tx_bytes",
    "tx drop": "tx_dropped",
    "tx errs": "tx_errors",
    "tx coll": "collisions",
}
LOCAL = 0xFFFFFFFE


def _printed_ports(dump: str) -> dict[int, dict[str, int | None]]:
    """Read ``ovs-ofctl dump-ports``; a question mark is not known."""
    ports: dict[int, dict[str, int | None]] = {}
    for block in re.split(r"\n  port +", dump)[1:]:
        name, _, rest = block.partition(":")
        ports[LOCAL if name == "LOCAL" else int(name)] = {
            WORDS[f"{direction} {word}"]: None if value == "?" else int(value)
            for direction, line in re.findall(r"(rx|tx) (pkts=.*)", rest)
            for word, value in re.findall(r"(\w+)=(\d+|\?)", line)
        }
    return ports


@pytest.mark.parametrize("version", recorded.VERSIONS)
def test_port_statistics_are_those_that_ofctl_prints(version: str) -> None:
    ours = of.parse_port_stats(
        recorded.VERSIONS[version],
        recorded.bodies(f"br-actions-port-stats-{version}", of.Multipart.PORT_STATS),
    )
    theirs = _printed_ports(recorded.text(f"br-actions-port-stats-{version}"))
    assert ours.keys() == theirs.keys() == {LOCAL, 1, 2}
    for number, stats in ours.items():
        assert len(theirs[number]) == len(WORDS)
        assert asdict(stats).items() >= theirs[number].items()


def test_statistics_that_the_device_does_not_keep_are_unknown_and_not_zero() -> None:
    bodies = recorded.bodies("br-actions-port-stats-of13", of.Multipart.PORT_STATS)
    stats = of.parse_port_stats(of.Version.OF13, bodies)[1]
    assert (stats.rx_packets, stats.rx_bytes, stats.rx_dropped) == (3, 354, None)


def test_custom_statistics_come_with_openflow_14_only() -> None:
    bodies = recorded.bodies("br-actions-port-stats-of14", of.Multipart.PORT_STATS)
    ports = of.parse_port_stats(of.Version.OF14, bodies)
    printed = recorded.text("br-actions-port-stats-of14").split("  port ")[2]
    expected = {name: int(value) for name, value in re.findall(r"(\w+_\w+)=(\d+),", printed)}
    assert ports[1].custom == expected
    assert len(expected) == 6
    bodies = recorded.bodies("br-actions-port-stats-of13", of.Multipart.PORT_STATS)
    assert of.parse_port_stats(of.Version.OF13, bodies)[1].custom == {}


@pytest.mark.parametrize("version", recorded.VERSIONS)
def test_port_names_are_cut_at_15_bytes_and_may_be_the_same(version: str) -> None:
    assert recorded.port_names("br-fields", version) == {
        LOCAL: "br-fields",
        1: "tap1",
        2: "patch-br-int-to",
        3: "patch-br-int-to",
        4: "plain7",
    }


def test_a_port_name_that_is_no_utf8_stays_visible() -> None:
    body = bytearray(64)
    body[16:19] = b"a\xff\xc3"
    assert of.parse_port_desc(of.Version.OF13, [bytes(body)]) == {0: r"a\xff\xc3"}


@pytest.mark.parametrize("version", recorded.VERSIONS)
def test_table_statistics_come_for_all_tables(version: str) -> None:
    tables = of.parse_table_stats(
        recorded.bodies(f"br-actions-tables-{version}", of.Multipart.TABLE)
    )
    assert [table.table_id for table in tables] == list(range(254))
    printed = recorded.text(f"br-actions-tables-{version}")
    active, lookup, matched = re.findall(r"active=(\d+), lookup=(\d+), matched=(\d+)", printed)[0]
    first = tables[0]
    assert (first.flows, first.lookups, first.matches) == (int(active), int(lookup), int(matched))
    assert int(lookup) > 0


def test_refuses_a_table_that_comes_twice() -> None:
    table = struct.pack(">BxxxIQQ", 7, 1, 2, 3)
    with pytest.raises(ParseError):
        of.parse_table_stats([table, table])


@pytest.mark.parametrize("length", [0, 1, 39, 41, 0xFFFF])
def test_refuses_a_port_description_with_an_impossible_length(length: int) -> None:
    body = bytearray(recorded.bodies("br-fields-port-desc-of14", of.Multipart.PORT_DESC)[0][-72:])
    body[4:6] = length.to_bytes(2, "big")
    with pytest.raises(ParseError):
        of.parse_port_desc(of.Version.OF14, [bytes(body)])
