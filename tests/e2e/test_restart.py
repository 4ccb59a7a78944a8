"""Daemons die under a scraping Prometheus: nothing is late, nothing is made up, all comes back."""

import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from lab import traffic
from lab.agent import Agent
from lab.compute import ComputeNode
from lab.process import wait_until
from lab.prometheus import Job, Prometheus, Series

pytestmark = [pytest.mark.e2e, pytest.mark.node, pytest.mark.timeout(240)]

INTERVAL_SECONDS = 1.0
BACK_SECONDS = 5.0
DEADLINE_SECONDS = 1.0 - 0.5
"""min(timeout - max(0.5 s, 10 %), 8 s) for the timeout of 1 s that Prometheus sends here."""
COUNTERS = (
    "ovs_flow_packets_total",
    "ovs_flow_table_lookups_total",
    "ovs_interface_rx_packets_total",
    "ovs_datapath_lookup_hits_total",
    "ovs_coverage_events_total",
)


@pytest.fixture
def scraped(own_compute_node: ComputeNode) -> Iterator[tuple[ComputeNode, Agent, Prometheus]]:
    with Agent(own_compute_node.rundir) as agent:
        target = f"127.0.0.1:{agent.port}"
        job = Job(targets=[target], interval="1s", timeout="1s")
        with Prometheus(job) as prometheus, traffic.Steady(own_compute_node):
            wait_until(
                lambda: newest(prometheus, "ovs_flow_packets_total"),
                timeout=30,
                what="the first scrape with flows",
            )
            yield own_compute_node, agent, prometheus


def newest(prometheus: Prometheus, name: str) -> float:
    """Unix time of the newest sample of a family, 0 without one."""
    rows = prometheus.query(f"max(timestamp({name}))")
    return rows[0].value if rows else 0.0


def raw(prometheus: Prometheus, name: str) -> list[Series]:
    return prometheus.query(f"{name}[10m]")


def kill_and_restart(
    scraped: tuple[ComputeNode, Agent, Prometheus],
    kill: Callable[[], None],
    start: Callable[[], None],
    families: tuple[str, ...],
) -> tuple[float, float, float]:
    """Kill a daemon, leave it dead for some scrapes, start it.

    Returns:
        Unix times at which it was dead and was started again, and how many seconds after it
        accepted all families were back.
    """
    _, _, prometheus = scraped
    kill()
    dead = time.time()
    until = dead + 4 * INTERVAL_SECONDS
    wait_until(lambda: time.time() > until, timeout=20, what="some scrapes without the daemon")
    starting = time.time()
    start()
    accepting = time.time()
    return dead, starting, back_at(prometheus, families, accepting) - accepting


def back_at(prometheus: Prometheus, families: tuple[str, ...], after: float) -> float:
    """Wait for all families; return the time of the first sample of the last one after a moment."""
    for family in families:
        wait_until(
            lambda family=family: newest(prometheus, family) > after,  # type: ignore[misc]
            timeout=30,
            what=f"{family} to be back",
        )
    return max(
        min(at for series in raw(prometheus, family) for at, _ in series.values if at > after)
        for family in families
    )


def check_every_scrape_was_on_time(prometheus: Prometheus) -> None:
    [up] = raw(prometheus, "up")
    assert {value for _, value in up.values} == {1.0}, "a scrape failed"
    [duration] = raw(prometheus, "scrape_duration_seconds")
    slow = [value for _, value in duration.values if value > DEADLINE_SECONDS]
    assert slow == []


def check_nothing_was_made_up(
    prometheus: Prometheus, families: tuple[str, ...], dead: float, starting: float
) -> None:
    """A sample while the daemon was dead cannot have been read from it.

    The reading that was under way when it died may be shown by the scrape that follows within
    ``share_seconds``; a scrape bears the time of its beginning and may read until its deadline.
    """
    for family in families:
        invented = [
            (series.labels, at)
            for series in raw(prometheus, family)
            for at, _ in series.values
            if dead + 1.0 < at < starting - DEADLINE_SECONDS
        ]
        assert invented == [], family


def test_ovs_vswitchd_is_killed_and_comes_back(
    scraped: tuple[ComputeNode, Agent, Prometheus],
) -> None:
    node, agent, prometheus = scraped

    def start() -> None:
        node.start_vswitchd()
        node.load_flows()

    dead, starting, back_seconds = kill_and_restart(scraped, node.kill_vswitchd, start, COUNTERS)
    assert back_seconds < BACK_SECONDS
    check_every_scrape_was_on_time(prometheus)
    check_nothing_was_made_up(prometheus, COUNTERS, dead, starting)
    for source in ("openflow", "unixctl"):
        [health] = raw(prometheus, f'dataplane_agent_source_up{{source="{source}"}}')
        assert {value for _, value in health.values} == {0.0, 1.0}
    assert "Traceback" not in agent.log
    down = [line for line in agent.log.splitlines() if "source down" in line and "unixctl" in line]
    assert len(down) == 1, "one line when a source goes down"


def test_ovsdb_server_is_killed_and_comes_back(
    scraped: tuple[ComputeNode, Agent, Prometheus],
) -> None:
    """Without its database ovs-vswitchd answers no OpenFlow (bridge_run returns early).

    Its datapath goes on, and so do its control socket and what unixctl tells of the datapath.
    """
    node, agent, prometheus = scraped
    live_only = ("ovs_interface_link_resets_total",)
    of_openflow = ("ovs_flow_packets_total", "ovs_interface_rx_packets_total")
    dead, starting, back_seconds = kill_and_restart(
        scraped, node.kill_ovsdb, node.start_ovsdb, live_only
    )
    assert back_seconds < BACK_SECONDS
    node.ofctl("dump-tables", "br-int")  # waits until ovs-vswitchd has found its database again
    answering = time.time()
    assert back_at(prometheus, of_openflow, answering) - answering < BACK_SECONDS
    check_every_scrape_was_on_time(prometheus)
    check_nothing_was_made_up(prometheus, live_only, dead, starting)
    check_nothing_was_made_up(prometheus, of_openflow, dead, starting)
    # State is shown for a while longer, and what can still be read is read. (The datapath_id is
    # not kept by the database and is a label: the series changes, the row does not go.)
    [up] = raw(prometheus, "up")
    for family, rows in (("ovs_bridge_info", 4), ("ovs_datapath_lookup_hits_total", 1)):
        shown = Counter(at for series in raw(prometheus, family) for at, _ in series.values)
        assert [shown[at] for at, _ in up.values] == [rows] * len(up.values), family
    [health] = raw(prometheus, 'dataplane_agent_source_up{source="ovsdb"}')
    assert {value for _, value in health.values} == {0.0, 1.0}
    assert "Traceback" not in agent.log


def test_a_stopped_ovs_vswitchd_makes_no_scrape_late(
    scraped: tuple[ComputeNode, Agent, Prometheus],
) -> None:
    node, agent, prometheus = scraped
    node.pause_vswitchd()
    stopped = time.time()
    wait_until(lambda: time.time() > stopped + 8, timeout=20, what="scrapes of a stopped daemon")
    node.resume_vswitchd()
    resumed = time.time()
    back_at(prometheus, COUNTERS, resumed)
    check_every_scrape_was_on_time(prometheus)
    check_nothing_was_made_up(prometheus, COUNTERS, stopped, resumed)
    late = prometheus.query("max(dataplane_agent_scrape_deadline_exceeded_total)")
    assert late[0].value > 0
    assert "Traceback" not in agent.log
