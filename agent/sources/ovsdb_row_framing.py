"""Takes rows out of a message that is still arriving.

The first answer to a monitor of 500,000 logical flows is 100 MB of JSON in one message, and so is
what ovn-northd writes in one transaction. As a whole it is 0.8 GB of Python objects, and the
standard library's parser holds the GIL for 6 s. Here rows leave the buffer as soon as a few hundred
are there: measured, 8 ms of parsing at a time, and what waits is bounded.
"""

import json
import re

from agent.errors import ParseError
from agent.sources.ovsdb_framing import Framing, refuse_constant

TAKEN_BYTES = 64 << 10
"""How much of an incomplete message waits; more is taken out of it."""
_ROWS_DEPTH = 3
"""How deep in braces rows stand: in a message, its ``result`` or update, a table."""
_TABLE = re.compile(rb'"([^"\\]{1,100})"\s*:\s*\Z')
_NAME_BYTES = 128
_BETWEEN = b" \t\r\n,"

Rows = dict[str, object]


class RowFraming(Framing):
    """Bytes in; rows of a message that is too large to wait for, and JSON objects out.

    A message whose rows were taken comes with empty tables in the end. What kind of message it is
    may be known only then, so that rows of a kind that was not asked for are found out too late;
    the server that sends them could as well say them in the right one.

    Attributes:
        torn: Whether rows were taken out of a message that is not complete: what is known is a
            part of a transaction then.
    """

    def __init__(self) -> None:
        super().__init__()
        self.torn = False
        self._table_at = 0  # where the rows of the table begin that is open, 0 for none
        self._rows_end = 0  # where the last whole one of them ends
        self._name = ""
        self._taken: list[tuple[str, Rows]] = []
        self._emptied = False  # rows were taken out of the table that is open

    def take(self) -> list[tuple[str, Rows]]:
        """Return rows by their UUIDs with the name of their table, since the last call."""
        taken, self._taken = self._taken, []
        return taken

    def feed(self, data: bytes) -> None:
        """Add what was received.

        Raises:
            ParseError: If this can not become a JSON object, or not one of a sane size.
        """
        super().feed(data)
        if not self.complete() and self._table_at and len(self) > TAKEN_BYTES:
            self._empty()

    def pop(self) -> dict[str, object] | None:
        """Take the first object; ``None`` while it is incomplete.

        Raises:
            ParseError: If it is not JSON.
        """
        if self.complete():
            self.torn = False
        return super().pop()

    def _step(self, byte: int) -> bool:
        before = self._depth
        if not super()._step(byte):
            return False
        if before == _ROWS_DEPTH and self._depth < before:
            if self._emptied:
                self._empty()
            self._table_at, self._emptied = 0, False
        elif self._depth == _ROWS_DEPTH and before != self._depth:
            self._rows_end = self._scanned
            if before < _ROWS_DEPTH:
                self._table_at = self._scanned
        return True

    def _empty(self) -> None:
        """Take the whole rows out of the table that is open."""
        start, end = self._table_at, self._rows_end
        if end == start:
            return
        if not self._emptied:
            named = _TABLE.search(bytes(self._buffer[max(0, start - _NAME_BYTES) : start - 1]))
            if named is None:
                raise ParseError("rows of no table")
            self._name = named[1].decode("ascii", "replace")
        raw = bytes(self._buffer[start:end]).strip(_BETWEEN)
        try:
            rows = json.loads((b"{%b}" % raw).decode(), parse_constant=refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ParseError(f"not JSON: {error}") from error
        del self._buffer[start:end]
        self._scanned -= end - start
        self._rows_end = start
        self._taken.append((self._name, rows))
        self._emptied = self.torn = True
