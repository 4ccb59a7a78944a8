"""Bonds: which members carry traffic.

A bond hides the loss of a link by design; only its member states tell that the redundancy is
gone before the second link goes.
"""

from agent.collectors.base import Collector
from agent.families import Gauge, Output
from agent.model.node import Node

MEMBER = ("port", "member")

INFO = Gauge(
    "ovs_bond_info",
    "A bond's mode and LACP status, always 1; join on (instance, port) [bond/show].",
    labels=("port", "mode", "lacp_status"),
)
ENABLED = Gauge(
    "ovs_bond_member_enabled",
    "Whether a member may carry traffic, 1 or 0 [bond/show member].",
    labels=MEMBER,
)
ACTIVE = Gauge(
    "ovs_bond_active_member",
    "Whether a member is the active one, 1 or 0 [bond/show active member].",
    labels=MEMBER,
)
LACP_CURRENT = Gauge(
    "ovs_lacp_current",
    "Whether a member's LACP partner state is current, 1 or 0 [lacp/show member].",
    labels=MEMBER,
)


def collect(node: Node) -> Output:
    """Yield each bond and its members."""
    for bond in node.bonds.require():
        yield INFO(1, bond.port, bond.mode or "", bond.lacp_status or "")
        for member in bond.members:
            yield ENABLED(member.enabled, bond.port, member.name)
            yield ACTIVE(member.active, bond.port, member.name)
            yield LACP_CURRENT(member.lacp_current, bond.port, member.name)


COLLECTOR = Collector("bond", (INFO, ENABLED, ACTIVE, LACP_CURRENT), (collect,), reads=("unixctl",))
