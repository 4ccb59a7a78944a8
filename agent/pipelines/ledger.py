"""Counters that never go down, added up from the counters of flows that come and go.

A flow that expires takes its n_packets with it, so a sum over flows is no counter. A ledger adds
up what each flow grew from one complete reading to the next.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from agent.model.flow import (
    ABSENT,
    KINDS,
    UNKNOWN,
    Counts,
    Fate,
    TableFlows,
    Totals,
)
from agent.pipelines.accounts import AccountLedger

LOST = KINDS.index("lost")
BOOKED = {KINDS.index(kind): kind for kind in ("lost", "copy", "patch")}
"""Codes of the kinds that have a ledger; an open, closed or conjunction flow loses nothing."""
LOW_HALF = np.uint64(0xFFFFFFFF)

Row = TypeVar("Row")


@dataclass(slots=True)
class _Balance:
    """The matches of a table, as its statistics count them, against the packets of its flows.

    Attributes:
        total: Matches that no reading of flows accounted for.
        matched: n_matched of the last reading; 0 when it was unknown.
        ahead: What flows had counted at the last reading and n_matched, read before them, not
            yet: its next growth has it. Negative after a partial reading: what is not judged yet.
        settled: Whether everything was known at the last reading.
    """

    total: int = 0
    matched: int = 0
    ahead: int = 0
    settled: bool = True

    def begin(self, matched: int) -> None:
        """Count from here: what is missing up to now belongs to nobody who reads us."""
        self.matched, self.ahead, self.settled = matched, 0, True

    def read(self, matched: int, growth: int, *, partial: bool) -> None:
        """Book what grew since the last reading; what is missing of a partial one may come yet."""
        rest = matched - self.matched - growth - self.ahead
        self.matched = matched
        self.ahead = -rest if partial else max(-rest, 0)
        self.total += 0 if partial else max(rest, 0)


class BridgeLedger:
    """The ledgers of one bridge; lives as long as the bridge is known, whatever the connection.

    They begin at 0 with the first reading and are exact but for what cannot be seen: packets of a
    flow between its last reading and its deletion, of a flow that was deleted and added again and
    has since counted at least what it had, and of a flow that was judged otherwise at the last
    reading, because it or what it leads to was changed in place: which of them came before the
    change nobody can tell. All of these make them too small, never too large.

    A row that is new shows 0 once, and from the next reading on what was booked in it: Prometheus
    takes the first sample of a series for its beginning and would never see what is in it.

    *Unattributed* says by how much: the packets that matched in a table (n_matched of table
    statistics, which survives the deletion of flows) and that no reading of flows accounted for:
    those of flows that died since they were last read, of flows that lived between two readings,
    and of flows that the switch does not list (in-band control, dropped fragments). n_matched
    is read before the flows, so what passed between these two makes the difference too small
    until the next reading; the ledger is its running maximum. What a switch counted between the
    last reading and its restart is in neither. A reading in which a counter of the table is
    unknown, and the next one, are left out. Packets that the revalidators had not pushed yet when
    their flow was deleted are credited by the flows of then, or are missed: nobody can tell.

    Args:
        from_figures: Begin at the switch's own figures instead of 0, for a process that reads
            once: packets of the flows that are there, and unattributed since the switch started.
    """

    def __init__(self, *, from_figures: bool = False) -> None:
        self._from_figures = from_figures
        self._begun = False
        self._last: dict[int, Counts] = {}  # last known n_packets, of tables with flows
        self._balances: dict[int, _Balance] = {}
        self._dropped: dict[tuple[int, str], int] = {}
        self._interfaces: dict[tuple[str, str], int] = {}
        self._accounts = AccountLedger()
        self._changes = {"added": 0, "removed": 0, "modified": 0}
        self._fate = Fate()
        self._ports: dict[int, str] = {}
        self._renamed: frozenset[int] = frozenset()  # ports that had another name before
        self._told = Totals()

    def add(
        self,
        tables: Sequence[TableFlows],
        matches: Mapping[int, int],
        fate: Fate,
        ports: Mapping[int, str],
        *,
        restarted: bool,
    ) -> Totals:
        """Book one complete reading of the bridge.

        The first reading is a baseline, whatever its tables say, and so is a later one of a table
        that says ``first``. Columns are kept until the next reading, not copied.

        Args:
            tables: Every table that has flows now; ``before`` refers to the last ``add``.
            matches: n_matched of every table with a flow or a lookup [table statistics], read just
                before the flows. Only for a baseline, after them is better: packets between
                the two then are missing from unattributed, not invented.
            fate: The judgement over these flows. Tables without one are not booked by kind.
            ports: Interface by OpenFlow port number. Ledgers of other interfaces are forgotten,
                but not while nothing is judged: then ports are not known.
            restarted: Whether ovs-vswitchd is another process than at the last reading: its
                counters began at zero. Also taken from n_matched that went down, which is what
                a bridge that was made anew shows.

        Returns:
            What the ledgers say now; later readings do not change it.

        Raises:
            ValueError: If a table's flows do not continue those of the last reading: a bug.
        """
        anew = self._begun and (restarted or self._went_down(matches))
        if anew:
            for balance in self._balances.values():
                balance.begin(0)
        judged = {} if anew else self._fate.kinds
        self._keep_interfaces(fate, ports)
        self._accounts.begin(fate)
        last, self._last = self._last, {}
        for table in tables:
            if len(table.packets):  # its last flow may go between table statistics and its reading
                was, matched = last.pop(table.table_id, None), matches.get(table.table_id, 0)
                growth = self._add_table(table, was, matched, anew=anew)
                self._book(table, growth, fate, judged.get(table.table_id))
                self._accounts.add(table.table_id, growth, partial(_places_of_all, table))
        for gone in last.values():
            self._changes["removed"] += len(gone)
        for table_id in matches.keys() - self._last.keys():
            baseline = self._is_baseline(first=False, anew=anew)
            self._weigh(table_id, matches[table_id], 0, baseline=baseline)
        unattributed = {table: it.total for table, it in self._balances.items()}
        told, begun = self._told, self._begun
        self._begun = True
        self._told = Totals(
            _told(self._dropped, told.dropped if begun else None),
            _told(self._interfaces, told.interfaces if begun else None),
            _told(unattributed, told.unattributed if begun else None),
            MappingProxyType(self._changes.copy()),
            self._accounts.told(new_are_zero=begun),
        )
        return self._told

    def _went_down(self, matches: Mapping[int, int]) -> bool:
        # A table that is left out of table statistics never had a lookup. To wait for its return
        # would see the new beginning late, when growth since then is booked already.
        return any(matches.get(table, 0) < it.matched for table, it in self._balances.items())

    def _is_baseline(self, *, first: bool, anew: bool) -> bool:
        # Figures that began at zero since the last reading are growth, known before or not.
        return first and not anew if self._begun else not self._from_figures

    def _add_table(
        self,
        table: TableFlows,
        last: Counts | None,
        matched: int,
        *,
        anew: bool,
    ) -> Counts:
        """Keep and weigh a table's counters; return what each flow grew by."""
        baseline = self._is_baseline(first=table.first, anew=anew)
        if self._begun and not table.first:
            self._count_changes(table, last)
        if baseline:
            start = table.packets
        elif anew or last is None:
            start = np.zeros_like(table.packets)
        else:
            start = _carried(table, last)
        if table.returned and not anew and not baseline:
            start = start.copy()
            for index, (packets, _octets) in table.returned.items():
                start[index] = packets
        growth = _growth(table.packets, start)
        unknown = table.packets == UNKNOWN
        some_unknown = bool(unknown.any())
        # A flow without any figure yet keeps UNKNOWN here: its first figure is its baseline.
        self._last[table.table_id] = (
            np.where(unknown, start, table.packets) if some_unknown else table.packets
        )
        total = None if some_unknown else _sum(growth)
        self._weigh(table.table_id, matched, total, baseline=baseline, partial=table.partial)
        return growth

    def _count_changes(self, table: TableFlows, last: Counts | None) -> None:
        self._changes["modified"] += table.modified
        if last is None:
            self._changes["added"] += len(table.packets)
        elif table.before is not None:
            stayed = table.before[table.before >= 0]
            self._changes["added"] += len(table.before) - len(stayed)
            self._changes["removed"] += len(last) - len(stayed)

    def _book(
        self, table: TableFlows, growth: Counts, fate: Fate, judged: NDArray[np.uint8] | None
    ) -> None:
        """Book growth by kind and by interface; ``judged`` are the kinds of the last reading."""
        kinds = fate.kinds.get(table.table_id)
        if kinds is None:
            return
        grown = np.flatnonzero(growth)
        places = _places(table, grown)
        if judged is not None:
            stood = np.flatnonzero(places != ABSENT)
            other = stood[judged[places[stood]] != kinds[grown[stood]]]
            grown, places = np.delete(grown, other), np.delete(places, other)
        codes = kinds[grown]
        for code, kind in BOOKED.items():
            row = table.table_id, kind
            self._dropped[row] = self._dropped.get(row, 0) + _sum(growth[grown[codes == code]])
        owners = fate.owners.get(table.table_id)
        if not owners:
            return
        lost = codes == LOST
        for index, place in zip(grown[lost].tolist(), places[lost].tolist(), strict=True):
            port, direction = owners.get(index, (None, ""))
            if port in self._ports and (place == ABSENT or port not in self._renamed):
                self._interfaces[self._ports[port], direction] += int(growth[index])

    def _weigh(
        self,
        table_id: int,
        matched: int,
        growth: int | None,
        *,
        baseline: bool,
        partial: bool = False,
    ) -> None:
        balance = self._balances.setdefault(table_id, _Balance())
        if growth is None or matched == UNKNOWN:
            balance.begin(0 if matched == UNKNOWN else matched)
            balance.settled = False
        elif baseline or not balance.settled:
            balance.begin(matched)
        else:
            balance.read(matched, growth, partial=partial)

    def _keep_interfaces(self, fate: Fate, ports: Mapping[int, str]) -> None:
        """Have a row for each interface that can be booked, none for those that are gone."""
        self._renamed = frozenset()
        if fate is self._fate and ports == self._ports:
            return
        self._fate = fate
        if not fate.kinds and not ports:
            return
        self._renamed = frozenset(
            port for port, name in self._ports.items() if ports.get(port, name) != name
        )
        self._ports = dict(ports)
        there = set(ports.values())
        self._interfaces = {row: n for row, n in self._interfaces.items() if row[0] in there}
        for owners in fate.owners.values():
            for port, direction in owners.values():
                if port in ports:
                    self._interfaces.setdefault((ports[port], direction), 0)


def _told(now: Mapping[Row, int], told: Mapping[Row, int] | None) -> Mapping[Row, int]:
    """What rows show: 0 those that are new; all of them what they have if ``told`` is ``None``."""
    if told is None:
        return MappingProxyType(dict(now))
    return MappingProxyType({row: packets if row in told else 0 for row, packets in now.items()})


def _places(table: TableFlows, indexes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where flows stood in the last reading; ABSENT for one that is new or was set to zero."""
    places = indexes.copy() if table.before is None else table.before[indexes]
    if table.restarted:
        places[np.isin(indexes, table.restarted)] = ABSENT
    return places


def _places_of_all(table: TableFlows) -> NDArray[np.int64]:
    return _places(table, np.arange(len(table.packets), dtype=np.int64))


def _carried(table: TableFlows, last: Counts) -> Counts:
    """What each flow had at the last reading; 0 for one that is new or was set to zero."""
    if table.before is None:
        start = last
    else:
        start = np.where(table.before >= 0, last[table.before], np.uint64(0))
    if len(start) != len(table.packets):
        raise ValueError(f"table {table.table_id} does not continue the last reading")
    if table.restarted:
        start = start.copy()
        start[list(table.restarted)] = 0
    return start


def _growth(now: Counts, start: Counts) -> Counts:
    """Take start from now, or 0 where now is less; 0 where either is unknown."""
    growth = now - start
    fell = now < start
    if fell.any():
        growth[fell] = now[fell]
    unknown = (now == UNKNOWN) | (start == UNKNOWN)
    if unknown.any():
        growth[unknown] = 0
    return growth


def _sum(counts: Counts) -> int:
    """Add up in halves of 32 bits: a sum of uint64 would wrap without a word."""
    return (int((counts >> np.uint64(32)).sum()) << 32) + int((counts & LOW_HALF).sum())
