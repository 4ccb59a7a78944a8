"""Rows and their changes as an OVSDB server writes them in JSON.

A row has the columns that were asked for; values are written as in RFC 7047, section 5.1, changes
as in ovsdb-server(7), section 4.1.14. Samples::

    {"insert": {"name": "hv1", "encaps": ["uuid", "7a2f5b4e-…"], "external_ids": ["map", []]}}
    {"modify": {"nb_cfg": 6, "external_ids": ["map", [["name2", "blue"]]]}}
    {"delete": null}

``insert`` and ``initial`` leave out columns that have their type's default. ``modify`` has the
columns that changed: of one value the new one, of a set what is in only one of the old and the new,
of a map the pairs that are, the new value where a key is in both.

All that comes is checked: a schema that promises a type came from the same server.
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.errors import ParseError
from agent.wire.text import clean

MAX_REFERENCES = 10_000
"""In a set: more than any row needs, and few enough to keep."""
NOBODY = "00000000-0000-0000-0000-000000000000"
"""The UUID of no row, and a reference's default."""
_INTEGERS = range(-(2**63), 2**63)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Kind:
    """How a column is understood.

    Attributes:
        read: Makes a value of its JSON, or what ``merge`` takes.
        default: What a row has that does not mention the column; ``None`` instead if the column may
            be empty and is no set and no map.
        merge: Makes the new value of the known one and a difference; ``None`` where the difference
            is the new value.
    """

    read: Callable[[object], Any]
    default: Any
    merge: Callable[[Any, Any], Any] | None = None


class Columns:
    """The columns of a table that are wanted and there.

    Args:
        wanted: Columns in the order of the values.
        schema: Of the table, as ``get_schema`` gives it: ``{"columns": {"up": {"type": …}}}``.

    Attributes:
        names: Those that the schema has.

    Raises:
        ParseError: If that is no schema.
    """

    def __init__(self, wanted: Mapping[str, Kind], schema: object) -> None:
        known = schema.get("columns") if isinstance(schema, dict) else None
        if not isinstance(known, dict):
            raise ParseError("a table of the schema has no columns")
        self.names = tuple(name for name in wanted if name in known)
        self._kinds = tuple(
            (number, name, kind)
            for number, (name, kind) in enumerate(wanted.items())
            if name in known
        )
        self._defaults = [
            kind.default if kind.merge or _has_one(known.get(name)) else None
            for name, kind in wanted.items()
        ]

    def read_row(self, row: object) -> list[Any]:
        """Return a row's values; ``None`` of columns that the schema lacks.

        Raises:
            ParseError: If it is no row, or a value has another type.
        """
        given = _object(row)
        values = self._defaults.copy()
        for number, name, kind in self._kinds:
            if name in given:
                values[number] = kind.read(given[name])
        return values

    def read_changes(self, known: Sequence[Any], row: object) -> list[Any]:
        """Return a row's values after a ``modify``.

        Raises:
            ParseError: If it is no row, or a value has another type.
        """
        given = _object(row)
        values = list(known)
        for number, name, kind in self._kinds:
            if name in given:
                value = kind.read(given[name])
                values[number] = kind.merge(values[number], value) if kind.merge else value
        return values


def read_updates(updates: object) -> dict[str, tuple[str, Any]]:
    """Check the shape of the changes of a table.

    Returns:
        By UUID of the row what it is (initial, insert, modify, delete) and the rest.

    Raises:
        ParseError: If they have another.
    """
    found = {}
    for uuid, update in _object(updates).items():
        if not _UUID.fullmatch(uuid):
            raise ParseError("a row without a UUID")
        if not isinstance(update, dict) or len(update) != 1:
            raise ParseError("a change that is not one change")
        found[uuid] = next(iter(update.items()))
    return found


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ParseError("no JSON object where rows or columns belong")
    return value


def _has_one(column: object) -> bool:
    """Whether a column is there and has one value, never none: ``{"type": {"key": "boolean"}}``."""
    kind = column.get("type") if isinstance(column, dict) else None
    return kind is not None and not (isinstance(kind, dict) and kind.get("min") == 0)


def _text(atom: object) -> str:
    if not isinstance(atom, str):
        raise ParseError("no text where a text belongs")
    return clean(atom)


def _integer(atom: object) -> int:
    if not isinstance(atom, int) or isinstance(atom, bool) or atom not in _INTEGERS:
        raise ParseError("no integer where an integer belongs")
    return atom


def _boolean(atom: object) -> bool:
    if not isinstance(atom, bool):
        raise ParseError("no boolean where a boolean belongs")
    return atom


def _reference(atom: object) -> str:
    match atom:
        case ["uuid", str(uuid)] if _UUID.fullmatch(uuid):
            return sys.intern(uuid)  # a thousand ports refer to one chassis
    raise ParseError("no UUID where a UUID belongs")


def _single(read: Callable[[object], Any]) -> Callable[[object], Any]:
    """Read an atom, or a set of at most one."""

    def read_single(value: object) -> Any:
        match value:
            case ["set", []]:
                return None
            case ["set", [atom]]:
                return read(atom)
        return read(value)

    return read_single


def _references(value: object) -> frozenset[str]:
    if isinstance(value, list) and value[:1] == ["uuid"]:
        return frozenset((_reference(value),))
    members = _members("set", value)
    if len(members) > MAX_REFERENCES:
        raise ParseError(f"a set of more than {MAX_REFERENCES}")
    return frozenset(map(_reference, members))


def _members(kind: str, value: object) -> list[Any]:
    """Return what is in ``["set", […]]`` or ``["map", […]]``."""
    match value:
        case [str(said), list(members)] if said == kind:
            return members
    raise ParseError(f"no {kind} where a {kind} belongs")


def _toggled(known: frozenset[str], difference: frozenset[str]) -> frozenset[str]:
    both = known ^ difference
    if len(both) > MAX_REFERENCES:
        raise ParseError(f"a set of more than {MAX_REFERENCES}")
    return both


def texts(*keys: str) -> Kind:
    """Return the kind of a map of texts of which these keys are kept.

    Its values have a text or ``None`` for each key, in the order of the keys.
    """

    def read(value: object) -> tuple[str | None, ...]:
        found: dict[str, str] = {}
        for pair in _members("map", value):
            # Not match: of what 100,000 rows cost, that would be a fifth.
            if not isinstance(pair, list) or len(pair) != 2:  # noqa: PLR2004 (a pair)
                raise ParseError("no pair where one belongs")
            key, text = pair
            if not isinstance(key, str):
                raise ParseError("no text where a key belongs")
            if key in keys:
                found[key] = _text(text)
        return tuple(map(found.get, keys))

    return Kind(read, (None,) * len(keys), _merged)


def _merged(
    known: tuple[str | None, ...], difference: tuple[str | None, ...]
) -> tuple[str | None, ...]:
    """Apply the difference of two maps: what is named with the value that it has is gone."""
    return tuple(
        old if new is None else None if new == old else new
        for old, new in zip(known, difference, strict=True)
    )


TEXT = Kind(_single(_text), "")
INTEGER = Kind(_single(_integer), 0)
BOOLEAN = Kind(_single(_boolean), default=False)
REFERENCE = Kind(_single(_reference), NOBODY)
REFERENCES = Kind(_references, frozenset(), _toggled)
