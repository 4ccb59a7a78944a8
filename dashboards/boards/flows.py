"""Flows of one node: which are busy, which lose packets, and how they come and go."""

from grafana_foundation_sdk.models import dashboard as model

from dashboards import panels as p
from dashboards.boards.flow_queries import RULE, explained, named
from dashboards.frame import Row, any_of, board, one_node, whose
from dashboards.promql import busiest, by, increase, largest, level, rate

BRIDGE, TABLE = 'bridge=~"$bridge"', 'table=~"$table"'
HERE = (BRIDGE, TABLE)
OF_FLOW = "{{bridge}} {{table}},{{priority}} {{match}}"
OF_TABLE = "{{bridge}} {{table}} {{name}}"
READING = 'source="openflow"'
OF_INTERFACE = "ovs_interface_flow_dropped_packets_total"
PACKETS = rate("ovs_flow_packets_total", *HERE)
INFO, LOSING = (level("ovs_flow_info", *HERE, *kind) for kind in ((), ('kind="lost"',)))


def of_tables(counter: str, *matchers: str) -> str:
    """Return the rates of the tables that counted most, with their names."""
    return named(busiest(15, counter, *HERE, *matchers), *HERE)


def build() -> model.Dashboard:
    """Make the board."""
    bridges = level("ovs_flow_table_flows")
    tables = level("ovs_flow_table_flows", BRIDGE)
    return board(
        "flows",
        "Flows",
        "OpenFlow flows of one node: what they carry, where they lose packets, how they change.",
        [
            *whose(),
            one_node(),
            any_of("bridge", "Bridge", "Bridges of the node.", f"label_values({bridges}, bridge)"),
            any_of(
                "table",
                "Table",
                "Numbers of flow tables that have a flow or a lookup.",
                f"label_values({tables}, table)",
            ).sort(model.VariableSort.NUMERICAL_ASC),
        ],
        [
            Row("What is shown", SHOWN),
            Row("Where packets are lost", LOST),
            Row("What flows carry", CARRIED),
            Row("How they change, and what is not known", CHANGES),
        ],
    )


SHOWN = (
    p.number(
        "Flows",
        "OpenFlow flows of these bridges.",
        p.COUNT,
        by("", level("ovs_bridge_flows", BRIDGE)),
    ),
    p.number(
        "Series that are left out",
        "Of flows on bridges with more than flows.max_per_bridge of them only those have series"
        " that flows.select names; drops and tables are complete all the same.",
        p.COUNT,
        by("", level("dataplane_agent_series_suppressed", 'collector="flow"'), "max"),
        ((1, p.WARN),),
    ),
    p.number(
        "Readings that were left out",
        "Scrapes in this time that were answered without flows, to spare ovs-vswitchd"
        " (flows.duty_cycle, flows.busy_echo_seconds). A job that scrapes flows more slowly helps.",
        p.COUNT,
        by("", increase("dataplane_agent_source_throttled_total", READING), "max"),
        ((1, p.WARN),),
    ),
    p.number(
        "Flows may be read every",
        "Distance of scrapes at which every reading of flows is allowed.",
        p.SECONDS,
        by("", level("dataplane_agent_source_min_interval_seconds", READING), "max"),
        ((15, p.WARN), (60, p.BAD)),
    ),
)

LOST = (
    p.graph(
        "Lost packets, by table",
        "Packets that a table's flows delivered nowhere and that nobody else has, counted where"
        " that was decided.",
        p.PACKETS,
        (of_tables("ovs_flow_table_dropped_packets_total", 'kind="lost"'), OF_TABLE),
        bounds=p.LOSS,
    ),
    p.graph(
        "Lost packets from instances, by interface",
        "What came in at an interface and was delivered nowhere: spoofed, or not allowed out.",
        p.PACKETS,
        (busiest(10, OF_INTERFACE, BRIDGE, 'direction="from_instance"'), "{{interface}}"),
        bounds=p.LOSS,
    ),
    p.graph(
        "Lost packets to instances, by interface",
        "What was bound for an interface and was not delivered: mostly refused by its rules.",
        p.PACKETS,
        (busiest(10, OF_INTERFACE, BRIDGE, 'direction="to_instance"'), "{{interface}}"),
        bounds=p.LOSS,
    ),
    p.table(
        "Flows that lose packets",
        "The flows of kind lost that most packets meet. Interface: whose they are, where the flow"
        " says so.",
        f"topk(50, {explained(PACKETS, LOSING)} > 0)",
        *RULE,
        sort="Packets",
    ),
)

CARRIED = (
    p.table(
        "Busiest flows",
        "The 50 flows that most packets meet; one packet meets many. Kind: open delivers or goes"
        " on, lost loses, copy and patch end copies, closed ends what was counted before.",
        f"topk(50, {explained(PACKETS, INFO)} > 0)",
        *RULE,
        sort="Packets",
    ),
    p.graph(
        "Packets of the busiest flows",
        "The ten flows that most packets met in the time shown.",
        p.PACKETS,
        (busiest(10, "ovs_flow_packets_total", *HERE), OF_FLOW),
    ).span(p.HALF),
    p.graph(
        "Bytes of the busiest flows",
        "The ten flows that most bytes met in the time shown.",
        p.BYTES_A_SECOND,
        (busiest(10, "ovs_flow_bytes_total", *HERE), OF_FLOW),
    ).span(p.HALF),
    p.graph(
        "Lookups, by table",
        "Packets that were looked up in each table; exact, also when flows come and go.",
        p.PACKETS,
        (of_tables("ovs_flow_table_lookups_total"), OF_TABLE),
    ),
    p.graph(
        "Copies, which are no losses",
        "What flows dropped although it was delivered elsewhere (copy), or came through a patch"
        " port, mostly by flooding (patch).",
        p.PACKETS,
        (
            of_tables("ovs_flow_table_dropped_packets_total", 'kind=~"copy|patch"'),
            f"{OF_TABLE} {{{{kind}}}}",
        ),
    ),
    p.graph(
        "Through meters, and dropped by them",
        "Packets that flows sent through a meter, and those beyond the rate of one of its bands.",
        p.PACKETS,
        (rate("ovs_meter_packets_total", BRIDGE), "{{bridge}} {{meter}}"),
        (rate("ovs_meter_dropped_packets_total", BRIDGE), "{{bridge}} {{meter}} band {{band}}"),
    ),
)

CHANGES = (
    p.graph(
        "Flows that are added, removed and changed",
        "As the agent sees it from one reading to the next: what comes and goes in between is not"
        " here.",
        p.EVENTS,
        (rate("ovs_flow_changes_total", BRIDGE), "{{bridge}} {{change}}"),
    ),
    p.graph(
        "Flows, by table",
        "The largest table is how long ovs-vswitchd is away for one answer.",
        p.COUNT,
        (named(largest(15, "ovs_flow_table_flows", *HERE), *HERE), OF_TABLE),
    ),
    p.graph(
        "Without a match, by table",
        "Packets that met no flow of a table; lost, unless the bridge sends them to a controller.",
        p.PACKETS,
        (of_tables("ovs_flow_table_missed_packets_total"), OF_TABLE),
    ),
    p.graph(
        "Not attributed, by table",
        "Packets that matched in a table and that no reading of its flows accounts for: mostly of"
        " flows that ended in between. By so much the losses above may be too low.",
        p.PACKETS,
        (of_tables("ovs_flow_table_unattributed_packets_total"), OF_TABLE),
    ).span(p.ALL_WIDTH),
)
