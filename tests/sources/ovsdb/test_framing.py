"""Messages are found in the stream wherever it is cut."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ParseError
from agent.sources.ovsdb_framing import Framing

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(['"', "\\", "}{", '\\"']),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def read(chunks: list[bytes]) -> list[Any]:
    framing = Framing()
    found = []
    for chunk in chunks:
        framing.feed(chunk)
        while framing.complete():
            found.append(framing.pop())
    assert framing.pop() is None
    return found


@given(
    messages=st.lists(st.dictionaries(st.text(), VALUES, max_size=4), max_size=4),
    size=st.integers(1, 40),
    raw=st.booleans(),
)
def test_finds_every_message_whatever_the_chunks(
    messages: list[dict[str, Any]], size: int, *, raw: bool
) -> None:
    data = "\n ".join(
        json.dumps(message, ensure_ascii=raw, indent=1 if raw else None) for message in messages
    ).encode(errors="replace")
    expected = read([data])
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    assert read(chunks) == expected
    if raw:
        assert expected == messages


def test_keeps_a_character_that_is_cut_by_a_read() -> None:
    data = '{"name":"brücke-\N{SHRUG}"}'.encode()
    for cut in range(len(data)):
        assert read([data[:cut], data[cut:]]) == [{"name": "brücke-\N{SHRUG}"}]


@given(data=st.binary(max_size=200) | st.text(alphabet='{}[]"\\:,0a ').map(str.encode))
def test_raises_nothing_but_parse_errors(data: bytes) -> None:
    framing = Framing()
    try:
        framing.feed(data)
        while framing.complete():
            framing.pop()
    except ParseError:
        pass
    assert len(framing) <= len(data)


def test_refuses_what_cannot_become_an_object_before_it_is_complete() -> None:
    for data in (b"[", b"x", b'"', b"}", b"\x00", b'  "{'):
        with pytest.raises(ParseError):
            Framing().feed(data)
