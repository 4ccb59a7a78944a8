"""Drops of queueing disciplines: packets that a device was not given in time.

A guest that does not keep up loses its packets in the queue of its tap. Neither the switch nor the
device counts them: both have done their part.
"""

from agent.collectors.base import Collector
from agent.collectors.shown_links import shown_links
from agent.families import Counter, Output
from agent.model.node import Node

DROPPED = Counter(
    "netns_qdisc_dropped_total",
    "Packets dropped by the queueing discipline at a link's root or ingress, since the agent first "
    "saw it [tc -s qdisc dropped].",
    labels=("netns", "device", "kind"),
)


def collect(node: Node) -> Output:
    """Yield the drops of every link that is shown, and of the devices of Open vSwitch."""
    shown = shown_links(node)
    for qdisc in node.qdiscs.require():
        each = shown.get(qdisc.netns)
        if each is None or not each.namespace.is_of(qdisc.key):
            continue
        link = each.links.get(qdisc.index) or each.switched.get(qdisc.index)
        if link is not None:
            yield DROPPED(qdisc.dropped, qdisc.netns, link.name, qdisc.kind)


COLLECTOR = Collector("qdisc", (DROPPED,), (collect,), reads=("qdiscs",), follows=("rtnetlink",))
