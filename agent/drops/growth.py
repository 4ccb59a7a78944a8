"""What grew between two readings of a bridge's flows, of those that deliver nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from agent.model.bridge import TableStats
from agent.model.flow import ABSENT, KINDS, UNKNOWN, Counts, Flow, FlowReading, TableFlows
from agent.model.switch import Interface

BOOKED = ("lost", "copy", "patch")
"""The kinds of flows that deliver nothing; see ``pipelines/fate.py``."""
_CODES = [KINDS.index(kind) for kind in BOOKED]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A bridge, read once.

    Attributes:
        taken_seconds: When its flows were asked for, by a monotonic clock.
        reading: Its flows, judged.
        tables: Its table statistics.
    """

    taken_seconds: float
    reading: FlowReading
    tables: tuple[TableStats, ...]


@dataclass(frozen=True, slots=True)
class Grown:
    """A flow that delivers nothing and that packets met.

    Attributes:
        bridge: Its bridge.
        table_name: Of its table; ``None`` where the pipeline is not known.
        flow: The flow.
        kind: lost, copy or patch.
        packets: How many.
        packets_per_second: By the time between the readings of this bridge.
        octets: Their bytes; ``None`` when not known.
        interface: Whose packets, else the in_port's; ``None`` when several ports' or nobody's.
        direction: from_instance or to_instance; ``None`` when they are nobody's.
    """

    bridge: str
    table_name: str | None
    flow: Flow
    kind: str
    packets: int
    packets_per_second: float
    octets: int | None
    interface: Interface | None = None
    direction: str | None = None


@dataclass(frozen=True, slots=True)
class Unjudged:
    """Packets of a table that no flow of the second reading accounts for."""

    bridge: str
    table_id: int
    table_name: str | None
    packets: int


@dataclass(frozen=True, slots=True)
class Growth:
    """What became of one bridge's packets.

    Attributes:
        bridge: Its name.
        seconds: Between the two readings.
        pipeline: As in ``Fate``.
        tables: How many have flows.
        flows: How many were read.
        watched: How many of them deliver nothing, by kind; only the chosen ports'.
        grown: Those that grew.
        unattributed: Matches that no reading of flows accounts for: mostly of flows that are gone.
        missed: Lookups without a match, not necessarily lost.
    """

    bridge: str
    seconds: float
    pipeline: str
    tables: int
    flows: int
    watched: Mapping[str, int]
    grown: tuple[Grown, ...]
    unattributed: tuple[Unjudged, ...]
    missed: tuple[Unjudged, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The answer.

    Attributes:
        seconds: How long was to be watched.
        kinds: Kinds whose flows are wanted.
        bridges: Those that could be compared, A to Z.
        problems: One line for each that could not.
    """

    seconds: float
    kinds: tuple[str, ...]
    bridges: tuple[Growth, ...]
    problems: tuple[str, ...] = ()

    def grown(self, *kinds: str) -> list[Grown]:
        """Return the flows of these kinds that grew, most packets first."""
        found = [one for each in self.bridges for one in each.grown if one.kind in kinds]
        return sorted(found, key=lambda one: (-one.packets, one.bridge, one.flow.table_id))


def began_anew(first: Snapshot, second: Snapshot) -> bool:
    """Say whether ovs-vswitchd or the bridge was started anew: n_matched of a table went down."""
    now = {table.table_id: table.matches for table in second.tables}
    return any(now.get(table.table_id, 0) < table.matches for table in first.tables)


def compare(
    first: Snapshot,
    second: Snapshot,
    ports: Mapping[int, Interface],
    only: frozenset[int] | None,
) -> Growth:
    """Compare two readings of a bridge, one right after the other.

    Args:
        first: The earlier one.
        second: The later one: it says what the flows do, and where they stood in the first.
        ports: Interfaces by OpenFlow port number.
        only: Ports whose flows are wanted, by owner or in_port; ``None`` for all flows.
    """
    reading, fate = second.reading, second.reading.fate
    seconds = second.taken_seconds - first.taken_seconds
    before = {table.table_id: table for table in first.reading.tables}
    watched = dict.fromkeys(BOOKED, 0)
    grown: list[Grown] = []
    for table in reading.tables:
        kinds = fate.kinds[table.table_id]
        owners = fate.owners.get(table.table_id, {})
        sealed = np.flatnonzero(np.isin(kinds, _CODES))
        if only is not None:
            mine = [
                (owners[place][0] if place in owners else None) in only
                or table.flows[place].scope.in_port in only
                for place in sealed.tolist()
            ]
            sealed = sealed[np.array(mine, np.bool_)]
        for code, kind in zip(_CODES, BOOKED, strict=True):
            watched[kind] += int(np.count_nonzero(kinds[sealed] == code))
        packets, octets = _growth(table, before.get(table.table_id))
        known = sealed[(packets[sealed] != UNKNOWN) & (packets[sealed] > 0)]
        for place in known.tolist():
            flow = table.flows[place]
            port, direction = owners.get(place, (flow.scope.in_port, None))
            count, size = int(packets[place]), octets[place]
            grown.append(
                Grown(
                    bridge=reading.bridge,
                    table_name=fate.names.get(table.table_id),
                    flow=flow,
                    kind=KINDS[kinds[place]],
                    packets=count,
                    packets_per_second=count / seconds,
                    octets=None if size == UNKNOWN else int(size),
                    interface=None if port is None else ports.get(port),
                    direction=direction,
                )
            )
    return Growth(
        bridge=reading.bridge,
        seconds=seconds,
        pipeline=fate.pipeline,
        tables=len(reading.tables),
        flows=sum(len(table.flows) for table in reading.tables),
        watched=watched,
        grown=tuple(grown),
        unattributed=tuple(_unattributed(first.reading, reading)),
        missed=tuple(_missed(first, second)),
    )
