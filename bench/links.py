"""What a scrape of many links costs: the agent beside Debian's prometheus-node-exporter.

2,000 links in 200 namespaces, all of whose packets and bytes move between two scrapes. The agent
reads and writes the counters of all of them (``collect[]=link``, not compressed); node_exporter,
with netdev and netclass, those of as many links in one namespace, because it does not look into
others. CPU is that of the whole process, HTTP and all.

Claims: at most 20 ms of CPU a scrape for reading and rendering, and a tenth of node_exporter's a
link.

    PYTHONPATH=. .venv/bin/python bench/links.py [namespaces] [links in each] [rounds]
"""

import statistics
import sys
import time
import urllib.request
from pathlib import Path

from lab.agent import Agent
from lab.host import Host
from lab.many_links import ManyLinks
from lab.process import Daemon, wait_until

CLAIM_SECONDS = 0.020
CLAIM_RATIO = 0.1
PEER = "prometheus-node-exporter"
PEER_PORT = 19100
WARM_UP = 3
PAUSE_SECONDS = 1.2
"""Longer than readings are shared."""


def cpu_seconds(pid: int) -> float:
    """Time that all threads of a process ran, /proc/<pid>/task/<tid>/schedstat."""
    tasks = Path("/proc", str(pid), "task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def measure_agent(namespaces: int, links: int, rounds: int) -> tuple[float, int]:
    """Return CPU seconds a scrape (median) and series on the page."""
    with ManyLinks(namespaces, links) as host, Agent(host.directory, host=host) as agent:
        expected = namespaces * links

        def complete() -> bool:
            page = agent.get("/metrics?collect[]=link").text
            return page.count("\nnetns_network_rx_packets_total{") == expected

        wait_until(complete, timeout=120, what="all links to be shown")
        costs, series = [], 0
        for number in range(WARM_UP + rounds):
            host.send()
            time.sleep(PAUSE_SECONDS)
            before = cpu_seconds(agent.daemon.pid)
            page = agent.get("/metrics?collect[]=link").text
            costs.append(cpu_seconds(agent.daemon.pid) - before)
            series = sum(1 for line in page.splitlines() if line and line[0] != "#")
            if number >= WARM_UP:
                print(
                    f"agent: {1e3 * costs[-1]:.1f} ms CPU, {series} series, {len(page) >> 10} KiB"
                )
        return statistics.median(costs[WARM_UP:]), series


def measure_peer(links: int, rounds: int) -> tuple[float, int]:
    """Return CPU seconds a scrape (median) and series on the page."""
    with Host() as host:
        lines = [
            f"link add p{number}a type veth peer name p{number}b" for number in range(links // 2)
        ]
        host.run("ip", "-batch", "-", stdin="\n".join(lines))
        collectors = ("--collector.disable-defaults", "--collector.netdev", "--collector.netclass")
        address = f"127.0.0.1:{PEER_PORT}"
        peer = Daemon(
            # sysfs shows the links of the namespace in which it was mounted
            [*host.enter, "sh", "-c",
             f"mount -t sysfs sysfs /sys && exec {PEER} --web.listen-address={address} "
             + " ".join(collectors)],
            host.directory / "peer.log",
        )  # fmt: skip
        try:
            url = f"http://{address}/metrics"

            def fetch() -> str:
                opened = urllib.request.build_opener(urllib.request.ProxyHandler({}))
                with opened.open(url, timeout=60) as answer:
                    text: str = answer.read().decode()
                return text

            def answers() -> bool:
                peer.require_alive()
                try:
                    return bool(host.inside(fetch))
                except OSError:
                    return False

            wait_until(answers, timeout=60, what=f"{PEER} to answer")
            costs, series = [], 0
            for number in range(1 + rounds):
                before = cpu_seconds(peer.pid)
                page = host.inside(fetch)
                costs.append(cpu_seconds(peer.pid) - before)
                series = page.count("\nnode_network_")
                if number:
                    print(f"{PEER}: {1e3 * costs[-1]:.0f} ms CPU, {series} series")
            return statistics.median(costs[1:]), series
        finally:
            peer.stop()


def main(namespaces: int = 200, links: int = 10, rounds: int = 7) -> int:
    """Measure and print; the exit status says whether the claims hold."""
    ours, _ = measure_agent(namespaces, links, rounds)
    total = namespaces * links
    theirs, _ = measure_peer(total, max(3, rounds // 2))
    ratio = ours / theirs
    print(f"{total} links in {namespaces} namespaces: agent {1e3 * ours:.1f} ms CPU a scrape")
    print(f"{total} links in one: {PEER} {1e3 * theirs:.0f} ms; ratio a link {ratio:.3f}")
    holds = ours <= CLAIM_SECONDS and ratio <= CLAIM_RATIO
    print(f"claims: 20 ms, {CLAIM_RATIO} of the peer: {'hold' if holds else 'FAIL'}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(*(int(argument) for argument in sys.argv[1:])))
