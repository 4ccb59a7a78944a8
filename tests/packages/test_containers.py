"""The image runs beside a real switch, with the rights of the examples and with less."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent import __version__
from lab.agent import Agent
from lab.container import Chroot, Engine, Given, example
from lab.node import Node
from lab.process import NAMESPACES, run, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.node, pytest.mark.timeout(600)]

PROGRAM = "/opt/dataplane-agent/bin/dataplane-agent"
GROUP = 4242
WATCHED = {"ovsdb", "openflow", "unixctl"}
BITS = {"DAC_OVERRIDE": 1, "NET_ADMIN": 12, "SYS_ADMIN": 21}
"""linux/capability.h"""
RUNDIR = Path("/run/openvswitch")
NO_NAMESPACES = {"DATAPLANE_AGENT_NAMESPACES__INCLUDE": "[]"}


def up(agent: Agent) -> set[str]:
    """The sources that are up."""
    return {
        series.split('source="')[1].rstrip('"}')
        for series, value in agent.metrics().items()
        if series.startswith("dataplane_agent_source_up") and value == 1
    }


def assert_it_watches(agent: Agent, *more: str) -> dict[str, float]:
    wait_until(lambda: {*WATCHED, *more} <= up(agent), timeout=60, what="the sources")
    page = agent.metrics()
    assert [s for s in page if s.startswith("ovs_flow_packets_total") and 'priority="7"' in s]
    return page


def process(agent: Agent) -> dict[str, str]:
    """/proc/PID/status of the agent itself, which may be a child of its engine."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            words = (status.parent / "cmdline").read_text().split("\0")
            if words[1:2] == [PROGRAM] and f"--web.listen-address=127.0.0.1:{agent.port}" in words:
                lines = status.read_text().splitlines()
                return {k: v.strip() for k, _, v in (line.partition(":") for line in lines)}
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    raise AssertionError("the agent runs nowhere")


def assert_rights(agent: Agent, uid: int, *capabilities: str) -> None:
    status = process(agent)
    assert status["Uid"].split() == [str(uid)] * 4
    wanted = sum(1 << BITS[each] for each in capabilities)
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == wanted
    assert status["NoNewPrivs"] == "1"


def open_to_group(switch: Node) -> None:
    for path in (switch.rundir, *switch.rundir.iterdir()):
        if path.is_dir() or path.is_socket():
            os.chown(path, -1, GROUP)
            path.chmod(0o770)


def of_group(switch: Node) -> Given:
    """What the image's own user needs."""
    volume = f"{switch.rundir}:{RUNDIR}:ro"
    return Given(groups=(GROUP,), volumes=(volume,), env=NO_NAMESPACES)


def test_with_the_quadlets_rights_it_watches_the_switch_and_later_namespaces(
    engine: tuple[Engine, str], switch: Node, report: Callable[[str, str], None]
) -> None:
    # the lab's switch is in a directory of its own
    given = example(f"{switch.rundir}:{switch.rundir}:ro")
    later = f"{switch.name}-late"
    begin = time.monotonic()
    with Agent(switch.rundir, host=switch, program=engine[0].command(engine[1], given)) as agent:
        report("from the start of the container to /readyz", f"{time.monotonic() - begin:.1f} s")
        page = assert_it_watches(agent, "netns")
        assert page["ovs_vswitchd_start_time_seconds"] > 0
        assert_rights(agent, 0, *BITS)
        run("ip", "netns", "add", later)
        try:
            wait_until(
                lambda: any(f'netns="{later}"' in series for series in agent.metrics()),
                timeout=60,
                what="a namespace that was made after the container",
            )
        finally:
            run("ip", "netns", "delete", later)
        assert not (NAMESPACES / later).exists()
    assert agent.daemon.returncode == 0
    assert "Traceback" not in agent.log


def test_as_its_own_user_a_group_on_the_sockets_is_enough_for_the_switch(
    engine: tuple[Engine, str], switch: Node
) -> None:
    open_to_group(switch)
    program = engine[0].command(engine[1], of_group(switch))
    with Agent(RUNDIR, host=switch, program=program) as agent:
        assert_it_watches(agent)
        assert_rights(agent, 65532)
    assert agent.daemon.returncode == 0
    assert "Traceback" not in agent.log


def test_where_no_engine_can_run_its_root_does_the_same_in_a_chroot(
    archive: Path, switch: Node
) -> None:
    open_to_group(switch)
    with Chroot() as chroot:
        root = chroot.load(archive)
        with Agent(RUNDIR, host=switch, program=chroot.command(root, of_group(switch))) as agent:
            assert_it_watches(agent)
            assert_rights(agent, 65532)
        assert agent.daemon.returncode == 0
        rights = example(f"{switch.rundir}:{switch.rundir}:ro")
        with Agent(switch.rundir, host=switch, program=chroot.command(root, rights)) as agent:
            assert_it_watches(agent, "netns")
            assert_rights(agent, 0, *BITS)


def test_it_answers_commands_without_a_switch(engine: tuple[Engine, str]) -> None:
    done = subprocess.run(
        [*engine[0].command(engine[1], Given()), "--version"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, f"dataplane-agent {__version__}\n"), done.stderr
