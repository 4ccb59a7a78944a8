"""Flow tables: exact totals that survive the deletion of flows.

A flow that expires takes its counters with it; the table's own lookups and matches stay.
"""

from agent.collectors.base import Collector
from agent.families import Counter, Gauge, Output
from agent.model.node import Node

TABLE = ("bridge", "table")

FLOWS = Gauge("ovs_flow_table_flows", "Flows of a table [table statistics active].", labels=TABLE)
LOOKUPS = Counter(
    "ovs_flow_table_lookups_total", "Packets looked up [table statistics lookup].", labels=TABLE
)
MATCHES = Counter(
    "ovs_flow_table_matches_total",
    "Packets that matched a flow [table statistics matched].",
    labels=TABLE,
)
MISSED = Counter(
    "ovs_flow_table_missed_packets_total",
    "Packets without a match, not necessarily lost [table statistics lookup less matched].",
    labels=TABLE,
)


def collect(node: Node) -> Output:
    """Yield the tables that have a flow or have seen a packet."""
    for bridge in node.bridges.require().values():
        for stats in bridge.tables:
            labels = (bridge.bridge, str(stats.table_id))
            yield FLOWS(stats.flows, *labels)
            yield LOOKUPS(stats.lookups, *labels)
            yield MATCHES(stats.matches, *labels)
            yield MISSED(stats.lookups - stats.matches, *labels)


COLLECTOR = Collector("table", (FLOWS, LOOKUPS, MATCHES, MISSED), (collect,), reads=("openflow",))
