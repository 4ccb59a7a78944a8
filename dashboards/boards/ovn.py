"""OVN: is each node told what changes, which stages and rules do packets meet, what is refused?"""

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards import panels as p
from dashboards.boards.ovn_packets import LOST, NODE, PACKETS
from dashboards.frame import Row, board, nodes, whose
from dashboards.promql import FLEET, busiest, by, largest, level, lowest

NAME, HOST = "{{instance}}", "{{hostname}}"
WANTED, ASKED, WRITTEN, ALL_INSTALLED = (
    f"max by (cluster) ({level(metric, of=FLEET)})"
    for metric in ("ovn_sb_nb_cfg", "ovn_nb_nb_cfg", "ovn_nb_sb_cfg", "ovn_nb_hv_cfg")
)
INSTALLED = f"max by (cluster, chassis) ({level('ovn_chassis_nb_cfg', of=FLEET)})"
BEHIND = f"({WANTED} - on (cluster) group_right () {INSTALLED})"
HOSTS = f"max by (cluster, chassis, hostname) ({level('ovn_chassis_info', of=FLEET)})"
OF_HOST = f"* on (cluster, chassis) group_left (hostname) {HOSTS}"
BINDING = level("ovn_port_binding_info", 'type="vif"', 'chassis!=""', of=FLEET)
BOUND = f"max by (cluster, logical_port, chassis) ({BINDING})"
UP = f"max by (cluster, logical_port) ({level('ovn_port_binding_up', of=FLEET)})"
BOUND_UP = f"{UP} * on (cluster, logical_port) group_left (chassis) {BOUND}"


def build() -> Dashboard:
    """Make the board."""
    return board(
        "ovn",
        "OVN",
        "OVN on the chosen nodes; names and who lags need an agent beside the databases.",
        [*whose(), nodes()],
        [
            Row("ovn-controller", CONTROLLER),
            Row("Behind the configuration", LAG),
            Row("Stages and rules", PACKETS),
            Row("Losses", LOST),
        ],
    )


CONTROLLER = (
    p.states(
        "Connection to the Southbound",
        "Without it flows stay as they are, and instances that start get none. Absent: no"
        " ovn-controller answers. A server that hangs looks connected for seconds of each try.",
        p.YES_OR_NO,
        (lowest(40, "ovn_controller_southbound_database_connected"), NAME),
    ),
    p.table(
        "Versions and encapsulation",
        "What runs there, and this node's end of tunnels.",
        (
            by("version, ovs_lib_version", level("ovn_controller_build_info"), "max"),
            by("ipaddress", level("ovn_controller_encap_ip"), "max"),
            by("type", level("ovn_controller_encap_type"), "max"),
            f"time() - {by('', level('ovn_controller_start_time_seconds'), 'max')}",
        ),
        p.Column("instance", "Node", link=NODE),
        p.Column("version", "ovn-controller"),
        p.Column("ovs_lib_version", "Open vSwitch in it"),
        p.Column("ipaddress", "Address of tunnels"),
        p.Column("type", "Kind of tunnels"),
        p.Column("Value #D", "Running for", unit=p.SECONDS),
    ).span(p.HALF),
    p.graph(
        "Main loop: 95 % of runs took less than",
        "Parts of ovn-controller's main loop. While it computes, nothing else is done: ports wait"
        " for their flows.",
        p.SECONDS,
        (
            largest(20, "ovn_controller_stopwatch_95th_percentile_seconds"),
            "{{instance}} {{stopwatch}}",
        ),
        bounds=((1, p.WARN), (5, p.BAD)),
    ),
    p.graph(
        "Recomputes",
        "How often a part of the engine was computed from nothing instead of from what changed,"
        " of the ten with most. Many of them burn CPU time.",
        p.EVENTS,
        (busiest(10, "ovn_controller_engine_recompute_total"), "{{instance}} {{engine_node}}"),
    ),
    p.graph(
        "Bound ports",
        "Logical ports that ovn-controller has bound on the node, by kind.",
        p.COUNT,
        (largest(20, "ovn_controller_local_bindings"), "{{instance}} {{type}}"),
    ),
    p.graph(
        "Memory of the cache of logical flows",
        "What translations of logical flows take.",
        p.BYTES,
        (largest(20, "ovn_controller_lflow_cache_memory_bytes"), NAME),
    ),
    p.graph(
        "Dropped by ovn-controller",
        "Packets and rows that ovn-controller threw away, by reason (coverage/show).",
        p.EVENTS,
        (
            busiest(10, "ovn_controller_coverage_events_total", 'event=~".*drop.*"'),
            "{{instance}} {{event}}",
        ),
        bounds=p.LOSS,
    ).span(2 * p.THIRD),
)

LAG = (
    p.graph(
        "Generations that a chassis is behind",
        "Generations of the configuration in the Southbound that a chassis has not installed.",
        p.COUNT,
        (f"topk(20, {BEHIND} {OF_HOST})", HOST),
        bounds=p.ONE,
    ),
    p.graph(
        "Generations that northd and all chassis are behind",
        "Of what was asked for in the Northbound: what northd has not written to the Southbound,"
        " and what not every chassis has installed.",
        p.COUNT,
        (f"{ASKED} - {WRITTEN}", "northd"),
        (f"{ASKED} - {ALL_INSTALLED}", "all chassis"),
        bounds=p.ONE,
    ),
    p.states(
        "BFD of routers",
        "Sessions that ports of routers asked for.",
        p.BFD,
        (
            f"max by (cluster, logical_port, dst_ip) ({level('ovn_bfd_state', of=FLEET)})",
            "{{logical_port}} {{dst_ip}}",
        ),
    ).span(p.THIRD),
    p.table(
        "Ports of instances",
        "Bound logical ports of kind vif, those whose flows are not installed first: a hundred.",
        f"bottomk(100, {BOUND_UP} {OF_HOST})",
        p.Column("logical_port", "Logical port (Neutron's)"),
        p.Column("hostname", "Host"),
        p.Column("chassis", "Chassis"),
        p.Column("Value", "Up", texts=p.YES_OR_NO),
    ),
)
