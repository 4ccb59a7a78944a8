"""One page for all who ask at the same time, sent by slices at each client's pace."""

import asyncio
import gzip
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.collectors.base import Collector
from agent.exposition import http
from agent.exposition.connections import Limits
from agent.exposition.pages import SLICE_BYTES, Courier, Press
from agent.families import Gauge, Output
from agent.model.node import Node
from tests.exposition.exporter import Server, deaf, until
from tests.exposition.test_text import PROMETHEUS_2
from tests.harness import Gate, Harness
from tests.page import block, of, series

METRICS = b"GET /metrics?collect[]=large HTTP/1.1\r\nHost: test\r\n\r\n"
SERIES = 200_000
TIMEOUT = "X-Prometheus-Scrape-Timeout-Seconds"


class Pages:
    """A collector whose page says how often it ran; it waits for ``gate``."""

    def __init__(self, count: int = 10) -> None:
        self.made = 0
        self.gate = Gate()
        gauge = Gauge("large", "G [test].", ("n", "made"))

        def collect(_node: Node) -> Output:
            self.made += 1
            yield block(gauge, [(gauge.text(str(n), str(self.made)), n) for n in range(count)])

        collector = Collector("large", (gauge,), (collect,), reads=("unixctl",))
        self.harness = Harness((collector,), series_limit=SERIES, unixctl=self.gate)


def is_made(server: Server, pages: int) -> Callable[[], bool]:
    """Say whether so many pages are being made."""
    return lambda: len(server.exporter._press._due) == pages


def running(server: Server, requests: int) -> Callable[[], bool]:
    """Say whether so many requests have a place."""
    return lambda: server.exporter._running == requests


# Shared


async def test_who_asks_for_the_same_at_the_same_time_gets_the_same_page() -> None:
    pages = Pages()
    async with Server(pages.harness) as server:
        asking = [asyncio.create_task(server.get("/metrics")) for _ in range(12)]
        await until(running(server, 12))
        pages.gate.open()
        answers = await asyncio.gather(*asking)
        assert pages.made == 1
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body for answer in answers}) == 1
        assert len(series(answers[0].body)) == 10
        later = await server.get("/metrics")
    assert pages.made == 2
    assert {dict(labels)["made"] for _, labels in series(later.body)} == {"2"}


async def test_another_format_coding_or_choice_is_another_page() -> None:
    pages = Pages()
    async with Server(pages.harness) as server:
        asked: list[tuple[str, dict[str, str]]] = [
            ("/metrics", {}),
            ("/metrics", {"Accept": PROMETHEUS_2}),
            ("/metrics", {"Accept-Encoding": "gzip"}),
            ("/metrics?exclude[]=large", {}),
        ]
        asking = [asyncio.create_task(server.get(path, headers)) for path, headers in asked]
        await until(running(server, 3))  # without collectors there is nothing to wait for
        pages.gate.open()
        text, openmetrics, packed, none = await asyncio.gather(*asking)
    assert pages.made == 3
    assert "content-encoding" not in text.headers
    assert openmetrics.body.endswith(b"# EOF\n")
    assert len(series(gzip.decompress(packed.body))) == 10
    assert none.body == b""


async def test_nobody_waits_for_a_page_that_is_due_later_than_its_own() -> None:
    pages = Pages()
    async with Server(pages.harness) as server:
        patient = asyncio.create_task(server.get("/metrics"))
        await until(running(server, 1))
        hasty = asyncio.create_task(server.get("/metrics", {TIMEOUT: "1"}))
        await until(running(server, 2))
        third = asyncio.create_task(server.get("/metrics"))
        await until(running(server, 3))
        assert is_made(server, 2)()
        answers = await asyncio.gather(hasty, third)  # by the deadline of the hasty one
        assert not patient.done()
        pages.gate.open()
        assert (await patient).status == 200
    assert answers[0].body == answers[1].body


async def test_the_first_to_ask_may_go_away_and_the_others_get_the_page() -> None:
    pages = Pages()
    async with Server(pages.harness) as server:
        first = deaf(server.port, b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n")
        await until(running(server, 1))
        second = asyncio.create_task(server.get("/metrics"))
        await until(running(server, 2))
        first.close()
        await until(lambda: server.connections() <= 2)
        await asyncio.sleep(0.05)
        pages.gate.open()
        assert len(series((await second).body)) == 10
        await until(running(server, 0))
    assert pages.made == 1


async def test_who_joined_may_go_away_and_the_first_gets_the_page() -> None:
    pages = Pages()
    async with Server(pages.harness) as server:
        first = asyncio.create_task(server.get("/metrics"))
        await until(running(server, 1))
        second = deaf(server.port, b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n")
        await until(running(server, 2))
        second.close()
        await asyncio.sleep(0.05)
        pages.gate.open()
        assert len(series((await first).body)) == 10
        await until(running(server, 0))


@pytest.mark.parametrize("leaves", [0, 1])
async def test_who_is_cancelled_takes_the_page_from_nobody(leaves: int) -> None:
    press = Press(join_seconds=60.0)
    gate = Gate()

    async def make() -> list[bytes]:
        await gate()
        return [b"page"]

    waiting = [asyncio.create_task(press.page("key", 1.0, make)) for _ in range(2)]
    await until(lambda: gate.begun == 1)
    waiting[leaves].cancel()
    await asyncio.gather(waiting[leaves], return_exceptions=True)
    gate.open()
    assert await waiting[1 - leaves] == [b"page"]
    assert waiting[leaves].cancelled()
    assert gate.begun == gate.ended == 1


async def test_a_page_made_in_a_hurry_is_not_for_who_has_time() -> None:
    """Two Prometheus with 1 s and 10 s: the second must not get what the first had to do with."""
    press = Press(join_seconds=0.1)
    gate = Gate()

    async def make() -> list[bytes]:
        await gate()
        return [b"page"]

    now = asyncio.get_running_loop().time()
    hasty = asyncio.create_task(press.page("key", now + 0.5, make))
    await until(lambda: gate.begun == 1)
    patient = asyncio.create_task(press.page("key", now + 8.0, make))
    await until(lambda: gate.begun == 2)
    gate.open()
    assert await asyncio.gather(hasty, patient) == [[b"page"], [b"page"]]


async def test_a_page_that_began_too_long_ago_is_joined_by_nobody() -> None:
    """Its numbers would be older for who joins than they may be."""
    press = Press(join_seconds=0.0)
    gate = Gate()

    async def make() -> list[bytes]:
        await gate()
        return [b"%d" % gate.begun]

    first = asyncio.create_task(press.page("key", 1.0, make))
    await until(lambda: gate.begun == 1)
    second = asyncio.create_task(press.page("key", 1.0, make))
    await until(lambda: gate.begun == 2)
    gate.open()
    await asyncio.gather(first, second)
    assert gate.ended == 2


async def test_a_page_that_never_gets_done_is_noticed_and_one_that_is_under_way_is_not() -> None:
    press = Press()
    gate = Gate()

    async def make() -> list[bytes]:
        await gate()
        return [b"page"]

    now = asyncio.get_running_loop().time()
    assert press.overdue_seconds() == 0
    ahead = asyncio.create_task(press.page("ahead", now + 3600, make))
    await until(lambda: gate.begun == 1)
    assert press.overdue_seconds() == 0
    late = asyncio.create_task(press.page("late", now - 40, make))
    await until(lambda: gate.begun == 2)
    assert press.overdue_seconds() >= 40
    gate.open()
    await asyncio.gather(ahead, late)
    assert press.overdue_seconds() == 0


async def test_pages_are_not_served_while_nothing_compresses_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The loop answers all the while: nobody but /healthz would tell."""
    monkeypatch.setattr(http, "OVERDUE_SECONDS", 0.1)
    pages = Pages(20_000)
    pages.gate.open()
    unblock = threading.Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    blocked = asyncio.create_task(asyncio.to_thread(unblock.wait))
    try:
        async with Server(pages.harness) as server:
            headers = {TIMEOUT: "0.6", "Accept-Encoding": "gzip"}
            asking = asyncio.create_task(server.get("/metrics?collect[]=large", headers))
            await until(lambda: not server.exporter.serves())
            assert (await server.get("/healthz")).status == 503
            unblock.set()
            assert gzip.decompress((await asking).body)
            assert (await server.get("/healthz")).status == 200
    finally:
        unblock.set()
        await blocked


async def test_an_error_reaches_all_who_wait() -> None:
    go = asyncio.Event()

    async def bug() -> None:
        await go.wait()
        raise ZeroDivisionError("ours")

    async with Server(Harness(unixctl=bug)) as server:
        asking = [asyncio.create_task(server.get("/metrics")) for _ in range(3)]
        await until(running(server, 3))
        assert is_made(server, 1)()
        go.set()
        assert [answer.status for answer in await asyncio.gather(*asking)] == [500] * 3
        page = series((await server.get("/metrics?collect[]=agent")).body)
    assert of(page, "dataplane_agent_http_requests_total", code="500") == [3]


# Sent


async def test_head_says_how_long_the_page_is() -> None:
    pages = Pages(20_000)
    pages.gate.open()
    async with Server(pages.harness) as server:
        get = await server.get("/metrics")
        head = await server.get("/metrics", method="HEAD")
    assert len(get.body) > SLICE_BYTES
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["content-length"]) == int(get.headers["content-length"])
    assert len(get.body) == int(get.headers["content-length"])


async def test_who_does_not_read_holds_a_slice_and_its_place_until_it_is_cut_off() -> None:
    pages = Pages(SERIES)
    clients = []
    async with Server(pages.harness, write_seconds=0.5, max_requests=4) as server:
        request = METRICS.replace(b"\r\n\r\n", f"\r\n{TIMEOUT}: 1.5\r\n\r\n".encode())
        clients = [deaf(server.port, request) for _ in range(4)]
        await until(running(server, 4))
        pages.gate.open()
        await until(lambda: len(waiting(server)) == 4)
        assert max(waiting(server)) <= SLICE_BYTES
        assert len(server.exporter._courier._held) == 1
        assert (await server.get("/metrics")).status == 503
        await until(running(server, 0))
        await until(lambda: server.connections() == 0)
        assert not server.exporter._courier._held
        assert (await server.get("/metrics")).status == 200
    for client in clients:
        client.close()
    assert pages.made == 2


def waiting(server: Server) -> list[int]:
    """Return how many bytes wait in the process for each client that does not read."""
    assert server.runner.server is not None
    transports = [each.transport for each in server.runner.server.connections]
    sizes = [each.get_write_buffer_size() for each in transports if each is not None]
    return [size for size in sizes if size]


async def test_who_goes_away_in_the_middle_frees_its_place() -> None:
    pages = Pages(SERIES)
    pages.gate.open()
    async with Server(pages.harness) as server:
        client = deaf(server.port, METRICS)
        await until(lambda: len(waiting(server)) == 1)
        client.close()
        await until(running(server, 0))
        await until(lambda: server.connections() == 0)


async def test_a_slow_client_gets_all() -> None:
    pages = Pages(SERIES)
    pages.gate.open()
    async with Server(pages.harness, limits=Limits(stall_seconds=2)) as server:
        client = deaf(server.port, METRICS.replace(b"HTTP/1.1", b"HTTP/1.0"))
        loop = asyncio.get_running_loop()
        await until(lambda: len(waiting(server)) == 1)
        answer = bytearray()
        while part := await loop.sock_recv(client, 1 << 16):
            answer += part
        client.close()
    assert len(series(bytes(answer).partition(b"\r\n\r\n")[2])) == SERIES


async def test_above_the_bound_the_oldest_page_is_let_go() -> None:
    pages = Pages(SERIES)
    pages.gate.open()
    async with Server(pages.harness) as server:
        server.exporter._courier = Courier(held_bytes=15_000_000)
        clients: list[socket.socket] = []
        for number in range(1, 6):
            clients.append(deaf(server.port, METRICS))
            await until(lambda number=number: pages.made == number and waiting(server) != [])
            await until(is_made(server, 0))
            await until(lambda: server.exporter._running <= 2)
            assert sum(each.size for each in server.exporter._courier._held.values()) <= 15_000_000
        assert (await server.get("/metrics")).status == 200
    for client in clients:
        client.close()
