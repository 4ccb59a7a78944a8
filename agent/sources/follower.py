"""A peer that is followed in a thread of its own, from the event loop's side.

Its library parses in Python, or waits in its own way, or blocks while it looks up a name: in a
thread it costs its source and nothing else, whatever it does.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Mapping
from typing import Generic, Never, TypeVar

from agent.errors import Reason, SourceError
from agent.sources.handover import Handover

T = TypeVar("T")
Put = Callable[[T, Mapping[str, int]], None]
"""Takes what is known, and the events counted since the start; see ``Handover.put``."""

STOP_SECONDS = 1.0


class StoppedError(Exception):
    """The other end of the wake descriptor was closed: the thread is to end. No failure."""


class Follower(Generic[T]):
    """Runs what follows a peer in a thread, as often as it is asked to.

    Args:
        name: Of the thread.
        peer: What messages call the peer.
        follow: Runs in the thread: follows the peer and hands over what is known. Its first
            argument becomes readable when it is to end, which it does with StoppedError. What else
            it raises is raised by ``run``.
        publish: Gets what is known, in the event loop's thread.
        on_event: Gets the name of each event, likewise.
    """

    def __init__(
        self,
        name: str,
        peer: str,
        follow: Callable[[int, Put[T]], Never],
        publish: Callable[[T], None],
        on_event: Callable[[str], None],
    ) -> None:
        self._name = name
        self._peer = peer
        self._follow = follow
        self._publish = publish
        self._on_event = on_event
        self._stuck: threading.Thread | None = None

    async def run(self) -> Never:
        """Follow until that fails or this is cancelled.

        Raises:
            SourceError: If ``follow`` raised it, the thread of the last attempt is still stuck, or
                there are no more threads or descriptors.
        """
        if self._stuck is not None and self._stuck.is_alive():
            raise SourceError(Reason.TIMEOUT, f"{self._peer}: the last attempt is still stuck")
        handover = Handover(self._publish, self._on_event)
        # The thread ends when this end of the pipe is closed, and closes the other end itself: a
        # stuck thread that wakes up late then finds its own descriptor and nobody else's.
        try:
            told, tell = os.pipe()
        except OSError as error:  # no more descriptors
            raise SourceError(Reason.BROKEN, f"{self._peer}: {error.strerror}") from error
        worker = threading.Thread(
            target=self._work, args=(told, handover), name=self._name, daemon=True
        )
        try:
            worker.start()
        except RuntimeError as error:  # no more threads
            os.close(told)
            os.close(tell)
            raise SourceError(Reason.BROKEN, f"{self._peer}: {error}") from error
        try:
            raise await handover.failure
        finally:
            handover.close()
            os.close(tell)
            # Not wait_for() and not timeout(): in a task that is being cancelled Python 3.11's
            # lose the one or the other, and a process that is told to stop would not.
            await asyncio.wait({handover.finished}, timeout=STOP_SECONDS)
            self._stuck = None if handover.finished.done() else worker

    def _work(self, told: int, handover: Handover[T]) -> None:
        """Be the worker thread: follow the peer, say why that ended."""
        failure: Exception | None = None
        try:
            self._follow(told, handover.put)
        except StoppedError:
            pass
        except Exception as error:  # noqa: BLE001 (run() raises it, bug or not, in the main thread)
            failure = error
        finally:
            os.close(told)
            handover.end(failure)
