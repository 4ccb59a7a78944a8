"""docs/scraping.md, done: its two jobs and node_exporter's have one instance, and series join."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.agent import Agent
from lab.compute import ComputeNode
from lab.process import Daemon, free_port, wait_until
from lab.prometheus import Job, Prometheus
from lab.traffic import Steady
from tests.conftest import require_parts

pytestmark = [pytest.mark.e2e, pytest.mark.node]

PAGE = (Path(__file__).parents[2] / "docs" / "scraping.md").read_text()
QUERIES = [
    re.sub(r"^  ", "", text, flags=re.MULTILINE)
    for text in re.findall(r"```promql\n(.*?)```", PAGE, re.DOTALL)
]
JOINS = [query for query in QUERIES if "group_left" in query]
NODE_EXPORTER = "prometheus-node-exporter"
INSTANCE = "127.0.0.1"
REFUSED = "dataplane-agent-refused"


@dataclass(frozen=True)
class Documented(Job):
    """A job as the page has it, but for whom it asks and how often."""

    document: Mapping[str, Any] = field(default_factory=dict)

    def config(self) -> dict[str, object]:
        own = {"scrape_interval": "1s", "scrape_timeout": "1s"}
        return {**self.document, **own, "static_configs": [{"targets": list(self.targets)}]}


def jobs(targets: Mapping[str, str]) -> list[Documented]:
    """Those of the block that has the most."""
    texts = re.findall(r"```yaml\n(scrape_configs:.*?)```", PAGE, re.DOTALL)
    found = max((yaml.safe_load(text)["scrape_configs"] for text in texts), key=len)
    assert {each["job_name"] for each in found} == targets.keys()
    return [Documented([targets[each["job_name"]]], document=each) for each in found]


@pytest.fixture(scope="module")
def prometheus(
    compute_node: ComputeNode, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    require_parts("prometheus", NODE_EXPORTER)
    address = f"127.0.0.1:{free_port()}"
    command = [NODE_EXPORTER, f"--web.listen-address={address}", "--collector.disable-defaults"]
    log = tmp_path_factory.mktemp("node_exporter") / "log"
    node_exporter = Daemon([*command, "--collector.uname"], log)
    try:
        with Agent(compute_node.rundir) as agent, Steady(compute_node):
            ours = f"127.0.0.1:{agent.port}"
            targets = {"dataplane-agent": ours, "dataplane-agent-flows": ours, "node": address}
            fast, *others = jobs(targets)
            few = {**fast.document, "job_name": REFUSED, "sample_limit": 10}
            refused = Documented([ours], document=few)
            with Prometheus(fast, *others, refused) as prometheus:
                yield prometheus
    finally:
        node_exporter.stop()


def test_three_jobs_have_one_instance_and_no_limit_refuses_a_page(prometheus: Prometheus) -> None:
    wait_until(lambda: len(prometheus.query("up == 1")) == 3, timeout=30, what="all jobs to be up")
    up = prometheus.query("up == 1")
    assert {series.labels["instance"] for series in up} == {INSTANCE}


@pytest.mark.parametrize("query", JOINS)
def test_what_the_page_joins_is_joined(prometheus: Prometheus, query: str) -> None:
    found = wait_until(lambda: prometheus.query(query), timeout=30, what=query)
    label = re.findall(r"group_left \((\w+)\)", query)[0]
    assert all(series.labels[label] for series in found)


def test_a_page_beyond_a_limit_is_refused_as_a_whole_and_that_is_found(
    prometheus: Prometheus,
) -> None:
    (query,) = (query for query in QUERIES if "scrape_samples_scraped" in query)
    found = wait_until(lambda: prometheus.query(query), timeout=30, what=query)
    assert {series.labels["job"] for series in found} == {REFUSED}
    assert prometheus.query(f'{{job="{REFUSED}",__name__=~"ovs_.+"}}') == []


def test_flows_are_in_the_slow_job_and_all_else_in_the_other(prometheus: Prometheus) -> None:
    def jobs_of(family: str) -> set[str]:
        found = wait_until(lambda: prometheus.query(family), timeout=30, what=family)
        return {series.labels["job"] for series in found}

    assert jobs_of("ovs_flow_packets_total") == {"dataplane-agent-flows"}
    assert jobs_of("ovs_flow_table_dropped_packets_total") == {"dataplane-agent-flows"}
    assert jobs_of("ovs_interface_rx_packets_total") == {"dataplane-agent"}
    assert jobs_of("dataplane_agent_build_info") == {"dataplane-agent", "dataplane-agent-flows"}
