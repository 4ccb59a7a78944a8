"""OVN's logical flows as a compute node counts them: stages of the logical pipelines, and ACLs.

The flows of br-int name nothing but numbers. Which stage a packet reached, and which rule of a
security group it met there, can be told on the node alone; whose rule it is stands in
``ovn_acl_info``, which an agent beside the databases shows.
"""

from agent.collectors.base import Collector
from agent.families import Counter, Output
from agent.model.flow import AclFlow, Stage
from agent.model.node import Node

OVN = "ovn"
"""The pipeline of its integration bridge."""
STAGE = Counter(
    "ovn_logical_flow_packets_total",
    "Packets that met a logical flow in a stage since the agent started, of all switches or all "
    "routers; by datapath (its tunnel_key) with ovn.datapaths [flow statistics].",
    labels=("bridge", "pipeline", "stage", "datapath"),
)
ACL = Counter(
    "ovn_acl_packets_total",
    "Packets that an ACL was evaluated for, in the direction that a connection began, since the "
    "agent started; join on (cookie, pipeline, logical_table) with ovn_acl_info [flow statistics].",
    labels=("bridge", "cookie", "pipeline", "logical_table"),
)


def collect(node: Node) -> Output:
    """Yield the ledgers of each bridge that is OVN's; without the release they have no names."""
    readings = node.flows.require().values()
    if any(reading.fate.pipeline == OVN for reading in readings):
        node.ovn_release.require()
    for reading in readings:
        for row, packets in reading.totals.accounts.items():
            if isinstance(row, Stage):
                datapath = "" if row.datapath is None else str(row.datapath)
                yield STAGE(packets, reading.bridge, row.pipeline, row.name, datapath)
            elif isinstance(row, AclFlow):
                cookie, number = f"{row.cookie:#x}", str(row.table_id)
                yield ACL(packets, reading.bridge, cookie, row.pipeline, number)


COLLECTOR = Collector(
    "ovn_flow", (STAGE, ACL), (collect,), reads=("flows", "ovn_controller"), detail=(ACL,)
)
