"""What a bridge that misbehaves gets: a reason, in time, and no share in the others' readings."""

import asyncio
import gc
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agent.config import Settings, load
from agent.errors import Reason, SourceError
from agent.health import SourceHealth
from agent.model.flow import FlowReading
from agent.model.switch import Bridge, Switch
from agent.sources.openflow import OpenFlowSource
from agent.sources.openflow_connection import open_connection
from agent.store import Store
from agent.wire.openflow.header import Type, message
from agent.wire.openflow.multipart import Multipart
from tests.sources.openflow.fake_switch import (
    Talk,
    answer,
    flow,
    healthy,
    listening,
    multipart_reply,
    when,
)

TIMEOUT_SECONDS = 0.3


def settings_for(rundir: Path, **flows: object) -> Settings:
    return load(
        None,
        {},
        {
            "ovs": {"rundir": str(rundir)},
            "timeouts": {"openflow_seconds": TIMEOUT_SECONDS},
            "limits": {"openflow_reply_bytes": 1 << 17},
            "flows": flows,
        },
    )


class Rig:
    """A source over a run directory, and what it brought."""

    def __init__(self, rundir: Path, *bridges: str, **flows: object) -> None:
        self.store = Store()
        if bridges:
            self.store.switch.put(Switch(bridges=tuple(Bridge(name) for name in bridges)))
        self.health = SourceHealth("openflow")
        self.source = OpenFlowSource(settings_for(rundir, **flows), self.store, self.health)

    async def read(self) -> None:
        await self.source.read_bridges()
        await self.source.read_flows()

    def reason(self, part: str) -> str | None:
        problem = self.health.status()["problems"].get(part)
        return problem and problem["reason"]

    def bridges(self) -> set[str]:
        return set(self.store.bridges.parts(0).value or {})

    def reading(self, bridge: str) -> FlowReading:
        return (self.store.flows.parts(0).value or {})[bridge]

    def flows(self, bridge: str) -> dict[tuple[int, int, str], tuple[int, int]]:
        return {
            (flow.table_id, flow.priority, flow.match): (packets, octets)
            for table in self.reading(bridge).tables
            for flow, packets, octets in zip(
                table.flows, table.packets.tolist(), table.octets.tolist(), strict=True
            )
        }


@pytest.fixture
def rundir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Socket paths end at 107 bytes; pytest's own are long.
    path = tmp_path_factory.mktemp("r")
    assert len(str(path)) < 90
    return path


async def test_reads_a_healthy_bridge(rundir: Path) -> None:
    rig = Rig(rundir, "br0")
    async with listening(rundir / "br0.mgmt", healthy):
        await rig.read()
        rig.source.close()
    assert rig.health.up
    reading = (rig.store.bridges.parts(0).value or {})["br0"]
    assert reading.port_names == {1: "tap1"}
    assert reading.ports[1].rx_packets == 1
    assert [(t.table_id, t.flows, t.lookups, t.matches) for t in reading.tables] == [(0, 2, 10, 9)]
    assert rig.flows("br0") == {(0, 10, "in_port=tap1"): (3, 300), (0, 0, ""): (6, 600)}


async def test_finds_bridges_by_their_sockets_when_the_database_is_unknown(rundir: Path) -> None:
    rig = Rig(rundir)
    async with listening(rundir / "br9.mgmt", healthy):
        await rig.read()
        rig.source.close()
    assert rig.bridges() == {"br9"}


async def test_no_database_and_no_socket_is_absent(rundir: Path) -> None:
    rig = Rig(rundir)
    await rig.read()
    assert rig.reason("openflow") == "absent"


async def test_a_bridge_without_a_socket_is_absent(rundir: Path) -> None:
    rig = Rig(rundir, "br0")
    await rig.read()
    assert rig.reason("br0") == "absent"


async def test_a_dead_socket_is_refused(rundir: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(rundir / "br0.mgmt"))
    rig = Rig(rundir, "br0")
    await rig.read()
    assert rig.reason("br0") == "refused"


async def test_a_full_backlog_is_a_timeout_at_once(rundir: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stopped, socket.socket(socket.AF_UNIX) as first:
        stopped.bind(str(rundir / "br0.mgmt"))
        stopped.listen(0)
        first.connect(str(rundir / "br0.mgmt"))
        rig = Rig(rundir, "br0")
        await rig.read()
    assert rig.reason("br0") == "timeout"


async def says_nothing(talk: Talk) -> None:
    await talk.never()


async def closes_at_once(talk: Talk) -> None:
    await talk.request()


async def speaks_http(talk: Talk) -> None:
    await talk.request()
    await talk.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await talk.never()


async def allows_only_10(talk: Talk) -> None:
    _, xid, _ = await talk.request()
    await talk.say(message(1, Type.HELLO, xid))
    await talk.never()


async def header_shorter_than_itself(talk: Talk) -> None:
    await talk.hello()
    await talk.request()
    await talk.say(struct.pack(">BBHI", 4, 3, 4, 1))
    await talk.never()


@pytest.mark.parametrize(
    ("peer", "reason"),
    [
        (says_nothing, Reason.TIMEOUT),
        (closes_at_once, Reason.BROKEN),
        (speaks_http, Reason.MALFORMED),
        (allows_only_10, Reason.REFUSED),
        (header_shorter_than_itself, Reason.MALFORMED),
    ],
)
async def test_a_bad_handshake_gets_its_reason(
    rundir: Path, peer: Callable[[Talk], Awaitable[None]], reason: Reason
) -> None:
    rig = Rig(rundir, "bad", "good")
    async with listening(rundir / "bad.mgmt", peer), listening(rundir / "good.mgmt", healthy):
        await rig.read()
        rig.source.close()
    assert rig.reason("bad") == reason
    assert rig.bridges() == {"good"}
    assert not rig.health.up


async def error(talk: Talk, xid: int) -> None:
    await talk.say(message(4, Type.ERROR, xid, struct.pack(">HH", 1, 5)))


async def silence(talk: Talk, _xid: int) -> None:
    await talk.never()


async def stall(talk: Talk, xid: int) -> None:
    await talk.say(multipart_reply(xid, Multipart.FLOW, flow(0, 1, 1, 1), more=True)[:30])
    await talk.never()


async def endless(talk: Talk, xid: int) -> None:
    while True:
        await talk.say(multipart_reply(xid, Multipart.FLOW, flow(0, 1, 1, 1) * 900, more=True))


async def half(talk: Talk, xid: int) -> None:
    await talk.say(multipart_reply(xid, Multipart.FLOW, flow(0, 1, 1, 1), more=True))
    talk.writer.close()


async def wrong_type(talk: Talk, xid: int) -> None:
    await talk.say(multipart_reply(xid, Multipart.TABLE, b""))


async def truncated_entry(talk: Talk, xid: int) -> None:
    await talk.say(multipart_reply(xid, Multipart.FLOW, flow(0, 1, 1, 1)[:-3]))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (error, Reason.BROKEN),
        (stall, Reason.TIMEOUT),
        (endless, Reason.MALFORMED),
        (half, Reason.BROKEN),
        (wrong_type, Reason.MALFORMED),
        (truncated_entry, Reason.MALFORMED),
    ],
)
async def test_a_bad_answer_costs_only_what_was_asked(
    rundir: Path, fault: Callable[[Talk, int], Awaitable[None]], reason: Reason
) -> None:
    rig = Rig(rundir, "br0")
    async with listening(rundir / "br0.mgmt", when(Multipart.FLOW, fault)):
        await rig.read()
        rig.source.close()
    assert rig.reason("br0 flows") == reason
    assert rig.store.flows.parts(0).value is None
    assert rig.bridges() == {"br0"}


async def test_an_answer_to_nobody_is_not_taken_for_the_next(rundir: Path) -> None:
    async def stray(talk: Talk, xid: int) -> None:
        await talk.say(multipart_reply(xid + 1000, Multipart.FLOW, flow(0, 1, 99, 99)))
        await talk.say(message(4, 10, 0, b"\0" * 24))  # a packet-in that nobody asked for
        await talk.say(multipart_reply(xid, Multipart.FLOW, flow(0, 1, 4, 40)))

    rig = Rig(rundir, "br0")
    async with listening(rundir / "br0.mgmt", when(Multipart.FLOW, stray)):
        await rig.read()
        rig.source.close()
    assert rig.flows("br0") == {(0, 1, ""): (4, 40)}


async def test_echo_requests_of_the_switch_are_answered(rundir: Path) -> None:
    answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def asks(talk: Talk, xid: int) -> None:
        await talk.say(message(4, Type.ECHO_REQUEST, 77, b"are you there"))
        kind, echoed, body = await talk.request()
        answered.set_result(body)
        assert (kind, echoed) == (Type.ECHO_REPLY, 77)
        await talk.say(multipart_reply(xid, Multipart.FLOW, b""))

    rig = Rig(rundir, "br0")
    async with listening(rundir / "br0.mgmt", when(Multipart.FLOW, asks)):
        await rig.read()
        rig.source.close()
    assert await answered == b"are you there"


async def test_a_peer_that_asks_and_does_not_read_is_given_up(rundir: Path) -> None:
    async def flood(talk: Talk, _xid: int) -> None:
        echo = message(4, Type.ECHO_REQUEST, 7, bytes(60_000))
        while True:
            await talk.say(echo)

    rig = Rig(rundir, "br0")
    async with listening(rundir / "br0.mgmt", when(Multipart.FLOW, flood)):
        await rig.read()
        rig.source.close()
    assert rig.reason("br0 flows") == Reason.BROKEN


async def test_a_peer_that_asks_and_does_not_read_costs_no_descriptor(rundir: Path) -> None:
    gone = asyncio.Event()

    async def flood(talk: Talk) -> None:
        await talk.hello()
        try:
            while True:  # nobody asks it anything
                await talk.say(message(4, Type.ECHO_REQUEST, 7, bytes(60_000)))
        except ConnectionError:
            gone.set()

    async with listening(rundir / "br0.mgmt", flood):
        connection = await open_connection(rundir / "br0.mgmt", 5.0, 1 << 20)
        await asyncio.wait_for(gone.wait(), 5)
    assert connection.closed


async def test_a_peer_that_never_stops_talking_is_given_up(rundir: Path) -> None:
    gone = asyncio.Event()

    async def talks(talk: Talk) -> None:
        await talk.hello()
        try:
            while True:
                await talk.say(message(4, Type.MULTIPART_REPLY, 0, bytes(60_000)))
        except ConnectionError:
            gone.set()

    async with listening(rundir / "br0.mgmt", talks):
        connection = await open_connection(rundir / "br0.mgmt", 5.0, 1 << 20)
        await asyncio.wait_for(gone.wait(), 10)
        with pytest.raises(SourceError) as caught:
            await connection.echo()
    assert caught.value.reason is Reason.BROKEN


async def test_a_question_that_cannot_be_sent_is_told_to_its_asker_only(rundir: Path) -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))

    async def reads_nothing(talk: Talk) -> None:
        await talk.hello()
        talk.writer.transport.pause_reading()
        await asyncio.Event().wait()

    async with listening(rundir / "br0.mgmt", reads_nothing):
        connection = await open_connection(rundir / "br0.mgmt", 5.0, 1 << 20)
        assert connection._transport is not None
        connection._transport.write(bytes(1 << 22))  # as if it had long been asking
        with pytest.raises(SourceError) as caught:
            await connection.echo()
    assert caught.value.reason is Reason.BROKEN
    del caught, connection
    gc.collect()
    assert told == []


async def test_the_time_of_an_echo_is_its_own(rundir: Path) -> None:
    async def slow(talk: Talk, xid: int) -> None:
        await asyncio.sleep(0.2)
        await talk.say(multipart_reply(xid, Multipart.TABLE, b""))

    async with listening(rundir / "br0.mgmt", when(Multipart.TABLE, slow)):
        connection = await open_connection(rundir / "br0.mgmt", 5.0, 1 << 20)
        _, seconds = await asyncio.gather(connection.multipart(Multipart.TABLE), connection.echo())
        connection.close()
    assert seconds < 0.1


async def test_a_bridge_that_goes_while_it_is_waited_for_costs_nobody_a_thing(
    rundir: Path,
) -> None:
    rig = Rig(rundir, "br0")
    async with listening(rundir / "br0.mgmt", says_nothing):
        waiting = asyncio.create_task(rig.source.read_bridges())
        await asyncio.sleep(0)
        rig.store.switch.put(Switch())
        await rig.source.read_flows()
        await waiting
        rig.source.close()
    assert rig.bridges() == set()
    assert rig.health.up


async def test_a_switch_without_bridges_has_nothing_to_ask(rundir: Path) -> None:
    rig = Rig(rundir)
    rig.store.switch.put(Switch())
    await rig.read()
    assert rig.health.up


async def test_a_reading_is_as_old_as_its_first_question(rundir: Path) -> None:
    """However late the rest comes: the numbers in it may be that old."""
    rig = Rig(rundir, "br0")

    async def late(talk: Talk, xid: int) -> None:
        await asyncio.sleep(0.1)
        await talk.say(answer(Type.MULTIPART_REQUEST, xid, bytes([0, Multipart.PORT_STATS])))

    async with listening(rundir / "br0.mgmt", when(Multipart.PORT_STATS, late)):
        await rig.source.read_bridges()
        rig.source.close()
    taken = rig.store.bridges._parts["br0"][0]
    assert rig.store.clock() - taken >= 0.1
    assert rig.store.bridges.parts(taken + 0.001).value is None


async def test_a_version_that_is_not_allowed_is_tried_rarely(rundir: Path) -> None:
    """Each try is a line in the log of ovs-vswitchd."""
    rig = Rig(rundir, "br0")
    async with listening(rundir / "br0.mgmt", allows_only_10) as talks:
        for _ in range(5):
            await rig.read()
            await asyncio.sleep(0.3)
        rig.source.close()
    assert len(talks) == 1
    assert rig.reason("br0") == Reason.REFUSED


async def test_who_waits_on_a_connection_that_another_gives_up_hears_it_at_once(
    rundir: Path,
) -> None:
    async with listening(rundir / "br0.mgmt", when(Multipart.TABLE, silence)):
        connection = await open_connection(rundir / "br0.mgmt", 60.0, 1 << 20)
        waiting = asyncio.create_task(connection.multipart(Multipart.TABLE))
        await asyncio.sleep(0.05)
        connection.close()
        with pytest.raises(SourceError) as caught:
            await asyncio.wait_for(waiting, 5)
    assert caught.value.reason is Reason.BROKEN


async def test_one_connection_serves_many_readings(rundir: Path) -> None:
    rig = Rig(rundir, "br0")
    async with listening(rundir / "br0.mgmt", healthy) as talks:
        for _ in range(5):
            await rig.read()
        rig.source.close()
    assert len(talks) == 1


async def test_a_peer_that_came_back_is_read_again(rundir: Path) -> None:
    rig = Rig(rundir, "br0")
    async with listening(rundir / "br0.mgmt", healthy):
        await rig.read()
    await rig.read()
    assert rig.bridges() == set()
    async with listening(rundir / "br0.mgmt", healthy):
        async with asyncio.timeout(5):
            while not rig.health.up:
                await rig.read()
                await asyncio.sleep(0.05)
        rig.source.close()
    assert rig.bridges() == {"br0"}


async def test_a_bridge_that_left_the_database_is_forgotten(rundir: Path) -> None:
    rig = Rig(rundir, "br0", "br1")
    async with listening(rundir / "br0.mgmt", healthy):
        await rig.read()
        assert rig.reason("br1") == "absent"
        rig.store.switch.put(Switch(bridges=(Bridge("br0"),)))
        await rig.read()
        rig.source.close()
    assert rig.health.up
    rig.store.switch.put(Switch())
    await rig.read()
    assert rig.bridges() == set()


async def test_auto_leaves_out_a_bridge_with_too_many_flows_until_it_is_well_below(
    rundir: Path,
) -> None:
    rig = Rig(rundir, "br0", mode="auto", max_per_bridge=1)
    async with listening(rundir / "br0.mgmt", healthy):
        await rig.read()
        rig.source.close()
    reading = rig.reading("br0")
    assert (reading.shown, reading.left_out) == ({}, 2)
    assert len(rig.flows("br0")) == 2  # they are judged and added up all the same


async def test_a_flow_listed_twice_is_counted_once(rundir: Path) -> None:
    async def twice(talk: Talk, xid: int) -> None:
        await talk.say(multipart_reply(xid, Multipart.FLOW, flow(0, 1, 4, 40) * 2))

    rig = Rig(rundir, "br0")
    async with listening(rundir / "br0.mgmt", when(Multipart.FLOW, twice)):
        await rig.read()
        rig.source.close()
    assert rig.flows("br0") == {(0, 1, ""): (4, 40)}


async def test_nothing_leaks_over_many_broken_connections(rundir: Path) -> None:
    rig = Rig(rundir, "br0")
    descriptors = []
    async with listening(rundir / "br0.mgmt", closes_at_once):
        for _ in range(20):
            rig.source._peers.clear()  # forget the backoff, not the connections
            await rig.read()
            gc.collect()
            descriptors.append(len(os.listdir("/proc/self/fd")))  # noqa: PTH208 - a count
    assert descriptors[-1] <= descriptors[4] + 2
    assert len(asyncio.all_tasks()) <= 2
