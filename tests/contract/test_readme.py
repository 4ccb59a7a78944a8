"""What the README tells people to paste works."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from agent import catalogue

README = (Path(__file__).parents[2] / "README.md").read_text()
QUERIES = re.findall(r"```promql\n(.*?)```", README, re.DOTALL)
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
    assert len(QUERIES) >= 6


def test_every_name_in_it_can_be_emitted() -> None:
    named = set(re.findall(r"\b(?:ovs|dataplane)_[a-z_]+", README))
    assert named - NAMES == set()
