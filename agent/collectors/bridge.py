"""Bridges: size, controllers, MAC learning, and how busy ovs-vswitchd's main loop is.

A bridge in fail mode secure without its controller keeps forwarding by old flows until somebody
migrates; a learning table that evicts floods; an ECHO that takes long means that nothing else in
ovs-vswitchd's main thread is on time either.
"""

from agent.collectors.base import Collector
from agent.families import Counter, Gauge, Output
from agent.model.node import Node

BRIDGE = ("bridge",)
CONTROLLER = ("bridge", "target")
ROLES = {"other": 0, "slave": 1, "master": 2}

INFO = Gauge(
    "ovs_bridge_info",
    "A bridge's settings, always 1; join on (instance, bridge) [Bridge].",
    labels=("bridge", "datapath_type", "datapath_id", "fail_mode"),
)
CONNECTED = Gauge(
    "ovs_controller_connected",
    "Whether a bridge's controller is connected, 1 or 0 [Controller.is_connected].",
    labels=CONTROLLER,
)
ROLE = Gauge(
    "ovs_controller_role",
    "A controller's role: 0 other, 1 slave, 2 master [Controller.role].",
    labels=CONTROLLER,
)
PORTS = Gauge("ovs_bridge_ports", "OpenFlow ports of a bridge [port descriptions].", labels=BRIDGE)
FLOWS = Gauge(
    "ovs_bridge_flows", "OpenFlow flows of a bridge [table statistics active].", labels=BRIDGE
)
ECHO = Gauge(
    "ovs_vswitchd_echo_seconds",
    "Round trip of an OpenFlow ECHO, the latency of ovs-vswitchd's main loop [OpenFlow ECHO].",
    labels=BRIDGE,
)
FDB = Gauge(
    "ovs_bridge_fdb_entries", "Learned MAC addresses [fdb/stats-show current].", labels=BRIDGE
)
EVICTED = Counter(
    "ovs_bridge_fdb_evicted_total",
    "Learned addresses thrown out because the table was full [fdb/stats-show evicted].",
    labels=BRIDGE,
)
MOVED = Counter(
    "ovs_bridge_fdb_moved_total",
    "Learned addresses that moved to another port [fdb/stats-show moved].",
    labels=BRIDGE,
)
EXPIRED = Counter(
    "ovs_bridge_fdb_expired_total",
    "Learned addresses that aged out [fdb/stats-show expired].",
    labels=BRIDGE,
)


def from_database(node: Node) -> Output:
    """Yield settings and controllers of each bridge."""
    for bridge in node.switch.require().bridges:
        yield INFO(
            1, bridge.name, bridge.datapath_type, bridge.datapath_id or "", bridge.fail_mode or ""
        )
        for controller in bridge.controllers:
            yield CONNECTED(controller.connected, bridge.name, controller.target)
            yield ROLE(ROLES.get(controller.role or ""), bridge.name, controller.target)


def from_openflow(node: Node) -> Output:
    """Yield sizes and the main loop's latency as each bridge's own connection tells them."""
    for bridge in node.bridges.require().values():
        yield PORTS(len(bridge.port_names), bridge.bridge)
        yield FLOWS(sum(table.flows for table in bridge.tables), bridge.bridge)
        yield ECHO(bridge.echo_seconds, bridge.bridge)


def from_unixctl(node: Node) -> Output:
    """Yield each bridge's MAC learning; releases before 2.16 do not count it."""
    for fdb in node.fdbs.require():
        yield FDB(fdb.entries, fdb.bridge)
        yield EVICTED(fdb.evicted, fdb.bridge)
        yield MOVED(fdb.moved, fdb.bridge)
        yield EXPIRED(fdb.expired, fdb.bridge)


COLLECTOR = Collector(
    "bridge",
    (INFO, CONNECTED, ROLE, PORTS, FLOWS, ECHO, FDB, EVICTED, MOVED, EXPIRED),
    (from_database, from_openflow, from_unixctl),
    reads=("openflow", "unixctl"),
)
