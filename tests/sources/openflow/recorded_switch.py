"""A fake switch that answers with what a real one said, with the counters it is given."""

import struct
import time
from collections import Counter
from pathlib import Path

from agent.wire.openflow import messages as of
from agent.wire.openflow.entries import entry_of
from agent.wire.openflow.header import Type
from agent.wire.openflow.match import format_match
from agent.wire.openflow.text import unambiguous
from lab.recorded import NODES, parse_flows
from tests.sources.openflow.fake_switch import Talk, answer, multipart_reply, table_stats
from tests.wire.openflow import recorded
from tests.wire.openflow.flow_stats import iter_entries

DOCUMENT = NODES / "lb_ovs"
VERSION = "of13"
_COUNTERS = struct.Struct(">QQ")
_DURATION = struct.Struct(">II")
_COUNTERS_AT, _COOKIE_AT, _DURATION_AT = 32, 24, 4

Identity = tuple[int, int, str]


def figures(bridge: str, directory: Path = DOCUMENT) -> dict[Identity, tuple[int, int]]:
    """Return the document's n_packets and n_bytes of a bridge's flows."""
    text = (directory / f"dump-flows-{bridge}.txt").read_text()
    return {(f.table, f.priority, f.match): (f.packets, f.bytes) for f in parse_flows(text)}


class RecordedSwitch:
    """A bridge of the document's node.

    Attributes:
        counters: Packets and bytes by (table, priority, match); what is missing is zero.
    """

    def __init__(self, bridge: str) -> None:
        self.counters: dict[Identity, tuple[int, int]] = {}
        self._bridge = bridge
        self._made_at = time.monotonic_ns()
        names = recorded.port_names(bridge, VERSION)
        self.ports = {name: number for number, name in names.items()}
        texts = unambiguous(names)
        self._entries: dict[Identity, bytes] = {}
        bodies = recorded.bodies(f"{bridge}-flows-{VERSION}", of.Multipart.FLOW)
        for octets in iter_entries(b"".join(bodies)):
            entry = entry_of(octets)
            identity = (entry.table_id, entry.priority, format_match(entry.match, texts))
            self._entries[identity] = octets

    @property
    def identities(self) -> set[Identity]:
        """Return its flows."""
        return set(self._entries)

    async def talk(self, talk: Talk) -> None:
        await talk.hello()
        while True:
            kind, xid, body = await talk.request()
            for message in self._answer(kind, xid, body):
                await talk.say(message)

    def _answer(self, kind: int, xid: int, body: bytes) -> list[bytes]:
        asked = int.from_bytes(body[:2], "big")
        if kind != Type.MULTIPART_REQUEST:
            return [answer(kind, xid, body)]
        if asked == of.Multipart.TABLE:
            return [multipart_reply(xid, asked, self._tables())]
        if asked == of.Multipart.PORT_DESC:
            name = f"{self._bridge}-port-desc-{VERSION}"
            parts = recorded.bodies(name, of.Multipart.PORT_DESC)
            return [multipart_reply(xid, asked, b"".join(parts))]
        if asked == of.Multipart.FLOW:
            return self._flows(xid, body[8:])
        return [multipart_reply(xid, asked, b"")]

    def _tables(self) -> bytes:
        flows = Counter(table for table, _priority, _match in self._entries)
        matched: Counter[int] = Counter()
        for (table, _priority, _match), (packets, _octets) in self.counters.items():
            matched[table] += packets
        return table_stats(*((t, flows[t], matched[t], matched[t]) for t in sorted(flows)))

    def _flows(self, xid: int, request: bytes) -> list[bytes]:
        table, cookie, mask = struct.unpack_from(">B15xQQ", request)
        chosen = b"".join(
            self._counted(identity, entry)
            for identity, entry in self._entries.items()
            if identity[0] == table
            and int.from_bytes(entry[_COOKIE_AT : _COOKIE_AT + 8], "big") & mask == cookie & mask
        )
        return [multipart_reply(xid, of.Multipart.FLOW, chosen)]

    def _counted(self, identity: Identity, entry: bytes) -> bytes:
        counters = _COUNTERS.pack(*self.counters.get(identity, (0, 0)))
        seconds, nanoseconds = divmod(time.monotonic_ns() - self._made_at, 10**9)
        age = _DURATION.pack(seconds, nanoseconds)
        entry = entry[:_DURATION_AT] + age + entry[_DURATION_AT + len(age) :]
        return entry[:_COUNTERS_AT] + counters + entry[_COUNTERS_AT + len(counters) :]
