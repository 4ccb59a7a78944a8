"""What the document's node drops, by the page: the lost ones by table and tap, and no others."""

import subprocess
from collections.abc import Iterator

import pytest

from lab import traffic
from lab.agent import PROGRAM, Agent
from lab.compute import ComputeNode
from lab.process import wait_until
from tests.e2e.page import Page, labels_of, parse

pytestmark = [pytest.mark.e2e, pytest.mark.node]

SPOOFED, REFUSED, INVALID, ACCEPTED = 6, 4, 3, 5
DROPPED = "ovs_flow_table_dropped_packets_total"


@pytest.fixture
def agent(own_compute_node: ComputeNode) -> Iterator[Agent]:
    env = {
        "DATAPLANE_AGENT_SCRAPE__SHARE_SECONDS": "0",
        "DATAPLANE_AGENT_FLOWS__DUTY_CYCLE": "1",
    }
    with Agent(own_compute_node.rundir, env=env) as agent:
        # Nothing is judged before the database has said which ports are patch ports.
        wait_until(lambda: judged(agent), what="a page with judged flows")
        yield agent


def judged(agent: Agent) -> bool:
    """Say whether every bridge has its ledgers."""
    page = parse(agent.metrics())
    bridges = labels_of(page, "ovs_bridge_info", "bridge")
    return bool(bridges) and bridges == labels_of(page, DROPPED, "bridge")


def dropped(page: Page, kind: str) -> dict[tuple[str, str], float]:
    return {
        (labels["bridge"], labels["table"]): packets
        for labels, packets in page[DROPPED]
        if labels["kind"] == kind and packets
    }


def by_interface(page: Page) -> dict[tuple[str, str], float]:
    return {
        (labels["interface"], labels["direction"]): packets
        for labels, packets in page["ovs_interface_flow_dropped_packets_total"]
        if packets
    }


def test_each_lost_packet_is_counted_once_where_it_died_and_whose_it_was(
    own_compute_node: ComputeNode, agent: Agent
) -> None:
    before = parse(agent.metrics())
    assert dropped(before, "lost") == {}
    traffic.spoofed(own_compute_node, SPOOFED)
    traffic.spoofed(own_compute_node, 2, traffic.TAP_AMPHORA)
    traffic.refused(own_compute_node, REFUSED)
    traffic.invalid(own_compute_node, INVALID)
    traffic.api_calls(own_compute_node, ACCEPTED)  # table 92 drops copies of these
    own_compute_node.appctl("revalidator/wait")
    page = parse(agent.metrics())
    assert dropped(page, "lost") == {
        ("br-int", "71"): SPOOFED + 2,
        ("br-int", "72"): INVALID,
        ("br-int", "82"): REFUSED,
    }
    assert dropped(page, "copy") == {}
    assert by_interface(page) == {
        (traffic.TAP_SSH, "from_instance"): SPOOFED,
        (traffic.TAP_AMPHORA, "from_instance"): 2,
        (traffic.TAP_VIP, "to_instance"): REFUSED,
    }
    names = {
        (labels["bridge"], labels["table"]): labels["name"]
        for labels, _ in page["ovs_flow_table_info"]
    }
    assert {names["br-int", table] for table in ("71", "72", "82")} == {
        "base_egress",
        "rules_egress",
        "rules_ingress",
    }


def test_once_counts_from_the_flows_own_figures_and_says_so(
    own_compute_node: ComputeNode,
) -> None:
    traffic.spoofed(own_compute_node, SPOOFED)
    own_compute_node.appctl("revalidator/wait")
    command = [str(PROGRAM), "once", f"--ovs.rundir={own_compute_node.rundir}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lost = f'{DROPPED}{{bridge="br-int",table="71",kind="lost"}}'
    assert f"\n{lost} {SPOOFED}\n" in done.stdout
    assert "ledgers begin at the figures of flows" in done.stderr


def test_flood_copies_that_other_bridges_drop_are_told_apart(
    own_compute_node: ComputeNode, agent: Agent
) -> None:
    agent.metrics()
    traffic.multicast_on_wire(own_compute_node, 5)
    own_compute_node.appctl("revalidator/wait")
    page = parse(agent.metrics())
    assert dropped(page, "lost") == {}
    assert dropped(page, "patch") == {("br-mgmt", "0"): 5, ("br-tun", "22"): 5}
