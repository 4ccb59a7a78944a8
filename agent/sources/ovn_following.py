"""One server of an OVN database, followed until that ends."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Never

from agent.errors import Reason, SourceError
from agent.sources.follower import Put
from agent.sources.ovn_contents import Contents
from agent.sources.ovn_logical_flows import NAME as LOGICAL_FLOW
from agent.sources.ovn_logical_flows import Loading
from agent.sources.ovsdb_monitor import NOTHING, Monitor, Where
from agent.sources.ovsdb_row_framing import RowFraming
from agent.sources.ovsdb_session import Session
from agent.sources.ovsdb_table import Table, TooManyRowsError

PUBLISH_SECONDS = 1.0
"""At least between two publications: ovn-northd changes thousands of rows at a time."""
ROUNDS = 3
"""Chassis, ports and datapaths: each says which rows of the next are wanted."""
_ROWS, _FLOWS = "rows", "flows"


class Following:
    """Follows a database at one server.

    Args:
        database: Its name.
        contents: Makes what takes the rows, without these tables; called for each connection.
        put: Takes what is known.

    Attributes:
        published: Whether anything was.
    """

    def __init__(
        self, database: str, contents: Callable[[frozenset[str]], Contents[Any]], put: Put[Any]
    ) -> None:
        self.published = False
        self._database = database
        self._contents = contents
        self._put = put
        self._left_out: dict[str, int] = {}
        self._events: Counter[str] = Counter()

    def run(self, connect: Callable[[RowFraming], Session]) -> Never:
        """Connect and follow; connect again without a table that has more rows than may be.

        Args:
            connect: Makes a session, which is not connected yet.

        Raises:
            SourceError: When the server cannot be followed, or no more.
            StoppedError: If the thread is to end.
        """
        while True:
            framing = RowFraming()
            session = connect(framing)
            contents = self._contents(frozenset(self._left_out))
            try:
                session.connect()
                monitor = Monitor(session, framing, self._database, contents.tables)
                _Connection(monitor, contents, self._publish).follow()
            except TooManyRowsError as error:
                if error.table not in contents.tables:
                    raise SourceError(Reason.MALFORMED, f"{session.get_name()}: {error}") from error
                # Ending the connection costs the server less than other conditions would: then it
                # would say of each row that it is gone.
                self._left_out[error.table] = error.seen
                self._events = _events(self._events, contents.tables.values())
            finally:
                session.close()

    def _publish(self, monitor: Monitor, contents: Contents[Any]) -> None:
        known = contents.build(monitor.schema_version, self._left_out)
        self._put(known, _events(self._events, contents.tables.values()))
        self.published = True


class _Connection:
    """What is known over one connection, and what of it was published."""

    def __init__(
        self,
        monitor: Monitor,
        contents: Contents[Any],
        publish: Callable[[Monitor, Contents[Any]], None],
    ) -> None:
        self._monitor = monitor
        self._contents = contents
        self._publish = publish
        self._asked: dict[str, Where] = {}
        self._loading: Loading | None = None
        self._shown = -1
        self._due = 0.0

    def follow(self) -> Never:
        """Ask for rows and publish what they say, again and again."""
        self._monitor.open()
        self._asked = dict(self._contents.conditions())
        self._monitor.ask(_ROWS, self._asked)
        while True:
            if self._changed() and not self._monitor.torn and time.monotonic() >= self._due:
                self._show()
            if self._loading:
                self._loading.run()
            self._monitor.turn(self._wake())

    def _version(self) -> int:
        """Return another number after each change of what can be shown."""
        flows = self._contents.flows
        hidden = flows.version if flows and not flows.whole else 0
        return sum(table.version for table in self._contents.tables.values()) - hidden

    def _changed(self) -> bool:
        return self._version() != self._shown

    def _wake(self) -> float | None:
        """Return when there is something to do even if the server says nothing."""
        loading = self._loading.due if self._loading else None
        # What is torn is not shown before its rest has come.
        showing = self._due if self._changed() and not self._monitor.torn else None
        return min((due for due in (loading, showing) if due is not None), default=None)

    def _show(self) -> None:
        self._refine()
        if self._monitor.torn:
            return
        first = self._shown < 0
        self._shown = self._version()
        self._publish(self._monitor, self._contents)
        self._due = time.monotonic() + PUBLISH_SECONDS
        if first:
            for table in self._contents.tables.values():
                table.counting = True
            self._begin_loading()

    def _refine(self) -> None:
        """Ask for the rows that are wanted because of those that are known."""
        for _ in range(ROUNDS):
            wanted = self._contents.conditions()
            changes = {name: where for name, where in wanted.items() if where != self._asked[name]}
            if not changes:
                return
            self._monitor.change(_ROWS, changes)
            self._asked.update(changes)

    def _begin_loading(self) -> None:
        flows = self._contents.flows
        if flows is None or flows.columns is None:
            return
        self._monitor.ask(_FLOWS, {LOGICAL_FLOW: NOTHING})

        def change(where: Where) -> None:
            self._monitor.change(_FLOWS, {LOGICAL_FLOW: where})

        self._loading = Loading(flows, change, time.monotonic)


def _events(before: Counter[str], tables: Iterable[Table]) -> Counter[str]:
    events = before.copy()
    for table in tables:
        events += table.events
    return events
