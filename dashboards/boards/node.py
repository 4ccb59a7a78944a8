"""One node: is it whole, and what do its bridges and interfaces carry?"""

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards import panels as p
from dashboards.boards.node_datapath import DATAPATH, LOST
from dashboards.frame import Row, board, one_node, to, whose
from dashboards.promql import busiest, by, joined, level, of_those

NO_PATCH = 'type!="patch"'
UP = by("source", level("dataplane_agent_source_up"), "max")
EXPECTED = by("source", level("dataplane_agent_source_configured"), "max")
NO_LINK = f"{level('ovs_interface_link_state')} == 0 and {level('ovs_interface_admin_state')} == 1"
FLOWS = to("flows", node="${node}", bridge="${__value.raw}")


def build() -> Dashboard:
    """Make the board."""
    return board(
        "node",
        "Node",
        "One compute node: what the agent reads there, its datapath, its bridges and its drops.",
        [*whose(), one_node()],
        [
            Row("Is it whole?", HEALTH),
            Row("Datapath", DATAPATH),
            Row("Where packets are lost", LOST),
            Row("Interfaces and bridges", INTERFACES),
        ],
    )


HEALTH = (
    p.number(
        "Sources that are missing",
        "What the agent should read on this node and cannot. Why is on its page /status and in"
        " dataplane_agent_source_failures_total.",
        p.COUNT,
        by("", f"(1 - {UP}) * on (cluster, instance, source) {EXPECTED}"),
        p.ONE,
    ),
    p.number(
        "Open vSwitch has been running for",
        "Time since ovs-vswitchd started; its flows and its counters are no older.",
        p.SECONDS,
        f"time() - {level('ovs_vswitchd_start_time_seconds')}",
        ((0, p.WARN), (600, p.GOOD)),
    ),
    p.number(
        "Flows of all bridges",
        "OpenFlow flows. What they do is on the board of flows.",
        p.COUNT,
        by("", level("ovs_bridge_flows")),
    ),
    p.number(
        "Controllers that are missing",
        "Controllers of bridges that are not connected: nobody changes their flows.",
        p.COUNT,
        by("", f"{level('ovs_controller_connected')} == bool 0"),
        p.ONE,
    ),
    p.states(
        "Sources",
        "Whether the agent could read all that it asked of each source. What a source that is down"
        " would say is absent from the panels below, not 0.",
        p.UP_OR_DOWN,
        (of_those(UP, "source", f"({EXPECTED} == 1)"), "{{source}}"),
    ),
    p.graph(
        "Latency of ovs-vswitchd's main loop",
        "Round trip of an OpenFlow ECHO on each bridge. The loop that answers it also installs"
        " flows; above 0.5 s the agent reads no flows (flows.busy_echo_seconds).",
        p.SECONDS,
        (level("ovs_vswitchd_echo_seconds"), "{{bridge}}"),
        bounds=((0.5, p.BAD),),
    ).span(p.HALF),
)

INTERFACES = (
    p.graph(
        "Received by the switch (rx)",
        "Bytes from the ten busiest interfaces, without patch ports. From a tap: what its instance"
        " sends.",
        p.BYTES_A_SECOND,
        (busiest(10, "ovs_interface_rx_bytes_total", NO_PATCH), "{{interface}}"),
    ).span(p.HALF),
    p.graph(
        "Sent by the switch (tx)",
        "Bytes to the ten busiest interfaces, without patch ports. To a tap: what its instance"
        " receives.",
        p.BYTES_A_SECOND,
        (busiest(10, "ovs_interface_tx_bytes_total", NO_PATCH), "{{interface}}"),
    ).span(p.HALF),
    p.table(
        "Bridges",
        "Flows, ports, learned addresses, and whether all controllers of a bridge are connected.",
        (
            by("bridge", level("ovs_bridge_flows")),
            by("bridge", level("ovs_bridge_ports")),
            by("bridge", level("ovs_bridge_fdb_entries")),
            by("bridge", level("ovs_controller_connected"), "min"),
            by("bridge, datapath_type, fail_mode", level("ovs_bridge_info")),
        ),
        p.Column("bridge", "Bridge", link=FLOWS),
        p.Column("datapath_type", "Datapath"),
        p.Column("fail_mode", "Fail mode"),
        p.Column("Value #A", "Flows"),
        p.Column("Value #B", "Ports"),
        p.Column("Value #C", "Learned addresses"),
        p.Column("Value #D", "Controllers connected", texts=p.YES_OR_NO),
    ).span(p.HALF),
    p.table(
        "Interfaces that do not work",
        "Devices that ovs-vswitchd cannot open (the reason is on the agent's page /status), and"
        " interfaces that are switched on and have no link. A port that was moved into a namespace"
        " may be here and work.",
        (
            by("bridge, interface", level("ovs_interface_open_error"), "max"),
            by("bridge, interface", NO_LINK, "count"),
        ),
        p.Column("bridge", "Bridge"),
        p.Column("interface", "Interface"),
        p.Column("Value #A", "Cannot be opened", bounds=p.ONE),
        p.Column("Value #B", "Has no link", bounds=p.ONE),
    ).span(p.HALF),
    p.states(
        "Members of bonds",
        "Whether each member of a bond may carry traffic.",
        p.UP_OR_DOWN,
        (level("ovs_bond_member_enabled"), "{{port}} {{member}}"),
    ),
    p.table(
        "Versions",
        "What runs there, and what the node calls itself.",
        joined(
            level("ovs_build_info"),
            "",
            "system_id, system_type, system_version",
            level("ovs_vswitch_info"),
        ),
        p.Column("ovs_version", "Open vSwitch"),
        p.Column("dpdk_version", "DPDK"),
        p.Column("db_version", "Schema"),
        p.Column("system_type", "System"),
        p.Column("system_version", "Version"),
        p.Column("system_id", "System id"),
    ).span(p.HALF),
)
