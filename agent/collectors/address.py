"""Addresses of links: where a floating IP or a gateway address is now.

An address that is on two nodes, or on none, breaks one tenant and looks healthy everywhere else.
Off by default: with floating IPs the series come and go.
"""

from agent.collectors.base import Collector
from agent.collectors.shown_links import shown_links
from agent.families import Gauge, Output
from agent.model.node import Node

INFO = Gauge(
    "netns_address_info",
    "An address of a link, always 1; one (instance, netns, device) may have several [ip address].",
    labels=("netns", "device", "address", "family", "scope"),
)


def collect(node: Node) -> Output:
    """Yield the addresses of every link that is shown."""
    for netns, shown in shown_links(node).items():
        for address in shown.namespace.addresses or ():
            link = shown.links.get(address.index)
            if link is not None:
                yield INFO(1, netns, link.name, address.address, address.family, address.scope)


COLLECTOR = Collector(
    "address", (INFO,), (collect,), follows=("rtnetlink", "addresses"), on_request=True
)
