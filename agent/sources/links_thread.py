"""The thread that follows links and namespaces: waits for events, applies them, publishes.

It asks the kernel nothing that could make it wait; see ``room_opener``.
"""

import contextlib
import os
import select
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Never, Protocol

from agent.config import Settings
from agent.errors import Reason, SourceError
from agent.health import SourceHealth
from agent.model.namespace import HOST, Namespace
from agent.sources import netns
from agent.sources.known_links import KnownLinks
from agent.sources.named_namespaces import NamedNamespaces
from agent.sources.netlink_socket import OverflowedError, errors
from agent.sources.room_opener import Opened, RoomOpener
from agent.sources.rooms import Room, Rooms

MOUNTS = "/proc/thread-self/mountinfo"
DATAGRAMS = 64
"""Read from one namespace before others have their turn."""
PUBLISH_SECONDS = 0.01
"""Between two publications; the first change after a while is published at once."""
STEADY_SECONDS = 5.0
TELL_SECONDS = 300.0
REOPEN_SECONDS = 1.0
"""How long a room waits to be opened anew that overflowed soon after it was."""
ENTRIES_PART = "forwarding"
"""Part of source rtnetlink: the forwarding tables of the host's own namespace."""
MESSAGES_PART = "messages"
"""Part of source rtnetlink: messages that cannot be read and were passed over."""
OPENING_PART = "opening"
"""Part of source rtnetlink: a room that the kernel lets nobody open, and all that wait behind."""

SMALL_BUFFER = "room for few events: more needs CAP_NET_ADMIN"
"""What is not missing, and makes overflows likelier while many links change."""


class StoppedError(Exception):
    """The other end of the pipe was closed."""


class Receiver(Protocol):
    """Takes what the thread finds out; see ``rtnetlink``."""

    def put(self, namespaces: Mapping[str, Namespace], events: Mapping[str, int]) -> None:
        """Take what there is now, and the events counted since the start."""

    def settled(self) -> None:
        """Take that everything was opened that was there at the beginning, or cannot be."""

    def say_links(self, what: Callable[[SourceHealth], None]) -> None:
        """Take something to tell the health of source rtnetlink."""

    def say_netns(self, what: Callable[[SourceHealth], None]) -> None:
        """Take something to tell the health of source netns."""


@dataclass(slots=True, eq=False)
class Followed:
    """A namespace whose events are followed.

    Attributes:
        room: Open.
        known: What its events say.
        opened_at: Monotonic seconds.
    """

    room: Room
    known: KnownLinks
    opened_at: float


class LinksThread:
    """What the thread does; ``run`` is it.

    Args:
        settings: The configuration.
        rooms: Where rooms are put for the threads that read.
        wants: See ``RoomOpener``.
        told: The thread ends when the other end of this pipe is closed, and opens all rooms anew
            when something is written to it.
        receiver: Gets what is found out.
    """

    def __init__(
        self,
        settings: Settings,
        rooms: Rooms,
        wants: frozenset[str],
        told: int,
        receiver: Receiver,
    ) -> None:
        self._settings = settings
        self._rooms = rooms
        self._wants = wants
        self._told = told
        self._receiver = receiver
        self._followed: dict[str, Followed] = {}
        self._by_descriptor: dict[int, Followed] = {}
        self._published: dict[str, Namespace] = {}
        self._changed: set[str] = set()
        self._events: Counter[str] = Counter()
        self._stale: dict[str, float] = {HOST: 0.0}
        """Rooms to open anew, and when."""
        self._entries_told: dict[str, float] = {}
        """Namespaces with too many forwarding entries, and when to say so again."""
        self._refused_again_at = 0.0
        self._opening: str | None = None
        self._patience_until = 0.0
        """When it is said that ``_opening`` takes too long."""
        self._opening_told = False
        self._settled = False
        self._publish_at = 0.0
        self._watched: int | None = None

    def run(self) -> Never:
        """Follow everything.

        Raises:
            StoppedError: When told to end.
            SourceError: When the host's own namespace cannot be followed.
        """
        with contextlib.ExitStack() as stack:
            with errors("links"):
                self._epoll = stack.enter_context(contextlib.closing(select.epoll()))
                self._mounts = os.open(MOUNTS, os.O_RDONLY | os.O_CLOEXEC)
                stack.callback(os.close, self._mounts)
            self._opener = RoomOpener(self._settings, self._wants)
            stack.callback(self._opener.close)
            self._names = NamedNamespaces(
                self._settings, netns.home_identity(), self._receiver.say_netns
            )
            stack.callback(self._names.close)
            stack.callback(self._leave_all)
            for descriptor in (self._told, self._opener.fileno()):
                self._epoll.register(descriptor, select.EPOLLIN)
            self._epoll.register(self._mounts, select.EPOLLPRI)
            self._open_next()
            while True:
                self._round()

    def _round(self) -> None:
        for descriptor, _ in self._epoll.poll(self._timeout_seconds()):
            if descriptor == self._told:
                self._hear()
            elif descriptor == self._opener.fileno():
                for opened in self._opener.results():
                    self._take(opened)
            elif descriptor == self._mounts:
                self._names.mounted()
                self._leave_gone()
            elif descriptor == self._watched:
                self._names.read()
                self._leave_gone()
            elif descriptor in self._by_descriptor:
                self._follow(self._by_descriptor[descriptor])
        if HOST in self._followed:
            self._names.wake()
            self._leave_gone()
        self._watch()
        self._tell_of_entries()
        self._tell_of_opening()
        self._open_next()
        self._publish()

    def _timeout_seconds(self) -> float:
        now = time.monotonic()
        times = [self._publish_at] if self._changed and HOST in self._followed else []
        times += self._stale.values() if self._opening is None else [self._patience_until]
        times += self._entries_told.values()
        waits = [max(0.0, at - now) for at in times]
        if HOST in self._followed:
            waits.append(self._names.timeout_seconds())
        return min(waits, default=-1.0)

    def _hear(self) -> None:
        if not os.read(self._told, 1024):
            raise StoppedError
        self._stale |= dict.fromkeys(self._followed, 0.0)
        if self._opening is not None:
            self._stale[self._opening] = 0.0

    def _follow(self, followed: Followed) -> None:
        """Apply the events of a room."""
        name, known = followed.room.name, followed.known
        try:
            with errors(f"namespace {name}" if name else "links"):
                for message in followed.room.events.receive_events(DATAGRAMS):
                    known.apply(message)
        except OverflowedError:
            self._overflowed(followed)
        except SourceError as error:
            self._failed(name, error)
        self._note_changes(followed)

    def _note_changes(self, followed: Followed) -> None:
        known, name = followed.known, followed.room.name
        if known.changed and name in self._followed:
            self._changed.add(name)
        if known.events:
            self._events.update(known.events)
            known.events.clear()
        if known.too_many:
            self._entries_told.setdefault(name, 0.0)
        if known.refused is not None and time.monotonic() >= self._refused_again_at:
            # Health forgets it when nothing of the kind has come for a while.
            self._refused_again_at = time.monotonic() + TELL_SECONDS
            error = SourceError(Reason.MALFORMED, f"{name or 'links'}: {known.refused}")
            self._tell_links(error, MESSAGES_PART)
        known.refused = None

    def _tell_of_entries(self) -> None:
        """Say which namespaces have too many forwarding entries; again as long as that is so."""
        now = time.monotonic()
        limit = self._settings.limits.forwarding_entries
        for name in [name for name, at in self._entries_told.items() if at <= now]:
            self._entries_told[name] = now + TELL_SECONDS
            detail = f"more than {limit} forwarding entries (limits.forwarding_entries): none shown"
            error = SourceError(Reason.REFUSED, f"{name}: {detail}" if name else detail)
            if name == HOST:
                self._tell_links(error)
            else:
                self._names.problem(name, error)

    def _tell_links(self, error: SourceError, part: str = ENTRIES_PART) -> None:
        self._receiver.say_links(lambda health: health.failed(error, part))

    def _tell_of_opening(self) -> None:
        """Say that a question waits for the kernel; again as long as that is so.

        Each answer has its timeout. A question that does not even get into the kernel has none:
        it waits for the lock of all links.
        """
        now = time.monotonic()
        if self._opening is None or now < self._patience_until:
            return
        self._patience_until = now + TELL_SECONDS
        where = f"namespace {self._opening}" if self._opening else "links"
        seconds = self._settings.timeouts.netlink_seconds
        detail = f"opening {where} takes more than {seconds:g} s"
        self._tell_links(SourceError(Reason.TIMEOUT, detail), OPENING_PART)
        self._opening_told = True

    def _overflowed(self, followed: Followed) -> None:
        """Events were lost: have another room opened; until then readers use the old one."""
        self._events["overflow"] += 1
        self._changed.add(followed.room.name)  # for the event to be counted
        self._ignore(followed)
        now = time.monotonic()
        soon = now - followed.opened_at < STEADY_SECONDS
        self._stale[followed.room.name] = now + REOPEN_SECONDS if soon else now

    def _failed(self, name: str, error: SourceError) -> None:
        if name == HOST:
            raise error
        self._names.failed(name, error)
        self._leave_gone()

    def _open_next(self) -> None:
        """Give the opener its next room: one that lost events, and new ones in turn."""
        if self._opening is not None:
            return
        now = time.monotonic()
        for name in [name for name, at in self._stale.items() if at <= now]:
            del self._stale[name]
            path = self._names.path(name) if name else None
            if name == HOST or path is not None:  # else it went before it had its turn
                self._open(name, path)
                return
        if HOST in self._followed and self._names.waiting:
            name = self._names.next()
            self._open(name, self._names.path(name))

    def _open(self, name: str, path: Path | None) -> None:
        self._opening = name
        self._patience_until = time.monotonic() + self._settings.timeouts.netlink_seconds
        self._opener.open(name, path)

    def _take(self, opened: Opened) -> None:
        """Take what the opener did."""
        self._opening = None
        if self._opening_told or opened.name == HOST:  # an earlier run may have told
            self._opening_told = False
            self._receiver.say_links(lambda health: health.clear(OPENING_PART))
        if opened.error is not None and not isinstance(opened.error, SourceError):
            raise opened.error
        if opened.error is not None:
            self._failed(opened.name, opened.error)
        elif opened.room is None or opened.known is None:
            self._names.vanished(opened.name)
        elif opened.name == HOST or self._names.opened(opened.name, opened.room.identity):
            self._adopt(opened.room, opened.known)
            if opened.torn:
                self._stale.setdefault(opened.name, time.monotonic() + REOPEN_SECONDS)
        else:
            opened.room.leave()
        self._leave_gone()

    def _adopt(self, room: Room, known: KnownLinks) -> None:
        name = room.name
        before = self._followed.get(name)
        followed = Followed(room, known, time.monotonic())
        self._followed[name] = followed
        self._by_descriptor[room.events.fileno()] = followed
        self._epoll.register(room.events.fileno(), select.EPOLLIN)
        self._rooms.put(room)
        if before is not None:
            self._ignore(before)
            before.room.leave()
        elif name != HOST and self._settled:
            self._events["namespace_added"] += 1
        elif name == HOST:
            self._names.start()
            self._leave_gone()
            notes = (SMALL_BUFFER,) if room.events.small else ()
            self._receiver.say_links(lambda health: health.note(notes))
        if name == HOST and not known.too_many:
            self._receiver.say_links(lambda health: health.clear(ENTRIES_PART))
        self._entries_told.pop(name, None)
        self._changed.add(name)
        self._note_changes(followed)

    def _ignore(self, followed: Followed) -> None:
        """Wait no more for events of a room."""
        descriptor = followed.room.events.fileno()
        if self._by_descriptor.get(descriptor) is followed:
            del self._by_descriptor[descriptor]
            self._epoll.unregister(descriptor)

    def _leave_gone(self) -> None:
        while self._names.gone:
            name = self._names.gone.pop()
            followed = self._followed.pop(name, None)
            if followed is None:
                continue
            self._rooms.remove(name)
            self._ignore(followed)
            followed.room.leave()
            self._stale.pop(name, None)
            self._entries_told.pop(name, None)
            self._published.pop(name, None)
            self._events["namespace_removed"] += 1
            self._changed.add(name)

    def _leave_all(self) -> None:
        for name, followed in self._followed.items():
            self._rooms.remove(name)
            followed.room.leave()

    def _watch(self) -> None:
        """Wait for the directory, as soon and as long as it can be watched."""
        descriptor = self._names.fileno()
        if descriptor != self._watched and descriptor is not None:
            self._epoll.register(descriptor, select.EPOLLIN)
            self._watched = descriptor

    def _publish(self) -> None:
        now = time.monotonic()
        if HOST not in self._followed:
            return
        if self._changed and now >= self._publish_at:
            for name in self._changed:
                followed = self._followed.get(name)
                if followed is not None:
                    self._published[name] = followed.known.namespace()
            self._changed.clear()
            self._publish_at = now + PUBLISH_SECONDS
            self._receiver.put(dict(self._published), dict(self._events))
        if not (self._settled or self._changed or self._opening is not None or self._names.waiting):
            self._settled = True
            self._receiver.settled()
