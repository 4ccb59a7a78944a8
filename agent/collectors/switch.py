"""Open vSwitch itself: versions, identity, managers, and when ovs-vswitchd started.

A restart of ovs-vswitchd explains more counter resets and short outages than anything else.
"""

from agent.collectors.base import Collector
from agent.families import Gauge, Output
from agent.model.node import Node

BUILD = Gauge(
    "ovs_build_info",
    "Versions of Open vSwitch, of its database schema and of DPDK, always 1 [Open_vSwitch].",
    labels=("ovs_version", "db_version", "dpdk_version"),
)
IDENTITY = Gauge(
    "ovs_vswitch_info",
    "What the node calls itself, always 1 [Open_vSwitch].",
    labels=("system_id", "system_type", "system_version"),
)
START = Gauge(
    "ovs_vswitchd_start_time_seconds",
    "Unix time at which ovs-vswitchd started [process of the control socket's peer].",
)
MANAGER = Gauge(
    "ovs_manager_connected",
    "Whether an OVSDB manager is connected, 1 or 0 [Manager.is_connected].",
    labels=("target",),
)


def from_database(node: Node) -> Output:
    """Yield versions, identity and managers."""
    switch = node.switch.require()
    yield BUILD(1, switch.ovs_version or "", switch.db_version or "", switch.dpdk_version or "")
    yield IDENTITY(1, switch.system_id or "", switch.system_type or "", switch.system_version or "")
    for manager in switch.managers:
        yield MANAGER(manager.connected, manager.target)


def from_process(node: Node) -> Output:
    """Yield the start time."""
    yield START(node.vswitchd.require().start_time_seconds)


COLLECTOR = Collector(
    "switch",
    (BUILD, IDENTITY, START, MANAGER),
    (from_database, from_process),
    reads=("unixctl",),
)
