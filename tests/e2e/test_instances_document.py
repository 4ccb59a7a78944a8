"""The instances of both documents, from real libvirtd to the page: all of it, and nothing else."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab import frames, traffic
from lab.agent import Agent
from lab.compute import MANAGEMENT, REMOTE_INSTANCE, ComputeNode, neutron_port
from lab.frames import Host
from lab.hypervisor import Hypervisor
from lab.linux_bridge import LinuxBridgeNode
from lab.process import wait_until
from lab.station import Station
from tests.e2e.instance_page import (
    COUNTERS,
    INFO,
    META,
    OPENSTACK,
    STATE,
    RecordedNode,
    Series,
    agent_on,
    attribute,
    counted_by_page,
    counted_by_virsh,
    family,
    plugs,
    series,
    series_of,
    states,
    taps,
    wait_for_counters,
    xml,
)
from tests.e2e.kernel_page import Counted, growth, shown, wait_for
from tests.e2e.page import Page, labels_of, value_of
from tests.node.test_domains import pidns_of, processes_in

pytestmark = [pytest.mark.e2e, pytest.mark.node]

NOVA = "{http://openstack.org/xmlns/libvirt/nova/1.1}"
INSTANCE = f"metadata/{NOVA}instance"
PROJECT, USER = (f"{NOVA}owner/{NOVA}{what}" for what in ("project", "user"))
DHCP_TAPS = {"tap0ab9a23c-99", "tap635485ff-6c"}
MANAGEMENT_TAP, SERVICE_TAP = "tap9d34b34b-3f", "tap26632aea-3c"
"""The taps of the load balancer on Linux bridges."""


@pytest.fixture(scope="module", params=["Open vSwitch", "Linux bridge"])
def recorded(request: pytest.FixtureRequest) -> RecordedNode:
    fixtures = {
        "Open vSwitch": "compute_node_with_domains",
        "Linux bridge": "linux_bridge_with_domains",
    }
    node = request.getfixturevalue(fixtures[request.param])
    assert isinstance(node, RecordedNode)
    return node


@pytest.fixture(scope="module")
def agent(recorded: RecordedNode) -> Iterator[Agent]:
    with agent_on(recorded) as agent:
        wait_for_counters(agent, recorded)
        yield agent


@pytest.fixture
def page(agent: Agent) -> Page:
    return shown(agent)


# -- the documents ---------------------------------------------------------------------------------


def test_states_are_those_that_virsh_lists(page: Page, recorded: RecordedNode) -> None:
    listed = states(recorded.hypervisor)
    assert page[STATE] == [({"domain": name}, state) for name, state in sorted(listed.items())]
    assert listed == {recorded.instance.domain: 1}


def test_whose_a_domain_is_stands_there_as_nova_wrote_it(
    page: Page, recorded: RecordedNode
) -> None:
    instance = recorded.instance
    domain = xml(recorded.hypervisor, instance.domain)
    nova = domain.find(INSTANCE)
    assert nova is not None
    written = series(
        domain=domain.findtext("name"),
        instance_id=domain.findtext("uuid"),
        instance_name=nova.findtext(f"{NOVA}name"),
        flavor_name=attribute(nova, f"{NOVA}flavor", "name"),
        project_id=attribute(nova, PROJECT, "uuid"),
        project_name=nova.findtext(PROJECT),
        user_id=attribute(nova, USER, "uuid"),
        user_name=nova.findtext(USER),
    )
    assert len(written) == 8
    assert written > series(
        domain=instance.domain,
        instance_id=instance.identity,
        instance_name=instance.name,
        flavor_name=instance.flavor,
        project_id=instance.project,
    )
    assert series_of(page, OPENSTACK) == {written}
    assert {value for _, value in page[OPENSTACK]} == {1}


def test_interfaces_are_those_of_the_domains_xml(page: Page, recorded: RecordedNode) -> None:
    expected = {
        series(
            domain=domain,
            mac=attribute(plug, "mac", "address"),
            target_device=(tap := attribute(plug, "target", "dev")),
            type=plug.get("type"),
            model=attribute(plug, "model", "type"),
            source_bridge=attribute(plug, "source", "bridge"),
            virtual_interface=neutron_port(tap or ""),
        )
        for domain, plug in plugs(recorded.hypervisor)
    }
    assert series_of(page, META) == expected
    assert {value for _, value in page[META]} == {1}
    assert labels_of(page, META, "type", "source_bridge") == (
        {("bridge", "brq6d947ca8-d4"), ("bridge", "brqc08e7dcd-4a")}
        if isinstance(recorded, LinuxBridgeNode)
        else {("ethernet", "")}
    )


def test_every_interface_has_all_eight_counters_and_nothing_else_has_any(
    page: Page, recorded: RecordedNode
) -> None:
    listed = taps(recorded.hypervisor)
    assert listed == {(recorded.instance.domain, tap) for tap in recorded.instance.ports}
    names = {name for name in page if name.startswith("libvirt_domain_interface_stats_")}
    assert names == set(map(family, COUNTERS))
    assert len(names) == 8
    for name in names:
        assert labels_of(page, name, "domain", "target_device") == listed


def test_devices_of_instances_are_those_of_the_switch_or_of_the_bridges(
    page: Page, recorded: RecordedNode
) -> None:
    if isinstance(recorded, ComputeNode):
        expected = devices_of_switch(recorded)
    else:
        expected = devices_of_bridges(recorded)
    assert series_of(page, INFO) == expected
    assert {value for _, value in page[INFO]} == {1}
    assert len(expected) == (3 if isinstance(recorded, ComputeNode) else 2)


def owner(node: RecordedNode, tap: str) -> dict[str, str | None]:
    """Return what libvirt and Nova say of the instance behind a tap; nothing if it has none."""
    for name, plug in plugs(node.hypervisor):
        if attribute(plug, "target", "dev") == tap:
            domain = xml(node.hypervisor, name)
            return {
                "domain": name,
                "instance_id": domain.findtext("uuid"),
                "instance_name": domain.findtext(f"{INSTANCE}/{NOVA}name"),
                "project_name": domain.findtext(f"{INSTANCE}/{PROJECT}"),
                "attached_mac": attribute(plug, "mac", "address"),
            }
    return {}


def table(node: ComputeNode, name: str, *columns: str) -> Iterator[list[Any]]:
    """Yield the rows of a table of Open vSwitch's database; maps become dicts, sets lists."""
    text = node.vsctl("--format=json", f"--columns={','.join(columns)}", "list", name)
    for row in json.loads(text)["data"]:
        yield [
            {"map": dict, "set": list}[cell[0]](cell[1]) if isinstance(cell, list) else cell
            for cell in row
        ]


def devices_of_switch(node: ComputeNode) -> Series:
    """Return a series for each interface that has an instance in its external_ids."""
    tags = dict(table(node, "Port", "name", "tag"))
    return {
        series(
            **{
                "interface": name,
                "bridge": node.vsctl("port-to-br", name).strip(),
                "iface_id": ids["iface-id"],
                "tag": str(tags[name]),
                "attached_mac": ids["attached-mac"],
                "instance_id": ids["vm-uuid"],
                **owner(node, name),
            }
        )
        for name, ids in table(node, "Interface", "name", "external_ids")
        if "vm-uuid" in ids
    }


def devices_of_bridges(node: LinuxBridgeNode) -> Series:
    """Return a series for each member of a bridge that a domain has."""
    return {
        series(
            interface=link["ifname"],
            bridge=link["master"],
            iface_id=neutron_port(link["ifname"]),
            **told,
        )
        for link in json.loads(node.run("ip", "-json", "link", "show"))
        if (told := owner(node, link["ifname"]))
    }


def test_an_instance_without_a_domain_is_known_by_the_switch_alone(
    page: Page, recorded: RecordedNode
) -> None:
    alone = [labels for labels, _ in page[INFO] if "domain" not in labels]
    if isinstance(recorded, LinuxBridgeNode):
        assert alone == []
        return
    (found,) = alone
    assert found["interface"] == traffic.TAP_SSH
    assert f"| {found['instance_id']} | instance02 " in recorded.recording.text("server-list.txt")
    assert found.keys() == {
        *("interface", "bridge", "iface_id", "tag", "attached_mac", "instance_id")
    }


def test_ports_that_are_no_instances_belong_to_none(page: Page, recorded: RecordedNode) -> None:
    if isinstance(recorded, LinuxBridgeNode):
        others = {"eth0", "eth3", "vxlan-267"}
        assert {(name,) for name in others} <= labels_of(page, "netns_network_info", "device")
    else:
        kinds = dict(table(recorded, "Interface", "name", "type"))
        assert sum(kind == "patch" for kind in kinds.values()) == 6
        assert kinds.keys() > DHCP_TAPS
        others = {name for name, kind in kinds.items() if kind} | DHCP_TAPS
    assert not {name for (name,) in labels_of(page, INFO, "interface")} & others


# -- counters --------------------------------------------------------------------------------------

Frames = tuple[list[bytes], list[bytes]]
"""What a guest sent, and what it got."""


def exchange(node: RecordedNode) -> dict[str, Frames]:
    """Have all guests send and get frames; what was on its way has arrived on return."""
    if isinstance(node, LinuxBridgeNode):
        ends = {MANAGEMENT_TAP: node.gateway, SERVICE_TAP: node.remote}
        return {tap: pings(node.guests[tap], end) for tap, end in ends.items()}
    amphora, vip = node.guests[traffic.TAP_AMPHORA], node.guests[traffic.TAP_VIP]
    with arriving({amphora: 120, vip: 40}):
        traffic.ping_out(node, 100)  # answered
        traffic.spoofed(node, 30, traffic.TAP_AMPHORA)  # lost
        traffic.api_calls(node, 20, first_port=42000)
        question = frames.arp_request(vip.host, REMOTE_INSTANCE.ip)
        vip.send(question, 40)  # answered
    ping = frames.echo(amphora.host, MANAGEMENT)
    call = frames.tcp(MANAGEMENT, amphora.host, 42000, 9443)
    return {
        traffic.TAP_AMPHORA: ([ping] * 130, [ping] * 100 + [call] * 20),
        traffic.TAP_VIP: ([question] * 40, [question] * 40),
    }


def pings(guest: Station, end: Station) -> Frames:
    ping = frames.echo(guest.host, end.host)
    stray = frames.echo(guest.host, Host(end.host.mac, "192.0.2.1"))
    with arriving({guest: 130, end: 135}):
        guest.send(ping, 100)  # answered
        guest.send(stray, 5)  # not answered
        end.send(frames.echo(end.host, guest.host), 30)  # answered
    return [ping] * 130 + [stray] * 5, [ping] * 130


@contextmanager
def arriving(frames_by_station: dict[Station, int]) -> Iterator[None]:
    """Wait at the end of the block until each station has got so many frames more."""
    wanted = {each: each.received_frames + more for each, more in frames_by_station.items()}
    yield
    wait_until(
        lambda: all(each.received_frames == number for each, number in wanted.items()),
        what="all that was sent to arrive",
    )


def counted_by_node(node: RecordedNode, page: Page) -> Counted:
    """Return what the switch or the kernel counts of each tap, in the tap's own sense."""
    prefix, label = (
        ("netns_network", "device")
        if isinstance(node, LinuxBridgeNode)
        else ("ovs_interface", "interface")
    )
    return {
        ("", tap): {
            name: value_of(page, f"{prefix}_{name}_total", **{label: tap})
            for name in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")
        }
        for tap in node.instance.ports
    }


def test_counters_equal_virsh_and_grow_by_what_each_guest_sent_and_got(
    agent: Agent, recorded: RecordedNode
) -> None:
    hypervisor, domain = recorded.hypervisor, recorded.instance.domain
    before, tapped = counted_by_virsh(hypervisor), counted_by_node(recorded, shown(agent))
    exchanged = exchange(recorded)
    after = counted_by_virsh(hypervisor)
    wait_for(agent, lambda page: counted_by_page(page) == after, "virsh's own numbers")
    assert counted_by_virsh(hypervisor) == after, "nothing moves any more"
    assert growth(before, after) == {
        (domain, tap): {
            "transmit_packets": len(sent),
            "transmit_bytes": sum(map(len, sent)),
            "receive_packets": len(got),
            "receive_bytes": sum(map(len, got)),
        }
        for tap, (sent, got) in exchanged.items()
    }
    by_tap = {
        ("", tap): {
            "rx_packets": len(sent),
            "rx_bytes": sum(map(len, sent)),
            "tx_packets": len(got),
            "tx_bytes": sum(map(len, got)),
        }
        for tap, (sent, got) in exchanged.items()
    }
    wait_for(
        agent,
        lambda page: growth(tapped, counted_by_node(recorded, page)) == by_tap,
        "the taps to count the same the other way round",
    )


def test_what_a_guest_does_not_read_is_dropped_on_its_way_to_it(
    linux_bridge_with_domains: LinuxBridgeNode,
) -> None:
    node = linux_bridge_with_domains
    hypervisor, guest = node.hypervisor, node.guests[MANAGEMENT_TAP]
    device = node.instance.domain, MANAGEMENT_TAP
    with agent_on(node) as agent:
        before = counted_by_page(wait_for_counters(agent, node))
        with stopped_qemu(hypervisor):
            node.gateway.send(frames.echo(node.gateway.host, guest.host), 3000)
            during = counted_by_virsh(hypervisor)
            wait_for(agent, lambda page: counted_by_page(page) == during, "the drops")
        dropped = during[device]["receive_drops"] - before[device]["receive_drops"]
        assert growth(before, during) == {device: {"receive_drops": dropped}}
        assert 0 < dropped < 3000
        name = "netns_network_tx_dropped_total"
        wait_for(
            agent,
            lambda page: (
                value_of(page, name, device=MANAGEMENT_TAP) == during[device]["receive_drops"]
            ),
            "the tap to say that it sent them to nobody",
        )
        kept = before[device]["receive_packets"] + 3000 - dropped
        page = wait_for(
            agent,
            lambda page: counted_by_page(page)[device]["receive_packets"] == kept,
            "the guest to read the rest",
        )
        assert counted_by_page(page) == counted_by_virsh(hypervisor)


@contextmanager
def stopped_qemu(hypervisor: Hypervisor) -> Iterator[None]:
    """SIGSTOP the only domain's QEMU for as long as the block."""
    (pid,) = (
        pid
        for pid in processes_in(pidns_of(hypervisor))
        if Path("/proc", str(pid), "comm").read_text().startswith("qemu-system")
    )
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
