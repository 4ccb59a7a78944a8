"""alerts.yaml: every alert, by subject."""

from dashboards.rules_source import (
    alerts_agent,
    alerts_datapath,
    alerts_drops,
    alerts_ovn,
    alerts_tunnels,
)
from dashboards.rules_source.settings import Settings
from dashboards.rules_source.text import page

ABOUT = """
Alerts. critical pages somebody, warning is a ticket for the next morning, info is for whoever
looks. They need recording.yaml beside them.
"""

GROUPS = (
    alerts_drops.GROUP,
    alerts_datapath.GROUP,
    alerts_tunnels.GROUP,
    alerts_ovn.GROUP,
    alerts_agent.GROUP,
)


def alerts(settings: Settings) -> str:
    """Write alerts.yaml."""
    return page(GROUPS, settings, ABOUT)
