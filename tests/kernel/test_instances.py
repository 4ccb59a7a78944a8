"""Which way an instance's packets go, on kinds of interfaces that only Debian's kernel has.

A tap is the switch's end of a cable: what the instance sends, the tap receives. A macvtap is the
instance's own card on somebody else's device: what the instance sends, the macvtap sends. libvirt
turns the one and not the other (virDomainNetTypeSharesHostView), and so both say the same here.
Only a macvtap that somebody else has made it turns like a tap; the page turns it back.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

import pytest

from lab import frames
from lab.agent import Agent
from lab.domain_xml import direct_xml, domain_xml, interface_xml
from lab.frames import Host as Party
from lab.host import Host
from lab.hypervisor import Hypervisor
from lab.namespace import open_device
from lab.nic import Nic, redirection
from lab.process import run, wait_until
from lab.reactor import Reactor
from lab.station import Station
from tests.e2e.kernel_page import counted_by_kernel, shown
from tests.e2e.page import Page, labels_of, value_of

FRESH = {"DATAPLANE_AGENT_SCRAPE__SHARE_SECONDS": "0"}
SECONDS = 60.0
NAME, IDENTITY = "instance-00000001", str(uuid4())
TAP = "tap0"
NEIGHBOURS = ("macvtap0", "macvtap1")
MACVTAPS = {
    **dict.fromkeys(NEIGHBOURS, ("up0", "bridge")),
    "macvtap2": ("up1", "vepa"),
    "macvtap3": ("up2", "passthrough"),
}
"""What each sits on and how, in the order in which libvirt makes and so names them."""
OTHERS, OTHERS_SOURCE = "mvx", "up3"
"""A macvtap that libvirt has not made, and what it sits on."""
SOURCES = sorted({OTHERS_SOURCE, *(source for source, _ in MACVTAPS.values())})
DEVICES = (TAP, *MACVTAPS, OTHERS)
KINDS = {TAP: "ethernet", **dict.fromkeys(MACVTAPS, "direct"), OTHERS: "ethernet"}
GUESTS = {
    device: Party(f"fa:16:3e:00:00:0{number}", f"10.0.0.{number}")
    for number, device in enumerate(DEVICES, start=1)
}
OUTSIDE = Party("00:15:5d:bf:ba:02", "10.0.0.99")

STATS = "libvirt_domain_interface_stats_{}_total"
OF_DOMIFSTAT = {
    f"{way}_{what}": f"{short}_{abbreviated}"
    for way, short in (("receive", "rx"), ("transmit", "tx"))
    for what, abbreviated in (
        ("bytes", "bytes"), ("packets", "packets"), ("errors", "errs"), ("drops", "drop"),
    )
}  # fmt: skip
OWN_SENSE = {**dict.fromkeys(DEVICES, ("rx", "tx")), TAP: ("tx", "rx")}
"""What the device itself counts of what the instance received, and of what it sent."""
NO_PROTOCOL = 0x88B5
"""EtherType for experiments (IEEE 802): nobody answers."""

Counted = dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Instance:
    """A domain with a tap and macvtaps. What is at their other ends is in ``wires``, by device."""

    host: Host
    hypervisor: Hypervisor
    agent: Agent
    guests: Mapping[str, Nic]
    wires: Mapping[str, Station]


@pytest.fixture(scope="module")
def instance(request: pytest.FixtureRequest) -> Iterator[Instance]:
    run("modprobe", "--all", "tun", "macvtap", "veth")
    request.getfixturevalue("libvirt_installed")  # and that it has /dev/net/tun
    with ExitStack() as stack:
        host = stack.enter_context(Host())
        outside = lay_wires(host)
        hypervisor = stack.enter_context(Hypervisor(host.name))
        define(hypervisor)
        hypervisor.start_domain(NAME)
        reactor = Reactor("ends of macvtaps")
        stack.callback(reactor.close)
        directory = hypervisor.directory
        guests = {name: Nic(reactor, directory, name, (GUESTS[name],)) for name in DEVICES}
        far = {
            source: Station(reactor, open_device(outside, source), (OUTSIDE,)) for source in SOURCES
        }
        wires = {name: far[source] for name, (source, _) in MACVTAPS.items()}
        wires[OTHERS] = far[OTHERS_SOURCE]
        wires[TAP] = Station(reactor, open_device(host.name, TAP), (OUTSIDE,))
        uri = f"--libvirt.uri={hypervisor.uri}"
        agent = stack.enter_context(Agent(host.directory, uri, env=FRESH, host=host))
        wait_until(partial(is_counted, agent), SECONDS, "the counters of all interfaces")
        yield Instance(host, hypervisor, agent, guests, wires)


def lay_wires(host: Host) -> str:
    """Give the host what macvtaps sit on; return the namespace that has the other ends."""
    outside = host.outside()
    adding, raising = "link add {0} up type veth peer name {0} netns {1}\n", "link set {0} up\n"
    for netns, command in ((host.name, adding), (outside, raising)):
        commands = "".join(command.format(source, outside) for source in SOURCES)
        run("ip", "-batch", "-", netns=netns, stdin=commands)
    macvtap = ("link", OTHERS_SOURCE, "name", OTHERS, "address", GUESTS[OTHERS].mac, "up")
    host.run("ip", "link", "add", *macvtap, "type", "macvtap", "mode", "bridge")
    return outside


def define(hypervisor: Hypervisor) -> None:
    macvtaps = [direct_xml(GUESTS[name].mac, *place) for name, place in MACVTAPS.items()]
    arguments = [
        argument
        for number, device in enumerate(DEVICES)
        for argument in redirection(number, device, hypervisor.directory)
    ]
    others = interface_xml(OTHERS, GUESTS[OTHERS].mac, managed=False)
    interfaces = [interface_xml(TAP, GUESTS[TAP].mac), *macvtaps, others]
    hypervisor.define(domain_xml(NAME, IDENTITY, interfaces, arguments=arguments))


def is_counted(agent: Agent) -> bool:
    found = labels_of(shown(agent), STATS.format("receive_bytes"), "target_device")
    return found == {(device,) for device in DEVICES}


def counted(page: Page) -> Counted:
    return {
        device: {
            field: value_of(page, STATS.format(field), domain=NAME, target_device=device)
            for field in OF_DOMIFSTAT
        }
        for device in DEVICES
    }


def growth(before: Counted, after: Counted) -> Counted:
    """Return what grew, by device; what did not is left out."""
    grown = {
        device: {name: after[device][name] - value for name, value in fields.items()}
        for device, fields in before.items()
    }
    changed = {
        device: {name: value for name, value in fields.items() if value}
        for device, fields in grown.items()
    }
    return {device: fields for device, fields in changed.items() if fields}


def frame(source: Party, target: Party, size: int) -> bytes:
    payload = bytes(size - frames.ETHERNET.size)
    return frames.ethernet(source.mac, target.mac, NO_PROTOCOL, payload)


def arrive(station: Station, count: int) -> None:
    wait_until(lambda: station.received_frames >= count, SECONDS, f"{count} frames")


@pytest.mark.parametrize("device", DEVICES)
def test_transmit_is_what_the_instance_sent_and_receive_what_it_got(
    instance: Instance, device: str
) -> None:
    guest, wire = instance.guests[device], instance.wires[device]
    before = counted(shown(instance.agent))
    left, entered = wire.received_frames, guest.received_frames
    guest.send(frame(guest.host, OUTSIDE, 100), 70)
    wire.send(frame(OUTSIDE, guest.host, 1000), 30)
    arrive(wire, left + 70)
    arrive(guest, entered + 30)
    after = counted(shown(instance.agent))
    assert growth(before, after) == {
        device: {
            "transmit_packets": 70,
            "transmit_bytes": 70 * 100,
            "receive_packets": 30,
            "receive_bytes": 30 * 1000,
        }
    }


def test_what_two_instances_on_one_device_say_to_each_other_is_counted(instance: Instance) -> None:
    """It never leaves the node: no other device counts it."""
    speaker, listener = (instance.guests[device] for device in NEIGHBOURS)
    wire, before = instance.wires[NEIGHBOURS[0]], counted(shown(instance.agent))
    left, entered = wire.received_frames, listener.received_frames
    speaker.send(frame(speaker.host, listener.host, 500), 20)
    arrive(listener, entered + 20)
    after = counted(shown(instance.agent))
    assert growth(before, after) == {
        NEIGHBOURS[0]: {"transmit_packets": 20, "transmit_bytes": 20 * 500},
        NEIGHBOURS[1]: {"receive_packets": 20, "receive_bytes": 20 * 500},
    }
    assert wire.received_frames == left


def test_the_counters_are_those_of_virsh_and_of_the_device_from_its_own_side(
    instance: Instance,
) -> None:
    for device, wire in instance.wires.items():
        left = wire.received_frames
        instance.guests[device].send(frame(GUESTS[device], OUTSIDE, 60), 5)
        arrive(wire, left + 5)
    page = counted(shown(instance.agent))
    kernel = counted_by_kernel(instance.host, "")
    for device in DEVICES:
        stats = instance.hypervisor.domifstat(NAME, device)
        of_virsh = {field: stats[name] for field, name in OF_DOMIFSTAT.items()}
        assert (page[device] == of_virsh) == (device != OTHERS), device
        received, sent = OWN_SENSE[device]
        for what in ("packets", "bytes"):
            own = kernel["", device]
            assert page[device][f"receive_{what}"] == own[f"{received}_{what}"], device
            assert page[device][f"transmit_{what}"] == own[f"{sent}_{what}"], device
        assert page[device]["transmit_packets"] > page[device]["receive_packets"], device


def test_each_interface_is_told_once_with_its_kind_and_device(instance: Instance) -> None:
    page = shown(instance.agent)
    names = ("domain", "mac", "target_device", "type", "model", "source_bridge")
    expected = {
        (NAME, GUESTS[device].mac, device, kind, "virtio", "") for device, kind in KINDS.items()
    }
    assert labels_of(page, "libvirt_domain_interface_meta", *names) == expected
    assert len(page["libvirt_domain_interface_meta"]) == len(DEVICES)


def test_each_device_belongs_to_the_instance_once(instance: Instance) -> None:
    page, info = shown(instance.agent), "dataplane_instance_interface_info"
    names = ("interface", "attached_mac", "domain", "instance_id", "bridge")
    assert labels_of(page, info, *names) == {
        (device, GUESTS[device].mac, NAME, IDENTITY, "") for device in DEVICES
    }
    assert len(page[info]) == len(DEVICES)
