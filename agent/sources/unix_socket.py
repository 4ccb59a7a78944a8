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

    A local connect() succeeds or fails at once; asyncio would take the EAGAIN of a full backlog
    for a connection in progress and hand out a socket that is not connected.

    Raises:
        SourceError: absent, refused, denied, timeout (full backlog) or broken.
    """
    with errors_of(str(path)):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            sock.settimeout(0)
            sock.connect(str(path))
            return await asyncio.open_unix_connection(sock=sock)
        except BaseException:
            sock.close()
            raise
