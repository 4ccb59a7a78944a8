"""docs/install.md installs what is there."""

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from agent import __version__
from tests.deploy import chart

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "install.md").read_text()
CHART = (ROOT / "deploy" / "helm" / "dataplane-agent" / "README.md").read_text()


def nested(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """What ``--set a.b=c`` is as values."""
    values: dict[str, Any] = {}
    for path, text in pairs:
        *parents, last = path.split(".")
        at = values
        for name in parents:
            at = at.setdefault(name, {})
        at[last] = text
    return values


def test_packages_and_image_have_the_version_of_the_tree() -> None:
    assert set(re.findall(r"dataplane-agent[_-](\d[\d.]*\d)[+-]", PAGE)) == {__version__}


def test_the_venv_is_named_after_the_version() -> None:
    (line,) = re.findall(r"^version=.*$", PAGE, re.MULTILINE)
    script = f'{line}\nprintf %s "$version"'
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == __version__


def test_the_charts_page_says_the_same_and_the_chart_takes_it() -> None:
    (command,) = re.findall(r"helm install (?:.*\\\n)*.*$", PAGE, re.MULTILINE)
    assert command in CHART
    values = nested(re.findall(r"--set(?:-string)? (\S+?)=(\S+)", command))
    (daemonset,) = chart.of_kind(yaml.safe_dump(values), "DaemonSet")
    pod = daemonset["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == f"registry.example.com/dataplane-agent:{__version__}"
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", "openstack-compute-node": "enabled"}
    for profile in ("default", "full", "least"):
        assert f"`{profile}`" in PAGE
        assert chart.of_kind(yaml.safe_dump({**values, "profile": profile}), "DaemonSet")
