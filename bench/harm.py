"""What reading 100,000 flows does to ovs-vswitchd's other work, beside ovs-ofctl, in one run.

ovs-vswitchd answers OpenFlow in its main loop, the one that also takes flow-mods and sends
packet-ins. A probe asks it about once a millisecond for an echo, a flow-mod with a barrier and a
packet-in (ovs-vswitchd and the probe run ahead of all else on the machine), while

- nobody reads flows, for a second;
- ``ovs-ofctl dump-flows`` reads them all, once;
- the agent is scraped once, with every flow on the page.

Neutron's shape, with one cookie for all flows, in the proportions of the recorded node and with
long lists of rules; and OVN's, with a cookie for each. In turns, round by round; the worst wait of
a round, median of the rounds.

Claims, of the worst wait above an idle switch's: the agent's is at most half of ovs-ofctl's in
neutron's shape, and at most a tenth in OVN's. A table whose flows have one cookie is one answer, so
with long lists of rules, which are all in table 82, there is nothing to claim but that it is less.

    PYTHONPATH=. .venv/bin/python bench/harm.py [flows] [rounds]
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

from lab.agent import Agent
from lab.probe import KINDS, Probe, Waits, put_ahead
from lab.process import LabError, wait_until
from lab.shapes import ShapedNode
from lab.wide import BRIDGE

CLAIMS = {"neutron": 0.5, "neutron-rules": 1.0, "ovn": 0.1}
ROUNDS = 9
IDLE_SECONDS = 1.0
WAYS = ("idle", "ovs-ofctl", "agent")
ENVIRONMENT = {
    "DATAPLANE_AGENT_FLOWS__MODE": "all",
    "DATAPLANE_AGENT_FLOWS__DUTY_CYCLE": "1",  # or it would rather not read that often
    "DATAPLANE_AGENT_SCRAPE__SHARE_SECONDS": "0",
    "DATAPLANE_AGENT_SCRAPE__DEADLINE_SECONDS": "30",
    "DATAPLANE_AGENT_LIMITS__SERIES": "1000000",
}

Rounds = dict[str, list[dict[str, Waits]]]


class Readings:
    """The ways to read all flows of a switch.

    Args:
        node: The switch.
        agent: The agent on it.
    """

    def __init__(self, node: ShapedNode, agent: Agent) -> None:
        self.missed = 0
        self._agent = agent
        self._env = {**os.environ, **node.environment}
        self.by_way: dict[str, Callable[[], object]] = {
            "idle": lambda: time.sleep(IDLE_SECONDS),
            "ovs-ofctl": self._print,
            "agent": self._scrape,
        }

    def _print(self) -> None:
        command = ["ovs-ofctl", "-O", "OpenFlow13", "dump-flows", BRIDGE]
        subprocess.run(command, env=self._env, stdout=subprocess.DEVNULL, check=True)

    def _scrape(self) -> None:
        self.missed += b"\novs_flow_bytes_total{" not in self._agent.get().body


def run(shape: str, size: int, rounds: int) -> tuple[Rounds, int]:
    """Measure one shape.

    Returns:
        For each way the waits of each round by kind, and how many scrapes had no flows.
    """
    found: Rounds = {way: [] for way in WAYS}
    with ShapedNode(shape, size) as node, Agent(node.rundir, env=ENVIRONMENT) as agent:
        node.load()
        wait_until(lambda: shown(agent) == size, timeout=60, what="all flows on the page")
        readings = Readings(node, agent)
        put_ahead(node.vswitchd.pid, 1)
        for number in range(rounds):
            turn = number % len(WAYS)
            for way in WAYS[turn:] + WAYS[:turn]:
                with Probe(node.mgmt) as probe:
                    readings.by_way[way]()
                found[way].append(probe.waits)
    return found, readings.missed


def shown(agent: Agent) -> int:
    """Count the flows on the page."""
    try:
        page = agent.get().body
    except OSError as error:
        raise LabError(f"{error}; the agent's log ends with:\n{agent.log[-2000:]}") from error
    return page.count(b"\novs_flow_packets_total{")


def worst(rounds: list[dict[str, Waits]], kind: str) -> float:
    """Milliseconds of the worst wait, median of the rounds."""
    return 1000 * median(each[kind].worst_seconds for each in rounds)


def show(shape: str, size: int, found: Rounds) -> float:
    """Print a shape's table and return the agent's worst excess by ovs-ofctl's."""
    print(f"\n{size} flows in {shape}'s shape, ms; {len(found['idle'])} rounds of a reading each")
    print(f"{'':12}{'':12}{'worst':>9}{'least':>9}{'most':>9}{'p99':>9}{'excess':>9}{'asked':>9}")
    excess = dict.fromkeys(WAYS, 0.0)
    for way, rounds in found.items():
        for kind in KINDS:
            every = [1000 * each[kind].worst_seconds for each in rounds]
            p99 = 1000 * median(each[kind].p99_seconds for each in rounds)
            above = worst(rounds, kind) - worst(found["idle"], kind)
            excess[way] = max(excess[way], above)
            asked = median(each[kind].asked for each in rounds)
            print(
                f"{way:12}{kind:12}{worst(rounds, kind):9.2f}{min(every):9.2f}{max(every):9.2f}"
                f"{p99:9.2f}{above:9.2f}{asked:9.0f}"
            )
    return excess["agent"] / excess["ovs-ofctl"] if excess["ovs-ofctl"] > 0 else float("inf")


def main(size: int = 100_000, rounds: int = ROUNDS) -> int:
    """Measure and print; the exit status says whether the claims hold."""
    holds = True
    for shape, bound in CLAIMS.items():
        found, missed = run(shape, size, rounds)
        share = show(shape, size, found)
        fine = share <= bound and not missed
        holds = holds and fine
        text = f"claim: {shape}: worst excess at most {bound} x ovs-ofctl's: {share:.3f}"
        without = f", {missed} scrapes without flows" if missed else ""
        print(f"{text}{without}: {'holds' if fine else 'FAILS'}", flush=True)
    return 0 if holds else 1


if __name__ == "__main__":
    try:
        sys.exit(main(*(int(argument) for argument in sys.argv[1:])))
    except LabError as error:
        sys.exit(f"no measurement: {error}")
