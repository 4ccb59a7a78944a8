"""Flows: packets and bytes of each, and what each does.

The one place where a person sees that packets reach table 71 and none leaves it. Which flows have
series is decided before they are read, by rule and never by value.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from hashlib import blake2s
from typing import NamedTuple

from agent.collectors.base import Collector
from agent.families import Counter, Gauge, Output, Suppressed
from agent.model.flow import LOCAL, Flow, FlowReading
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
    "What a flow does, always 1; join on (instance, bridge, table, priority, match) "
    "[flow statistics].",
    labels=(*FLOW, "cookie", "action", "interface"),
)


class Texts(NamedTuple):
    """Label texts of a flow: of its counters, and of its description with this interface."""

    counter: str
    interface: str
    info: str


class LabelTexts:
    """Label texts of the flows that the last scrape showed.

    A flow object lives as long as its flow does, so its texts are made once in its life. Bounded
    by what is shown: texts that a scrape did not need are forgotten.
    """

    def __init__(self) -> None:
        self._bridges: dict[str, dict[Flow, Texts]] = {}

    def of(self, reading: FlowReading, interfaces: Mapping[int, str]) -> list[Texts]:
        """Return the texts of a reading's flows, in its order."""
        old = self._bridges.get(reading.bridge, {})
        new: dict[Flow, Texts] = {}
        for count in reading.flows:
            flow = count.flow
            interface = "" if flow.in_port is None else interfaces.get(flow.in_port, "")
            texts = old.get(flow)
            if texts is None or texts.interface != interface:
                texts = describe(reading.bridge, flow, interface)
            new[flow] = texts
        self._bridges[reading.bridge] = new
        return list(new.values())

    def keep(self, bridges: AbstractSet[str]) -> None:
        """Forget bridges that are gone."""
        for bridge in self._bridges.keys() - bridges:
            del self._bridges[bridge]


def describe(bridge: str, flow: Flow, interface: str) -> Texts:
    """Make a flow's label texts."""
    identity = (bridge, str(flow.table_id), str(flow.priority), cut(flow.match))
    return Texts(
        counter=PACKETS.text(*identity),
        interface=interface,
        info=INFO.text(*identity, f"{flow.cookie:#x}", flow.action, interface),
    )


def cut(match: str) -> str:
    """Cut a match that is longer than 512 characters to 480, ``…#`` and 8 hex digits."""
    if len(match) <= MAX_MATCH:
        return match
    return f"{match[:CUT_MATCH]}…#{blake2s(match.encode(), digest_size=4).hexdigest()}"


_texts = LabelTexts()


def collect(node: Node) -> Output:
    """Yield the flows of each bridge that was read."""
    readings = node.flows.require()
    _texts.keep(readings.keys())
    for reading in readings.values():
        texts = _texts.of(reading, _port_names(node, reading.bridge))
        counts = list(zip(texts, reading.flows, strict=True))
        # All-ones on the wire means not known: no series.
        yield PACKETS.rows((t.counter, c.packets) for t, c in counts if c.packets is not None)
        yield BYTES.rows((t.counter, c.bytes) for t, c in counts if c.bytes is not None)
        yield INFO.rows((t.info, 1) for t in texts)
        # Packets, bytes and info of each flow that the rules leave out.
        yield Suppressed(3 * reading.left_out)


def _port_names(node: Node, bridge: str) -> dict[int, str]:
    """Return interface names by OpenFlow number: the database's, which are whole."""
    switch = node.switch.value
    names = {
        interface.ofport: interface.name
        for owner, _, interface in (switch.interfaces() if switch else ())
        if owner.name == bridge and interface.ofport is not None
    }
    names[LOCAL] = bridge
    return names


COLLECTOR = Collector(
    "flow", (PACKETS, BYTES, INFO), (collect,), reads=("flows",), detail=(INFO, BYTES, PACKETS)
)
