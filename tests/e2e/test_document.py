"""The node of the document, from real Open vSwitch to the page: all of it, and nothing else."""

from collections.abc import Iterator

import pytest

from lab.agent import Agent
from lab.compute import ComputeNode
from lab.process import wait_until
from lab.recorded import Flow
from tests.e2e.page import Page, labels_of, parse, value_of

pytestmark = [pytest.mark.e2e, pytest.mark.node]

ALONE = {"DATAPLANE_AGENT_NAMESPACES__INCLUDE": "[]"}
"""Named namespaces of this machine are not the node's."""


@pytest.fixture(scope="module")
def agent(compute_node: ComputeNode) -> Iterator[Agent]:
    with Agent(compute_node.rundir, env=ALONE) as agent:
        up = 'dataplane_agent_source_up{source="conntrack"}'
        # The first scrape connects, and may come before the kernel's namespaces are open.
        wait_until(lambda: agent.metrics()[up], what="connection tracking to be read")
        yield agent


@pytest.fixture
def page(agent: Agent) -> Page:
    return parse(agent.metrics())


def test_all_sources_are_up_and_no_collector_misses_a_thing(page: Page) -> None:
    up = {labels["source"] for labels, value in page["dataplane_agent_source_up"] if value == 1}
    expected = {
        labels["source"]
        for labels, value in page["dataplane_agent_source_configured"]
        if value == 1
    }
    # names of namespaces are waited for, and none is expected
    assert expected | {"netns"} == up
    assert expected >= {"openflow", "ovsdb", "rtnetlink", "unixctl"}
    failed = [x for x, v in page["dataplane_agent_scrape_collector_success"] if v != 1]
    assert failed == []


def test_every_bridge_has_its_series(page: Page, compute_node: ComputeNode) -> None:
    document = compute_node.switch.bridges
    assert labels_of(page, "ovs_bridge_info", "bridge", "fail_mode") == {
        (bridge.name, bridge.fail_mode) for bridge in document.values()
    }
    for bridge in document:
        assert value_of(page, "ovs_bridge_flows", bridge=bridge) == len(
            compute_node.recording.flows(bridge)
        )
        assert value_of(page, "ovs_vswitchd_echo_seconds", bridge=bridge) > 0


def test_every_port_has_its_series(page: Page, compute_node: ComputeNode) -> None:
    document = {
        (bridge.name, interface.name, interface.type or "system", str(interface.tag or ""))
        for bridge in compute_node.switch.bridges.values()
        for interface in bridge.interfaces.values()
    }
    assert labels_of(page, "ovs_interface_info", "bridge", "interface", "type", "tag") == document
    missing = {
        interface.name
        for bridge in compute_node.switch.bridges.values()
        for interface in bridge.interfaces.values()
        if interface.error
    }
    with_device = {(bridge, name) for bridge, name, _, _ in document if name not in missing}
    # ovs-vswitchd makes a local port for the bridges that have no row for one.
    local = {(bridge, bridge) for bridge in compute_node.switch.bridges}
    for name in ("rx_packets", "tx_packets", "rx_bytes", "tx_bytes"):
        family = f"ovs_interface_{name}_total"
        assert labels_of(page, family, "bridge", "interface") == with_device | local, family
    # Ports without a device of their own count neither drops nor errors: OpenFlow says all-ones.
    no_device = {(bridge, name) for bridge, name, kind, _ in document if kind in ("patch", "vxlan")}
    for name in ("rx_dropped", "tx_dropped", "rx_errors", "tx_errors"):
        shown = labels_of(page, f"ovs_interface_{name}_total", "bridge", "interface")
        assert shown == (with_device | local) - no_device, name


def test_every_open_error_has_its_series_and_its_text(
    page: Page, compute_node: ComputeNode, agent: Agent
) -> None:
    document = {
        interface.name: interface.error
        for bridge in compute_node.switch.bridges.values()
        for interface in bridge.interfaces.values()
        if interface.error
    }
    assert len(document) == 2
    assert labels_of(page, "ovs_interface_open_error", "bridge", "interface") == {
        ("br-int", name) for name in document
    }
    status = agent.get("/status").text
    assert all(name in status and "No such device" in status for name in document)


def test_controllers_and_the_manager_have_their_series(
    page: Page, compute_node: ComputeNode
) -> None:
    document = {
        (bridge.name, target)
        for bridge in compute_node.switch.bridges.values()
        for target in bridge.controllers
    }
    assert labels_of(page, "ovs_controller_connected", "bridge", "target") == document
    assert {value for _, value in page["ovs_controller_connected"]} == {1}
    assert page["ovs_manager_connected"] == [({"target": "ptcp:6640:127.0.0.1"}, 1)]


def test_the_tunnel_has_its_endpoint(page: Page) -> None:
    assert page["dataplane_tunnel_endpoint_info"] == [
        (
            {
                "implementation": "ovs",
                "device": "vxlan-ac10000b",
                "bridge": "br-tun",
                "tunnel_type": "vxlan",
                "local_ip": "172.16.0.31",
                "remote_ip": "172.16.0.11",
                "key": "flow",
            },
            1,
        )
    ]


def identity(flow: Flow, bridge: str) -> tuple[str, str, str, str]:
    return bridge, str(flow.table), str(flow.priority), flow.match


def test_every_flow_of_the_document_has_its_series(page: Page, compute_node: ComputeNode) -> None:
    key = ("bridge", "table", "priority", "match")
    for bridge in compute_node.switch.bridges:
        document = {identity(flow, bridge) for flow in compute_node.recording.flows(bridge)}
        shown = {
            each for each in labels_of(page, "ovs_flow_packets_total", *key) if each[0] == bridge
        }
        assert shown == document
        info = {each for each in labels_of(page, "ovs_flow_info", *key) if each[0] == bridge}
        assert info == document


def test_names_what_a_flow_does_and_whose_it_is(page: Page) -> None:
    spoofed = [
        labels
        for labels, _ in page["ovs_flow_info"]
        if labels["table"] == "71" and labels["priority"] == "10"
    ]
    assert {(flow["interface"], flow["action"]) for flow in spoofed} == {
        ("tap648437e1-0d", "resubmit"),
        ("tap13abc033-93", "resubmit"),
        ("tap9113df4c-ca", "resubmit"),
    }
    assert {flow["cookie"] for flow in spoofed} == {"0x50ebd87957cf5c44"}
