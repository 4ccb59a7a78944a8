"""Opens rooms in a thread of its own: enters a namespace, opens what is needed, reads all there is.

Each question waits for the kernel's lock of all links, which the deletion of namespaces holds for
long. The events of rooms that are open must not wait with it.
"""

import contextlib
import errno
import os
import queue
import resource
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.config import Settings
from agent.errors import Reason, SourceError
from agent.model.namespace import HOST
from agent.sources import netns
from agent.sources.conntrack_files import ConntrackFiles
from agent.sources.known_links import KnownLinks
from agent.sources.netlink_socket import NetlinkSocket, errors
from agent.sources.rooms import Held, Room
from agent.wire.netlink.addresses import ADDRESSES
from agent.wire.netlink.allowed import GETADDR, GETLINK, GETNEIGH, ROUTE
from agent.wire.netlink.forwarding import FORWARDING, ONLY_FORWARDING
from agent.wire.netlink.header import messages
from agent.wire.netlink.links import LINKS

RTNLGRP_LINK, RTNLGRP_NEIGH = 1, 3
RTNLGRP_ADDRESSES = (5, 9)
"""RTNLGRP_IPV4_IFADDR and RTNLGRP_IPV6_IFADDR (linux/rtnetlink.h)."""
KEPT_DESCRIPTORS = 128
"""Not for namespaces: without any, no scrape could be answered and no other peer be asked."""


@dataclass(frozen=True, slots=True)
class Opened:
    """How an attempt ended: with both ``room`` and ``known``, an ``error``, or neither.

    Attributes:
        name: Of the namespace.
        room: Open and subscribed; whoever gets it leaves it.
        known: What was there when it was opened, or later: events repeat what came meanwhile.
        error: SourceError for this namespace, anything else for the thread, which has ended.
        torn: Links or addresses changed whenever they were read: one that was passed over while
            the list moved makes no event, so they must be read again.
    """

    name: str
    room: Room | None = None
    known: KnownLinks | None = None
    error: Exception | None = None
    torn: bool = False


class RoomOpener:
    """The thread. All methods are for the one other thread that uses it.

    Args:
        settings: Limits and timeouts.
        wants: Names of the readers that need something in rooms: links, qdiscs, conntrack; and
            addresses.

    Raises:
        SourceError: If there are no more descriptors or threads.
    """

    def __init__(self, settings: Settings, wants: frozenset[str]) -> None:
        self._settings = settings
        self._wants = wants
        self._jobs: queue.SimpleQueue[tuple[str, Path | None] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Opened] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="netns", daemon=True)
        with errors("opening namespaces"):
            self._ready = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads
            os.close(self._ready)
            raise SourceError(Reason.BROKEN, f"opening namespaces: {error}") from error

    def fileno(self) -> int:
        """Return a descriptor that is readable when there are results."""
        return self._ready

    def open(self, name: str, path: Path | None = None) -> None:
        """Ask for a room; one at a time. Without a path it is the host's own."""
        self._jobs.put((name, path))

    def results(self) -> Iterator[Opened]:
        """Yield how attempts ended."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._ready)
        while True:
            try:
                yield self._results.get_nowait()
            except queue.Empty:
                return

    def close(self) -> None:
        """End the thread and leave what it opened for nobody. Waits for what it does now."""
        self._jobs.put(None)
        self._thread.join()
        for opened in self.results():
            if opened.room is not None:
                opened.room.leave()
        os.close(self._ready)

    def _run(self) -> None:
        try:
            entrance = netns.Entrance()
            try:
                while (job := self._jobs.get()) is not None:
                    self._give(self._attempt(entrance, *job))
            finally:
                entrance.close()
        except Exception as error:  # noqa: BLE001 (the thread that asked raises it)
            self._give(Opened(HOST, error=error))

    def _give(self, opened: Opened) -> None:
        self._results.put(opened)
        os.eventfd_write(self._ready, 1)

    def _attempt(self, entrance: netns.Entrance, name: str, path: Path | None) -> Opened:
        try:
            with errors(f"namespace {name}" if path else "links"), contextlib.ExitStack() as undo:
                if path:
                    room, socket = self._enter(entrance, name, path, undo)
                else:
                    room, socket = self._furnish(name, netns.home_identity(), undo)
                known = KnownLinks(
                    name,
                    self._settings.limits.forwarding_entries,
                    addresses="addresses" in self._wants,
                    key=room.key,
                )
                torn = self._read(socket, known)
                socket.close()
                undo.pop_all()
        except netns.GoneError:
            return Opened(name)
        except SourceError as error:
            return Opened(name, error=error)
        return Opened(name, room, known, torn=torn)

    def _enter(
        self, entrance: netns.Entrance, name: str, path: Path, undo: contextlib.ExitStack
    ) -> tuple[Room, NetlinkSocket]:
        with netns.opened(path) as descriptor:
            identity = netns.identity_of(os.fstat(descriptor))
            with entrance.inside(descriptor, name):
                room, socket = self._furnish(name, identity, undo)
        _keep_some(socket.fileno())
        return room, socket

    def _furnish(
        self, name: str, identity: netns.Identity, undo: contextlib.ExitStack
    ) -> tuple[Room, NetlinkSocket]:
        """Open everything, in the namespace in which the thread is; also a socket for dumps."""

        def socket() -> NetlinkSocket:
            made = NetlinkSocket(ROUTE, self._settings.timeouts.netlink_seconds)
            undo.callback(made.close)
            return made

        events = socket()
        addresses = RTNLGRP_ADDRESSES if "addresses" in self._wants else ()
        events.subscribe(RTNLGRP_LINK, RTNLGRP_NEIGH, *addresses, filtered=ONLY_FORWARDING)
        files = None
        if "conntrack" in self._wants:
            seconds = self._settings.timeouts.netlink_seconds
            files = ConntrackFiles.open(timeout_seconds=seconds)
        if files is not None:
            undo.callback(files.close)
        room = Room(
            name=name,
            identity=identity,
            events=events,
            counters=Held(socket()) if "links" in self._wants else None,
            qdiscs=Held(socket()) if "qdiscs" in self._wants else None,
            conntrack=Held(files) if files is not None else None,
            cookie=events.cookie(),
        )
        return room, socket()

    def _read(self, socket: NetlinkSocket, known: KnownLinks) -> bool:
        """Read all there is; say whether that never was the same from beginning to end."""
        torn = False
        questions = [(GETLINK, LINKS)]
        if "addresses" in self._wants:
            questions.append((GETADDR, ADDRESSES))
        for question in questions:
            for message in socket.dump(*question):
                known.apply(message)
            torn |= socket.interrupted
        for data in socket.datagrams(GETNEIGH, FORWARDING):
            for message in messages(data):
                known.apply(message)
            if known.too_many:
                break  # the socket is closed with the rest unread
        known.events.clear()  # that was no event
        return torn


def _keep_some(descriptor: int) -> None:
    """Refuse the last descriptors: the kernel gives out the lowest that is free (open(2)).

    Raises:
        OSError: EMFILE.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and descriptor >= limit - min(KEPT_DESCRIPTORS, limit // 4):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
