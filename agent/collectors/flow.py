"""Flows: packets and bytes of each, and what each does.

The one place where a person sees that packets reach table 71 and none leaves it. Which flows have
series is decided by rule and never by value.
"""

from collections.abc import Mapping
from hashlib import blake2s

import numpy as np
from numpy.typing import NDArray

from agent.collectors.base import Collector
from agent.columns import Column
from agent.families import Block, Counter, Gauge, Output, Suppressed, escape
from agent.model.bridge import LOCAL
from agent.model.flow import KINDS, Fate, Flow, FlowReading, TableFlows
from agent.model.node import Node

FLOW = ("bridge", "table", "priority", "match")
MAX_MATCH = 512
CUT_MATCH = 480
"""Longer matches are cut to this length, with a hash of the whole: they stay distinct."""

PACKETS = Counter(
    "ovs_flow_packets_total",
    "Packets that met a flow; a packet meets many flows [flow statistics n_packets].",
    labels=FLOW,
)
BYTES = Counter(
    "ovs_flow_bytes_total",
    "Bytes of the packets that met a flow [flow statistics n_bytes].",
    labels=FLOW,
)
INFO = Gauge(
    "ovs_flow_info",
    "What a flow does, what becomes of its packets and whose they are (interface), always 1; join "
    "on (instance, bridge, table, priority, match) [flow statistics].",
    labels=(*FLOW, "cookie", "action", "interface", "kind"),
)
CHANGES = Counter(
    "ovs_flow_changes_total",
    "Flows added, removed and modified since the agent first read them [flow statistics].",
    labels=("bridge", "change"),
)

Owners = Mapping[int, tuple[int, str]]
"""OpenFlow port and direction by the index of a flow that loses packets: whose they are."""
NO_PORT = 0
"""OpenFlow has none of this number."""


class View:
    """The series of a table's flows, kept while the flows are the same.

    Args:
        bridge: The bridge's name.
        table: The table.
        shown: Indexes of the flows that have series; ``None`` for all.
        old: What the last scrape showed of this table.
    """

    def __init__(
        self,
        bridge: str,
        table: TableFlows,
        shown: NDArray[np.int64] | None,
        old: "View | None",
    ) -> None:
        self._all, self._shown = table.flows, shown
        self._flows = (
            table.flows if shown is None else tuple(table.flows[index] for index in shown.tolist())
        )
        known = old.places() if old else {}
        labels = [
            old.label(known[flow]) if old and flow in known else identify(bridge, flow)
            for flow in self._flows
        ]
        self._packets, self._octets = Column(PACKETS, labels), Column(BYTES, labels)
        ports = {flow.scope.in_port for flow in self._flows}
        self._ports = {port for port in ports if port is not None}
        self._info = Block(INFO, b"", 0)
        self._info_of: tuple[Mapping[int, str], bytes, Owners] | None = None

    def fits(self, table: TableFlows, shown: NDArray[np.int64] | None) -> bool:
        """Say whether these are still the series of this table."""
        return self._all is table.flows and self._shown is shown

    def places(self) -> dict[Flow, int]:
        """Return where each flow stands."""
        return {flow: place for place, flow in enumerate(self._flows)}

    def label(self, place: int) -> bytes:
        """Return the label text of a flow's counters."""
        return self._packets.label(place)

    def counters(self, table: TableFlows) -> Output:
        """Yield packets and bytes; all-ones on the wire means not known: no series."""
        shown = self._shown
        yield self._packets.block(table.packets if shown is None else table.packets[shown])
        yield self._octets.block(table.octets if shown is None else table.octets[shown])

    def info(self, interfaces: Mapping[int, str], fate: Fate, table: int) -> Block:
        """Return the descriptions, written anew when a name or a judgement has changed."""
        kinds, owners = fate.kinds.get(table), fate.owners.get(table, {})
        ports = self._ports | {port for port, _ in owners.values()}
        names = {port: interfaces[port] for port in ports if port in interfaces}
        if kinds is not None and self._shown is not None:
            kinds = kinds[self._shown]
        info_of = names, b"" if kinds is None else kinds.tobytes(), owners
        if info_of != self._info_of:
            self._info_of = info_of
            self._info = Block(INFO, self._describe(*info_of), len(self._flows))
        return self._info

    def _describe(self, interfaces: Mapping[int, str], kinds: bytes, owners: Owners) -> bytes:
        name = INFO.name.encode()
        indexes = range(len(self._flows)) if self._shown is None else self._shown.tolist()
        return b"".join(
            [
                b"%b%b%b} 1\n"
                % (
                    name,
                    self.label(place)[:-1],
                    describe(
                        flow,
                        interfaces.get(owner_of(flow, owners.get(index)), ""),
                        KINDS[kinds[place]] if kinds else "",
                    ),
                )
                for place, (index, flow) in enumerate(zip(indexes, self._flows, strict=True))
            ]
        )


class Views:
    """What the last scrape showed. Bounded by it: what a scrape did not need is forgotten."""

    def __init__(self) -> None:
        self._bridges: dict[str, dict[int, View]] = {}

    def of(self, reading: FlowReading) -> list[tuple[TableFlows, View]]:
        """Return the tables of a bridge that have series, each with them."""
        old = self._bridges.get(reading.bridge, {})
        new: dict[int, View] = {}
        result = []
        for table in reading.tables:
            if table.table_id not in reading.shown:
                continue
            shown, view = reading.shown[table.table_id], old.get(table.table_id)
            if view is None or not view.fits(table, shown):
                view = View(reading.bridge, table, shown, view)
            new[table.table_id] = view
            result.append((table, view))
        self._bridges[reading.bridge] = new
        return result

    def keep(self, readings: Mapping[str, FlowReading]) -> None:
        """Forget bridges that are gone."""
        for bridge in self._bridges.keys() - readings.keys():
            del self._bridges[bridge]


def identify(bridge: str, flow: Flow) -> bytes:
    """Write the label text that identifies a flow."""
    identity = (bridge, str(flow.table_id), str(flow.priority), cut(flow.match))
    return PACKETS.text(*identity).encode("utf-8", "replace")


def owner_of(flow: Flow, owner: tuple[int, str] | None) -> int:
    """Return the port whose packets a flow loses, else the one whose packets it matches."""
    return owner[0] if owner else flow.scope.in_port or NO_PORT


def describe(flow: Flow, interface: str, kind: str) -> bytes:
    """Write the labels that describe a flow, each with a comma before it, none empty."""
    values = (
        ("cookie", f"{flow.cookie:#x}"),
        ("action", flow.effect.action),
        ("interface", interface),
        ("kind", kind),
    )
    text = "".join([f',{name}="{escape(value)}"' for name, value in values if value])
    return text.encode("utf-8", "replace")


def cut(match: str) -> str:
    """Cut a match that is longer than 512 characters to 480, ``…#`` and 8 hex digits."""
    if len(match) <= MAX_MATCH:
        return match
    return f"{match[:CUT_MATCH]}…#{blake2s(match.encode(), digest_size=4).hexdigest()}"


_views = Views()


def collect(node: Node) -> Output:
    """Yield the flows of each bridge that was read."""
    readings = node.flows.require()
    _views.keep(readings)
    for reading in readings.values():
        interfaces = _port_names(node, reading.bridge)
        for table, view in _views.of(reading):
            yield from view.counters(table)
            yield view.info(interfaces, reading.fate, table.table_id)
        # Packets, bytes and info of each flow that the rules leave out.
        yield Suppressed(3 * reading.left_out)


def changes(node: Node) -> Output:
    """Yield how often flows came, went and changed."""
    for reading in node.flows.require().values():
        for change, flows in reading.totals.changes.items():
            yield CHANGES(flows, reading.bridge, change)


def _port_names(node: Node, bridge: str) -> dict[int, str]:
    """Return interface names by OpenFlow number: the database's, which are whole."""
    switch = node.switch.value
    ports = switch.ports(bridge) if switch else {}
    names = {number: interface.name for number, interface in ports.items()}
    names[LOCAL] = bridge
    return names


COLLECTOR = Collector(
    "flow",
    (PACKETS, BYTES, INFO, CHANGES),
    (collect, changes),
    reads=("flows",),
    detail=(INFO, BYTES, PACKETS),
)
