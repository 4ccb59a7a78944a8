"""What is open in each network namespace, entered once by one thread and read by others.

An open socket keeps a namespace alive, with all its devices, after ``ip netns delete``: what is
open here must be closed as soon as the name is gone, and never while another thread is using it,
because the descriptor's number may by then be somebody else's.
"""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from agent.model.namespace import Key
from agent.sources.conntrack_files import ConntrackFiles
from agent.sources.netlink_socket import NetlinkSocket


class Closable(Protocol):
    """Anything with a close that is safe to call twice."""

    def close(self) -> None:
        """Close it."""


C = TypeVar("C", bound=Closable)


class Held(Generic[C]):
    """Something that one thread uses and another closes.

    Args:
        resource: What; nobody else may close it.
    """

    def __init__(self, resource: C) -> None:
        self._resource = resource
        self._lock = threading.Lock()
        self._retired = False

    @contextlib.contextmanager
    def using(self) -> Iterator[C | None]:
        """Give the resource to the one thread that uses it; ``None`` when it was retired."""
        try:
            with self._lock:
                yield None if self._retired else self._resource
        finally:
            self._close_if_retired()

    def retire(self) -> None:
        """Close it: now, or when the thread that uses it is done. Never waits."""
        self._retired = True
        self._close_if_retired()

    def _close_if_retired(self) -> None:
        # Both threads look after both have said what they do: one of them closes.
        if self._retired and self._lock.acquire(blocking=False):
            try:
                self._resource.close()
            finally:
                self._lock.release()


@dataclass(frozen=True, slots=True)
class Room:
    """One network namespace, open. ``None`` is what no enabled collector needs, or is not there.

    Attributes:
        name: Of the namespace, ``HOST`` for the host's own.
        identity: Device and inode of the namespace's file: a name that is used again is another.
        cookie: The kernel's own number of the namespace; 0 where it does not say.
        events: Subscribed; belongs to the thread that follows them.
        counters: For RTM_GETSTATS.
        qdiscs: For RTM_GETQDISC.
        conntrack: Files of connection tracking.
    """

    name: str
    identity: tuple[int, int]
    events: NetlinkSocket
    counters: Held[NetlinkSocket] | None = None
    qdiscs: Held[NetlinkSocket] | None = None
    conntrack: Held[ConntrackFiles] | None = None
    cookie: int = 0

    @property
    def key(self) -> Key:
        """What tells this namespace from all others that there ever were.

        The next namespace gets the inode of one that is gone; a cookie is never used again.
        """
        return (*self.identity, self.cookie)

    def leave(self) -> None:
        """Close everything. By the thread that follows the events."""
        self.events.close()
        for held in (self.counters, self.qdiscs, self.conntrack):
            if held is not None:
                held.retire()


class Rooms:
    """The rooms that are open now. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rooms: dict[str, Room] = {}

    def put(self, room: Room) -> None:
        """Add a room, instead of one of the same name, which its maker leaves."""
        with self._lock:
            self._rooms[room.name] = room

    def remove(self, name: str) -> None:
        """Forget a room, if it is there."""
        with self._lock:
            self._rooms.pop(name, None)

    def all(self) -> list[Room]:
        """Return the rooms, the host's own first, then by name."""
        with self._lock:
            return [self._rooms[name] for name in sorted(self._rooms)]
