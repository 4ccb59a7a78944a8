"""Helm in a process of its own: ``python -m lab.helm`` reads one request and answers it, in JSON.

Helm is a library in Go: its runtime takes threads and signal handlers, which belong to the tests'
own process.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.process import LabError

MODULE = "helm_python"
SECONDS = 60.0


class HelmError(LabError):
    """Helm refused: the message is its own."""


def version() -> str:
    """Return the release of Helm that is in the wheel: ``v4.2.3``."""
    return str(_ask({"do": "version"}))


def lint(chart: Path, values: str) -> list[str]:
    """Return all that ``helm lint --strict`` has to say: ``error templates/: ...``.

    Args:
        chart: Directory of the chart.
        values: YAML as ``--values`` takes it.
    """
    return list(_ask({"do": "lint", "chart": str(chart), "values": values}))


def render(
    chart: Path, values: str, name: str = "dataplane-agent", namespace: str = "dataplane"
) -> dict[str, str]:
    """Return what ``helm template`` writes, by the template's file name.

    Args:
        chart: Directory of the chart.
        values: YAML as ``--values`` takes it; they are checked against the chart's schema.
        name: Of the release.
        namespace: Of the release.

    Raises:
        HelmError: If values are refused, or a template fails.
    """
    request = {"chart": str(chart), "values": values, "name": name, "namespace": namespace}
    return dict(_ask({"do": "render", **request}))


def package(chart: Path, to: Path) -> Path:
    """Pack a chart as ``helm package`` does; return the archive."""
    return Path(_ask({"do": "package", "chart": str(chart), "to": str(to)}))


def _ask(request: Mapping[str, str]) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
        cwd=Path(__file__).parents[1],
    )
    if done.returncode:
        raise HelmError(done.stderr.strip())
    return json.loads(done.stdout)


def _answer(request: Mapping[str, str]) -> Any:
    import helm_python as helm  # noqa: PLC0415 - only in the process that is for it

    if request["do"] == "version":
        return helm.helm_sdk_version()
    if request["do"] == "package":
        return helm.package(request["chart"], destination=request["to"])
    values = helm.values_from_yaml(request["values"])
    if request["do"] == "lint":
        report = helm.lint(request["chart"], values, strict=True)
        severities = ("unknown", "info", "warning", "error")
        return [
            f"{severities[message['severity']]} {message['path']}: {message['error']}"
            for message in report["messages"]
        ]
    with helm.Chart.load(request["chart"]) as chart:
        chart.validate_schema(values)
        pages = chart.render(values, name=request["name"], namespace=request["namespace"])
    return {Path(path).name: page for path, page in pages.items()}


def main() -> int:
    """Answer the request on standard input."""
    import helm_python as helm  # noqa: PLC0415

    try:
        json.dump(_answer(json.load(sys.stdin)), sys.stdout)
    except helm.HelmError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
