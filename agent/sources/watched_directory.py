"""A directory that is watched, whether it is there or not (inotify(7)).

What is mounted over a file or a directory makes no event: who must know looks again.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

EVENT = struct.Struct("=iIII")
READ_BYTES = 1 << 16

IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x40, 0x80, 0x100, 0x200
IN_DELETE_SELF, IN_MOVE_SELF = 0x400, 0x800
IN_UNMOUNT, IN_Q_OVERFLOW, IN_IGNORED = 0x2000, 0x4000, 0x8000
IN_ONLYDIR = 0x01000000

NAMES = IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE
ITSELF = IN_DELETE_SELF | IN_MOVE_SELF
GONE = ITSELF | IN_UNMOUNT | IN_IGNORED

_libc = ctypes.CDLL(None, use_errno=True)


class WatchedDirectory:
    """A directory and, while it is missing, the nearest one above it that is there.

    Args:
        path: Of the directory.

    Raises:
        OSError: If there are no more descriptors or inotify instances (fs.inotify.max_user_…).
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._watch = -1
        self._awaited = b""
        """Name of the next directory on the way, in the one that is watched instead."""
        self._descriptor = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def fileno(self) -> int:
        """Return the descriptor; it is readable when ``read`` has something."""
        return self._descriptor

    def watch(self) -> bool:
        """Watch what is there now, anew; say whether it is the directory itself.

        Raises:
            OSError: If it may not be watched.
        """
        if self._watch >= 0:
            _libc.inotify_rm_watch(self._descriptor, self._watch)  # fails for what is gone
            self._watch = -1
        below: Path | None = None
        for each in (self._path, *self._path.parents):
            try:
                self._watch = self._add(each)
            except (FileNotFoundError, NotADirectoryError):
                below = each
                continue
            if below is None:
                self._awaited = b""
                return True
            if below.is_dir():  # since it was tried
                return self.watch()
            self._awaited = os.fsencode(below.name)
            return False
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/")

    def read(self) -> set[bytes] | None:
        """Return names that came or went; ``None`` if anything may have: watch and list again.

        Raises:
            OSError: If the descriptor fails.
        """
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return set()
        names: set[bytes] = set()
        again = False
        for watch, mask, name in _events(data):
            if mask & IN_Q_OVERFLOW:
                again = True
            elif watch != self._watch:
                continue  # of an earlier watch
            elif mask & GONE or (self._awaited and name == self._awaited):
                again = True
            elif not self._awaited:
                names.add(name)
        return None if again else names

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)

    def _add(self, path: Path) -> int:
        mask = NAMES | ITSELF | IN_ONLYDIR
        return _checked(_libc.inotify_add_watch(self._descriptor, os.fsencode(path), mask))


def _events(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at < len(data):
        watch, mask, _, length = EVENT.unpack_from(data, at)
        at += EVENT.size
        yield watch, mask, data[at : at + length].rstrip(b"\0")
        at += length


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
