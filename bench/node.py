"""What a whole node costs: series, bytes, CPU, memory, and what a fleet makes of it.

Four nodes, each scraped as Prometheus does it (OpenMetrics, gzip, all collectors):

- the recorded node: 209 flows, 25 interfaces, one instance, on real Open vSwitch and real libvirt;
- a large one: 15,000 flows, 500 interfaces, 150 instances, 40 namespaces, as configured by default;
- the same with ``flows.mode: all``, and once more with 100,000 flows.

Before each scrape a tenth of the flows counts a packet, and every link of the namespaces; the
counters of instances grow with each reading. Beside the large node stands Debian's
prometheus-node-exporter in the same network, scraped in the same rounds. A real Prometheus in agent
mode then scrapes each node and writes on what it gets: bytes and CPU for a sample.

CPU is user and system time of the whole process, until 0.3 s after the answer; at rest is what it
takes while nobody asks. Prints the tables of docs/scaling.md. Claims: the large node has at most
12,000 series and 2 MB a page, and a series costs the agent no more CPU than node_exporter's.

    PYTHONPATH=. .venv/bin/python bench/node.py [rounds]
"""

import gzip
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import median

from lab.agent import Agent, Place
from lab.compute import ComputeNode
from lab.crowded import CrowdedNode, Size
from lab.fleet import (
    Measured,
    Prometheus,
    fleet_table,
    fleets,
    measured_table,
    read_measured,
)
from lab.forwarder import Forwarder
from lab.host import Host
from lab.probe import put_ahead
from lab.process import Daemon, free_port, wait_until
from lab.prometheus import DIRECT, Job
from lab.traffic import Steady

CLAIM_SERIES, CLAIM_BYTES = 12_000, 2_000_000
PEER = "prometheus-node-exporter"
WARM_UP = 2
PAUSE_SECONDS = 0.5
SETTLE_SECONDS = 0.3
"""What is done after the answer is out counts too."""
REST_SECONDS = 10.0
"""Two of the rounds in which ovs-vswitchd writes statistics into its database."""
SCRAPES_TO_WRITE = 4
"""The first of them is not counted: Prometheus starts, and learns every series."""
LOOK_SECONDS = 2.0
"""Prometheus is asked for its own metrics as seldom as this, because that costs it, too."""
AS_PROMETHEUS = {
    "Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
    "Accept-Encoding": "gzip",
}
AT_ONCE = {
    "DATAPLANE_AGENT_SCRAPE__SHARE_SECONDS": "0",
    "DATAPLANE_AGENT_FLOWS__DUTY_CYCLE": "1",  # rounds are closer together than scrapes
}
EVERY_FLOW = {
    "DATAPLANE_AGENT_FLOWS__MODE": "all",
    "DATAPLANE_AGENT_LIMITS__SERIES": "500000",
}
DEFAULT_DUTY = 0.02
LARGE = Size(flows=15_000, interfaces=500, instances=150, namespaces=40)
LARGEST = Size(flows=100_000, interfaces=500, instances=150, namespaces=40, shape="neutron-rules")


@dataclass(frozen=True, slots=True)
class Round:
    """One scrape."""

    cpu_seconds: float
    packed: bytes

    @property
    def page(self) -> bytes:
        """What it says."""
        return gzip.decompress(self.packed)

    @property
    def series(self) -> int:
        """How many lines are no comment."""
        return sum(1 for line in self.page.splitlines() if line and not line.startswith(b"#"))


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, in nanoseconds: CPUCLOCK_SCHED, clock_getcpuclockid(3)."""
    return time.clock_gettime(~pid << 3 | 2)


def scrape(pid: int, fetch: Callable[[], bytes]) -> Round:
    """Ask once and wait until it is through with it."""
    before = cpu_seconds(pid)
    packed = fetch()
    time.sleep(SETTLE_SECONDS)
    return Round(cpu_seconds(pid) - before, packed)


def memory_mb(pid: int, field: str) -> float:
    """VmRSS or VmHWM in MB, /proc/<pid>/status."""
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123 - one line of /proc
        return next(int(x.split()[1]) * 1024 / 1e6 for x in status if x.startswith(f"{field}:"))


def ask(agent: Agent) -> bytes:
    """Scrape the agent."""
    answer = agent.get("/metrics", AS_PROMETHEUS)
    assert answer.status == 200, answer.text[:200]
    return answer.body


def complete(agent: Agent, flows: int, instances: int) -> bool:
    """Whether every reading is on the page: with one missing it would be cheap."""
    page = gzip.decompress(ask(agent))
    shown = page.count(b"\novs_flow_packets_total{")
    return (
        b'dataplane_agent_scrape_collector_success{collector="flow"} 1' in page
        and shown == flows
        and page.count(b"\nlibvirt_domain_state{") == instances
    )


def measure(
    name: str, agent: Agent, work: Callable[[], None], rounds: int, peer: "Peer | None" = None
) -> tuple[Measured, list[float]]:
    """Scrape an agent, and in the same rounds its peer.

    Returns:
        What the node costs, and of each round the agent's CPU for a series over the peer's.
    """
    taken: list[Round] = []
    ratios: list[float] = []
    for number in range(WARM_UP + rounds):
        time.sleep(PAUSE_SECONDS)
        work()
        ours = scrape(agent.daemon.pid, lambda: ask(agent))
        if number < WARM_UP:
            continue
        taken.append(ours)
        line = f"{name}: {1e3 * ours.cpu_seconds:.1f} ms CPU, {ours.series} series"
        if peer is not None:
            theirs = scrape(peer.pid, peer.ask)
            each = ours.cpu_seconds / ours.series, theirs.cpu_seconds / theirs.series
            ratios.append(each[0] / each[1])
            line += (
                f", {1e6 * each[0]:.2f} us each; {PEER}: {1e3 * theirs.cpu_seconds:.1f} ms,"
                f" {theirs.series} series, {1e6 * each[1]:.2f} us each"
            )
        print(line, flush=True)
    costs = [1e3 * each.cpu_seconds for each in taken]
    last, pid = taken[-1], agent.daemon.pid
    before = cpu_seconds(pid)
    time.sleep(REST_SECONDS)
    rest = (cpu_seconds(pid) - before) / REST_SECONDS
    return (
        Measured(
            name,
            last.series,
            len(last.page),
            len(last.packed),
            (median(costs), min(costs), max(costs)),
            100 * rest,
            (memory_mb(pid, "VmRSS"), memory_mb(pid, "VmHWM")),
            0.0,
        ),
        ratios,
    )


class Peer:
    """node_exporter as Debian starts it, in the network of a host."""

    def __init__(self, host: Host, stack: ExitStack) -> None:
        self._host = host
        address = f"127.0.0.1:{host.inside(free_port)}"
        self._url = f"http://{address}/metrics"
        # sysfs shows the links of the namespace in which it was mounted
        command = f"mount -t sysfs sysfs /sys && exec {PEER} --web.listen-address={address}"
        daemon = Daemon([*host.enter, "sh", "-c", command], host.directory / "peer.log")
        stack.callback(daemon.stop)
        self.pid = daemon.pid
        wait_until(self._answers, timeout=60, what=f"{PEER} to answer")

    def ask(self) -> bytes:
        """Scrape it."""
        return self._host.inside(self._fetch)

    def _fetch(self) -> bytes:
        request = urllib.request.Request(self._url, headers=AS_PROMETHEUS)  # noqa: S310 - http by construction
        with DIRECT.open(request, timeout=60) as answer:
            body: bytes = answer.read()
        return body

    def _answers(self) -> bool:
        try:
            return bool(self.ask())
        except OSError:
            return False


def stored_kb(place: Place, agent: Agent, series: int) -> float:
    """Have Prometheus scrape and keep; return its memory for each series, in kB."""
    with Forwarder(place, Job([f"127.0.0.1:{agent.port}"], interval="10s"), stores=True) as keeper:

        def appended() -> bool:
            time.sleep(LOOK_SECONDS)
            samples = keeper.metric("prometheus_tsdb_head_samples_appended_total")
            return samples >= SCRAPES_TO_WRITE * series

        wait_until(appended, timeout=240, what="pages to be stored")
        return 1e3 * memory_mb(keeper.pid, "VmHWM") / series


@dataclass(frozen=True, slots=True)
class Written:
    """What Prometheus in agent mode takes: for each sample, and memory at its peak."""

    octets: float
    cpu_us: float
    peak_mb: float
    stored_kb: float
    """With its own storage instead: for each series."""


def written(place: Place, agent: Agent, series: int) -> Written:
    """Have Prometheus scrape and write on, then another one scrape and keep."""
    job = Job([f"127.0.0.1:{agent.port}"], interval="10s", timeout="10s")
    with Forwarder(place, job) as forwarder:

        def metric(name: str) -> float:
            return forwarder.metric(f"prometheus_remote_storage_{name}_total")

        def sent(pages: int) -> tuple[float, float]:
            """Wait until so many pages are; return how many samples are, and CPU until then."""

            def are() -> bool:
                time.sleep(LOOK_SECONDS)
                return metric("samples") >= pages * series

            wait_until(are, timeout=240, what="pages to be written")
            return metric("samples"), cpu_seconds(forwarder.pid)

        before, begun = sent(1)
        after, ended = sent(SCRAPES_TO_WRITE)
        octets = metric("bytes") / metric("samples")
        cpu_us = 1e6 * (ended - begun) / (after - before)
        peak_mb = memory_mb(forwarder.pid, "VmHWM")
    return Written(octets, cpu_us, peak_mb, stored_kb(place, agent, series))


def whole(
    name: str,
    place: Place,
    agent: Agent,
    work: Callable[[], None],
    rounds: int,
    peer: "Peer | None" = None,
) -> tuple[Measured, list[float], Written]:
    """Measure a node and who scrapes it; see ``measure``."""
    measured, ratios = measure(name, agent, work, rounds, peer)
    forwarded = written(place, agent, measured.series)
    print(
        f"{name}: remote write: {forwarded.octets:.1f} bytes and {forwarded.cpu_us:.1f} us of CPU a"
        f" sample; Prometheus took {forwarded.peak_mb:.0f} MB in agent mode,"
        f" {1e3 * forwarded.peak_mb / measured.series:.1f} kB a series; with its own storage"
        f" {forwarded.stored_kb:.1f} kB"
    )
    print(f"{name}: series by collector: {by_collector(agent)}", flush=True)
    return replace(measured, written_bytes=forwarded.octets), ratios, forwarded


def by_collector(agent: Agent) -> str:
    """Name those that have the most."""
    found = {
        name.split('"')[1]: int(value)
        for name, value in agent.metrics().items()
        if name.startswith("dataplane_agent_series{")
    }
    most = sorted(found, key=lambda each: -found[each])[:8]
    return ", ".join(f"{each} {found[each]:,}" for each in most)


def recorded(rounds: int) -> Measured:
    """Measure the recorded node."""
    env = {**AT_ONCE, "DATAPLANE_AGENT_NAMESPACES__INCLUDE": "[]"}  # /run/netns is the machine's
    with ComputeNode(domains=True, wait_for_status=False) as node, Steady(node):
        env["DATAPLANE_AGENT_LIBVIRT__URI"] = node.hypervisor.uri
        with Agent(node.rundir, env=env, host=node) as agent:
            flows = sum(len(node.flows(bridge)) for bridge in node.switch.bridges)
            wait_until(lambda: complete(agent, flows, 1), timeout=60, what="a whole page")
            return whole("recorded", node, agent, lambda: None, rounds)[0]


def crowded(
    name: str, node: CrowdedNode, more: Mapping[str, str], rounds: int, *, shown: int
) -> tuple[Measured, list[float], Written]:
    """Measure a large node; see ``measure``.

    Args:
        name: Of the node.
        node: It.
        more: Settings of the agent.
        rounds: How many.
        shown: Flows that have series. Without any node_exporter is measured as well.
    """
    with ExitStack() as stack:
        env = {**AT_ONCE, **node.settings, **more}
        agent = stack.enter_context(Agent(node.rundir, env=env, host=node.host))
        instances = node.size.instances
        wait_until(lambda: complete(agent, shown, instances), timeout=90, what="a whole page")
        peer = None if shown else Peer(node.host, stack)
        found = whole(name, node.host, agent, node.work, rounds, peer)
        spared = agent.metrics()['dataplane_agent_source_min_interval_seconds{source="openflow"}']
        print(f"{name}: flows at most every {spared / DEFAULT_DUTY:.1f} s by default")
        return found


def main(rounds: int = 7) -> int:
    """Measure and print; the exit status says whether the claims hold."""
    rows = [recorded(rounds)]
    with CrowdedNode(LARGE) as node:
        put_ahead(node.switch.vswitchd.pid, 1)  # a busy machine is no busy switch
        large, ratios, _ = crowded("large", node, {}, rounds, shown=0)
        full, _, _ = crowded("large, all flows shown", node, EVERY_FLOW, rounds, shown=LARGE.flows)
    with CrowdedNode(LARGEST) as node:
        put_ahead(node.switch.vswitchd.pid, 1)
        name = "100,000 flows, all shown"
        largest, _, most = crowded(name, node, EVERY_FLOW, rounds, shown=LARGEST.flows)
    table = measured_table([*rows, large, full, largest])
    # from what is printed and not from what it rounds, so that a reader can do the same
    prometheus = Prometheus(round(most.cpu_us, 1), round(most.stored_kb, 1))
    print(f"\n{table}\n\n{prometheus}\n\n{fleet_table(fleets(read_measured(table), prometheus))}")
    claims = (
        (f"at most {CLAIM_SERIES} series", large.series, CLAIM_SERIES),
        (f"at most {CLAIM_BYTES} bytes", large.page_bytes, CLAIM_BYTES),
        ("CPU a series at most node_exporter's", median(ratios), 1.0),
    )
    print()
    for text, value, bound in claims:
        print(f"claim: {text}: {value:,.2f}: {'holds' if value <= bound else 'FAILS'}")
    return 0 if all(value <= bound for _, value, bound in claims) else 1


if __name__ == "__main__":
    sys.exit(main(*(int(argument) for argument in sys.argv[1:])))
