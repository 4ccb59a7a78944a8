"""Upcalls: the revalidators' view of a datapath.

When a pass over all datapath flows takes too long, the flow limit falls, flows are thrown out
early and every packet becomes an upcall: a node that is slow for no visible reason.
"""

from agent.collectors.base import Collector
from agent.families import Gauge, Output
from agent.model.node import Node

DATAPATH = ("datapath",)

FLOWS = Gauge(
    "ovs_upcall_flows",
    "Datapath flows that the revalidators look after [upcall/show flows current].",
    labels=DATAPATH,
)
LIMIT = Gauge(
    "ovs_upcall_flow_limit",
    "Datapath flows that they allow at present [upcall/show flows limit].",
    labels=DATAPATH,
)
DUMP = Gauge(
    "ovs_upcall_dump_duration_seconds",
    "Duration of the last pass over all datapath flows [upcall/show dump duration].",
    labels=DATAPATH,
)


def collect(node: Node) -> Output:
    """Yield what the revalidators say of each datapath."""
    for upcalls in node.upcalls.require():
        yield FLOWS(upcalls.flows, upcalls.datapath)
        yield LIMIT(upcalls.flow_limit, upcalls.datapath)
        yield DUMP(upcalls.dump_duration_seconds, upcalls.datapath)


COLLECTOR = Collector("upcall", (FLOWS, LIMIT, DUMP), (collect,), reads=("unixctl",))
