"""JSON-RPC 1.0 as unixctl speaks it: one flat object each way, without a terminator."""

import json
import re
from dataclasses import dataclass

from agent.errors import ParseError

MAX_GAP_BYTES = 64
"""Between two strings stand a colon or comma, spaces and at most an id or a null."""
MAX_STRINGS = 8
"""A reply has three keys and at most three string values; a peer that sends more is not one."""

_OUTSIDE_STRINGS = b" \t\r\n{}:,-0123456789nultrefas"
# Possessive, so that a reply of many escapes costs neither memory nor a second look.
_STRING_BODY = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: exactly one of ``result`` and ``error`` is a text, the other is ``None``."""

    id: int
    result: str | None
    error: str | None


def request(request_id: int, method: str, params: tuple[str, ...]) -> bytes:
    """Write a request: ``{"id":0,"method":"fdb/stats-show","params":["br-int"]}``."""
    message = {"id": request_id, "method": method, "params": params}
    return json.dumps(message, separators=(",", ":")).encode("ascii")


class ReplyBuffer:
    r"""Collects one reply from the pieces in which it arrives.

    ``{"id":0,"result":"handlers:1 ports:3","error":null}``, keys in any order. Each byte is looked
    at once, however many pieces there are. What cannot become a reply is refused when it arrives,
    not when the time is up.

    Args:
        max_bytes: The largest reply that is collected.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._data = bytearray()
        self._at = 0
        self._gap = 0
        self._strings = 0
        self._in_string = False

    def feed(self, piece: bytes) -> Reply | None:
        """Take a piece and return the reply when it is complete, ``None`` before.

        Raises:
            ParseError: If it is not a flat JSON object with an integer id and one text, if it is
                too large, or if anything but white space follows it. The buffer is of no use
                afterwards.
        """
        self._data += piece
        if len(self._data) > self._max_bytes:
            raise ParseError(f"a reply of more than {self._max_bytes} bytes")
        while self._at < len(self._data):
            if self._in_string:
                if not self._pass_string():
                    return None
            else:
                end = self._pass_gap()
                if end is not None:
                    return self._finish(end)
        return None

    def _pass_string(self) -> bool:
        """Move behind the closing quote; False when it has not arrived."""
        body = _STRING_BODY.match(self._data, self._at)
        # A lone backslash at the end stays unread: its other half decides what it means.
        self._at = body.end() if body is not None else self._at
        if self._data[self._at : self._at + 1] != b'"':
            return False
        self._at += 1
        self._gap = self._at
        self._in_string = False
        return True

    def _pass_gap(self) -> int | None:
        """Move into the next string, or return where the object ends; ``None`` without an end."""
        quote = self._data.find(b'"', self._at)
        stop = quote if quote >= 0 else len(self._data)
        closing = self._data.find(b"}", self._gap, stop)
        self._check_gap(bytes(self._data[self._gap : closing if closing >= 0 else stop]))
        if self._gap == 0 and (quote >= 0 or closing >= 0) and b"{" not in self._data[:stop]:
            raise ParseError("not a reply: it does not begin with a brace")
        if closing >= 0:
            return closing + 1
        self._at = stop
        if quote >= 0:
            self._at += 1
            self._in_string = True
            self._strings += 1
            if self._strings > MAX_STRINGS:
                raise ParseError("more strings than a reply has")
        return None

    def _check_gap(self, gap: bytes) -> None:
        opens = gap.lstrip()
        wrong_start = self._gap == 0 and opens != b"" and not opens.startswith(b"{")
        wrong_nesting = gap.count(b"{") > (1 if self._gap == 0 else 0)
        if (
            wrong_start
            or wrong_nesting
            or len(gap) > MAX_GAP_BYTES
            or gap.translate(None, _OUTSIDE_STRINGS)
        ):
            raise ParseError(f"not a reply: {gap[:MAX_GAP_BYTES]!r}")

    def _finish(self, end: int) -> Reply:
        if self._data[end:].strip():
            raise ParseError("bytes after the reply")
        try:
            message = json.loads(self._data[:end].decode("utf-8"))
        except ValueError as error:
            raise ParseError(f"not a reply: {error}") from None
        return _reply(message)


def _reply(message: object) -> Reply:
    if not isinstance(message, dict):
        raise ParseError("a reply is an object")
    request_id, result, error = (message.get(key) for key in ("id", "result", "error"))
    if isinstance(request_id, bool) or not isinstance(request_id, int):
        raise ParseError(f"the id of a reply is a number, not {request_id!r}")
    if isinstance(result, str) and error is None:
        return Reply(request_id, _text(result), None)
    if isinstance(error, str) and result is None:
        return Reply(request_id, None, _text(error))
    raise ParseError("a reply has a result or an error, and it is a text")


def _text(text: str) -> str:
    r"""Refuse halves of surrogate pairs (``"\ud800"``), which no page could be encoded with."""
    if not text.isascii() and _SURROGATE.search(text):
        raise ParseError("half a surrogate pair in a reply")
    return text
