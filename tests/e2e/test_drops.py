"""``dataplane-agent drops`` on the recorded node, while packets are lost."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any

import pytest

from lab import traffic
from lab.agent import PROGRAM, Agent
from lab.compute import ComputeNode, neutron_port
from lab.node import Node

pytestmark = [pytest.mark.e2e, pytest.mark.node]

HOUR = "--seconds=3600"
"""The test ends it when it has seen enough."""


@dataclass
class Watching:
    """The command while it watches; after the block what it said."""

    process: subprocess.Popen[str]
    said: str = ""
    complained: str = ""

    @property
    def code(self) -> int:
        return self.process.returncode

    @property
    def answer(self) -> Any:
        return json.loads(self.said)

    @property
    def lost(self) -> dict[tuple[str, int, int, str], tuple[int, str | None, str | None]]:
        """Packets, interface and direction by bridge, table, priority and match."""
        return {
            (one["bridge"], one["table"], one["priority"], one["match"]): (
                one["packets"],
                one["interface"],
                one["direction"],
            )
            for one in self.answer["flows"]
        }


def start(node: Node, *arguments: str, **env: str) -> Watching:
    command = [str(PROGRAM), "drops", f"--ovs.rundir={node.rundir}", *arguments]
    return Watching(
        subprocess.Popen(
            command,
            env={**os.environ, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    )


@contextmanager
def watching(node: Node, *arguments: str, **env: str) -> Iterator[Watching]:
    """Give the block the time between the two readings, and end it with Ctrl-C."""
    running = start(node, *arguments, **env)
    try:
        assert running.process.stderr is not None
        first = running.process.stderr.readline()
        assert first.startswith("watching "), first + running.process.stderr.read()
        yield running
        running.process.send_signal(signal.SIGINT)
        running.said, running.complained = running.process.communicate(timeout=60)
    finally:
        running.process.kill()
        running.process.communicate()


def run(node: Node, *arguments: str) -> Watching:
    running = start(node, *arguments)
    running.said, running.complained = running.process.communicate(timeout=60)
    return running


SPOOFED = ("br-int", 71, 10, f'reg5=0x4,in_port="{traffic.TAP_SSH}"')
REFUSED = ("br-int", 82, 40, "ct_state=-est,reg5=0x6")
INVALID = ("br-int", 72, 50, "ct_state=+inv+trk")


def test_names_the_flows_that_lose_packets_and_whose_they_are(compute_node: ComputeNode) -> None:
    with watching(compute_node, HOUR, "--json") as found:
        traffic.spoofed(compute_node, 7)
        traffic.refused(compute_node, 5, first_port=51000)
        traffic.invalid(compute_node, 3)
        traffic.multicast_on_wire(compute_node, 4)
        compute_node.appctl("revalidator/wait")
    assert found.code == 0, found.complained
    assert found.lost == {
        SPOOFED: (7, traffic.TAP_SSH, "from_instance"),
        REFUSED: (5, traffic.TAP_VIP, "to_instance"),
        INVALID: (3, None, None),
    }
    [most, *_] = found.answer["flows"]
    assert most["kind"] == "lost"
    assert most["table_name"] == "base_egress"
    assert most["iface_id"] == neutron_port(traffic.TAP_SSH)
    assert most["attached_mac"] == compute_node.guests[traffic.TAP_SSH].host.mac
    [seconds] = {each["seconds"] for each in found.answer["bridges"]}
    assert most["packets_per_second"] == pytest.approx(7 / seconds, rel=0.01)
    assert found.answer["totals"]["lost"]["packets"] == 15
    assert found.answer["totals"]["patch"]["packets"] > 0
    assert found.answer["problems"] == []


def test_waits_as_long_as_it_was_told_and_says_what_it_watched_when_nothing_grew(
    compute_node: ComputeNode,
) -> None:
    compute_node.appctl("revalidator/wait")
    began = time.monotonic()
    quiet = run(compute_node, "--seconds=1.5", "--bridge=br-int")
    assert time.monotonic() - began > 1.5
    assert quiet.code == 0, quiet.complained
    flows = compute_node.flows("br-int")
    tables = {flow.table for flow in flows}
    heading = f"{len(flows)} flows in {len(tables)} tables of br-int, read twice, "
    assert quiet.said.startswith(heading)
    assert 1.5 <= float(quiet.said.removeprefix(heading).split()[0]) < 5
    assert "nothing grew of 44 flows of kind lost\n" in quiet.said
    assert quiet.complained == "watching br-int for 1.5 s, Ctrl-C ends it early\n"


@pytest.mark.parametrize("by", ["name", "port", "mac"])
def test_shows_one_interface_by_any_of_its_names(compute_node: ComputeNode, by: str) -> None:
    tap = traffic.TAP_SSH
    name = {
        "name": tap,
        "port": neutron_port(tap),
        "mac": compute_node.guests[tap].host.mac.upper(),
    }[by]
    with watching(compute_node, HOUR, "--json", f"--interface={name}") as found:
        traffic.spoofed(compute_node, 2)
        traffic.spoofed(compute_node, 3, traffic.TAP_AMPHORA)
        traffic.invalid(compute_node, 4)
        compute_node.appctl("revalidator/wait")
    assert found.lost == {SPOOFED: (2, tap, "from_instance")}
    assert [each["bridge"] for each in found.answer["bridges"]] == ["br-int"]
    assert found.answer["shared_packets"] == 4, "invalid packets: no flow says whose"


def test_all_kinds_shows_what_was_only_flooded(compute_node: ComputeNode) -> None:
    with watching(compute_node, HOUR, "--all-kinds") as found:
        traffic.multicast_on_wire(compute_node, 6)
        compute_node.appctl("revalidator/wait")
    lines = [line.split() for line in found.said.splitlines()]
    kinds = {(line[4], line[5]): line[3] for line in lines if line and line[-1:] == ["-"]}
    assert kinds["br-tun", "22"] == "patch"
    assert "patch: 0 packets" not in found.said
    assert "lost: 0 packets, 0.0/s, in 0 flows" in found.said


@pytest.mark.parametrize("mode", ["off", "selected", "all"])
def test_reads_all_flows_whatever_the_configuration_shows_and_beside_a_running_agent(
    compute_node: ComputeNode, mode: str
) -> None:
    with (
        Agent(compute_node.rundir) as agent,
        watching(compute_node, HOUR, "--json", DATAPLANE_AGENT_FLOWS__MODE=mode) as found,
    ):
        traffic.spoofed(compute_node, 3)
        compute_node.appctl("revalidator/wait")
        assert agent.metrics()
    assert found.lost == {SPOOFED: (3, traffic.TAP_SSH, "from_instance")}


def test_says_what_there_is_when_there_is_no_such_thing(compute_node: ComputeNode) -> None:
    bridge = run(compute_node, "--bridge=br-ex")
    there = "br-int, br-mgmt, br-provider, br-tun"
    assert (bridge.code, bridge.said) == (1, "")
    assert bridge.complained == f"no bridge br-ex; there are: {there}\n"
    interface = run(compute_node, "--interface=tap\x1b[2J", "--bridge=br-tun")
    assert (interface.code, interface.said) == (1, "")
    assert interface.complained.startswith("no interface tap\\u001b[2J; there are: ")
    without = run(compute_node, "--interface=tap0ab9a23c-99")
    assert without.code == 1
    assert "has no OpenFlow port: could not open network device" in without.complained


def test_says_as_check_does_why_there_is_nothing_to_read(own_compute_node: ComputeNode) -> None:
    node = own_compute_node
    node.kill_vswitchd()
    done = run(node)
    assert (done.code, done.said) == (1, "")
    assert done.complained.startswith("openflow: down\n  br-int: refused: ")
    assert "nobody listens" in done.complained
    node.kill_ovsdb()
    done = run(node)
    assert (done.code, done.said) == (1, "")
    assert done.complained.startswith("ovsdb: down\n  ovsdb: refused: ")


def test_a_bridge_that_cannot_be_read_does_not_hide_the_others(
    own_compute_node: ComputeNode,
) -> None:
    own_compute_node.vsctl("set", "Bridge", "br-mgmt", "protocols=OpenFlow10")
    with watching(own_compute_node, HOUR) as found:
        traffic.spoofed(own_compute_node, 3)
        own_compute_node.appctl("revalidator/wait")
    assert found.code == 0
    assert "\n      3 " in found.said
    assert "not compared: br-mgmt: refused: " in found.said


def test_says_that_ovs_vswitchd_was_started_anew_and_prints_no_growth(
    own_compute_node: ComputeNode,
) -> None:
    node = own_compute_node
    traffic.spoofed(node, 9)
    node.appctl("revalidator/wait")
    with watching(node, HOUR, "--bridge=br-int") as found:
        node.kill_vswitchd()
        node.start_vswitchd()
        node.load_flows()
        traffic.spoofed(node, 2)
        node.appctl("revalidator/wait")
    assert (found.code, found.said) == (1, "")
    assert "br-int: ovs-vswitchd or the bridge was started anew in between" in found.complained


def test_packets_of_a_flow_that_ended_in_between_are_told_as_unattributed(
    own_compute_node: ComputeNode,
) -> None:
    node = own_compute_node
    with watching(node, HOUR, "--json") as found:
        traffic.spoofed(node, 7)
        node.appctl("revalidator/wait")
        node.ofctl("--strict", "del-flows", "br-int", f"table=71,priority=10,{SPOOFED[3]}")
    assert found.lost == {}
    assert found.answer["unattributed"] == [
        {"bridge": "br-int", "table": 71, "table_name": "base_egress", "packets": 7}
    ]


def test_a_busy_switch_is_spared_and_asked_again(own_compute_node: ComputeNode) -> None:
    """An ECHO that takes more than flows.busy_echo_seconds: it has other work."""
    node = own_compute_node
    running = start(node, "--seconds=3", "--json", DATAPLANE_AGENT_FLOWS__BUSY_ECHO_SECONDS="0.2")
    process = running.process
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stderr.readline().startswith("watching ")
    traffic.spoofed(node, 4)
    node.appctl("revalidator/wait")
    told: list[str] = []
    spared = Event()

    def listen(lines: Iterable[str]) -> None:
        for line in lines:
            told.append(line)
            if "to spare it: ovs-vswitchd is busy" in line:
                spared.set()
        spared.set()

    listener = Thread(target=listen, args=(process.stderr,))
    listener.start()
    # Whenever the second reading begins, it finds a switch that is slow to answer, but for one time
    # in two hundred: what is sent in the moment between two pauses is answered at once.
    while not spared.is_set():
        node.pause_vswitchd()
        spared.wait(2.0)
        node.resume_vswitchd()
        spared.wait(0.01)
    running.said = process.stdout.read()
    assert process.wait(60) == 0, told
    listener.join()
    process.stdout.close()
    process.stderr.close()
    assert any("to spare it: ovs-vswitchd is busy" in line for line in told)
    assert running.lost == {SPOOFED: (4, traffic.TAP_SSH, "from_instance")}
    assert min(each["seconds"] for each in running.answer["bridges"]) > 3.0
