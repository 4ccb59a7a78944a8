"""Connections by zone: which tenant network fills the table.

Counting them reads the whole table, entry by entry, so this runs only on request.
"""

from agent.collectors.base import Collector
from agent.families import Gauge, Output
from agent.model.node import Node

ENTRIES = Gauge(
    "netns_conntrack_zone_entries",
    "Tracked connections of a zone in the host's own namespace [conntrack -L].",
    labels=("zone",),
)


def collect(node: Node) -> Output:
    """Yield every zone that has a connection."""
    for zone, entries in sorted(node.conntrack_zones.require().items()):
        yield ENTRIES(entries, str(zone))


COLLECTOR = Collector(
    "conntrack_zone", (ENTRIES,), (collect,), reads=("conntrack_zones",), on_request=True
)
