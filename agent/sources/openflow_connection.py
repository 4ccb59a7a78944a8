"""One OpenFlow connection to a bridge's management socket.

Everything that goes to the switch goes through ``Connection._send``, which lets only reading
requests pass. What comes back is always read to the end, also when nobody waits for it any more:
an unread answer would stay in ovs-vswitchd's memory.
"""

import asyncio
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from agent.errors import Reason, SourceError
from agent.sources import unix_socket
from agent.sources.openflow_inbox import Inbox
from agent.wire.openflow import messages as of

_UCRED = struct.Struct("3i")
"""pid, uid, gid: struct ucred, unix(7)."""
MAX_XID = 0xFFFFFFFF
MAX_UNSENT_BYTES = 1 << 18
"""Requests are small and one at a time; what piles up is ECHO replies that nobody reads."""
MAX_UNASKED_BYTES = 1 << 24
"""What a peer may say between two questions that belongs to neither, then it is given up: reading
to the end what never ends would leave no time for anybody else."""


class Connection:
    """An open connection; make one with ``open_connection``.

    Attributes:
        version: The negotiated OpenFlow version.
    """

    def __init__(self, peer: str, timeout_seconds: float, reply_limit_bytes: int) -> None:
        self._peer = peer
        self._timeout_seconds = timeout_seconds
        self._reply_limit_bytes = reply_limit_bytes
        self._xid = 0
        self._lock = asyncio.Lock()
        self._pending: _Pending | None = None
        self._transport: asyncio.Transport | None = None
        self._unasked_bytes = 0
        self._greeting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._failure = SourceError(Reason.BROKEN, f"{peer}: closed the connection")
        self.closed = False
        self.version = of.Version.OF13

    @property
    def process(self) -> int | None:
        """Process id of the one who listens; ``None`` when it lives in another pid namespace."""
        if self._transport is None:
            return None
        sock = self._transport.get_extra_info("socket")
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        pid, _uid, _gid = _UCRED.unpack(credentials)
        return pid or None

    async def start(self) -> None:
        """Connect, say HELLO and agree on a version.

        Takes as long as the peer takes; the caller decides how long it waits.

        Raises:
            SourceError: With any of the reasons; refused when the bridge allows neither OpenFlow
                1.3 nor 1.4.
        """
        inbox = Inbox(self._dispatch, self._end)
        self._transport = await unix_socket.connect_protocol(Path(self._peer), inbox)
        with unix_socket.errors_of(self._peer):
            self._send(of.hello((of.Version.OF13, of.Version.OF14), self._next_xid()))
            greeting = await self._greeting
            version = of.negotiate(greeting, (of.Version.OF13, of.Version.OF14))
        if version is None:
            raise SourceError(Reason.REFUSED, f"{self._peer}: allows neither OpenFlow 1.3 nor 1.4")
        self.version = version
        # HELLO does not tell Open vSwitch (2.7 to 4.0) which version it talks to, and none of our
        # other questions do: until then it takes us for a controller of OpenFlow 1.0, and the
        # datapath sends packets without a flow up, one by one, instead of dropping them
        # (update_want_packet_in_on_miss in ofproto/connmgr.c). Nobody waits for the answer.
        self._send(of.features_request(version, self._next_xid()))

    async def echo(self) -> float:
        """Return the round trip of an ECHO in seconds. Raises SourceError."""
        xid, spent = self._next_xid(), Spent()
        await self._ask(of.echo_request(self.version, xid, b""), _Pending(xid), spent)
        return spent.seconds

    async def multipart(
        self, kind: of.Multipart, body: bytes = b"", spent: "Spent | None" = None
    ) -> list[bytes]:
        """Ask a multipart question and return the bodies of all parts of the answer.

        Args:
            kind: What to ask for.
            body: Of the request.
            spent: Gets what it took, also when it fails.

        Raises:
            SourceError: timeout, broken (an ERROR, a closed connection) or malformed.
        """
        xid = self._next_xid()
        pending = _Pending(xid, of.Assembler(kind, self._reply_limit_bytes))
        request = of.multipart_request(self.version, kind, xid, body)
        await self._ask(request, pending, spent or Spent())
        return pending.bodies

    def close(self) -> None:
        """End the connection; who waits for an answer hears why. Harmless when it has ended."""
        self.closed = True
        if self._pending is not None:
            self._pending.fail(self._failure)
        if self._transport is not None:
            self._transport.abort()

    async def _ask(self, request: bytes, pending: "_Pending", spent: "Spent") -> None:
        """Send a request and wait for its whole answer, one request at a time."""
        async with self._lock:
            if self.closed:
                raise self._failure
            self._pending, self._unasked_bytes = pending, 0
            began = time.perf_counter()
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
                spent.seconds = time.perf_counter() - began
                spent.octets = sum(map(len, pending.bodies))

    def _next_xid(self) -> int:
        self._xid = self._xid % MAX_XID + 1
        return self._xid

    def _send(self, message: bytes) -> None:
        """The one place that writes to the switch: reading requests pass, nothing else."""
        if not of.is_allowed(message):
            raise ValueError(f"not a reading request: {message[:16].hex()}")
        if self._transport is None:
            raise self._failure
        if self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            raise SourceError(Reason.BROKEN, f"{self._peer}: asks and does not read the answers")
        self._transport.write(message)

    def _end(self, error: Exception | None) -> None:
        """Give everybody who waits what it waits for: the reason why it will not come."""
        self.closed = True
        if error is not None:
            try:
                with unix_socket.errors_of(self._peer):
                    raise error
            except SourceError as failure:
                self._failure = failure
        if self._pending is not None:
            self._pending.fail(self._failure)
        if not self._greeting.done():
            self._greeting.set_exception(self._failure)
            self._greeting.exception()  # who waits for it hears; nobody need

    def _dispatch(self, message: bytes) -> None:
        if not self._greeting.done():
            self._greeting.set_result(message)
            return
        header, pending = of.parse_header(message), self._pending
        if pending is None or header.xid != pending.xid or header.type == of.Type.ECHO_REQUEST:
            self._unasked_bytes += len(message)
            if self._unasked_bytes > MAX_UNASKED_BYTES:
                raise SourceError(Reason.BROKEN, f"{self._peer}: says more than it is asked")
        if header.type == of.Type.ECHO_REQUEST:
            self._send(of.echo_reply(self.version, header.xid, message[of.HEADER_LENGTH :]))
            return
        if pending is None or header.xid != pending.xid:
            return  # asynchronous, or late: read and forgotten
        if header.type == of.Type.ERROR:
            what = of.parse_error(message)
            pending.fail(SourceError(Reason.BROKEN, f"{self._peer}: answered with {what}"))
        elif pending.add(message):
            pending.finish()


@dataclass(slots=True)
class Spent:
    """What a question took, without the time it waited behind others of ours.

    Attributes:
        seconds: Until the whole answer was there: at most that long was ovs-vswitchd's main
            thread busy with it.
        octets: Size of the answer, as far as it came.
    """

    seconds: float = 0.0
    octets: int = 0


class _Pending:
    """The question that waits for its answer."""

    def __init__(self, xid: int, assembler: of.Assembler | None = None) -> None:
        self.xid = xid
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._assembler = assembler

    @property
    def bodies(self) -> list[bytes]:
        return self._assembler.bodies if self._assembler else []

    def add(self, message: bytes) -> bool:
        """Take a message; True when the answer is whole."""
        return self._assembler is None or self._assembler.add(message)

    def finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, error: SourceError) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # who waits for it hears; nobody may


async def open_connection(path: Path, timeout_seconds: float, reply_limit_bytes: int) -> Connection:
    """Connect to ``<rundir>/<bridge>.mgmt`` and agree on a version.

    Args:
        path: The management socket.
        timeout_seconds: For each answer as a whole; the handshake has no limit of its own.
        reply_limit_bytes: A larger answer is malformed.

    Raises:
        SourceError: With any of the reasons.
    """
    connection = Connection(str(path), timeout_seconds, reply_limit_bytes)
    try:
        await connection.start()
    except BaseException:
        connection.close()
        raise
    return connection
