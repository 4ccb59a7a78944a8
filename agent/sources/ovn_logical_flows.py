"""Logical flows: by far the most rows of a Southbound, so they have a way of their own.

Of each row the object of the model is all that is kept. ovsdb-server needs 20 us to answer for a
row, and does nothing else meanwhile: measured with 500,000, asked for at once, that is 12 s of CPU
time, in which all its other clients wait, and 700 MB that it does not give back; asked for in
pieces, by tables of the logical pipeline, 20 s, not two of them at a time, and no memory.
"""

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from agent.errors import ParseError
from agent.model.ovn import LogicalFlow, cookie_of, short
from agent.sources.ovsdb_monitor import EVERYTHING, Where
from agent.sources.ovsdb_table import Table
from agent.wire.ovsdb import INTEGER, TEXT, Kind, texts

NAME = "Logical_Flow"
MOST_PIECES = 64
"""Logical pipelines have 24 tables in 20.03 and 35 in 26.09."""
PIECE_ROWS = 20_000
"""As many as one piece should have, at least: half a second of ovsdb-server's."""

PAUSE_SHARE = 0.25
"""Pause after an answer, as a share of what it took; more than half of that we took to read it."""
_PRIORITIES = range(1 << 16)
_WANTED: Mapping[str, Kind] = {
    "pipeline": TEXT,
    "table_id": INTEGER,
    "priority": INTEGER,
    "external_ids": texts("stage-name", "stage-hint"),
}


class LogicalFlows(Table):
    """The rows of Logical_Flow, as objects.

    Args:
        limit: How many may be remembered.

    Attributes:
        flows: By UUID.
        whole: Whether all rows are here that the database has.
        last_table: Highest number of a table that the schema allows.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(NAME, _WANTED, limit)
        self.flows: dict[str, LogicalFlow] = {}
        self.whole = False
        self.last_table = 0
        self._numbers: dict[int, int] = {}
        self._all: tuple[LogicalFlow, ...] = ()
        self._all_at = -1

    @property
    def size(self) -> int:
        """How many rows are remembered."""
        return len(self.flows)

    def all(self) -> tuple[LogicalFlow, ...] | None:
        """Return all of them, the same tuple while nothing changes; ``None`` until all are here."""
        if self.whole and self._all_at != self.version:
            self._all, self._all_at = tuple(self.flows.values()), self.version
        return self._all if self.whole else None

    def begin(self, tables: object) -> None:
        """Look the columns up in the ``tables`` of a schema.

        Raises:
            ParseError: If they are none.
        """
        super().begin(tables)
        match tables:
            case {
                "Logical_Flow": {
                    "columns": {"table_id": {"type": {"key": {"maxInteger": int(last)}}}}
                }
            }:
                self.last_table = last

    def complete(self) -> None:
        """Note that all rows are here, which is news."""
        self.whole = True
        self.version += 1

    def _count(self, changes: Counter[str]) -> None:
        if changes and self.whole:
            self.events["logical_flow_changed"] += 1

    def _put(self, uuid: str, values: list[Any]) -> None:
        pipeline, table_id, priority, (stage, hint) = values
        self.flows[uuid] = LogicalFlow(
            cookie=cookie_of(uuid),
            pipeline=sys.intern(pipeline or ""),
            table_id=table_id or 0,
            priority=self._number(priority or 0),
            stage=stage and sys.intern(stage),
            hint=hint and sys.intern(short(hint)),
        )

    def _number(self, number: int) -> int:
        """Return the one object for a number; there are few priorities and many flows."""
        return self._numbers.setdefault(number, number) if number in _PRIORITIES else number

    def _get(self, uuid: str) -> tuple[Any, ...]:
        flow = self.flows.get(uuid)
        if flow is None:
            raise ParseError("a change of a logical flow that is not there")
        return flow.pipeline, flow.table_id, flow.priority, (flow.stage, flow.hint)

    def _drop(self, uuid: str) -> None:
        self.flows.pop(uuid, None)


class Loading:
    """Asks for logical flows piece by piece, and leaves the server time for others in between.

    Args:
        table: Takes them.
        change: Sets the conditions, and comes back when the rows are there.
        clock: Monotonic seconds.

    Attributes:
        due: When the next piece may be asked for; ``None`` when there is none left.
    """

    def __init__(
        self,
        table: LogicalFlows,
        change: Callable[[Where], None],
        clock: Callable[[], float],
    ) -> None:
        self.due: float | None = clock()
        self._table = table
        self._change = change
        self._clock = clock
        self._next = 0
        self._step = 1

    def run(self) -> None:
        """Ask for the next piece if it is time."""
        began = self._clock()
        if self.due is None or began < self.due:
            return
        before = self._table.size
        last = self._next + self._step - 1
        if last >= min(self._table.last_table, MOST_PIECES):
            self._change(EVERYTHING)
            self._table.complete()
            self.due = None
            return
        self._change([["table_id", "<=", last]])
        self._next = last + 1
        came = self._table.size - before
        # Each piece costs the server a look at every row, 2 us, so that there should not be many;
        # and tables differ in size by a factor of a hundred, so that a step is at most doubled.
        enough = max(PIECE_ROWS, self._table.size // 5)
        if came > enough:
            self._step = max(1, self._step // 2)
        elif came < enough // 2:
            self._step *= 2
        now = self._clock()
        self.due = now + PAUSE_SHARE * (now - began)
