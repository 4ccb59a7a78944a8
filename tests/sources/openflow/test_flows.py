"""How flows are asked for: gently, completely, and not at all when the switch has other work."""

import asyncio
import os
import struct
from pathlib import Path

import pytest

from agent.config import load
from agent.health import SourceHealth
from agent.model.flow import FlowReading
from agent.model.switch import Bridge, Switch
from agent.sources.openflow import OpenFlowSource
from agent.sources.openflow_connection import open_connection
from agent.sources.openflow_flows import GROUPS_SECONDS, BridgeFlows
from agent.store import Store
from agent.wire.openflow.header import Type
from agent.wire.openflow.multipart import Multipart
from tests.clock import Clock
from tests.sources.openflow.fake_switch import (
    Talk,
    answer,
    flow,
    listening,
    multipart_reply,
    table_stats,
    when,
)

GROUP_ACTION = struct.pack(">HHI", 22, 8, 7)
APPLY_GROUP = struct.pack(">HHxxxx", 4, 8 + len(GROUP_ACTION)) + GROUP_ACTION


class Switched:
    """A fake bridge with flows by table; remembers what it was asked."""

    def __init__(self, **tables: list[bytes]) -> None:
        self.tables = {int(name[1:]): flows for name, flows in tables.items()}
        self.asked: list[tuple[str, int, int, int]] = []
        self.echo_seconds = 0.0
        self.broken_table: int | None = None
        self.broken_groups = False

    async def talk(self, talk: Talk) -> None:
        await talk.hello()
        while True:
            kind, xid, body = await talk.request()
            if kind == Type.ECHO_REQUEST:
                await asyncio.sleep(self.echo_seconds)
            await talk.say(self._answer(kind, xid, body))

    def _answer(self, kind: int, xid: int, body: bytes) -> bytes:
        if kind != Type.MULTIPART_REQUEST:
            return answer(kind, xid, body)
        what = Multipart(int.from_bytes(body[:2], "big"))
        if what is Multipart.TABLE:
            stats = [(table, len(flows), 0, 0) for table, flows in self.tables.items()]
            return multipart_reply(xid, what, table_stats(*stats))
        if what is not Multipart.FLOW:
            self.asked.append((what.name, 0, 0, 0))
            if what is Multipart.GROUP_DESC and self.broken_groups:
                return multipart_reply(xid, what, b"\0")
            return answer(kind, xid, body)
        table, cookie, mask = struct.unpack_from(">B15xQQ", body, 8)
        self.asked.append((what.name, table, cookie, mask))
        if table == self.broken_table:
            return multipart_reply(xid, what, b"\0")
        chosen = [f for f in self.tables[table] if _cookie(f) & mask == cookie & mask]
        return multipart_reply(xid, what, b"".join(chosen))

    def questions(self, what: str) -> int:
        return sum(name == what for name, *_ in self.asked)


def _cookie(entry: bytes) -> int:
    return int.from_bytes(entry[24:32], "big")


def with_cookie(entry: bytes, cookie: int) -> bytes:
    return entry[:24] + cookie.to_bytes(8, "big") + entry[32:]


def with_instructions(entry: bytes, instructions: bytes) -> bytes:
    whole = entry + instructions
    return len(whole).to_bytes(2, "big") + whole[2:]


class Rig:
    """A source with one bridge."""

    def __init__(self, rundir: Path, **flows: object) -> None:
        self.path = rundir / "br0.mgmt"
        self.clock = Clock()
        self.store = Store(clock=self.clock)
        self.store.switch.put(Switch(bridges=(Bridge("br0"),)))
        self.health = SourceHealth("openflow")
        settings = load(None, {}, {"ovs": {"rundir": str(rundir)}, "flows": flows})
        self.source = OpenFlowSource(settings, self.store, self.health)

    async def read(self) -> FlowReading | None:
        """Read, and return what a scrape sees that began now."""
        self.clock.sleep(1.0)
        began = self.clock()
        await self.source.read_flows()
        return (self.store.flows.parts(began).value or {}).get("br0")


@pytest.fixture
def rundir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("f")  # socket paths end at 107 bytes


async def test_a_share_of_the_switchs_time_that_is_used_up_leaves_flows_out(rundir: Path) -> None:
    rig, switch = Rig(rundir, duty_cycle=1e-9), Switched(t0=[flow(0, 1, 5, 300)])
    async with listening(rig.path, switch.talk):
        assert await rig.read() is not None
        assert await rig.read() is None
        asked = len(switch.asked)
        assert await rig.read() is None
        rig.source.close()
    assert len(switch.asked) == asked
    facts = rig.health.facts()
    assert (facts.throttled, facts.up, sum(facts.failures.values())) == (2, True, 0)
    assert facts.min_interval_seconds is not None
    assert facts.min_interval_seconds > 1000


async def test_an_answer_that_fails_midway_is_paid_for(rundir: Path) -> None:
    """A minute's share is 2 ms; a part of 60 KB may cost up to 6 ms, whatever comes behind it."""
    asked = 0

    async def breaks(talk: Talk, xid: int) -> None:
        nonlocal asked
        asked += 1
        for number in range(2):
            body = b"".join(flow(0, number, 0, 0) for _ in range(1000))
            await talk.say(multipart_reply(xid, Multipart.FLOW, body, more=True))
            await asyncio.sleep(0.02)
        await talk.say(multipart_reply(xid, Multipart.TABLE, b""))

    rig = Rig(rundir, duty_cycle=0.002 / 60)
    async with listening(rig.path, when(Multipart.FLOW, breaks)):
        assert await rig.read() is None
        assert await rig.read() is None
        rig.source.close()
    facts = rig.health.facts()
    assert (asked, facts.throttled, sum(facts.failures.values())) == (1, 1, 1)
    assert facts.min_interval_seconds is None  # half a reading does not tell what one costs


async def test_a_switch_that_is_slow_now_is_not_asked_for_flows(rundir: Path) -> None:
    rig, switch = Rig(rundir, busy_echo_seconds=0.05), Switched(t0=[flow(0, 1, 5, 300)])
    async with listening(rig.path, switch.talk):
        assert await rig.read() is not None
        switch.echo_seconds = 0.1
        assert await rig.read() is None
        assert rig.health.facts().throttled == 1
        switch.echo_seconds = 0.0
        assert await rig.read() is not None
        rig.source.close()
    assert switch.questions("FLOW") == 2


async def test_off_asks_for_no_flow(rundir: Path) -> None:
    rig, switch = Rig(rundir, mode="off"), Switched(t0=[flow(0, 1, 5, 300)])
    async with listening(rig.path, switch.talk):
        reading = await rig.read()
        rig.source.close()
    assert reading is not None
    assert (reading.tables, reading.totals.dropped, reading.left_out) == ((), {}, 1)
    assert switch.questions("FLOW") == 0


async def test_a_large_table_with_many_cookies_is_read_in_pieces_and_whole(rundir: Path) -> None:
    flows = [with_cookie(flow(0, n, n, 60 * n), n * 0x9E3779B1 % 2**32) for n in range(1000)]
    many = [with_cookie(flow(7, n, n, 60 * n), n * 0x9E3779B1 % 2**32) for n in range(1100)]
    rig, switch = Rig(rundir, duty_cycle=1), Switched(t0=flows, t7=many)
    async with listening(rig.path, switch.talk):
        for _ in range(2):
            reading = await rig.read()
            assert reading is not None
            read = {table.table_id: table for table in reading.tables}
            assert {f.priority for f in read[7].flows} == set(range(1100))
            assert sorted(read[7].packets.tolist()) == list(range(1100))
        rig.source.close()
    pieces = [(table, mask) for what, table, _, mask in switch.asked if what == "FLOW"]
    assert pieces.count((0, 0)) == 2  # small enough for one answer
    assert len([table for table, mask in pieces if table == 7 and mask]) >= 4
    assert reading is not None
    assert reading.totals.changes == {"added": 0, "removed": 0, "modified": 0}


async def test_groups_are_asked_for_when_a_flow_uses_one(rundir: Path) -> None:
    rig, switch = Rig(rundir), Switched(t0=[flow(0, 1, 5, 300)])
    async with listening(rig.path, switch.talk):
        await rig.read()
        assert switch.questions("GROUP_DESC") == 0
        switch.tables[0] = [with_instructions(flow(0, 2, 0, 0), APPLY_GROUP)]
        for _ in range(2):
            await rig.read()
        rig.source.close()
    assert switch.questions("GROUP_DESC") == 1


async def test_groups_that_could_not_be_read_are_asked_for_again(rundir: Path) -> None:
    rig = Rig(rundir, duty_cycle=1)
    switch = Switched(t0=[with_instructions(flow(0, 2, 0, 0), APPLY_GROUP)])
    async with listening(rig.path, switch.talk):
        before = await rig.read()
        rig.clock.sleep(GROUPS_SECONDS + 1)
        switch.broken_groups = True
        assert await rig.read() is None
        switch.broken_groups = False
        after = await rig.read()
        rig.source.close()
    assert switch.questions("GROUP_DESC") == 3
    assert before is not None
    assert after is not None
    assert after.fate.kinds[0].tolist() == before.fate.kinds[0].tolist()


async def test_a_reading_that_fails_midway_counts_nothing_and_loses_nothing(rundir: Path) -> None:
    rig = Rig(rundir)
    switch = Switched(t0=[flow(0, 1, 5, 300)], t1=[flow(1, 1, 50, 3000)])
    async with listening(rig.path, switch.talk):
        await rig.read()
        switch.tables[0] = [flow(0, 1, 8, 480)]
        switch.broken_table = 1
        assert await rig.read() is None
        switch.broken_table = None
        switch.tables[0] = [flow(0, 1, 12, 720)]
        reading = await rig.read()
        rig.source.close()
    assert reading is not None
    assert reading.totals.dropped[0, "lost"] == 7


async def test_the_process_behind_a_connection_is_known(rundir: Path) -> None:
    async with listening(rundir / "br0.mgmt", Switched().talk):
        connection = await open_connection(rundir / "br0.mgmt", 5.0, 1 << 20)
        assert connection.process == os.getpid()
        connection.close()


def test_another_process_is_told_once_and_one_that_is_not_known_never() -> None:
    flows = BridgeFlows("br0", load(None, {}, {}), SourceHealth("openflow"))
    assert [flows._is_another(pid) for pid in (None, 7, 7, None, 7, 8, 8, None, 9)] == [
        *(False, False, False, False, False, True, False, False, True)
    ]
