"""What a discipline's message says is what tc prints."""

import json
import struct
from pathlib import Path

import pytest

from agent.errors import ParseError
from agent.wire.netlink.attributes import attribute
from agent.wire.netlink.header import DONE, HEADER, LENGTH
from agent.wire.netlink.qdiscs import NEWQDISC, QdiscDrops, parse_qdiscs

FIXTURES = Path(__file__).parent / "fixtures"
KERNELS = ("6.1", "6.18")
END = HEADER.pack(20, DONE, 2, 1, 1) + bytes(4)
ROOT, INGRESS = 0xFFFFFFFF, 0xFFFFFFF1
KIND, STATS, STATS2 = 1, 3, 7
QUEUE = 3


def message(*attributes: bytes, index: int = 2, parent: int = ROOT, kind: int = NEWQDISC) -> bytes:
    payload = struct.pack("=BBHiIII", 0, 0, 0, index, 0x10000, parent, 2) + b"".join(attributes)
    return HEADER.pack(LENGTH + len(payload), kind, 2, 1, 1) + payload


def queue(drops: int) -> bytes:
    return attribute(STATS2, attribute(QUEUE, struct.pack("=IIIII", 1, 2, drops, 4, 5)))


def stats(drops: int) -> bytes:
    return attribute(STATS, struct.pack("=QIIIIIII", 1, 2, drops, 4, 5, 6, 7, 8))


TBF = attribute(KIND, b"tbf\0")


@pytest.mark.parametrize("kernel", KERNELS)
def test_tells_of_roots_and_ingress_what_tc_prints(kernel: str) -> None:
    links = json.loads((FIXTURES / f"link-stats-{kernel}.json").read_bytes())
    indexes = {link["ifname"]: link["ifindex"] for link in links}
    shown = json.loads((FIXTURES / f"qdiscs-{kernel}.json").read_bytes())
    expected = {
        (indexes[one["dev"]], one["kind"], one["drops"])
        for one in shown
        if one["kind"] != "noqueue" and (one.get("root") or one["parent"] == "ffff:fff1")
    }
    found = parse_qdiscs([(FIXTURES / f"qdiscs-{kernel}.bin").read_bytes()])
    assert {(one.index, one.kind, one.drops) for one in found} == expected
    assert len(found) == len(expected)
    assert {one.kind for one in found} == {"mq", "htb", "clsact", "ingress"}


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_kernel_counts_what_children_drop_at_their_root(kernel: str) -> None:
    shown = json.loads((FIXTURES / f"qdiscs-{kernel}.json").read_bytes())
    for device, children in (("v1", "tbf"), ("v2", "pfifo")):
        here = [one for one in shown if one["dev"] == device]
        (root,) = (one for one in here if one.get("root"))
        below = sum(one["drops"] for one in here if one["kind"] == children)
        assert root["drops"] == below > 0


def test_reads_the_numbers_of_today_before_those_of_old() -> None:
    both = message(TBF, queue(0xFFFFFFFF), stats(7))
    old = message(TBF, stats(7))
    assert [one.drops for one in parse_qdiscs([both + END, old])] == [0xFFFFFFFF, 7]


def test_says_whose_they_are() -> None:
    (one,) = parse_qdiscs([message(TBF, queue(3), index=9, parent=INGRESS)])
    assert one == QdiscDrops(9, 0x10000, INGRESS, "tbf", 3)


@pytest.mark.parametrize(
    "left_out",
    [
        message(TBF, queue(3), parent=0x10001),
        message(attribute(KIND, b"noqueue\0"), queue(3)),
        message(queue(3)),
        message(TBF),
        message(TBF, attribute(STATS2, b"")),
        message(TBF, queue(3), kind=NEWQDISC + 1),
        END,
        b"",
    ],
    ids=["child", "noqueue", "no kind", "no numbers", "empty numbers", "deleted", "end", "nothing"],
)
def test_leaves_out_what_counts_nothing_of_its_own(left_out: bytes) -> None:
    assert parse_qdiscs([left_out]) == []


@pytest.mark.parametrize(
    "data",
    [
        HEADER.pack(LENGTH + 4, NEWQDISC, 2, 1, 1) + bytes(4),
        message(TBF, attribute(STATS2, attribute(QUEUE, bytes(16)))),
        message(TBF, attribute(STATS, bytes(12))),
        message(TBF, attribute(STATS2, b"\xff\xff\3\0")),
        message(TBF, queue(3))[:-1],
        message(b"\3\0\1\0"),
    ],
    ids=["no tcmsg", "queue cut", "stats cut", "too long inside", "cut", "too short"],
)
def test_refuses_what_is_cut(data: bytes) -> None:
    with pytest.raises(ParseError):
        parse_qdiscs([data])
