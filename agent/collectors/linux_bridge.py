"""Linux bridges: which ports forward, and how many addresses they have learnt.

A port that is disabled or blocking carries nothing, with its counters merely standing still. A
forwarding table that empties or grows without end is a loop, or an attack.
"""

from collections.abc import Iterator

from agent.collectors.base import Collector
from agent.collectors.shown_links import BRIDGE, Shown, kind_of, name_of, shown_links
from agent.families import Gauge, Output
from agent.model.link import Link
from agent.model.node import Node

PORT = ("netns", "bridge", "device")
BITS = {None: "", False: "0", True: "1"}

INFO = Gauge(
    "linux_bridge_info",
    "A Linux bridge's settings as ip -d link prints them, always 1; join on "
    "(instance, netns, device) [ip -d link bridge].",
    labels=("netns", "device", "stp", "vlan_filtering"),
)
STATE = Gauge(
    "linux_bridge_port_state",
    "State of a bridge's port: 0 disabled, 1 listening, 2 learning, 3 forwarding, 4 blocking "
    "[ip -d link bridge_slave state].",
    labels=PORT,
)
ENTRIES = Gauge(
    "linux_bridge_fdb_entries",
    "Addresses behind a bridge's port, without the port's own [bridge fdb].",
    labels=PORT,
)


def collect(node: Node) -> Output:
    """Yield each bridge, and each port of one."""
    for netns, shown in shown_links(node).items():
        forwarding = shown.namespace.forwarding
        for link in shown.all.values():
            if (settings := link.bridge) is not None:
                bits = BITS[settings.stp], BITS[settings.vlan_filtering]
                yield INFO(1, netns, link.name, *bits)
        for bridge, port in ports(shown):
            yield STATE(port.bridge_port_state, netns, bridge, port.name)
            # No entry of a table that is known is a zero that was read.
            entries = None if forwarding is None else forwarding.get(port.index, 0)
            yield ENTRIES(entries, netns, bridge, port.name)


def ports(shown: Shown) -> Iterator[tuple[str, Link]]:
    """Yield each member of a Linux bridge with the bridge's name."""
    links = shown.namespace.links
    for link in shown.all.values():
        if kind_of(links, link.master) == BRIDGE:
            yield name_of(links, link.master), link


COLLECTOR = Collector(
    "linux_bridge",
    (INFO, STATE, ENTRIES),
    (collect,),
    detail=(ENTRIES,),
    follows=("rtnetlink",),
)
