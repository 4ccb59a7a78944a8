"""Flow statistics -> a table's flows with their counters in columns; nothing is decoded twice.

Open vSwitch answers in the same order while its tables do not change, so an answer is compared
with the one before as a whole: without durations and counters their words are equal, and the
counters stand where they stood. Where flows came or went, the others are found again, and only
what nobody has seen before is decoded.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2s
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from agent.model.flow import ABSENT, Counts, Flow, TableFlows
from agent.wire.openflow.alignment import align
from agent.wire.openflow.effects import read_instructions
from agent.wire.openflow.entries import Answer, Entries, Places, entry_of, identity
from agent.wire.openflow.match import format_match, match_scope
from agent.wire.openflow.text import unambiguous

T = TypeVar("T")

BATCH_FLOWS = 250
"""New flows decoded in one go, some milliseconds; then whoever waits has its turn."""
COMPARED_FLOWS = 10_000
"""Flows compared in one go, likewise."""
MARK_BYTES = 4
"""Of the hash that tells flows apart that ovs-ofctl prints alike."""
MAX_SHARED = 1 << 16
"""Effects and scopes that flows share; with more kinds than that, they begin anew."""
CREATION_SLACK_SECONDS = 0.05
"""A flow was created anew if the time of its creation moved by more."""
NAMED_PORTS = ("in_phy_port=", "actset_output=")
"""Fields besides in_port whose text depends on the names of ports."""

Missing = Mapping[bytes, tuple[int, int]]
"""Counters of flows that were there in the reading before and not in this one, by identity."""


@dataclass(frozen=True, slots=True)
class _Columns:
    """An answer's entries with their counters, and how long ago each was created."""

    entries: Entries
    packets: Counts
    octets: Counts
    durations: NDArray[np.float64]

    def only(self, kept: Places) -> "_Columns":
        return _Columns(
            self.entries.only(kept), self.packets[kept], self.octets[kept], self.durations[kept]
        )


@dataclass(frozen=True, slots=True)
class _Known:
    """A table as it was read last, and when that was."""

    flows: tuple[Flow, ...]
    columns: _Columns
    answered: float
    missing: Missing


class FlowDecoder:
    """Remembers the flows of a bridge, table by table.

    What decoding depends on besides the bytes, the names of ports, is remembered too: when one
    changes, the flows that name it are written anew. Geneve options need no table of their own:
    Open vSwitch sends them as tun_metadataN and its tools print that.

    Nothing counts as read until ``commit``: a reading that fails midway leaves the last complete
    one to compare with.
    """

    def __init__(self) -> None:
        self._tables: dict[int, _Known] = {}
        self._pending: dict[int, _Known] = {}
        self._ports: Mapping[int, str] = {}
        self._renamed: frozenset[int] = frozenset()
        self._complete = False
        self._shared: dict[object, object] = {}

    def prepare(self, ports: Mapping[int, str]) -> None:
        """Begin a reading; ``ports`` are the port descriptions' names."""
        self._pending = {}
        names = unambiguous(ports)
        self._renamed |= {number for number, _name in names.items() ^ self._ports.items()}
        self._ports = names

    def cookies(self, table_id: int) -> Counts | None:
        """Return the cookies of a table as last read; ``None`` if it was not there."""
        known = self._tables.get(table_id)
        return None if known is None else known.columns.entries.cookies()

    def commit(self) -> None:
        """Take what was decoded since ``prepare`` as the last complete reading."""
        self._tables, self._pending = self._pending, {}
        self._renamed = frozenset()
        self._complete = True

    def decode(
        self, table_id: int, bodies: list[bytes], asked: float, answered: float, *, whole: bool
    ) -> Generator[TableFlows | None, None, None]:
        """Decode the complete answer for one table.

        Args:
            table_id: The table that was asked for.
            bodies: Of all parts of all answers.
            asked: When it was asked first, in monotonic seconds.
            answered: When the last part had come.
            whole: False when the table was asked for in pieces: then a flow whose cookie changed
                meanwhile may be in none of them, or in two.

        Yields:
            ``None`` whenever others should have their turn, and at last the table.

        Raises:
            ParseError: If the answer is not flow statistics of this table.
        """
        answer = Answer(b"".join(bodies), table_id)
        known = self._tables.get(table_id)
        before: Places | None = None
        modified = 0
        missing: Missing = {}
        returned: Mapping[int, tuple[int, int]] = {}
        if known is not None and answer.same_as(known.columns.entries):
            columns = _columns(answer, known.columns.entries)
            flows = known.flows
            if self._renamed:
                flows, kept = yield from self._completed(columns.entries, flows)
                if kept is not None:
                    columns, before = columns.only(kept), kept
        else:
            starts, before = yield from _aligned(answer, known)
            columns = _columns(answer, answer.entries(starts))
            old = known.flows if known else ()
            found = [old[place] if place >= 0 else None for place in before.tolist()]
            flows, kept = yield from self._completed(columns.entries, found)
            if kept is not None:
                columns, before = columns.only(kept), before[kept]
            if known is not None:
                modified = yield from _find_modified(known, columns.entries, before)
                returned = _returned(known, columns.entries, before)
                missing = {} if whole else _missing(known, before)
        self._pending[table_id] = _Known(flows, columns, answered, missing)
        yield TableFlows(
            table_id,
            flows,
            columns.packets,
            columns.octets,
            before,
            restarted=() if known is None else _restarted(known, columns, before, asked),
            modified=modified,
            first=known is None and not self._complete,
            returned=returned,
            partial=bool(missing),
        )

    def _completed(
        self, entries: Entries, found: Sequence[Flow | None]
    ) -> Generator[None, None, tuple[tuple[Flow, ...], Places | None]]:
        """Decode the flows that nobody has seen before, and those that name a renamed port.

        Returns:
            As ``_distinct``.
        """
        written: dict[int, Flow] = {}
        for count, index in enumerate(self._unwritten(found), 1):
            if count % BATCH_FLOWS == 0:
                yield
            flow, known = self._decode(entries.octets(index)), found[index]
            if known is None or not _is_text(known.match, flow.match):
                written[index] = flow
        if not written and isinstance(found, tuple):
            return found, None
        return _distinct(entries, found, written)

    def _unwritten(self, found: Sequence[Flow | None]) -> list[int]:
        renamed = self._renamed
        return [
            index
            for index, flow in enumerate(found)
            if flow is None
            or (
                renamed
                and (
                    flow.scope.in_port in renamed or any(name in flow.match for name in NAMED_PORTS)
                )
            )
        ]

    def _decode(self, octets: bytes) -> Flow:
        entry = entry_of(octets)
        effect, output = read_instructions(entry.instructions)
        return Flow(
            table_id=entry.table_id,
            priority=entry.priority,
            match=format_match(entry.match, self._ports),
            cookie=entry.cookie,
            scope=self._share(match_scope(entry.match)),
            effect=self._share(effect),
            output=output,
        )

    def _share(self, value: T) -> T:
        """Return one object for equal values: most flows are of few kinds."""
        if len(self._shared) > MAX_SHARED:
            self._shared.clear()
        return cast("T", self._shared.setdefault(value, value))


def _columns(answer: Answer, entries: Entries) -> _Columns:
    starts = entries.starts
    return _Columns(
        entries, answer.packets(starts), answer.octets(starts), answer.durations(starts)
    )


def _aligned(answer: Answer, known: _Known | None) -> Generator[None, None, tuple[Places, Places]]:
    if known is None:
        starts = answer.starts()
        return starts, np.full(len(starts) - 1, ABSENT, np.int64)
    return (yield from align(answer, known.columns.entries))


def _distinct(
    entries: Entries, found: Sequence[Flow | None], written: dict[int, Flow]
) -> tuple[tuple[Flow, ...], Places | None]:
    """Put known flows and those written now together, in the order of the answer.

    Two series of one name would make the page invalid. A flow that stands twice, in two pieces of
    an answer, is left out the second time. Two flows that ovs-ofctl prints alike, because it
    leaves out some masks, are told apart by a hash; one that has had its text keeps it.

    Returns:
        The flows, and the indexes of those that stay; ``None`` when all do.
    """
    flows = {
        index: flow for index, flow in enumerate(found) if flow is not None and index not in written
    }
    texts = {(flow.priority, flow.match): index for index, flow in flows.items()}
    for index, flow in written.items():
        other = texts.setdefault((flow.priority, flow.match), index)
        if other == index:
            flows[index] = flow
            continue
        ours = identity(entries.octets(index))
        if ours == identity(entries.octets(other)):
            continue
        match = _marked(flow.match, ours)
        if texts.setdefault((flow.priority, match), index) == index:
            flows[index] = replace(flow, match=match)
    kept = sorted(flows)
    ordered = tuple([flows[index] for index in kept])
    return ordered, None if len(kept) == len(found) else np.array(kept, np.int64)


def _marked(text: str, ours: bytes) -> str:
    return f"{text}#{blake2s(ours, digest_size=MARK_BYTES).hexdigest()}"


def _is_text(match: str, text: str) -> bool:
    """Say whether a match is this text, with a hash or without."""
    length = len(text) + len("#") + 2 * MARK_BYTES
    return match == text or (len(match) == length and match.startswith(f"{text}#"))


def _gone(known: _Known, before: Places) -> list[int]:
    """Return where the flows stood that no entry was found to be."""
    used = np.zeros(len(known.flows) + 1, bool)
    used[before] = True  # ABSENT is the one place more
    return np.flatnonzero(~used[:-1]).tolist()


def _find_modified(known: _Known, entries: Entries, before: Places) -> Generator[None, None, int]:
    """Find new entries that are flows which are gone, with other contents; complete ``before``."""
    new = np.flatnonzero(before < 0).tolist()
    there = _gone(known, before) if new else []
    gone: dict[bytes, int] = {}
    for count, at in enumerate(there, 1):
        if count % COMPARED_FLOWS == 0:
            yield
        gone[identity(known.columns.entries.octets(at))] = at
    modified = 0
    for count, index in enumerate(new if gone else (), 1):
        if count % COMPARED_FLOWS == 0:
            yield
        at = gone.pop(identity(entries.octets(index)), ABSENT)
        if at != ABSENT:
            before[index] = at
            modified += 1
    return modified


def _missing(known: _Known, before: Places) -> Missing:
    """Return the counters of the flows that are gone."""
    columns = known.columns
    return {
        identity(columns.entries.octets(at)): (int(columns.packets[at]), int(columns.octets[at]))
        for at in _gone(known, before)
    }


def _returned(known: _Known, entries: Entries, before: Places) -> dict[int, tuple[int, int]]:
    """Return the last counters of new flows that were only missing in the reading before."""
    if not known.missing:
        return {}
    found: dict[int, tuple[int, int]] = {}
    for index in np.flatnonzero(before < 0).tolist():
        last = known.missing.get(identity(entries.octets(index)))
        if last is not None:
            found[index] = last
    return found


def _restarted(
    known: _Known, columns: _Columns, before: Places | None, asked: float
) -> tuple[int, ...]:
    """Return the flows with reset_counts that were created after the reading before.

    The flag says that adding the flow over itself set its counters to zero; that it was added
    again shows in a duration shorter than the time that has passed.
    """
    if not columns.entries.resettable:
        return ()
    flagged = columns.entries.reset_counts()
    places = flagged if before is None else before[flagged]
    flagged, places = flagged[places >= 0], places[places >= 0]
    least = known.columns.durations[places] + (asked - known.answered) - CREATION_SLACK_SECONDS
    return tuple(flagged[columns.durations[flagged] < least].tolist())
