"""All nodes: who is not well, where drops grow, what is nearly full. Of recording rules alone."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards import panels as p
from dashboards.boards.fleet_limits import DATAPATHS, INSTANCE, LIMITS, TUNNELS, TUNNELS_DOWN
from dashboards.frame import Row, board, to, whose
from dashboards.promql import by, recorded, worst_nodes

NODES = "job:dataplane_agents:count"
NODE = to("node", node="${__value.raw}")
SOURCES_DOWN = "instance:dataplane_agent_sources_down:count"
DROPPED = "instance:dataplane_dropped_packets:rate5m"


def build() -> Dashboard:
    """Make the board."""
    return board(
        "fleet",
        "Fleet",
        "All nodes at a glance, from recording rules (dashboards/rules) that have to be loaded.",
        whose(NODES),
        [
            Row("Health", HEALTH),
            Row("Drops", DROPS),
            Row("Traffic and caches", DATAPATHS),
            Row("Nearly full, or slow", LIMITS),
            Row("Tunnels and OVN", TUNNELS),
        ],
    )


ANSWERING = recorded("job:dataplane_agents_up:sum")
MISSING = recorded(SOURCES_DOWN)
HEALTH = (
    p.number(
        "Nodes",
        "Agents that Prometheus should scrape.",
        p.COUNT,
        f"sum({recorded(NODES)})",
    ),
    p.number(
        "Nodes that do not answer",
        "Agents that Prometheus could not scrape.",
        p.COUNT,
        f"sum({recorded(NODES)} - {ANSWERING})",
        p.ONE,
    ),
    p.number(
        "Nodes that miss a source",
        "Agents that cannot read all that they should.",
        p.COUNT,
        f"sum({MISSING} > bool 0)",
        p.ONE,
    ),
    p.number(
        "Tunnels that are down",
        "By BFD, by the carrier that they leave by, or by their own link, on all nodes.",
        p.COUNT,
        f"sum({recorded(TUNNELS_DOWN)})",
        p.ONE,
    ),
    p.stacked(
        p.graph(
            "Nodes by health",
            "Nodes whose agents read all that they should, those that miss a source, and those"
            " that do not answer.",
            p.COUNT,
            (f"sum({MISSING} == bool 0)", "well"),
            (f"sum({MISSING} > bool 0)", "miss a source"),
            (f"sum({recorded(NODES)} - {ANSWERING})", "do not answer"),
        )
    ),
    p.graph(
        "Nodes that miss a source, by source",
        "On how many nodes each source is down that should be there.",
        p.COUNT,
        (
            f"sum by (source) ({recorded('job_source:dataplane_agent_source_down:count')})",
            "{{source}}",
        ),
        bounds=p.ONE,
    ),
    p.graph(
        "Agents that are close to their deadline",
        "Duration of a scrape, of as long as the agent may take. At 100 % it answers without what"
        " is not there yet.",
        p.SHARE,
        (worst_nodes("instance:dataplane_agent_scrape_duration:ratio", "max"), INSTANCE),
        bounds=p.FULL,
    ),
    p.table(
        "Every node",
        "A click leads to it.",
        (
            by("", MISSING, "max"),
            by("", recorded(DROPPED)),
            by("", recorded(TUNNELS_DOWN), "max"),
            by("", recorded("instance_datapath:ovs_datapath_hit:ratio_rate5m"), "min"),
            by("", recorded("instance:ovs_vswitchd_echo_seconds:max"), "max"),
            by("", recorded("instance:dataplane_conntrack_entries:max_ratio"), "max"),
            by("", recorded("instance:ovs_bridge_flows:sum"), "max"),
        ),
        p.Column("instance", "Node", link=NODE),
        p.Column("Value #A", "Sources that are missing", bounds=p.ONE),
        p.Column("Value #B", "Dropped", unit=p.PACKETS, bounds=p.LOSS),
        p.Column("Value #C", "Tunnels down", bounds=p.ONE),
        p.Column("Value #D", "Known to the datapath", unit=p.SHARE),
        p.Column("Value #E", "Main loop", unit=p.SECONDS, bounds=((0.5, p.BAD),)),
        p.Column("Value #F", "Fullest table of connections", unit=p.SHARE, bounds=p.FULL),
        p.Column("Value #G", "Flows"),
        sort="Dropped",
    ),
)

DROPS = (
    p.graph(
        "Drops, by where",
        "Packets dropped on all nodes, by layer; rx and tx are the switch's: what an instance"
        " sends is rx. Layer meter and qdisc may be meant to drop.",
        p.PACKETS,
        (
            f"sum by (layer, direction) ({recorded('job_layer:dataplane_dropped_packets:rate5m')})",
            "{{layer}} {{direction}}",
        ),
    ),
    p.graph(
        "Nodes that drop most",
        "All layers of a node together.",
        p.PACKETS,
        (worst_nodes(DROPPED, "sum"), INSTANCE),
    ),
    p.table(
        "Nodes and layers that drop most of what they carry",
        "Dropped packets, of all packets of a layer: the twenty worst.",
        f"topk(20, {recorded('instance_layer:dataplane_dropped_packets:ratio_rate5m')})",
        p.Column("instance", "Node", link=NODE),
        p.Column("layer", "Layer"),
        p.Column("direction", "Direction"),
        p.Column("Value", "Dropped", unit=p.SHARE, bounds=((0.001, p.WARN), (0.01, p.BAD))),
        sort="Dropped",
    ).span(p.THIRD),
)
