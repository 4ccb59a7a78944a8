"""What the kernel says of a port is what ovs-dpctl prints of it."""

import re
import struct
from dataclasses import fields

import pytest

from agent.errors import ParseError
from agent.model.bridge import PortStats
from agent.wire.netlink.attributes import attribute
from agent.wire.netlink.header import HEADER, LENGTH
from agent.wire.netlink.vports import NAME, PORT_NO, STATS, TYPE, UPCALL_STATS, read_vports
from tests.wire.netlink.recorded import FIXTURES

FAMILY = 33
TUNNELS = {"vxlan_sys_4789", "genev_sys_6081"}
COUNTERS = 8


def shown(text: str) -> dict[str, dict[str, int]]:
    """Return what ``ovs-dpctl show -s`` prints of each port; ``?`` is left out."""
    found: dict[str, dict[str, int]] = {}
    ports: dict[str, int] = {}
    for line in text.splitlines():
        if port := re.match(r"  port (\d+): (\S+)", line):
            ports = found[port[2]] = {"number": int(port[1])}
        for one in re.finditer(r"([RT]X) (packets|bytes):(\d+)", line):
            ports[f"{one[1][0].lower()}x_{one[2]}"] = int(one[3])
            for other in re.finditer(r"(errors|dropped):(\d+)", line):
                ports[f"{one[1][0].lower()}x_{other[1]}"] = int(other[2])
    return found


def port(*attributes: bytes, family: int = FAMILY) -> bytes:
    payload = struct.pack("=BBHi", 1, 1, 0, 4) + b"".join(attributes)
    return HEADER.pack(LENGTH + len(payload), family, 2, 1, 1) + payload


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


IDENTITY = (number(PORT_NO, 7), number(TYPE, 1), attribute(NAME, b"tap\0"))


def stats(*counters: int) -> bytes:
    return attribute(STATS, struct.pack(f"={len(counters)}Q", *counters))


def test_counts_what_ovs_dpctl_shows() -> None:
    found = read_vports((FIXTURES / "vports-6.1.bin").read_bytes(), FAMILY)
    expected = shown((FIXTURES / "vports-6.1.txt").read_text())
    assert {each.name for each in found} == expected.keys()
    assert expected.keys() > TUNNELS
    compared = 0
    for each in found:
        assert each.stats.number == expected[each.name]["number"]
        if each.name not in TUNNELS:  # of which ovs-dpctl prints zeros: it cannot open them
            counted = {name: getattr(each.stats, name) for name in expected[each.name]}
            assert counted == expected[each.name]
            compared += sum(value > 0 for value in counted.values())
    assert compared > 3 * COUNTERS // 2


def test_names_the_kinds_of_ports() -> None:
    found = read_vports((FIXTURES / "vports-6.1.bin").read_bytes(), FAMILY)
    kinds = {each.name: each.kind for each in found}
    assert {kinds["ovs-system"], kinds["br-int"], kinds["int0"]} == {"internal"}
    # Since Open vSwitch 2.8 the device of a tunnel is made first, and added like any other.
    assert {kinds["pa"], *(kinds[tunnel] for tunnel in TUNNELS)} == {"netdev"}


@pytest.mark.parametrize(("kind", "name"), [(3, "gre"), (4, "vxlan"), (5, "geneve"), (107, "107")])
def test_a_kind_without_a_name_is_its_number(kind: int, name: str) -> None:
    (found,) = read_vports(port(IDENTITY[0], number(TYPE, kind), IDENTITY[2]), FAMILY)
    assert found.kind == name


def test_each_counter_is_in_its_place() -> None:
    (found,) = read_vports(port(*IDENTITY, stats(1, 2, 3, 4, 5, 6, 7, 8)), FAMILY)
    assert found.stats == PortStats(
        7,
        rx_packets=1,
        tx_packets=2,
        rx_bytes=3,
        tx_bytes=4,
        rx_errors=5,
        tx_errors=6,
        rx_dropped=7,
        tx_dropped=8,
    )
    assert (found.upcall_packets, found.upcall_errors) == (None, None)


def test_what_is_all_ones_or_left_out_is_not_known() -> None:
    (some,) = read_vports(port(*IDENTITY, stats(1, 2**64 - 1, 3, 4, 5, 6, 7, 8)), FAMILY)
    assert (some.stats.tx_packets, some.stats.rx_packets) == (None, 1)
    (none,) = read_vports(port(*IDENTITY), FAMILY)
    known = {each.name for each in fields(none.stats) if getattr(none.stats, each.name) is not None}
    assert known == {"number", "custom"}


def test_statistics_that_grew_in_a_later_kernel_begin_as_before() -> None:
    (found,) = read_vports(port(*IDENTITY, stats(1, 2, 3, 4, 5, 6, 7, 8, 9)), FAMILY)
    assert (found.stats.rx_packets, found.stats.tx_dropped) == (1, 8)


def test_upcalls_are_known_where_the_kernel_counts_them() -> None:
    success, fail = (attribute(kind, struct.pack("=Q", value)) for kind, value in ((0, 9), (1, 2)))
    (found,) = read_vports(port(*IDENTITY, attribute(UPCALL_STATS, success + fail)), FAMILY)
    assert (found.upcall_packets, found.upcall_errors) == (9, 2)
    (half,) = read_vports(port(*IDENTITY, attribute(UPCALL_STATS, success)), FAMILY)
    assert (half.upcall_packets, half.upcall_errors) == (9, None)


def test_passes_over_messages_of_others() -> None:
    both = port(*IDENTITY, family=FAMILY + 1) + port(*IDENTITY)
    assert len(read_vports(both, FAMILY)) == 1


@pytest.mark.parametrize(
    "broken",
    [
        port(*IDENTITY[:2]),
        port(*IDENTITY[1:]),
        port(IDENTITY[0], IDENTITY[2]),
        port(*IDENTITY[:2], attribute(NAME, b"\0")),
        port(IDENTITY[0], attribute(TYPE, b"\1\0"), IDENTITY[2]),
        port(*IDENTITY, stats(1, 2, 3, 4, 5, 6, 7)),
        port(*IDENTITY, attribute(UPCALL_STATS, attribute(0, b"\1\0\0\0"))),
        port(*IDENTITY)[:-4],
    ],
)
def test_refuses_what_is_too_short_or_has_no_identity(broken: bytes) -> None:
    with pytest.raises(ParseError):
        read_vports(broken, FAMILY)
