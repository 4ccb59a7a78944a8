"""Flow statistics -> flows with their counters; a flow seen before is not decoded again."""

from collections.abc import Iterator, Mapping

from agent.model.flow import Flow, FlowCount
from agent.wire.openflow.actions import action_kind
from agent.wire.openflow.flows import FlowEntry, iter_flow_stats
from agent.wire.openflow.match import format_match, match_in_port
from agent.wire.openflow.text import unambiguous

BATCH_FLOWS = 1000
"""Flows decoded in one go: some milliseconds when all are new, under one when all are known."""


class FlowDecoder:
    """Remembers the flows of a bridge by their undecoded bytes.

    A known flow costs one lookup and two integers. What decoding depends on besides the bytes,
    the names of ports, is remembered too: when they change, all is decoded anew. Geneve options
    need no table of their own: Open vSwitch sends them as tun_metadataN and its tools print that.
    Bounded by the flows of the last reading of each table.
    """

    def __init__(self) -> None:
        self._tables: dict[int, dict[bytes, Flow]] = {}
        self._ports: Mapping[int, str] = {}

    def prepare(self, ports: Mapping[int, str], tables: set[int]) -> None:
        """Say what the next reading is decoded with and which tables it has."""
        names = unambiguous(ports)
        if names != self._ports:
            self._tables.clear()
            self._ports = names
        for table in self._tables.keys() - tables:
            del self._tables[table]

    def decode(self, table_id: int, bodies: list[bytes]) -> Iterator[list[FlowCount]]:
        """Decode the complete answer for one table, in batches.

        A flow that the switch lists twice is counted once, as listed first: two series of
        one name would make the page invalid.

        Raises:
            ParseError: If the answer is not flow statistics.
        """
        known = self._tables.get(table_id, {})
        seen: dict[bytes, Flow] = {}
        identities: set[tuple[int, str]] = set()
        batch: list[FlowCount] = []
        for entry in iter_flow_stats(bodies):
            flow = known.get(entry.key)
            if flow is None:
                flow = self._new(entry)
            identity = (flow.priority, flow.match)
            if identity in identities:
                continue
            identities.add(identity)
            seen[entry.key] = flow
            batch.append(FlowCount(flow, entry.packets, entry.bytes))
            if len(batch) >= BATCH_FLOWS:
                yield batch
                batch = []
        self._tables[table_id] = seen
        yield batch

    def _new(self, entry: FlowEntry) -> Flow:
        return Flow(
            table_id=entry.table_id,
            priority=entry.priority,
            match=format_match(entry.match, self._ports),
            cookie=entry.cookie,
            action=action_kind(entry.instructions),
            in_port=match_in_port(entry.match),
        )
