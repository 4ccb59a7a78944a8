"""A bridge that knows the truth of every packet, and what an agent's decoder says of it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agent.model.flow import ABSENT, KINDS, UNKNOWN, Fate, Flow, TableFlows, Totals
from agent.pipelines.ledger import BridgeLedger

KIND_OF = ("lost", "copy", "patch", "open", "lost", "lost")
"""Kind of each flow by its number in its table."""
OWNER_OF = {0: (1, "from_instance"), 4: (2, "to_instance")}

Identity = tuple[int, int]
"""Table and number of a flow."""
Row = tuple[int, str]
"""Table and kind."""


@dataclass
class Entry:
    """A flow in the switch.

    Attributes:
        count: n_packets.
        epoch: Which counter this is: another one each time it begins at zero.
        created: When; duration counts from here.
        cookie: As the controller set it.
        resets: Flag reset_counts.
        silent: The switch does not say n_packets.
        unread: Packets in this counter since it was last read.
    """

    count: int
    epoch: int
    created: int
    cookie: int
    resets: bool
    silent: bool = False
    unread: int = 0


class Switch:
    """A bridge. ``truth`` counts every packet since the agent began, ``missed`` those in ``truth``
    that no reading can have seen, ``unlisted`` by table those of them that n_matched has.
    """

    def __init__(self) -> None:
        self.tables: dict[int, dict[int, Entry]] = {}
        self.matched: Counter[int] = Counter()
        self.truth: Counter[Row] = Counter()
        self.missed: Counter[Row] = Counter()
        self.unlisted: Counter[int] = Counter()
        self._now = 0

    def tick(self) -> int:
        self._now += 1
        return self._now

    def entry(self, flow: Identity) -> Entry | None:
        return self.tables.get(flow[0], {}).get(flow[1])

    def add(self, flow: Identity, count: int, cookie: int, *, resets: bool) -> None:
        """OFPFC_ADD: over a flow it keeps the counters, unless reset_counts says otherwise."""
        table, number = flow
        old = self.entry(flow)
        now = self.tick()
        if old is None:
            fresh = Entry(count, now, now, cookie, resets)
            self.tables.setdefault(table, {})[number] = fresh
            return
        old.created, old.cookie, old.resets = now, cookie, resets
        if resets:
            self._die(flow, old)
            old.count, old.unread, old.epoch = 0, 0, now

    def delete(self, flow: Identity) -> None:
        """OFPFC_DELETE, or a timeout."""
        entry = self.entry(flow)
        if entry is not None:
            self._die(flow, entry)
            del self.tables[flow[0]][flow[1]]

    def send(self, flow: Identity, packets: int) -> None:
        entry = self.entry(flow)
        if entry is not None:
            entry.count += packets
            entry.unread += packets
            self.matched[flow[0]] += packets
            self.truth[flow[0], KIND_OF[flow[1]]] += packets

    def send_hidden(self, table: int, packets: int) -> None:
        """Match a flow that the switch does not list."""
        self.matched[table] += packets
        self.unlisted[table] += packets

    def restart(self, survivors: Iterable[Identity]) -> None:
        """Come up again with some of the flows; what nobody read is in no counter at all."""
        kept = set(survivors)
        for table, flows in self.tables.items():
            for number, entry in list(flows.items()):
                self.missed[table, KIND_OF[number]] += entry.unread
                now = self.tick()
                flows[number] = Entry(0, now, now, entry.cookie, entry.resets, entry.silent)
                if (table, number) not in kept:
                    del flows[number]
        self.matched.clear()

    def shuffle(self, table: int) -> None:
        """List the flows of a table in another order."""
        self.tables[table] = dict(reversed(self.tables.get(table, {}).items()))

    def table_statistics(self) -> dict[int, int]:
        """n_matched of the tables that have a flow or a lookup."""
        used = {table for table, flows in self.tables.items() if flows} | self.matched.keys()
        return {table: self.matched[table] for table in used}

    def flows(self) -> dict[Identity, Entry]:
        return {
            (table, number): entry
            for table, flows in self.tables.items()
            for number, entry in flows.items()
        }

    def _die(self, flow: Identity, entry: Entry) -> None:
        self.missed[flow[0], KIND_OF[flow[1]]] += entry.unread
        self.unlisted[flow[0]] += entry.unread


@dataclass(frozen=True)
class Seen:
    """What a decoder remembers of a flow."""

    place: int
    created: int
    cookie: int
    resets: bool


class Decoder:
    """Says how each table stands to its last reading, as the real one does."""

    def __init__(self) -> None:
        self._seen: dict[int, dict[int, Seen]] | None = None

    def read(self, switch: Switch) -> list[TableFlows]:
        last, self._seen = self._seen, {}
        tables = []
        for table, flows in switch.tables.items():
            if not flows:
                continue
            self._seen[table] = {
                number: Seen(place, entry.created, entry.cookie, entry.resets)
                for place, (number, entry) in enumerate(flows.items())
            }
            was = None if last is None else last.get(table, {})
            tables.append(self._table(table, flows, was))
        return tables

    @staticmethod
    def _table(
        table: int, flows: Mapping[int, Entry], was: Mapping[int, Seen] | None
    ) -> TableFlows:
        packets = [int(UNKNOWN) if entry.silent else entry.count for entry in flows.values()]
        if was is None:
            return table_flows(table, packets, first=True)
        stayed = [
            (place, was[number], entry)
            for place, (number, entry) in enumerate(flows.items())
            if number in was
        ]
        before = [was[number].place if number in was else ABSENT for number in flows]
        return table_flows(
            table,
            packets,
            before=None if before == list(range(len(was))) else before,
            restarted=tuple(
                place for place, old, new in stayed if new.resets and new.created != old.created
            ),
            modified=sum(
                (old.cookie, old.resets) != (new.cookie, new.resets) for _, old, new in stayed
            ),
        )


def table_flows(
    table: int,
    packets: Sequence[int],
    *,
    before: Sequence[int] | None = None,
    restarted: tuple[int, ...] = (),
    modified: int = 0,
    first: bool = False,
) -> TableFlows:
    """Build a reading of a table out of numbers."""
    counts = np.array(packets, dtype=np.uint64)
    return TableFlows(
        table_id=table,
        flows=tuple(Flow(table, 1, f"reg0={n}", 0) for n in range(len(packets))),
        packets=counts,
        octets=counts,
        before=None if before is None else np.array(before, dtype=np.int64),
        restarted=restarted,
        modified=modified,
        first=first,
    )


def codes(kinds: Iterable[str]) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """A column of Fate.kinds."""
    return np.array([KINDS.index(kind) for kind in kinds], dtype=np.uint8)


ALL_LOST = Fate({table: codes(["lost"] * 6) for table in range(4)})


def add(
    ledger: BridgeLedger,
    *tables: TableFlows,
    matches: Mapping[int, int] | None = None,
    fate: Fate = ALL_LOST,
    ports: Mapping[int, str] | None = None,
    restarted: bool = False,
) -> Totals:
    """Hand over a reading; tables of which nothing is said have no matches."""
    return ledger.add(tables, matches or {}, fate, ports or {}, restarted=restarted)


def fate_of(switch: Switch) -> Fate:
    """Judge each flow by its number."""
    return Fate(
        kinds={table: codes(KIND_OF[n] for n in flows) for table, flows in switch.tables.items()},
        owners={
            table: {place: OWNER_OF[n] for place, n in enumerate(flows) if n in OWNER_OF}
            for table, flows in switch.tables.items()
        },
    )
