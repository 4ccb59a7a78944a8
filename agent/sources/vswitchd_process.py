"""Which ovs-vswitchd runs, followed by its control socket (inotify(7)): a restart is seen at once.

The database does not tell one process from the next, and the control socket is asked only for
scrapes. A process makes its socket anew when it starts, so the newest socket in the run directory
stands for the process; it is neither opened nor asked.
"""

import re
import select
from collections.abc import Callable
from pathlib import Path
from typing import Never

from agent.errors import Reason, SourceError
from agent.model.switch import VswitchdProcess
from agent.sources.follower import Follower, Put, StoppedError
from agent.sources.unix_socket import errors_of
from agent.sources.unixctl import sockets
from agent.sources.watched_directory import WatchedDirectory

DAEMON = "ovs-vswitchd"
LOOK_SECONDS = 30.0
"""Between two looks without an event: what is mounted over the directory makes none."""
RELEVANT = re.compile(rb"ovs-vswitchd\..*\.ctl", re.DOTALL)
_NAME = re.compile(r"ovs-vswitchd\.([0-9]{1,10})\.ctl")


class VswitchdProcessSource:
    """Follows the newest control socket of ovs-vswitchd.

    Args:
        rundir: Where it is.
        publish: Gets the process when it is known and when another one has started, in the event
            loop's thread.
    """

    def __init__(self, rundir: Path, publish: Callable[[VswitchdProcess], None]) -> None:
        self._rundir = rundir
        self._follower = Follower(DAEMON, str(rundir), self._follow, publish, _ignore)

    async def run(self) -> Never:
        """Follow until cancelled.

        Raises:
            SourceError: absent where there is no directory or no socket in it; denied; broken when
                the directory cannot be watched.
        """
        await self._follower.run()

    def _follow(self, told: int, put: Put[VswitchdProcess]) -> Never:
        try:
            directory = WatchedDirectory(self._rundir)
        except OSError as error:  # no more inotify instances, or descriptors
            raise SourceError(Reason.BROKEN, f"{self._rundir}: {error.strerror}") from error
        try:
            self._watch(directory, told, put)
        finally:
            directory.close()

    def _watch(self, directory: WatchedDirectory, told: int, put: Put[VswitchdProcess]) -> Never:
        poller = select.poll()
        for descriptor in (told, directory.fileno()):
            poller.register(descriptor, select.POLLIN)
        known: VswitchdProcess | None = None
        changed: set[bytes] | None = None
        while True:
            if changed is None:
                with errors_of(str(self._rundir)):
                    directory.watch()
            if changed is None or any(map(RELEVANT.fullmatch, changed)):
                newest = newest_process(self._rundir)
                if newest is None:
                    raise SourceError(Reason.ABSENT, f"{self._rundir}: no socket of {DAEMON}")
                if newest != known:
                    known = newest
                    put(known, {})
            ready = dict(poller.poll(LOOK_SECONDS * 1000))
            if told in ready:
                raise StoppedError
            with errors_of(str(self._rundir)):
                changed = directory.read() if ready else None


def newest_process(rundir: Path) -> VswitchdProcess | None:
    """Return the process whose socket is the newest; ``None`` where there is none.

    Raises:
        SourceError: absent or denied, about the directory.
    """
    for path in sockets.find(rundir, DAEMON):
        try:
            status = path.lstat()
        except OSError:
            continue  # removed since the directory was read
        named = _NAME.fullmatch(path.name)
        return VswitchdProcess(
            int(named[1]) if named else None, (status.st_ino, status.st_mtime_ns)
        )
    return None


def _ignore(_event: str) -> None:
    """Take no events: there are none."""
