"""Bytes from a switch, cut into OpenFlow messages.

A protocol of its own and not asyncio's streams: 100,000 flows are 250 messages of 64 KB, and the
kernel writes them straight into a buffer that is there already.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from agent.errors import ParseError, SourceError
from agent.wire.openflow import messages as of

BUFFER_BYTES = 1 << 18
"""Four of the longest messages."""
NEWEST_VERSION = 6
"""OpenFlow 1.5; a first byte above that is another protocol, and the length is not one."""


class Inbox(asyncio.BufferedProtocol):
    """Gives out whole messages until the connection ends.

    Args:
        on_message: Gets each message. What it raises of SourceError and ParseError ends the
            connection.
        on_end: Told once that nothing more will come, and why: ``None`` when the peer closed the
            connection.
    """

    def __init__(
        self,
        on_message: Callable[[bytes], None],
        on_end: Callable[[Exception | None], None],
    ) -> None:
        self._on_message, self._on_end = on_message, on_end
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._filled = 0
        self._transport: asyncio.Transport | None = None
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport, to end it."""
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go; there is always room for more than a message."""
        del sizehint
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Give out the messages that are whole now."""
        self._filled += nbytes
        begin = 0
        try:
            while length := self._whole(begin):
                self._on_message(bytes(self._view[begin : begin + length]))
                begin += length
        except (ParseError, SourceError) as error:
            self._end(error)
            return
        left = self._filled - begin
        if begin:
            self._buffer[:left] = self._buffer[begin : self._filled]
        self._filled = left

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell why nothing more will come."""
        self._end(exc)

    def _whole(self, begin: int) -> int:
        """Return the length of the message that begins there; 0 while it is not whole."""
        if self._ended or self._filled - begin < of.HEADER_LENGTH:
            return 0
        header = of.parse_header(bytes(self._view[begin : begin + of.HEADER_LENGTH]))
        if header.version > NEWEST_VERSION:
            start = bytes(self._view[begin : begin + of.HEADER_LENGTH])
            raise ParseError(f"not OpenFlow: {start!r}")
        return header.length if header.length <= self._filled - begin else 0

    def _end(self, error: Exception | None) -> None:
        if self._ended:
            return
        self._ended = True
        self._on_end(error)
        if self._transport is not None:
            # Not close(): that waits for a peer that does not read to take what it was sent.
            self._transport.abort()
