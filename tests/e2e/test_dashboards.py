"""Every query of every dashboard, asked of a Prometheus that scrapes nodes of every kind.

Beside the node of the demo: a cloud on OVN and its databases, a node with routers in namespaces
(and, added here, a bond and a meter), and a node of Linux bridges. Flows of the cloud's nodes are
scraped by a job of their own, as docs/flows.md has it.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, cycle
from pathlib import Path
from typing import TypeVar

import pytest

from dashboards.rules_source import DEFAULT, Settings, rules
from lab import frames, namespace
from lab.agent import Agent
from lab.compute import ComputeNode
from lab.linux_bridge import LinuxBridgeNode
from lab.ovn import OvnCloud
from lab.ovn_central import OvnCentral
from lab.ovn_traffic import KINDS
from lab.process import LabError, enter, wait_until
from lab.prometheus import Job, Prometheus, Series
from lab.routers import BRIDGE, GUEST_TAP, RouterNode
from lab.steady import steadily
from lab.traffic import Steady
from tests.dashboards.questions import (
    Board,
    Question,
    Values,
    boards,
    chosen_of,
    filled,
    questions,
    values,
)

pytestmark = [
    *(pytest.mark.e2e, pytest.mark.node, pytest.mark.timeout(240)),
    pytest.mark.usefixtures("open_vswitch", "ovn_installed", "prometheus_installed"),
]

T = TypeVar("T")

JOB, FLOWS_JOB = "dataplane-agent", "dataplane-agent-flows"
FLOWS = ["drop", "flow", "ovn_flow"]
INTERVAL, FLOWS_INTERVAL, STEP_SECONDS, SHOWN_SECONDS = "2s", "4s", 5, 30
TIMES = {"__rate_interval": "20s", "__range": f"{SHOWN_SECONDS}s"}
ALL = dict.fromkeys(("cluster", "bridge", "table", "netns"), ".*")
SCRAPES = 5
"""From here on rates are known, of counters that an agent starts with its second reading too."""
PACKETS_PER_SECOND = 50.0
ANSWER_SECONDS = 60.0
NEXT_HOP = "203.0.113.1"
"""Where the router's way out leads; nobody is there, so that BFD finds it down."""
BOND, UNPLUGGED = ("eth4", "eth5"), "eth6"
ROUTER_OF_THE_GUEST = "qr-85285e17-5d"

KERNEL = "Open vSwitch's datapath in the kernel: tests/kernel has one, in a virtual machine"
DPDK = "threads of DPDK: there are none without huge pages and its network cards"
ALONE = {"DATAPLANE_AGENT_NAMESPACES__INCLUDE": "[]"}
"""For a place that shares /run/netns with everything else on this machine."""
NOT_HERE = {
    ("fleet", "Mask cache hits of the kernel's datapath, worst nodes", "A"): KERNEL,
    ("fleet", "Busiest threads of DPDK", "A"): DPDK,
    ("node", "Mask cache hits", "A"): KERNEL,
    ("node", "Masks tried for each packet", "A"): KERNEL,
    ("node", "Masks tried for each packet", "B"): KERNEL,
    ("node", "Busy threads of DPDK", "A"): DPDK,
    ("node", "Flows in hardware", "A"): "hardware that takes flows",
    ("node", "Sent up to ovs-vswitchd, by interface", "A"): f"{KERNEL}, but of Linux 6.3",
    ("node", "Sent up to ovs-vswitchd, by interface", "B"): f"{KERNEL}, but of Linux 6.3",
}
"""Queries without an answer, and what would have to be there."""


@dataclass
class Site:
    """Nodes, by the names that Prometheus has for them."""

    stack: ExitStack
    targets: list[str] = field(default_factory=list)
    flows_apart: list[str] = field(default_factory=list)
    """Those of them whose flows have a job of their own."""

    def add(self, agent: Agent, *, flows_apart: bool = False) -> None:
        """Have an agent scraped that is in another network."""
        self.stack.enter_context(agent)
        self.targets.append(self.stack.enter_context(_way_to(agent)))
        if flows_apart:
            self.flows_apart.append(self.targets[-1])

    def jobs(self) -> list[Job]:
        """Return two jobs, of which the first is of two kinds: whether it leaves out flows."""
        together = [each for each in self.targets if each not in self.flows_apart]
        left_out, taken = {"exclude[]": FLOWS}, {"collect[]": ["agent", *FLOWS]}
        return [
            Job(together, JOB, INTERVAL),
            Job(self.flows_apart, "no-flows", INTERVAL, params=left_out, labels={"job": JOB}),
            Job(self.flows_apart, FLOWS_JOB, FLOWS_INTERVAL, params=taken),
        ]

    def keep(self, doing: Callable[[], object], per_second: float = PACKETS_PER_SECOND) -> None:
        """Do something evenly as long as there is anything to scrape."""
        self.stack.enter_context(steadily(doing, per_second))


@contextmanager
def _way_to(agent: Agent) -> Iterator[str]:
    """Yield an address in the lab's own network that answers what the agent answers in its own."""

    class Way(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = ("Accept", "X-Prometheus-Scrape-Timeout-Seconds")
            headers = {name: self.headers[name] for name in wanted if name in self.headers}
            answer = agent.get(self.path, headers)
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["content-type"])
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Way) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _add_cloud(site: Site) -> None:
    """A cloud on OVN with a router, and agents on its nodes and beside its databases."""
    cloud = site.stack.enter_context(OvnCloud())
    cloud.add_router()
    _watch_the_way_out(cloud)
    for chassis in cloud.chassis:
        env = {"DATAPLANE_AGENT_OVN__RUNDIR": str(chassis.ovn_rundir)}
        site.add(Agent(chassis.switch.rundir, env=env, host=chassis), flows_apart=True)
    kinds = cycle(KINDS.values())
    site.keep(lambda: next(kinds)(cloud))
    central = cloud.central
    beside = {
        **ALONE,
        "DATAPLANE_AGENT_OVS__ENABLED": "false",
        "DATAPLANE_AGENT_OVN__ENABLED": "false",
        "DATAPLANE_AGENT_OVN__DATABASES__NORTHBOUND": central.northbound_unix,
        "DATAPLANE_AGENT_OVN__DATABASES__SOUTHBOUND": central.southbound_unix,
    }
    site.add(Agent(central.rundir, env=beside, host=Central(central)))


@dataclass(frozen=True, slots=True)
class Central:
    """The namespace of the databases."""

    of: OvnCentral

    @property
    def enter(self) -> list[str]:
        return enter(self.of.name)

    def inside(self, work: Callable[[], T]) -> T:
        return namespace.inside(self.of.name, work)


def _watch_the_way_out(cloud: OvnCloud) -> None:
    """Have BFD watch the router's next hop, as an administrator does."""
    nbctl = cloud.central.nbctl
    networks = ("--bare", "--columns=name", "find", "Logical_Router_Port")
    port = nbctl(*networks, "networks=203.0.113.11/24").strip()
    route = nbctl("--bare", "--columns=_uuid", "list", "Logical_Router_Static_Route").strip()
    nbctl(
        *("--id=@way", "create", "BFD", f"logical_port={port}", f'dst_ip="{NEXT_HOP}"'),
        *("--", "set", "Logical_Router_Static_Route", route, "bfd=@way"),
    )
    cloud.central.sync()


def _add_routers(site: Site) -> None:
    """Routers, and what no recorded node has: a bond, a meter, an unplugged link that changes."""
    routers = site.stack.enter_context(RouterNode())
    switch = routers.switch
    dummies = [w for name in BOND for w in ("--", "set", "Interface", name, "type=dummy")]
    switch.vsctl("add-bond", BRIDGE, "bond0", *BOND, *dummies)
    switch.run("ip", "link", "add", UNPLUGGED, "type", "veth", "peer", "name", f"{UNPLUGGED}-far")
    switch.run("ip", "link", "set", UNPLUGGED, "up")
    switch.vsctl("add-port", BRIDGE, UNPLUGGED)
    switch.ofctl("-OOpenFlow13", "add-meter", BRIDGE, "meter=1,pktps,band=type=drop,rate=10")
    metered = f"priority=1,in_port={GUEST_TAP},actions=meter:1,NORMAL"
    switch.ofctl("-OOpenFlow13", "add-flow", BRIDGE, metered)
    guest, router = routers.guest, _router_of_the_guest(routers)
    frame = frames.echo(guest.host, router)
    site.keep(lambda: guest.send(frame))
    # addresses that the switch has not seen: what it does not know goes up to ovs-vswitchd
    unknown = (f"fa:16:3e:ff:{n >> 8 & 255:02x}:{n & 255:02x}" for n in count())
    strangers = (frames.echo(guest.host._replace(mac=mac), router) for mac in unknown)
    site.keep(lambda: guest.send(next(strangers)), 5)
    site.add(Agent(switch.rundir, host=routers))
    mtu = cycle(("1400", "1500"))
    site.keep(lambda: switch.run("ip", "link", "set", UNPLUGGED, "mtu", next(mtu)), 1)


def _router_of_the_guest(routers: RouterNode) -> frames.Host:
    found = (each for devices in routers.devices.values() for each in devices.values())
    return next(device.party for device in found if device.name == ROUTER_OF_THE_GUEST)


def _add_bridges(site: Site, bridges: LinuxBridgeNode) -> None:
    """Linux bridges, and on a tap a queueing discipline as policing makes one."""
    tap, guest = next(iter(bridges.guests.items()))
    bridges.run("tc", "qdisc", "add", "dev", tap, "ingress")
    site.stack.callback(bridges.run, "tc", "qdisc", "delete", "dev", tap, "ingress")
    frame = frames.echo(bridges.remote.host, guest.host)
    site.keep(lambda: bridges.remote.send(frame))
    libvirt = f"--libvirt.uri={bridges.hypervisor.uri}"
    env = {"DATAPLANE_AGENT_OVS__ENABLED": "false"}
    site.add(Agent(bridges.directory, libvirt, env=env, host=bridges))


def _add_demo(site: Site, node: ComputeNode) -> None:
    """The node of the demo with its traffic."""
    site.stack.enter_context(Steady(node, PACKETS_PER_SECOND))
    site.add(Agent(node.rundir, f"--libvirt.uri={node.hypervisor.uri}", env=ALONE, host=node))


def _soon(directory: Path) -> list[Path]:
    """Write the rules of two jobs, all to be evaluated at Prometheus's own interval."""
    written = rules(Settings(job='job=~"dataplane-agent(-flows)?"'))
    for name in DEFAULT:
        text = written[name]
        (directory / name).write_text(re.sub(r"^ +interval: .*\n", "", text, flags=re.MULTILINE))
    return [directory / name for name in DEFAULT]


@pytest.fixture(scope="module")
def site(
    compute_node_with_domains: ComputeNode,
    linux_bridge_with_domains: LinuxBridgeNode,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Prometheus, list[str]]]:
    """A Prometheus with all rules that scrapes them all, and their names there."""
    with ExitStack() as stack:
        site = Site(stack)
        _add_demo(site, compute_node_with_domains)
        _add_bridges(site, linux_bridge_with_domains)
        _add_routers(site)
        _add_cloud(site)
        prometheus = Prometheus(
            *site.jobs(),
            rules=_soon(tmp_path_factory.mktemp("rules")),
            evaluation_interval=INTERVAL,
        )
        stack.enter_context(prometheus)
        targets = len(site.targets) + len(site.flows_apart)
        scraped = f"count(count_over_time(up[1m]) > {SCRAPES}) == {targets}"
        wait_until(lambda: prometheus.query(scraped), ANSWER_SECONDS, "enough scrapes")
        yield prometheus, site.targets


@dataclass(frozen=True, slots=True)
class Reader:
    """Asks as Grafana does when somebody looks at every node in turn, or at all together.

    Attributes:
        choices: What there is to choose on each board, one after the other.
    """

    prometheus: Prometheus
    targets: list[str]
    boards: dict[str, Board]

    def answers(self, question: Question) -> bool:
        """Return whether any choice gives an answer."""
        return any(self._asked(question, chosen) for chosen in self._choices(question.board))

    def rows(self, question: Question) -> list[Series]:
        """Return the answers of all choices."""
        choices = self._choices(question.board)
        return [row for chosen in choices for row in self._asked(question, chosen)]

    def values(self, wanted: Values) -> set[str]:
        """Return what there is to choose from, whatever is chosen before it."""
        found = (
            self._values(filled(wanted.selector, chosen), wanted.label)
            for chosen in self._choices(wanted.board)
        )
        return set().union(*found)

    def _choices(self, board: str) -> Iterator[dict[str, str]]:
        names = {each["name"]: each for each in self.boards[board]["templating"]["list"]}
        chosen = {**TIMES, **ALL, "job": f"{JOB}|{FLOWS_JOB}"}
        for name in ("instance_name", "domain"):
            found = self._values("dataplane_instance_interface_info", name)
            chosen[name] = chosen_of(found)
        if "node" not in names or names["node"]["includeAll"]:
            yield {**chosen, "node": ".*"}
        elif names["node"]["multi"]:
            yield {**chosen, "node": chosen_of(self.targets)}
        else:
            yield from ({**chosen, "node": target} for target in self.targets)

    def _values(self, selector: str, label: str) -> set[str]:
        answer = self.prometheus.get(f"/api/v1/label/{label}/values", **{"match[]": selector})
        return set(answer)

    def _asked(self, question: Question, chosen: dict[str, str]) -> list[Series]:
        expr = filled(question.expr, chosen)
        if question.instant:
            return self.prometheus.query(expr)
        now = time.time()
        return self.prometheus.query_range(expr, now - SHOWN_SECONDS, now, STEP_SECONDS)


@pytest.fixture(scope="module")
def reader(site: tuple[Prometheus, list[str]]) -> Reader:
    return Reader(*site, boards())


def test_every_query_of_every_panel_has_an_answer(reader: Reader) -> None:
    """All but those that ask for what no node here can have."""
    waiting = list(questions())

    def are_answered() -> bool:
        waiting[:] = [each for each in waiting if not reader.answers(each)]
        return {_key(each) for each in waiting} <= NOT_HERE.keys()

    with suppress(LabError):
        wait_until(are_answered, timeout=ANSWER_SECONDS)
    assert {_key(each) for each in waiting} == NOT_HERE.keys()


def _key(question: Question) -> tuple[str, str, str]:
    return question.board, question.panel, question.ref


def test_every_variable_has_something_to_choose(reader: Reader) -> None:
    for each in values():
        if each.variable != "cluster":  # a label of a site, not of an agent
            assert reader.values(each), each


def test_no_rule_fails(site: tuple[Prometheus, list[str]]) -> None:
    prometheus, _ = site
    groups = prometheus.get("/api/v1/rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert [(x["name"], x["lastError"]) for x in rules if x["health"] == "err"] == []
    assert "ok" in {each["health"] for each in rules}


def test_single_numbers_are_those_of_a_site_that_is_well(reader: Reader) -> None:
    expected = {
        ("fleet", "Nodes"): len(reader.targets),
        ("fleet", "Nodes that do not answer"): 0,
        ("fleet", "Nodes that miss a source"): 0,
        ("fleet", "Tunnels that are down"): 0,
        ("agent", "Agents"): len(reader.targets),
        ("agent", "Sources that are missing"): 0,
        ("tunnels", "Held for dead by BFD"): 0,
        ("tunnels", "Missing, as OVN expects"): 0,
    }
    found: dict[tuple[str, str], float] = {}

    def is_well() -> bool:
        found.update(
            ((x.board, x.panel), row.value)
            for x in questions()
            if (x.board, x.panel) in expected
            for row in reader.rows(x)
        )
        return found == expected

    with suppress(LabError):
        wait_until(is_well, timeout=ANSWER_SECONDS)
    assert found == expected
