"""What the README and its pages tell people to paste works."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from agent import catalogue, config

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "docs" / "flows.md")
TEXT = "\n".join(page.read_text() for page in PAGES)
QUERIES = re.findall(r"```promql\n(.*?)```", TEXT, re.DOTALL)
SETTINGS = re.findall(r"```yaml\n(flows:.*?)```", TEXT, re.DOTALL)
NAMES = {family.name for _, family in catalogue.families()}


@pytest.mark.usefixtures("prometheus_installed")
def test_prometheus_can_read_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"query:{n}", "expr": query} for n, query in enumerate(QUERIES)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "readme", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(QUERIES) >= 9


def test_every_name_in_them_can_be_emitted() -> None:
    named = set(re.findall(r"\b(?:ovs|dataplane)_[a-z_]+", TEXT))
    assert named - NAMES == set()


def test_the_agent_takes_every_setting(tmp_path: Path) -> None:
    assert SETTINGS
    for number, settings in enumerate(SETTINGS):
        file = tmp_path / f"{number}.yaml"
        file.write_text(settings)
        config.load(file, {}, {})
