"""Drops of queueing disciplines in all namespaces, read for a scrape."""

import time

import numpy as np

from agent.errors import SourceError
from agent.health import SourceHealth
from agent.model.link import Qdisc
from agent.model.namespace import Key
from agent.sources.ledger32 import Ledgers
from agent.sources.link_counters import LOOPBACK_INDEX
from agent.sources.netlink_socket import NetlinkSocket
from agent.sources.rooms import Rooms
from agent.sources.rounds import PartHealth, ask_all
from agent.sources.worker import Worker
from agent.store import Store
from agent.wire.netlink.allowed import GETQDISC
from agent.wire.netlink.qdiscs import REQUEST, QdiscDrops, parse_qdiscs

_Key = tuple[Key, int, int, int, str]


class QdiscsReader:
    """Brings the drops of every root and ingress discipline into the store.

    Args:
        rooms: The namespaces that are open.
        store: Takes the reading.
        health: Of rtnetlink; the parts here are ``qdiscs`` and ``qdiscs NAME``.
        timeout_seconds: For all namespaces together.
        from_figures: Begin at the kernel's figures, see ``Ledgers``.
    """

    def __init__(
        self,
        rooms: Rooms,
        store: Store,
        health: SourceHealth,
        timeout_seconds: float,
        *,
        from_figures: bool = False,
    ) -> None:
        self._rooms = rooms
        self._store = store
        self._health = PartHealth(health, "qdiscs")
        self._timeout_seconds = timeout_seconds
        self._worker = Worker("qdiscs")
        self._ledgers: Ledgers[_Key] = Ledgers(from_figures=from_figures)

    async def read(self) -> None:
        """Read everything once; what was said before is withdrawn when nothing can be read."""
        began, taken = time.perf_counter(), self._store.clock()
        try:
            qdiscs, failed = await self._worker.call(self._round, self._timeout_seconds)
        except SourceError as error:
            self._store.qdiscs.withdraw()
            self._health.failed(error)
            return
        self._store.qdiscs.replace(qdiscs, taken)
        self._health.done(failed, time.perf_counter() - began, read=qdiscs is not None)

    def close(self) -> None:
        """Let the thread end."""
        self._worker.close()

    def _round(self) -> tuple[tuple[Qdisc, ...] | None, dict[str, SourceError]]:
        rooms = self._rooms.all()
        found, failed = ask_all(rooms, lambda room: room.qdiscs, _ask, self._timeout_seconds)
        if not found:
            return None, failed
        read = {room.key for room, _ in found}
        booked: set[_Key] = set()
        qdiscs: list[Qdisc] = []
        for room, drops in found:
            for one in drops:
                if one.index != LOOPBACK_INDEX:
                    key = (room.key, one.index, one.handle, one.parent, one.kind)
                    booked.add(key)
                    (dropped,) = self._ledgers.book(key, np.array([[one.drops]], np.uint32))
                    qdiscs.append(Qdisc(room.name, one.index, one.kind, dropped, room.key))
        unread = {room.key for room in rooms} - read
        self._ledgers.keep(lambda key: key in booked or key[0] in unread)
        return tuple(qdiscs), failed


def _ask(socket: NetlinkSocket) -> list[QdiscDrops]:
    return parse_qdiscs(socket.whole(GETQDISC, REQUEST))
