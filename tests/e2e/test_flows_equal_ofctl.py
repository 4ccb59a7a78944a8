"""On a quiet switch the page says what ``ovs-ofctl --names dump-flows`` says, number by number."""

from collections.abc import Iterator

import pytest

from lab import traffic
from lab.agent import Agent
from lab.compute import ComputeNode
from lab.process import wait_until
from lab.recorded import parse_flows
from tests.e2e.page import Page, parse

pytestmark = [pytest.mark.e2e, pytest.mark.node]

Counted = set[tuple[str, str, str, float, float]]


@pytest.fixture(scope="module")
def agent(compute_node: ComputeNode) -> Iterator[Agent]:
    # Every scrape reads anew: the test compares two readings of the same quiet moment.
    env = {"DATAPLANE_AGENT_SCRAPE__SHARE_SECONDS": "0"}
    with Agent(compute_node.rundir, env=env) as agent:
        yield agent


def shown(page: Page, bridge: str) -> Counted:
    octets = {tuple(sorted(labels.items())): v for labels, v in page["ovs_flow_bytes_total"]}
    return {
        (
            labels["table"],
            labels["priority"],
            labels.get("match", ""),
            packets,
            octets[tuple(sorted(labels.items()))],
        )
        for labels, packets in page["ovs_flow_packets_total"]
        if labels["bridge"] == bridge
    }


def dumped(node: ComputeNode, bridge: str, version: str) -> Counted:
    flows = parse_flows(node.ofctl("-O", version, "--names", "dump-flows", bridge))
    return {
        (str(f.table), str(f.priority), f.match, float(f.packets), float(f.bytes)) for f in flows
    }


def quiet(node: ComputeNode) -> None:
    """Wait until what was sent is counted and nothing counts any more."""

    def settled() -> bool:
        before = {bridge: node.flows(bridge) for bridge in node.switch.bridges}
        return before == {bridge: node.flows(bridge) for bridge in node.switch.bridges}

    wait_until(settled, what="the switch to be quiet")


def test_the_page_equals_ofctl_after_traffic(compute_node: ComputeNode, agent: Agent) -> None:
    for kind in traffic.KINDS:
        kind(compute_node, 7)
    traffic.spoofed(compute_node, 5, traffic.TAP_AMPHORA)
    quiet(compute_node)
    page = parse(agent.metrics())
    counted = 0
    for bridge in compute_node.switch.bridges:
        expected = dumped(compute_node, bridge, "OpenFlow14")
        assert shown(page, bridge) == expected
        counted += sum(1 for *_, packets, _ in expected if packets)
    assert counted > 30, "the traffic should have met many flows"


def test_a_bridge_that_allows_only_1_3_shows_the_same(
    own_compute_node: ComputeNode,
) -> None:
    own_compute_node.vsctl("set", "Bridge", "br-tun", "protocols=OpenFlow13")
    traffic.arp_out(own_compute_node, 3)
    quiet_13 = own_compute_node.appctl("revalidator/wait")
    assert quiet_13 == ""
    with Agent(own_compute_node.rundir) as agent:
        page = parse(agent.metrics())
    assert shown(page, "br-tun") == dumped(own_compute_node, "br-tun", "OpenFlow13")


def test_ports_equal_ofctl(compute_node: ComputeNode, agent: Agent) -> None:
    quiet(compute_node)
    page = parse(agent.metrics())
    seen = 0
    for bridge in compute_node.switch.bridges:
        numbers = {
            labels["interface"]: (labels["bridge"], value)
            for labels, value in page["ovs_interface_rx_packets_total"]
        }
        text = compute_node.ofctl("-O", "OpenFlow14", "--names", "dump-ports", bridge)
        for line in text.splitlines():
            if "rx pkts=" not in line:
                continue
            name = line.split(":")[0].split()[-1].strip('"')
            name = bridge if name == "LOCAL" else name
            packets = float(line.split("rx pkts=")[1].split(",")[0])
            assert numbers[name] == (bridge, packets)
            seen += 1
    assert seen >= 15
