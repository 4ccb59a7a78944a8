"""The kernel's side of one node: namespaces of routers and DHCP servers, links, Linux bridges."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards import panels as p
from dashboards.boards.kernel_bridges import BRIDGES, NETNS
from dashboards.frame import Row, any_of, board, one_node, whose
from dashboards.promql import busiest, by, level

LINK, SPACE = "{{netns}} {{device}}", "{{netns}}"
ENTRIES, LIMIT = (level(f"netns_conntrack_entries{end}", NETNS) for end in ("", "_limit"))
NO_CARRIER = f"{level('netns_network_carrier', NETNS)} == 0"


def build() -> Dashboard:
    """Make the board."""
    return board(
        "kernel",
        "Namespaces and Linux bridges",
        "The kernel's side of one node: what people read with ip netns, ip -s link and bridge.",
        [
            *whose(),
            one_node(),
            any_of(
                "netns",
                "Namespace",
                "Named network namespaces; all are these and the host's own.",
                f"label_values({level('netns_info')}, netns)",
            ),
        ],
        [
            Row("Namespaces", NAMESPACES),
            Row("Links", LINKS),
            Row("Connection tracking", CONNECTIONS),
            Row("Linux bridges", BRIDGES),
        ],
    )


NAMESPACES = (
    p.graph(
        "Namespaces, by what they are for",
        "qrouter, fip and snat are neutron's routers, qdhcp its DHCP servers, ovnmeta OVN's"
        " metadata proxies.",
        p.COUNT,
        (by("role", level("netns_info", NETNS), "count"), "{{role}}"),
    ),
    p.table(
        "Namespaces",
        "Every named namespace with its links and what they drop.",
        (
            by("netns, role, id", level("netns_info", NETNS), "max"),
            by("netns", level("netns_network_up", NETNS, 'netns!=""'), "count"),
            by("netns", level("netns_network_carrier", NETNS, 'netns!=""') + " == bool 0"),
            by("netns", level("netns_conntrack_entries", NETNS, 'netns!=""')),
        ),
        p.Column("netns", "Namespace"),
        p.Column("role", "Of"),
        p.Column("id", "Id"),
        p.Column("Value #B", "Links"),
        p.Column("Value #C", "Links without a carrier", bounds=((1, p.WARN),)),
        p.Column("Value #D", "Tracked connections"),
    ).span(2 * p.THIRD),
)

LINKS = (
    p.graph(
        "Received by devices (rx)",
        "Bytes of the ten busiest devices in their own sense: a tap receives what its instance"
        " sends.",
        p.BYTES_A_SECOND,
        (busiest(10, "netns_network_rx_bytes_total", NETNS), LINK),
    ).span(p.HALF),
    p.graph(
        "Sent by devices (tx)",
        "Bytes of the ten busiest devices in their own sense: a tap sends what its instance"
        " receives.",
        p.BYTES_A_SECOND,
        (busiest(10, "netns_network_tx_bytes_total", NETNS), LINK),
    ).span(p.HALF),
    p.graph(
        "Received by devices and dropped (rx)",
        "Packets of the ten devices that dropped most.",
        p.PACKETS,
        (busiest(10, "netns_network_rx_dropped_total", NETNS), LINK),
        bounds=p.LOSS,
    ),
    p.graph(
        "Not sent by devices but dropped (tx)",
        "Packets of the ten devices that dropped most. A tap: its guest does not read.",
        p.PACKETS,
        (busiest(10, "netns_network_tx_dropped_total", NETNS), LINK),
        bounds=p.LOSS,
    ),
    p.graph(
        "Dropped by queueing disciplines",
        "Packets that were dropped before the device, of the ten with most.",
        p.PACKETS,
        (busiest(10, "netns_qdisc_dropped_total", NETNS), LINK + " {{kind}}"),
        bounds=p.LOSS,
    ),
    p.graph(
        "Errors of devices",
        "Packets with errors, received (rx) and to be sent (tx), of those with most.",
        p.PACKETS,
        (busiest(5, "netns_network_rx_errors_total", NETNS), LINK + " rx"),
        (busiest(5, "netns_network_tx_errors_total", NETNS), LINK + " tx"),
        bounds=p.LOSS,
    ),
    p.graph(
        "Carriers that came and went",
        "Changes by device, of the ten with most. One that keeps changing is a bad cable, or"
        " something that is started again and again.",
        p.EVENTS,
        (busiest(10, "netns_network_carrier_changes_total", NETNS), LINK),
        bounds=((0.1, p.WARN),),
    ),
    p.table(
        "Links without a carrier, or switched off",
        "A carrier needs a link that is switched on, and an other end that is.",
        (
            by("netns, device", f"({NO_CARRIER})", "count"),
            by("netns, device", level("netns_network_up", NETNS), "max"),
        ),
        p.Column("netns", "Namespace"),
        p.Column("device", "Device"),
        p.Column("Value #A", "Without a carrier", bounds=((1, p.WARN),)),
        p.Column("Value #B", "Switched on", texts=p.YES_OR_NO),
        sort="Without a carrier",
    ).span(p.THIRD),
)

CONNECTIONS = (
    p.share(
        "Tables of connections against their limit",
        "Tracked connections of a namespace, of as many as the kernel allows in one, the fullest."
        " Of a full table new connections are dropped. Without a name: the host's own.",
        (f"topk(20, {ENTRIES} / ({LIMIT} > 0))", SPACE),
        bounds=p.FULL,
    ),
    p.graph(
        "Connections that were not tracked",
        "Packets dropped because the table was full, connections that could not be taken in, and"
        " those thrown out for new ones.",
        p.EVENTS,
        (busiest(5, "netns_conntrack_drop_total", NETNS), f"{SPACE} dropped"),
        (busiest(5, "netns_conntrack_insert_failed_total", NETNS), f"{SPACE} not taken in"),
        (busiest(5, "netns_conntrack_early_drop_total", NETNS), f"{SPACE} thrown out"),
        bounds=p.LOSS,
    ).span(2 * p.THIRD),
)
