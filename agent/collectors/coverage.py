"""Coverage counters: what ovs-vswitchd counts about itself, drops among it.

Some packets die where no flow and no interface counts them: recursion too deep, a bond without a
member, a tunnel header that cannot be popped. ovs-vswitchd counts these as drop_action_* and
datapath_drop_* events.
"""

from agent.collectors.base import Collector
from agent.families import Counter, Output
from agent.model.node import Node

EVENTS = Counter(
    "ovs_coverage_events_total",
    "Events of ovs-vswitchd; drop events exist from 0, others from their first [coverage/show].",
    labels=("event",),
)


def collect(node: Node) -> Output:
    """Yield every event."""
    for event, count in node.vswitchd.require().coverage.items():
        yield EVENTS(count, event)


COLLECTOR = Collector("coverage", (EVENTS,), (collect,), reads=("unixctl",))
