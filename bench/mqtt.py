"""What publishing events costs, and what it costs a scrape.

A switch with many interfaces, all of whose links turn in the database twice a second, while the
agent is scraped again and again: without a broker, with one, and with one that takes connections
and answers nothing. Each mode has an agent of its own.

Claims: in each mode the median scrape takes at most 1.25 times as long as without a broker, and
every scrape is answered; with a broker every event arrives, at 1 ms of the agent's CPU or less.

    PYTHONPATH=. .venv/bin/python bench/mqtt.py [interfaces] [scrapes]
"""

import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread

from lab.agent import Agent
from lab.mosquitto import Broker
from lab.process import wait_until
from lab.wide import WideNode, dummy_name

CLAIM_RATIO, CLAIM_CPU_SECONDS = 1.25, 0.001
PAUSE_SECONDS = 0.1
TURN_SECONDS = 0.5
SETTLE_SECONDS = 3.0
TICKS = os.sysconf("SC_CLK_TCK")
MODES = ("no broker", "broker", "stalled broker")
WAITING = "dataplane_agent_mqtt_queue_length"
DROPPED = "dataplane_agent_mqtt_events_dropped_total"


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one mode.

    Attributes:
        scrapes: Sorted, seconds.
        turns: How often all links turned meanwhile.
        cpu_seconds: Of the agent, scrapes included.
        events: That the broker got; ``dropped`` by the agent.
    """

    scrapes: list[float]
    turns: int
    cpu_seconds: float
    events: int
    dropped: int

    @property
    def median(self) -> float:
        """Of scrapes, in seconds."""
        return statistics.median(self.scrapes)


class Turning:
    """Turns all links up and down, until it is closed."""

    def __init__(self, node: WideNode, interfaces: int) -> None:
        self.turns = 0
        self._node = node
        self._names = [dummy_name(number) for number in range(interfaces)]
        self._end = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; all that was written is there."""
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(TURN_SECONDS):
            state = f"link_state={'down' if self.turns % 2 == 0 else 'up'}"
            commands = (("--", "set", "Interface", name, state) for name in self._names)
            self._node.vsctl("--no-wait", *(word for command in commands for word in command))
            self.turns += 1


@contextmanager
def turning(node: WideNode, interfaces: int) -> Iterator[Turning]:
    """Turn links while the block runs."""
    links = Turning(node, interfaces)
    try:
        yield links
    finally:
        links.close()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its threads, /proc/<pid>/stat fields 14 and 15."""
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 - one line of /proc
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def scrape(agent: Agent) -> float:
    """Scrape once; return how long it took."""
    began = time.perf_counter()
    agent.metrics()  # fails for an answer that is none
    return time.perf_counter() - began


def measure(node: WideNode, interfaces: int, scrapes: int, mode: str) -> Measured:
    """Let links turn while an agent of its own is scraped."""
    with Broker() as broker:
        env: Mapping[str, str] = {
            "DATAPLANE_AGENT_MQTT__HOST": "127.0.0.1",
            "DATAPLANE_AGENT_MQTT__PORT": str(broker.port),
            "DATAPLANE_AGENT_MQTT__TIMEOUT_SECONDS": "1",
            "DATAPLANE_AGENT_MQTT__QUEUE": "100000" if mode == "broker" else "1000",
        }
        with Agent(node.rundir, env=env if mode != "no broker" else {}) as agent:
            for _ in range(3):
                scrape(agent)
            time.sleep(SETTLE_SECONDS)
            if mode == "stalled broker":
                broker.pause()
            before, cpu = broker.received, cpu_seconds(agent.daemon.pid)
            took: list[float] = []
            with turning(node, interfaces) as links:
                for _ in range(scrapes):
                    took.append(scrape(agent))
                    time.sleep(PAUSE_SECONDS)
            if mode == "broker":
                wait_until(lambda: agent.metrics()[WAITING] == 0, 300, "events to be sent")
            spent = cpu_seconds(agent.daemon.pid) - cpu
            dropped = int(agent.metrics().get(DROPPED, 0))
            if mode == "stalled broker":
                broker.resume()
            return Measured(sorted(took), links.turns, spent, broker.received - before, dropped)


def main(interfaces: int = 500, scrapes: int = 100) -> int:
    """Measure and print; the exit status says whether the claims hold."""
    print(f"{interfaces} interfaces whose links turn, {scrapes} scrapes")
    found: dict[str, Measured] = {}
    with WideNode(interfaces) as node:
        for mode in MODES:
            found[mode] = each = measure(node, interfaces, scrapes, mode)
            p95 = each.scrapes[int(0.95 * len(each.scrapes))]
            print(
                f"{mode}: scrape median {1e3 * each.median:.1f} ms, p95 {1e3 * p95:.1f} ms,"
                f" worst {1e3 * each.scrapes[-1]:.1f} ms; {each.turns} turns of all links;"
                f" {each.events} events, {each.dropped} dropped;"
                f" agent {each.cpu_seconds:.2f} s of CPU"
            )
    none, some = found["no broker"], found["broker"]
    ratio = max(each.median for each in found.values()) / none.median
    print(f"scrape: at most {ratio:.2f} times as long as without a broker")
    # The scrapes' own share is that of the agent without a broker, which saw about as many turns.
    cost = max(0.0, some.cpu_seconds - none.cpu_seconds) / max(1, some.events)
    print(f"an event: {1e3 * cost:.2f} ms of CPU, from the database to the broker")
    holds = ratio <= CLAIM_RATIO and cost <= CLAIM_CPU_SECONDS and not some.dropped
    print(f"claim: at most {CLAIM_RATIO} times, 1 ms an event: {'holds' if holds else 'FAILS'}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(*(int(argument) for argument in sys.argv[1:])))
