"""The decoder finds every flow again, whatever the switch does to order and contents."""

import struct
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import ParseError
from agent.model.flow import TableFlows
from agent.wire.openflow.alignment import STEPS
from agent.wire.openflow.decoder import BATCH_FLOWS, FlowDecoder

TABLE = 7
PORTS = {5: "tap5"}
RESET_COUNTS = 0x04


@dataclass(frozen=True)
class Entry:
    """A flow as a switch holds it; ``name`` goes into its match."""

    name: int
    packets: int = 0
    cookie: int = 1
    seconds: float = 1.0
    flags: int = 0
    priority: int = 10
    in_port: int | None = None
    table: int = TABLE

    @property
    def octets(self) -> bytes:
        match = struct.pack(">II", 0x00010A04, self.name)  # reg5
        if self.in_port is not None:
            match += struct.pack(">II", 0x80000004, self.in_port)
        match = struct.pack(">HH", 1, 4 + len(match)) + match
        match += bytes(-len(match) % 8)
        whole, part = divmod(self.seconds, 1)
        head = struct.pack(
            *(">HBxIIHHHHxxxxQQQ", 48 + len(match), self.table, int(whole), int(part * 1e9)),
            *(self.priority, 0, 0, self.flags, self.cookie, self.packets, 64 * self.packets),
        )
        return head + match


class Reader:
    """Reads one table again and again, a second apart."""

    def __init__(self) -> None:
        self.decoder = FlowDecoder()
        self.now = 0.0

    def decode(self, entries: list[Entry], *, whole: bool = True) -> TableFlows:
        middle = len(entries) // 2  # an answer has parts
        parts = [b"".join(e.octets for e in part) for part in (entries[:middle], entries[middle:])]
        self.now += 1.0
        steps = self.decoder.decode(TABLE, parts, self.now, self.now, whole=whole)
        (table,) = [step for step in steps if step is not None]
        return table

    def read(
        self,
        entries: list[Entry],
        ports: dict[int, str] = PORTS,
        *,
        whole: bool = True,
    ) -> TableFlows:
        self.decoder.prepare(ports)
        table = self.decode(entries, whole=whole)
        self.decoder.commit()
        return table


ENTRIES = st.lists(
    st.builds(
        Entry,
        name=st.integers(0, 300),
        packets=st.integers(0, 1 << 63),
        cookie=st.integers(0, 2),
        priority=st.integers(0, 1),
    ),
    unique_by=lambda entry: (entry.name, entry.priority),
    max_size=200,
)


def says(table: TableFlows) -> list[tuple[str, int, int, int, int]]:
    return [
        (flow.match, flow.priority, flow.cookie, packets, octets)
        for flow, packets, octets in zip(
            table.flows, table.packets.tolist(), table.octets.tolist(), strict=True
        )
    ]


def expected(entries: list[Entry]) -> list[tuple[str, int, int, int, int]]:
    texts = [f"reg5={e.name:#x}" if e.name else "reg5=0" for e in entries]
    return [
        (text, e.priority, e.cookie, e.packets, 64 * e.packets % (1 << 64))
        for text, e in zip(texts, entries, strict=True)
    ]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_says_what_the_switch_says_and_where_each_flow_stood(data: st.DataObject) -> None:
    reader = Reader()
    entries = [replace(e, packets=e.packets >> 8) for e in data.draw(ENTRIES)]
    last = reader.read(entries)
    assert last.first
    for _ in range(3):
        kept = [e for e in entries if data.draw(st.sampled_from((True, True, True, False)))]
        fresh = [
            replace(e, name=e.name + 1000 * (_ + 1), packets=e.packets >> 8)
            for e in data.draw(ENTRIES)
        ]
        changed = [replace(e, cookie=e.cookie + 7) for e in kept[:3]] + kept[3:]
        new = changed + fresh
        if data.draw(st.booleans()):
            new = data.draw(st.permutations(new))
        new = [replace(e, packets=e.packets + 1, seconds=e.seconds + 1) for e in new]
        table = reader.read(new)
        assert says(table) == expected(new)
        names = [(e.name, e.priority) for e in entries]
        stood = [
            names.index((e.name, e.priority)) if (e.name, e.priority) in names else -1 for e in new
        ]
        before = range(len(new)) if table.before is None else table.before.tolist()
        assert list(before) == stood
        assert table.modified == len(changed[:3])
        assert not table.first
        kept_flows = {id(flow) for flow in last.flows}
        reused = sum(id(flow) in kept_flows for flow in table.flows)
        assert reused == len(kept[3:])  # what is the same is not decoded again
        entries, last = new, table


def test_the_same_flows_are_the_same_tuple() -> None:
    reader = Reader()
    first = reader.read([Entry(1, 5), Entry(2, 6)])
    second = reader.read([Entry(1, 7, seconds=2), Entry(2, 6, seconds=2)])
    assert second.flows is first.flows
    assert second.before is None
    assert second.packets.tolist() == [7, 6]


def test_a_table_that_is_dealt_out_anew_is_found_again() -> None:
    reader = Reader()
    entries = [Entry(n, n) for n in range(2000)]
    first = reader.read(entries)
    order = np.random.default_rng(5).permutation(2000).tolist()
    table = reader.read([entries[n] for n in order])
    assert table.before is not None
    assert table.before.tolist() == order
    assert set(table.flows) == set(first.flows)


def test_a_flow_that_comes_later_was_absent_and_the_table_not_first() -> None:
    reader = Reader()
    reader.read([])
    table = reader.read([Entry(1, 5)])
    assert table.before is not None
    assert table.before.tolist() == [-1]
    assert not table.first


def test_an_uncommitted_reading_is_not_compared_with() -> None:
    reader = Reader()
    first = reader.read([Entry(1)])
    reader.decoder.prepare(PORTS)
    reader.decode([Entry(2)])
    again = reader.read([Entry(1)])
    assert again.flows is first.flows


def test_a_port_that_is_renamed_changes_the_text_of_its_flows_only() -> None:
    reader = Reader()
    entries = [Entry(1, in_port=5), Entry(2)]
    first = reader.read(entries)
    assert "in_port=tap5" in first.flows[0].match.replace('"', "")
    table = reader.read(entries, {5: "tap9"})
    assert "tap9" in table.flows[0].match
    assert table.flows[1] is first.flows[1]
    assert table.before is None
    assert table.modified == 0
    assert reader.read(entries, {5: "tap9", 6: "tap6"}).flows is table.flows


def test_what_stands_twice_is_counted_once() -> None:
    reader = Reader()
    table = reader.read([Entry(1, 5), Entry(2, 6), Entry(1, 7, cookie=9)], whole=False)
    assert table.packets.tolist() == [5, 6]
    table = reader.read([Entry(1, 8), Entry(2, 9), Entry(1, 10, cookie=9)], whole=False)
    assert table.packets.tolist() == [8, 9]
    assert len(table.flows) == 2


def printed_alike(mask: int, packets: int) -> bytes:
    """ovs-ofctl leaves out the mask of tun_gbp_flags: every one is its ``tun_gbp_flags=0x1``."""
    entry = Entry(0, packets, in_port=5).octets
    match = struct.pack(">HHIBBII", 1, 18, 0x00014F02, 1, mask, 0x80000004, 5) + bytes(6)
    return struct.pack(">H", 48 + len(match)) + entry[2:48] + match


def test_flows_that_are_printed_alike_are_told_apart_whatever_their_port_is_called() -> None:
    reader = Reader()
    for packets, port in ((1, "tap5"), (2, "tap5"), (3, "tap9"), (4, "tap9")):
        reader.decoder.prepare({5: port})
        answer = printed_alike(0x01, packets) + printed_alike(0x03, 10 * packets)
        (table,) = reader.decoder.decode(TABLE, [answer], 1.0, 1.0, whole=True)
        reader.decoder.commit()
        assert table is not None
        assert table.packets.tolist() == [packets, 10 * packets]
        first, second = (flow.match for flow in table.flows)
        assert first == f"tun_gbp_flags=0x1,in_port={port}"
        assert second.startswith(f"{first}#")


def test_one_that_is_printed_alike_and_modified_takes_the_text_of_no_other() -> None:
    reader = Reader()
    reader.decoder.prepare(PORTS)
    list(reader.decoder.decode(TABLE, [printed_alike(1, 1)], 1.0, 1.0, whole=True))
    reader.decoder.commit()
    reader.decoder.prepare(PORTS)
    answer = printed_alike(3, 2) + printed_alike(1, 3)
    (table,) = reader.decoder.decode(TABLE, [answer], 1.0, 1.0, whole=True)
    assert table is not None
    assert ["#" in flow.match for flow in table.flows] == [True, False]


def test_a_port_that_comes_back_by_another_number_does_not_look_like_its_old_flows() -> None:
    reader = Reader()
    reader.read([Entry(1, in_port=5)], {5: "tapA"})
    table = reader.read([Entry(1, in_port=5), Entry(1, in_port=6)], {6: "tapA"})
    assert [flow.match for flow in table.flows] == ["reg5=0x1,in_port=5", "reg5=0x1,in_port=tapA"]


def test_others_have_their_turn_while_many_flows_are_decoded_once() -> None:
    decoder, flows = FlowDecoder(), 10 * BATCH_FLOWS
    answer = b"".join(Entry(n, in_port=5).octets for n in range(flows))
    for ports in ({5: "tap5"}, {5: "tap9"}):
        decoder.prepare(ports)
        steps = list(decoder.decode(TABLE, [answer], 1.0, 1.0, whole=True))
        decoder.commit()
        assert len(steps) == flows // BATCH_FLOWS + 1


def test_others_have_their_turn_while_a_large_table_is_compared() -> None:
    reader = Reader()
    entries = [Entry(n) for n in range(3 * STEPS)]
    reader.read(entries)
    reader.decoder.prepare(PORTS)
    answer = b"".join(entry.octets for entry in entries[::2])
    assert len(list(reader.decoder.decode(TABLE, [answer], 1.0, 1.0, whole=True))) > 1


def test_a_flow_that_pieces_missed_is_not_new_when_it_is_back() -> None:
    reader = Reader()
    reader.read([Entry(1, 1000), Entry(2, 5)], whole=False)
    missed = reader.read([Entry(2, 6)], whole=False)
    assert missed.partial
    back = reader.read([Entry(1, 1010, cookie=9), Entry(2, 6)], whole=False)
    assert back.returned == {0: (1000, 64000)}
    assert not back.partial
    later = reader.read([Entry(1, 1011, cookie=9), Entry(2, 6)], whole=False)
    assert later.returned == {}


def test_a_flow_that_a_whole_answer_lacks_is_gone() -> None:
    reader = Reader()
    reader.read([Entry(1, 1000), Entry(2, 5)])
    assert not reader.read([Entry(2, 6)]).partial
    assert reader.read([Entry(1, 3), Entry(2, 6)]).returned == {}


def test_reset_counts_counts_from_zero_only_when_the_flow_was_created_anew() -> None:
    reader = Reader()
    flagged = Entry(1, 100, seconds=50.0, flags=RESET_COUNTS)
    reader.read([flagged, Entry(2, 100, seconds=50.0)])
    same = reader.read([replace(flagged, seconds=51.0), Entry(2, 100, seconds=51.0)])
    assert same.restarted == ()
    anew = reader.read([replace(flagged, seconds=0.4), Entry(2, 100, seconds=0.4)])
    assert anew.restarted == (0,)


def test_the_cookies_of_a_table_are_those_of_its_last_reading() -> None:
    reader = Reader()
    assert reader.decoder.cookies(TABLE) is None
    reader.read([Entry(1, cookie=0x1122334455667788), Entry(2, cookie=2)])
    cookies = reader.decoder.cookies(TABLE)
    assert cookies is not None
    assert cookies.tolist() == [0x1122334455667788, 2]


@pytest.mark.parametrize(
    "answer",
    [
        Entry(1).octets[:-8],
        Entry(1).octets[:-1],
        Entry(1).octets + bytes(8),
        Entry(1, table=8).octets,
        *(length.to_bytes(2, "big") + Entry(1).octets[2:] for length in (0, 8, 48, 55, 68)),
        Entry(1).octets[:50] + b"\xff\xff" + Entry(1).octets[52:],
    ],
)
@pytest.mark.parametrize("known", [[], [Entry(1)], [Entry(2), Entry(1)]])
def test_refuses_what_is_no_answer_for_this_table(answer: bytes, known: list[Entry]) -> None:
    reader = Reader()
    reader.read(known)
    reader.decoder.prepare(PORTS)
    with pytest.raises(ParseError):
        list(reader.decoder.decode(TABLE, [answer], 1.0, 1.0, whole=True))
