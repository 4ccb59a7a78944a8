"""How long the store takes to know what the kernel has announced, without a dump.

Links, tunnels and namespaces come and go on a host with many others, one after the other and then
under a storm of changes while the agent scrapes itself. The kernel's own announcement is timed by
a listener of this script (rtnetlink, and inotify for names of namespaces); the agent, in a process
of its own, says when its store knew. Both read one clock.

Claim: 99 of 100 within 100 ms; and no dump was asked for: no event was lost.

    PYTHONPATH=. .venv/bin/python bench/events.py [changes] [namespaces] [links in each]
"""

import os
import select
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.sources.netlink_socket import NetlinkSocket
from agent.sources.watched_directory import WatchedDirectory
from agent.wire.netlink.allowed import ROUTE
from agent.wire.netlink.links import DELLINK, NEWLINK, parse_link
from lab.many_links import ManyLinks
from lab.observed import Observed
from lab.process import NAMESPACES, wait_until

CLAIM_SECONDS = 0.1
SCRAPE_SECONDS = 0.5
PAUSE_SECONDS = 0.02
STORM = 2000
RTNLGRP_LINK = 1
Change = tuple[str, str, str]
"""+ or -, namespace, device."""


class Listener:
    """Times what the kernel announces on a host."""

    def __init__(self, host: ManyLinks) -> None:
        self.times: dict[Change, float] = {}
        self._socket = host.inside(lambda: NetlinkSocket(ROUTE, 1.0))
        self._socket.subscribe(RTNLGRP_LINK)
        root = Path("/proc", str(host.holder.pid), "root")
        self._names = WatchedDirectory(root / NAMESPACES.relative_to("/"))
        self._names.watch()
        self._names_now: set[str] = set(self._listing(root))
        self._root = root
        self._links: set[str] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._end.set()
        self._thread.join()
        self._socket.close()
        self._names.close()

    def _listing(self, root: Path) -> list[str]:
        return os.listdir(root / NAMESPACES.relative_to("/"))  # noqa: PTH208 - names alone

    def _run(self) -> None:
        while not self._end.is_set():
            ready, _, _ = select.select([self._socket, self._names], [], [], 0.1)
            now = time.monotonic()
            if self._socket in ready:
                self._read_links(now)
            if self._names in ready:
                self._names.read()
                names = set(self._listing(self._root))
                for name in names ^ self._names_now:
                    self.times[("+" if name in names else "-", name, "")] = now
                self._names_now = names

    def _read_links(self, now: float) -> None:
        for message in self._socket.receive_events(1):
            link = parse_link(message.payload).link
            if link is None:
                continue
            if message.type == NEWLINK and link.name not in self._links:
                self._links.add(link.name)
                self.times[("+", "", link.name)] = now
            elif message.type == DELLINK:
                self._links.discard(link.name)
                self.times[("-", "", link.name)] = now


def changes(host: ManyLinks, count: int) -> None:
    """Let a link, a tunnel and a namespace come and go in turn."""
    vxlan = "type vxlan id {} local 172.16.0.31 dstport 8472 nolearning"
    for number in range(count // 6):
        for line in (
            f"link add va{number} type veth peer name vb{number}",
            f"link add vx{number} {vxlan.format(number)}",
            f"netns add bench-{number}",
            f"link delete vx{number}",
            f"link delete va{number}",
            f"netns delete bench-{number}",
        ):
            host.run("ip", "-batch", "-", stdin=line)
            time.sleep(PAUSE_SECONDS)


@contextmanager
def storm(host: ManyLinks) -> Iterator[None]:
    """Change links in namespaces as fast as ip(8) can, until the block ends."""
    name = host.names[0]
    lines = "".join(
        f"link add st{n} type veth peer name su{n}\nlink set st{n} up\nlink delete st{n}\n"
        for n in range(STORM)
    )
    file = host.directory / "storm"
    file.write_text(lines)
    loop = f"while true; do ip -batch {file} || exit; done"
    enter = [*host.enter, "nsenter", f"--net={NAMESPACES / name}"]
    process = subprocess.Popen([*enter, "setpriv", "--pdeathsig", "KILL", "sh", "-c", loop])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(agent: Observed, listener: Listener, host: ManyLinks, count: int) -> list[float]:
    """Return the sorted latencies of all changes, in seconds."""
    agent.seen()
    listener.times.clear()
    changes(host, count)
    time.sleep(1)
    known: dict[Change, float] = {}
    for when, sign, netns, device in agent.seen():
        known.setdefault((sign, netns, device), when)
    missing = [change for change in listener.times if change not in known]
    if missing:
        print(f"never seen by the agent: {missing[:5]}")
        return [float("inf")]
    return sorted(max(0.0, known[change] - when) for change, when in listener.times.items())


def say(what: str, latencies: list[float], events: dict[str, int]) -> float:
    """Print a line and return the 99th percentile; infinite if events were lost."""
    worst = latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))]
    print(
        f"{what}: {len(latencies)} changes, median {1e3 * statistics.median(latencies):.2f} ms,"
        f" p99 {1e3 * worst:.1f} ms, worst {1e3 * latencies[-1]:.1f} ms; events {events}"
    )
    return float("inf") if "overflow" in events else worst


def rtnetlink(agent: Observed) -> dict[str, int]:
    """Return the events of links since the start."""
    events: dict[str, int] = agent.report()["events"]["rtnetlink"]
    return events


def main(count: int = 600, namespaces: int = 200, links: int = 10) -> int:
    """Measure and print; the exit status says whether the claim holds."""
    total = namespaces * links
    with ManyLinks(namespaces, links) as host, Observed(host, SCRAPE_SECONDS) as agent:

        def complete() -> bool:
            return agent.page().count("\nnetns_network_up{") == total

        wait_until(complete, timeout=120, what="all links to be shown")
        listener = Listener(host)
        try:
            quiet = say("quiet", measure(agent, listener, host, count), rtnetlink(agent))
            with storm(host):
                busy = say("storm", measure(agent, listener, host, count), rtnetlink(agent))
        finally:
            listener.close()
    holds = quiet <= CLAIM_SECONDS and busy <= CLAIM_SECONDS
    print(f"claim: p99 within {1e3 * CLAIM_SECONDS:.0f} ms: {'holds' if holds else 'FAILS'}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(*(int(argument) for argument in sys.argv[1:])))
