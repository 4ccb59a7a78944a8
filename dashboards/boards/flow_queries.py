"""How flows are asked for, on the boards of flows and of instances."""

from dashboards import panels as p
from dashboards.promql import joined, level, or_plain

KEY = "bridge, table, priority, match"
CARRIED = "action, interface, kind, cookie"
RULE = (
    p.Column("interface", "Interface"),
    p.Column("bridge", "Bridge"),
    p.Column("table", "Table"),
    p.Column("priority", "Priority"),
    p.Column("match", "Match"),
    p.Column("action", "Does"),
    p.Column("kind", "Kind"),
    p.Column("cookie", "Cookie"),
    p.Column("Value", "Packets", unit=p.PACKETS),
)
"""What tables of flows show."""


def named(expr: str, *matchers: str) -> str:
    """Give tables the names that the agent knows."""
    info = level("ovs_flow_table_info", *matchers)
    return or_plain(expr, "bridge, table", "name", info)


def explained(expr: str, info: str) -> str:
    """Say of each flow what it does and whose its packets are.

    Args:
        expr: What flows count.
        info: Of which of them.
    """
    return joined(expr, KEY, CARRIED, info)
