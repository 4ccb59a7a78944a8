"""Scrape an agent while its libvirtd changes and fails all the time, and see that it stays whole.

Run as ``PYTHONPATH=. python tests/soak/instances.py SECONDS [DOMAINS] [SEED]``, as root. Domains
start, stop, get other names, owners and devices; libvirtd dies, comes back, hangs, hangs up in the
middle of an answer and talks nonsense. Every page must be whole; whenever libvirtd is well again
the page must show its domains, and at the end memory, threads and descriptors must be what they
were. Ends with status 1 if not.
"""

import argparse
import random
import secrets
import sys
import time
from dataclasses import replace
from pathlib import Path

from lab.agent import Agent
from lab.host import Host
from lab.libvirt_domains import PAUSED, RUNNING, SHUTOFF, Domain, Interface, many
from lab.libvirt_faults import GARBAGE, closes, half_then_closes, says_nothing
from lab.libvirt_rpc import Procedure
from lab.libvirt_server import LibvirtServer
from lab.process import LabError, wait_until
from tests.page import series
from tests.soak.endurance import MOST_GROWTH, WARM_UP, memory, say

ENVIRONMENT = {
    "DATAPLANE_AGENT_SCRAPE__SHARE_SECONDS": "0",
    "DATAPLANE_AGENT_TIMEOUTS__LIBVIRT_SECONDS": "0.5",
}
COLLECT = "/metrics?collect[]=domain&collect[]=instance&collect[]=agent"
STATE, RECEIVED = "libvirt_domain_state", "libvirt_domain_interface_stats_receive_bytes_total"
FAIL_EVERY = 40
CHANGED = 3
"""VIR_DOMAIN_EVENT_SUSPENDED: any of the life cycle is a reason to read the domain again."""
FAULTS = (closes, half_then_closes, says_nothing, *GARBAGE.values())
FAILING = (
    Procedure.AUTH_LIST,
    Procedure.CONNECT_LIST_ALL_DOMAINS,
    Procedure.CONNECT_GET_ALL_DOMAIN_STATS,
    Procedure.DOMAIN_GET_XML_DESC,
    Procedure.DOMAIN_GET_STATE,
)


class Endurance:
    """One libvirtd, one agent, and what was seen of them."""

    def __init__(self, server: LibvirtServer, agent: Agent, seed: int) -> None:
        self.pages = self.changes = self.faults = 0
        self._server, self._agent = server, agent
        self._random = random.Random(seed)  # noqa: S311 - so that a run can be repeated

    def change(self) -> None:
        """Let something happen to a domain."""
        self.changes += 1
        domains = list(self._server.domains)
        place = self._random.randrange(len(domains))
        before = domains[place]
        now = self._random.choice((self._state, self._plug, self._owner, self._rename))(before)
        domains[place] = now
        self._server.domains = tuple(domains)
        self._server.lifecycle(now, CHANGED)

    def _state(self, domain: Domain) -> Domain:
        return replace(domain, state=self._random.choice((RUNNING, PAUSED, SHUTOFF)))

    def _plug(self, domain: Domain) -> Domain:
        plugs = tuple(
            Interface(f"tap{self._random.getrandbits(32):08x}")
            for _ in range(self._random.randrange(4))
        )
        return replace(domain, interfaces=plugs)

    def _owner(self, domain: Domain) -> Domain:
        return replace(domain, xml=None if domain.xml else "<domain><devices>")

    def _rename(self, domain: Domain) -> Domain:
        return replace(domain, name=f"instance-{self._random.getrandbits(32):08x}")

    def fail(self) -> None:
        """Let libvirtd fail for a while, in one of its ways."""
        self.faults += 1
        kind = self._random.randrange(4)
        if kind == 0:
            self._server.stop()
            self.look()
            self._server.start()
        elif kind == 1:
            self._server.freeze()
            self.look()
            self.look()
            self._server.thaw()
        elif kind == 2:
            self._server.drop()
        else:
            procedure = self._random.choice(FAILING)
            self._server.answers[procedure] = self._random.choice(FAULTS)
            self._server.drop()
            for _ in range(3):
                self.look()
            self._server.answers.clear()
            self._server.drop()
        wait_until(self.agrees, timeout=30, what="the page to have libvirtd's domains")

    def look(self) -> dict[tuple[str, str], float]:
        """Scrape once; return states and counted devices."""
        page = series(self._agent.get(COLLECT).body)  # fails at a series that is there twice
        self.pages += 1
        return {
            (dict(labels)["domain"], dict(labels).get("target_device", "")): value
            for (name, labels), value in page.items()
            if name
            in ("libvirt_domain_state", "libvirt_domain_interface_stats_receive_bytes_total")
        }

    def agrees(self) -> bool:
        """Say whether the page shows libvirtd's domains and counts their devices."""
        shown = self.look()
        wanted = {(domain.name, ""): domain.state for domain in self._server.domains}
        counted = {
            (domain.name, plug.device)
            for domain in self._server.domains
            for plug in domain.interfaces
            if domain.active
        }
        return shown.keys() == wanted.keys() | counted and wanted.items() <= shown.items()


def threads(agent: Agent) -> int:
    """Return how many threads the agent has."""
    return len(list(Path("/proc", str(agent.daemon.pid), "task").iterdir()))


def run(seconds: float, domains: int, seed: int) -> str:
    """Return what went wrong; empty for nothing."""
    with (
        Host() as host,
        LibvirtServer(host.directory / "libvirt", many(domains, 2)) as server,
        Agent(host.directory, f"--libvirt.uri={server.uri}", env=ENVIRONMENT, host=host) as agent,
    ):
        endurance = Endurance(server, agent, seed)
        began, warm = time.monotonic(), (0, 0)
        calm = 0
        while (elapsed := time.monotonic() - began) < seconds:
            endurance.change()
            endurance.look()
            if endurance.changes % FAIL_EVERY == 0:
                endurance.fail()
            if elapsed > WARM_UP * seconds and not warm[0]:
                wait_until(endurance.agrees, what="the page to have libvirtd's domains")
                warm, calm = memory(agent), threads(agent)
        wait_until(endurance.agrees, timeout=30, what="the page to have libvirtd's domains")
        now = memory(agent)
        say(
            f"{endurance.changes} changes, {endurance.faults} faults, {endurance.pages} pages;"
            f" resident {warm[0]} then {now[0]} KiB, descriptors {warm[1]} then {now[1]},"
            f" threads {calm} then {threads(agent)}"
        )
        if "Traceback" in agent.log:
            return "the agent's log has a traceback"
        if now[0] > MOST_GROWTH * warm[0] or now[1] > warm[1] + 2 or threads(agent) > calm:
            return "it has grown"
        return ""


def main() -> int:
    """Run and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float)
    parser.add_argument("domains", type=int, nargs="?", default=100)
    parser.add_argument("seed", type=int, nargs="?", default=secrets.randbits(32))
    arguments = parser.parse_args()
    say(f"seed {arguments.seed}")
    try:
        wrong = run(arguments.seconds, arguments.domains, arguments.seed)
    except LabError as error:
        wrong = str(error)
    say(f"instances: {wrong or 'whole'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
