"""Makes chosen flows of a real switch count a packet, thousands of them at once.

A packet cannot be sent to any flow of a pipeline from outside: it depends on the tables before it
and on connection tracking. But the switch lets a controller pause a packet anywhere and resume it
with registers, connection state and actions of its choice (NXT_RESUME). One resumed packet sets
the fields that a flow matches, looks into its table, forgets, and goes on to the next flow. The
switch counts each visit like any other, and takes it on from there as its actions say.

```python
visitor = Visitor(node.rundir / "br-int.mgmt")
some = visitor.prepare(0.1)  # every tenth flow that can be visited
visitor.visit(some)
```
"""

import random
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from lab import frames, openflow
from lab.frames import Host
from lab.openflow import Connection, FlowStats

VISITS_PER_PACKET = 100
"""A packet may look into 4096 tables in all, and every visit goes on from its flow."""
OXM, NXM = 0x8000, 1
IN_PORT, ETH_TYPE, VLAN_VID, IP_PROTO = (OXM, 0), (OXM, 5), (OXM, 6), (OXM, 10)
CONJ_ID, CT_STATE = (NXM, 37), (NXM, 105)
CONNECTION = frozenset((NXM, number) for number in (105, 106, 107, 108))
"""ct_state, ct_zone, ct_mark, ct_label: no action sets them, the resumed packet brings them."""
STRUCTURE = {IN_PORT, ETH_TYPE, VLAN_VID, IP_PROTO, CONJ_ID} | CONNECTION
TRACKED = 0x20
SAME_PORT = 0xFFF8
IPV6 = 0x86DD
HERE, THERE = Host("02:00:00:00:00:01", "192.0.2.1"), Host("02:00:00:00:00:02", "192.0.2.2")
PAYLOAD = bytes(12) + b"\x50" + bytes(51)
"""Long enough for any header; read as TCP's, it says how long it is."""
PACKET, TABLE_ID, REASON, METADATA, CONTINUATION = 0x0000, 0x0003, 0x0005, 0x0006, 0x0008
BRIDGE, CONNTRACKED, ACTIONS = 0x8000, 0x8003, 0x8006


class Kind(NamedTuple):
    """What flows must share to be visited by one packet."""

    eth_type: int
    protocol: int
    tagged: bool
    connection: bytes


class Visitor:
    """Visits flows of one bridge. What it sends is right for Open vSwitch 3.1's way of pausing.

    Args:
        path: The bridge's ``.mgmt`` socket.
    """

    def __init__(self, path: Path) -> None:
        self._connection = Connection(path)
        self._bridge = self._pause_one()

    def _pause_one(self) -> bytes:
        """Pause a packet to learn what the switch calls the bridge, a property of its own."""
        connection = self._connection
        connection.send(openflow.SET_CONFIG, struct.pack("!HH", 0, 0xFFFF))
        packet_in2 = struct.pack("!I", 2)
        connection.send(
            openflow.EXPERIMENTER, openflow.vendor(openflow.SET_PACKET_IN_FORMAT, packet_in2)
        )
        pause = openflow.vendor_action(openflow.CONTROLLER2, bytes(6) + _property(4))
        packet = frames.udp(HERE, THERE, 1, 1, bytes(64))
        connection.send(openflow.PACKET_OUT, openflow.packet_out(pause, packet))
        paused = dict(_properties(connection.expect(openflow.EXPERIMENTER).body[8:]))
        # nested properties start at a multiple of eight bytes
        return dict(_properties(paused[CONTINUATION][4:]))[BRIDGE]

    def close(self) -> None:
        """Disconnect."""
        self._connection.socket.close()

    def flows(self) -> list[FlowStats]:
        """Read all flows with their counters."""
        return list(self._connection.flows())

    def prepare(self, share: float) -> list[bytes]:
        """Choose this share of all flows, evenly spread, and return the messages that visit them.

        A few flows cannot be met: parts of conjunctions, and what others of a higher priority
        hide. Of neutron's shape 95 % can, of OVN's 99 %.
        """
        chosen = random.Random(1)  # noqa: S311 - the same flows every time
        visits: dict[Kind, list[bytes]] = defaultdict(list)
        for flow in self.flows():
            if chosen.random() < share:
                kind, actions = _visit(flow)
                visits[kind].append(actions)
        return [
            self._resume(kind, b"".join(part))
            for kind, actions in visits.items()
            for part in _parts(actions)
        ]

    def visit(self, messages: Iterable[bytes]) -> None:
        """Send what ``prepare`` returned, and wait until the switch is through with it."""
        for each in messages:
            self._connection.socket.sendall(each)
        self._connection.barrier()

    def _resume(self, kind: Kind, actions: bytes) -> bytes:
        inner = _property(BRIDGE, self._bridge)
        if kind.connection:
            inner += _property(CONNTRACKED)
        inner += _property(ACTIONS, bytes(4) + actions)
        body = _property(PACKET, _packet(kind)) + _property(TABLE_ID, b"\0")
        body += _property(REASON, b"\x01") + _property(METADATA, kind.connection)
        body += _property(CONTINUATION, bytes(4) + inner)
        return openflow.message(openflow.EXPERIMENTER, openflow.vendor(openflow.RESUME, body))


def _property(kind: int, value: bytes = b"") -> bytes:
    return openflow.padded(struct.pack("!HH", kind, 4 + len(value)) + value)


def _properties(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        kind, length = struct.unpack_from("!HH", data)
        yield kind, data[4:length]
        data = data[length + -length % 8 :]


def _parts(visits: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(visits), VISITS_PER_PACKET):
        yield visits[start : start + VISITS_PER_PACKET]


def _visit(flow: FlowStats) -> tuple[Kind, bytes]:
    """Split a flow's match into what the packet must be and what actions can make of it."""
    fields = dict(_oxms(flow.match))
    actions = b"".join(
        openflow.set_field(_oxm(field, value))
        for field, (value, _) in fields.items()
        if field not in STRUCTURE
    )
    connection = b"".join(
        _oxm(field, _tracked(*fields[field]) if field == CT_STATE else fields[field][0])
        for field in sorted(CONNECTION & fields.keys())
    )
    kind = Kind(
        eth_type=_number(fields, ETH_TYPE),
        protocol=_number(fields, IP_PROTO),
        tagged=bool(_number(fields, VLAN_VID)),
        connection=connection,
    )
    if kind.tagged:
        actions = openflow.set_field(_oxm(VLAN_VID, fields[VLAN_VID][0])) + actions
    port = _number(fields, IN_PORT) or SAME_PORT
    return kind, openflow.clone(actions + openflow.resubmit(flow.table, port))


def _tracked(state: bytes, mask: bytes) -> bytes:
    """Whatever is new or established is tracked too; only a flow for -trk says otherwise."""
    value = int.from_bytes(state, "big")
    if value and not int.from_bytes(mask, "big") & TRACKED & ~value:
        value |= TRACKED
    return value.to_bytes(len(state), "big")


def _number(fields: dict[tuple[int, int], tuple[bytes, bytes]], field: tuple[int, int]) -> int:
    return int.from_bytes(fields[field][0], "big") if field in fields else 0


def _oxms(match: bytes) -> Iterator[tuple[tuple[int, int], tuple[bytes, bytes]]]:
    """Yield (class, field), (value, mask) of each OXM entry; no mask is a mask of ones."""
    at = 0
    while at < len(match):
        kind, field, length = struct.unpack_from("!HBB", match, at)
        data = match[at + 4 : at + 4 + length]
        half = length // 2 if field & 1 else length
        yield (kind, field >> 1), (data[:half], data[half:] or b"\xff" * half)
        at += 4 + length


def _oxm(field: tuple[int, int], value: bytes) -> bytes:
    return struct.pack("!HBB", field[0], field[1] << 1, len(value)) + value


def _packet(kind: Kind) -> bytes:
    """Make a packet that has the headers whose fields the actions set."""
    if kind.eth_type == IPV6:
        addresses = bytes.fromhex("20010db8" + "0" * 23 + "1") + bytes.fromhex(
            "20010db8" + "0" * 23 + "2"
        )
        header = struct.pack("!IHBB", 6 << 28, 64, kind.protocol or frames.UDP, frames.TTL)
        frame = frames.ethernet(HERE.mac, THERE.mac, IPV6, header + addresses + PAYLOAD)
    elif kind.eth_type in {0, frames.IPV4}:
        frame = frames.ipv4(HERE, THERE, kind.protocol or frames.UDP, PAYLOAD)
    else:
        frame = frames.ethernet(
            HERE.mac, THERE.mac, kind.eth_type, frames.arp_request(HERE, THERE.ip)[14:]
        )
    return frames.tagged(frame, 1) if kind.tagged else frame
