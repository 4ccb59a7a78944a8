"""What grew between two readings of a bridge, among the flows that deliver nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.drops.report import BOOKED, Grown, Growth, Unseen
from agent.model.bridge import TableStats
from agent.model.flow import ABSENT, KINDS, UNKNOWN, Counts, FlowReading, TableFlows
from agent.model.instance import InstanceInterface
from agent.model.switch import Interface

LOST = "lost"
CODES = {KINDS.index(kind): kind for kind in BOOKED}

Places = NDArray[np.int64]
"""Indexes of flows, ascending."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A bridge, read once.

    Attributes:
        taken_seconds: When its flows were asked for, by a monotonic clock.
        reading: Its flows, judged.
        tables: Its table statistics, read next to the flows; ``None`` if that failed.
    """

    taken_seconds: float
    reading: FlowReading
    tables: tuple[TableStats, ...] | None


def obstacle(first: Snapshot, second: Snapshot) -> str | None:
    """Say why two readings of a bridge cannot be compared; ``None`` if they can."""
    if first.tables is None or second.tables is None:
        return "its table statistics could not be read"
    now = {table.table_id: table.matches for table in second.tables}
    processes = {first.reading.process, second.reading.process} - {None}
    fell = any(now.get(table.table_id, 0) < table.matches for table in first.tables)
    if fell or len(processes) > 1:
        return "ovs-vswitchd or the bridge was started anew in between, its counters began at 0"
    if any(table.table_id not in second.reading.fate.kinds for table in second.reading.tables):
        return "the database no longer says what its ports are, so its flows cannot be judged"
    return None


def compare(
    first: Snapshot,
    second: Snapshot,
    ports: Mapping[int, Interface],
    only: frozenset[int] | None = None,
    instances: Mapping[str, InstanceInterface] | None = None,
) -> Growth:
    """Compare two readings of a bridge.

    The growth of a flow is what it is for the ledgers of dropped packets (``pipelines/ledger.py``):
    from 0 if it was not there before or was set to zero, all it has if it has less than before,
    none if a number is not known. Of a flow that was judged otherwise before, because it or what
    it leads to was changed in place, nobody can tell which packets came before the change.

    Args:
        first: The earlier one.
        second: The next one, without an obstacle: its flows refer to the first, its judgement
            counts.
        ports: Interfaces by OpenFlow port number.
        only: Ports whose flows are wanted, by owner or in_port; ``None`` for all flows.
        instances: Whose the interfaces are, by their names.
    """
    reading = second.reading
    pair = _Pair(first, second, ports, instances or {})
    watched = dict.fromkeys(BOOKED, 0)
    grown: list[Grown] = []
    shared = changed = 0
    for table in reading.tables:
        sealed = np.flatnonzero(np.isin(reading.fate.kinds[table.table_id], list(CODES)))
        mine = sealed
        if only is not None:
            mine, nobodys = pair.divide(table, sealed, only)
            shared += sum(one.packets for one in pair.grown(table, nobodys) if one.kind == LOST)
        codes = reading.fate.kinds[table.table_id][mine]
        for code, kind in CODES.items():
            watched[kind] += int(np.count_nonzero(codes == code))
        grown += pair.grown(table, mine)
        changed += sum(one.packets for one in pair.grown(table, mine, alike=False))
    return Growth(
        bridge=reading.bridge,
        seconds=pair.seconds,
        pipeline=reading.fate.pipeline,
        tables=len(reading.tables),
        flows=sum(len(table.flows) for table in reading.tables),
        watched=watched,
        grown=tuple(grown),
        shared=shared,
        changed=changed,
        unattributed=tuple(_unattributed(first.reading, reading)),
        missed=tuple(_missed(first, second)),
    )


class _Pair:
    """Two readings of a bridge, and the interfaces by OpenFlow port number."""

    def __init__(
        self,
        first: Snapshot,
        second: Snapshot,
        ports: Mapping[int, Interface],
        instances: Mapping[str, InstanceInterface],
    ) -> None:
        self.seconds = second.taken_seconds - first.taken_seconds
        self._before = {table.table_id: table for table in first.reading.tables}
        self._bridge, self._fate = second.reading.bridge, second.reading.fate
        self._judged = first.reading.fate.kinds
        self._ports = ports
        self._instances = instances

    def grown(self, table: TableFlows, places: Places, *, alike: bool = True) -> Iterator[Grown]:
        """Yield those of a table's flows that grew and were judged alike before, or otherwise."""
        last = self._before.get(table.table_id)
        codes = self._fate.kinds[table.table_id]
        packets = _growth(table, table.packets, last.packets if last else None, 0)
        octets = _growth(table, table.octets, last.octets if last else None, 1)
        known = (packets[places] != 0) & (packets[places] != UNKNOWN)
        for place in places[known & (self._alike(table)[places] == alike)].tolist():
            count, size = int(packets[place]), octets[place]
            port, direction = self._owner(table, place)
            if port is None:
                port = table.flows[place].scope.in_port
            interface = None if port is None else self._ports.get(port)
            yield Grown(
                bridge=self._bridge,
                table_name=self._fate.name_of(table.table_id, place),
                flow=table.flows[place],
                kind=KINDS[codes[place]],
                packets=count,
                packets_per_second=count / self.seconds,
                octets=None if size == UNKNOWN else int(size),
                interface=interface,
                direction=direction,
                instance=self._instances.get(interface.name) if interface else None,
            )

    def divide(
        self, table: TableFlows, places: Places, only: frozenset[int]
    ) -> tuple[Places, Places]:
        """Return the flows of some ports, and those that do not tell whose packets they meet."""
        mine, nobodys = [], []
        for place in places.tolist():
            owner, in_port = self._owner(table, place)[0], table.flows[place].scope.in_port
            if owner in only or in_port in only:
                mine.append(place)
            elif owner is None and in_port is None:
                nobodys.append(place)
        return np.array(mine, np.int64), np.array(nobodys, np.int64)

    def _alike(self, table: TableFlows) -> NDArray[np.bool_]:
        """Say of each flow whether it was judged alike before; one that is new was."""
        codes, judged = self._fate.kinds[table.table_id], self._judged.get(table.table_id)
        if judged is None:
            return np.ones(len(codes), np.bool_)
        alike: NDArray[np.bool_] = codes == (
            judged if table.before is None else judged[table.before]
        )
        if table.before is not None:
            alike |= table.before == ABSENT
        alike[list(table.restarted)] = True
        return alike

    def _owner(self, table: TableFlows, place: int) -> tuple[int | None, str | None]:
        return self._fate.owners.get(table.table_id, {}).get(place, (None, None))


def _growth(table: TableFlows, now: Counts, last: Counts | None, column: int) -> Counts:
    """Return what one column grew; ``UNKNOWN`` where either number is.

    Args:
        table: The table, now.
        now: Its packets or octets.
        last: The same column of the reading before; ``None`` if the table had no flows.
        column: Its place in the numbers of ``table.returned``.
    """
    if last is None:
        start = np.zeros_like(now)
    elif table.before is None:
        start = last.copy()
    else:
        start = np.where(table.before >= 0, last[table.before], np.uint64(0))
    start[list(table.restarted)] = 0
    for place, numbers in table.returned.items():
        start[place] = numbers[column]
    growth = np.where(now < start, now, now - start)
    growth[(now == UNKNOWN) | (start == UNKNOWN)] = UNKNOWN
    return growth


def _unattributed(first: FlowReading, second: FlowReading) -> Iterator[Unseen]:
    """Take the ledgers of now less those of then: they count from the first reading of all."""
    then = first.totals.unattributed
    for table, packets in sorted(second.totals.unattributed.items()):
        if packets > then.get(table, 0):
            name = second.fate.names.get(table)
            yield Unseen(second.bridge, table, name, packets - then.get(table, 0))


def _missed(first: Snapshot, second: Snapshot) -> Iterator[Unseen]:
    then = {table.table_id: table.lookups - table.matches for table in first.tables or ()}
    reading = second.reading
    for table in second.tables or ():
        packets = table.lookups - table.matches - then.get(table.table_id, 0)
        if packets > 0:
            name = reading.fate.names.get(table.table_id)
            yield Unseen(reading.bridge, table.table_id, name, packets)
