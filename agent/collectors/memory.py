"""What ovs-vswitchd holds: handlers, revalidators, rules, udpif keys.

A daemon that grows is seen here by what it grows in, before the kernel ends it.
"""

from agent.collectors.base import Collector
from agent.families import Gauge, Output
from agent.model.node import Node

USAGE = Gauge(
    "ovs_memory_usage",
    "Counts of unlike things that ovs-vswitchd holds, not to be summed [memory/show].",
    labels=("facility",),
)


def collect(node: Node) -> Output:
    """Yield every facility."""
    for facility, count in node.vswitchd.require().memory.items():
        yield USAGE(count, facility)


COLLECTOR = Collector("memory", (USAGE,), (collect,), reads=("unixctl",))
