"""Network namespaces: what neutron or OVN keeps on this node.

A router, DHCP server or metadata proxy whose namespace is missing is gone for its tenant, while
the agent that should have made it may still call itself healthy.
"""

from agent.collectors.base import Collector
from agent.families import Gauge, Output
from agent.model.namespace import HOST
from agent.model.node import Node

INFO = Gauge(
    "netns_info",
    "A named network namespace, always 1, with the role and the id in its name; join on "
    "(instance, netns) [/run/netns].",
    labels=("netns", "role", "id"),
)


def collect(node: Node) -> Output:
    """Yield every namespace but the host's own."""
    for name, namespace in node.namespaces.require().items():
        if name != HOST:
            yield INFO(1, name, *namespace.role)


COLLECTOR = Collector("namespace", (INFO,), (collect,), follows=("rtnetlink",))
