"""Scrape an agent while its switch changes all the time, and see that it stays whole.

Run as ``PYTHONPATH=. python tests/soak/endurance.py SECONDS [FLOWS] [SEED]``, as root. Flows of
neutron's shape go, come back and get other cookies, ports come and go, packets are lost, and now
and then ovs-vswitchd is killed. Every page must be whole, no ledger may go down, and at the end the
flows must be ovs-ofctl's, and memory and descriptors what they were. Ends with status 1 if not.
"""

import argparse
import os
import random
import secrets
import sys
import time

from lab.agent import Agent
from lab.process import LabError, wait_until
from lab.shapes import SHAPES, ShapedNode
from lab.wide import BRIDGE, dummy_name
from tests.page import Series, series

SHAPE, TAP = "neutron", dummy_name(0)
LEDGERS = (
    "ovs_flow_table_dropped_packets_total",
    "ovs_flow_table_unattributed_packets_total",
    "ovs_flow_changes_total",
)
ENVIRONMENT = {
    "DATAPLANE_AGENT_FLOWS__MODE": "all",
    "DATAPLANE_AGENT_FLOWS__DUTY_CYCLE": "1",
    "DATAPLANE_AGENT_SCRAPE__SHARE_SECONDS": "0",
}
WARM_UP = 0.4
"""Share of the time after which memory and descriptors are what they are to stay."""
MOST_GROWTH = 1.2
CHANGED_FLOWS = 30
KILL_EVERY = 150
# From an instance with another's address: table 71, priority 10.
PACKET = "ffffffffffff02000000000108004500001c0000000040110000c0a80001c0a80002" + (
    "0001000200080000" + "00" * 18
)


class Endurance:
    """One switch, one agent, and what was seen of them."""

    def __init__(self, node: ShapedNode, agent: Agent, seed: int, flows: int) -> None:
        self.pages, self.lost = 0, 0.0
        self._node, self._agent = node, agent
        self._random = random.Random(seed)  # noqa: S311 - so that a run can be repeated
        self._flows = [line.partition(",")[2] for line in SHAPES[SHAPE].flows(flows)]
        self._ledgers: dict[object, float] = {}
        self._port = ""

    def change(self) -> None:
        """Let something happen to the switch."""
        self._random.choice((self._remove, self._add, self._add, self._plug, self._lose))()

    def _remove(self) -> None:
        flows = self._random.sample(self._flows, CHANGED_FLOWS)
        text = "\n".join(f"delete_strict {flow.split(' actions=')[0]}" for flow in flows)
        self._node.ofctl("--bundle", "add-flows", BRIDGE, "-", stdin=text)

    def _add(self) -> None:
        """Add flows over themselves, those that were deleted anew, with another cookie."""
        cookie = self._random.getrandbits(32)
        flows = self._random.sample(self._flows, CHANGED_FLOWS)
        text = "\n".join(f"cookie={cookie:#x},{flow}" for flow in flows)
        self._node.ofctl("--bundle", "add-flows", BRIDGE, "-", stdin=text)

    def _plug(self) -> None:
        old, self._port = self._port, f"tap{self._random.getrandbits(32):08x}"
        unplug = ("--if-exists", "del-port", BRIDGE, old, "--") if old else ()
        plug = ("add-port", BRIDGE, self._port, "--", "set", "Interface", self._port, "type=dummy")
        self._node.vsctl(*unplug, *plug)

    def _lose(self) -> None:
        self._node.appctl("netdev-dummy/receive", TAP, *[PACKET] * CHANGED_FLOWS)

    def kill(self) -> None:
        """Kill ovs-vswitchd; it comes back with the flows that neutron would add again."""
        self._node.kill_vswitchd()
        self._node.start_vswitchd()
        self._node.load()

    def look(self) -> Series:
        """Scrape once and check the page.

        Raises:
            LabError: If a ledger went down.
        """
        page = series(self._agent.get().body)  # fails at a series that is there twice
        self.pages += 1
        for key, value in page.items():
            if key[0] in LEDGERS:
                before = self._ledgers.get(key, 0.0)
                if value < before:
                    raise LabError(f"{key} went from {before} to {value}")
                self._ledgers[key] = value
        self.lost = max(self.lost, sum(v for (name, _), v in page.items() if name == LEDGERS[0]))
        return page

    def agrees(self) -> bool:
        """Say whether the page has as many flows as the switch."""
        shown = sum(name == "ovs_flow_packets_total" for name, _ in self.look())
        return shown == len(self._node.flows(BRIDGE))


def memory(agent: Agent) -> tuple[int, int]:
    """Return resident KiB and open descriptors."""
    pid = agent.daemon.pid
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123 - one line of /proc
        resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
    return resident, len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - a count


def run(seconds: float, flows: int, seed: int) -> str:
    """Return what went wrong; empty for nothing."""
    with ShapedNode(SHAPE, flows) as node, Agent(node.rundir, env=ENVIRONMENT) as agent:
        node.load()
        endurance = Endurance(node, agent, seed, flows)
        began, turn, warm = time.monotonic(), 0, (0, 0)
        while (elapsed := time.monotonic() - began) < seconds:
            turn += 1
            if turn % KILL_EVERY == 0:
                endurance.kill()
            endurance.change()
            endurance.look()
            if elapsed > WARM_UP * seconds and not warm[0]:
                warm = memory(agent)
        try:
            wait_until(endurance.agrees, timeout=20, what="the page to have the switch's flows")
        except LabError as error:
            return str(error)
        now = memory(agent)
        say(
            f"{turn} changes, {turn // KILL_EVERY} kills, {endurance.pages} pages,"
            f" {endurance.lost:.0f} packets lost; resident {warm[0]} then {now[0]} KiB,"
            f" descriptors {warm[1]} then {now[1]}"
        )
        if "Traceback" in agent.log:
            return "the agent's log has a traceback"
        if now[0] > MOST_GROWTH * warm[0] or now[1] > warm[1] + 2:
            return "it has grown"
        return "" if endurance.lost else "no packet was lost: nothing was shown"


def say(line: str) -> None:
    """Write a line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Run and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float)
    parser.add_argument("flows", type=int, nargs="?", default=3000)
    parser.add_argument("seed", type=int, nargs="?", default=secrets.randbits(32))
    arguments = parser.parse_args()
    say(f"seed {arguments.seed}")
    try:
        wrong = run(arguments.seconds, arguments.flows, arguments.seed)
    except LabError as error:
        wrong = str(error)
    say(f"endurance: {wrong or 'whole'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
