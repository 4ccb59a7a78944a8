"""A small OpenFlow 1.3 controller for probes and traffic: it may change a switch, unlike the agent.

```python
with Connection(node.rundir / "br-int.mgmt") as connection:
    connection.send(ECHO_REQUEST, b"")
    kind, xid, body = connection.receive()
```

Numbers are those of openflow/openflow-1.3.h and openflow/nicira-ext.h.
"""

import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from lab.process import LabError

VERSION = 4
HELLO, ERROR, ECHO_REQUEST, ECHO_REPLY, EXPERIMENTER = 0, 1, 2, 3, 4
SET_CONFIG, PACKET_IN, PACKET_OUT, FLOW_MOD = 9, 10, 13, 14
MULTIPART_REQUEST, MULTIPART_REPLY, BARRIER_REQUEST, BARRIER_REPLY = 18, 19, 20, 21
NICIRA = 0x2320
SET_PACKET_IN_FORMAT, RESUME, PACKET_IN2 = 16, 28, 30
IN_PORT_CONTROLLER, ANY, NO_BUFFER = 0xFFFFFFFD, 0xFFFFFFFF, 0xFFFFFFFF
FLOW_ADD, FLOW_DELETE_STRICT = 0, 4
OUTPUT, SET_FIELD, VENDOR_ACTION = 0, 25, 0xFFFF
RESUBMIT_TABLE, CONTROLLER2, CLONE = 14, 37, 42
EMPTY_MATCH = struct.pack("!HH4x", 1, 4)
HEADER = struct.Struct("!BBHI")
FLOW_STATS = struct.Struct("!HBxIIHHHH4xQQQ")
SECONDS = 10.0


class Message(NamedTuple):
    """One message; ``body`` is what follows the header."""

    kind: int
    xid: int
    body: bytes


class FlowStats(NamedTuple):
    """What a flow is and has counted; ``match`` holds OXM entries, without padding."""

    table: int
    priority: int
    match: bytes
    packets: int


class Connection:
    """A management connection to a bridge: blocking, one message at a time.

    Args:
        path: The bridge's ``.mgmt`` socket.
    """

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(SECONDS)
        self.socket.connect(str(path))
        self._received = b""
        self._xid = 0
        self.send(HELLO)
        self.expect(HELLO)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def send(self, kind: int, body: bytes = b"") -> int:
        """Send a message and return its xid."""
        self._xid += 1
        self.socket.sendall(message(kind, body, self._xid))
        return self._xid

    def receive(self) -> Message:
        """Wait for the next message.

        Raises:
            LabError: If the switch closes the connection or reports an error.
        """
        while (found := self.parsed()) is None:
            self.read()
        return found

    def read(self) -> None:
        """Wait for bytes, of a message or a part of one.

        Raises:
            LabError: If the switch closes the connection.
        """
        data = self.socket.recv(1 << 20)
        if not data:
            raise LabError("the switch closed the connection")
        self._received += data

    def parsed(self) -> Message | None:
        """Return the next message of what was read; ``None`` if it is not complete.

        Raises:
            LabError: If it is an error.
        """
        if len(self._received) < HEADER.size:
            return None
        _, kind, length, xid = HEADER.unpack_from(self._received)
        if len(self._received) < length:
            return None
        body, self._received = self._received[HEADER.size : length], self._received[length:]
        if kind == ERROR:
            raise LabError(f"OpenFlow error {body[:4].hex()}")
        return Message(kind, xid, body)

    def expect(self, kind: int) -> Message:
        """Wait for a message of this kind and answer nothing else on the way.

        Raises:
            LabError: As ``receive``.
        """
        while (found := self.receive()).kind != kind:
            pass
        return found

    def barrier(self) -> None:
        """Wait until the switch has done all it was sent.

        Raises:
            LabError: If it reported an error for any of it.
        """
        self.send(BARRIER_REQUEST)
        self.expect(BARRIER_REPLY)

    def flows(self) -> Iterator[FlowStats]:
        """Yield every flow of the bridge, as OFPMP_FLOW answers."""
        everything = struct.pack("!B3xII4xQQ", 0xFF, ANY, ANY, 0, 0) + EMPTY_MATCH
        self.send(MULTIPART_REQUEST, struct.pack("!HH4x", 1, 0) + everything)
        more = True
        while more:
            body = self.expect(MULTIPART_REPLY).body
            more = bool(int.from_bytes(body[2:4], "big") & 1)
            at = 8
            while at < len(body):
                length, table, _, _, priority, *_, packets, _ = FLOW_STATS.unpack_from(body, at)
                start = at + FLOW_STATS.size
                size = int.from_bytes(body[start + 2 : start + 4], "big")
                yield FlowStats(table, priority, body[start + 4 : start + size], packets)
                at += length


def message(kind: int, body: bytes = b"", xid: int = 1) -> bytes:
    """Put a header before a body."""
    return HEADER.pack(VERSION, kind, HEADER.size + len(body), xid) + body


def vendor(subtype: int, body: bytes = b"") -> bytes:
    """Make the body of a Nicira message."""
    return struct.pack("!II", NICIRA, subtype) + body


def padded(data: bytes) -> bytes:
    """Fill up to a multiple of eight bytes."""
    return data + bytes(-len(data) % 8)


def packet_out(actions: bytes, packet: bytes) -> bytes:
    """Make the body of OFPT_PACKET_OUT for a packet that comes from no port."""
    head = struct.pack("!IIH6x", NO_BUFFER, IN_PORT_CONTROLLER, len(actions))
    return head + actions + packet


def flow_mod(command: int, table: int, priority: int) -> bytes:
    """Make the body of OFPT_FLOW_MOD: everything matches, nothing is done."""
    numbers = struct.pack(
        "!QQBBHHHIIIHxx", 0, 0, table, command, 0, 0, priority, NO_BUFFER, ANY, ANY, 0
    )
    return numbers + EMPTY_MATCH


def output(port: int) -> bytes:
    """Make OFPAT_OUTPUT, with the whole packet where it goes to a controller."""
    return struct.pack("!HHIH6x", OUTPUT, 16, port, 0xFFFF)


def set_field(oxm: bytes) -> bytes:
    """Make OFPAT_SET_FIELD of an OXM entry without mask."""
    body = padded(struct.pack("!HH", SET_FIELD, 0) + oxm)
    return body[:2] + struct.pack("!H", len(body)) + body[4:]


def vendor_action(subtype: int, body: bytes = b"") -> bytes:
    """Make a Nicira action; ``body`` begins at its tenth byte."""
    data = padded(struct.pack("!HHIH", VENDOR_ACTION, 0, NICIRA, subtype) + body)
    return data[:2] + struct.pack("!H", len(data)) + data[4:]


def resubmit(table: int, port: int) -> bytes:
    """Make NXAST_RESUBMIT_TABLE, as if the packet came from this port."""
    return vendor_action(RESUBMIT_TABLE, struct.pack("!HB3x", port, table))


def clone(actions: bytes) -> bytes:
    """Make NXAST_CLONE: what the actions change is forgotten after them."""
    return vendor_action(CLONE, bytes(6) + actions)
