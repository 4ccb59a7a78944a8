"""The agent on Debian's kernel: its page beside what ovs-dpctl, ip and bridge print."""

from collections.abc import Iterator

import pytest

from agent.wire.unixctl.dpctl import parse_dpctl_show
from lab.agent import Agent
from lab.kernel_switch import TUNNELS, KernelPair, KernelSwitch
from lab.linux_bridge import LinuxBridgeNode
from lab.process import run, wait_until
from lab.routers import RouterNode
from tests.e2e import test_linux_bridge_document as bridge_document
from tests.e2e import test_router_document as router_document
from tests.e2e.kernel_page import has_devices, shown, wait_for
from tests.e2e.page import Page, labels_of, value_of
from tests.wire.netlink.test_vports import shown as shown_by_dpctl

FRESH = {"DATAPLANE_AGENT_SCRAPE__SHARE_SECONDS": "0"}
DATAPATH = "system@ovs-system"
OF_DATAPATH = {
    "ovs_datapath_lookup_hits_total": "hits",
    "ovs_datapath_lookup_missed_total": "missed",
    "ovs_datapath_lookup_lost_total": "lost",
    "ovs_datapath_flows": "flows",
    "ovs_datapath_masks": "masks",
    "ovs_datapath_masks_hit_total": "masks_hit",
    "ovs_datapath_mask_cache_size_entries": "mask_cache_size_entries",
    "ovs_datapath_ports": "ports",
}
OF_PORT = [f"{way}_{what}" for way in ("rx", "tx") for what in ("packets", "bytes")]
OF_PORT += [f"{way}_{what}" for way in ("rx", "tx") for what in ("errors", "dropped")]
KIND = "vxlan"


@pytest.fixture(scope="module")
def agent(kernel_switches: KernelPair) -> Iterator[Agent]:
    """Beside the left switch, whose flows stay as long as nobody revalidates them."""
    left = kernel_switches.left
    left.appctl("revalidator/pause")
    with Agent(left.rundir, env=FRESH, host=left) as agent:
        wait_for(agent, lambda page: "ovs_datapath_flows" in page, "the datapath")
        yield agent
    left.appctl("revalidator/resume")


def quiet_page(agent: Agent, switch: KernelSwitch, *command: str) -> tuple[Page, str]:
    """Return a page and what a command prints, taken while nothing moved."""

    def taken() -> tuple[Page, str] | None:
        before, page = switch.run(*command), shown(agent)
        return (page, before) if switch.run(*command) == before else None

    found = wait_until(taken, 60.0, "a quiet datapath")
    assert found is not None
    return found


def test_lookups_flows_masks_and_caches_are_those_of_ovs_dpctl(
    agent: Agent, kernel_switches: KernelPair
) -> None:
    kernel_switches.ping(KIND, count=3)
    page, printed = quiet_page(agent, kernel_switches.left, "ovs-dpctl", "show")
    (datapath,) = parse_dpctl_show(printed)
    for family, field in OF_DATAPATH.items():
        assert page[family] == [({"datapath": DATAPATH}, getattr(datapath, field))], family
    hits = value_of(page, "ovs_datapath_mask_cache_hits_total", datapath=DATAPATH)
    assert hits == (datapath.mask_cache_hits or 0)  # ovs-dpctl leaves a line of zero out
    assert datapath.missed
    assert datapath.masks


def test_counters_of_ports_are_those_of_ovs_dpctl(
    agent: Agent, kernel_switches: KernelPair
) -> None:
    page, printed = quiet_page(agent, kernel_switches.left, "ovs-dpctl", "show", "-s")
    ports = shown_by_dpctl(printed)
    for interface in (f"veth-{KIND}", f"br-{KIND}"):
        for field in OF_PORT:
            family = f"ovs_interface_{field}_total"
            assert value_of(page, family, interface=interface) == ports[interface][field], family
    assert ports[f"veth-{KIND}"]["rx_packets"] >= 3


def test_the_numbers_keep_coming_while_ovs_vswitchd_hangs(
    agent: Agent, kernel_switches: KernelPair
) -> None:
    left, ends = kernel_switches.left, kernel_switches.ends[KIND]
    before = shown(agent)
    left.pause_vswitchd()
    try:
        # Nobody installs a flow for what is new: it is missed, and goes nowhere.
        run("sh", "-c", "busybox ping -q -c 3 -W 1 10.1.1.99 || true", netns=ends.left)
        page = shown(agent)
    finally:
        left.resume_vswitchd()
    assert value_of(page, "dataplane_agent_source_up", source="ovs_genl") == 1
    assert value_of(page, "dataplane_agent_source_up", source="unixctl") == 0
    missed, packets = "ovs_datapath_lookup_missed_total", "ovs_interface_rx_packets_total"
    assert value_of(page, missed, datapath=DATAPATH) > value_of(before, missed, datapath=DATAPATH)
    device = {"interface": f"veth-{KIND}"}
    assert value_of(page, packets, **device) > value_of(before, packets, **device)
    assert "ovs_upcall_flows" not in page
    wait_for(
        agent,
        lambda page: value_of(page, "dataplane_agent_source_up", source="unixctl") == 1,
        "ovs-vswitchd to be read again",
    )


def test_the_two_tunnels_are_the_only_endpoints(agent: Agent) -> None:
    labels = ("implementation", "device", "bridge", "tunnel_type", "local_ip", "remote_ip", "key")
    assert labels_of(shown(agent), "dataplane_tunnel_endpoint_info", *labels) == {
        ("ovs", f"{kind}0", f"br-{kind}", kind, "10.0.0.1", "10.0.0.2", str(port))
        for kind, port in TUNNELS.items()
    }


def test_namespaces_behind_the_switches_have_their_links(
    agent: Agent, kernel_switches: KernelPair
) -> None:
    page, pair = shown(agent), kernel_switches
    devices = labels_of(page, "netns_network_info", "netns", "device", "kind")
    assert {each for each in devices if each[0] == pair.ends[KIND].left} == {
        (pair.ends[KIND].left, "eth0", "veth")
    }
    # An internal port in a router's namespace is a device of Open vSwitch there.
    moved = pair.ends[KIND].right
    assert {each for each in devices if each[0] == moved} == {(moved, f"int-{KIND}", "openvswitch")}
    # What Open vSwitch counts of this host is not counted again; its wire is a veth of nobody's.
    assert {device for netns, device, _ in devices if not netns} == {"underlay"}


def test_connection_tracking_of_the_host_is_the_datapaths(agent: Agent) -> None:
    page = shown(agent)
    limit = value_of(page, "ovs_conntrack_entries_limit", datapath=DATAPATH)
    assert [({}, limit)] == [x for x in page["netns_conntrack_entries_limit"] if not x[0]]


def test_the_linux_bridge_node_is_the_document_with_a_geneve_device_beside() -> None:
    run("modprobe", "--all", "tun", "geneve")
    with LinuxBridgeNode() as node:
        node.run("ip", "link", "add", "gnv0", "type", "geneve", "id", "7", "remote", "172.16.0.11")
        with Agent(node.directory, "--collector.address", host=node) as agent:
            page = wait_for(agent, lambda page: "netns_network_info" in page, "links")
            gnv0 = {"device": "gnv0"}
            geneve = [
                x for x, _ in page["dataplane_tunnel_endpoint_info"] if gnv0.items() <= x.items()
            ]
            assert [
                (x["tunnel_type"], x["remote_ip"], x["key"], x["dst_port"]) for x in geneve
            ] == [("geneve", "172.16.0.11", "7", "6081")]
            node.run("ip", "link", "delete", "gnv0")
            page = wait_for(
                agent, has_devices(bridge_document.devices(node)), "the document's links alone"
            )
            bridge_document.test_the_kernel_is_followed_without_any_switch(page)
            bridge_document.test_every_link_of_the_document_has_its_series_and_no_other(page, node)
            bridge_document.test_links_are_up_have_a_carrier_and_their_mtu(page, node)
            bridge_document.test_every_bridge_of_the_document_has_its_settings(page, node)
            bridge_document.test_every_member_of_the_document_forwards(page, node)
            bridge_document.test_the_tunnel_of_the_document_is_the_only_endpoint(page)


def test_the_router_node_is_the_document_before_and_after_the_floating_ip() -> None:
    run("modprobe", "tun")
    with (
        RouterNode() as node,
        Agent(node.switch.rundir, "--collector.address", host=node) as agent,
    ):
        page = wait_for(agent, has_devices(router_document.BEFORE), "the document's devices")
        router_document.test_every_namespace_of_the_document_has_its_role_and_id(page)
        router_document.test_every_device_of_the_document_has_its_series_and_no_other(page, node)
        node.assign_floating_ip()
        after = router_document.BEFORE | router_document.ASSIGNED
        page = wait_for(agent, has_devices(after), "the devices of the floating IP")
        assert labels_of(page, "netns_address_info", *router_document.ADDRESS) == (
            router_document.addresses(node)
        )
