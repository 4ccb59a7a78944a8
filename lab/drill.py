"""A fault drill: things go wrong one by one, and it is taken how long the alert takes.

The rules are those of ``dashboards/rules``, in a real Prometheus whose world runs 30 times faster:
a window of five minutes has ten seconds, a ``for`` of ten minutes twenty. ``python -m lab.drill``
takes ten minutes of healthy traffic first and writes docs/alerts.md.
"""

import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import namespace, ovn_traffic
from lab.agent import Agent
from lab.compute import ComputeNode
from lab.faults import FAULTS
from lab.hastened import bounds, hasten
from lab.ovn import OvnCloud
from lab.ovn_chassis import Chassis
from lab.part import Part
from lab.process import LabError, wait_until
from lab.prometheus import Job, Prometheus
from lab.steady import steadily
from lab.traffic import Steady

RULES = Path("dashboards/rules")
PAGE, WIDTH = Path("docs/alerts.md"), 100
BY = 30
INTERVAL_SECONDS = 2
"""Between scrapes, and between evaluations."""
POINTS, FEW_POINTS = 36, 3
"""Of a baseline, one every ten seconds, after an hour, which is two minutes."""
HEALTHY_SECONDS = 600.0
PATIENCE_SECONDS = 120.0
BFD_SECONDS = 3.0
"""Open vSwitch's BFD hears a peer each second and takes it for dead after three without."""
ALWAYS = frozenset({"DataplanePortOpenError"})
"""Fires on the recorded node from the beginning, and rightly: two of its ports have no device."""
OVN_PACKETS_PER_SECOND = 20.0
TUNNEL_DEVICE = "eth0"
ELSEWHERE = {"DATAPLANE_AGENT_NAMESPACES__EXCLUDE": '["*"]'}
"""The machine's own namespaces are nobody's business here."""


HEAD = """\
Written by `python -m lab.drill`: a real Prometheus with the rules of `dashboards/rules`, every
duration of them divided by {by}, scrapes four agents every {interval} s: on the recorded compute
node, on two chassis of OVN, and beside OVN's databases. What an alert may take is its `for`, its
longest window, two scrapes and two evaluations, and {bfd:.0f} s where BFD has to find out first.
The times are those of the faster world: with the rules as they are, `for` and window take {by}
times as long. There all groups are evaluated as often as they are scraped; by themselves those of
drops are each minute or two.

In {healthy:.0f} s of healthy traffic no alert fired, but for {always}: the node was recorded with
two ports that have no device. Then, one after the other:
"""
COLUMNS = """\
| what goes wrong | alert | fired after | may take | others that fired |
|---|---|---|---|---|
"""
TAIL = """\
No fault is made here for {untried}: what these say of which data is tested with promtool alone
(`dashboards/rules/tests`).
"""


@dataclass(frozen=True, slots=True)
class Exercise:
    """A fault and the alert that has to come of it.

    Attributes:
        name: Of the fault.
        what: For a person.
        alert: The alert's name.
        on: Switches the fault on, and off at the end.
        unseen_seconds: How long the node itself does not know of it.
    """

    name: str
    what: str
    alert: str
    on: Callable[["Ground"], AbstractContextManager[None]]
    unseen_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an exercise went.

    Attributes:
        exercise: Which.
        seconds: From the fault to the firing alert; ``None`` if it did not come.
        bound: What it may take.
        others: Names of other alerts that fired meanwhile.
    """

    exercise: Exercise
    seconds: float | None
    bound: float
    others: tuple[str, ...]


class Ground(Part):
    """Where the drill takes place: the recorded node, a cloud of OVN, agents and a Prometheus.

    Args:
        points: How many points of a baseline are enough; one is taken every ten seconds.

    Attributes:
        node: The recorded compute node, under traffic.
        cloud: Two chassis of OVN with BFD between them, under traffic.
        agents: One on each node, and one beside OVN's databases.
        prometheus: Scrapes them every two seconds, and evaluates the rules as often.
    """

    node: ComputeNode
    cloud: OvnCloud
    prometheus: Prometheus

    def __init__(self, points: int = POINTS) -> None:
        super().__init__()
        self._points = points
        self.agents: list[Agent] = []

    def firing(self) -> set[str]:
        """Return the names of alerts that fire now and do not always."""
        return {
            str(alert["labels"]["alertname"])
            for alert in self.prometheus.alerts()
            if alert["state"] == "firing"
        } - ALWAYS

    def has_baseline(self) -> bool:
        """Whether it is known by now what the recorded node usually loses."""
        node = f'instance="127.0.0.1:{self.agents[0].port}"'
        usual = f"instance_layer:dataplane_dropped_packets:quantile1d{{{node}}}"
        return bool(self.prometheus.query(usual))

    def run(self, *exercises: Exercise) -> list[Outcome]:
        """Switch faults on until their alerts fire, then off until none of them does any more."""
        wanted = {each.alert for each in exercises}
        before = self.firing()
        seconds: dict[str, float] = {}
        others: set[str] = set()
        with ExitStack() as faults:
            began = time.monotonic()
            for exercise in exercises:
                faults.enter_context(exercise.on(self))
            while time.monotonic() - began < PATIENCE_SECONDS and seconds.keys() < wanted:
                firing = self.firing()
                others |= firing - before - wanted
                for alert in firing & wanted - seconds.keys():
                    seconds[alert] = time.monotonic() - began
                time.sleep(0.1)
        wait_until(
            lambda: not self.firing() & (wanted | others),
            timeout=2 * PATIENCE_SECONDS,
            what=f"{', '.join(sorted(wanted | others))} to end",
        )
        allowed = bounds(RULES / "alerts.yaml", BY, 4 * INTERVAL_SECONDS)
        return [
            Outcome(
                each,
                seconds.get(each.alert),
                allowed[each.alert] + each.unseen_seconds,
                tuple(sorted(others)),
            )
            for each in exercises
        ]

    def _build(self) -> None:
        self.node = self._stack.enter_context(ComputeNode())
        self.cloud = self._stack.enter_context(OvnCloud())
        self.cloud.add_router()
        self._add_agents()
        directory = namespace.make_directory()
        self._stack.callback(namespace.delete_directory, directory)
        rules = [
            hasten(RULES / name, BY, self._points, directory)
            for name in ("recording.yaml", "alerts.yaml")
        ]
        interval = f"{INTERVAL_SECONDS}s"
        job = Job([f"127.0.0.1:{agent.port}" for agent in self.agents], interval=interval)
        self.prometheus = self._stack.enter_context(
            Prometheus(job, rules=rules, evaluation_interval=interval)
        )
        self._stack.enter_context(Steady(self.node))
        self._stack.enter_context(_pinging(self.cloud))

    def _add_agents(self) -> None:
        add = self._stack.enter_context
        self.agents.append(add(Agent(self.node.rundir, env=ELSEWHERE)))
        for chassis in self.cloud.chassis:
            self.agents.append(add(_agent_of(chassis)))
        central = self.cloud.central
        settings = {
            **ELSEWHERE,
            "DATAPLANE_AGENT_OVS__ENABLED": "false",
            "DATAPLANE_AGENT_OVN__ENABLED": "false",
            "DATAPLANE_AGENT_OVN__DATABASES__NORTHBOUND": central.northbound_unix,
            "DATAPLANE_AGENT_OVN__DATABASES__SOUTHBOUND": central.southbound_unix,
        }
        self.agents.append(add(Agent(central.rundir, env=settings)))


def _agent_of(chassis: Chassis) -> Agent:
    """Return an agent that speaks to a chassis's sockets from the network of Prometheus."""
    settings = {"DATAPLANE_AGENT_OVN__RUNDIR": str(chassis.ovn_rundir), **ELSEWHERE}
    return Agent(chassis.switch.rundir, env=settings)


def _pinging(cloud: OvnCloud) -> AbstractContextManager[None]:
    """Have an instance ping another one through the tunnel."""
    sender, receiver = cloud.guests["instance01"], cloud.guests["instance03"]
    return steadily(lambda: ovn_traffic.ping(sender, receiver), OVN_PACKETS_PER_SECOND)


def _on_node(fault: str) -> Callable[[Ground], AbstractContextManager[None]]:
    return lambda ground: FAULTS[fault].on(ground.node)


@contextmanager
def _unplugged(ground: Ground) -> Iterator[None]:
    chassis = ground.cloud.chassis[1]
    chassis.unplug(TUNNEL_DEVICE)
    try:
        yield
    finally:
        chassis.plug(TUNNEL_DEVICE)


@contextmanager
def _controller_killed(ground: Ground) -> Iterator[None]:
    chassis = ground.cloud.chassis[1]
    chassis.kill_controller()
    try:
        yield
    finally:
        chassis.start_controller()


@contextmanager
def _southbound_killed(ground: Ground) -> Iterator[None]:
    ground.cloud.central.kill_southbound()
    try:
        yield
    finally:
        ground.cloud.central.start_southbound()


@contextmanager
def _lagging(ground: Ground) -> Iterator[None]:
    """ovn-controller stands still while the configuration goes on."""
    chassis = ground.cloud.chassis[1]
    chassis.pause_controller()
    ground.cloud.central.nbctl("--wait=sb", "sync")
    try:
        yield
    finally:
        chassis.resume_controller()


@contextmanager
def _agent_stopped(ground: Ground) -> Iterator[None]:
    agent = ground.agents[-1].daemon
    agent.send(signal.SIGSTOP)
    try:
        yield
    finally:
        agent.send(signal.SIGCONT)


def _node(fault: str, alert: str) -> Exercise:
    return Exercise(fault, FAULTS[fault].what, alert, _on_node(fault))


_ALL = (
    _node("refuse", "DataplaneDroppedPacketGrowth"),
    _node("spoof", "DataplaneDroppedPacketGrowth"),
    Exercise(
        "unplug",
        "the tunnels' device of a chassis unplugged",
        "DataplaneTunnelDown",
        _unplugged,
        BFD_SECONDS,
    ),
    _node("flow-limit", "DataplaneFlowLimitPressure"),
    _node("conntrack", "DataplaneConntrackNearlyFull"),
    _node("controller", "DataplaneControllerDisconnected"),
    _node("stop", "DataplaneSourceDown"),
    _node("restart", "DataplaneVswitchdRestartLoop"),
    Exercise("ovn-gone", "ovn-controller killed", "DataplaneOvnControllerGone", _controller_killed),
    Exercise(
        "ovn-cut-off",
        "the Southbound killed",
        "DataplaneOvnControllerDisconnected",
        _southbound_killed,
    ),
    Exercise("ovn-lag", "ovn-controller stands still", "DataplaneOvnConfigLag", _lagging),
    Exercise("agent", "the agent stands still", "DataplaneAgentMissing", _agent_stopped),
)
EXERCISES = {each.name: each for each in _ALL}


def page(healthy_seconds: float, outcomes: Sequence[Outcome]) -> str:
    """Write docs/alerts.md."""
    rows = [
        f"| {it.exercise.what} | {it.exercise.alert} | "
        f"{'did not fire' if it.seconds is None else f'{it.seconds:.1f} s'} | {it.bound:.0f} s | "
        f"{', '.join(it.others) or '-'} |"
        for it in outcomes
    ]
    facts = {
        "by": BY,
        "interval": INTERVAL_SECONDS,
        "bfd": BFD_SECONDS,
        "healthy": healthy_seconds,
        "always": ", ".join(sorted(ALWAYS)),
    }
    said = [textwrap.fill(each, WIDTH) for each in HEAD.format_map(facts).split("\n\n")]
    rest = textwrap.fill(TAIL.format(untried=", ".join(untried(outcomes))), WIDTH)
    return "\n\n".join(["# Alerts: a drill", *said, COLUMNS + "\n".join(rows), rest]) + "\n"


def untried(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the alerts that none of these has made fire."""
    tried = {it.exercise.alert for it in outcomes} | ALWAYS
    return sorted(bounds(RULES / "alerts.yaml", BY, 0).keys() - tried)


def main() -> int:
    """Be the command."""
    with ExitStack() as stack:
        ground = stack.enter_context(Ground())
        end = time.monotonic() + HEALTHY_SECONDS
        while time.monotonic() < end:
            if firing := ground.firing():
                print(f"fires without a fault: {', '.join(sorted(firing))}")
                return 1
            time.sleep(1)
        outcomes = []
        for exercise in EXERCISES.values():
            (outcome,) = ground.run(exercise)
            print(f"{exercise.name:12} {exercise.alert:36} {outcome.seconds} {outcome.others}")
            outcomes.append(outcome)
    PAGE.write_text(page(HEALTHY_SECONDS, outcomes), encoding="utf-8")
    return 0 if all(it.seconds is not None and it.seconds <= it.bound for it in outcomes) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        print(error)
        sys.exit(1)
