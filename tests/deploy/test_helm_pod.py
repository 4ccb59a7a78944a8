"""A pod of the chart sees a node, with the rights of its profile and no others."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lab.host import Host
from lab.node import Node
from lab.process import NAMESPACES, Daemon, free_port, run, wait_until
from tests.conftest import OPEN_VSWITCH, require_parts
from tests.deploy import chart, oci
from tests.deploy.chart import IMAGE
from tests.deploy.mounted import Mounted

pytestmark = pytest.mark.node
OF_SWITCH = ("ovsdb", "openflow", "unixctl")
START = "ovs_vswitchd_start_time_seconds"
BITS = {"DAC_OVERRIDE": 1, "NET_ADMIN": 12, "SYS_PTRACE": 19, "SYS_ADMIN": 21}
"""linux/capability.h"""
GROUP = 998


class Pod:
    """A container that runs on a host of the lab."""

    def __init__(self, host: Host, mounted: Mounted, runtime: Daemon, pid: int) -> None:
        self._host = host
        self._mounted = mounted
        self.runtime = runtime
        self.pid = pid

    def metrics(self) -> dict[str, float]:
        """Scrape it; an agent that does not listen yet has said nothing."""
        self.runtime.require_alive()
        try:
            page = self._host.inside(lambda: self._mounted.body("/metrics"))
        except OSError:
            return {}
        lines = (line for line in page.splitlines() if line and line[0] != "#")
        return {series: float(value) for series, _, value in (x.rpartition(" ") for x in lines)}

    def wait_for(self, *series: str) -> dict[str, float]:
        """Wait until these series are on a page, and not 0."""
        page: dict[str, float] = {}

        def there() -> bool:
            nonlocal page
            page = self.metrics()
            return all(page.get(each) for each in series)

        wait_until(there, timeout=60, what=f"{series} of {self.runtime.log}")
        return page

    def process(self) -> dict[str, str]:
        """Return /proc/PID/status."""
        lines = Path("/proc", str(self.pid), "status").read_text().splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


@pytest.fixture
def host() -> Iterator[Host]:
    require_parts(*OPEN_VSWITCH, "runc")
    if not oci.SECCOMP.exists():
        require_parts(str(oci.SECCOMP))
    with Host() as host:
        host.add_namespace("qrouter-before")
        yield host


@contextmanager
def switch(host: Host, rundir: Path) -> Iterator[None]:
    """Run a switch whose directory appears under this name when it is complete."""
    with Node(netns=host.name) as node:
        node.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
        node.rundir.chmod(0o755)
        node.rundir.rename(rundir)
        try:
            yield
        finally:
            rundir.rename(node.rundir)


@contextmanager
def pod(host: Host, values: str, directory: Path) -> Iterator[Pod]:
    """Run the chart's pod on the host, whose /run is a directory with nothing but netns in it."""
    values = f"{values}\nport: {host.inside(free_port)}\nconfig: {{libvirt: {{enabled: false}}}}\n"
    mounted = Mounted(values, directory / "etc")
    bundle, node_run = directory / "bundle", directory / "run"
    bundle.mkdir()
    (node_run / "netns").mkdir(parents=True)
    sources = {"config": mounted.directory / "config", "run": node_run, "run/netns": NAMESPACES}
    for each in (directory, mounted.directory, node_run):
        each.chmod(0o755)
    oci.write_bundle(bundle, chart.pod(values), sources)
    runc = [*host.enter, "runc", "--root", str(directory / "runc")]
    name = f"chart-{os.getpid()}"
    runtime = Daemon([*runc, "run", "--bundle", str(bundle), name], directory / "pod.log")
    try:
        with ExitStack() as stack:
            stack.callback(run, *runc, "delete", "--force", name)
            state = directory / "runc" / name / "state.json"
            wait_until(lambda: _alive(runtime) and state.exists(), timeout=30, what="the container")
            pid = json.loads(run(*runc, "state", name))["pid"]
            yield Pod(host, mounted, runtime, pid)
    finally:
        runtime.stop()


def _alive(daemon: Daemon) -> bool:
    daemon.require_alive()
    return True


def up(*sources: str) -> tuple[str, ...]:
    return tuple(f'dataplane_agent_source_up{{source="{each}"}}' for each in sources)


def mask(*names: str) -> str:
    return f"{sum(1 << BITS[name] for name in names):016x}"


def in_namespace(page: dict[str, float], netns: str) -> bool:
    return any(each.startswith("netns_info{") and f'netns="{netns}"' in each for each in page)


@pytest.mark.parametrize("profile", ["default", "full"])
def test_a_pod_follows_switch_and_namespaces_that_come_after_it(
    host: Host, tmp_path: Path, profile: str
) -> None:
    far = host.outside()
    linked = Daemon(["sleep", "infinity"], tmp_path / "sleep.log", netns=far)
    host.run("ln", "-s", f"/proc/{linked.pid}/ns/net", str(NAMESPACES / "linked"))
    with pod(host, f"{IMAGE}profile: {profile}", tmp_path) as agent:
        agent.wait_for('dataplane_agent_source_up{source="rtnetlink"}')
        assert not in_namespace(agent.metrics(), "qrouter-after")
        host.add_namespace("qrouter-after")
        with switch(host, tmp_path / "run" / "openvswitch"):
            wait_until(
                lambda: in_namespace(agent.metrics(), "qrouter-after"), 30, what="the namespace"
            )
            page = agent.wait_for(*up(*OF_SWITCH), START)
        assert in_namespace(page, "qrouter-before")
        assert in_namespace(page, "linked") == (profile == "full")
        status = agent.process()
        more = ("SYS_PTRACE",) if profile == "full" else ()
        assert status["CapEff"] == mask("DAC_OVERRIDE", "NET_ADMIN", "SYS_ADMIN", *more)
        assert status["CapBnd"] == status["CapPrm"] == status["CapEff"]
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    linked.stop()


def test_a_pod_without_capabilities_sees_the_switch_by_its_group(
    host: Host, tmp_path: Path
) -> None:
    groups = f"podSecurityContext: {{supplementalGroups: [{GROUP}]}}"
    rundir = tmp_path / "run" / "openvswitch"
    with (
        pod(host, f"{IMAGE}profile: least\n{groups}", tmp_path) as agent,
        switch(host, rundir),
    ):
        for each in rundir.iterdir():
            if each.is_socket():  # as deploy/systemd/openvswitch-group.conf has them made
                shutil.chown(each, group=GROUP)
                each.chmod(0o770)
        page = agent.wait_for(*up(*OF_SWITCH, "rtnetlink"))
        assert not in_namespace(page, "qrouter-before")
        assert START not in page
        assert page['dataplane_agent_source_up{source="netns"}'] == 1  # none is missed
        status = agent.process()
        assert status["CapEff"] == status["CapBnd"] == mask()
        assert status["Uid"].split() == ["65532"] * 4
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_added_capabilities_are_nobodys_but_roots(host: Host, tmp_path: Path) -> None:
    user = "securityContext: {runAsUser: 65532, runAsNonRoot: true}"
    with pod(host, IMAGE + user, tmp_path) as agent:
        agent.wait_for(*up("rtnetlink"))
        status = agent.process()
        assert status["CapBnd"] == mask("DAC_OVERRIDE", "NET_ADMIN", "SYS_ADMIN")
        assert status["CapEff"] == status["CapPrm"] == mask()


def test_without_propagation_a_new_namespace_is_a_file_and_missed(
    host: Host, tmp_path: Path
) -> None:
    alone = "hostRunMount: {mountPropagation: None}"
    with pod(host, IMAGE + alone, tmp_path) as agent:
        agent.wait_for(*up("netns"))
        host.add_namespace("qrouter-after")
        page = agent.wait_for(
            'dataplane_agent_source_failures_total{source="netns",reason="absent"}'
        )
        assert page['dataplane_agent_source_up{source="netns"}'] == 0
        assert in_namespace(page, "qrouter-before")
        assert not in_namespace(page, "qrouter-after")
