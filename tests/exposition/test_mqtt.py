"""Publishing against a broker that refuses, stalls, hangs up or sends what it should not."""

import asyncio
import contextlib
import gc
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx

from agent import supervise
from agent.events.change import MAX_CHARACTERS, Kind, change
from agent.exposition import mqtt
from agent.exposition.mqtt import WINDOW
from agent.exposition.mqtt_socket import MAX_PACKET_BYTES
from lab.process import free_port
from tests.events.valid import validate
from tests.exposition.mqtt_peer import (
    BAD_PASSWORD,
    DISCONNECT,
    GOOD,
    NOT_AUTHORIZED,
    TAKEN_OVER,
    Peer,
    Publishing,
    until,
)
from tests.logs import Logged

LIMIT_BYTES = 400
PATIENCE_SECONDS = 20
"""For an end, which takes 1.5 s; the machine may be busy. A broker has 60 s here."""


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(supervise, "FIRST_DELAY_SECONDS", 0.05)
    monkeypatch.setattr(mqtt, "PROOF_SECONDS", 0.1)
    with blockbuster_ctx(scanned_modules=["agent", "aiomqtt", "paho"]):
        yield


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with Peer().listening() as each:
        yield each


def ours(logged: Logged) -> list[dict[str, Any]]:
    return [event for event in logged() if event["event"].startswith("mqtt")]


async def test_says_that_it_is_online_then_what_happens_then_that_it_is_offline(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "STOP_SECONDS", 30.0)  # the machine may be busy
    async with Publishing(peer.port).running() as publishing:
        publishing.happen(3)
        await until(lambda: peer.sequences == [1, 2, 3])
    assert peer.statuses == ["online", "offline"]
    assert peer.connections[0].packets[-1] == DISCONNECT
    assert [topic for topic, _ in peer.got] == [
        "dataplane/compute01/status",
        *["dataplane/compute01/event/source_up"] * 3,
        "dataplane/compute01/status",
    ]
    for _, document in peer.got:
        validate(document)


async def test_what_happened_before_the_end_is_sent_first(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "STOP_SECONDS", 30.0)  # the machine may be busy
    async with Publishing(peer.port).running() as publishing:
        await publishing.connected()
        publishing.happen(5 * WINDOW)
    assert peer.sequences == list(range(1, 5 * WINDOW + 1))
    assert peer.statuses[-1] == "offline"


async def test_a_refused_login_is_one_line_with_the_reason_and_is_tried_again(
    peer: Peer, logged: Logged
) -> None:
    peer.admits = BAD_PASSWORD
    async with Publishing(peer.port).running() as publishing:
        await until(lambda: len(peer.connections) == 3)
        assert not publishing.publisher.connected
        (line,) = ours(logged)
        assert (line["event"], line["level"], line["reason"]) == ("mqtt down", "warning", "refused")
        assert line["detail"] == f"127.0.0.1:{peer.port}: Bad user name or password"
        peer.admits = GOOD
        await publishing.connected()
        up: list[dict[str, Any]] = []
        await until(lambda: up.extend(ours(logged)) or up)
        (line,) = up
        assert (line["event"], line["level"]) == ("mqtt up", "info")


async def test_nobody_who_listens_is_refused_and_tried_again(logged: Logged) -> None:
    peer = Peer()
    peer.port = free_port()
    async with Publishing(peer.port).running() as publishing:
        await until(lambda: publishing.publisher.problem is not None)
        (line,) = ours(logged)
        assert line["reason"] == "refused"
        async with peer.listening():
            await publishing.connected()


async def test_a_broker_that_answers_nothing_is_given_up_after_its_time(
    peer: Peer, logged: Logged
) -> None:
    peer.admits = None
    async with Publishing(peer.port).running():
        await until(lambda: len(peer.connections) == 2)
        (line,) = ours(logged)
        assert line["reason"] == "timeout"


async def test_what_a_stalled_broker_does_not_confirm_comes_again_in_order(
    peer: Peer, logged: Logged
) -> None:
    peer.accepts = lambda topic: None if "/event/" in topic else GOOD
    async with Publishing(peer.port).running() as publishing:
        publishing.happen(WINDOW + 5)
        await until(lambda: len(peer.connections) == 2)
        assert set(peer.sequences) == set(range(1, WINDOW + 1)), "one window is on its way"
        peer.accepts = lambda _topic: GOOD
        await until(lambda: len(publishing.queue) == 0)
        assert publishing.queue.dropped == 0
    assert peer.sequences[-5:] == list(range(WINDOW + 1, WINDOW + 6))
    assert [each["reason"] for each in ours(logged) if "reason" in each] == ["timeout"]


async def test_a_queue_that_is_full_drops_the_oldest_and_counts_them(peer: Peer) -> None:
    peer.accepts = lambda topic: None if "/event/" in topic else GOOD
    async with Publishing(peer.port, queue=100).running() as publishing:
        await publishing.connected()
        publishing.happen(1000)
        assert (len(publishing.queue), publishing.queue.dropped) == (100, 900)
        await until(lambda: len(peer.sequences) == WINDOW)
        publishing.happen(1000)
        assert (len(publishing.queue), publishing.queue.dropped) == (100, 1900)
        peer.accepts = lambda _topic: GOOD
        await until(lambda: len(publishing.queue) == 0)
    assert peer.sequences[-1] == 2000
    once = sorted(set(peer.sequences))
    assert len(once) == 2000 - publishing.queue.dropped


async def test_a_connection_that_breaks_in_the_middle_loses_nothing(peer: Peer) -> None:
    broken = False

    def accept(topic: str) -> int | None:
        nonlocal broken
        if "/event/" in topic and len(peer.sequences) == 7 and not broken:
            broken = True
            peer.connections[-1].writer.transport.abort()
        return GOOD

    peer.accepts = accept
    async with Publishing(peer.port).running() as publishing:
        publishing.happen(3 * WINDOW)
        await until(lambda: len(publishing.queue) == 0)
    assert broken
    assert sorted(set(peer.sequences)) == list(range(1, 3 * WINDOW + 1))
    assert publishing.queue.dropped == 0


async def test_a_broker_that_ends_the_connection_says_why(peer: Peer, logged: Logged) -> None:
    async with Publishing(peer.port).running() as publishing:
        await publishing.connected()
        peer.connections[-1].send(b"\xe0\x02%c\x00" % TAKEN_OVER)
        await until(lambda: len(peer.connections) == 2)
        down = next(each for each in ours(logged) if each["event"] == "mqtt down")
        assert (down["reason"], "Session taken over" in down["detail"]) == ("broken", True)
        await publishing.connected()


async def test_events_that_the_broker_does_not_accept_are_dropped_and_told_once(
    peer: Peer, logged: Logged
) -> None:
    peer.accepts = lambda topic: NOT_AUTHORIZED if "/event/" in topic else GOOD
    async with Publishing(peer.port).running() as publishing:
        publishing.happen(2 * WINDOW)
        await until(lambda: publishing.queue.dropped == 2 * WINDOW)
        publishing.happen(1)
        await until(lambda: publishing.queue.dropped == 2 * WINDOW + 1)
        refused = [each for each in ours(logged) if each["event"] == "mqtt refused"]
        assert [each["detail"] for each in refused] == ["Not authorized"]


async def test_a_status_that_the_broker_does_not_accept_is_told_and_is_no_event(
    peer: Peer, logged: Logged
) -> None:
    peer.accepts = lambda topic: NOT_AUTHORIZED if topic.endswith("/status") else GOOD
    async with Publishing(peer.port).running() as publishing:
        publishing.happen(1)
        await until(lambda: peer.sequences == [1])
        assert "mqtt refused" in [each["event"] for each in ours(logged)]
    assert publishing.queue.dropped == 0


async def test_a_broker_that_takes_fewer_at_once_gets_fewer(peer: Peer) -> None:
    peer.limits = b"\x21\x00\x03"
    peer.accepts = lambda topic: None if "/event/" in topic else GOOD
    async with Publishing(peer.port).running() as publishing:
        publishing.happen(10)
        await until(lambda: len(peer.connections) == 2)
        assert set(peer.sequences) == {1, 2, 3}
        peer.accepts = lambda _topic: GOOD
        await until(lambda: len(publishing.queue) == 0)
    assert peer.sequences[-7:] == list(range(4, 11))


async def test_an_event_that_is_too_large_for_the_broker_is_dropped_and_keeps_no_other_waiting(
    peer: Peer, logged: Logged
) -> None:
    peer.limits = b"\x27" + LIMIT_BYTES.to_bytes(4, "big")
    async with Publishing(peer.port).running() as publishing:
        for size in (*range(1, MAX_CHARACTERS), 1):
            publishing.queue.put([change(Kind.SOURCE_UP, source="s" * size)])
            await asyncio.sleep(0)
        await until(lambda: len(publishing.queue) == 0)
        assert [each["event"] for each in ours(logged)].count("mqtt refused") == 1
    assert LIMIT_BYTES - 10 < max(peer.sizes) <= LIMIT_BYTES
    assert peer.sequences[-1] == MAX_CHARACTERS
    assert len(peer.sequences) + publishing.queue.dropped == MAX_CHARACTERS
    assert len(peer.connections) == 1


HOSTILE = {
    "a packet of 256 MB": b"\x40\xff\xff\xff\x7f",
    "a length without end": b"\x40\xff\xff\xff\xff\xff",
    "a message that nobody wants": b"\x30\x06\x00\x01x\x00hi",
    "a message to confirm": b"\x34\x08\x00\x01x\x00\x01\x00hi",
    "a request of a client": b"\x82\x00",
    "type 0": b"\x00\x00",
    "an empty confirmation": b"\x40\x00",
    "a confirmation with a wrong code": b"\x40\x03\x00\x01\x01",
    "properties beyond the end": b"\x40\x04\x00\x01\x00\x7f",
    "a disconnection with a wrong code": b"\xe0\x01\x01",
    "half a packet, and silence": b"\x40\x7f\x00",
    "answers that nobody asked for": b"\xd0\x00" * 1000,
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
async def test_what_a_broker_should_not_send_costs_the_connection_at_most(
    peer: Peer, data: bytes
) -> None:
    peer.after_connack = data
    async with Publishing(peer.port).running() as publishing:
        publishing.happen(1)
        await until(lambda: 1 in peer.sequences or len(peer.connections) > 1)
        peer.after_connack = b""
        for connection in peer.connections:
            connection.writer.close()
        await until(lambda: len(publishing.queue) == 0)
        assert 1 in peer.sequences


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("a packet of 256 MB", f"more than {MAX_PACKET_BYTES} bytes"),
        ("answers that nobody asked for", "answers nothing"),
    ],
)
async def test_what_a_broker_should_not_have_sent_is_told(
    peer: Peer, logged: Logged, what: str, words: str
) -> None:
    peer.after_connack = HOSTILE[what]
    async with Publishing(peer.port).running():
        await until(lambda: len(peer.connections) > 1)
        down = next(each for each in ours(logged) if each["event"] == "mqtt down")
        assert words in down["detail"]


@pytest.mark.parametrize("what", ["connection", "confirmation"])
async def test_the_end_does_not_wait_for_a_stuck_broker_and_leaves_the_last_will(
    peer: Peer, what: str
) -> None:
    loop = asyncio.get_running_loop()
    if what == "connection":
        peer.admits = None
    else:
        peer.accepts = lambda topic: None if "/event/" in topic else GOOD
    publishing = Publishing(peer.port, timeout_seconds=60)
    async with publishing.running():
        publishing.happen(1)
        await until(lambda: peer.connections)
        if what == "confirmation":
            await until(lambda: peer.sequences)
        ending = loop.time()
    assert loop.time() - ending < PATIENCE_SECONDS
    assert DISCONNECT not in peer.connections[0].packets


async def test_the_end_does_not_wait_for_a_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = threading.Event(), threading.Event()

    def never(*_arguments: Any, **_options: Any) -> Any:
        asked.set()
        answer.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    loop = asyncio.get_running_loop()
    async with Publishing(1883, host="broker.example", timeout_seconds=60).running():
        await until(asked.is_set)
        ending = loop.time()
    assert loop.time() - ending < PATIENCE_SECONDS
    answer.set()


async def test_one_attempt_that_is_stuck_is_not_joined_by_others(
    monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    answer = threading.Event()
    asked = 0

    def never(*_arguments: Any, **_options: Any) -> Any:
        nonlocal asked
        asked += 1
        answer.wait(60)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    async with Publishing(1883, host="broker.example").running() as publishing:
        await until(lambda: "still stuck" in _problem(publishing))
        assert asked == 1
        (line,) = ours(logged)
        assert line["reason"] == "timeout"
        answer.set()
        await until(lambda: asked == 2)
        await until(lambda: "Name or service not known" in _problem(publishing))
        assert ours(logged) == [], "one line for one time of being down"


def _problem(publishing: Publishing) -> str:
    problem = publishing.publisher.problem
    return problem.detail if problem else ""


async def test_a_connection_that_ends_at_once_again_and_again_is_one_line(
    peer: Peer, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "PROOF_SECONDS", 60.0)

    def hang_up(topic: str) -> int | None:
        if "/event/" in topic:
            peer.connections[-1].writer.transport.abort()
        return GOOD

    peer.accepts = hang_up
    async with Publishing(peer.port).running() as publishing:
        publishing.happen(1)
        await until(lambda: len(peer.connections) > 3)
        assert [each["event"] for each in ours(logged)] == ["mqtt down"]
        assert len(publishing.queue) == 1


async def test_a_password_file_that_is_not_there_is_told_and_looked_for_again(
    peer: Peer, tmp_path: Path, logged: Logged
) -> None:
    file = tmp_path / "password"
    async with Publishing(peer.port, username="a", password_file=file).running() as publishing:
        await until(lambda: publishing.publisher.problem is not None)
        (line,) = ours(logged)
        assert (line["reason"], str(file) in line["detail"]) == ("absent", True)
        assert peer.connections == []
        file.write_text("s3cret\n")
        await publishing.connected()


async def test_a_password_that_is_no_text_is_not_quoted(
    peer: Peer, tmp_path: Path, logged: Logged
) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"s3cret\xff")
    async with Publishing(peer.port, username="a", password_file=file).running() as publishing:
        await until(lambda: publishing.publisher.problem is not None)
        (line,) = ours(logged)
        assert line["reason"] == "malformed"
        assert "s3cret" not in str(line)


async def test_connections_that_come_and_go_leave_nothing_behind(peer: Peer) -> None:
    def held() -> tuple[int, int]:
        gc.collect()
        mine = sum(1 for _ in Path("/proc/self/fd").iterdir())
        return mine, len([each for each in threading.enumerate() if each.name == "mqtt"])

    async def come_and_go(times: int) -> None:
        for number in range(times):
            peer.admits = (GOOD, BAD_PASSWORD, None)[number % 3]
            async with Publishing(peer.port).running():
                await until(lambda: peer.connections and peer.connections[-1].packets)
            await until(peer.connections[-1].writer.is_closing)
            peer.connections.clear()

    with contextlib.suppress(TimeoutError):
        await come_and_go(3)
    before = held()
    await come_and_go(9)
    await until(lambda: held() <= before)
