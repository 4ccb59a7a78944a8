"""The Linux bridge node of the document, from the kernel to the page: all of it, nothing else."""

from collections.abc import Iterator

import pytest

from lab import frames
from lab.agent import Agent
from lab.frames import Host as Party
from lab.linux_bridge import PEER, SILENT_PEER, TUNNEL, LinuxBridgeNode
from lab.process import wait_until
from tests.e2e.kernel_page import (
    counted_by_kernel,
    counted_by_page,
    families_of,
    growth,
    has_devices,
    only,
    shown,
    wait_for,
)
from tests.e2e.page import Page, labels_of, value_of

pytestmark = [pytest.mark.e2e, pytest.mark.node, pytest.mark.usefixtures("open_vswitch")]

FORWARDING, DISABLED = 3, 0
TAP, OTHER_TAP = "tap26632aea-3c", "tap9d34b34b-3f"
ETHERNET_HEADER, VXLAN_HEADERS = 14, 50
"""Bytes: of a frame, and of what is put around one (Ethernet, IPv4, UDP, VXLAN)."""


@pytest.fixture(scope="module")
def bridges() -> Iterator[LinuxBridgeNode]:
    with LinuxBridgeNode() as node:
        yield node


@pytest.fixture(scope="module")
def agent(bridges: LinuxBridgeNode) -> Iterator[Agent]:
    with Agent(bridges.directory, "--collector.address", host=bridges) as agent:
        wait_for(agent, has_devices(devices(bridges)), "links and their counters")
        yield agent


@pytest.fixture
def page(agent: Agent) -> Page:
    return shown(agent)


@pytest.fixture
def own_bridges() -> Iterator[LinuxBridgeNode]:
    with LinuxBridgeNode() as node:
        yield node


@pytest.fixture
def own_agent(own_bridges: LinuxBridgeNode) -> Iterator[Agent]:
    """For what changes the node."""
    with Agent(own_bridges.directory, host=own_bridges) as agent:
        wait_for(agent, has_devices(devices(own_bridges)), "links and their counters")
        yield agent


def devices(node: LinuxBridgeNode) -> set[tuple[str, ...]]:
    return {("", name) for name in node.links}


# -- the document ----------------------------------------------------------------------------------


def test_the_kernel_is_followed_without_any_switch(page: Page) -> None:
    assert value_of(page, "dataplane_agent_source_up", source="rtnetlink") == 1
    assert value_of(page, "dataplane_agent_source_up", source="ovsdb") == 0
    for collector in ("address", "link", "linux_bridge", "namespace", "qdisc"):
        name = "dataplane_agent_scrape_collector_success"
        assert value_of(page, name, collector=collector) == 1, collector


def test_every_link_of_the_document_has_its_series_and_no_other(
    page: Page, bridges: LinuxBridgeNode
) -> None:
    document = {
        # The lab's hardware is a veth.
        ("", link.name, link.kind or "veth", link.master, link.mac, "")
        for link in bridges.links.values()
    }
    labels = ("netns", "device", "kind", "master", "mac", "vlan")
    assert labels_of(page, "netns_network_info", *labels) == document
    assert len(document) == 7
    assert families_of(page) == dict.fromkeys(families_of(page), devices(bridges))


def test_links_are_up_have_a_carrier_and_their_mtu(page: Page, bridges: LinuxBridgeNode) -> None:
    for link in bridges.links.values():
        assert only(page, "netns_network_up", "", link.name) == ("UP" in link.flags)
        assert only(page, "netns_network_carrier", "", link.name) == ("LOWER_UP" in link.flags)
        assert only(page, "netns_network_mtu_bytes", "", link.name) == link.mtu


def test_labels_that_are_empty_are_left_out(page: Page) -> None:
    (eth0,) = [x for x, _ in page["netns_network_info"] if x["device"] == "eth0"]
    assert set(eth0) == {"device", "kind", "mac"}


def test_every_bridge_of_the_document_has_its_settings(
    page: Page, bridges: LinuxBridgeNode
) -> None:
    assert page["linux_bridge_info"] == [
        (
            {
                "device": link.name,
                "stp": link.option("stp_state"),
                "vlan_filtering": link.option("vlan_filtering"),
            },
            1,
        )
        for link in bridges.links.values()
        if link.kind == "bridge"
    ]


def test_every_member_of_the_document_forwards(page: Page, bridges: LinuxBridgeNode) -> None:
    document = {("", x.master, x.name) for x in bridges.links.values() if x.master}
    assert len(document) == 4
    for name in ("linux_bridge_port_state", "linux_bridge_fdb_entries"):
        assert labels_of(page, name, "netns", "bridge", "device") == document
    assert {value for _, value in page["linux_bridge_port_state"]} == {FORWARDING}


def test_the_tunnel_of_the_document_is_the_only_endpoint(page: Page) -> None:
    assert page["dataplane_tunnel_endpoint_info"] == [
        (
            {
                "implementation": "linux",
                "device": "vxlan-267",
                "bridge": "brqc08e7dcd-4a",
                "tunnel_type": "vxlan",
                "local_ip": "172.16.0.31",
                "key": "267",
                "dst_port": "8472",
            },
            1,
        )
    ]


def test_remote_endpoints_are_those_of_the_forwarding_table(page: Page) -> None:
    entries = {x["remote_ip"]: v for x, v in page["linux_vxlan_remote_entries"]}
    assert entries == {PEER: 2, SILENT_PEER: 1}  # for all others, and for one instance
    assert labels_of(page, "linux_vxlan_remote_entries", "netns", "device") == {("", TUNNEL)}


def test_the_address_of_the_tunnel_is_the_only_one(page: Page) -> None:
    address = ("", "eth0", "172.16.0.31/24", "inet", "global")
    labels = ("netns", "device", "address", "family", "scope")
    assert labels_of(page, "netns_address_info", *labels) == {address}


def test_there_is_no_namespace(page: Page) -> None:
    assert "netns_info" not in page
    assert not any("netns" in x for rows in page.values() for x, _ in rows)


def test_nothing_is_missed_where_no_switch_is_expected(bridges: LinuxBridgeNode) -> None:
    without = {"DATAPLANE_AGENT_OVS__ENABLED": "false"}
    with Agent(bridges.directory, env=without, host=bridges) as agent:
        page = wait_for(
            agent,
            # the first reading of connection tracking may come before the namespaces are open
            lambda page: "netns_conntrack_entries" in page and has_devices(devices(bridges))(page),
            "links and their counters",
        )
        assert labels_of(page, "dataplane_tunnel_endpoint_info", "device") == {(TUNNEL,)}
        failed = [x for x, v in page["dataplane_agent_scrape_collector_success"] if v != 1]
        assert failed == []
        up = {x["source"]: v for x, v in page["dataplane_agent_source_up"]}
        expected = {x["source"] for x, v in page["dataplane_agent_source_configured"] if v == 1}
        assert "rtnetlink" in expected
        assert {source: up[source] for source in expected} == dict.fromkeys(expected, 1)
        assert {v for _, v in page["dataplane_agent_source_failures_total"]} == {0}
        assert "source down" not in agent.log


# -- what happens on it ----------------------------------------------------------------------------


def test_addresses_are_off_by_default(own_agent: Agent) -> None:
    assert "netns_address_info" not in shown(own_agent)


def test_what_goes_through_the_tunnel_is_counted_packet_by_packet(
    own_bridges: LinuxBridgeNode, own_agent: Agent
) -> None:
    before = counted_by_page(shown(own_agent))
    remote, guest = own_bridges.remote, own_bridges.guests[TAP]
    frame = frames.echo(remote.host, guest.host)
    remote.send(frame, 100)
    wait_until(lambda: remote.received_frames == 100, what="a hundred answers")
    kernel = counted_by_kernel(own_bridges, "")
    del kernel["", "lo"]

    def is_exact(page: Page) -> bool:
        return counted_by_page(page) == kernel

    after = counted_by_page(wait_for(own_agent, is_exact, "the kernel's own numbers"))
    inside, around = len(frame), len(frame) + VXLAN_HEADERS
    both = {"rx_packets": 100.0, "tx_packets": 100.0}
    # What a bridge's member takes in has lost its header when vxlan counts it.
    stripped = 100.0 * (inside - ETHERNET_HEADER)
    assert growth(before, after) == {
        ("", "eth0"): {**both, "rx_bytes": 100.0 * around, "tx_bytes": 100.0 * around},
        ("", TUNNEL): {**both, "rx_bytes": stripped, "tx_bytes": stripped},
        ("", TAP): {**both, "rx_bytes": 100.0 * inside, "tx_bytes": 100.0 * inside},
    }


def test_learnt_addresses_are_counted_where_they_are(
    own_bridges: LinuxBridgeNode, own_agent: Agent
) -> None:
    def entries(page: Page) -> dict[str, float]:
        return {x["device"]: v for x, v in page["linux_bridge_fdb_entries"]}

    quiet = {"eth3": 0.0, TAP: 0.0, OTHER_TAP: 0.0, TUNNEL: 0.0}
    assert entries(shown(own_agent)) == quiet
    remote, guest = own_bridges.remote, own_bridges.guests[TAP]
    stranger = Party("fa:16:3e:00:00:01", "192.168.101.33")
    for sender in (remote.host, stranger):
        remote.send(frames.echo(sender, guest.host))

    def is_learnt(page: Page) -> bool:
        return entries(page) == {**quiet, TAP: 1, TUNNEL: 2}

    page = wait_for(own_agent, is_learnt, "three learnt addresses")
    # The tunnel has learnt as well where the stranger is.
    learnt = {x["remote_ip"]: v for x, v in page["linux_vxlan_remote_entries"]}
    assert learnt == {PEER: 3, SILENT_PEER: 1}


def test_a_cable_that_is_pulled_is_seen_and_again_when_it_is_back(
    own_bridges: LinuxBridgeNode, own_agent: Agent
) -> None:
    changes = only(shown(own_agent), "netns_network_carrier_changes_total", "", "eth3")

    def is_(carrier: int, state: int, changed: int) -> bool:
        page = shown(own_agent)
        return (
            only(page, "netns_network_carrier", "", "eth3") == carrier
            and only(page, "linux_bridge_port_state", "", "eth3") == state
            and only(page, "netns_network_carrier_changes_total", "", "eth3") == changes + changed
        )

    own_bridges.unplug("eth3")
    wait_until(lambda: is_(0, DISABLED, 1), what="no carrier")
    assert only(shown(own_agent), "netns_network_up", "", "eth3") == 1
    own_bridges.plug("eth3")
    wait_until(lambda: is_(1, FORWARDING, 2), what="a carrier")


def test_a_member_that_leaves_its_bridge_has_no_port_any_more(
    own_bridges: LinuxBridgeNode, own_agent: Agent
) -> None:
    before = devices(own_bridges)
    own_bridges.run("ip", "link", "set", OTHER_TAP, "nomaster")
    # A tap of its own is nothing of the virtual network.
    page = wait_for(own_agent, has_devices(before - {("", OTHER_TAP)}), "the tap to go")
    assert OTHER_TAP not in {
        name for (name,) in labels_of(page, "linux_bridge_port_state", "device")
    }
    own_bridges.run("ip", "link", "set", OTHER_TAP, "master", "brqc08e7dcd-4a")
    page = wait_for(own_agent, has_devices(before), "the tap to come back")
    assert ("brqc08e7dcd-4a", OTHER_TAP) in labels_of(
        page, "linux_bridge_port_state", "bridge", "device"
    )


def test_a_tunnel_that_is_deleted_takes_its_series_with_it(
    own_bridges: LinuxBridgeNode, own_agent: Agent
) -> None:
    own_bridges.run("ip", "link", "delete", TUNNEL)
    left = devices(own_bridges) - {("", TUNNEL)}
    wait_for(own_agent, has_devices(left), "the tunnel to go")
    page = wait_for(own_agent, lambda page: not mentioned(page, TUNNEL), "all of it to go")
    assert "dataplane_tunnel_endpoint_info" not in page
    assert "linux_vxlan_remote_entries" not in page


def mentioned(page: Page, device: str) -> bool:
    return any(device in x.values() for rows in page.values() for x, _ in rows)
