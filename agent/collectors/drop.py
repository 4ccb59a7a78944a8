"""Drops: where packets really die in the flow tables, by table and by interface.

``actions=drop`` does not mean lost, and a lost packet need not meet it: the fate of each flow is
judged, and the growth of those that deliver nothing is added up in ledgers that survive them.
Alert on kind ``lost``: ``copy`` was delivered elsewhere, ``patch`` are mostly copies that flooding
sent into another bridge.
"""

from agent.collectors.base import Collector
from agent.families import Counter, Gauge, Output
from agent.model.node import Node

TABLE = ("bridge", "table")

DROPPED = Counter(
    "ovs_flow_table_dropped_packets_total",
    "Packets that a table's flows delivered nowhere since the agent started, by kind: lost, copy "
    "(delivered elsewhere) or patch (came through a patch port) [flow statistics, judged].",
    labels=(*TABLE, "kind"),
)
INTERFACE = Counter(
    "ovs_interface_flow_dropped_packets_total",
    "Packets of kind lost that came from an interface (from_instance) or were bound for it "
    "(to_instance), since the agent started [flow statistics, judged].",
    labels=("bridge", "interface", "direction"),
)
UNATTRIBUTED = Counter(
    "ovs_flow_table_unattributed_packets_total",
    "Packets that matched in a table, but that no reading of its flows accounts for: mostly of "
    "flows that ended in between [table statistics matched less flow statistics].",
    labels=TABLE,
)
NAME = Gauge(
    "ovs_flow_table_info",
    "What a table is for, always 1, where its pipeline is known; join on (instance, bridge, table) "
    "[flow statistics].",
    labels=(*TABLE, "name"),
)


def collect(node: Node) -> Output:
    """Yield the ledgers of each bridge whose flows were read, and the names of its tables."""
    for reading in node.flows.require().values():
        totals = reading.totals
        for (table, kind), packets in totals.dropped.items():
            yield DROPPED(packets, reading.bridge, str(table), kind)
        for (interface, direction), packets in totals.interfaces.items():
            yield INTERFACE(packets, reading.bridge, interface, direction)
        for table, packets in totals.unattributed.items():
            yield UNATTRIBUTED(packets, reading.bridge, str(table))
        for flows in reading.tables:
            name = reading.fate.names.get(flows.table_id)
            if name is not None:
                yield NAME(1, reading.bridge, str(flows.table_id), name)


COLLECTOR = Collector(
    "drop", (DROPPED, INTERFACE, UNATTRIBUTED, NAME), (collect,), reads=("flows",)
)
