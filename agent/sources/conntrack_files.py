"""Open files of connection tracking in one network namespace.

What each shows is settled when it is opened. The numbers of /proc/sys go with their namespace
(then reading says ENOENT); the statistics of /proc/net keep it alive as a socket does, and must
be closed as soon as its name is gone.
"""

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from agent.errors import ParseError, Reason, SourceError
from agent.sources.netlink_socket import NetlinkSocket, source_error
from agent.wire.netlink.allowed import CT_GET_STATS_CPU, NETFILTER
from agent.wire.netlink.conntrack import (
    REQUEST,
    CpuStatistics,
    parse_cpu_statistics,
    parse_number,
    parse_stat_file,
)

COUNT_FILE = Path("/proc/sys/net/netfilter/nf_conntrack_count")
LIMIT_FILE = Path("/proc/sys/net/netfilter/nf_conntrack_max")
STAT_FILE = Path("/proc/thread-self/net/stat/nf_conntrack")
"""Not below /proc/net, which is the namespace of the process's first thread."""
MODULES = Path("/sys/module")
NETLINK_MODULE = "nf_conntrack_netlink"
NUMBER_BYTES = 32
STAT_BYTES = 1 << 21
"""8,192 CPUs, the most that Linux can have, with 160 bytes each, and room for more columns."""
NEEDS = "needs CAP_NET_ADMIN"


class ConntrackReading(NamedTuple):
    """Connection tracking of a namespace.

    Attributes:
        entries: Tracked connections.
        entries_limit: How many there may be.
        statistics: ``None`` where the kernel does not tell, or ``problem`` says why.
        problem: Why there are no statistics, where there should be.
    """

    entries: int
    entries_limit: int
    statistics: CpuStatistics | None = None
    problem: SourceError | None = None


class ConntrackFiles:
    """Descriptors of one namespace; ``open`` makes it. Reading needs no right.

    Args:
        count: Of ``COUNT_FILE``.
        limit: Of ``LIMIT_FILE``.
        statistics: Of ``STAT_FILE``, or a socket that is asked the same, or neither.
    """

    def __init__(self, count: int, limit: int, statistics: int | NetlinkSocket | None) -> None:
        self._count = count
        self._limit = limit
        self._statistics = statistics
        self._closed = False

    @classmethod
    def open(
        cls,
        stat_file: Path = STAT_FILE,
        modules: Path = MODULES,
        timeout_seconds: float = 5.0,
    ) -> "ConntrackFiles | None":
        """Open the files of the namespace in which the calling thread is.

        Args:
            stat_file: Statistics; kernels without CONFIG_NF_CONNTRACK_PROCFS have no such file.
            modules: Directory of loaded modules: without it there is no netlink instead.
            timeout_seconds: For an answer by netlink.

        Returns:
            ``None`` when the kernel has no connection tracking (its module is not loaded). Where
            it may not be read (a security module's word), reading says so: the namespace's
            links must not go without for that.

        Raises:
            OSError: If a file cannot be opened for another reason: no more descriptors.
        """
        try:
            return cls._open_all(stat_file, modules, timeout_seconds)
        except FileNotFoundError:  # unloaded after the first was opened
            return None
        except PermissionError as error:
            return DeniedFiles(error)

    @classmethod
    def _open_all(
        cls, stat_file: Path, modules: Path, timeout_seconds: float
    ) -> "ConntrackFiles | None":
        with contextlib.ExitStack() as stack:
            count = _open(COUNT_FILE)
            if count is None:
                return None
            stack.callback(os.close, count)
            limit = os.open(LIMIT_FILE, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, limit)
            statistics: int | NetlinkSocket | None = _open(stat_file)
            if statistics is None and (modules / NETLINK_MODULE).exists():
                statistics = NetlinkSocket(NETFILTER, timeout_seconds)
            stack.pop_all()
            return cls(count, limit, statistics)

    def read(self) -> ConntrackReading:
        """Read all now.

        Raises:
            OSError: FileNotFoundError if the module was unloaded, or what else a file says.
            ParseError: If entries or limit are no numbers.
        """
        entries = parse_number(os.pread(self._count, NUMBER_BYTES, 0))
        limit = parse_number(os.pread(self._limit, NUMBER_BYTES, 0))
        try:
            return ConntrackReading(entries, limit, self._read_statistics())
        except PermissionError as error:
            problem = SourceError(Reason.DENIED, f"statistics: {error.strerror}, {NEEDS}")
        except (OSError, ParseError) as error:
            problem = source_error("statistics", error)
        return ConntrackReading(entries, limit, None, problem)

    def close(self) -> None:
        """Close them. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        os.close(self._count)
        os.close(self._limit)
        if isinstance(self._statistics, NetlinkSocket):
            self._statistics.close()
        elif self._statistics is not None:
            os.close(self._statistics)

    def _read_statistics(self) -> CpuStatistics | None:
        if self._statistics is None:
            return None
        if isinstance(self._statistics, NetlinkSocket):
            return parse_cpu_statistics(self._statistics.whole(CT_GET_STATS_CPU, REQUEST))
        return parse_stat_file(_read_whole(self._statistics))


class DeniedFiles(ConntrackFiles):
    """Files that may not be read.

    Args:
        error: What was said when one was opened.
    """

    def __init__(self, error: PermissionError) -> None:
        self._number = error.errno
        self._text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror

    def read(self) -> ConntrackReading:
        """Say why not.

        Raises:
            PermissionError: Always.
        """
        raise PermissionError(self._number, self._text)

    def close(self) -> None:
        """Nothing is open."""


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def _read_whole(descriptor: int) -> bytes:
    """Read from the start to the end: the kernel gives at most a page, 26 CPUs, at a time."""
    pieces: list[bytes] = []
    at = 0
    while at < STAT_BYTES and (piece := os.pread(descriptor, STAT_BYTES - at, at)):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)
