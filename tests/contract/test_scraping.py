"""docs/scraping.md says the same as the agent, the Helm chart, and what was measured."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent import catalogue
from agent.collectors import COLLECTORS
from agent.config import Settings
from agent.wire.text import MAX_TEXT_CHARACTERS
from lab.fleet import read_measured

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scraping.md").read_text()
SCALING = (ROOT / "docs" / "scaling.md").read_text()


def scrapes(page: str) -> list[list[Any]]:
    texts = re.findall(r"```yaml\n((?:global|scrape_configs):.*?)```", page, re.DOTALL)
    return [yaml.safe_load(text)["scrape_configs"] for text in texts]


JOBS = scrapes(PAGE)
(FLEET,) = scrapes(SCALING)
FAST, SLOW, NODE = max(JOBS, key=len)
SMALL, LARGE, FULL, LARGEST = read_measured(SCALING)
MONITOR = yaml.safe_load((ROOT / "deploy/helm/dataplane-agent/values.yaml").read_text())[
    "prometheus"
]["podMonitor"]
OF_PROMETHEUS = 3
"""``__name__``, job and instance."""
MEGABYTE = 1 << 20
"""Prometheus's MB."""


def cells(first: str) -> list[str]:
    (row,) = re.findall(rf"^\| `{first}` \|.*$", PAGE, re.MULTILINE)
    return [cell.strip() for cell in str(row).strip("|").split(" | ")]


def size(text: str) -> int:
    return int(text.removesuffix("MB")) * MEGABYTE


@pytest.mark.usefixtures("prometheus_installed")
def test_an_instance_is_a_name_without_a_port(tmp_path: Path) -> None:
    (rule,) = FAST["relabel_configs"]
    assert all(job["relabel_configs"][-1] == rule for jobs in (*JOBS, FLEET) for job in jobs)
    file = tmp_path / "prometheus.yaml"
    file.write_text(yaml.safe_dump({"scrape_configs": JOBS[0]}))
    command = ("promtool", "check", "service-discovery", "--timeout=1s", str(file))
    done = subprocess.run(
        [*command, JOBS[0][0]["job_name"]], capture_output=True, text=True, check=True
    )
    names = [target["labels"]["instance"] for target in json.loads(done.stdout)]
    assert sorted(names) == ["compute01", "compute02"]


def test_the_slow_job_has_what_the_other_leaves_out_and_that_is_all_that_reads_flows() -> None:
    flows = {collector.name for collector in COLLECTORS if "flows" in collector.reads}
    assert set(FAST["params"]["exclude[]"]) == flows
    assert set(SLOW["params"]["collect[]"]) == flows | {"agent"}
    assert set(MONITOR["flows"]["collectors"]) == flows
    assert SLOW["job_name"] == f"{FAST['job_name']}-flows" == f"{MONITOR['jobName']}-flows"
    assert SLOW["scrape_interval"] == MONITOR["flows"]["interval"]
    assert FAST["relabel_configs"] == SLOW["relabel_configs"] == NODE["relabel_configs"]


def test_limits_are_those_of_the_chart_and_twice_what_was_measured() -> None:
    assert SLOW["sample_limit"] == MONITOR["sampleLimit"] > Settings().limits.series
    assert SLOW["sample_limit"] >= 2 * FULL.series
    assert FAST["sample_limit"] >= 2 * LARGE.series
    assert size(SLOW["body_size_limit"]) >= 2 * FULL.page_bytes
    assert size(FAST["body_size_limit"]) >= 2 * LARGE.page_bytes
    most = max(len(family.labels) for _, family in catalogue.families())
    for job in (FAST, SLOW):
        assert most + OF_PROMETHEUS <= job["label_limit"] == MONITOR["labelLimit"]
    assert f"at most {most} of the agent" in cells("label_limit")[1]


def test_bytes_of_a_series_are_those_that_were_measured() -> None:
    shown, with_flows = map(int, re.findall(r"\d+", cells("body_size_limit")[2])[:2])
    for node, bound in (
        (SMALL, with_flows),
        (LARGE, shown),
        (FULL, with_flows),
        (LARGEST, with_flows),
    ):
        assert 0.7 * bound <= node.page_bytes / node.series <= bound, node


def test_no_value_is_longer_than_the_page_says() -> None:
    assert f"{MAX_TEXT_CHARACTERS} characters" in cells("label_value_length_limit")[1]
    assert FAST["label_value_length_limit"] >= 4 * MAX_TEXT_CHARACTERS
