"""Instances: what they send and receive, and who drops it on the way, flow by flow."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards import panels as p
from dashboards.boards.flow_queries import RULE
from dashboards.boards.instance_queries import (
    INFO,
    NAME,
    OF_NOVA,
    STATE,
    STATES,
    WHO,
    counted,
    flows,
    queued,
    seen,
)
from dashboards.frame import Row, any_of, board, chosen, to, whose
from dashboards.promql import FLEET, by, level

DEVICE, PORT = "{{domain}} {{target_device}}", "{{interface}}"
LOST = "ovs_interface_flow_dropped_packets_total"
FROM, TO = 'direction="from_instance"', 'direction="to_instance"'
ON_ITS_WAY_IN = "ingress|clsact"
"""Queueing disciplines of what comes in at a device."""
NODE = to("node", node="${__value.raw}")


def build() -> Dashboard:
    """Make the board."""
    names = level(INFO, of=FLEET)
    named = level(INFO, NAME, of=FLEET)
    return board(
        "instances",
        "Instances",
        "Instances of a node, or one by its name: interfaces, traffic as it sees it, drops, flows.",
        [
            *whose(),
            any_of(
                "instance_name",
                "Instance",
                "Nova's name of an instance, wherever it runs; all are also those without a name.",
                f"label_values({names}, instance_name)",
            ),
            chosen(
                "node",
                "Nodes",
                "Where it runs: the agents' addresses. While it migrates these are two.",
                f"label_values({named}, instance)",
            ).multi(multi=True),
            any_of(
                "domain",
                "Domain",
                "libvirt's name of it, which tells instances of one name apart.",
                f"label_values({level(INFO, NAME)}, domain)",
            ),
        ],
        [
            Row("Who it is", WHOSE),
            Row("Traffic, as the instance sees it", TRAFFIC),
            Row("Drops", DROPS),
            Row("Flows", FLOWS),
        ],
    )


WHOSE = (
    p.states(
        "State",
        "What libvirt says of the domain. An instance that migrates is on two nodes: paused where"
        " it goes to, until it is there.",
        STATES,
        (STATE, "{{instance}} {{domain}}"),
    ),
    p.table(
        "Name and owner",
        "What Nova wrote of it.",
        OF_NOVA,
        p.Column("instance", "Node", link=NODE),
        p.Column("domain", "Domain"),
        p.Column("instance_name", "Instance"),
        p.Column("instance_id", "Id"),
        p.Column("flavor_name", "Flavor"),
        p.Column("project_name", "Project"),
        p.Column("user_name", "User"),
    ).span(p.HALF),
    p.table(
        "Interfaces",
        "Its devices and what they are to Neutron; packets as Open vSwitch counts them at its port,"
        " and those that flows lose. Taps on Linux bridges are on the board of these.",
        (
            by("interface, bridge, iface_id, tag, attached_mac, domain, instance_name", WHO, "max"),
            counted("ovs_interface_rx_packets_total"),
            counted("ovs_interface_tx_packets_total"),
            counted(LOST, FROM),
            counted(LOST, TO),
        ),
        p.Column("instance", "Node", link=NODE),
        p.Column("instance_name", "Instance"),
        p.Column("domain", "Domain"),
        p.Column("interface", "Interface"),
        p.Column("bridge", "Bridge"),
        p.Column("tag", "VLAN"),
        p.Column("attached_mac", "MAC address"),
        p.Column("iface_id", "Neutron port"),
        p.Column("Value #B", "From instance", unit=p.PACKETS),
        p.Column("Value #C", "To instance", unit=p.PACKETS),
        p.Column("Value #D", "Lost from instance", unit=p.PACKETS, bounds=p.LOSS),
        p.Column("Value #E", "Lost to instance", unit=p.PACKETS, bounds=p.LOSS),
    ),
)

TRAFFIC = (
    p.graph(
        "Received by the instance",
        "Bytes, as libvirt has them in the instance's sense; Open vSwitch calls this tx.",
        p.BYTES_A_SECOND,
        (seen("receive_bytes"), DEVICE),
    ).span(p.QUARTER),
    p.graph(
        "Transmitted by the instance",
        "Bytes, as libvirt has them in the instance's sense; Open vSwitch calls this rx.",
        p.BYTES_A_SECOND,
        (seen("transmit_bytes"), DEVICE),
    ).span(p.QUARTER),
    p.graph(
        "Packets received by the instance",
        "As libvirt has them.",
        p.PACKETS,
        (seen("receive_packets"), DEVICE),
    ).span(p.QUARTER),
    p.graph(
        "Packets transmitted by the instance",
        "As libvirt has them.",
        p.PACKETS,
        (seen("transmit_packets"), DEVICE),
    ).span(p.QUARTER),
    p.graph(
        "From the instance, at its port (the switch's rx)",
        "Bytes that Open vSwitch received from it, also where there is no libvirt.",
        p.BYTES_A_SECOND,
        (counted("ovs_interface_rx_bytes_total"), PORT),
    ).span(p.HALF),
    p.graph(
        "To the instance, at its port (the switch's tx)",
        "Bytes that Open vSwitch sent to it, also where there is no libvirt.",
        p.BYTES_A_SECOND,
        (counted("ovs_interface_tx_bytes_total"), PORT),
    ).span(p.HALF),
)

DROPS = (
    p.graph(
        "Lost from the instance, by who drops",
        "Flows: it is spoofing, or may not send that. Port, qdisc and libvirt look at the same"
        " device, so one packet may be in several of them.",
        p.PACKETS,
        (counted(LOST, FROM), f"flows {PORT}"),
        (counted("ovs_interface_rx_dropped_total"), f"port {PORT}"),
        (queued(f'kind=~"{ON_ITS_WAY_IN}"'), f"qdisc {PORT}"),
        (seen("transmit_drops"), f"libvirt {DEVICE}"),
        bounds=p.LOSS,
    ).span(p.HALF),
    p.graph(
        "Lost to the instance, by who drops",
        "Flows: its rules let nobody in for that. Port, qdisc and libvirt: the guest does not read"
        " what it is given; no rule mends that. One packet may be in several of these.",
        p.PACKETS,
        (counted(LOST, TO), f"flows {PORT}"),
        (counted("ovs_interface_tx_dropped_total"), f"port {PORT}"),
        (queued(f'kind!~"{ON_ITS_WAY_IN}"'), f"qdisc {PORT}"),
        (seen("receive_drops"), f"libvirt {DEVICE}"),
        bounds=p.LOSS,
    ).span(p.HALF),
    p.table(
        "Which rules lose its packets",
        "Flows of kind lost that its packets meet. Empty although something is lost: the flow has"
        " no series (flows.max_per_bridge), or belongs to several ports.",
        flows('kind="lost"'),
        *RULE,
        sort="Packets",
    ),
)

FLOWS = (
    p.table(
        "Its flows",
        "The 50 busiest of the flows that name one of its interfaces. Kind: open delivers or goes"
        " on, lost loses, copy and patch end copies, closed ends what was counted before.",
        flows(),
        *RULE,
        sort="Packets",
    ),
)
