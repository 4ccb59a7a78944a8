"""Links and namespaces of the kernel, followed by events (rtnetlink(7), inotify(7)).

A subscription in each namespace says what changes; nothing is asked again unless the kernel lost
events. Two threads do it, because netlink and namespaces block: ``links_thread`` waits for events
and hands immutable values to the event loop, ``room_opener`` enters namespaces and reads what was
there before.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from typing import Never

from agent.config import Settings
from agent.errors import Reason, SourceError
from agent.health import SourceHealth
from agent.model.namespace import Namespace
from agent.sources.handover import Handover
from agent.sources.links_thread import LinksThread, StoppedError
from agent.sources.rooms import Rooms

STOP_SECONDS = 1.0

_NETNS_EVENTS = frozenset({"namespace_added", "namespace_removed"})


class RtnetlinkSource:
    """Follows the links of the host and of the named namespaces.

    Args:
        settings: The configuration.
        rooms: Where open namespaces are put for readers, and removed from as soon as they go.
        wants: What is needed of a namespace besides its links: links, qdiscs, conntrack (the
            readers' names), addresses.
        publish: Gets all namespaces by name, ``HOST`` always among them, when they are known and
            after changes. While the loop is busy, newer ones replace older ones.
        links_health: Of source rtnetlink: its part forwarding, and events ``link_added``,
            ``link_changed``, ``link_removed``, ``address_added``, ``address_removed``,
            ``forwarding_added``, ``forwarding_removed``, ``overflow``. The rest is for whoever
            publishes and calls ``run``.
        netns_health: Of source netns: the directory, a part for each namespace, events
            ``namespace_added`` and ``namespace_removed``; configured once there is a namespace.

    Attributes:
        complete: Whether all that was there when ``run`` was called is published; then all is
            published once more.
        settled: Set once all that was there at the start is published or cannot be, or the
            subscription failed.
    """

    def __init__(
        self,
        settings: Settings,
        rooms: Rooms,
        wants: frozenset[str],
        publish: Callable[[Mapping[str, Namespace]], None],
        links_health: SourceHealth,
        netns_health: SourceHealth,
    ) -> None:
        self.settled = asyncio.Event()
        self.complete = False
        self._settings = settings
        self._rooms = rooms
        self._wants = wants
        self._publish = publish
        self._links_health = links_health
        self._netns_health = netns_health
        self._stuck: threading.Thread | None = None
        self._lock = threading.Lock()
        self._tell: int | None = None

    async def run(self) -> Never:
        """Follow everything until cancelled.

        Raises:
            SourceError: When the host's own namespace cannot be followed.
        """
        try:
            await self._run()
        finally:
            self.settled.set()

    def reopen(self) -> None:
        """Open all rooms anew: there is something in them that was not. Safe from any thread."""
        with self._lock:
            if self._tell is not None:
                # a pipe that is full says it already
                with contextlib.suppress(BlockingIOError):
                    os.write(self._tell, b"r")

    def _settle(self) -> None:
        """Take that the beginning is over."""
        self.complete = True
        self.settled.set()

    async def _run(self) -> Never:
        if self._stuck is not None and self._stuck.is_alive():
            raise SourceError(Reason.TIMEOUT, "links: the last attempt is still stuck")
        self.complete = False
        handover = _Handover(self._publish, self._links_health, self._netns_health, self._settle)
        # The thread ends when this end of the pipe is closed, and closes the other end itself: a
        # stuck thread that wakes up late then finds its own descriptor and nobody else's.
        try:
            told, tell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:  # no more descriptors
            raise SourceError(Reason.BROKEN, f"links: {error.strerror}") from error
        thread = LinksThread(self._settings, self._rooms, self._wants, told, handover)
        worker = threading.Thread(
            target=_work, args=(thread, told, handover), name="links", daemon=True
        )
        try:
            worker.start()
        except RuntimeError as error:  # no more threads
            os.close(told)
            os.close(tell)
            raise SourceError(Reason.BROKEN, f"links: {error}") from error
        with self._lock:
            self._tell = tell
        try:
            raise await handover.failure
        finally:
            handover.close()
            with self._lock:
                self._tell = None
                os.close(tell)
            # Not wait_for() and not timeout(): in a task that is being cancelled Python 3.11's
            # lose the one or the other, and a process that is told to stop would not.
            await asyncio.wait({handover.finished}, timeout=STOP_SECONDS)
            self._stuck = None if handover.finished.done() else worker


def _work(thread: LinksThread, told: int, handover: "_Handover") -> None:
    """Be the worker thread: follow, say why that ended."""
    failure: Exception | None = None
    try:
        thread.run()
    except StoppedError:
        pass
    except Exception as error:  # noqa: BLE001 (run() raises it, bug or not, in the main thread)
        failure = error
    finally:
        os.close(told)
        handover.end(failure)


class _Handover(Handover[Mapping[str, Namespace]]):
    """What passes from the thread to the event loop; the thread calls all of it."""

    def __init__(
        self,
        publish: Callable[[Mapping[str, Namespace]], None],
        links_health: SourceHealth,
        netns_health: SourceHealth,
        settle: Callable[[], None],
    ) -> None:
        super().__init__(publish, self._count)
        self._links_health = links_health
        self._netns_health = netns_health
        self._settle = settle

    def settled(self) -> None:
        """Take that the beginning is over."""
        self.say(self._say_all)

    def _say_all(self) -> None:
        """Publish once more, now that it is all there was."""
        self._settle()
        if self._delivered is not None:
            self._publish(self._delivered[0])

    def say_links(self, what: Callable[[SourceHealth], None]) -> None:
        """Take something to tell the health of source rtnetlink."""
        self.say(lambda: what(self._links_health))

    def say_netns(self, what: Callable[[SourceHealth], None]) -> None:
        """Take something to tell the health of source netns."""
        self.say(lambda: what(self._netns_health))

    def _count(self, event: str) -> None:
        health = self._netns_health if event in _NETNS_EVENTS else self._links_health
        health.event(event)
