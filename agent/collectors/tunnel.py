"""Tunnels: who this node expects at the other end, how, and whether the way there is alive.

The first question of a broken overlay is whether both ends agree on addresses, key and port. The
second is whether BFD still hears the other end: a tunnel has no carrier of its own.
"""

from agent.collectors.base import Collector
from agent.collectors.shown_links import (
    BRIDGE,
    Shown,
    has_ends,
    kind_of,
    name_of,
    serves_switch,
    shown_links,
)
from agent.families import Counter, Gauge, Output
from agent.model.link import Link, Tunnel
from agent.model.namespace import HOST
from agent.model.node import Node
from agent.model.switch import TUNNEL_TYPES

INTERFACE = ("bridge", "interface")
BFD_STATES = {"admin_down": 0, "down": 1, "init": 2, "up": 3}
"""Interface.bfd_status:state with the codes of RFC 5880, section 4.1."""

ENDPOINT = Gauge(
    "dataplane_tunnel_endpoint_info",
    "A tunnel's two ends, always 1; join on (instance, netns, device), or of implementation ovs on "
    "(instance, interface), which is its device [Interface.options, ip -d link].",
    labels=(
        "netns", "implementation", "device", "bridge", "tunnel_type", "local_ip", "remote_ip",
        "key", "dst_port",
    ),
)  # fmt: skip
BFD_STATE = Gauge(
    "ovs_interface_bfd_state",
    "State of a BFD session: 0 admin_down, 1 down, 2 init, 3 up [Interface.bfd_status state].",
    labels=INTERFACE,
)
BFD_REMOTE_STATE = Gauge(
    "ovs_interface_bfd_remote_state",
    "What the other end of a BFD session last said of its state: 0 admin_down, 1 down, 2 init, "
    "3 up [Interface.bfd_status remote_state].",
    labels=INTERFACE,
)
BFD_FORWARDING = Gauge(
    "ovs_interface_bfd_forwarding",
    "Whether an interface may carry traffic by BFD's judgement, 1 or 0 "
    "[Interface.bfd_status forwarding].",
    labels=INTERFACE,
)
BFD_FLAPS = Counter(
    "ovs_interface_bfd_flaps_total",
    "Changes of BFD's judgement whether an interface may carry traffic "
    "[Interface.bfd_status flap_count].",
    labels=INTERFACE,
)
CFM_FAULT = Gauge(
    "ovs_interface_cfm_fault",
    "Whether connectivity fault management misses another end, 1 or 0 [Interface.cfm_fault].",
    labels=INTERFACE,
)
EGRESS_CARRIER = Gauge(
    "ovs_tunnel_egress_carrier",
    "Whether the device that a tunnel's packets leave by has a carrier, 1 or 0 "
    "[Interface.status tunnel_egress_iface_carrier].",
    labels=INTERFACE,
)
REMOTE_ENTRIES = Gauge(
    "linux_vxlan_remote_entries",
    "Forwarding entries of a vxlan device that lead to the VTEP at this address [bridge fdb dst].",
    labels=("netns", "device", "remote_ip"),
)


def from_database(node: Node) -> Output:
    """Yield the tunnels of the switch, and what watches over its interfaces."""
    known = node.switch
    for bridge, _, interface in known.require().interfaces():
        labels = (bridge.name, interface.name)
        if interface.type in TUNNEL_TYPES:
            options = interface.options
            yield ENDPOINT(
                1,
                HOST,
                "ovs",
                interface.name,
                bridge.name,
                interface.type,
                options.get("local_ip", ""),
                options.get("remote_ip", ""),
                options.get("key") or options.get("out_key") or options.get("in_key", ""),
                options.get("dst_port", ""),
            )
            yield EGRESS_CARRIER(interface.egress_carrier, *labels)
        yield CFM_FAULT(interface.cfm_fault, *labels)
        if (bfd := interface.bfd) is not None:
            yield BFD_STATE(BFD_STATES.get(bfd.state or ""), *labels)
            yield BFD_REMOTE_STATE(BFD_STATES.get(bfd.remote_state or ""), *labels)
            yield BFD_FORWARDING(bfd.forwarding, *labels)
            # A counter is shown only while it moves; state outlives its subscription for a while.
            yield BFD_FLAPS(bfd.flap_count if known.live else None, *labels)


def from_kernel(node: Node) -> Output:
    """Yield the tunnel devices of the kernel that are not the switch's, and their remote ends."""
    for netns, shown in shown_links(node).items():
        links = shown.namespace.links
        for link in shown.all.values():
            tunnel = link.tunnel
            if tunnel is not None and has_ends(tunnel) and not serves_switch(link, links):
                yield ENDPOINT(1, netns, "linux", link.name, *_ends(link, tunnel, shown))
        for (index, remote_ip), entries in (shown.namespace.remotes or {}).items():
            if index in shown.all:
                yield REMOTE_ENTRIES(entries, netns, shown.all[index].name, remote_ip)


def _ends(link: Link, tunnel: Tunnel, shown: Shown) -> tuple[str, ...]:
    """Return the labels from bridge on; with ``external`` each packet has its own key."""
    links = shown.namespace.links
    return (
        name_of(links, link.master) if kind_of(links, link.master) == BRIDGE else "",
        tunnel.tunnel_type,
        tunnel.local_ip or "",
        tunnel.remote_ip or "",
        "" if tunnel.external else tunnel.key or "",
        "" if tunnel.dst_port is None else str(tunnel.dst_port),
    )


COLLECTOR = Collector(
    "tunnel",
    (
        ENDPOINT, BFD_STATE, BFD_REMOTE_STATE, BFD_FORWARDING, BFD_FLAPS, CFM_FAULT,
        EGRESS_CARRIER, REMOTE_ENTRIES,
    ),
    (from_database, from_kernel),
    detail=(REMOTE_ENTRIES,),
    follows=("rtnetlink",),
)  # fmt: skip
