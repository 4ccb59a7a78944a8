"""The router namespaces of the document, from the kernel to the page: all of it, nothing else."""

import os
from collections.abc import Iterator

import pytest

from lab import frames, namespace
from lab.agent import Agent
from lab.process import wait_until
from lab.recorded import parse_links
from lab.routers import GUEST_TAP, ControllerNode, RouterNode, Routers
from tests.e2e.kernel_page import (
    Devices,
    counted_by_kernel,
    counted_by_page,
    devices_of,
    families_of,
    growth,
    has_devices,
    only,
    shown,
    wait_for,
)
from tests.e2e.page import Page, labels_of, value_of

pytestmark = [pytest.mark.e2e, pytest.mark.node, pytest.mark.usefixtures("open_vswitch")]

FIP = "fip-02e2d514-529e-4067-bbf4-807943ea6472"
ROUTERS = (
    "qrouter-703db450-5cd2-4f8c-a525-a0cd9f90cb3f",
    "qrouter-13fe8525-da22-42de-aeb6-84f41a3b607d",
    "qrouter-242fcb80-e9e1-410b-ba4e-7617d1c384ad",
)
BEFORE: Devices = {
    (FIP, "fpr-703db450-5"),
    (FIP, "fg-6e12764c-ba"),
    (ROUTERS[0], "rfp-703db450-5"),
    (ROUTERS[1], "qr-85285e17-5d"),
    (ROUTERS[2], "qr-b4b97d8a-7c"),
}
ASSIGNED: Devices = {
    (FIP, "fpr-13fe8525-d"),
    (ROUTERS[1], "rfp-13fe8525-d"),
    (ROUTERS[2], "rfp-242fcb80-e"),
}
ADDRESS = ("netns", "device", "address", "family", "scope")


@pytest.fixture(scope="module")
def routers() -> Iterator[RouterNode]:
    with RouterNode() as node:
        yield node


@pytest.fixture(scope="module")
def agent(routers: RouterNode) -> Iterator[Agent]:
    with Agent(routers.switch.rundir, "--collector.address", host=routers) as agent:
        wait_for(agent, has_devices(BEFORE), "links and their counters")
        yield agent


@pytest.fixture
def page(agent: Agent) -> Page:
    return shown(agent)


@pytest.fixture
def own_routers() -> Iterator[RouterNode]:
    with RouterNode() as node:
        yield node


@pytest.fixture
def own_agent(own_routers: RouterNode) -> Iterator[Agent]:
    """For what changes the node."""
    with Agent(own_routers.switch.rundir, "--collector.address", host=own_routers) as agent:
        wait_for(agent, has_devices(BEFORE), "links")
        yield agent


def devices(node: Routers) -> Devices:
    return {(netns, name) for netns, found in node.devices.items() for name in found}


def addresses(node: Routers) -> set[tuple[str, ...]]:
    return {
        (netns, name, each.address, each.family, each.scope)
        for netns, found in node.devices.items()
        for name, device in found.items()
        for each in device.addresses
    }


def kind_of(device: str) -> str:
    """Return the kind of a device here: ports of a userspace switch are taps."""
    return "veth" if device.startswith(("fpr-", "rfp-")) else "tun"


# -- the document, before a floating IP is assigned ------------------------------------------------


def test_all_sources_are_up(page: Page) -> None:
    for source in ("rtnetlink", "netns", "ovsdb", "openflow", "unixctl"):
        assert value_of(page, "dataplane_agent_source_up", source=source) == 1, source
    failed = [x for x, v in page["dataplane_agent_scrape_collector_success"] if v != 1]
    assert failed == []


def test_every_namespace_of_the_document_has_its_role_and_id(page: Page) -> None:
    assert labels_of(page, "netns_info", "netns", "role", "id") == {
        (FIP, "fip", "02e2d514-529e-4067-bbf4-807943ea6472"),
        *((name, "qrouter", name.removeprefix("qrouter-")) for name in ROUTERS),
    }


def test_every_device_of_the_document_has_its_series_and_no_other(
    page: Page, routers: RouterNode
) -> None:
    assert devices_of(page) == devices(routers) == BEFORE
    assert families_of(page) == dict.fromkeys(families_of(page), BEFORE)


def test_devices_are_what_the_document_says_of_them(page: Page, routers: RouterNode) -> None:
    labels = ("netns", "device", "kind", "master", "mac", "vlan")
    assert labels_of(page, "netns_network_info", *labels) == {
        (netns, device.name, kind_of(device.name), "", device.link.mac, "")
        for netns, found in routers.devices.items()
        for device in found.values()
    }
    for netns, found in routers.devices.items():
        for device in found.values():
            assert only(page, "netns_network_up", netns, device.name) == 1
            assert only(page, "netns_network_carrier", netns, device.name) == 1
            assert only(page, "netns_network_mtu_bytes", netns, device.name) == device.link.mtu


def test_every_address_of_the_document_has_its_series_and_no_other(
    page: Page, routers: RouterNode
) -> None:
    shown_here = labels_of(page, "netns_address_info", *ADDRESS)
    assert shown_here == addresses(routers)
    assert {address for netns, _, address, _, _ in shown_here if netns == FIP} == {
        "169.254.30.51/31",
        "fe80::380b:24ff:fe74:570d/64",
        "192.168.74.103/24",
        "fe80::f816:3eff:fed2:8589/64",
    }


def test_devices_of_the_switch_are_not_counted_a_second_time(page: Page) -> None:
    assert all(netns for netns, _ in devices_of(page))
    assert ("br-int", GUEST_TAP) in labels_of(
        page, "ovs_interface_rx_packets_total", "bridge", "interface"
    )


# -- a floating IP ---------------------------------------------------------------------------------


def test_a_floating_ip_brings_its_devices_and_addresses_and_changes_no_other(
    own_routers: RouterNode, own_agent: Agent
) -> None:
    before = labels_of(shown(own_agent), "netns_address_info", *ADDRESS)
    own_routers.assign_floating_ip()
    wait_for(own_agent, has_devices(BEFORE | ASSIGNED), "the devices of the floating IP")
    assert devices(own_routers) == BEFORE | ASSIGNED

    def is_complete(page: Page) -> bool:
        return labels_of(page, "netns_address_info", *ADDRESS) == addresses(own_routers)

    page = wait_for(own_agent, is_complete, "the addresses of the floating IP")
    after = labels_of(page, "netns_address_info", *ADDRESS)
    assert before < after
    floating = (ROUTERS[2], "rfp-242fcb80-e", "192.168.74.104/32", "inet", "global")
    assert floating in after - before
    assert {each[:2] for each in after - before} == ASSIGNED


def test_a_floating_ip_that_is_taken_away_leaves_the_device(
    own_routers: RouterNode, own_agent: Agent
) -> None:
    own_routers.assign_floating_ip()
    floating = (ROUTERS[2], "rfp-242fcb80-e", "192.168.74.104/32", "inet", "global")

    def has_it(page: Page) -> bool:
        return floating in labels_of(page, "netns_address_info", *ADDRESS)

    wait_for(own_agent, has_it, "the floating IP")
    words = ("address", "delete", "192.168.74.104/32", "dev", "rfp-242fcb80-e")
    own_routers.run("ip", *words, netns=ROUTERS[2])
    page = wait_for(own_agent, lambda page: not has_it(page), "the floating IP to go")
    assert devices_of(page) == BEFORE | ASSIGNED
    left = labels_of(page, "netns_address_info", *ADDRESS)
    assert left == addresses(own_routers) - {floating}


# -- namespaces come and go ------------------------------------------------------------------------


def test_a_namespace_that_is_deleted_takes_its_series_with_it(
    own_routers: RouterNode, own_agent: Agent
) -> None:
    own_routers.delete_namespace(FIP)
    # The other end of a pair goes with it, once nobody keeps the namespace alive: nor the agent.
    gone = (ROUTERS[0], "rfp-703db450-5")
    left: Devices = {each for each in BEFORE - {gone} if each[0] != FIP}
    wait_for(own_agent, has_devices(left), "the namespace to go")
    assert "rfp-703db450-5" not in parse_links(own_routers.run("ip", "address", netns=gone[0]))
    # What was read of it just before is shared between scrapes, for a second at most.
    page = wait_for(own_agent, lambda page: not mentions(page, FIP), "all of it to go")
    assert labels_of(page, "netns_info", "netns") == {(name,) for name in ROUTERS}


def mentions(page: Page, netns: str) -> bool:
    return any(labels.get("netns") == netns for rows in page.values() for labels, _ in rows)


def test_a_namespace_that_comes_back_begins_anew(own_routers: RouterNode, own_agent: Agent) -> None:
    own_routers.delete_namespace(ROUTERS[1])
    own_routers.add_namespace(ROUTERS[1])
    words = ("link", "add", "qr-new", "type", "veth", "peer", "name", "qg-new")
    own_routers.run("ip", *words, netns=ROUTERS[1])
    new = {(ROUTERS[1], "qr-new"), (ROUTERS[1], "qg-new")}
    left: Devices = {each for each in BEFORE if each[0] != ROUTERS[1]}
    page = wait_for(own_agent, has_devices(left | new), "the new devices")
    assert only(page, "netns_network_up", ROUTERS[1], "qr-new") == 0
    assert (ROUTERS[1],) in labels_of(page, "netns_info", "netns")


def test_the_controllers_snat_namespace_is_shown() -> None:
    with ControllerNode() as node, Agent(node.directory, "--collector.address", host=node) as agent:
        page = wait_for(agent, has_devices(devices(node)), "the controller's links")
        (netns,) = node.devices
        assert labels_of(page, "netns_info", "netns", "role", "id") == {
            (netns, "snat", netns.removeprefix("snat-"))
        }
        assert labels_of(page, "netns_address_info", *ADDRESS) == addresses(node)


# -- traffic ---------------------------------------------------------------------------------------


def test_an_instance_and_its_router_are_counted_packet_by_packet(
    own_routers: RouterNode, own_agent: Agent
) -> None:
    before = counted_by_page(shown(own_agent))
    port = own_routers.devices[ROUTERS[1]]["qr-85285e17-5d"]
    guest = own_routers.guest
    received = guest.received_frames
    frame = frames.echo(guest.host, port.party)
    guest.send(frame, 100)
    wait_until(lambda: guest.received_frames == received + 100, what="a hundred answers")
    numbers = {"rx_packets": 100.0, "tx_packets": 100.0}
    numbers |= {"rx_bytes": 100.0 * len(frame), "tx_bytes": 100.0 * len(frame)}
    assert grown(own_routers, own_agent, before) == {(ROUTERS[1], "qr-85285e17-5d"): numbers}


def test_both_ends_of_a_pair_are_counted_packet_by_packet(
    own_routers: RouterNode, own_agent: Agent
) -> None:
    before = counted_by_page(shown(own_agent))
    router = own_routers.devices[ROUTERS[0]]["rfp-703db450-5"]
    fip = own_routers.devices[FIP]["fpr-703db450-5"]
    frame = frames.echo(router.party, fip.party)
    sender = namespace.open_device(own_routers.path(ROUTERS[0]), router.name)
    try:
        for _ in range(50):
            os.write(sender, frame)
    finally:
        os.close(sender)
    numbers = {"rx_packets": 50.0, "tx_packets": 50.0}
    numbers |= {"rx_bytes": 50.0 * len(frame), "tx_bytes": 50.0 * len(frame)}
    assert grown(own_routers, own_agent, before) == {
        (ROUTERS[0], router.name): numbers,
        (FIP, fip.name): numbers,
    }


def grown(node: Routers, agent: Agent, before: dict[tuple[str, str], dict[str, float]]) -> object:
    """Return the growth of the page's numbers once they are the kernel's own."""

    def is_exact(page: Page) -> bool:
        kernel = counted_by_kernel(node, *node.devices)
        return counted_by_page(page) == {key: n for key, n in kernel.items() if key[1] != "lo"}

    return growth(before, counted_by_page(wait_for(agent, is_exact, "the kernel's own numbers")))
