"""The connection to a daemon's control socket: one request at a time, read-only commands only."""

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agent.errors import ParseError, Reason, SourceError
from agent.sources.unix_socket import errors_of
from agent.sources.unixctl import sockets
from agent.sources.unixctl.allowed import VSWITCHD, check_allowed
from agent.wire.unixctl.commands import parse_list_commands
from agent.wire.unixctl.framing import Reply, ReplyBuffer, request

MAX_REPLY_BYTES = 16 << 20
PIECE_BYTES = 1 << 16


class CommandError(Exception):
    """The peer is well and answered that it cannot do this command: unknown here, or failed."""

    def __init__(self, method: str, text: str) -> None:
        first_line = text.strip().partition("\n")[0][:200]
        super().__init__(f"{method}: {first_line}")
        self.method = method
        self.text = text


class Control:
    """A long-lived connection to ``<rundir>/<daemon>.<pid>.ctl``.

    It is made when it is needed, and again when the daemon was restarted in between. It is given
    up at the first thing that goes wrong, so that no answer is ever taken for that of another
    request. A connection whose request the peer has not even read (it is stopped) is kept aside
    until it has: each new one would fill the peer's backlog a bit more, and lock out whoever
    comes to repair it.

    Args:
        rundir: Where the daemon keeps its control socket.
        daemon: Its name, one of those in ``ALLOWED``.
        max_reply_bytes: The largest answer that is read.
    """

    def __init__(
        self,
        rundir: Path,
        daemon: str = VSWITCHD,
        max_reply_bytes: int = MAX_REPLY_BYTES,
    ) -> None:
        self._rundir = rundir
        self._daemon = daemon
        self._max_reply_bytes = max_reply_bytes
        self._ids = itertools.count()
        self._busy = asyncio.Lock()
        self._sock: socket.socket | None = None
        self._path = rundir
        self._unread: tuple[socket.socket, Path] | None = None
        self._start_time: float | None = None
        self.commands: frozenset[str] = frozenset()
        """What this release lists in ``list-commands``; empty before the first connection."""
        self.connections = 0
        """How many connections were made: another number means another daemon, perhaps."""

    def peer_start_time(self) -> float | None:
        """Return the Unix time at which the daemon was started.

        ``None`` while there is no connection, and where /proc does not show the daemon.
        """
        return self._start_time if self._sock is not None else None

    def close(self) -> None:
        """Close the connection; the next command makes a new one.

        Not while a command runs: cancel its task first, which closes the connection as well.
        """
        self._give_up()
        if self._unread is not None:
            self._unread[0].close()
            self._unread = None

    async def connect(self, timeout: float) -> None:  # noqa: ASYNC109 - a share of the caller's
        """Make sure that there is a connection to a daemon that answers.

        Raises:
            SourceError: For any of the six reasons.
        """
        async with self._exclusively(timeout) as deadline:
            await self._connect(deadline)

    async def run(self, method: str, *arguments: str, timeout: float) -> str:  # noqa: ASYNC109 - same
        """Ask for one command's text, connecting first where necessary.

        Args:
            method: One of the daemon's in ``ALLOWED``.
            *arguments: Its arguments.
            timeout: Seconds for all of it.

        Raises:
            SourceError: If the daemon cannot be asked or does not answer properly, for any of the
                six reasons; the connection is gone then.
            CommandError: If the daemon answered that it cannot.
            ValueError: If the command is not allowed.
        """
        check_allowed(self._daemon, method, arguments)
        async with self._exclusively(timeout) as deadline:
            await self._connect(deadline)
            return await self._ask(method, arguments, deadline)

    @asynccontextmanager
    async def _exclusively(self, timeout: float) -> AsyncIterator[float]:  # noqa: ASYNC109 - same
        """Hold the connection; yield the deadline on the loop's clock."""
        if timeout <= 0:
            # A request that nobody can wait for would only cost the connection.
            raise SourceError(Reason.TIMEOUT, f"{self._path}: no time left")
        deadline = asyncio.get_running_loop().time() + timeout
        with errors_of(str(self._path)):
            async with asyncio.timeout_at(deadline):
                await self._busy.acquire()
        try:
            yield deadline
        finally:
            self._busy.release()

    async def _connect(self, deadline: float) -> None:
        if self._sock is not None and not sockets.is_idle(self._sock):
            # The daemon was restarted since; that is no failure of the new one.
            self._give_up()
        if self._sock is not None:
            return
        with errors_of(str(self._rundir)):
            async with asyncio.timeout_at(deadline):
                paths = await asyncio.to_thread(sockets.find, self._rundir, self._daemon)
        stopped = self._stopped_peer()
        failure = None
        if stopped is not None:
            paths = [path for path in paths if path != stopped]
            failure = SourceError(Reason.TIMEOUT, f"{stopped}: has not read the last request yet")
        await self._connect_first(paths, deadline, failure)

    async def _connect_first(
        self, paths: list[Path], deadline: float, failure: SourceError | None
    ) -> None:
        """Take the first socket whose daemon answers.

        Connecting to a local socket succeeds or fails at once, so the dead ones cost nothing and
        the living ones share the time.
        """
        alive: list[tuple[socket.socket, Path]] = []
        try:
            for path in paths:
                try:
                    alive.append((sockets.connect(path), path))
                except SourceError as error:
                    failure = failure or error
            while alive:
                self._sock, self._path = alive.pop(0)
                now = asyncio.get_running_loop().time()
                try:
                    await self._confirm(now + (deadline - now) / (len(alive) + 1))
                except SourceError as error:
                    failure = error
                else:
                    return
        finally:
            for sock, _ in alive:
                sock.close()
        raise failure or SourceError(
            Reason.ABSENT, f"{self._rundir}: no control socket of {self._daemon}"
        )

    async def _confirm(self, deadline: float) -> None:
        """Learn what can be asked, and since when the daemon runs."""
        try:
            with errors_of(str(self._path)):
                commands = parse_list_commands(await self._ask("list-commands", (), deadline))
                pid = None if self._sock is None else sockets.peer_pid(self._sock)
                self._start_time = None
                if pid is not None:
                    async with asyncio.timeout_at(deadline):
                        self._start_time = await asyncio.to_thread(sockets.start_time_of, pid)
        except CommandError as error:
            self._give_up()
            raise SourceError(Reason.MALFORMED, f"{self._path}: {error}") from error
        except BaseException:
            self._give_up()
            raise
        self.commands = commands
        self.connections += 1

    async def _ask(self, method: str, arguments: tuple[str, ...], deadline: float) -> str:
        try:
            with errors_of(f"{self._path} {method}"):
                async with asyncio.timeout_at(deadline):
                    reply = await self._exchange(method, arguments)
        except SourceError as error:
            self._give_up(keep_unread=error.reason is Reason.TIMEOUT)
            raise
        except BaseException:
            self._give_up()
            raise
        if reply.error is not None:
            raise CommandError(method, reply.error)
        return reply.result or ""

    async def _exchange(self, method: str, arguments: tuple[str, ...]) -> Reply:
        """Write a request, the only place that does, and read its reply."""
        check_allowed(self._daemon, method, arguments)
        loop = asyncio.get_running_loop()
        sock = self._sock
        if sock is None:
            raise SourceError(Reason.BROKEN, f"{self._path}: the connection was closed")
        request_id = next(self._ids)
        buffer = ReplyBuffer(self._max_reply_bytes)
        await loop.sock_sendall(sock, request(request_id, method, arguments))
        reply = None
        while reply is None:
            piece = await loop.sock_recv(sock, PIECE_BYTES)
            if not piece:
                raise SourceError(Reason.BROKEN, f"{self._path} {method}: closed the connection")
            reply = buffer.feed(piece)
        if reply.id != request_id:
            raise ParseError(f"an answer to request {reply.id} instead of {request_id}")
        return reply

    def _give_up(self, *, keep_unread: bool = False) -> None:
        if self._sock is None:
            return
        if keep_unread and self._unread is None and sockets.unread_bytes(self._sock):
            self._unread = (self._sock, self._path)
        else:
            self._sock.close()
        self._sock = None

    def _stopped_peer(self) -> Path | None:
        """Return the socket whose daemon has still not read our last request, if there is one."""
        if self._unread is None:
            return None
        sock, path = self._unread
        if sockets.unread_bytes(sock) and sockets.is_idle(sock):
            return path
        sock.close()
        self._unread = None
        return None
