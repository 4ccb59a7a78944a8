"""One connection to an OVSDB server, in the shape in which ovs.db.idl.Idl uses its session.

ovs.jsonrpc.Session is not used, because it connects again by itself and keeps the reason to
itself, does not probe UNIX sockets, waits in select() (which fails at descriptor 1024), loses a
character that is cut by a read, and does not bound a message. Here a connection lives once; when
it ends, SourceError says why.
"""

import contextlib
import errno
import os
import select
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import ovs.jsonrpc

from agent.addresses import Address
from agent.errors import ParseError, Reason, SourceError
from agent.sources.follower import StoppedError
from agent.sources.ovsdb_connect import open_socket
from agent.sources.ovsdb_framing import Framing
from agent.sources.ovsdb_tls import TlsFiles, refusal

PROBE_SECONDS = 5.0
"""Silence before an ECHO is sent, and again before the server counts as hung."""
MESSAGE_SECONDS = 30.0
"""From the first byte of a message to its last."""
CHUNK_BYTES = 256 << 10
MAX_OUTPUT_BYTES = 1 << 20
"""Unsent answers to a server that asks but does not read."""
DETAIL_CHARACTERS = 200

ALLOWED = frozenset(
    (
        "echo",
        "get_schema",
        "monitor",
        "monitor_cond",
        "monitor_cond_change",
        "monitor_cond_since",
        "set_db_change_aware",
    ),
)
"""What may be sent; nothing here can write to the database."""

_MONITORS = frozenset(("monitor", "monitor_cond", "monitor_cond_since"))
_REASONS = {
    errno.ENOENT: Reason.ABSENT,
    errno.ENOTDIR: Reason.ABSENT,
    errno.EHOSTUNREACH: Reason.ABSENT,
    errno.ENETUNREACH: Reason.ABSENT,
    errno.ECONNREFUSED: Reason.REFUSED,
    errno.EACCES: Reason.DENIED,
    errno.EPERM: Reason.DENIED,
    errno.EAGAIN: Reason.TIMEOUT,  # a UNIX socket whose backlog is full: nobody accepts
    errno.ETIMEDOUT: Reason.TIMEOUT,
}
_LATER = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
UNKNOWN = "unknown database"
_REFUSALS = (UNKNOWN, "permission error", "not allowed")
"""How errors begin with which a server says that it will not, rather than that it could not."""


@contextlib.contextmanager
def peer_errors(peer: str) -> Iterator[None]:
    """Turn what sockets and parsers raise into SourceError.

    Raises:
        SourceError: With the reason that fits the errno, or malformed for a ParseError.
    """
    try:
        yield
    except ParseError as error:
        raise SourceError(Reason.MALFORMED, f"{peer}: {cut(error)}") from error
    except ssl.SSLError as error:  # an OSError with a number of OpenSSL's for an errno
        reason, words = refusal(error)
        raise SourceError(reason, f"{peer}: {words}") from error
    except socket.gaierror as error:
        raise SourceError(Reason.ABSENT, f"{peer}: {error.strerror}") from error
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, Reason.BROKEN)
        raise SourceError(reason, f"{peer}: {error.strerror or error}") from error


def cut(what: object) -> str:
    """Text of an error or of what a peer said, on one line and bounded."""
    return " ".join(str(what).split())[:DETAIL_CHARACTERS]


class Session:
    """A connection; close it with ``close``. It belongs to one thread.

    Args:
        address: Where the server is.
        peer: What messages call it.
        wake_fd: Becomes readable when the thread is to end.
        tls: With what to speak TLS; ``None`` for a connection without.
        framing: Finds the messages.
        patience: Instead of ``PROBE_SECONDS`` and ``MESSAGE_SECONDS``.

    Attributes:
        digesting: True from the moment in which a message was handed to the caller until the
            session is used again. What fails in between fails over that message.
    """

    def __init__(
        self,
        address: Address,
        peer: str,
        wake_fd: int,
        *,
        tls: TlsFiles | None = None,
        framing: Framing | None = None,
        patience: tuple[float, float] | None = None,
    ) -> None:
        self.digesting = False
        self._address = address
        self._peer = peer
        self._wake_fd = wake_fd
        self._tls = tls
        self._framing = framing or Framing()
        self._probe_seconds, self._message_seconds = patience or (PROBE_SECONDS, MESSAGE_SECONDS)
        self._output = b""
        self._asked: dict[object, tuple[str, str]] = {}  # request id to (method, database)
        self._heard = self._message_began = time.monotonic()
        self._probed: float | None = None
        self._socket: socket.socket | None = None
        self._wants = 0  # poll events without which TLS cannot go on
        self._poll = select.poll()
        self._poll.register(wake_fd, select.POLLIN)

    # What the agent uses

    def connect(self) -> None:
        """Connect.

        Raises:
            SourceError: If that fails or takes too long.
            StoppedError: If the thread is to end.
        """
        with peer_errors(self._peer):
            self._socket = open_socket(self._address, self._tls, self._wake_fd)
        self._poll.register(self._sock, select.POLLIN)
        self._heard = time.monotonic()

    def request(self, method: str, params: list[Any], seconds: float) -> Any:
        """Ask once and wait for the answer; other messages are passed over.

        Returns:
            The ``result`` member.

        Raises:
            SourceError: If there is no answer in time, or an error for an answer.
            StoppedError: If the thread is to end.
        """
        deadline = time.monotonic() + seconds
        request = ovs.jsonrpc.Message.create_request(method, params)
        self.send(request)
        while time.monotonic() < deadline:
            message = self.recv()
            answered = message is not None and message.id == request.id
            if answered and message.type == message.T_REPLY:
                return message.result
            if answered and message.type == message.T_ERROR:
                text = said(message)
                raise SourceError(reason_of(text), f"{self._peer}: {method}: {text}")
            self.wait(deadline)
        raise SourceError(Reason.TIMEOUT, f"{self._peer}: no answer to {method} in {seconds:g} s")

    def wait(self, deadline: float | None = None) -> None:
        """Sleep until there is something to read, ``deadline`` passes or the server looks hung.

        Raises:
            SourceError: If the server did not answer a probe.
            StoppedError: If the thread is to end.
        """
        due = (self._heard if self._probed is None else self._probed) + self._probe_seconds
        now = time.monotonic()
        until = due if deadline is None else min(due, deadline)
        at_once = self._framing.complete() or self._decrypted()
        seconds = 0.0 if at_once else max(0.0, until - now)
        events = select.POLLIN | self._wants | (select.POLLOUT if self._output else 0)
        self._poll.modify(self._sock, events)
        # Rounded up: a poll that returns a little early would be repeated at once.
        ready = dict(self._poll.poll(int(seconds * 1000) + 1 if seconds else 0))
        if self._wake_fd in ready:
            raise StoppedError
        # Only when nothing could be read: after a long sleep of the whole machine the answer to
        # the probe may be waiting.
        if not ready and not at_once and time.monotonic() >= due:
            self._probe()

    # What Idl uses

    def run(self) -> None:
        """Send what could not be sent before."""
        self.digesting = False
        if not self._output:
            return
        with peer_errors(self._peer), contextlib.suppress(*_LATER):
            try:
                sent = self._sock.send(self._output)
            except ssl.SSLEOFError:
                # TLS 1.3 says after the handshake, to who reads, why a certificate is not accepted.
                self._receive()
                raise
            self._output = self._output[sent:]

    def send(self, message: Any) -> int:
        """Send a message or keep it until the server reads.

        Returns:
            0, Idl's word for success.

        Raises:
            SourceError: If the connection is broken or the server does not read.
            ValueError: If the method is not one of ``ALLOWED``.
        """
        self.digesting = False
        if message.method is not None:
            if message.method not in ALLOWED:
                raise ValueError(f"{message.method} is not in the allow-list")
            self._asked[message.id] = (message.method, str((message.params or [""])[0]))
        self._output += ovs.json.to_string(message.to_json()).encode()
        self.run()
        if len(self._output) > MAX_OUTPUT_BYTES:
            raise SourceError(Reason.BROKEN, f"{self._peer}: asks but does not read the answers")
        return 0

    def recv(self) -> Any:
        """Read at most once; return a message, or ``None`` when there is none for the caller.

        Raises:
            SourceError: If the connection ended, or the server said something that ends it.
        """
        self.digesting = False
        with peer_errors(self._peer):
            if not self._framing.complete():
                self._read()
            raw = self._framing.pop()
            if raw is None:
                return None
            self._message_began = time.monotonic()
            message = ovs.jsonrpc.Message.from_json(raw)
            if isinstance(message, str):
                raise ParseError(message)
        if self._answered_here(message):
            return None
        self.digesting = True
        return message

    def force_reconnect(self) -> None:
        """Idl gives up on this server: its database is gone, not joined or not connected."""
        raise SourceError(Reason.REFUSED, f"{self._peer}: does not serve the database now")

    def is_connected(self) -> bool:
        """Return True: a session that is not raises."""
        return True

    def get_seqno(self) -> int:
        """Return which connection this is: the only one."""
        return 1

    def get_name(self) -> str:
        """Return the peer's name for messages."""
        return self._peer

    def reset_backoff(self) -> None:
        """Do nothing: the supervisor decides when to try again."""

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def _sock(self) -> socket.socket:
        if self._socket is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return self._socket

    def _receive(self) -> bytes | None:
        """Read what is there, at most ``CHUNK_BYTES``; ``None`` for nothing."""
        self._wants = 0
        try:
            return self._sock.recv(CHUNK_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except ssl.SSLWantWriteError:  # TLS has something of its own to say first
            self._wants = select.POLLOUT
            return None

    def _decrypted(self) -> bool:
        """Whether TLS has something to read that is no longer in the socket."""
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def _read(self) -> None:
        data = self._receive()
        if data is None:
            return
        if not data:
            raise SourceError(Reason.BROKEN, f"{self._peer}: closed the connection")
        now = time.monotonic()
        if not len(self._framing):
            self._message_began = now
        self._heard, self._probed = now, None
        self._framing.feed(data)
        if not self._framing.complete() and now - self._message_began > self._message_seconds:
            raise SourceError(
                Reason.TIMEOUT,
                f"{self._peer}: a message is incomplete after {self._message_seconds:g} s",
            )

    def _probe(self) -> None:
        """Ask for a sign of life, or give up when the last question was not answered."""
        if self._probed is not None:
            seconds = time.monotonic() - self._heard
            raise SourceError(Reason.TIMEOUT, f"{self._peer}: silent for {seconds:.0f} s")
        self._probed = time.monotonic()
        message = ovs.jsonrpc.Message.create_request("echo", [])
        message.id = "echo"
        self.send(message)

    def _answered_here(self, message: Any) -> bool:
        """Deal with what does not concern Idl.

        Raises:
            SourceError: If the server refuses a monitor or cancels it.
        """
        if message.type == message.T_REQUEST and message.method == "echo":
            self.send(message.create_reply(message.params, message.id))
            return True
        if message.type == message.T_NOTIFY and message.method == "monitor_canceled":
            # The database was converted or removed. Idl would go on with the old schema.
            raise SourceError(Reason.BROKEN, f"{self._peer}: the database has another schema now")
        if message.type not in (message.T_REPLY, message.T_ERROR):
            return False
        # An id is any JSON value; those that we gave are numbers and text.
        known = isinstance(message.id, int | str)
        method, database = self._asked.pop(message.id, ("", "")) if known else ("", "")
        # Idl tries an older kind of monitor where this one is not known, goes without the database
        # _Server, and after any other error waits for ever.
        refused = message.type == message.T_ERROR and method in _MONITORS
        older = method != "monitor" and message.error == "unknown method"
        if refused and database != "_Server" and not older:
            text = said(message)
            raise SourceError(reason_of(text), f"{self._peer}: {method}: {text}")
        return method == "echo"


def said(message: Any) -> str:
    """Return what an error reply says, ``{"error": "unknown database", "details": …}`` or text."""
    error = message.error
    if isinstance(error, dict):
        error = ": ".join(str(error[key]) for key in ("error", "details") if key in error)
    return cut(error)


def reason_of(text: str) -> Reason:
    """Return the reason for an error reply: REFUSED where the server will not do it for us."""
    return Reason.REFUSED if text.startswith(_REFUSALS) else Reason.BROKEN
