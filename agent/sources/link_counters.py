"""Statistics of all links of all namespaces, read for a scrape."""

import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from agent.errors import ParseError, SourceError
from agent.health import SourceHealth
from agent.model.link import LinkCounters
from agent.model.namespace import Key
from agent.sources.netlink_socket import NetlinkSocket, source_error
from agent.sources.rooms import Room, Rooms
from agent.sources.rounds import PartHealth, ask_all, label
from agent.sources.worker import Worker
from agent.store import Store
from agent.wire.netlink.allowed import GETSTATS
from agent.wire.netlink.link_stats import REQUEST, LinkStats, parse_link_stats

LOOPBACK_INDEX = 1
"""LOOPBACK_IFINDEX: ``lo`` in every namespace, and nothing else (net/net_namespace.h)."""

_Answers = list[tuple[Room, list[bytes]]]


class LinkCountersReader:
    """Brings the statistics of every link but ``lo`` into the store.

    Args:
        rooms: The namespaces that are open.
        store: Takes the reading.
        health: Of rtnetlink; the parts here are ``counters`` and ``counters NAME``.
        timeout_seconds: For all namespaces together.
    """

    def __init__(
        self, rooms: Rooms, store: Store, health: SourceHealth, timeout_seconds: float
    ) -> None:
        self._rooms = rooms
        self._store = store
        self._health = PartHealth(health, "counters")
        self._timeout_seconds = timeout_seconds
        self._worker = Worker("link counters")
        self._rows = _Rows()

    async def read(self) -> None:
        """Read everything once; what was said before is withdrawn when nothing can be read."""
        began, taken = time.perf_counter(), self._store.clock()
        try:
            counters, failed = await self._worker.call(self._round, self._timeout_seconds)
        except SourceError as error:
            self._store.link_counters.withdraw()
            self._health.failed(error)
            return
        self._store.link_counters.replace(counters, taken)
        self._health.done(failed, time.perf_counter() - began, read=counters is not None)

    def close(self) -> None:
        """Let the thread end."""
        self._worker.close()

    def _round(self) -> tuple[LinkCounters | None, dict[str, SourceError]]:
        found, failed = ask_all(
            self._rooms.all(), lambda room: room.counters, _ask, self._timeout_seconds
        )
        try:
            stats = parse_link_stats([answer for _, answer in found])
        except ParseError:
            found, malformed = _well_formed(found)
            failed |= malformed
            stats = parse_link_stats([answer for _, answer in found])
        if not found:
            return None, failed
        return self._rows.counters([room for room, _ in found], stats), failed


class _Rows:
    """Gives rows their names, and the same names while the same links are there."""

    def __init__(self) -> None:
        self._keys: Mapping[str, Key] = {}
        self._owners: NDArray[np.intp] = np.empty(0, np.intp)
        self._indexes: NDArray[np.uint32] = np.empty(0, np.uint32)
        self._links: tuple[tuple[str, int], ...] = ()

    def counters(self, rooms: Sequence[Room], stats: LinkStats) -> LinkCounters:
        keys = {room.name: room.key for room in rooms}
        shown = stats.indexes != LOOPBACK_INDEX
        owners, indexes = stats.owners[shown], stats.indexes[shown]
        if not (
            self._keys == keys
            and np.array_equal(self._owners, owners)
            and np.array_equal(self._indexes, indexes)
        ):
            self._keys, self._owners, self._indexes = keys, owners, indexes
            self._links = tuple(
                (rooms[owner].name, index)
                for owner, index in zip(owners.tolist(), indexes.tolist(), strict=True)
            )
        return LinkCounters(self._links, stats.numbers[shown], self._keys)


def _ask(socket: NetlinkSocket) -> list[bytes]:
    return socket.whole(GETSTATS, REQUEST)


def _well_formed(found: _Answers) -> tuple[_Answers, dict[str, SourceError]]:
    """Find out whose answers cannot be read, when all together cannot."""
    good: _Answers = []
    bad: dict[str, SourceError] = {}
    for room, answer in found:
        try:
            parse_link_stats([answer])
        except ParseError as error:
            bad[label(room)] = source_error(label(room), error)
        else:
            good.append((room, answer))
    return good, bad
