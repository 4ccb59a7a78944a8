"""Tunnels: which are there, which are down, what they carry, and which are missing."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards import panels as p
from dashboards.frame import Row, board, few_nodes, to, whose
from dashboards.promql import FLEET, busiest, by, joined, level, lowest, rate

ENDPOINT = "dataplane_tunnel_endpoint_info"
TUNNEL = "{{instance}} {{interface}}"
NODE = to("node", node="${__value.raw}")

GENEVE = 'tunnel_type="geneve"'
EXPECTED = f"max by (cluster, remote_ip) ({level('ovn_tunnel_expected_info', GENEVE, of=FLEET)})"
CHASSIS = f"max by (cluster, chassis) ({level('ovn_chassis_info', of=FLEET)})"
HAVE = f"max by (cluster, instance, remote_ip) ({level(ENDPOINT, GENEVE, of=FLEET)})"
MISSING = f"""
{EXPECTED} * on (cluster) group_left () (count by (cluster) ({CHASSIS}) - 1)
- on (cluster, remote_ip) (
  count by (cluster, remote_ip) ({HAVE})
  or on (cluster, remote_ip) {EXPECTED} * 0
)""".strip()


def build() -> Dashboard:
    """Make the board."""
    return board(
        "tunnels",
        "Tunnels",
        "Tunnels of Open vSwitch and of the kernel: their ends, their state, what they carry.",
        [*whose(), few_nodes()],
        [
            Row("State", STATE),
            Row("Traffic", TRAFFIC),
            Row("What OVN expects", OVN),
        ],
    )


def renamed(expr: str, old: str, new: str) -> str:
    """Give a label another name: what is an interface to Open vSwitch is a device to others."""
    return f'label_replace({expr}, "{new}", "$1", "{old}", "(.+)")'


def by_peer(counter: str) -> str:
    """Add up what interfaces of Open vSwitch's tunnels count, by the other end."""
    info = renamed(level(ENDPOINT, 'implementation="ovs"'), "device", "interface")
    each = joined(by("interface", rate(counter)), "interface", "remote_ip, tunnel_type", info)
    return f"sum by (cluster, remote_ip, tunnel_type) ({each})"


def by_network(counter: str) -> str:
    """Add up what devices of the kernel's tunnels count, by the network that they carry."""
    info = level(ENDPOINT, 'implementation="linux"')
    each = joined(rate(counter), "netns, device", "key, tunnel_type", info)
    return f"sum by (cluster, tunnel_type, key) ({each})"


STATE = (
    p.number(
        "Ends of tunnels",
        "Tunnel interfaces of Open vSwitch and tunnel devices of the kernel on these nodes.",
        p.COUNT,
        f"count({level(ENDPOINT)})",
    ),
    p.number(
        "Held for dead by BFD",
        "Sessions that are down or not up yet (init), of those that are switched on.",
        p.COUNT,
        f"sum(({level('ovs_interface_bfd_state')} == bool 1)"
        f" + ({level('ovs_interface_bfd_state')} == bool 2))",
        p.ONE,
    ),
    p.number(
        "Without a carrier",
        "Tunnels whose packets have nothing to leave by.",
        p.COUNT,
        f"sum({level('ovs_tunnel_egress_carrier')} == bool 0)",
        p.ONE,
    ),
    p.number(
        "Missing, as OVN expects",
        "Tunnels that a chassis of the Southbound should have to another and has not, which an"
        " agent beside the databases knows. To whom they are missing is below.",
        p.COUNT,
        f"sum(clamp_min({MISSING}, 0))",
        p.ONE,
    ),
    p.states(
        "BFD",
        "State of the sessions that were worst in the time shown.",
        p.BFD,
        (lowest(40, "ovs_interface_bfd_state"), TUNNEL),
    ),
    p.states(
        "Carrier of the device that packets leave by",
        "A tunnel with a carrier may still lead to nobody: that is BFD's to say.",
        p.UP_OR_DOWN,
        (lowest(40, "ovs_tunnel_egress_carrier"), TUNNEL),
    ),
    p.table(
        "Ends",
        "Every tunnel and its state. What Open vSwitch was not told (a key that flows set, a local"
        " address that routing chooses) is flow, or empty.",
        (
            by(
                "netns, device, bridge, implementation, tunnel_type, local_ip, remote_ip, key",
                level(ENDPOINT),
                "max",
            ),
            by("device", renamed(level("ovs_tunnel_egress_carrier"), "interface", "device"), "min"),
            by("device", renamed(level("ovs_interface_bfd_state"), "interface", "device"), "min"),
        ),
        p.Column("instance", "Node", link=NODE),
        p.Column("implementation", "Of"),
        p.Column("netns", "Namespace"),
        p.Column("bridge", "Bridge"),
        p.Column("device", "Device"),
        p.Column("tunnel_type", "Kind"),
        p.Column("local_ip", "Local address"),
        p.Column("remote_ip", "Remote address"),
        p.Column("key", "Key"),
        p.Column("Value #B", "Carrier", texts=p.UP_OR_DOWN),
        p.Column("Value #C", "BFD", texts=p.BFD),
    ),
)

TRAFFIC = (
    p.graph(
        "Sent into Open vSwitch's tunnels, by peer (tx)",
        "Bytes that the switches of the chosen nodes sent to each remote address.",
        p.BYTES_A_SECOND,
        (by_peer("ovs_interface_tx_bytes_total"), "{{remote_ip}} {{tunnel_type}}"),
    ).span(p.HALF),
    p.graph(
        "Received from Open vSwitch's tunnels, by peer (rx)",
        "Bytes that the switches of the chosen nodes received from each remote address. A peer to"
        " which much is sent and from which nothing comes back may be dead.",
        p.BYTES_A_SECOND,
        (by_peer("ovs_interface_rx_bytes_total"), "{{remote_ip}} {{tunnel_type}}"),
    ).span(p.HALF),
    p.graph(
        "Sent into the kernel's tunnels, by network (tx)",
        "Bytes that devices of vxlan, geneve and gre sent, by their VNI or key.",
        p.BYTES_A_SECOND,
        (by_network("netns_network_tx_bytes_total"), "{{tunnel_type}} {{key}}"),
    ),
    p.graph(
        "Received from the kernel's tunnels, by network (rx)",
        "Bytes that devices of vxlan, geneve and gre received, by their VNI or key.",
        p.BYTES_A_SECOND,
        (by_network("netns_network_rx_bytes_total"), "{{tunnel_type}} {{key}}"),
    ),
    p.graph(
        "Forwarding entries of the kernel's tunnels, by peer",
        "Entries that lead to each remote VTEP. A node that has fewer peers than the others is"
        " missing some.",
        p.COUNT,
        (
            f"sum by (cluster, remote_ip) ({level('linux_vxlan_remote_entries')})",
            "{{remote_ip}}",
        ),
    ),
    p.graph(
        "Changes of BFD's judgement",
        "How often a session changed its mind whether a tunnel may carry traffic.",
        p.EVENTS,
        (busiest(20, "ovs_interface_bfd_flaps_total"), TUNNEL),
        bounds=p.LOSS,
    ).span(p.ALL_WIDTH),
)

OVN = (
    p.table(
        "Chassis and how many others have no tunnel to them",
        "Every end of tunnels that the Southbound names; every other chassis should have a tunnel"
        " to it. Nodes without an agent count as missing.",
        (
            (
                f"max by (cluster, remote_ip, tunnel_type, chassis)"
                f" ({level('ovn_tunnel_expected_info', of=FLEET)})"
                " * on (cluster, chassis) group_left (hostname) max by (cluster, chassis, hostname)"
                f" ({level('ovn_chassis_info', of=FLEET)})"
            ),
            MISSING,
        ),
        p.Column("hostname", "Host"),
        p.Column("chassis", "Chassis"),
        p.Column("remote_ip", "Address of its end"),
        p.Column("tunnel_type", "Kind"),
        p.Column("Value #B", "Nodes without a tunnel to it", bounds=p.ONE),
    ),
)
