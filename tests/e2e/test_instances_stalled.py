"""A libvirtd that stands still takes what it counts from the page, and nothing else."""

import itertools
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from lab.agent import Agent
from lab.compute import ComputeNode
from lab.host import Host
from lab.process import wait_until
from lab.prometheus import Job, Prometheus
from lab.traffic import TAP_SSH, Steady
from tests.e2e.instance_page import (
    INFO,
    META,
    OPENSTACK,
    STATE,
    counted_by_page,
    counted_by_virsh,
    wait_for_counters,
)
from tests.e2e.kernel_page import wait_for
from tests.e2e.page import value_of

pytestmark = [pytest.mark.e2e, pytest.mark.node, pytest.mark.usefixtures("prometheus_installed")]

T = TypeVar("T")

STALLED_SECONDS, STATE_SECONDS = 60.0, 20.0
TIMEOUT_SECONDS = 1.0
"""Of a scrape, and from one to the next."""
SHARE_SECONDS = 1.0
"""scrape.share_seconds: what was read before libvirtd stopped is shown for so long."""
HISTORY = "10m"
LIBVIRT = 'source="libvirt"'
COUNTERS = '{__name__=~"libvirt_domain_interface_stats_.+"}'

Samples = dict[float, float]
"""Values by the time of their scrape."""


class Place:
    """The lab's own network, and no network namespaces: other tests make and delete them."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @property
    def enter(self) -> list[str]:
        return [each for each in self._host.enter if each != "--net"]

    def inside(self, work: Callable[[], T]) -> T:
        return work()


@pytest.fixture
def place() -> Iterator[Place]:
    with Host() as host:
        yield Place(host)


class History:
    """What Prometheus has of a time, sample by sample as they were scraped."""

    def __init__(self, prometheus: Prometheus, begin: float, end: float) -> None:
        self._prometheus = prometheus
        self._begin = begin
        self._end = end

    def each(self, selector: str) -> list[Samples]:
        """Return the samples of each series that has any."""
        cut = (
            {at: value for at, value in row.values if self._begin < at < self._end}
            for row in self._prometheus.query(f"{selector}[{HISTORY}]")
        )
        return [samples for samples in cut if samples]

    def only(self, selector: str) -> Samples:
        """Return the samples of the one series there is."""
        (samples,) = self.each(selector)
        return samples


class Held:
    """What the agent's process holds: threads and descriptors."""

    def __init__(self, agent: Agent) -> None:
        process = Path("/proc", str(agent.daemon.pid))
        self.threads, self.descriptors = (
            len(list((process / each).iterdir())) for each in ("task", "fd")
        )

    def __repr__(self) -> str:
        return f"{self.threads} threads, {self.descriptors} descriptors"


def at_rest(agent: Agent) -> Held:
    """Return what the agent holds when ten scrapes in a row have changed nothing."""
    seen: list[str] = []

    def is_settled() -> Held | None:
        agent.get()
        held = Held(agent)
        seen.append(repr(held))
        return held if len(seen) >= 10 and len(set(seen[-10:])) == 1 else None

    held = wait_until(is_settled, timeout=30, what="the agent to settle")
    assert held is not None
    return held


@pytest.mark.timeout(180)
def test_a_libvirtd_that_stands_still_costs_its_own_counters_and_nothing_else(
    own_compute_node_with_domains: ComputeNode, place: Place
) -> None:
    node = own_compute_node_with_domains
    age = {"DATAPLANE_AGENT_SCRAPE__STATE_MAX_AGE_SECONDS": f"{STATE_SECONDS:g}"}
    arguments = (node.rundir, f"--libvirt.uri={node.hypervisor.uri}")
    with Agent(*arguments, env=age, host=place) as agent:
        job = Job([f"127.0.0.1:{agent.port}"], interval="1s", timeout=f"{TIMEOUT_SECONDS:g}s")
        with Prometheus(job) as prometheus:
            with Steady(node):
                wait_for_counters(agent, node)
                wait_until(lambda: prometheus.query(COUNTERS), what="a scrape of the counters")
                before = at_rest(agent)
                stopped = time.time()
                node.hypervisor.pause()
                meanwhile = [Held(agent)]
                while time.time() - stopped < STALLED_SECONDS:
                    time.sleep(0.5)  # the promise is about time passing
                    meanwhile.append(Held(agent))
                told = json.loads(agent.get("/status").text)["sources"]["libvirt"]
                resumed = time.time()
                node.hypervisor.resume()
                wait_for_counters(agent, node)
            is_back(agent, node)
            after = at_rest(agent)
            window = History(prometheus, stopped + SHARE_SECONDS, resumed)
            whole = History(prometheus, 0.0, time.time())
            no_scrape_was_missed(window, whole)
            everything_else_was_fresh(window)
            libvirt_was_missed(window, whole, stopped)
    assert {problem["reason"] for problem in told["problems"].values()} == {"timeout"}
    assert max(held.threads for held in meanwhile) <= before.threads
    assert after.threads <= before.threads
    assert after.descriptors <= before.descriptors
    said = re.findall(r'event="source (up|down)" source=libvirt(?: reason=(\w+))?', agent.log)
    assert said == [("up", ""), ("down", "timeout"), ("up", "")], agent.log


def is_back(agent: Agent, node: ComputeNode) -> None:
    """See that the page says what virsh does; nothing is sent any more."""
    virsh = counted_by_virsh(node.hypervisor)
    page = wait_for(agent, lambda page: counted_by_page(page) == virsh, "virsh's own numbers")
    assert value_of(page, "dataplane_agent_source_up", source="libvirt") == 1
    assert [labels for labels, _ in page[STATE]] == [{"domain": node.instance.domain}]


def no_scrape_was_missed(window: History, whole: History) -> None:
    scrapes = window.only("up")
    assert len(scrapes) > STALLED_SECONDS / 2
    assert set(scrapes.values()) == {1}
    assert window.only("scrape_duration_seconds").keys() == scrapes.keys()
    assert max(window.only("scrape_duration_seconds").values()) < TIMEOUT_SECONDS
    assert set(whole.only("up").values()) == {1}
    assert len(set(whole.only("process_start_time_seconds").values())) == 1, "no restart"


def everything_else_was_fresh(window: History) -> None:
    scrapes = window.only("up").keys()
    ports = window.each("ovs_interface_rx_packets_total")
    assert len(ports) > 10
    assert {frozenset(samples) for samples in ports} == {frozenset(scrapes)}
    numbers = list(window.only(f'ovs_interface_rx_packets_total{{interface="{TAP_SSH}"}}').values())
    assert all(later > earlier for earlier, later in itertools.pairwise(numbers))
    for samples in window.each('dataplane_agent_scrape_collector_success{collector!="domain"}'):
        assert set(samples.values()) == {1}
    devices = [at for samples in window.each(INFO) for at in samples]
    assert {devices.count(at) for at in scrapes} == {3}, "the switch still knows whose they are"


def libvirt_was_missed(window: History, whole: History, stopped: float) -> None:
    scrapes = window.only("up").keys()
    assert window.each(COUNTERS) == []
    assert len(whole.each(COUNTERS)) == 2 * 8
    assert set(window.only(f"dataplane_agent_source_up{{{LIBVIRT}}}").values()) == {0}
    for name in (STATE, OPENSTACK, META):
        for samples in window.each(name):
            shown = sorted(samples)
            assert shown == sorted(scrapes)[: len(shown)], "there, and then gone"
            assert {at for at in scrapes if at < stopped + STATE_SECONDS} <= samples.keys()
            assert shown[-1] < stopped + 2 * STATE_SECONDS
    failures = "dataplane_agent_source_failures_total"
    timeouts = list(window.only(f'{failures}{{{LIBVIRT},reason="timeout"}}').values())
    assert timeouts[-1] > timeouts[0]
    for samples in whole.each(f'{failures}{{{LIBVIRT},reason!="timeout"}}'):
        assert set(samples.values()) == {0}
