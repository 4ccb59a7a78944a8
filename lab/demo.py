"""``make demo``: a compute node with traffic, the agent on it, and a Prometheus that scrapes it.

Runs until Ctrl-C, or for ``DEMO_SECONDS`` if that is set. Nothing of it stays behind.
"""

import os
import signal
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from lab.agent import PROGRAM, Agent
from lab.compute import ComputeNode
from lab.faults import FAULTS
from lab.process import LabError, end_on_signals, missing_parts
from lab.prometheus import Job, Prometheus
from lab.switchboard import Switchboard
from lab.traffic import Steady

if TYPE_CHECKING:
    from collections.abc import Iterator

AGENT_PORT, PROMETHEUS_PORT = 10978, 9090
STATUS_SECONDS = 5.0
FASTEST = 3
PROGRAMS = (
    *("ovs-vswitchd", "ovsdb-server", "libvirtd", "virsh", "qemu-system-x86_64", "prometheus"),
    *("ip", "nsenter", "setpriv"),
)
QUERIES = (
    ("packets a second by flow", "topk(10, rate(ovs_flow_packets_total[1m]))"),
    (
        "share of packets that a cache of the datapath knew",
        (
            'sum(rate(ovs_pmd_packets_total{result=~".+_hit"}[1m]))'
            " / sum(rate(ovs_pmd_packets_total[1m]))"
        ),
    ),
    (
        "packets lost a second, by table",
        (
            'rate(ovs_flow_table_dropped_packets_total{kind="lost"}[1m])'
            " * on (instance, bridge, table) group_left (name) ovs_flow_table_info > 0"
        ),
    ),
    (
        "packets lost a second, by instance's interface",
        "rate(ovs_interface_flow_dropped_packets_total[1m]) > 0",
    ),
    (
        "packets lost a second, by instance",
        (
            "rate(ovs_interface_flow_dropped_packets_total[1m])"
            " * on (instance, interface) group_left (domain, instance_name)"
            " dataplane_instance_interface_info > 0"
        ),
    ),
)

Metrics = dict[str, float]


def main() -> int:
    """Build it all, report until the end, take it all down."""
    if missing := missing_parts(*PROGRAMS):
        print(f"The demo needs {', '.join(missing)}. 'make setup' as root installs the programs.")
        return 1
    end_on_signals()
    seconds = float(os.environ.get("DEMO_SECONDS") or "inf")
    try:
        with alone_on_terminal(), ExitStack() as stack:
            _run(stack, seconds)
    except KeyboardInterrupt:
        print()
    except LabError as error:
        print(error)
        return 1
    print("Done; nothing is left behind.")
    return 0


def _run(stack: ExitStack, seconds: float) -> None:
    print("Building the node: four bridges, 200 flows, two instances, a domain …", flush=True)
    node = stack.enter_context(ComputeNode(domains=True))
    traffic = stack.enter_context(Steady(node))
    libvirt = f"--libvirt.uri={node.hypervisor.uri}"
    agent = stack.enter_context(Agent(node.rundir, libvirt, port=AGENT_PORT))
    job = Job([f"127.0.0.1:{agent.port}"])
    prometheus = stack.enter_context(Prometheus(job, port=PROMETHEUS_PORT))
    print(f"\n  agent       {agent.url}/metrics")
    print(f"  Prometheus  {prometheus.url}\n\nTry there:")
    for what, promql in QUERIES:
        print(f"  {what}:\n    {promql}")
    print(f"\nAnd at three in the morning:\n  {PROGRAM} drops --ovs.rundir={node.rundir}")
    board = stack.enter_context(Switchboard(node, node.rundir / "faults.sock"))
    switch = f"  {sys.executable} -m lab.switchboard {board.path}"
    print(f"\nThings to go wrong, one by one:\n{switch}")
    print("\n".join(f"{switch} {name} on" for name in FAULTS))
    print(f"\nA line every {STATUS_SECONDS:.0f} s; Ctrl-C ends it.", flush=True)
    _report(agent, traffic, time.monotonic() + seconds)


def _report(agent: Agent, traffic: Steady, end: float) -> None:
    before, read = agent.metrics(), time.monotonic()
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(STATUS_SECONDS, left))
        now, elapsed = agent.metrics(), time.monotonic() - read
        print(status(before, now, elapsed, traffic.sent), flush=True)
        before, read = now, read + elapsed


def status(before: Metrics, now: Metrics, seconds: float, sent: int) -> str:
    """Write the lines that tell what happened between two scrapes.

    Args:
        before: The earlier page, values by series.
        now: The later page.
        seconds: Between them.
        sent: Packets that the traffic has sent since it began.
    """
    up = [
        value
        for series, value in now.items()
        if _name(series).endswith("_source_up") and now.get(series.replace("_up", "_configured", 1))
    ]
    hits = _total(now, "ovs_datapath_lookup_hits_total")
    missed = _total(now, "ovs_datapath_lookup_missed_total")
    lost = sum(value for series, value in now.items() if _is_lost(series))
    head = (
        f"{time.strftime('%H:%M:%S')}  {len(now)} series, {sum(up):.0f} of {len(up)} sources up, "
        f"lookups {hits:.0f} hit {missed:.0f} missed, {sent} packets sent, {lost:.0f} lost"
    )
    growth = {
        series: (value - before[series]) / seconds
        for series, value in now.items()
        if _name(series) == "ovs_flow_packets_total" and series in before
    }
    fastest = sorted(growth, key=lambda series: growth[series], reverse=True)[:FASTEST]
    lines = [f"    {growth[s]:6.1f}/s  {s[s.find('{') :]}" for s in fastest if growth[s] > 0]
    return "\n".join([head, *lines])


def _name(series: str) -> str:
    return series.partition("{")[0]


def _is_lost(series: str) -> bool:
    return _name(series) == "ovs_flow_table_dropped_packets_total" and 'kind="lost"' in series


def _total(metrics: Metrics, name: str) -> float:
    return sum(value for series, value in metrics.items() if _name(series) == name)


@contextmanager
def alone_on_terminal() -> "Iterator[None]":
    """Have the terminal's Ctrl-C reach only this process, not the make that started it.

    Otherwise make reports an interrupt for a demo that ended well. Away from a terminal, or in
    the background, nothing is changed.
    """
    terminal = sys.stdin.fileno()
    if not os.isatty(terminal) or os.tcgetpgrp(terminal) != os.getpgrp():
        yield
        return
    former = os.getpgrp()
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # what taking the terminal would stop us with
    if os.getpid() != former:
        os.setpgid(0, 0)
    os.tcsetpgrp(terminal, os.getpgrp())
    try:
        yield
    finally:
        os.tcsetpgrp(terminal, former)


if __name__ == "__main__":
    sys.exit(main())
