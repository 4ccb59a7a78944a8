"""What a scrape of many instances costs: the agent beside Debian's prometheus-libvirt-exporter.

500 running domains with two interfaces each, all of whose counters grow between two scrapes, of a
libvirtd that has no machines (lab.libvirt_server). Both show each domain's state and the eight
counters of each interface; the agent (``collect[]=domain&collect[]=instance``, not compressed)
also owner and Neutron port, the exporter memory, CPU time and disks. CPU is that of the whole
process, HTTP and all. The server's is printed beside it, and what it was asked: a libvirtd pays
for each call, and the exporter opens a connection for each scrape.

Claims: at most 100 ms of CPU a scrape, a tenth of the exporter's for an interface, and no more than
two calls.

    PYTHONPATH=. .venv/bin/python bench/instances.py [domains] [interfaces in each] [rounds]
"""

import re
import statistics
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.agent import Agent
from lab.host import Host
from lab.libvirt_server import CALLS_SUFFIX, calls_of
from lab.process import Daemon, free_port, wait_until

CLAIM_SECONDS = 0.100
CLAIM_RATIO = 0.1
CLAIM_CALLS = 2
PEER = "prometheus-libvirt-exporter"
WARM_UP = 3
PAUSE_SECONDS = 1.2
"""Longer than readings are shared."""
TIDY_SECONDS = 0.3
"""What is tidied up when the answer is out counts too."""
RECEIVED = re.compile(
    r"^libvirt_domain_interface_stats_receive_bytes_total\{.*\} (\S+)$", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one scrape: CPU of the process that is asked and of the server, and calls by procedure."""

    cpu_seconds: float
    server_cpu_seconds: float
    calls: Counter[str]


class Server:
    """The libvirtd without machines, as a process."""

    def __init__(self, directory: Path, domains: int, interfaces: int) -> None:
        self.socket = directory / "libvirt-sock"
        self.interfaces = domains * interfaces
        argv = (sys.executable, "-m", "lab.libvirt_server", str(self.socket))
        self.daemon = Daemon((*argv, str(domains), str(interfaces)), directory / "server.log")
        wait_until(self._listens, what="the server to listen")

    def _listens(self) -> bool:
        self.daemon.require_alive()
        return Path(f"{self.socket}{CALLS_SUFFIX}").exists()

    @property
    def uri(self) -> str:
        """How clients reach it."""
        return f"qemu:///system?socket={self.socket}"

    def shown(self, page: str) -> bool:
        """Whether all its interfaces are on a page."""
        return len(RECEIVED.findall(page)) == self.interfaces


def cpu_seconds(pid: int) -> float:
    """Time that all threads of a process ran, /proc/<pid>/task/<tid>/schedstat."""
    tasks = Path("/proc", str(pid), "task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def measure(name: str, server: Server, pid: int, fetch: Callable[[], str], rounds: int) -> Cost:
    """Scrape, print each, and return the medians.

    Ten seconds after it has connected the agent lists the domains again, whoever scrapes.
    """
    costs: list[Cost] = []
    last = 0.0
    for number in range(WARM_UP + rounds):
        time.sleep(PAUSE_SECONDS)
        calls = calls_of(server.socket)
        served, before = cpu_seconds(server.daemon.pid), cpu_seconds(pid)
        page = fetch()
        time.sleep(TIDY_SECONDS)
        cost = cpu_seconds(pid) - before
        served = cpu_seconds(server.daemon.pid) - served
        costs.append(Cost(cost, served, calls_of(server.socket) - calls))
        assert server.shown(page), f"{name} does not show all interfaces"
        received = sum(map(float, RECEIVED.findall(page)))
        assert received > last, f"{name} shows what it showed before"
        last = received
        if number >= WARM_UP:
            series = sum(1 for line in page.splitlines() if line and line[0] != "#")
            print(
                f"{name}: {1e3 * cost:.1f} ms CPU, {series} series, {len(page) >> 10} KiB; "
                f"server {1e3 * served:.1f} ms, {costs[-1].calls.total()} calls"
            )
    measured = costs[WARM_UP:]
    return Cost(
        statistics.median(cost.cpu_seconds for cost in measured),
        statistics.median(cost.server_cpu_seconds for cost in measured),
        sorted((cost.calls for cost in measured), key=Counter.total)[len(measured) // 2],
    )


def measure_agent(server: Server, host: Host, rounds: int) -> Cost:
    """Measure the agent."""
    with Agent(host.directory, f"--libvirt.uri={server.uri}", host=host) as agent:

        def fetch() -> str:
            return agent.get("/metrics?collect[]=domain&collect[]=instance").text

        wait_until(lambda: server.shown(fetch()), timeout=60, what="all interfaces to be shown")
        return measure("agent", server, agent.daemon.pid, fetch, rounds)


def measure_peer(server: Server, directory: Path, rounds: int) -> Cost:
    """Measure the exporter."""
    address = f"127.0.0.1:{free_port()}"
    argv = (PEER, f"--libvirt.uri={server.uri}", f"--web.listen-address={address}")
    peer = Daemon(argv, directory / "peer.log")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def fetch() -> str:
        with opener.open(f"http://{address}/metrics", timeout=60) as answer:
            text: str = answer.read().decode()
        return text

    def answers() -> bool:
        peer.require_alive()
        try:
            return server.shown(fetch())
        except OSError:
            return False

    try:
        wait_until(answers, timeout=60, what=f"{PEER} to answer")
        return measure(PEER, server, peer.pid, fetch, rounds)
    finally:
        peer.stop()


def main(domains: int = 500, interfaces: int = 2, rounds: int = 7) -> int:
    """Measure and print; the exit status says whether the claims hold."""
    with Host() as host:
        server = Server(host.directory, domains, interfaces)
        try:
            ours = measure_agent(server, host, rounds)
            theirs = measure_peer(server, host.directory, max(3, rounds // 2))
        finally:
            server.daemon.stop()
    print(f"{domains} domains with {interfaces} interfaces each, a scrape:")
    for name, cost in (("agent", ours), (PEER, theirs)):
        print(
            f"{name}: {1e3 * cost.cpu_seconds:.1f} ms CPU, "
            f"{1e6 * cost.cpu_seconds / server.interfaces:.1f} us an interface; "
            f"server {1e3 * cost.server_cpu_seconds:.1f} ms, {cost.calls.total()} calls: "
            + ", ".join(f"{count} {procedure}" for procedure, count in cost.calls.most_common())
        )
    ratio = ours.cpu_seconds / theirs.cpu_seconds
    calls = ours.calls.total()
    print(f"ratio an interface {ratio:.3f}, of calls {calls / theirs.calls.total():.5f}")
    holds = ours.cpu_seconds <= CLAIM_SECONDS and ratio <= CLAIM_RATIO and calls <= CLAIM_CALLS
    claims = f"100 ms, {CLAIM_RATIO} of the peer, {CLAIM_CALLS} calls"
    print(f"claims: {claims}: {'hold' if holds else 'FAIL'}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(*(int(argument) for argument in sys.argv[1:])))
