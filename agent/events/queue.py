"""Events that wait to be sent: numbered when they happen, bounded, the oldest dropped first."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from agent.events.change import Change


@dataclass(frozen=True, slots=True)
class Event:
    """A change with its place in the order of all.

    Attributes:
        sequence: 1 for the first of the process, one more for each; also for what is dropped
            later, so that a consumer sees what it missed.
        time_seconds: When it became known, Unix time.
        change: What has changed.
    """

    sequence: int
    time_seconds: float
    change: Change


class EventQueue:
    """Between who finds out and who sends. Belongs to the event loop's thread.

    Args:
        limit: How many events wait, with those that are being sent.
        clock: Unix time.

    Attributes:
        filled: Set while there is something to take.
        dropped: Events that will never be sent: the oldest beyond the limit, and refused ones.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.time) -> None:
        self.filled = asyncio.Event()
        self.dropped = 0
        self._limit = limit
        self._clock = clock
        self._sequence = 0
        self._waiting: deque[Event] = deque()
        self._taken: deque[Event] = deque()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._taken)

    def put(self, changes: Iterable[Change]) -> None:
        """Take changes, in this order, all of now."""
        now = self._clock()
        for each in changes:
            self._sequence += 1
            self._waiting.append(Event(self._sequence, now, each))
        self._trim()

    def take(self, count: int) -> list[Event]:
        """Return the next events, to be sent: at most so many, the oldest first."""
        taken = [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]
        self._taken.extend(taken)
        self._show()
        return taken

    def confirm(self, count: int) -> None:
        """Take that the first so many of those that were taken have been sent."""
        for _ in range(count):
            self._taken.popleft()

    def give_back(self) -> None:
        """Take that the others have not, or nobody knows: they are next."""
        while self._taken:
            self._waiting.appendleft(self._taken.pop())
        self._trim()

    def refused(self, count: int) -> None:
        """Count events that were sent and not accepted."""
        self.dropped += count

    def _trim(self) -> None:
        while self._waiting and len(self) > self._limit:
            self._waiting.popleft()
            self.dropped += 1
        self._show()

    def _show(self) -> None:
        if self._waiting:
            self.filled.set()
        else:
            self.filled.clear()
