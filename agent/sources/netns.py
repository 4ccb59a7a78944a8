"""Network namespaces: telling what a file is, and entering (setns(2), ioctl_ns(2), ip-netns(8)).

Nothing here makes a namespace or a file.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from agent.errors import Reason, SourceError

HOME = Path("/proc/thread-self/ns/net")
CLONE_NEWNET = 0x40000000
NS_GET_NSTYPE = 0xB703

Identity = tuple[int, int]
"""Device and inode of a namespace's file. Not used again while anything holds the namespace."""

_libc = ctypes.CDLL(None, use_errno=True)


class GoneError(Exception):
    """There is no such file any more, or not yet a namespace in its place."""


class LostError(Exception):
    """A thread could not leave a namespace that it entered: it must end."""


def home_identity() -> Identity:
    """Return the namespace that the calling thread is in.

    Raises:
        SourceError: If /proc does not tell.
    """
    try:
        return identity_of(HOME.stat())
    except OSError as error:
        raise SourceError(Reason.ABSENT, f"{HOME}: {error.strerror}") from error


def identity_of(status: os.stat_result) -> Identity:
    """Return the identity that a file has."""
    return status.st_dev, status.st_ino


def look(path: Path, namespaces_device: int) -> Identity | None:
    """Say which namespace a file is, without opening it; ``None`` for an ordinary file.

    All files of namespaces, of whatever type, are on one device of the kernel's (nsfs).

    Args:
        path: Of the file; symbolic links are followed: some tools link to /proc/PID/ns/net.
        namespaces_device: First part of ``home_identity()``.

    Raises:
        FileNotFoundError: If there is none, or a directory, which cannot become one.
        OSError: If it cannot be looked at.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, "a directory", str(path))
    return identity_of(status) if status.st_dev == namespaces_device else None


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open the file of a namespace, for a while.

    Raises:
        GoneError: If there is none, or it is no longer a namespace.
        SourceError: If it is a namespace of another type.
        OSError: If it cannot be opened.
    """
    try:
        # Without O_NONBLOCK opening a FIFO would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise GoneError from error
    try:
        if _type(descriptor) != CLONE_NEWNET:
            shown = os.fsencode(path.name).decode("utf-8", "backslashreplace")
            raise SourceError(Reason.ABSENT, f"{shown} is a namespace, but not of the network")
        yield descriptor
    finally:
        os.close(descriptor)


def _type(descriptor: int) -> int:
    try:
        return fcntl.ioctl(descriptor, NS_GET_NSTYPE)
    except OSError as error:  # ENOTTY from files, others from devices
        raise GoneError from error


class Entrance:
    """The way into other namespaces and back, for the thread that makes it.

    Raises:
        SourceError: If /proc does not have the way back.
    """

    def __init__(self) -> None:
        try:
            self._home = os.open(HOME, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            reason = Reason.ABSENT if isinstance(error, FileNotFoundError) else Reason.BROKEN
            raise SourceError(reason, f"{HOME}: {error.strerror}") from error

    @contextlib.contextmanager
    def inside(self, descriptor: int, name: str) -> Iterator[None]:
        """Be in a namespace.

        Args:
            descriptor: Of its file.
            name: For messages.

        Raises:
            SourceError: DENIED without CAP_SYS_ADMIN, BROKEN if it cannot be entered otherwise.
            LostError: If the thread cannot come back.
        """
        try:
            _setns(descriptor)
        except PermissionError as error:
            raise SourceError(Reason.DENIED, f"entering {name} needs CAP_SYS_ADMIN") from error
        except OSError as error:
            raise SourceError(Reason.BROKEN, f"entering {name}: {error.strerror}") from error
        try:
            yield
        finally:
            try:
                _setns(self._home)
            except OSError as error:
                raise LostError(f"no way back from a namespace: {error.strerror}") from error

    def close(self) -> None:
        """Close it."""
        os.close(self._home)


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
