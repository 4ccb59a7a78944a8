"""The namespaces of a recorded node with distributed virtual routers, built again.

Namespaces, devices and addresses are those of ``nodes/dvr``, before and after a floating IP is
assigned. Ports of the integration bridge (qr, fg) are ports of a real one, whose userspace
datapath makes taps of them where the kernel's makes devices of its own kind.

The recording shows two of the four namespaces, and one port of a third. What follows from names
is added: the far end of fpr-703db450-5 is rfp-703db450-5 in the router of that name. Where that
would add to a namespace that is shown, the far end is on no node: the recording has no
fpr-242fcb80-e, for it shows two different floating IPs.
"""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_interface

from lab import namespace
from lab.compute import Recording
from lab.frames import Host as Party
from lab.frames import mac_bytes
from lab.host import Host
from lab.node import Node
from lab.process import NAMESPACES, LabError, run, wait_until
from lab.reactor import Reactor
from lab.recorded import NODES, Address, Link, parse_addresses, parse_links
from lab.station import Station

BRIDGE = "br-int"
GUEST_TAP = "tapa7c1d9f0-52"
GUEST_MAC = "fa:16:3e:5b:17:a2"
ROUTER_NETWORK_BITS, ROUTER_MTU = 24, 65000
"""Of the port that was only listened on; those of the other router's port."""
MTU = 1450
"""Of the devices that are made up: that of the pairs."""
QUIET_READINGS = 5
MADE_UP = uuid.UUID("02e2d514-529e-4067-bbf4-807943ea6472")


@dataclass(frozen=True, slots=True)
class Device:
    """A device of a namespace, with its addresses as ``ip address`` shows them."""

    link: Link
    addresses: tuple[Address, ...]

    @property
    def name(self) -> str:
        """Its name."""
        return self.link.name

    @property
    def party(self) -> Party:
        """Its MAC address and its first IPv4 address."""
        return Party(self.link.mac, self.addresses[0].address.split("/")[0])


Devices = Mapping[str, Mapping[str, Device]]
"""By namespace and name."""


class Routers(Host):
    """A host of router namespaces.

    Attributes:
        devices: What is in each namespace now.
    """

    def __init__(self) -> None:
        super().__init__()
        self.devices: dict[str, dict[str, Device]] = {}
        self._world = ""

    def counters(self, netns: str) -> str:
        """Return ``ip -s -j link`` of a namespace."""
        return self.run("ip", "-statistics", "-json", "link", "show", netns=netns)

    def _build(self) -> None:
        super()._build()
        self._world = self.outside()

    def _add_router(self, netns: str) -> None:
        self.add_namespace(netns)
        self.devices[netns] = {}

    def _add_pair(self, netns: str, device: Device, far_netns: str, far: Device) -> None:
        peer = ("name", far.name, "netns", self._path(far_netns))
        self._run("ip", "link", "add", device.name, "type", "veth", "peer", *peer, netns=netns)
        self._configure(netns, device)
        self._configure(far_netns, far)
        self._introduce(netns, device.name, far.party)
        self._introduce(far_netns, far.name, device.party)

    def _configure(self, netns: str, device: Device) -> None:
        """Give a device what it has in the document; a link-local address comes by itself."""
        link = device.link
        setting = ("mtu", str(link.mtu), "address", link.mac, "up")
        self._run("ip", "link", "set", link.name, *setting, netns=netns)
        for each in device.addresses:
            if each.scope != "link":
                self._run("ip", "address", "add", each.address, "dev", link.name, netns=netns)
        if netns != self._world:
            self.devices[netns][link.name] = device

    def _introduce(self, netns: str, device: str, neighbour: Party) -> None:
        """Tell a neighbour's MAC address: nobody asks for it, and what is counted is exact."""
        known = ("lladdr", neighbour.mac, "nud", "permanent", "dev", device)
        self._run("ip", "neighbour", "replace", neighbour.ip, *known, netns=netns)

    def _run(self, *argv: str, netns: str) -> str:
        return run(*argv, netns=self._path(netns))

    def _path(self, netns: str) -> str:
        return str(NAMESPACES / netns) if netns == self._world else self.path(netns)

    def _wait_until_quiet(self) -> None:
        """Wait for the link-local addresses, and for what the kernel sends about them."""
        wait_until(self._has_addresses, what="link-local addresses")
        readings: list[list[str]] = []

        def is_quiet() -> bool:
            readings.append([self.counters(netns) for netns in self.devices])
            last = readings[-QUIET_READINGS:]
            return len(last) == QUIET_READINGS and all(each == last[0] for each in last)

        wait_until(is_quiet, what="quiet routers")

    def _has_addresses(self) -> bool:
        """Return whether all are there: a link-local one comes when the carrier is noticed."""
        return all(
            set(device.addresses) <= set(real[device.name])
            for netns, devices in self.devices.items()
            for real in (parse_addresses(self.run("ip", "address", netns=netns)),)
            for device in devices.values()
        )


class RouterNode(Routers):
    """The compute node, with a router for each of three networks and their way out.

    Attributes:
        before: The documented devices before a floating IP is assigned.
        after: The same, after.
        switch: Its Open vSwitch.
        guest: The instance 10.16.0.3 of the document.
    """

    switch: Node
    guest: Station

    def __init__(self) -> None:
        super().__init__()
        self._recording = Recording(NODES / "dvr")
        self.names = self._recording.text("ip-netns.txt").split()
        self.before = self._documented("before")
        self.after = self._documented("after")
        self._tags = iter(range(1, 100))

    @property
    def fip(self) -> str:
        """The namespace of floating IPs."""
        return next(name for name in self.names if name.startswith("fip-"))

    def assign_floating_ip(self) -> None:
        """Give an instance a floating IP: a router gets its way out, and the address."""
        self._bring(self.after)

    def _documented(self, when: str) -> Devices:
        texts = {
            netns: self._recording.text(f"ip-addr-{netns}-{when}.txt")
            for netns in self.names
            if (self._recording.directory / f"ip-addr-{netns}-{when}.txt").exists()
        }
        return {netns: _devices(text) for netns, text in texts.items()}

    def _build(self) -> None:
        super()._build()
        self.switch = Node(self.name)
        self.switch.start()
        self._stack.callback(self.switch.stop)
        self.switch.vsctl("add-br", BRIDGE, "--", "set", "Bridge", BRIDGE, "datapath_type=netdev")
        for netns in self.names:
            self._add_router(netns)
        self._add_guest()
        self._bring(self.before)

    def _bring(self, devices: Devices) -> None:
        for netns, shown in devices.items():
            for device in shown.values():
                if device.name not in self.devices[netns]:
                    self._add(netns, device)
        self._wait_until_quiet()

    def _add(self, netns: str, device: Device) -> None:
        kind, _, rest = device.name.partition("-")
        if kind == "fpr":
            router = next(name for name in self.names if name.startswith(f"qrouter-{rest}"))
            self._add_pair(netns, device, router, _far_end(device, f"rfp-{rest}"))
        elif kind == "rfp":
            self._add_pair(netns, device, self._world, _far_end(device, f"fpr-{rest}"))
        else:
            self._add_port(netns, device, next(self._tags))

    def _add_port(self, netns: str, device: Device, tag: int) -> None:
        """Make a port of the bridge, a network of its own, and move it into the namespace."""
        internal = ("--", "set", "Interface", device.name, "type=internal")
        self.switch.vsctl("add-port", BRIDGE, device.name, f"tag={tag}", *internal)
        run("ip", "link", "set", device.name, "netns", self._path(netns), netns=self.name)
        self._configure(netns, device)

    def _add_guest(self) -> None:
        """Make the router's port that tcpdump listened on, and the instance that it heard."""
        path = next(self._recording.directory.glob("tcpdump-*.txt"))
        netns, text = path.stem.removeprefix("tcpdump-"), path.read_text(encoding="utf-8")
        name = _found(r"listening on (\S+),", text)
        mac, address = _found(r"is-at ([0-9a-f:]+)", text), _found(r"Reply (\S+) is-at", text)
        guest = Party(GUEST_MAC, _found(r"IP (\S+) > ", text))
        reactor = Reactor(f"{self.name}-guest")
        self._stack.callback(reactor.close)
        self.guest = Station(reactor, namespace.open_tap(self.name, GUEST_TAP), (guest,))
        tag = next(self._tags)
        self.switch.vsctl("add-port", BRIDGE, GUEST_TAP, f"tag={tag}")
        self.run("ip", "link", "set", GUEST_TAP, "up")
        addresses = _addresses(mac, f"{address}/{ROUTER_NETWORK_BITS}")
        self._add_port(netns, Device(Link(name, mac, ROUTER_MTU), addresses), tag)
        self._introduce(netns, name, guest)


class ControllerNode(Routers):
    """The controller, through which instances without a floating IP go out.

    The document tells of a snat namespace with a port to the router (sg) and a port to the outside
    (qg), in words only: their ids are made up. The ports' other ends are on no node.
    """

    def _build(self) -> None:
        super()._build()
        recorded = RouterNode().before
        router = next(netns for netns in recorded if netns.startswith("qrouter-"))
        netns = router.replace("qrouter-", "snat-")
        self._add_router(netns)
        for kind, address, far_address in (
            ("sg", "192.168.111.11/24", "192.168.111.1/24"),
            ("qg", "192.168.74.102/24", "192.168.74.1/24"),
        ):
            name = f"{kind}-{str(uuid.uuid5(MADE_UP, kind))[:11]}"
            far = _made_up(f"far-{kind}", far_address)
            self._add_pair(netns, _made_up(name, address), self._world, far)
        self._wait_until_quiet()


def _devices(text: str) -> Mapping[str, Device]:
    """Read ``ip address`` of a namespace; ``lo`` is in every one."""
    links, addresses = parse_links(text), parse_addresses(text)
    return {name: Device(links[name], addresses[name]) for name in links if name != "lo"}


def _far_end(device: Device, name: str) -> Device:
    """Return the other end of a pair: the other address of its /31."""
    pair = next(a for a in device.addresses if a.address.endswith("/31"))
    own = ip_interface(pair.address)
    other = next(address for address in own.network if address != own.ip)
    return _made_up(name, f"{other}/31")


def _made_up(name: str, address: str) -> Device:
    """Return a device that the recording does not show, the same each time."""
    mac = (b"\xfa\x16\x3e" + uuid.uuid5(MADE_UP, name).bytes[:3]).hex(":")
    return Device(Link(name, mac, MTU), _addresses(mac, address))


def _addresses(mac: str, address: str) -> tuple[Address, ...]:
    """Return an address and the link-local one that goes with a MAC address (RFC 4291, A)."""
    raw = mac_bytes(mac)
    identifier = bytes([raw[0] ^ 2]) + raw[1:3] + b"\xff\xfe" + raw[3:]
    link_local = IPv6Address(b"\xfe\x80" + bytes(6) + identifier)
    return Address(address, "inet", "global"), Address(f"{link_local}/64", "inet6", "link")


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise LabError(f"no {pattern} in what was recorded")
    return found[1]
