"""What connections may take from a real server: their number, silence, unread answers, noise."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from agent.exposition.connections import LIMITS, Limits, ListenError
from agent.exposition.http import serve
from tests.exposition.exporter import Server, deaf, until
from tests.exposition.pki import Pki, client_context
from tests.harness import Gate, Harness
from tests.logs import without_slowness

GET = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(port: int, host: str = "127.0.0.1") -> AsyncIterator[Streams]:
    """Open a connection and close it in the end."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def healthy(streams: Streams) -> bool:
    """Ask for health on a connection that stays open."""
    reader, writer = streams
    writer.write(GET)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    return head.startswith(b"HTTP/1.1 200 ") and await reader.readexactly(3) == b"ok\n"


async def closed(streams: Streams) -> bool:
    """Wait until the server has closed the connection without a word."""
    try:
        return await asyncio.wait_for(streams[0].read(), 5) == b""
    except ConnectionResetError:
        return True


# How many


async def test_the_newest_is_closed_at_once_when_enough_are_open_and_the_others_stay() -> None:
    async with Server(Harness(), limits=Limits(connections=3)) as server:
        async with connected(server.port) as one, connected(server.port) as two:
            async with connected(server.port) as three:
                for _ in range(2):
                    async with connected(server.port) as four:
                        assert await closed(four)
                assert [await healthy(each) for each in (one, two, three)] == [True] * 3
            await until(lambda: server.connections() == 2)
            assert (await server.get("/healthz")).status == 200
        await until(lambda: server.connections() == 0)


async def test_a_thousand_that_say_nothing_are_at_most_256() -> None:
    clients = [socket.socket() for _ in range(400)]
    async with Server(Harness()) as server:
        for client in clients:
            client.settimeout(0)
            await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", server.port))
        ended = [asyncio.create_task(_ended(client)) for client in clients]
        await until(lambda: sum(task.done() for task in ended) == len(clients) - LIMITS.connections)
        assert server.connections() == LIMITS.connections
        for client, task in zip(clients, ended, strict=True):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            client.close()
        await until(lambda: server.connections() == 0)
        assert (await server.get("/healthz")).status == 200


async def _ended(client: socket.socket) -> None:
    try:
        assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
    except ConnectionResetError:
        return


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a server and its client need."""
    directory: Path = tmp_path_factory.mktemp("pki")
    pki = Pki(directory)
    authority = pki.authority()
    leaf = pki.leaf(authority, "DNS:server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(leaf.cert, leaf.key)
    return context, client_context(authority)


async def test_tls_handshakes_count_and_end_in_time(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    limits = Limits(connections=2, handshake_seconds=0.5)
    async with (
        Server(Harness(), limits=limits, tls=tls[0]) as server,
        connected(server.port) as one,
        connected(server.port) as two,
        connected(server.port) as three,
    ):
        began = asyncio.get_running_loop().time()
        assert await closed(three)
        assert asyncio.get_running_loop().time() - began < 0.4
        assert await closed(one)
        assert await closed(two)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=tls[1])
        assert await healthy((reader, writer))
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


# Silence


async def test_who_says_nothing_is_closed() -> None:
    async with (
        Server(Harness(), limits=Limits(head_seconds=0.3)) as server,
        connected(server.port) as one,
    ):
        assert await closed(one)
        await until(lambda: server.connections() == 0)


@pytest.mark.parametrize("noise", [b"GET /", b"GET / HTTP/1.1\r\nHost: test\r\nX-A: b\r\n"])
async def test_who_never_ends_the_head_is_closed(noise: bytes) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(noise)
        while True:
            await asyncio.sleep(0.02)
            writer.write(b"x")

    async with (
        Server(Harness(), limits=Limits(head_seconds=0.3)) as server,
        connected(server.port) as one,
    ):
        dripping = asyncio.create_task(drip(one[1]))
        assert await closed(one)
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


async def test_who_has_asked_may_come_again_until_keep_alive_ends() -> None:
    limits = Limits(head_seconds=0.2, keepalive_seconds=1.0)
    async with Server(Harness(), limits=limits) as server, connected(server.port) as one:
        loop = asyncio.get_running_loop()
        assert await healthy(one)
        began = loop.time()
        await asyncio.sleep(0.4)
        assert await healthy(one)
        assert await closed(one)
        assert 1.3 < loop.time() - began < 3


async def test_who_waits_for_a_slow_answer_is_not_silent() -> None:
    gate = Gate()
    limits = Limits(head_seconds=0.2)
    async with Server(Harness(unixctl=gate), limits=limits) as server:
        asking = asyncio.create_task(server.get("/metrics"))
        await asyncio.sleep(0.5)
        gate.open()
        assert (await asking).status == 200


# Answers that nobody takes


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
async def test_who_does_not_take_an_answer_is_cut_off(connection: str) -> None:
    async with Server(
        Harness(), {"large": "x" * 20_000_000}, limits=Limits(stall_seconds=0.3)
    ) as server:
        request = f"GET /status HTTP/1.1\r\nHost: test\r\nConnection: {connection}\r\n\r\n"
        with deaf(server.port, request.encode()):
            await until(lambda: server.connections() == 1)
            await until(lambda: server.connections() == 0)


async def test_over_tls_a_page_comes_whole_and_who_does_not_take_it_is_cut_off(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    large = "x" * 20_000_000
    limits = Limits(stall_seconds=0.5)
    async with Server(Harness(), {"large": large}, limits=limits, tls=tls[0]) as server:
        request = b"GET /status HTTP/1.0\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=tls[1])
        writer.write(request)
        assert large.encode() in await asyncio.wait_for(reader.read(), 20)
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        await until(lambda: server.connections() == 0)
        _reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=tls[1])
        writer.write(request)
        await until(lambda: server.connections() == 1)
        await until(lambda: server.connections() == 0)
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_who_sends_far_ahead_of_the_answers_is_closed() -> None:
    head = b"GET /metrics HTTP/1.1\r\n" + (b"X-A: " + b"x" * 8000 + b"\r\n") * 100 + b"\r\n"
    async with Server(Harness(unixctl=Gate())) as server, connected(server.port) as one:
        one[1].write(GET.replace(b"/healthz", b"/metrics"))
        await until(lambda: server.exporter._running == 1)
        one[1].write(head * 4)
        assert await closed(one)


async def test_requests_in_a_row_are_answered_in_a_row() -> None:
    async with Server(Harness()) as server, connected(server.port) as one:
        one[1].write(GET * 100)
        for _ in range(100):
            await asyncio.wait_for(one[0].readuntil(b"ok\n"), 5)
        assert await healthy(one)


# Noise


@pytest.mark.parametrize(
    "noise",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"\x00\xff\xfe\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: test\r\nX-Long: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9.9\r\n\r\n",
        b"GET http://[::1/ HTTP/1.1\r\nHost: test\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 500 + b"\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n\x00\x00\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    ],
    ids=range(11),
)
async def test_what_is_not_http_is_refused_and_leaves_no_line(
    noise: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with Server(Harness()) as server:
        async with connected(server.port) as one:
            one[1].write(noise)
            assert b"HTTP/1." in await asyncio.wait_for(one[0].read(), 5)
        assert (await server.get("/healthz")).status == 200
    assert without_slowness(caplog.records) == []


async def test_an_error_of_ours_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def bug() -> None:
        raise ZeroDivisionError("ours")

    async with Server(Harness(unixctl=bug)) as server:
        assert (await server.get("/metrics")).status == 500
    errors = [each.exc_info[0] for each in caplog.records if each.exc_info]
    assert errors == [ZeroDivisionError]


# Addresses and the end


async def test_no_host_means_all_of_both_families() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    runner = await serve(web.Application(), [(None, port)], None)
    try:
        assert {address[0] for address in runner.addresses} == {"0.0.0.0", "::"}  # noqa: S104 - told
        for host in ("127.0.0.1", "::1"):
            async with connected(port, host) as (reader, writer):
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                assert (await reader.read()).startswith(b"HTTP/1.0 404 ")
    finally:
        await runner.cleanup()
    # SO_REUSEADDR: connections of before are no obstacle.
    runner = await serve(web.Application(), [(None, port)], None)
    await runner.cleanup()


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        ("192.0.2.1", 9, "cannot listen on 192.0.2.1:9: Cannot assign requested address"),
        ("2001:db8::1", 9, "cannot listen on [2001:db8::1]:9: Cannot assign requested address"),
        ("no.such.invalid", 9, "cannot listen on no.such.invalid:9: "),
    ],
)
async def test_an_address_that_is_not_ours_is_named_in_one_line(
    host: str, port: int, text: str
) -> None:
    with pytest.raises(ListenError) as caught:
        await serve(web.Application(), [("127.0.0.1", 0), (host, port)], None)
    assert str(caught.value).startswith(text)
    assert str(caught.value).isprintable()


async def test_the_end_waits_for_nobody_who_stalls() -> None:
    server = Server(Harness(unixctl=Gate()), {"large": "x" * 20_000_000})
    await server.__aenter__()
    loop = asyncio.get_running_loop()
    try:
        waiting = deaf(server.port, b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n")
        stalled = deaf(server.port, b"GET /status HTTP/1.1\r\nHost: test\r\n\r\n")
        async with connected(server.port) as silent:
            await until(lambda: server.connections() == 3)
            began = loop.time()
            await server.runner.cleanup()
            assert loop.time() - began < 1.5
            assert await closed(silent)
        waiting.close()
        stalled.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", server.port)
    finally:
        await server.__aexit__()
