"""Tables of a database as far as they are wanted: a few values a row, nothing of its JSON."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from agent.errors import ParseError
from agent.wire.ovsdb import Columns, Kind, read_updates

_CHANGES = {"initial": "added", "insert": "added", "modify": "changed", "delete": "removed"}


class TooManyRowsError(Exception):
    """A table has more rows than may be remembered: it is to be left out.

    Attributes:
        table: Which.
        seen: How many were seen; there may be more.
    """

    def __init__(self, table: str, seen: int) -> None:
        super().__init__(f"{table}: {seen}")
        self.table = table
        self.seen = seen


class Table:
    """Takes the changes of a table's rows; subclasses keep what they make of them.

    Args:
        name: In the schema.
        wanted: Columns, in the order of the values.
        limit: How many rows may be remembered.

    Attributes:
        columns: Those that the schema of this connection has; ``None`` without the table.
        events: How many rows were added, changed and removed, since ``counting`` is set.
        version: Another number after each change.
    """

    def __init__(self, name: str, wanted: Mapping[str, Kind], limit: int) -> None:
        self.name = name
        self.columns: Columns | None = None
        self.events: Counter[str] = Counter()
        self.counting = False
        self.version = 0
        self._wanted = wanted
        self._limit = limit

    @property
    def size(self) -> int:
        """How many rows are remembered."""
        raise NotImplementedError

    def begin(self, tables: object) -> None:
        """Look the columns up in the ``tables`` of a schema.

        Raises:
            ParseError: If they are none.
        """
        if not isinstance(tables, dict):
            raise ParseError("a schema without tables")
        schema = tables.get(self.name)
        self.columns = None if schema is None else Columns(self._wanted, schema)

    def update(self, updates: object) -> None:
        """Take the changes of rows.

        Raises:
            ParseError: If they have another shape, or change a row that is not there.
            TooManyRowsError: If there are more rows than may be remembered.
        """
        if self.columns is None:
            raise ParseError(f"rows of {self.name}, which was not asked for")
        changes = read_updates(updates)
        for uuid, (kind, row) in changes.items():
            match kind:
                case "initial" | "insert":
                    self._put(uuid, self.columns.read_row(row))
                case "modify":
                    self._put(uuid, self.columns.read_changes(self._get(uuid), row))
                case "delete":
                    self._drop(uuid)
                case _:
                    raise ParseError(f"a row of {self.name} with a change of no known kind")
        self.version += 1
        if self.counting:
            self._count(Counter(_CHANGES[kind] for kind, _ in changes.values()))
        if self.size > self._limit:
            raise TooManyRowsError(self.name, self.size)

    def _count(self, changes: Counter[str]) -> None:
        for change, count in changes.items():
            self.events[f"{self.name.lower()}_{change}"] += count

    def _put(self, uuid: str, values: list[Any]) -> None:
        raise NotImplementedError

    def _get(self, uuid: str) -> tuple[Any, ...]:
        """Return the values of a row.

        Raises:
            ParseError: If it is not there.
        """
        raise NotImplementedError

    def _drop(self, uuid: str) -> None:
        """Forget a row, if it is there."""
        raise NotImplementedError


R = TypeVar("R", bound=NamedTuple)


class RowTable(Table, Generic[R]):
    """A table whose rows are kept as named tuples.

    Args:
        name: In the schema.
        row: Their type; its fields are the columns.
        wanted: Kinds of the columns.
        limit: How many rows may be remembered.

    Attributes:
        rows: By UUID.
        stale: UUIDs of rows that changed, came or went since somebody cleared this.
    """

    def __init__(self, name: str, row: type[R], wanted: Mapping[str, Kind], limit: int) -> None:
        super().__init__(name, {field: wanted[field] for field in row._fields}, limit)
        self.rows: dict[str, R] = {}
        self.stale: set[str] = set()
        self._row = row

    @property
    def size(self) -> int:
        """How many rows are remembered."""
        return len(self.rows)

    def _put(self, uuid: str, values: list[Any]) -> None:
        self.rows[uuid] = self._row._make(values)
        self.stale.add(uuid)

    def _get(self, uuid: str) -> tuple[Any, ...]:
        known = self.rows.get(uuid)
        if known is None:
            raise ParseError(f"a change of a row of {self.name} that is not there")
        return known

    def _drop(self, uuid: str) -> None:
        if self.rows.pop(uuid, None) is not None:
            self.stale.add(uuid)
