"""Which namespaces have a name, followed in their directory: what to open, what is gone.

``ip netns add`` makes an ordinary file first and mounts the namespace over it when the kernel has
made it, which makes no inotify event: what is no namespace yet is looked at again when something
is mounted (poll(2) of mountinfo, proc(5)), and now and then.
"""

import errno
import heapq
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.config import Settings
from agent.errors import Reason, SourceError
from agent.health import SourceHealth
from agent.sources import netns
from agent.sources.chosen_names import ChosenNames
from agent.sources.watched_directory import WatchedDirectory

FIRST_LOOK_SECONDS = 0.002
SHORT_LOOK_SECONDS = 0.05
YOUNG_SECONDS = 1.0
LONG_LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 5.0
"""How long a name may be an ordinary file before that is a failure."""
RETRY_SECONDS = 30.0
CHECK_SECONDS = 30.0
"""For what makes no event: something unmounted, mounted over the directory, a parent renamed."""
DENIED_IN_A_ROW = 3
"""So many may not be entered before the others wait: they would most likely fare the same."""

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})

Say = Callable[[Callable[[SourceHealth], None]], None]
"""Takes what is to be done with a health, in the event loop."""


@dataclass(slots=True, eq=False)
class Named:
    """A name in the directory.

    Attributes:
        raw: The file's name.
        name: For people and labels: bytes that are no UTF-8 become backslash escapes.
        since: When it was first seen as it is now (monotonic seconds).
        identity: Of the namespace that is open under this name; ``None`` while none is.
        delay_seconds: From the last look to the next.
        due: When that is; ``None`` when nothing is waited for.
        said: When the health was last told of a problem; ``None`` while it knows of none.
    """

    raw: bytes
    name: str
    since: float
    identity: netns.Identity | None = None
    delay_seconds: float = 0.0
    due: float | None = None
    said: float | None = None


class NamedNamespaces:
    """The directory of named namespaces. Belongs to one thread.

    Args:
        settings: Directory, patterns and the limit.
        host: The host's own namespace, which is not followed under another name.
        say: Reports to the health of source netns; its parts are names, ``""`` the directory.
        clock: Monotonic seconds.

    Attributes:
        gone: Names of namespaces that were open and must be left; the user empties it.
    """

    def __init__(
        self,
        settings: Settings,
        host: netns.Identity,
        say: Say,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.gone: list[str] = []
        self._where = settings.namespaces.directory
        self._chosen = ChosenNames(settings)
        self._host = host
        self._say = say
        self._clock = clock
        self._directory: WatchedDirectory | None = None
        self._by_raw: dict[bytes, Named] = {}
        self._by_name: dict[str, Named] = {}
        self._queue: dict[str, None] = {}
        self._files: dict[str, None] = {}
        """Names of what was no namespace yet when it was looked at."""
        self._timers: list[tuple[float, str]] = []
        self._denied = 0
        self._paused_until = float("-inf")
        self._next_check = float("-inf")
        self._room = False
        self._found = False
        self._problem: SourceError | None = None

    def start(self) -> None:
        """Look for the first time."""
        self._say(lambda health: health.keep_parts(set()))  # of an earlier run
        self._list()

    def fileno(self) -> int | None:
        """Return the descriptor to wait for; ``None`` while the directory cannot be watched."""
        return None if self._directory is None else self._directory.fileno()

    def read(self) -> None:
        """Look at what the directory says has changed."""
        if self._directory is None:
            return
        names = self._directory.read()
        if names is None:
            self._list()
            return
        for raw in sorted(names):
            self._touch(raw)
        self._try_refused()

    def wake(self) -> None:
        """Look at what is due."""
        now = self._clock()
        while self._timers and self._timers[0][0] <= now:
            due, name = heapq.heappop(self._timers)
            named = self._by_name.get(name)
            if named is not None and named.due == due:
                self._look(named)
        if self._room:
            self._try_refused()
        if now >= self._next_check:
            self._list()

    def mounted(self) -> None:
        """Look at what is no namespace yet: something was mounted."""
        for name in list(self._files):
            self._look(self._by_name[name])

    def timeout_seconds(self) -> float:
        """Return how long there is nothing to do without an event."""
        now = self._clock()
        times = [self._next_check, *(due for due, _ in self._timers[:1])]
        if self._queue and self._paused_until > now:
            times.append(self._paused_until)
        return max(0.0, min(times) - now)

    def close(self) -> None:
        """Watch no more."""
        if self._directory is not None:
            self._directory.close()
            self._directory = None

    @property
    def waiting(self) -> bool:
        """Whether there is a namespace to open now."""
        return bool(self._queue) and self._clock() >= self._paused_until

    def next(self) -> str:
        """Return the name of the namespace to open next, if ``waiting``."""
        name = next(iter(self._queue))
        del self._queue[name]
        return name

    def path(self, name: str) -> Path | None:
        """Return the file of a name that is there."""
        named = self._by_name.get(name)
        return None if named is None else self._path(named.raw)

    def opened(self, name: str, identity: netns.Identity) -> bool:
        """Take a namespace that was opened; say whether it still has that name."""
        named = self._by_name.get(name)
        if named is None:
            return False
        before = named.identity
        named.identity = identity
        self._look(named)
        if named.identity != identity:
            if before is None:
                self.gone.remove(name)  # it never was in use
            return False
        self._denied = 0
        named.said = None
        self._say(lambda health: health.good(name))
        return True

    def vanished(self, name: str) -> None:
        """Take that a file was no namespace any more when it was opened."""
        named = self._by_name.get(name)
        if named is not None:
            self._close(named)
            named.since = self._clock()
            self._wait(named)

    def failed(self, name: str, error: SourceError) -> None:
        """Take that a namespace could not be opened, or is no longer understood."""
        named = self._by_name.get(name)
        if named is None:
            return
        self._close(named)
        cause = error.__cause__
        exhausted = isinstance(cause, OSError) and cause.errno in EXHAUSTED
        self._denied = self._denied + 1 if error.reason is Reason.DENIED else 0
        if exhausted or self._denied >= DENIED_IN_A_ROW:
            self._denied = 0
            self._paused_until = self._clock() + RETRY_SECONDS
        self._queue.pop(name, None)
        self._schedule(named, RETRY_SECONDS)
        self._fail(named, error)

    def problem(self, name: str, error: SourceError) -> None:
        """Take that something is missing in a namespace that is open."""
        named = self._by_name.get(name)
        if named is not None:
            self._fail(named, error)

    def _list(self) -> None:
        """Watch anew, and look at every name."""
        self._next_check = self._clock() + CHECK_SECONDS
        problem: SourceError | None = None
        there = True
        try:
            if self._directory is None:
                self._directory = WatchedDirectory(self._where)
            there = self._directory.watch()
        except OSError as error:  # it is listed now and then, at least
            problem = self._cannot("watching", error)
        try:
            names = self._where.iterdir() if there else ()
            present = {os.fsencode(each.name) for each in names}
        except (FileNotFoundError, NotADirectoryError):
            there, present = False, set()
        except OSError as error:
            problem, present = self._cannot("listing", error), set()
        for raw in sorted(present | set(self._by_raw) | set(self._chosen.refused)):
            self._touch(raw)
        self._report(problem, there=there)

    def _cannot(self, doing: str, error: OSError) -> SourceError:
        reason = Reason.DENIED if isinstance(error, PermissionError) else Reason.BROKEN
        return SourceError(reason, f"{doing} {self._where}: {error.strerror}")

    def _report(self, problem: SourceError | None, *, there: bool) -> None:
        problem = problem or self._chosen.problem()
        self._problem = problem
        if problem is not None:
            self._say(lambda health: health.failed(problem))
            return
        self._say(lambda health: health.clear())
        if there:
            self._say_good()

    def _try_refused(self) -> None:
        """Take the place of names that went; report when others are refused than before."""
        while self._room:
            self._room = False
            for raw in list(self._chosen.refused):
                self._touch(raw)
                if self._chosen.is_full(len(self._by_raw)):
                    break
        if self._problem is not None and self._problem.reason is not Reason.REFUSED:
            return  # the directory's, until it is listed again
        problem = self._chosen.problem()
        if str(problem) != str(self._problem):
            self._report(None, there=True)

    def _touch(self, raw: bytes) -> None:
        named = self._by_raw.get(raw)
        if named is None:
            name = self._chosen.written(raw)
            if name is None or not self._is_accepted(raw, name):
                return
            named = Named(raw, name, self._clock())
            self._by_raw[raw] = self._by_name[name] = named
        self._look(named)

    def _is_accepted(self, raw: bytes, name: str) -> bool:
        try:
            self._path(raw).lstat()
        except OSError:
            self._chosen.refused.pop(raw, None)
            return False
        if not self._found:
            self._found = True
            self._say(_expect)
        return self._chosen.accept(raw, name, self._by_name, len(self._by_raw))

    def _path(self, raw: bytes) -> Path:
        return self._where / os.fsdecode(raw)

    def _look(self, named: Named) -> None:
        """Find out what a name stands for now."""
        named.due = None
        self._files.pop(named.name, None)
        try:
            identity = netns.look(self._path(named.raw), self._host[0])
        except FileNotFoundError:
            self._forget(named)
            return
        except OSError as error:
            self.failed(named.name, self._cannot(f"looking at {named.name} in", error))
            return
        if identity != named.identity:
            self._close(named)
        if identity is not None and identity not in (named.identity, self._host):
            self._queue[named.name] = None
            return
        self._queue.pop(named.name, None)
        if identity is None:
            self._wait(named)
        elif identity == self._host:
            self._clear(named)

    def _close(self, named: Named) -> None:
        if named.identity is not None:
            self.gone.append(named.name)
            named.identity = None
            named.since, named.delay_seconds = self._clock(), 0.0

    def _wait(self, named: Named) -> None:
        self._files[named.name] = None
        now = self._clock()
        if now - named.since < YOUNG_SECONDS:
            longer = max(FIRST_LOOK_SECONDS, 2 * named.delay_seconds)
            self._schedule(named, min(longer, SHORT_LOOK_SECONDS))
            return
        self._schedule(named, LONG_LOOK_SECONDS)
        silent_since = named.since + PATIENCE_SECONDS - RETRY_SECONDS
        if now - (silent_since if named.said is None else named.said) >= RETRY_SECONDS:
            detail = (
                f"{named.name} is not a network namespace here:"
                " do mounts of the host reach this process?"
            )
            self._fail(named, SourceError(Reason.ABSENT, detail))

    def _schedule(self, named: Named, delay_seconds: float) -> None:
        named.delay_seconds = delay_seconds
        named.due = self._clock() + delay_seconds
        heapq.heappush(self._timers, (named.due, named.name))

    def _fail(self, named: Named, error: SourceError) -> None:
        named.said = self._clock()
        self._say(lambda health: health.failed(error, named.name))

    def _clear(self, named: Named) -> None:
        if named.said is None:
            return
        named.said = None
        self._say(lambda health: health.clear(named.name))
        self._say_good()

    def _say_good(self) -> None:
        """Tell the health that it is well, unless the next to be opened will tell."""
        if self._problem is None and not self._queue:
            self._say(lambda health: health.good())

    def _forget(self, named: Named) -> None:
        del self._by_raw[named.raw], self._by_name[named.name]
        self._queue.pop(named.name, None)
        self._files.pop(named.name, None)
        self._close(named)
        if named.said is not None and self._queue:
            self._paused_until = float("-inf")  # another one has to show whether that still is so
        self._clear(named)
        self._room = bool(self._chosen.refused)


def _expect(health: SourceHealth) -> None:
    health.configured = True
