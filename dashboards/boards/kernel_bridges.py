"""Of the kernel's side of a node: Linux bridges, and the taps of instances on them."""

from dashboards import panels as p
from dashboards.promql import by, joined, level, lowest, rate

NETNS = 'netns=~"$netns"'
TAPS = 'device=~"tap.+"'
MEMBER = "{{bridge}} {{device}}"
PORTS: p.States = {
    0: ("disabled", p.BAD),
    1: ("listening", p.WARN),
    2: ("learning", p.WARN),
    3: ("forwarding", p.GOOD),
    4: ("blocking", p.BAD),
}


def on_bridge(expr: str) -> str:
    """Keep members of Linux bridges, and say of which."""
    member = f"({level('linux_bridge_port_state')} >= bool 0)"
    return joined(expr, "netns, device", "bridge", member)


def of_bridge(metric: str, how: str) -> str:
    """Aggregate what ports have by their bridge, which has the label of a device itself."""
    ports = by("netns, bridge", level(metric, NETNS), how)
    return by("netns, device", f'label_replace({ports}, "device", "$1", "bridge", "(.+)")', "max")


BRIDGES = (
    p.states(
        "Ports of Linux bridges",
        "Only a port that is forwarding carries packets.",
        PORTS,
        (lowest(40, "linux_bridge_port_state", NETNS), MEMBER),
    ),
    p.table(
        "Bridges",
        "Every Linux bridge, its settings, its ports and the addresses behind them.",
        (
            by("netns, device, stp, vlan_filtering", level("linux_bridge_info", NETNS), "max"),
            of_bridge("linux_bridge_port_state", "count"),
            of_bridge("linux_bridge_fdb_entries", "sum"),
        ),
        p.Column("device", "Bridge"),
        p.Column("netns", "Namespace"),
        p.Column("stp", "Spanning tree"),
        p.Column("vlan_filtering", "VLAN filtering"),
        p.Column("Value #B", "Ports"),
        p.Column("Value #C", "Addresses"),
    ).span(p.HALF),
    p.graph(
        "To instances on Linux bridges (tx of their taps)",
        "Packets that the kernel gave to each tap that is a port of a bridge.",
        p.PACKETS,
        (on_bridge(rate("netns_network_tx_packets_total", TAPS)), MEMBER),
    ),
    p.graph(
        "From instances on Linux bridges (rx of their taps)",
        "Packets that came in at each tap that is a port of a bridge.",
        p.PACKETS,
        (on_bridge(rate("netns_network_rx_packets_total", TAPS)), MEMBER),
    ),
    p.graph(
        "Lost to instances on Linux bridges (tx of their taps)",
        "Packets that a tap should have given to its guest, which does not read.",
        p.PACKETS,
        (on_bridge(rate("netns_network_tx_dropped_total", TAPS)), MEMBER),
        bounds=p.LOSS,
    ),
)
