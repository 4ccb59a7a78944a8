"""Prometheus joins what is counted with whose it is, on the node of the demo."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.agent import Agent
from lab.compute import ComputeNode
from lab.process import wait_until
from lab.prometheus import Job, Prometheus, Series
from lab.traffic import TAP_AMPHORA, TAP_SSH, TAP_VIP, Steady
from tests.e2e.instance_page import wait_for_counters

pytestmark = [pytest.mark.e2e, pytest.mark.node, pytest.mark.usefixtures("prometheus_installed")]

LOST = (
    "rate(ovs_interface_flow_dropped_packets_total[1m])"
    " * on (instance, interface) group_left (domain, instance_name)"
    " dataplane_instance_interface_info > 0"
)
NOT_READ = (
    "rate(libvirt_domain_interface_stats_receive_drops_total[1m])"
    " * on (instance, domain) group_left (instance_name) libvirt_domain_openstack_info"
)
NOT_SENT = (
    "rate(netns_network_tx_dropped_total[1m])"
    " * on (instance, device) group_left (domain, instance_name)"
    ' label_replace(dataplane_instance_interface_info, "device", "$1", "interface", "(.+)")'
)
PAGE = Path(__file__).parents[2] / "docs" / "instances.md"
REFUSED = "ct_state=-est,reg5=0x6"
"""The flow that loses what is for the virtual IP's port."""


@pytest.fixture(scope="module")
def prometheus(compute_node_with_domains: ComputeNode) -> Iterator[Prometheus]:
    """One that scrapes a node with all kinds of traffic, until every join has an answer."""
    node = compute_node_with_domains
    with Agent(node.rundir, f"--libvirt.uri={node.hypervisor.uri}") as agent, Steady(node):
        wait_for_counters(agent, node)
        with Prometheus(Job([f"127.0.0.1:{agent.port}"])) as prometheus:
            for promql in (LOST, NOT_READ, NOT_SENT):
                wait_until(
                    lambda promql=promql: TAP_VIP in text_of(prometheus.query(promql)),  # type: ignore[misc] # mypy sees no type in a default
                    timeout=30,
                    what=promql,
                )
            yield prometheus


def text_of(rows: list[Series]) -> set[str]:
    return {value for row in rows for value in row.labels.values()}


def owners(rows: list[Series], label: str) -> dict[str, tuple[str | None, str | None]]:
    """Return domain and instance's name by a label that tells the rows apart."""
    found = {
        row.labels[label]: (row.labels.get("domain"), row.labels.get("instance_name"))
        for row in rows
    }
    assert len(found) == len(rows)
    return found


def test_what_the_switch_loses_has_the_instances_name(
    prometheus: Prometheus, compute_node_with_domains: ComputeNode
) -> None:
    instance = compute_node_with_domains.instance
    assert owners(prometheus.query(LOST), "interface") == {
        TAP_VIP: (instance.domain, instance.name),
        TAP_SSH: (None, None),
    }


def test_what_a_guest_does_not_read_has_the_instances_name(
    prometheus: Prometheus, compute_node_with_domains: ComputeNode
) -> None:
    instance = compute_node_with_domains.instance
    owner = instance.domain, instance.name
    assert owners(prometheus.query(NOT_READ), "target_device") == {
        TAP_AMPHORA: owner,
        TAP_VIP: owner,
    }


def test_what_the_kernel_drops_at_a_tap_has_the_instances_name(
    prometheus: Prometheus, compute_node_with_domains: ComputeNode
) -> None:
    node = compute_node_with_domains
    owner = node.instance.domain, node.instance.name
    # other nodes of the lab may be beside it, with the same taps
    rows = [row for row in prometheus.query(NOT_SENT) if row.labels["netns"] == node.name]
    assert owners(rows, "device") == {TAP_AMPHORA: owner, TAP_VIP: owner, TAP_SSH: (None, None)}


def test_the_page_on_instances_leads_from_an_instance_to_the_flow_that_loses_its_packets(
    prometheus: Prometheus, compute_node_with_domains: ComputeNode
) -> None:
    """Its queries as they stand there: the instance in them is the document's."""
    text = PAGE.read_text()
    at_ports, by_flows, at_devices = (
        prometheus.query(promql) for promql in re.findall(r"```promql\n(.*?)```", text, re.DOTALL)
    )
    (port,) = at_ports
    assert (port.labels["interface"], port.labels["direction"]) == (TAP_VIP, "to_instance")
    assert port.labels["domain"] == compute_node_with_domains.instance.domain
    assert port.value > 0
    (flow,) = by_flows
    assert (flow.labels["table"], flow.labels["match"]) == ("82", REFUSED)
    assert flow.labels["interface"] == TAP_VIP
    assert flow.value > 0
    assert {row.labels["target_device"]: row.value for row in at_devices} == {
        TAP_AMPHORA: 0,
        TAP_VIP: 0,
    }
