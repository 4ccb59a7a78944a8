"""Rows and changes of rows, as ovsdb-server(7) describes them."""

from typing import Any

import pytest

from agent.errors import ParseError
from agent.wire.ovsdb import (
    BOOLEAN,
    INTEGER,
    NOBODY,
    REFERENCE,
    REFERENCES,
    TEXT,
    Columns,
    Kind,
    read_updates,
    texts,
)

ONE, TWO, THREE = (f"00000000-0000-4000-8000-{number:012}" for number in (1, 2, 3))
STRING = {"type": "string"}
SET = {"type": {"key": "uuid", "min": 0, "max": "unlimited"}}
MAP = {"type": {"key": "string", "value": "string", "min": 0, "max": "unlimited"}}


def columns(wanted: dict[str, Kind], **schema: object) -> Columns:
    return Columns(wanted, {"columns": schema})


def optional(kind: str) -> dict[str, Any]:
    return {"type": {"key": kind, "min": 0}}


def test_a_column_that_is_not_mentioned_has_its_default() -> None:
    read = columns(
        {"a": TEXT, "b": INTEGER, "c": BOOLEAN, "d": REFERENCE, "e": REFERENCES, "f": texts("x")},
        a=STRING,
        b={"type": {"key": "integer"}},
        c={"type": "boolean"},
        d={"type": {"key": {"type": "uuid", "refTable": "X"}}},
        e=SET,
        f=MAP,
    )
    assert read.read_row({}) == ["", 0, False, NOBODY, frozenset(), (None,)]


def test_a_column_that_may_be_empty_or_is_not_there_has_none() -> None:
    read = columns(
        {"a": TEXT, "b": INTEGER, "c": texts("x"), "d": REFERENCES}, a=optional("string")
    )
    assert read.read_row({}) == [None, None, (None,), frozenset()]
    assert read.names == ("a",)
    assert read.read_row({"a": ["set", []]})[0] is None
    assert read.read_row({"a": ["set", ["x"]]})[0] == "x"


def test_columns_that_were_not_asked_for_are_passed_over() -> None:
    read = columns({"a": TEXT}, a=STRING)
    assert read.read_row({"a": "x", "b": {"strange": 1}}) == ["x"]


def test_a_change_of_one_value_is_the_new_one() -> None:
    read = columns({"a": TEXT, "b": INTEGER}, a=optional("string"), b=optional("integer"))
    assert read.read_changes(["x", 5], {"a": "y"}) == ["y", 5]
    assert read.read_changes(["x", 5], {"b": ["set", []]}) == ["x", None]


def test_a_change_of_a_set_is_what_is_in_one_of_the_old_and_the_new() -> None:
    read = columns({"a": REFERENCES}, a=SET)
    known = [frozenset((ONE, TWO))]
    assert read.read_changes(known, {"a": ["uuid", ONE]}) == [{TWO}]
    difference = ["set", [["uuid", ONE], ["uuid", THREE]]]
    assert read.read_changes(known, {"a": difference}) == [{TWO, THREE}]
    assert read.read_changes(known, {"a": ["set", []]}) == known


def test_a_change_of_a_map_has_new_values_and_old_ones_of_what_is_gone() -> None:
    read = columns({"a": texts("x", "y", "z")}, a=MAP)
    known = [("1", None, "3")]
    assert read.read_changes(known, {"a": ["map", [["x", "2"]]]}) == [("2", None, "3")]
    assert read.read_changes(known, {"a": ["map", [["x", "1"]]]}) == [(None, None, "3")]
    assert read.read_changes(known, {"a": ["map", [["y", "1"], ["w", "1"]]]}) == [("1", "1", "3")]


def test_changes_are_one_for_each_row() -> None:
    assert read_updates({ONE: {"insert": {}}, TWO: {"delete": None}}) == {
        ONE: ("insert", {}),
        TWO: ("delete", None),
    }
    for wrong in ([], {ONE: {}}, {ONE: {"insert": {}, "delete": None}}, {"x": {"insert": {}}}):
        with pytest.raises(ParseError):
            read_updates(wrong)


@pytest.mark.parametrize("schema", [None, [], {}, {"columns": None}, {"columns": ["a"]}])
def test_refuses_what_is_no_schema(schema: object) -> None:
    with pytest.raises(ParseError):
        Columns({"a": TEXT}, schema)
