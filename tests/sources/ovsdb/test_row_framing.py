"""Rows are the same whether their message is waited for or they are taken out of it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ParseError
from agent.sources import ovsdb_row_framing
from agent.sources.ovsdb_row_framing import RowFraming

NAMES = st.text("ABC_abc0", min_size=1, max_size=9)
TEXTS = st.text() | st.sampled_from(['"', "\\", "}{", '\\"', "{", ",", "}"])
COLUMNS = st.dictionaries(TEXTS, st.integers() | TEXTS | st.lists(TEXTS, max_size=3), max_size=3)
UPDATES = st.dictionaries(st.sampled_from(["initial", "modify"]), st.none() | COLUMNS, max_size=1)
TABLES = st.dictionaries(NAMES, st.dictionaries(TEXTS, UPDATES, max_size=5), max_size=4)


@pytest.fixture(autouse=True)
def _take_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ovsdb_row_framing, "TAKEN_BYTES", 20)


def read(chunks: list[bytes]) -> tuple[list[Any], list[int]]:
    """Return messages with the rows that were taken out of them, and how much waited each time."""
    framing = RowFraming()
    messages: list[Any] = []
    taken: list[tuple[str, dict[str, Any]]] = []
    waiting = []
    for chunk in chunks:
        framing.feed(chunk)
        while True:
            taken += framing.take()
            if not framing.complete():
                break
            message = framing.pop()
            assert message is not None
            tables = message["result"] if "result" in message else message["params"][1]
            for name, rows in taken:
                tables[name] |= rows
            taken.clear()
            messages.append(message)
        assert framing.torn == bool(taken)
        waiting.append(len(framing))
    return messages, waiting


@given(
    contents=st.lists(TABLES, max_size=4),
    size=st.integers(1, 60),
    raw=st.booleans(),
    kind=st.sampled_from(["result", "update"]),
)
def test_finds_every_row_whatever_the_chunks(
    contents: list[dict[str, Any]], size: int, *, raw: bool, kind: str
) -> None:
    messages: list[dict[str, Any]] = [
        {"id": 1, "result": tables, "error": None}
        if kind == "result"
        else {"method": "update2", "params": ["rows", tables], "id": None}
        for tables in contents
    ]
    data = "\n ".join(
        json.dumps(message, ensure_ascii=raw, indent=1 if raw else None) for message in messages
    ).encode(errors="replace")
    expected = [
        json.loads(json.dumps(message, ensure_ascii=raw).encode(errors="replace"))
        for message in messages
    ]
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    assert read(chunks)[0] == expected


def test_what_waits_is_bounded() -> None:
    rows = {f"row {number}": {"initial": {"x": number}} for number in range(5000)}
    data = json.dumps({"id": 1, "result": {"T": rows}}).encode()
    size = 100
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    messages, waiting = read(chunks)
    assert messages == [{"id": 1, "result": {"T": rows}}]
    assert max(waiting) < 3 * size


@pytest.mark.parametrize(
    "data",
    [
        b'{"result":{"T":{"a":{},,"b":{}' + b" " * 50,
        b'{"result":{"T":{"a":{"x":NaN},"b":{}' + b" " * 50,
        b'{"result":{"T":{"a":{"x":"\xff"},"b":{}' + b" " * 50,
        b'{"result":{"T":{"a":{"x":"\xed\xa0\x80"},"b":{}' + b" " * 50,
        b'{"result":{"T\\"":{"a":{},"b":{}' + b" " * 50,
        b'{"result":{{"a":{},"b":{}' + b" " * 50,
        b'{"result":{"T":{"a":{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}" + b" " * 50,
    ],
)
def test_refuses_what_is_no_json_before_it_is_complete(data: bytes) -> None:
    with pytest.raises(ParseError):
        RowFraming().feed(data)


@given(data=st.binary(max_size=200) | st.text(alphabet='{}[]"\\:,0a ').map(str.encode))
def test_raises_nothing_but_parse_errors(data: bytes) -> None:
    framing = RowFraming()
    try:
        for start in range(0, len(data), 7):
            framing.feed(data[start : start + 7])
            while framing.complete():
                framing.pop()
    except ParseError:
        pass
    assert len(framing) <= len(data)
