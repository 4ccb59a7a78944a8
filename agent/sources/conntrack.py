"""Connection tracking of all namespaces, read for a scrape."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from agent.errors import Reason, SourceError
from agent.health import SourceHealth
from agent.model.namespace import HOST, ConntrackTable, Key
from agent.sources.conntrack_files import MODULES, ConntrackFiles, ConntrackReading
from agent.sources.ledger32 import Ledgers
from agent.sources.rooms import Room, Rooms
from agent.sources.rounds import PartHealth, ask_all, label
from agent.sources.worker import Worker
from agent.store import Store
from agent.wire.netlink.conntrack import COLUMNS

MODULE = "nf_conntrack"


class _Round(NamedTuple):
    """What a round brought; ``tables`` is ``None`` when there was nobody to ask."""

    tables: tuple[ConntrackTable, ...] | None
    failed: dict[str, SourceError]
    unopened: bool


class ConntrackReader:
    """Brings entries, limit and statistics of every namespace into the store.

    Args:
        rooms: The namespaces that are open.
        store: Takes the reading.
        health: Of connection tracking; the parts here are ``tables`` and ``tables NAME``.
        timeout_seconds: For all namespaces together.
        on_appeared: Called once when the kernel has connection tracking and the host's room was
            opened before it had: whoever opens rooms must open them again.
        from_figures: Begin at the kernel's figures, see ``Ledgers``.
        modules: Directory of loaded modules.
    """

    def __init__(
        self,
        rooms: Rooms,
        store: Store,
        health: SourceHealth,
        timeout_seconds: float,
        on_appeared: Callable[[], None],
        *,
        from_figures: bool = False,
        modules: Path = MODULES,
    ) -> None:
        self._rooms = rooms
        self._store = store
        self._source = health
        self._health = PartHealth(health, "tables")
        self._timeout_seconds = timeout_seconds
        self._on_appeared = on_appeared
        self._told = False
        self._module = modules / MODULE
        self._worker = Worker("conntrack")
        self._ledgers: Ledgers[Key] = Ledgers(from_figures=from_figures)

    async def read(self) -> None:
        """Read everything once; what was said before is withdrawn when nothing can be read."""
        began, taken = time.perf_counter(), self._store.clock()
        try:
            done = await self._worker.call(self._round, self._timeout_seconds)
        except SourceError as error:
            self._store.conntrack_tables.withdraw()
            self._health.failed(error)
            return
        if done.tables or done.failed:
            self._source.configured = True
        self._store.conntrack_tables.replace(done.tables, taken)
        self._health.done(done.failed, time.perf_counter() - began, read=bool(done.tables))
        self._tell(unopened=done.unopened)

    def close(self) -> None:
        """Let the thread end."""
        self._worker.close()

    def _tell(self, *, unopened: bool) -> None:
        if unopened and not self._told:
            self._on_appeared()
        self._told = unopened

    def _round(self) -> _Round:
        rooms = self._rooms.all()
        found, failed = ask_all(rooms, lambda room: room.conntrack, _read, self._timeout_seconds)
        # Files that are gone from an open namespace: the module was unloaded, which is no failure.
        gone = {name for name, error in failed.items() if error.reason is Reason.ABSENT}
        failed = {name: error for name, error in failed.items() if name not in gone}
        tables = tuple(self._table(room, reading) for room, reading in found)
        for room, reading in found:
            if reading.problem is not None:
                failed[label(room)] = reading.problem
        if rooms:  # else nobody follows namespaces now, which does not end them
            living = {room.key for room in rooms}
            self._ledgers.keep(lambda key: key in living)
        known = bool(tables) or (bool(rooms) and not failed)
        return _Round(tables if known else None, failed, self._is_unopened(rooms, gone))

    def _is_unopened(self, rooms: list[Room], gone: set[str]) -> bool:
        """Say whether the kernel has connection tracking and the host's room has no files of it."""
        hosts = [room for room in rooms if room.name == HOST]
        without = any(room.conntrack is None or label(room) in gone for room in hosts)
        return without and self._module.exists()

    def _table(self, room: Room, reading: ConntrackReading) -> ConntrackTable:
        statistics = reading.statistics or {}
        names = [name for name in COLUMNS if name in statistics]
        totals: dict[str, int] = {}
        if names:
            figures = np.stack([statistics[name] for name in names])
            totals = dict(zip(names, self._ledgers.book(room.key, figures), strict=True))
        return ConntrackTable(
            room.name, reading.entries, reading.entries_limit, **totals, key=room.key
        )


def _read(files: ConntrackFiles) -> ConntrackReading:
    return files.read()
