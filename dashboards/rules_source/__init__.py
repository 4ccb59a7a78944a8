"""The rules of Prometheus, as Python that writes them with a site's settings."""

from dashboards.rules_source.alerts import alerts
from dashboards.rules_source.inhibit import inhibitions
from dashboards.rules_source.migration import migration
from dashboards.rules_source.recording import recording
from dashboards.rules_source.settings import Settings

__all__ = ["DEFAULT", "Settings", "rules"]

DEFAULT = ("recording.yaml", "alerts.yaml")
"""What Prometheus loads. migration.yaml is for a while, inhibit.example.yaml for Alertmanager."""


def rules(settings: Settings) -> dict[str, str]:
    """Write every file of dashboards/rules, by its name there."""
    return {
        "recording.yaml": recording(settings),
        "alerts.yaml": alerts(settings),
        "migration.yaml": migration(settings),
        "inhibit.example.yaml": inhibitions(),
    }
