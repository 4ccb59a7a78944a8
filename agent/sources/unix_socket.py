"""Connecting to a local daemon's UNIX socket, with every way in which that can fail."""

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import ParseError, Reason, SourceError

REASONS = {
    errno.ENOENT: Reason.ABSENT,
    errno.ENOTDIR: Reason.ABSENT,
    errno.ENOTSOCK: Reason.ABSENT,
    errno.ECONNREFUSED: Reason.REFUSED,
    errno.EACCES: Reason.DENIED,
    errno.EPERM: Reason.DENIED,
    errno.EAGAIN: Reason.TIMEOUT,
    errno.EINVAL: Reason.TIMEOUT,
    errno.ETIMEDOUT: Reason.TIMEOUT,
}


@contextmanager
def errors_of(peer: str) -> Iterator[None]:
    """Map what the operating system and the parsers say to a SourceError that names the peer.

    EAGAIN from connect() means that the peer's backlog is full: it is stopped or does not accept.
    """
    try:
        yield
    except ParseError as error:
        raise SourceError(Reason.MALFORMED, f"{peer}: {error}") from error
    except TimeoutError as error:
        raise SourceError(Reason.TIMEOUT, f"{peer}: no answer in time") from error
    except asyncio.IncompleteReadError as error:
        raise SourceError(Reason.BROKEN, f"{peer}: closed the connection") from error
    except OSError as error:
        reason = REASONS.get(error.errno or 0, Reason.BROKEN)
        raise SourceError(reason, f"{peer}: {error.strerror or error}") from error


async def connect(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a listening UNIX socket.

    Raises:
        SourceError: absent, refused, denied, timeout (full backlog) or broken.
    """
    with errors_of(str(path)), _connected(path) as sock:
        return await asyncio.open_unix_connection(sock=sock)


async def connect_protocol(path: Path, protocol: asyncio.BaseProtocol) -> asyncio.Transport:
    """Connect to a listening UNIX socket, with a protocol that takes what comes.

    Raises:
        SourceError: As ``connect``.
    """
    loop = asyncio.get_running_loop()
    with errors_of(str(path)), _connected(path) as sock:
        transport, _protocol = await loop.create_unix_connection(lambda: protocol, sock=sock)
    return transport


@contextmanager
def _connected(path: Path) -> Iterator[socket.socket]:
    """Give a connected socket, and close it if it cannot be used.

    A local connect() succeeds or fails at once; asyncio would take the EAGAIN of a full backlog
    for a connection in progress and hand out a socket that is not connected.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(0)
        sock.connect(str(path))
        yield sock
    except BaseException:
        sock.close()
        raise
