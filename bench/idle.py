"""What the agent costs when nobody asks: CPU with 500 interfaces and no scrape.

Claim: under 0.5 % of a core. The node is real, ovs-vswitchd refreshes its statistics and status
columns all the while; the agent follows the database and is asked nothing.

    PYTHONPATH=. .venv/bin/python bench/idle.py [interfaces] [seconds]
"""

import os
import sys
import time

from lab.agent import Agent
from lab.wide import WideNode

CLAIM_PERCENT = 0.5
SETTLE_SECONDS = 10
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its threads, /proc/<pid>/stat fields 14 and 15."""
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 - one line of /proc
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def wakeups(pid: int) -> int:
    """Voluntary context switches of all threads: how often it woke up to do something."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - /proc
        with open(f"/proc/{pid}/task/{task}/status") as status:  # noqa: PTH123 - /proc
            total += sum(
                int(line.split()[1]) for line in status if line.startswith("voluntary_ctxt")
            )
    return total


def main(interfaces: int = 500, seconds: float = 60) -> int:
    """Measure and print; the exit status says whether the claim holds."""
    with WideNode(interfaces) as node, Agent(node.rundir) as agent:
        # A first scrape makes the connections that a scraped agent keeps.
        series = len(agent.metrics())
        time.sleep(SETTLE_SECONDS)
        pid = agent.daemon.pid
        cpu, woken, began = cpu_seconds(pid), wakeups(pid), time.monotonic()
        time.sleep(seconds)
        elapsed = time.monotonic() - began
        percent = 100 * (cpu_seconds(pid) - cpu) / elapsed
        rate = (wakeups(pid) - woken) / elapsed
    print(f"{interfaces} interfaces, {series} series, {elapsed:.0f} s without a scrape")
    print(f"agent: {percent:.3f} % of a core, {rate:.1f} wake-ups a second")
    print(f"claim: under {CLAIM_PERCENT} %: {'holds' if percent < CLAIM_PERCENT else 'FAILS'}")
    return 0 if percent < CLAIM_PERCENT else 1


if __name__ == "__main__":
    sys.exit(main(*(int(argument) for argument in sys.argv[1:])))
