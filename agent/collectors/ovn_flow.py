"""OVN's logical flows as a compute node counts them: stages of the logical pipelines, and ACLs.

The flows of br-int name nothing but numbers. Which stage a packet reached, and which rule of a
security group it met there, can be told on the node alone; whose rule it is stands in
``ovn_acl_info``, which an agent beside the databases shows.
"""

from agent.collectors.base import Collector
from agent.families import Counter, Output
from agent.model.flow import AclFlow, Stage
from agent.model.node import Node

STAGE = Counter(
    "ovn_logical_flow_packets_total",
    "Packets that met a logical flow in a stage since the agent started, of all switches or all "
    "routers; by datapath (its tunnel_key) with ovn.datapaths [flow statistics].",
    labels=("pipeline", "stage", "datapath"),
)
ACL = Counter(
    "ovn_acl_packets_total",
    "Packets that an ACL was evaluated for, in the direction that a connection began, since the "
    "agent started; join on (cookie, pipeline, logical_table) with ovn_acl_info [flow statistics].",
    labels=("cookie", "pipeline", "logical_table"),
)


def collect(node: Node) -> Output:
    """Yield the ledgers of each bridge that is OVN's."""
    stages: dict[tuple[str, str, str], int] = {}
    acls: dict[tuple[str, str, str], int] = {}
    for reading in node.flows.require().values():
        for row, packets in reading.totals.accounts.items():
            if isinstance(row, Stage):
                datapath = "" if row.datapath is None else str(row.datapath)
                stage = row.pipeline, row.name, datapath
                stages[stage] = stages.get(stage, 0) + packets
            elif isinstance(row, AclFlow):
                acl = f"{row.cookie:#x}", row.pipeline, str(row.table_id)
                acls[acl] = acls.get(acl, 0) + packets
    for labels, packets in stages.items():
        yield STAGE(packets, *labels)
    for labels, packets in acls.items():
        yield ACL(packets, *labels)


COLLECTOR = Collector("ovn_flow", (STAGE, ACL), (collect,), reads=("flows",), detail=(ACL,))
