"""Connection tracking: how full the table is.

A full table drops every new connection while the established ones go on, which looks like a
fault of the application.
"""

from agent.collectors.base import Collector
from agent.families import Gauge, Output
from agent.model.node import Node

ENTRIES = Gauge(
    "ovs_conntrack_entries",
    "Tracked connections of a datapath [dpctl/ct-get-nconns].",
    labels=("datapath",),
)
LIMIT = Gauge(
    "ovs_conntrack_entries_limit",
    "Connections that a datapath tracks at most [dpctl/ct-get-maxconns].",
    labels=("datapath",),
)


def collect(node: Node) -> Output:
    """Yield the table of each datapath that tells its own."""
    for conntrack in node.conntracks.require():
        yield ENTRIES(conntrack.entries, conntrack.datapath)
        yield LIMIT(conntrack.entries_limit, conntrack.datapath)


COLLECTOR = Collector("conntrack", (ENTRIES, LIMIT), (collect,), reads=("unixctl",))
