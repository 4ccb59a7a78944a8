"""Replies are collected from pieces, each byte once, and refused as soon as they cannot be one."""

import json
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ParseError
from agent.wire.unixctl.framing import Reply, ReplyBuffer, request

LIMIT = 1 << 20


def reply_bytes(result: str | None, error: str | None = None, request_id: int = 7) -> bytes:
    return json.dumps({"error": error, "id": request_id, "result": result}).encode()


def feed_all(data: bytes, size: int, limit: int = LIMIT) -> Reply | None:
    buffer = ReplyBuffer(limit)
    reply = None
    for start in range(0, len(data), size):
        reply = buffer.feed(data[start : start + size])
    return reply


def test_request_is_one_json_object() -> None:
    written = request(3, "fdb/stats-show", ('br"int', "é"))
    assert written.isascii()
    assert json.loads(written) == {"id": 3, "method": "fdb/stats-show", "params": ['br"int', "é"]}


@given(
    text=st.text(st.characters(exclude_categories=["Cs"])),
    failed=st.booleans(),
    request_id=st.integers(0, 2**63),
    size=st.integers(1, 40),
    ascii_only=st.booleans(),
)
def test_any_text_survives_any_split(
    *, text: str, failed: bool, request_id: int, size: int, ascii_only: bool
) -> None:
    message = {
        "id": request_id,
        "result": None if failed else text,
        "error": text if failed else None,
    }
    data = json.dumps(message, ensure_ascii=ascii_only).encode()
    assert feed_all(data, size) == Reply(
        request_id, None if failed else text, text if failed else None
    )


def test_compact_and_spaced_objects_are_the_same() -> None:
    assert feed_all(b'{"id":0,"result":"a","error":null}', 1) == Reply(0, "a", None)
    assert feed_all(b' {\n"error" : null , "result" : "a",\t"id" : 0 }\n', 1) == Reply(0, "a", None)


@pytest.mark.parametrize("tail", ['\\"', "\\\\", '\\\\\\"', "}", '{\\"id\\":1}', "\\u007d"])
def test_quotes_and_braces_inside_a_text_end_nothing(tail: str) -> None:
    data = b'{"id":1,"result":"x' + tail.encode() + b'","error":null}'
    for size in (1, 2, 3, len(data)):
        reply = feed_all(data, size)
        assert reply is not None
        assert reply.result == json.loads(data)["result"]


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\x16\x03\x01",
        b"[",
        b'"',
        b"}",
        b"{g",
        b'{"id":zz',
        b'{"id":0,"result":{',
        b'{"id":0,"result":[',
        b"{" + b" " * 100,
        b" " * 100,
        b'{"a","b","c","d","e","f","g","h","i',
    ],
)
def test_what_cannot_become_a_reply_is_refused_before_it_ends(garbage: bytes) -> None:
    with pytest.raises(ParseError):
        feed_all(garbage, 1)
    with pytest.raises(ParseError):
        feed_all(garbage, len(garbage))


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b'{"id":0}',
        b'{"id":0,"result":null,"error":null}',
        b'{"id":0,"result":"a","error":"b"}',
        b'{"id":true,"result":"a","error":null}',
        b'{"id":"0","result":"a","error":null}',
        b'{"id":null,"result":"a","error":null}',
        b'{"id":0,"result":1,"error":null}',
        b'{"id":0,"result":"a","error":null}x',
        b'{"id":0,"result":"a","error":null}{"id":1,"result":"a","error":null}',
        b'{"id":0,"result":"\\ud800","error":null}',
        b'{"id":0,"result":"\xff","error":null}',
        b'{"id":0,"result":"a\nb","error":null}',
        b'{"id":0,"result":"\\q","error":null}',
        b'{"id":0:"result","a"}',
        b'{"id":-,"result":"a","error":null}',
    ],
)
def test_object_that_is_no_reply_is_refused(data: bytes) -> None:
    with pytest.raises(ParseError):
        feed_all(data, len(data))


def test_reply_over_the_limit_is_refused_before_it_is_complete() -> None:
    data = reply_bytes("x" * 200)
    assert feed_all(data, 10, limit=len(data)) is not None
    buffer = ReplyBuffer(100)
    buffer.feed(data[:100])
    with pytest.raises(ParseError):
        buffer.feed(data[100:101])


@pytest.mark.parametrize("unit", ["x", "line\\n", '\\"', "\\\\"])
def test_large_reply_in_small_pieces_is_cheap(unit: str) -> None:
    """8 MB in pieces of 4 kB: looked at again at every piece, it would be 8 GB."""
    body = unit * ((8 << 20) // len(unit))
    data = b'{"id":0,"result":"' + body.encode() + b'","error":null}'
    start = time.process_time()
    reply = feed_all(data, 4096, limit=16 << 20)
    assert reply is not None
    assert time.process_time() - start < 5


@given(data=st.binary(max_size=200), size=st.integers(1, 20))
def test_any_bytes_are_collected_or_refused(data: bytes, size: int) -> None:
    with suppress(ParseError):
        feed_all(data, size)


@given(at=st.integers(min_value=0), cut=st.integers(0, 5), put=st.binary(max_size=5))
def test_changed_reply_is_collected_or_refused(at: int, cut: int, put: bytes) -> None:
    data = reply_bytes('handlers:1 "ports":3\n')
    at %= len(data) + 1
    with suppress(ParseError):
        feed_all(data[:at] + put + data[at + cut :], 7)
