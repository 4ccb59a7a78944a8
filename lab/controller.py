"""A passive OpenFlow controller: it greets, asks who is there, answers echoes, installs nothing.

Message types and the 8-byte header are those of the OpenFlow 1.3 specification, section A.1.
"""

import os
import socket
import struct
from contextlib import suppress
from functools import partial

from lab import namespace
from lab.reactor import Reactor

HEADER = struct.Struct("!BBHI")
VERSION_13 = 4
HELLO, ECHO_REQUEST, ECHO_REPLY, FEATURES_REQUEST = 0, 2, 3, 5


class Controller:
    """Listens for switches in a namespace; lives as long as its reactor."""

    def __init__(self, reactor: Reactor, netns: str, address: tuple[str, int]) -> None:
        self._reactor = reactor
        listener = namespace.inside(netns, partial(socket.create_server, address, backlog=64))
        self._descriptor = listener.detach()
        reactor.watch(self._descriptor, self._accept)

    def _accept(self) -> None:
        listener = socket.socket(fileno=self._descriptor)
        try:
            connection, _ = listener.accept()
        finally:
            listener.detach()  # the reactor closes the descriptor
        descriptor = connection.detach()
        self._reactor.watch(descriptor, Switch(self._reactor, descriptor).on_readable)


class Switch:
    """One switch that called in. Whatever it sends beyond echoes is read and forgotten."""

    def __init__(self, reactor: Reactor, descriptor: int) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._buffer = b""
        self._send(HELLO)
        self._send(FEATURES_REQUEST)

    def on_readable(self) -> None:
        """Take what has come and answer the echoes in it."""
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:
            data = b""
        if not data:
            self._reactor.drop(self._descriptor)
            return
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            _, kind, length, xid = HEADER.unpack_from(self._buffer)
            if len(self._buffer) < max(length, HEADER.size):
                break
            body, self._buffer = self._buffer[HEADER.size : length], self._buffer[length:]
            if kind == ECHO_REQUEST:
                self._send(ECHO_REPLY, xid, body)

    def _send(self, kind: int, xid: int = 0, body: bytes = b"") -> None:
        message = HEADER.pack(VERSION_13, kind, HEADER.size + len(body), xid) + body
        with suppress(OSError):  # a switch that is gone: the next read finds the end
            os.write(self._descriptor, message)
