"""Ports that other exporters get wrong: long names, bonds, statistics of their own."""

import pytest

from lab.agent import Agent
from lab.node import Node
from lab.process import wait_until
from tests.e2e.page import labels_of, parse, value_of

pytestmark = [pytest.mark.e2e, pytest.mark.node]

LONG = "patch-br-int-to-provnet-ed5b0e1e"
LONGER = "patch-br-int-to-provnet-0a1b2c3d"


def add_bridge(node: Node, *ports: str) -> None:
    commands = ["add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev"]
    for port in ports:
        commands += ["--", "add-port", "br0", port, "--", "set", "Interface", port, "type=dummy"]
    node.vsctl(*commands)


def test_names_that_openflow_cuts_stay_whole(node: Node) -> None:
    add_bridge(node, LONG, LONGER)
    node.appctl("netdev-dummy/receive", LONG, "in_port(1),eth(),eth_type(0x0800),ipv4()")
    node.ofctl("add-flow", "br0", f"priority=7,in_port={port_number(node, LONG)},actions=drop")
    with Agent(node.rundir) as agent:
        page = parse(agent.metrics())
    assert value_of(page, "ovs_interface_rx_packets_total", interface=LONG) == 1
    assert value_of(page, "ovs_interface_rx_packets_total", interface=LONGER) == 0
    [flow] = [labels for labels, _ in page["ovs_flow_info"] if labels["priority"] == "7"]
    # ovs-ofctl --names prints the number, because both names are cut to the same 15 bytes.
    assert flow["match"] == f"in_port={port_number(node, LONG)}"
    assert flow["interface"] == LONG


def port_number(node: Node, interface: str) -> str:
    return node.vsctl("get", "Interface", interface, "ofport").strip()


def test_a_bond_shows_its_members(node: Node) -> None:
    add_bridge(node)
    node.vsctl(
        *("add-bond", "br0", "bond0", "p1", "p2", "bond_mode=active-backup"),
        *("--", "set", "Interface", "p1", "type=dummy"),
        *("--", "set", "Interface", "p2", "type=dummy"),
    )
    with Agent(node.rundir) as agent:
        # The first reading may come before the database has told of a bond.
        page = wait_until(
            lambda: next(
                (page for page in [parse(agent.metrics())] if "ovs_bond_info" in page), None
            ),
            what="the bond",
        )
    assert page
    assert labels_of(page, "ovs_bond_info", "port", "mode", "lacp_status") == {
        ("bond0", "active-backup", "off")
    }
    assert labels_of(page, "ovs_bond_member_enabled", "port", "member") == {
        ("bond0", "p1"),
        ("bond0", "p2"),
    }
    assert sum(value for _, value in page["ovs_bond_active_member"]) == 1
    assert labels_of(page, "ovs_interface_rx_packets_total", "port", "interface") >= {
        ("bond0", "p1"),
        ("bond0", "p2"),
    }


def test_statistics_of_a_device_are_shown_when_they_are_asked_for(node: Node) -> None:
    add_bridge(node, "p1")
    with Agent(node.rundir) as agent:
        assert "ovs_interface_custom_statistic_total" not in parse(agent.metrics())
    wanted = {"DATAPLANE_AGENT_INTERFACES__CUSTOM_STATISTICS": '["rx_q0_*"]'}
    with Agent(node.rundir, env=wanted) as agent:
        page = parse(agent.metrics())
    names = labels_of(page, "ovs_interface_custom_statistic_total", "interface", "statistic")
    assert names == {("p1", "rx_q0_bytes"), ("p1", "rx_q0_packets")}


def test_a_bridge_that_allows_no_version_of_ours_says_so(node: Node) -> None:
    add_bridge(node, "p1")
    node.vsctl(
        *("add-br", "br1", "--", "set", "Bridge", "br1", "datapath_type=netdev"),
        "protocols=OpenFlow10",
    )
    with Agent(node.rundir) as agent:
        page = parse(agent.metrics())
        status = agent.get("/status").text
    assert labels_of(page, "ovs_bridge_flows", "bridge") == {("br0",)}
    assert labels_of(page, "ovs_bridge_info", "bridge") == {("br0",), ("br1",)}
    assert value_of(page, "dataplane_agent_source_up", source="openflow") == 0
    assert "br1.mgmt: allows neither OpenFlow 1.3 nor 1.4" in status


def test_a_bridge_with_too_many_flows_is_left_out_and_that_is_said(node: Node) -> None:
    add_bridge(node, "p1")
    flows = "\n".join(f"priority={n},actions=drop" for n in range(1, 31))
    node.ofctl("add-flows", "br0", "-", stdin=flows)
    few = {"DATAPLANE_AGENT_FLOWS__MAX_PER_BRIDGE": "30"}
    with Agent(node.rundir, env=few) as agent:
        page = parse(agent.metrics())
    assert "ovs_flow_packets_total" not in page
    assert value_of(page, "dataplane_agent_series_suppressed", collector="flow") == 3 * 31
    assert value_of(page, "ovs_bridge_flows", bridge="br0") == 31
    with Agent(node.rundir, env={**few, "DATAPLANE_AGENT_FLOWS__MODE": "all"}) as agent:
        page = parse(agent.metrics())
    assert len(page["ovs_flow_packets_total"]) == 31
    assert value_of(page, "dataplane_agent_series_suppressed", collector="flow") == 0
