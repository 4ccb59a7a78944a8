"""Every flow of a bridge on the page: what it costs, beside other ways, in one run.

On a real switch with 1,000, 10,000 and 100,000 flows in neutron's shape (or OVN's):

- ``ovs-ofctl dump-flows`` into /dev/null: the flows as text, nothing made of them;
- the simple exporter: ovs-ofctl as a subprocess, a regular expression, prometheus_client;
- the agent as a process, scraped over HTTP: every flow read, packets and bytes of each rendered;
  when nothing was counted since the scrape before, when a tenth of the flows counted, when all did.

CPU is user and system time of all that runs but ovs-vswitchd, children included, median of the
rounds; memory is the agent's, beside what it had when the bridge was empty.

Claims, at 100,000 flows of which a tenth counted: no more CPU than ovs-ofctl takes to print them,
at most 2 KiB a flow, and at most 1.5 times the CPU a flow that 10,000 take.

    PYTHONPATH=. .venv/bin/python bench/flows.py [neutron|neutron-rules|ovn] [rounds] [flows ...]
"""

import gzip
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily

from lab.agent import Agent
from lab.probe import put_ahead
from lab.process import LabError, wait_until
from lab.shapes import ShapedNode
from lab.visits import Visitor
from lab.wide import BRIDGE

CLAIM_RATIO = 1.0
CLAIM_BYTES = 2048
CLAIM_GROWTH = 1.5
SIZES = (1_000, 10_000, 100_000)
TENTH = "agent, 10 % counted"
SMALLEST = 5_000
"""Flows to measure at once: fewer are read several times, or the clock would be too coarse."""
SETTLE_SECONDS = 0.02
ENVIRONMENT = {
    "DATAPLANE_AGENT_FLOWS__MODE": "all",
    "DATAPLANE_AGENT_FLOWS__DUTY_CYCLE": "1",  # as often as it is asked
    "DATAPLANE_AGENT_SCRAPE__SHARE_SECONDS": "0",
    "DATAPLANE_AGENT_SCRAPE__DEADLINE_SECONDS": "30",
    "DATAPLANE_AGENT_LIMITS__SERIES": "1000000",
}
LINE = re.compile(
    r" cookie=\S+, duration=\S+, table=(\d+), n_packets=(\d+), n_bytes=(\d+), .*?"
    r"priority=(\d+),?(\S*) actions="
)
IDENTITY = {"Accept-Encoding": "identity"}
GZIP = {"Accept-Encoding": "gzip"}


class Exporter:
    """The simple way."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self._command, self._env = command, env
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def describe(self) -> list[CounterMetricFamily]:
        """Say nothing: registering is not reading."""
        return []

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Read and yield packets and bytes."""
        labels = ("bridge", "table", "priority", "match")
        packets = CounterMetricFamily("ovs_flow_packets", "Packets.", labels=labels)
        octets = CounterMetricFamily("ovs_flow_bytes", "Bytes.", labels=labels)
        done = subprocess.run(
            self._command, env=self._env, stdout=subprocess.PIPE, check=True, text=True
        )
        for line in done.stdout.splitlines():
            if found := LINE.match(line):
                table, n_packets, n_bytes, priority, match = found.groups()
                identity = (BRIDGE, table, priority, match)
                packets.add_metric(identity, float(n_packets))
                octets.add_metric(identity, float(n_bytes))
        yield packets
        yield octets

    def page(self) -> bytes:
        """Return what a scrape of it would answer."""
        return generate_latest(self._registry)


class Bench:
    """One switch of one size, with everything that is compared on it.

    Args:
        node: The switch, with its flows.
        agent: The agent on it.
        size: Flows on it.
    """

    def __init__(self, node: ShapedNode, agent: Agent, size: int) -> None:
        self.size = size
        self.seconds: dict[str, list[float]] = {}
        self.share = 0.0
        self._agent = agent
        self._repeats = -(-SMALLEST // size)
        self._env = {**os.environ, **node.environment}
        dump = ["ovs-ofctl", "-O", "OpenFlow13", "dump-flows", BRIDGE]
        self._dump = dump
        self._exporter = Exporter([*dump, "--names"], self._env)
        self._visitor = Visitor(node.mgmt)
        self._tenth, self._all = self._visitor.prepare(0.1), self._visitor.prepare(1.0)

    def check(self) -> None:
        """Look once whether pages hold what is claimed of them, and the switch counts at all."""
        before = self._counters(self._scrape("/metrics?collect[]=flow"))
        self._visitor.visit(self._tenth)
        after = self._counters(self._scrape("/metrics?collect[]=flow"))
        self.share = len(after - before) / len(after)
        theirs = self._counters(self._exporter.page())
        assert len(before) == len(after) == len(theirs) == 2 * self.size, (
            f"{len(before)}, {len(after)} and {len(theirs)} counters of {self.size} flows"
        )
        assert 0.08 < self.share < 0.15, f"{self.share:.3f} of the counters moved"

    def round(self) -> None:
        """Measure each way once."""
        flows, page = "/metrics?collect[]=flow", "/metrics"
        self._measure("ovs-ofctl > /dev/null", self._print, own_cpu)
        self._measure("ovs-ofctl, re, prometheus_client", self._exporter.page, own_cpu)
        self._measure("agent, nothing counted", lambda: self._scrape(flows), self._agent_cpu)
        self._measure(TENTH, lambda: self._scrape(flows), self._agent_cpu, self._tenth)
        self._measure("agent, all counted", lambda: self._scrape(flows), self._agent_cpu, self._all)
        self._measure(
            "whole page, 10 % counted", lambda: self._scrape(page), self._agent_cpu, self._tenth
        )
        what = "10 % counted, gzip"
        self._measure(what, lambda: self._scrape(flows, GZIP), self._agent_cpu, self._tenth)

    def _measure(
        self,
        what: str,
        work: Callable[[], object],
        cpu: Callable[[], float],
        visits: list[bytes] | None = None,
    ) -> None:
        total = 0.0
        for _ in range(self._repeats):
            self._visitor.visit(visits or [])
            began = cpu()
            work()
            if cpu is not own_cpu:
                time.sleep(SETTLE_SECONDS)  # what it does after the answer is its cost too
            total += cpu() - began
        self.seconds.setdefault(what, []).append(total / self._repeats)

    def _print(self) -> None:
        subprocess.run(self._dump, env=self._env, stdout=subprocess.DEVNULL, check=True)

    def _agent_cpu(self) -> float:
        # CPUCLOCK_SCHED of a process, as clock_getcpuclockid(3) makes it: nanoseconds, where
        # /proc/<pid>/stat has hundredths of a second
        return time.clock_gettime(~self._agent.daemon.pid << 3 | 2)

    def _scrape(self, path: str, headers: dict[str, str] | None = None) -> bytes:
        answer = self._agent.get(path, headers or IDENTITY)
        assert answer.status == 200, f"{path} answered {answer.status}"
        # a bridge that is spared is not read: that would be cheap
        body = gzip.decompress(answer.body) if headers is GZIP else answer.body
        assert b"\novs_flow_bytes_total{" in body, f"no flows on {path}"
        return body

    @staticmethod
    def _counters(page: bytes) -> set[bytes]:
        names = (b"ovs_flow_packets_total{", b"ovs_flow_bytes_total{")
        return {line for line in page.splitlines() if line.startswith(names)}

    def close(self) -> None:
        """Disconnect."""
        self._visitor.close()


def own_cpu() -> float:
    """CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def memory(agent: Agent, field: str) -> int:
    """Bytes of VmRSS or VmHWM, /proc/<pid>/status."""
    with open(f"/proc/{agent.daemon.pid}/status") as status:  # noqa: PTH123 - one line of /proc
        return next(int(x.split()[1]) * 1024 for x in status if x.startswith(f"{field}:"))


def flows_shown(agent: Agent) -> int:
    """Count the flows on the page."""
    try:
        page = agent.get("/metrics?collect[]=flow").body
    except OSError as error:
        raise LabError(f"{error}; the agent's log ends with:\n{agent.log[-2000:]}") from error
    return page.count(b"\novs_flow_packets_total{")


def run(shape: str, size: int, rounds: int) -> tuple[dict[str, list[float]], float]:
    """Measure one size and print it.

    Returns:
        CPU seconds of every round for each way, and bytes of memory a flow.
    """
    with ShapedNode(shape, size) as node, Agent(node.rundir, env=ENVIRONMENT) as agent:
        for _ in range(3):
            agent.get()
        empty, resident = memory(agent, "VmRSS"), list[int]()
        node.load()
        put_ahead(node.vswitchd.pid, 1)  # a busy machine is no busy switch, which would be spared
        wait_until(lambda: flows_shown(agent) == size, timeout=60, what="all flows on the page")
        bench = Bench(node, agent, size)
        try:
            bench.check()
            for _ in range(rounds):
                bench.round()
                resident.append(memory(agent, "VmRSS"))
        finally:
            bench.close()
        grown = (median(resident) - empty) / size
        peak = (memory(agent, "VmHWM") - empty) / size
    print(f"\n{size} flows in {shape}'s shape; {bench.share:.1%} of the counters move for 10 %")
    print(f"{'':34}{'CPU ms':>9}{'least':>9}{'most':>9}{'us/flow':>9}{'x ofctl':>9}")
    for what, seconds in bench.seconds.items():
        milli = [1000 * each for each in seconds]
        print(
            f"{what:34}{median(milli):9.1f}{min(milli):9.1f}{max(milli):9.1f}"
            f"{1000 * median(milli) / size:9.2f}{ratio(bench.seconds, what):9.2f}"
        )
    print(f"memory: {grown:.0f} bytes a flow, {peak:.0f} at its peak", flush=True)
    return bench.seconds, grown


def ratio(seconds: dict[str, list[float]], what: str) -> float:
    """Median over the rounds of a way's CPU by that of ovs-ofctl in the same round."""
    base = seconds["ovs-ofctl > /dev/null"]
    return median(mine / theirs for mine, theirs in zip(seconds[what], base, strict=True))


def main(shape: str = "neutron", rounds: int = 7, sizes: tuple[int, ...] = SIZES) -> int:
    """Measure and print; the exit status says whether the claims hold."""
    results = {size: run(shape, size, rounds) for size in sizes}
    largest, before = max(sizes), sorted(sizes)[-2:][0]
    cpu = {size: median(seconds[TENTH]) / size for size, (seconds, _) in results.items()}
    claims = (
        (f"CPU at most {CLAIM_RATIO} x ovs-ofctl", ratio(results[largest][0], TENTH), CLAIM_RATIO),
        (f"at most {CLAIM_BYTES} bytes a flow", results[largest][1], CLAIM_BYTES),
        (
            f"a flow of {largest} costs at most {CLAIM_GROWTH} x one of {before}",
            cpu[largest] / cpu[before],
            CLAIM_GROWTH,
        ),
    )
    print()
    for text, value, bound in claims:
        print(f"claim: {text}: {value:.2f}: {'holds' if value <= bound else 'FAILS'}")
    return 0 if all(value <= bound for _, value, bound in claims) else 1


if __name__ == "__main__":
    try:
        arguments = sys.argv[1:]
        sys.exit(
            main(
                arguments[0] if arguments else "neutron",
                int(arguments[1]) if len(arguments) > 1 else 7,
                tuple(int(each) for each in arguments[2:]) or SIZES,
            )
        )
    except LabError as error:
        sys.exit(f"no measurement: {error}")
