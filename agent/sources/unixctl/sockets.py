"""Control sockets in the file system, and what the operating system knows about a connection."""

import fcntl
import os
import socket
import struct
import termios
from pathlib import Path

from agent.sources.unix_socket import errors_of

MAX_SOCKETS = 16
"""Control sockets that are tried, the newest first: dead daemons leave theirs behind."""

_START_TIME_FIELD = 22 - 3
"""Of proc(5)'s fields of /proc/<pid>/stat, counted from the one behind the command's name."""
_UCRED = struct.Struct("3i")


def find(rundir: Path, daemon: str) -> list[Path]:
    """List the control sockets, the newest first.

    Raises:
        SourceError: absent or denied, about the directory.
    """
    found: list[tuple[float, Path]] = []
    with errors_of(str(rundir)), os.scandir(rundir) as entries:
        for entry in entries:
            if entry.name.startswith(f"{daemon}.") and entry.name.endswith(".ctl"):
                try:
                    found.append((entry.stat(follow_symlinks=False).st_mtime, Path(entry.path)))
                except FileNotFoundError:
                    continue  # removed since the directory was read
    return [path for _, path in sorted(found, reverse=True)[:MAX_SOCKETS]]


def connect(path: Path) -> socket.socket:
    """Connect without waiting: a full backlog is EAGAIN, which means a peer that is stopped.

    Raises:
        SourceError: absent, refused, denied, timeout (full backlog) or broken.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(0)
        with errors_of(str(path)):
            sock.connect(str(path))
    except BaseException:
        sock.close()
        raise
    return sock


def is_idle(sock: socket.socket) -> bool:
    """Whether the peer has neither closed the connection nor sent anything unasked."""
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def unread_bytes(sock: socket.socket) -> int:
    """Return how much memory our requests occupy that the peer has not read: 0 when all is read."""
    answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    return int(struct.unpack("i", answer)[0])


def peer_pid(sock: socket.socket) -> int | None:
    """Return the process that called listen() (unix(7), SO_PEERCRED).

    ``None`` when it lives in a pid namespace that this process does not see.
    """
    answer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid: int = _UCRED.unpack(answer)[0]
    return pid if pid > 0 else None


def start_time_of(pid: int, proc: Path = Path("/proc")) -> float | None:
    """Return the Unix time at which a process was started, to 10 ms; ``None`` if it is gone.

    The boot time (/proc/stat, btime) is in whole seconds and moves when the clock is set, so a
    caller keeps the answer for as long as it is the same process.
    """
    try:
        status = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        boot = (proc / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    # The command's name stands in brackets and may itself hold spaces and brackets.
    ticks = status.rpartition(")")[2].split()[_START_TIME_FIELD : _START_TIME_FIELD + 1]
    seconds = [line.split()[1] for line in boot.split("\n") if line.startswith("btime ")]
    if not ticks or not seconds:
        return None
    return int(seconds[0]) + int(ticks[0]) / os.sysconf("SC_CLK_TCK")
