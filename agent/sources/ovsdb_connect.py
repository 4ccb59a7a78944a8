"""Connecting to an OVSDB server: a deadline, and an end when the thread is to end."""

import errno
import os
import select
import socket
import ssl
import time
from typing import Any

from agent.addresses import Address
from agent.sources.follower import StoppedError
from agent.sources.ovsdb_tls import TlsFiles

CONNECT_SECONDS = 5.0
"""For the connection and TLS's handshake; looking up a name has no deadline that we could set."""


def open_socket(address: Address, tls: TlsFiles | None, wake_fd: int) -> socket.socket:
    """Connect and, where it is wanted, shake hands.

    Args:
        address: Where the server is.
        tls: With what to speak TLS; ``None`` for a connection without.
        wake_fd: Becomes readable when the thread is to end.

    Returns:
        A socket that does not block.

    Raises:
        OSError: If that fails or takes longer than ``CONNECT_SECONDS``; SSLError is one.
        SourceError: If certificates cannot be used; nothing was connected then.
        StoppedError: If the thread is to end.
    """
    deadline = time.monotonic() + CONNECT_SECONDS
    context = tls.context() if tls else None
    if isinstance(address, str):
        return _connect_unix(address)
    sock = _connect_tcp(*address, deadline, wake_fd)
    if context is None:
        return sock
    try:
        # The plain socket gives its descriptor away; what is closed afterwards is the other.
        encrypted = context.wrap_socket(sock, do_handshake_on_connect=False)
    except BaseException:
        sock.close()
        raise
    try:
        _shake_hands(encrypted, deadline, wake_fd)
    except BaseException:
        encrypted.close()
        raise
    return encrypted


def _connect_unix(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(0)
        # Either at once or not at all: there is no waiting for a place in the backlog.
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


def _connect_tcp(host: str, port: int, deadline: float, wake_fd: int) -> socket.socket:
    refusal: OSError | None = None
    for family, kind, proto, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, proto)
        try:
            _dial(sock, address, deadline, wake_fd)
        except OSError as error:
            sock.close()
            refusal = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise refusal or OSError(errno.ENOENT, "no address")


def _dial(sock: socket.socket, address: Any, deadline: float, wake_fd: int) -> None:
    sock.settimeout(0)
    code = sock.connect_ex(address)
    if code == errno.EINPROGRESS:
        _wait(sock, select.POLLOUT, deadline, wake_fd)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _shake_hands(sock: ssl.SSLSocket, deadline: float, wake_fd: int) -> None:
    while True:
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            _wait(sock, select.POLLIN, deadline, wake_fd)
        except ssl.SSLWantWriteError:
            _wait(sock, select.POLLOUT, deadline, wake_fd)
        else:
            return


def _wait(sock: socket.socket, events: int, deadline: float, wake_fd: int) -> None:
    """Sleep until a socket is ready.

    Raises:
        OSError: If the deadline passes.
        StoppedError: If the thread is to end.
    """
    poll = select.poll()
    poll.register(wake_fd, select.POLLIN)
    poll.register(sock, events)
    ready = dict(poll.poll(int(max(0.0, deadline - time.monotonic()) * 1000)))
    if wake_fd in ready:
        raise StoppedError
    if not ready:
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
