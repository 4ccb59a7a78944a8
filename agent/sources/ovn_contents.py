"""What the Northbound and the Southbound have in common: rows that become objects of the model."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from agent.sources.ovn_logical_flows import LogicalFlows
from agent.sources.ovsdb_monitor import Where
from agent.sources.ovsdb_table import RowTable, Table

T = TypeVar("T")
R = TypeVar("R", bound=NamedTuple)
T_co = TypeVar("T_co", covariant=True)


class Contents(Protocol[T_co]):
    """A database as it is followed over one connection."""

    @property
    def tables(self) -> Mapping[str, Table]:
        """What is asked for, by name of the table, without those that are left out."""

    @property
    def flows(self) -> LogicalFlows | None:
        """The one of them that is asked for in pieces; ``None`` if it is not."""

    def conditions(self) -> Mapping[str, Where]:
        """Return which rows are wanted, by table, as far as it is known by now."""

    def build(self, schema: str | None, left_out: Mapping[str, int]) -> T_co:
        """Return what is known; to be called when the tables hold whole transactions."""


class Made(Generic[R, T]):
    """The objects that rows become; only those of rows that changed are made again.

    Args:
        table: The rows.
        make: Makes an object of a row.
        key: What they are sorted by.
    """

    def __init__(
        self, table: RowTable[R], make: Callable[[str, R], T], key: Callable[[T], Any]
    ) -> None:
        self._table = table
        self._make = make
        self._key = key
        self._made: dict[str, T] = {}
        self._all: tuple[T, ...] = ()

    def all(self, others: Iterable[str] = ()) -> tuple[T, ...]:
        """Return all of them, sorted: the same tuple as before if none was made again.

        Args:
            others: UUIDs of rows whose objects are to be made again although they did not change.
        """
        stale = self._table.stale | set(others)
        if stale:
            self._table.stale = set()
            for uuid in stale:
                row = self._table.rows.get(uuid)
                if row is None:
                    self._made.pop(uuid, None)
                else:
                    self._made[uuid] = self._make(uuid, row)
            # Nearly sorted already, which costs sorted() one comparison for each.
            self._made = dict(sorted(self._made.items(), key=lambda item: self._key(item[1])))
            self._all = tuple(self._made.values())
        return self._all
