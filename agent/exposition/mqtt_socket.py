"""The way to a broker: found, connected and encrypted in a thread of its own, then guarded.

paho does all that in a thread of asyncio's executor, and Python waits for those threads at the
end of the process: a name server that does not answer would keep it from ending. It also takes
packets of up to 256 MB and keeps messages that nobody subscribed to, so what comes in is looked at
before it sees it.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

from agent.errors import Reason, SourceError
from agent.sections_mqtt import Mqtt, MqttTls

MAX_PACKET_BYTES = 1 << 16
"""Of what a broker sends to somebody who has subscribed to nothing: answers with a line of text."""
EXPECTED = frozenset({0x20, 0x40, 0x50, 0x70, 0xD0, 0xE0})
"""CONNACK, PUBACK, PUBREC, PUBCOMP, PINGRESP, DISCONNECT: MQTT 5.0, section 2.1.2."""
UNASKED = 1
"""Packets that answer none of ours: DISCONNECT. More of them would keep the event loop busy."""
MAX_PASSWORD_BYTES = 1 << 16
_CONTINUES, _LENGTH_BITS = 0x80, 28
"""Of a packet's length, which comes in pieces of seven bits: section 1.5.5."""


class Guarded:
    """A connected socket as paho uses it; what must not come in ends the connection.

    Args:
        connected: The socket.

    Attributes:
        complaint: Why it ended, where that is known.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self.complaint = ""
        self._in_length = False
        self._shift = 0
        self._size = 0
        self._left = 0
        self._sent = 0
        self._answers = 0

    def recv(self, size: int, /) -> bytes:
        """Receive part of a packet.

        Raises:
            OSError: As a socket does, and for a packet that is not expected.
        """
        # Never over the end of what is being read: a byte of the head, or the rest of a body.
        wanted = min(size, self._left) if self._left else 1
        try:
            data = self._socket.recv(wanted)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            raise
        except OSError as error:
            self.complaint = self.complaint or words_of(error)
            raise
        if self._left:
            self._left -= len(data)
        elif data:
            self._take_head(data[0])
        return data

    def _take_head(self, byte: int) -> None:
        if not self._in_length:
            if byte & 0xF0 not in EXPECTED:
                self._refuse(f"packet of type {byte >> 4}")
            self._answers += 1
            if self._answers > self._sent + UNASKED:
                self._refuse("packet that answers nothing")
            self._in_length, self._shift, self._size = True, 0, 0
            return
        self._size |= (byte & ~_CONTINUES) << self._shift
        self._shift += 7
        if self._size > MAX_PACKET_BYTES or self._shift > _LENGTH_BITS:
            self._refuse(f"packet of more than {MAX_PACKET_BYTES} bytes")
        if not byte & _CONTINUES:
            self._in_length, self._left = False, self._size

    def _refuse(self, what: str) -> None:
        self.complaint = f"the broker sent a {what}"
        raise ConnectionAbortedError(self.complaint)

    def send(self, data: bytes | bytearray, /) -> int:
        """Send what there is room for."""
        sent = self._socket.send(data)
        self._sent += 1
        return sent

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def fileno(self) -> int:
        """Return its descriptor."""
        return self._socket.fileno()

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001 - a socket's own signature
        """Wait for the peer, or not."""
        self._socket.setblocking(flag)

    def pending(self) -> int:
        """Return how much is decrypted and not yet received."""
        return self._socket.pending() if isinstance(self._socket, ssl.SSLSocket) else 0


@dataclass(frozen=True, slots=True)
class Way:
    """A connection to the broker, and the password that goes with it."""

    guarded: Guarded
    password: str | None


class Dialer:
    """Connects to a broker, one attempt at a time.

    Args:
        settings: Where it is.
    """

    def __init__(self, settings: Mqtt) -> None:
        self._settings = settings
        self._thread: threading.Thread | None = None

    async def dial(self) -> Way:
        """Connect.

        Raises:
            SourceError: absent (no such host or file), refused (nobody listens, or it has the
                wrong certificate), denied (a file), timeout, broken, malformed (the password).
        """
        where = f"{self._settings.host}:{self._settings.broker_port}"
        if self._thread is not None and self._thread.is_alive():
            raise SourceError(Reason.TIMEOUT, f"{where}: the last attempt is still stuck")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Way] = loop.create_future()
        self._thread = threading.Thread(
            target=self._work, args=(loop, answer, where), name="mqtt", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads
            raise SourceError(Reason.BROKEN, f"{where}: {error}") from error
        seconds = self._settings.timeout_seconds
        try:
            # Not wait_for() and not timeout(): in a task that is being cancelled Python 3.11's
            # lose the one or the other.
            await asyncio.wait({answer}, timeout=seconds)
        except asyncio.CancelledError:
            # What comes from now on is closed by ``_give``, what has come already is here.
            if not answer.cancel() and answer.exception() is None:
                answer.result().guarded.close()
            raise
        if answer.cancel():
            raise SourceError(Reason.TIMEOUT, f"{where}: no connection in {seconds:g} s")
        return answer.result()

    def _work(
        self, loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[Way]", where: str
    ) -> None:
        way: Way | None = None
        error: Exception | None = None
        try:
            way = self._connect()
        except Exception as raised:  # noqa: BLE001 (it is raised where the call was made)
            error = _source_error(where, raised)
        try:
            loop.call_soon_threadsafe(_give, answer, way, error)
        except RuntimeError:  # the loop is closed, nobody waits for it
            if way is not None:
                way.guarded.close()

    def _connect(self) -> Way:
        settings = self._settings
        password = _read_password(settings.password_file) if settings.password_file else None
        context = _context(settings.tls) if settings.tls.enabled else None
        address = (settings.host, settings.broker_port)
        plain = socket.create_connection(address, settings.timeout_seconds)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected = plain
            if context is not None:
                connected = context.wrap_socket(plain, server_hostname=settings.host)
            connected.settimeout(0)
        except BaseException:
            plain.close()
            raise
        return Way(Guarded(connected), password)


def _give(answer: "asyncio.Future[Way]", way: Way | None, error: Exception | None) -> None:
    if answer.done():  # nobody waits any more
        if way is not None:
            way.guarded.close()
    elif way is not None:
        answer.set_result(way)
    elif error is not None:
        answer.set_exception(error)


def _read_password(file: Path) -> str:
    with file.open("rb") as opened:
        content = opened.read(MAX_PASSWORD_BYTES)
    try:
        return content.removesuffix(b"\n").removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        # The error would quote the password.
        raise SourceError(Reason.MALFORMED, f"{file}: the password is no UTF-8") from None


def _context(tls: MqttTls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca_certificate)
    if tls.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.certificate is not None:
        # Without a callback OpenSSL asks the terminal for the passphrase of an encrypted key.
        context.load_cert_chain(tls.certificate, tls.private_key, password=lambda: "")
    return context


def words_of(error: OSError) -> str:
    """Say what the operating system or OpenSSL means, in a line without numbers."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS: {error.reason.lower().replace('_', ' ')}"
    text = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {text}" if error.filename else text


def _source_error(where: str, error: Exception) -> Exception:
    """Map what connecting raises; a bug stays what it is."""
    reason = Reason.BROKEN
    match error:
        case SourceError():
            return SourceError(error.reason, error.detail)
        case FileNotFoundError() | socket.gaierror():
            reason = Reason.ABSENT
        case PermissionError():
            reason = Reason.DENIED
        case ConnectionRefusedError() | ssl.SSLCertVerificationError():
            reason = Reason.REFUSED
        case TimeoutError():
            reason = Reason.TIMEOUT
        case OSError():
            pass
        case UnicodeError():  # a host's name that no name server could have
            return SourceError(Reason.ABSENT, f"{where}: {error}")
        case _:
            return error
    with contextlib.suppress(AttributeError):
        return SourceError(reason, f"{where}: {words_of(error)}")
    return error
