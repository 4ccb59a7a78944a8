"""What passes from a thread that follows a peer to the event loop."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class Handover(Generic[T]):
    """The newest that is known, words, and the end.

    There is one place for what is known and at most one call scheduled, however slow the loop is.
    Assignments are atomic, and the order (the thread writes and then looks at the flag, the loop
    clears the flag and then reads) makes a lock unnecessary. Made in the loop.

    Args:
        publish: Gets what is known, in the event loop's thread; while the loop is busy, newer
            replaces older.
        on_event: Gets the name of each event, after the publication that contains the change.

    Attributes:
        failure: Why the thread ended, if it was not told to.
        finished: Done when the thread has ended, for whatever reason.
    """

    def __init__(self, publish: Callable[[T], None], on_event: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self.failure: asyncio.Future[Exception] = self._loop.create_future()
        self.finished: asyncio.Future[None] = self._loop.create_future()
        self._publish = publish
        self._on_event = on_event
        self._newest: tuple[T, Mapping[str, int]] | None = None
        self._delivered: tuple[T, Mapping[str, int]] | None = None
        self._said: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def put(self, known: T, events: Mapping[str, int]) -> None:
        """Take what is known, and the events counted since the start. Called by the thread."""
        self._newest = (known, events)
        self._schedule()

    def say(self, word: Callable[[], None]) -> None:
        """Take something to do in the loop, after what was put before. Called by the thread."""
        self._said.append(word)
        self._schedule()

    def end(self, error: Exception | None) -> None:
        """Take the reason for the end, ``None`` when it was asked for. Called by the thread."""
        self._call(self._end, error)

    def close(self) -> None:
        """Deliver nothing any more. Called by the loop, as the rest."""
        self.failure.cancel()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._call(self._deliver)

    def _call(self, function: Callable[..., None], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, nobody waits for it
            self._loop.call_soon_threadsafe(function, *args)

    def _deliver(self) -> None:
        self._scheduled = False
        if self.failure.done():
            return
        try:
            words = [self._said.popleft() for _ in range(len(self._said))]
            self._deliver_newest()
            for word in words:
                word()
        except Exception as error:  # noqa: BLE001 (a bug of the receiver: run() raises it)
            self.failure.set_result(error)

    def _deliver_newest(self) -> None:
        newest, before = self._newest, self._delivered
        if newest is None or newest is before:
            return
        self._delivered = newest
        known, events = newest
        counted = before[1] if before else {}
        self._publish(known)
        for event, count in events.items():
            for _ in range(count - counted.get(event, 0)):
                self._on_event(event)

    def _end(self, error: Exception | None) -> None:
        if not self.finished.done():
            self.finished.set_result(None)
        if error is not None and not self.failure.done():
            self.failure.set_result(error)
