"""Files that were read once and are read again when they change."""

import os
from pathlib import Path
from stat import S_ISREG
from typing import TypeAlias

MAX_FILE_BYTES = 1 << 20

Stamp: TypeAlias = tuple[int, int, int, int, int]
"""Device, inode, size in bytes, modification and change time in nanoseconds."""


class WatchedFiles:
    """Reads files and remembers what they looked like; asking costs one stat a file (2 µs)."""

    def __init__(self) -> None:
        self._stamps: dict[Path, Stamp | None] = {}

    def read(self, path: Path) -> bytes:
        """Return the bytes of a regular file and watch it, also when it cannot be read.

        Raises:
            OSError: It cannot be read, or it is no regular file, or larger than 1 MiB. A pipe or
                a device is refused: it would block, or read as empty, which is a valid
                configuration without any protection.
        """
        self._stamps[path] = _stamp(path)
        # O_NONBLOCK: opening a pipe must not wait for a writer.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123 - a descriptor, not a path
            status = os.fstat(file.fileno())
            if not S_ISREG(status.st_mode):
                raise OSError("not a regular file")
            # What was opened, before its content: a change from here on is seen later.
            self._stamps[path] = _from(status)
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise OSError(f"larger than {MAX_FILE_BYTES} bytes")
        return data

    def changed(self) -> bool:
        """Say whether any of the files is not the one that was read."""
        return any(_stamp(path) != stamp for path, stamp in self._stamps.items())


def _from(status: os.stat_result) -> Stamp:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _stamp(path: Path) -> Stamp | None:
    """Return the file's stamp, None when there is nothing to stat."""
    try:
        return _from(path.stat())
    except (OSError, ValueError):
        return None
