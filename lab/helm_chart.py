"""The parts of the Helm chart that are written from others: ``make docs``."""

from pathlib import Path

from lab import helm_schema, helm_values

CHART = Path(__file__).parents[1] / "deploy" / "helm" / "dataplane-agent"


def written() -> dict[Path, str]:
    """Return every such file and what belongs there; dashboards and rules are ``make dashboards``.

    Raises:
        ValueError: If values.yaml has a value that it does not explain.
    """
    values = helm_values.read(CHART / "values.yaml")
    template = (CHART / "README.md.in").read_text(encoding="utf-8")
    return {
        CHART / "README.md": helm_values.readme(template, values),
        CHART / "values.schema.json": helm_schema.schema(values),
    }
