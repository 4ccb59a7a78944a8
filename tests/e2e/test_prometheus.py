"""promtool and Prometheus are content with the page, in both formats."""

import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from lab.agent import Agent
from lab.compute import ComputeNode
from lab.demo import QUERIES
from lab.process import wait_until
from lab.prometheus import Job, Prometheus
from lab.traffic import Steady

pytestmark = [pytest.mark.e2e, pytest.mark.node]

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


@pytest.fixture(scope="module")
def agent(compute_node: ComputeNode) -> Iterator[Agent]:
    with Agent(compute_node.rundir) as agent:
        agent.get()
        yield agent


@pytest.mark.usefixtures("prometheus_installed")
def test_promtool_is_content_with_the_whole_page(agent: Agent) -> None:
    page = agent.get().body
    answer = subprocess.run(
        ["promtool", "check", "metrics"], input=page, capture_output=True, check=False
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, b"", b"")


def test_both_formats_hold_the_same_series(agent: Agent) -> None:
    plain = agent.get()
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    modern = agent.get(headers={"Accept": OPENMETRICS})
    assert modern.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    one = {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in text_string_to_metric_families(plain.text)
        for sample in family.samples
    }
    other = {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in openmetrics.text_string_to_metric_families(modern.text)
        for sample in family.samples
    }
    # The second page counts the first request.
    assert {s for s in one ^ other if s[0] != "dataplane_agent_http_requests_total"} == set()
    assert len(one) > 1000


def test_gzip_is_what_was_asked_for(agent: Agent) -> None:
    small = agent.get(headers={"Accept-Encoding": "gzip"})
    assert small.headers["content-encoding"] == "gzip"
    assert len(small.body) * 4 < len(agent.get().body)


@pytest.fixture
def plain(agent: Agent) -> Iterator[tuple[str, set[str]]]:
    """A way to the agent on which no format can be asked for, and the formats that went over it.

    Debian's Prometheus asks for OpenMetrics and cannot be told not to.
    """
    formats: set[str] = set()

    class Way(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = agent.get(self.path)
            formats.add(answer.headers["content-type"])
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["content-type"])
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Way) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}", formats
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("prometheus_installed")
def test_prometheus_scrapes_both_formats(
    compute_node: ComputeNode, agent: Agent, plain: tuple[str, set[str]]
) -> None:
    way, formats = plain
    jobs = Job(targets=[f"127.0.0.1:{agent.port}"], name="openmetrics"), Job([way], name="text")
    with Prometheus(*jobs) as prometheus, Steady(compute_node):
        for job in ("openmetrics", "text"):
            series = wait_until(
                lambda job=job: prometheus.query(f'count({{job="{job}",__name__=~"ovs_.*"}})'),  # type: ignore[misc]
                timeout=30,
                what=f"a scrape of {job}",
            )
            assert series[0].value > 900
        assert [(t["health"], t["lastError"]) for t in prometheus.targets()] == [("up", "")] * 2
        for name, promql in QUERIES:
            assert wait_until(
                lambda promql=promql: prometheus.query(promql),  # type: ignore[misc]
                timeout=30,
                what=name,
            )
    assert formats == {"text/plain; version=0.0.4; charset=utf-8"}


def test_a_slower_job_may_scrape_the_flows_alone(agent: Agent) -> None:
    flows = agent.get("/metrics?collect[]=flow").text
    assert "ovs_flow_packets_total{" in flows
    assert "ovs_interface_rx_packets_total" not in flows
    rest = agent.get("/metrics?exclude[]=flow").text
    assert "ovs_flow_packets_total" not in rest
    assert "ovs_interface_rx_packets_total{" in rest
