"""What runbooks tell a person to run is there, and says so where it changes anything.

Commands of Open vSwitch and OVN are looked up in the daemons themselves, and what reads the
databases is run.
"""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from lab.compute import ComputeNode
from lab.ovn import OvnCloud
from lab.process import Daemon, run, wait_until

RUNBOOKS = sorted((Path(__file__).parents[2] / "docs" / "runbooks").glob("*.md"))
FENCE = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")
CHANGES = re.compile(
    r"(ct-set-|bond/\w+able-|\bexit\b|sysctl -w|ethtool -G|ip link set|del-port|chassis-del"
    r"|network set|server reboot|systemctl (stop|start|restart)|\s--wait=)"
)
SAID = re.compile(r"\bchange")
SCHEMA = "/usr/share/ovn/ovn-sb.ovsschema"


def paragraphs() -> Iterator[tuple[str, str]]:
    """Yield (runbook, text) of each paragraph and each item of a list."""
    for path in RUNBOOKS:
        for part in re.split(r"\n\n|\n(?=\d+\. )", FENCE.sub("", path.read_text())):
            yield path.stem, " ".join(part.split())


@cache
def commands() -> list[str]:
    """Return every command, without what it is piped into."""
    spans = {span for _, text in paragraphs() for span in SPAN.findall(text)}
    return sorted(span.removeprefix("time ").split(" | ")[0] for span in spans)


def of(*program: str) -> list[list[str]]:
    """Return the arguments of all commands that begin like this."""
    start = " ".join(program) + " "
    return [shlex.split(each[len(start) :]) for each in commands() if each.startswith(start)]


def listed(answer: str) -> set[str]:
    """Return what a daemon's list-commands says that there is."""
    return {line.split()[0] for line in answer.splitlines()[1:]}


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_says_of_a_command_that_it_changes_something(path: Path) -> None:
    for name, text in paragraphs():
        if name == path.stem and any(map(CHANGES.search, SPAN.findall(text))):
            assert SAID.search(text), text


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_finds_a_process_by_its_pid_file_and_asks_libvirt_to_read(path: Path) -> None:
    """There may be several of a name (pidof prints them all), and top wants one."""
    spans = SPAN.findall(FENCE.sub("", path.read_text()))
    assert not [span for span in spans if "pidof" in span]
    assert not [span for span in spans if re.search(r"\bvirsh (?!-r )", span)]


@pytest.mark.node
def test_ovs_vswitchd_has_what_runbooks_ask_it(compute_node: ComputeNode) -> None:
    there = listed(compute_node.appctl("list-commands"))
    asked = {arguments[0] for arguments in of("ovs-appctl") if arguments[0] != "-t"}
    assert len(asked) > 10
    assert asked <= there


@pytest.mark.node
def test_coverage_has_the_events_that_runbooks_look_for(compute_node: ComputeNode) -> None:
    """Those that this release (3.1) has: of later ones a runbook says from when on."""
    page = next(path for path in RUNBOOKS if path.stem == "DataplaneFlowLimitPressure").read_text()
    (named,) = re.findall(r"upcall_flow_limit`\s+\(([^;]+);", page)
    for name in SPAN.findall(named):
        event = f"upcall_flow_limit_{name}"
        assert compute_node.appctl("coverage/read-counter", event).strip().isdigit()


@pytest.mark.node
def test_the_switch_database_has_what_runbooks_read(compute_node: ComputeNode) -> None:
    (tap, *_) = compute_node.guests
    read = of("ovs-vsctl")
    assert len(read) > 4
    for arguments in read:
        if not CHANGES.search(" ".join(arguments)):
            compute_node.vsctl(*(tap if each == "tap1" else each for each in arguments))


@pytest.mark.node
def test_ovn_has_what_runbooks_ask_it(ovn_cloud: OvnCloud) -> None:
    controller = listed(ovn_cloud.chassis[0].controller_appctl("list-commands"))
    northd = listed(ovn_cloud.central.northd_appctl("list-commands"))
    for daemon, there in (("ovn-controller", controller), ("ovn-northd", northd)):
        asked = {arguments[0] for arguments in of("ovn-appctl", "-t", daemon)}
        assert len(asked) > 2
        assert asked <= there
    read = [each for each in of("ovn-sbctl") if not CHANGES.search(" ".join(each))]
    assert len(read) > 1
    for arguments in read:
        ovn_cloud.central.sbctl(*arguments)


@pytest.mark.node
@pytest.mark.usefixtures("ovn_installed")
def test_a_database_in_a_cluster_has_what_runbooks_ask_it(tmp_path: Path) -> None:
    database, ctl = tmp_path / "sb.db", tmp_path / "sb.ctl"
    run("ovsdb-tool", "create-cluster", str(database), SCHEMA, f"unix:{tmp_path}/sb.raft")
    command = ["ovsdb-server", f"--unixctl={ctl}", "--no-chdir", str(database)]
    daemon = Daemon(command, tmp_path / "sb.log")
    try:
        wait_until(ctl.exists, timeout=30, what="the control socket")
        asked = [each for each in of("ovs-appctl", "-t") if each[0].startswith("/run/ovn/")]
        assert {each[0] for each in asked} == {"/run/ovn/ovnnb_db.ctl", "/run/ovn/ovnsb_db.ctl"}
        for _, *arguments in asked:
            if "OVN_Southbound" in arguments:
                answer = run("ovs-appctl", "-t", str(ctl), *arguments)
                assert "Role: leader" in answer
    finally:
        daemon.stop()
