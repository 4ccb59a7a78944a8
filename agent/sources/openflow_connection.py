"""One OpenFlow connection to a bridge's management socket.

Everything that goes to the switch goes through ``Connection._send``, which lets only reading
requests pass. What comes back is always read to the end, also when nobody waits for it any more:
an unread answer would stay in ovs-vswitchd's memory.
"""

import asyncio
import time
from pathlib import Path

from agent.errors import ParseError, Reason, SourceError
from agent.sources import unix_socket
from agent.wire.openflow import messages as of

MAX_XID = 0xFFFFFFFF
NEWEST_VERSION = 6
"""OpenFlow 1.5; a first byte above that is another protocol, and the length is not one."""

MAX_UNSENT_BYTES = 1 << 18
"""Requests are small and one at a time; what piles up is ECHO replies that nobody reads."""


class Connection:
    """An open connection; make one with ``open_connection``.

    Attributes:
        version: The negotiated OpenFlow version.
    """

    def __init__(
        self,
        peer: str,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        timeout_seconds: float,
        reply_limit_bytes: int,
    ) -> None:
        self._peer = peer
        self._reader, self._writer = streams
        self._timeout_seconds = timeout_seconds
        self._reply_limit_bytes = reply_limit_bytes
        self._xid = 0
        self._lock = asyncio.Lock()
        self._pending: _Pending | None = None
        self._receiver: asyncio.Task[None] | None = None
        self._failure = SourceError(Reason.BROKEN, f"{peer}: closed the connection")
        self.version = of.Version.OF13

    @property
    def closed(self) -> bool:
        """Whether the connection has ended, from either side."""
        return self._receiver is None or self._receiver.done()

    async def start(self) -> None:
        """Say HELLO, agree on a version and begin to receive.

        Takes as long as the peer takes; the caller decides how long it waits.

        Raises:
            SourceError: refused when the bridge allows neither OpenFlow 1.3 nor 1.4.
        """
        with unix_socket.errors_of(self._peer):
            self._send(of.hello((of.Version.OF13, of.Version.OF14), self._next_xid()))
            version = of.negotiate(await self._message(), (of.Version.OF13, of.Version.OF14))
        if version is None:
            raise SourceError(Reason.REFUSED, f"{self._peer}: allows neither OpenFlow 1.3 nor 1.4")
        self.version = version
        self._receiver = asyncio.create_task(self._receive(), name=f"receive {self._peer}")

    async def echo(self) -> float:
        """Return the round trip of an ECHO in seconds. Raises SourceError."""
        began = time.perf_counter()
        xid = self._next_xid()
        await self._ask(of.echo_request(self.version, xid, b""), _Pending(xid))
        return time.perf_counter() - began

    async def multipart(self, kind: of.Multipart, body: bytes = b"") -> list[bytes]:
        """Ask a multipart question and return the bodies of all parts of the answer.

        Raises:
            SourceError: timeout, broken (an ERROR, a closed connection) or malformed.
        """
        xid = self._next_xid()
        pending = _Pending(xid, of.Assembler(kind, self._reply_limit_bytes))
        await self._ask(of.multipart_request(self.version, kind, xid, body), pending)
        return pending.bodies

    def close(self) -> None:
        """End the connection; who waits for an answer hears why. Harmless when it has ended."""
        if self._pending is not None:
            self._pending.fail(self._failure)
        if self._receiver is not None:
            self._receiver.cancel()
        self._writer.close()

    async def _ask(self, request: bytes, pending: "_Pending") -> None:
        """Send a request and wait for its whole answer, one request at a time."""
        async with self._lock:
            if self.closed:
                raise self._failure
            self._pending = pending
            try:
                with unix_socket.errors_of(self._peer):
                    async with asyncio.timeout(self._timeout_seconds):
                        self._send(request)
                        await pending.done
            except SourceError as error:
                # The answer may still come; who asks next must not be given it, and who waited
                # behind this question hears why.
                self._failure = error
                self.close()
                raise
            except asyncio.CancelledError:
                self.close()
                raise
            finally:
                self._pending = None

    def _next_xid(self) -> int:
        self._xid = self._xid % MAX_XID + 1
        return self._xid

    def _send(self, message: bytes) -> None:
        """The one place that writes to the switch: reading requests pass, nothing else."""
        if not of.is_allowed(message):
            raise ValueError(f"not a reading request: {message[:16].hex()}")
        if self._writer.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self._writer.transport.abort()
            raise SourceError(Reason.BROKEN, f"{self._peer}: asks and does not read the answers")
        self._writer.write(message)

    async def _message(self) -> bytes:
        header = await self._reader.readexactly(of.HEADER_LENGTH)
        parsed = of.parse_header(header)
        if parsed.version > NEWEST_VERSION:
            raise ParseError(f"not OpenFlow: {header!r}")
        return header + await self._reader.readexactly(parsed.length - of.HEADER_LENGTH)

    async def _receive(self) -> None:
        """Read until the end, and give everybody who waits what it waits for."""
        try:
            with unix_socket.errors_of(self._peer):
                while True:
                    self._dispatch(await self._message())
        except SourceError as error:
            self._failure = error
            if self._pending is not None:
                self._pending.fail(error)
        finally:
            self._writer.close()

    def _dispatch(self, message: bytes) -> None:
        header = of.parse_header(message)
        if header.type == of.Type.ECHO_REQUEST:
            self._send(of.echo_reply(self.version, header.xid, message[of.HEADER_LENGTH :]))
            return
        pending = self._pending
        if pending is None or header.xid != pending.xid:
            return  # asynchronous, or late: read and forgotten
        if header.type == of.Type.ERROR:
            what = of.parse_error(message)
            pending.fail(SourceError(Reason.BROKEN, f"{self._peer}: answered with {what}"))
        elif pending.add(message):
            pending.finish()


class _Pending:
    """The question that waits for its answer."""

    def __init__(self, xid: int, assembler: of.Assembler | None = None) -> None:
        self.xid = xid
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.message = b""
        self._assembler = assembler

    @property
    def bodies(self) -> list[bytes]:
        return self._assembler.bodies if self._assembler else []

    def add(self, message: bytes) -> bool:
        """Take a message; True when the answer is whole."""
        self.message = message
        return self._assembler is None or self._assembler.add(message)

    def finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, error: SourceError) -> None:
        if not self.done.done():
            self.done.set_exception(error)


async def open_connection(path: Path, timeout_seconds: float, reply_limit_bytes: int) -> Connection:
    """Connect to ``<rundir>/<bridge>.mgmt`` and agree on a version.

    Args:
        path: The management socket.
        timeout_seconds: For each answer as a whole; the handshake has no limit of its own.
        reply_limit_bytes: A larger answer is malformed.

    Raises:
        SourceError: With any of the reasons.
    """
    connection = Connection(
        str(path), await unix_socket.connect(path), timeout_seconds, reply_limit_bytes
    )
    try:
        await connection.start()
    except BaseException:
        connection.close()
        raise
    return connection
