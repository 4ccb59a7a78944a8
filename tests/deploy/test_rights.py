"""The real agent without one right after the other: what is lost is what docs/security.md says.

It runs as nobody, beside real Open vSwitch, OVN, libvirt and namespaces of the lab. What takes a
kernel module (connections by zone, the kernel's datapath) is measured in ``test_under_systemd``.
"""

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lab.agent import PROGRAM, Agent
from lab.hypervisor import Hypervisor
from lab.ovn import OvnCloud
from lab.ovn_chassis import Chassis
from lab.process import LabError, wait_until
from tests.conftest import LIBVIRT, OPEN_VSWITCH, OVN, require_parts
from tests.deploy.rights_table import NONE, Row, rows
from tests.e2e.page import parse

pytestmark = [pytest.mark.node, pytest.mark.timeout(240)]

T = TypeVar("T")
Lost = set[tuple[str, str]]
"""Families, and the namespace of their series; empty for the host's own and for no namespace."""

ALL = ("CAP_DAC_OVERRIDE", "CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE")
READ_SEARCH = "CAP_DAC_READ_SEARCH"
LINK = "linked"
"""A name that is a link to /proc/PID/ns/net."""
PATIENT = {
    "DATAPLANE_AGENT_FLOWS__BUSY_ECHO_SECONDS": "60",
    "DATAPLANE_AGENT_FLOWS__DUTY_CYCLE": "1",
}
"""A page without flows is for want of a right, and not to spare the switch."""
EVENTS = {"DATAPLANE_AGENT_MQTT__HOST": "127.0.0.1", "DATAPLANE_AGENT_MQTT__PORT": "1"}
"""What is followed for events is followed whether a broker is there or not."""
SETTLE_SECONDS = 60.0
TABLE = rows()
WITH_MODULES = {("conntrack", "CAP_NET_ADMIN"), ("ovs_genl", NONE)}
"""Rows that this kernel may not have what it takes for."""
MEASURED = [row for row in TABLE if (row.source, row.right) not in WITH_MODULES]


@dataclass(frozen=True, slots=True)
class Confined:
    """A place where processes have a user who owns nothing, and only these capabilities."""

    chassis: Chassis
    capabilities: tuple[str, ...]

    @property
    def enter(self) -> list[str]:
        names = (f"+{name.removeprefix('CAP_').lower()}" for name in self.capabilities)
        only = ",".join(["-all", *names])
        user = ("--reuid=nobody", "--regid=nogroup", "--clear-groups", "--no-new-privs")
        sets = (f"--{which}={only}" for which in ("inh-caps", "ambient-caps", "bounding-set"))
        # who changes its user forgets that it dies with the lab
        again = ("setpriv", "--pdeathsig=KILL", "--")
        return [*self.chassis.enter, "setpriv", *user, *sets, "--", *again]

    def inside(self, work: Callable[[], T]) -> T:
        return self.chassis.inside(work)


@dataclass(frozen=True, slots=True)
class Seen:
    """What an agent with some rights said.

    Attributes:
        keys: Families on its page, with the namespace of their series.
        up: Of each source.
        denied: Sources with a part that is denied.
    """

    keys: Lost
    up: Mapping[str, bool]
    denied: frozenset[str]


@dataclass(slots=True)
class Node:
    """A node as a distribution leaves it: directories are open, sockets are root's."""

    chassis: Chassis
    environment: Mapping[str, str]
    _seen: dict[tuple[str, ...], Seen] = field(default_factory=dict)

    def see(self, *capabilities: str) -> Seen:
        """Run the agent with these capabilities until its sources have settled."""
        if capabilities not in self._seen:
            place = Confined(self.chassis, capabilities)
            rundir = self.chassis.switch.rundir
            whole = self._whole(capabilities)
            with Agent(rundir, env=self.environment, host=place, wait_ready=False) as agent:
                self._seen[capabilities] = _settled(agent, whole)
        return self._seen[capabilities]

    def _whole(self, capabilities: tuple[str, ...]) -> Callable[[Lost], bool]:
        """Return what tells a page on which nothing is missing that only takes its time."""
        if capabilities == ALL:
            patterns = [pattern for row in MEASURED for pattern in row.lost]
            return lambda keys: all(any(matches(each, key) for key in keys) for each in patterns)
        without = [right for right in ALL if right not in capabilities]
        keys = self.see(*ALL).keys
        kept = {key for key in keys if not any(is_said(right, key) for right in without)}
        return lambda keys: kept <= keys

    def check(self, *capabilities: str) -> str:
        """Return what ``check`` says with these capabilities."""
        place = Confined(self.chassis, capabilities)
        rundir = f"--ovs.rundir={self.chassis.switch.rundir}"
        done = subprocess.run(
            [*place.enter, str(PROGRAM), "check", rundir],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **self.environment},
        )
        assert done.stderr == ""
        return done.stdout


def _settled(agent: Agent, whole: Callable[[Lost], bool]) -> Seen:
    """Return what is said once each source that is expected is up or denied.

    If the page is not whole for a minute, what it was in the end: the test tells what is missing.
    """
    last: list[Seen] = []

    def settled() -> bool:
        agent.daemon.require_alive()
        try:
            page, status = parse(agent.metrics()), json.loads(agent.get("/status").text)
        except OSError:
            return False
        sources = {name: each for name, each in status["sources"].items() if each["configured"]}
        seen = _seen(page, sources)
        last[:] = [seen]
        said = all(up or name in seen.denied for name, up in seen.up.items())
        return said and {"libvirt", "netns"} <= sources.keys() and whole(seen.keys)

    with suppress(LabError):
        wait_until(settled, SETTLE_SECONDS)
    agent.daemon.require_alive()
    return last[0]


def _seen(page: Mapping[str, Any], sources: Mapping[str, Any]) -> Seen:
    keys = {
        (family, labels.get("netns", ""))
        for family, series in page.items()
        for labels, _ in series
        if not family.startswith(("dataplane_agent_", "process_", "python_"))
    }
    denied = {
        name
        for name, each in sources.items()
        if any(problem["reason"] == "denied" for problem in each["problems"].values())
    }
    return Seen(keys, {name: each["up"] for name, each in sources.items()}, frozenset(denied))


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    require_parts(*OPEN_VSWITCH, *OVN, *LIBVIRT, "setpriv")
    _require_readable(PROGRAM)
    with OvnCloud() as cloud, Hypervisor(cloud.chassis[0].name) as hypervisor:
        chassis, central = cloud.chassis[0], cloud.central
        for directory in (
            *(chassis.directory, chassis.switch.rundir, chassis.ovn_rundir),
            *(central.rundir, hypervisor.directory),
        ):
            directory.chmod(0o755)
        other = cloud.chassis[1].holder.pid
        chassis.run("ln", "-s", f"/proc/{other}/ns/net", f"/run/netns/{LINK}")
        yield Node(
            chassis,
            {
                "DATAPLANE_AGENT_LIBVIRT__URI": hypervisor.uri,
                **EVENTS,
                **PATIENT,
                "DATAPLANE_AGENT_OVN__DATABASES__NORTHBOUND": central.northbound_unix,
                "DATAPLANE_AGENT_OVN__DATABASES__SOUTHBOUND": central.southbound_unix,
                "DATAPLANE_AGENT_OVN__RUNDIR": str(chassis.ovn_rundir),
            },
        )


def _require_readable(program: Path) -> None:
    """Nobody has to get at the program: it is not below somebody's home."""
    reached = subprocess.run(
        ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "test", "-x", program],
        check=False,
    )
    assert reached.returncode == 0, f"{program} must be readable for everybody: move the clone"


def without(right: str) -> tuple[str, ...]:
    return tuple(name for name in ALL if name != right)


@cache
def of_right(right: str) -> tuple[Row, ...]:
    return tuple(row for row in MEASURED if row.right == right)


def matches(pattern: str, key: tuple[str, str]) -> bool:
    """Say whether a pattern of the table means a family, or its series of named namespaces."""
    family, netns = key
    wanted, named, _ = pattern.partition("{netns}")
    return fnmatchcase(family, wanted) and bool(named) == bool(netns)


def is_said(right: str, key: tuple[str, str]) -> bool:
    """Say whether the table has it that this is lost without the right."""
    if right == "CAP_SYS_PTRACE" and key[1] != LINK:
        return False
    return any(matches(pattern, key) for row in of_right(right) for pattern in row.lost)


def test_with_all_rights_every_source_is_up(node: Node) -> None:
    seen = node.see(*ALL)
    assert {row.source for row in MEASURED} <= seen.up.keys()
    assert all(seen.up.values()), seen.up
    assert {netns for _, netns in seen.keys} >= {"", LINK}


@pytest.mark.parametrize("right", ALL)
def test_without_a_right_just_those_series_are_lost_that_the_table_says(
    node: Node, right: str
) -> None:
    lost = node.see(*ALL).keys - node.see(*without(right)).keys
    assert {key for key in lost if not is_said(right, key)} == set()
    patterns = [pattern for row in of_right(right) for pattern in row.lost]
    kept = [pattern for pattern in patterns if not any(matches(pattern, key) for key in lost)]
    assert kept == []


@pytest.mark.parametrize("right", ALL)
def test_without_a_right_just_those_sources_are_denied_that_the_table_says(
    node: Node, right: str
) -> None:
    losing = {row.source for row in of_right(right) if row.lost}
    seen = node.see(*without(right))
    assert seen.denied == losing
    assert {name for name, up in seen.up.items() if not up} == losing


@pytest.mark.parametrize("right", ALL)
def test_check_names_the_right_that_is_missing(node: Node, right: str) -> None:
    def blocks() -> dict[str, str]:
        said = node.check(*without(right)).replace("\n  ", " ").splitlines()
        return {block.partition(":")[0]: block for block in said}

    def named() -> bool:
        said.update(blocks())
        return all(right in said[row.source] for row in of_right(right))

    said: dict[str, str] = {}
    # it gives sources 3 s, which a busy machine may need for less
    with suppress(LabError):
        wait_until(named, SETTLE_SECONDS)
    assert {row.source for row in of_right(right) if right not in said[row.source]} == set(), said
    assert said["rights"].endswith(f"; without {right}")


def test_without_sys_ptrace_only_links_are_lost_and_without_sys_admin_every_namespace(
    node: Node,
) -> None:
    everything = node.see(*ALL).keys
    for right, kept in (("CAP_SYS_PTRACE", True), ("CAP_SYS_ADMIN", False)):
        seen = {netns for _, netns in node.see(*without(right)).keys if netns}
        assert seen == ({netns for _, netns in everything if netns} - {LINK} if kept else set())


def test_reading_every_file_is_not_connecting_to_every_socket(node: Node) -> None:
    seen = node.see(READ_SEARCH, *without("CAP_DAC_OVERRIDE"))
    assert seen.denied == node.see(*without("CAP_DAC_OVERRIDE")).denied


def test_what_needs_no_right_is_there_without_any(node: Node) -> None:
    seen = node.see()
    needless = {row.source for row in MEASURED if row.right == NONE}
    assert needless
    assert all(seen.up[source] for source in needless), seen.up
    assert seen.denied.isdisjoint(needless)


def test_every_source_of_the_agent_is_in_the_table(node: Node) -> None:
    said = node.check(*ALL).splitlines()
    names = {line.partition(":")[0] for line in said if not line.startswith(" ")}
    followed = node.see(*ALL).up.keys()  # also what is followed for events alone
    assert {row.source for row in TABLE} == (names | followed) - {"configuration", "rights"}
