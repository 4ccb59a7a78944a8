"""The faults of the demo do what they say, and end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import switchboard
from lab.agent import Agent
from lab.compute import ComputeNode
from lab.faults import FAULTS, LOW_CONNECTIONS, LOW_FLOW_LIMIT
from lab.process import wait_until
from lab.switchboard import Switchboard
from lab.traffic import Steady

LOST = 'ovs_flow_table_dropped_packets_total{{bridge="br-int",table="{}",kind="lost"}}'
DATAPATH = '{datapath="netdev@ovs-netdev"}'
CONTROLLER = 'ovs_controller_connected{bridge="br-int",target="tcp:127.0.0.1:6633"}'
LINK = 'ovs_interface_link_state{bridge="br-provider",port="eth2",interface="eth2",type="system"}'
OPENFLOW = 'dataplane_agent_source_up{source="openflow"}'
START = "ovs_vswitchd_start_time_seconds"


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[ComputeNode, Agent]]:
    with ComputeNode() as node, Agent(node.rundir) as agent, Steady(node):
        wait_until(lambda: START in agent.metrics(), what="the first good page")
        yield node, agent


def grows(agent: Agent, series: str, by: float) -> None:
    before = agent.metrics().get(series, 0.0)
    wait_until(lambda: agent.metrics().get(series, 0.0) >= before + by, 30, series)


def becomes(agent: Agent, series: str, value: float | None) -> None:
    wait_until(lambda: agent.metrics().get(series) == value, 30, f"{series} to be {value}")


def test_refused_and_spoofed_packets_are_lost(running: tuple[ComputeNode, Agent]) -> None:
    node, agent = running
    for fault, table in (("refuse", 82), ("spoof", 71)):
        with FAULTS[fault].on(node):
            grows(agent, LOST.format(table), 300)


def test_an_unplugged_tunnel_has_no_link(running: tuple[ComputeNode, Agent]) -> None:
    node, agent = running
    with FAULTS["unplug"].on(node):
        becomes(agent, LINK, 0)
    becomes(agent, LINK, 1)


def test_the_limits_of_the_datapath_are_reached(running: tuple[ComputeNode, Agent]) -> None:
    node, agent = running
    with FAULTS["flow-limit"].on(node):
        becomes(agent, f"ovs_upcall_flow_limit{DATAPATH}", LOW_FLOW_LIMIT)
        wait_until(
            lambda: agent.metrics()[f"ovs_upcall_flows{DATAPATH}"] >= LOW_FLOW_LIMIT,
            what="as many flows as there may be",
        )
    with FAULTS["conntrack"].on(node):
        becomes(agent, f"ovs_conntrack_entries_limit{DATAPATH}", LOW_CONNECTIONS)
        grows(agent, 'ovs_coverage_events_total{event="conntrack_full"}', 100)


def test_the_controller_goes_and_comes(running: tuple[ComputeNode, Agent]) -> None:
    node, agent = running
    with FAULTS["controller"].on(node):
        becomes(agent, CONTROLLER, 0)
    becomes(agent, CONTROLLER, 1)


def test_a_switch_that_stands_still_answers_nobody(running: tuple[ComputeNode, Agent]) -> None:
    node, agent = running
    with FAULTS["stop"].on(node):
        becomes(agent, OPENFLOW, 0)
    becomes(agent, OPENFLOW, 1)


def test_a_switch_that_restarts_has_flows_again(running: tuple[ComputeNode, Agent]) -> None:
    node, agent = running
    before = wait_until(lambda: agent.metrics().get(START), 30, "the start of ovs-vswitchd")
    with FAULTS["restart"].on(node):
        wait_until(lambda: agent.metrics().get(START, before) > before, 30, "another process")
    flows = len(node.flows("br-int"))
    becomes(agent, 'ovs_bridge_flows{bridge="br-int"}', flows)


def test_faults_are_switched_by_a_command(
    running: tuple[ComputeNode, Agent], tmp_path: Path
) -> None:
    node, agent = running
    path = tmp_path / "faults.sock"
    with Switchboard(node, path):
        assert switchboard.ask(path, "").count(" off ") == len(FAULTS)
        assert switchboard.ask(path, "controller on").startswith("controller is on")
        becomes(agent, CONTROLLER, 0)
        assert "controller  on " in switchboard.ask(path, "")
        assert switchboard.ask(path, "controller off").startswith("controller is off")
        becomes(agent, CONTROLLER, 1)
        assert switchboard.ask(path, "fire on").startswith("no such command")
        switchboard.ask(path, "controller on")
    becomes(agent, CONTROLLER, 1)
    assert not path.exists()
