"""What the thread that speaks to libvirt is told, and what it tells."""

import asyncio
import contextlib
import queue
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from agent.errors import SourceError
from agent.model.domain import DomainCounters, Domains


@dataclass(frozen=True, slots=True)
class Stop:
    """Nobody wants to know any more."""


@dataclass(frozen=True, slots=True)
class Heard:
    """An event of a domain.

    Attributes:
        name: Its name in metrics.
        uuid: The domain's.
        changed: Whether the domain has to be read again.
        left: It was stopped because it has moved to another node.
    """

    name: str
    uuid: str
    changed: bool
    left: bool = False


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection has ended: virConnectCloseReason."""

    reason: int


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """A scrape asks for counters."""

    answer: "asyncio.Future[DomainCounters | SourceError]"


Word = Stop | Heard | Closed | Ask


class Inbox:
    """What the thread is told, by any thread; nothing more once it is told to stop.

    A thread that libvirt holds up hears nothing, while events may go on for hours.
    """

    def __init__(self) -> None:
        self._words: queue.SimpleQueue[Word] = queue.SimpleQueue()
        self._stopped = False

    def put(self, word: Word) -> None:
        """Say something."""
        if not self._stopped:
            self._words.put(word)

    def stop(self) -> None:
        """Say that nobody wants to know any more, and that it was the last word."""
        self._stopped = True
        self._words.put(Stop())

    def get(self, seconds: float) -> Word:
        """Return the next word; wait for it so long, not at all with 0 or less.

        Raises:
            queue.Empty: If nothing was said.
        """
        if seconds > 0:
            return self._words.get(timeout=seconds)
        return self._words.get_nowait()


@dataclass(frozen=True, slots=True)
class Told:
    """All that is known of the domains.

    Attributes:
        domains: By uuid; one whose XML cannot be read is there without interfaces and owner.
        problems: Why a domain cannot be read, by its name; another error each time it was tried.
        beyond: How many domains are left out because there are too many.
        left: uuids of domains that have moved to another node, the last ones.
    """

    domains: Domains
    problems: Mapping[str, SourceError] = field(default_factory=dict)
    beyond: int = 0
    left: frozenset[str] = frozenset()


class Asking:
    """What the thread waits for, for whoever watches it. Assignments are atomic."""

    def __init__(self) -> None:
        self._current: tuple[str, float] | None = None

    @contextlib.contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Note what libvirt is asked for, while it is."""
        self._current = what, time.monotonic()
        try:
            yield
        finally:
            self._current = None

    def late(self, timeout_seconds: float) -> str | None:
        """Return what has been asked for so long without an answer."""
        current = self._current
        if current is None or time.monotonic() - current[1] < timeout_seconds:
            return None
        return current[0]
