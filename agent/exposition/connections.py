"""Listening, and what a connection may cost: open ones, silence, unread answers, bad requests.

aiohttp leaves these to a proxy in front. On a compute node there is none, and whoever reaches the
port must not take the descriptors or the memory that scrapes need.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any
from weakref import WeakSet

from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.typedefs import Handler


@dataclass(frozen=True, slots=True)
class Limits:
    """What connections may take."""

    connections: int = 256
    """Open at once on all addresses, TLS handshakes too; the next one is closed at once."""
    head_seconds: float = 10.0
    """From the opening (or the handshake) to the end of the first request's head."""
    keepalive_seconds: float = 75.0
    """From an answer to the next request: longer than scrape intervals usually are."""
    handshake_seconds: float = 10.0
    """For a TLS handshake, and for the goodbye at the end."""
    stall_seconds: float = 20.0
    """How long the peer may leave what was written for it."""
    ahead_bytes: int = 1 << 17
    """Sent since the last request was begun: heads of requests to come, and bodies nobody reads."""
    backlog: int = 64
    """Connections that the kernel keeps ready."""


LIMITS = Limits()


class ListenError(OSError):
    """An address cannot be listened on; the text is one line that names it."""


class Listener(socket.socket):
    """A listening socket that closes what comes when enough are open.

    Sockets are counted where they are accepted: aiohttp knows a connection only after its TLS
    handshake.

    Args:
        bound: A bound socket; this object takes its descriptor over.
        opened: What was accepted so far, shared by all listeners of a server.
        most: How many may be open.
    """

    def __init__(self, bound: socket.socket, opened: WeakSet[socket.socket], most: int) -> None:
        super().__init__(fileno=bound.detach())
        self._opened = opened
        self._most = most

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept the next connection.

        Raises:
            ConnectionAbortedError: If it was one too many; the event loop takes that for a peer
                that went away, and asks again.
        """
        connection, address = super().accept()
        for each in list(self._opened):
            if each.fileno() < 0:
                self._opened.discard(each)
        if len(self._opened) >= self._most:
            connection.close()
            raise ConnectionAbortedError
        self._opened.add(connection)
        return connection, address


class Connection(web.RequestHandler):
    """A connection that is ended when its peer says nothing, or does not take what it asked for.

    Args:
        server: The server it belongs to.
        limits: Its time.
    """

    def __init__(self, server: web.Server, limits: Limits) -> None:
        self._clock = asyncio.get_running_loop()
        super().__init__(
            server,
            loop=self._clock,
            access_log=None,  # type: ignore[arg-type] # None switches it off
            keepalive_timeout=limits.keepalive_seconds,
        )
        self._limits = limits
        self._link: asyncio.Transport | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._ahead = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the peer its time for the first request."""
        super().connection_made(transport)
        self._link = self.transport
        if self._link is not None:
            # Whoever drains waits until all is with the kernel (TLS: with the socket's transport).
            # What would stay behind in a buffer could keep a closed connection open for ever.
            # asyncio's TLS transport pauses at the mark, the plain one above it.
            self._link.set_write_buffer_limits(
                int(transport.get_extra_info("sslcontext") is not None)
            )
        self._begin("head", self._limits.head_seconds)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the timers."""
        for name in tuple(self._timers):
            self._end(name)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, as long as the peer does not run ahead: aiohttp would keep 32 heads of 1 MB."""
        self._ahead += len(data)
        if self._ahead > self._limits.ahead_bytes:
            self._abort()
        else:
            super().data_received(data)

    def heard(self) -> None:
        """Note a request; from now on it is aiohttp's keep-alive that ends silence."""
        self._end("head")
        self._ahead = 0

    def pause_writing(self) -> None:
        """Give the peer its time to take what was written."""
        super().pause_writing()
        self._begin("stall", self._limits.stall_seconds)

    def resume_writing(self) -> None:
        """Go on: the peer has taken all."""
        self._end("stall")
        super().resume_writing()

    def _begin(self, name: str, seconds: float) -> None:
        self._timers[name] = self._clock.call_later(seconds, self._abort)

    def _end(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _abort(self) -> None:
        """End it, also when aiohttp has closed it and the buffer keeps it open."""
        if self._link is not None:
            self._link.abort()


class _Site(web.BaseSite):
    """Registers a listener with the runner, which closes it at the end."""

    def __init__(
        self, runner: web.BaseRunner, listener: Listener, tls: SSLContext | None, limits: Limits
    ) -> None:
        super().__init__(runner, ssl_context=tls, backlog=limits.backlog)
        self._listener = listener
        self._limits = limits

    @property
    def name(self) -> str:
        return str(self._listener.getsockname())

    async def start(self) -> None:
        await super().start()
        server = self._runner.server
        if server is None:  # BaseSite has checked; this is for the type
            raise RuntimeError("the runner is not set up")
        patience = self._limits.handshake_seconds if self._ssl_context else None
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(server, self._limits),
            sock=self._listener,
            ssl=self._ssl_context,
            backlog=self._backlog,
            ssl_handshake_timeout=patience,
            ssl_shutdown_timeout=patience,
        )


async def serve(
    app: web.Application,
    addresses: list[tuple[str | None, int]],
    tls: SSLContext | None,
    shutdown_seconds: float,
    limits: Limits = LIMITS,
) -> web.AppRunner:
    """Listen on all addresses.

    Args:
        app: Not started yet.
        addresses: Host and port; ``None`` for all hosts, port 0 for any.
        tls: For all addresses.
        shutdown_seconds: What requests under way get at the end; aiohttp waits this long twice,
            once before it cancels them and once after.
        limits: What connections may take.

    Returns:
        The runner; its ``cleanup()`` ends the server.

    Raises:
        ListenError: If an address cannot be listened on.
    """
    logging.getLogger("aiohttp.server").addFilter(_worth_a_line)
    app.middlewares.insert(0, _hear)  # before all: also who is refused has spoken
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=shutdown_seconds)
    await runner.setup()
    opened: WeakSet[socket.socket] = WeakSet()
    listeners: list[Listener] = []
    try:
        for host, port in addresses:
            with _naming(host, port):
                bound = await _bind(host, port, opened, limits.connections)
                listeners += bound
                for listener in bound:
                    await _Site(runner, listener, tls, limits).start()
    except OSError:
        await runner.cleanup()
        for listener in listeners:
            listener.close()  # those that never came to listening
        raise
    return runner


async def _bind(
    host: str | None, port: int, opened: WeakSet[socket.socket], most: int
) -> list[Listener]:
    """Return a bound socket for each address of a host; the event loop knows how."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, host, port, start_serving=False)
    try:
        return [Listener(each.dup(), opened, most) for each in server.sockets]
    finally:
        server.close()


@contextlib.contextmanager
def _naming(host: str | None, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # Resolver errors have negative numbers, and their own words.
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else error.strerror or error
        where = f"[{host}]" if host and ":" in host else host or ""
        raise ListenError(f"cannot listen on {where}:{port}: {reason}") from error


@web.middleware
async def _hear(request: web.Request, handler: Handler) -> web.StreamResponse:
    if isinstance(request.protocol, Connection):
        request.protocol.heard()
    return await handler(request)


def _worth_a_line(record: logging.LogRecord) -> bool:
    """Drop the tracebacks of requests that are not HTTP: every peer can cause them, at any rate."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
