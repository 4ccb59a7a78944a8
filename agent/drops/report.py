"""What two readings of the flows say: the answer before it is written."""

from collections.abc import Mapping
from dataclasses import dataclass

from agent.model.flow import Flow
from agent.model.instance import InstanceInterface
from agent.model.switch import Interface

BOOKED = ("lost", "copy", "patch")
"""The kinds of flows that deliver nothing; see ``pipelines/fate.py``."""


@dataclass(frozen=True, slots=True)
class Grown:
    """A flow that delivers nothing, and how many packets met it.

    Attributes:
        bridge: Its bridge.
        table_name: What its table is called; ``None`` where the pipeline is not known.
        flow: The flow.
        kind: lost, copy or patch.
        packets: Between the two readings.
        packets_per_second: By the time between the readings of this bridge.
        octets: Bytes of the packets; ``None`` when not known.
        interface: Whose packets they are, else the flow's in_port; ``None`` when several ports'
            or nobody's.
        direction: from_instance or to_instance; ``None`` when they are nobody's.
        instance: Whose the interface is; ``None`` when it is no instance's, or nobody knows.
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
    instance: InstanceInterface | None = None


@dataclass(frozen=True, slots=True)
class Unseen:
    """Packets of a table between the two readings that no flow tells about."""

    bridge: str
    table_id: int
    table_name: str | None
    packets: int


@dataclass(frozen=True, slots=True)
class Growth:
    """What was seen of one bridge.

    Attributes:
        bridge: Its name.
        seconds: Between the two readings.
        pipeline: As in ``Fate``.
        tables: How many have flows.
        flows: How many they have.
        watched: How many of them deliver nothing, by kind; only the chosen ports'.
        grown: Those that grew.
        shared: Packets of kind lost of flows that do not tell whose they are; only where ports were
            chosen, else 0: then these flows are in ``grown``.
        changed: Packets of flows that deliver nothing now, but were judged otherwise before.
        unattributed: Matches that no reading of flows accounts for: mostly of flows that ended.
        missed: Lookups without a match, not necessarily lost.
    """

    bridge: str
    seconds: float
    pipeline: str
    tables: int
    flows: int
    watched: Mapping[str, int]
    grown: tuple[Grown, ...] = ()
    shared: int = 0
    changed: int = 0
    unattributed: tuple[Unseen, ...] = ()
    missed: tuple[Unseen, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """The answer.

    Attributes:
        kinds: Whose flows are wanted.
        whose: The interface or the instance whose packets are wanted, as it was named; ``None``
            for all.
        bridges: Those that could be compared, A to Z.
        problems: One line for each that could not, and for each interface that nobody can watch.
    """

    kinds: tuple[str, ...]
    whose: str | None
    bridges: tuple[Growth, ...]
    problems: tuple[str, ...] = ()

    def grown(self, *kinds: str) -> list[Grown]:
        """Return the flows of these kinds that grew, those with most packets first."""
        found = [one for each in self.bridges for one in each.grown if one.kind in kinds]
        return sorted(found, key=lambda one: (-one.packets, one.bridge, one.flow.table_id))
