"""Whose interface is it? The join of what Open vSwitch, libvirt and the kernel say of one device.

What a running domain has open is a fact; what external_ids say is a claim that somebody wrote when
the port was plugged. So a device that a domain names as its own belongs to that domain; where no
domain names it (vhostuser has no device, and with hybrid plugging the switch has another one than
the domain), the instance and the MAC address in external_ids say which domain's it is. A device's
name is used again by other instances: a domain that is shut off still names it, and has it not.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from agent.model.domain import Domain, DomainInterface, Domains
from agent.model.link import Link
from agent.model.namespace import Namespace
from agent.model.switch import Interface, Switch

VHOSTUSER = "vhostuser"
"""Type of a domain's interface that is a socket, and no device of the kernel."""

Plug = tuple[Domain, DomainInterface]


@dataclass(frozen=True, slots=True)
class InstanceInterface:
    """A device on the node that carries an instance's packets. ``None`` is what nobody knows.

    Attributes:
        name: The device's, which is also Interface.name where Open vSwitch has it.
        bridge: Of Open vSwitch, or of Linux.
        tag: VLAN of its port.
        interface: Open vSwitch's row: of the device itself, or of the one at the other end of a
            hybrid plug (tap, qbr bridge, qvb and qvo).
        domain: Whose it is.
        plug: The domain's interface; ``None`` while only the instance is known.
    """

    name: str
    bridge: str | None = None
    tag: int | None = None
    interface: Interface | None = None
    domain: Domain | None = None
    plug: DomainInterface | None = None

    @property
    def iface_id(self) -> str | None:
        """The Neutron port."""
        told = self.interface.iface_id if self.interface else None
        return told or (self.plug.iface_id if self.plug else None)

    @property
    def attached_mac(self) -> str | None:
        """The instance's own address."""
        told = self.plug.mac if self.plug else None
        return told or (self.interface.attached_mac if self.interface else None)

    @property
    def domain_name(self) -> str | None:
        """What libvirt calls the domain."""
        return self.domain.name if self.domain else None

    @property
    def instance_id(self) -> str | None:
        """The domain's uuid, else the one in external_ids:vm-uuid: the same for Nova."""
        if self.domain is not None:
            return self.domain.uuid
        return self.interface.vm_uuid if self.interface else None

    @property
    def instance_name(self) -> str | None:
        """Nova's name of the instance."""
        return self.domain.owner.instance_name if self.domain and self.domain.owner else None

    @property
    def project_name(self) -> str | None:
        """The name of the project that it belongs to."""
        return self.domain.owner.project_name if self.domain and self.domain.owner else None


def join(
    switch: Switch | None, domains: Domains | None, host: Namespace | None
) -> Mapping[str, InstanceInterface]:
    """Join what is known; a side that is not known (``None``) says nothing.

    Args:
        switch: Open vSwitch's database.
        domains: libvirt's.
        host: The host's own namespace: bridges of Linux.

    Returns:
        One row for each device of an instance, by its name, A to Z.
    """
    claims = _Claims(domains or {})
    rows: dict[str, InstanceInterface] = {}
    for bridge, port, interface in switch.interfaces() if switch else ():
        domain, plug = claims.of(interface)
        if domain is not None or interface.vm_uuid is not None:
            rows.setdefault(
                interface.name,
                InstanceInterface(interface.name, bridge.name, port.tag, interface, domain, plug),
            )
    far = {
        (row.domain.uuid, row.plug): row.interface
        for row in rows.values()
        if row.domain and row.plug
    }
    links = _by_name(host)
    for domain, plug in claims.active:
        name = plug.target_device
        if name is not None and name not in rows:
            bridge_name = _linux_bridge(links, host, name) or plug.source_bridge
            other_end = far.get((domain.uuid, plug))
            rows[name] = InstanceInterface(name, bridge_name, None, other_end, domain, plug)
    return dict(sorted(rows.items()))


class _Claims:
    """What the domains say of their interfaces."""

    def __init__(self, domains: Domains) -> None:
        self._domains = domains
        self.active = tuple(self._plugs(domains))
        self._by_device: dict[str, list[Plug]] = {}
        self._by_port: dict[tuple[str, str], Plug] = {}
        self._by_address: dict[tuple[str, str], Plug] = {}
        self._by_socket: dict[str, Plug] = {}
        for domain, plug in self.active:
            if plug.target_device:
                self._by_device.setdefault(plug.target_device, []).append((domain, plug))
            if plug.iface_id:
                self._by_port.setdefault((domain.uuid, plug.iface_id), (domain, plug))
            if plug.mac:
                self._by_address.setdefault((domain.uuid, plug.mac), (domain, plug))
            if plug.socket_path:
                self._by_socket.setdefault(plug.socket_path, (domain, plug))
                # Where Open vSwitch makes the socket, it is named after the interface.
                name = plug.socket_path.rpartition("/")[2]
                self._by_socket.setdefault(name, (domain, plug))

    @staticmethod
    def _plugs(domains: Domains) -> Iterator[Plug]:
        for domain in sorted(domains.values(), key=lambda each: (each.name, each.uuid)):
            if domain.active:
                for plug in domain.interfaces:
                    yield domain, plug

    def of(self, interface: Interface) -> tuple[Domain | None, DomainInterface | None]:
        """Return the domain that has an interface of the switch, and its own end of it."""
        vm_uuid = (interface.vm_uuid or "").lower()
        mac = (interface.attached_mac or "").lower()
        named = self._by_device.get(interface.name, ())
        # Two domains that both run with one device cannot be: the last word is the switch's.
        ranked = sorted(named, key=lambda plug: (plug[0].uuid != vm_uuid, plug[1].mac != mac))
        if ranked:
            return ranked[0]
        if interface.type.startswith("dpdkvhostuser"):
            path = interface.options.get("vhost-server-path", interface.name)
            if (plug := self._by_socket.get(path)) is not None:
                return plug
        # Two networks of Neutron may have one MAC address, and an instance a port on each.
        iface_id = (interface.iface_id or "").lower()
        mine = self._by_port.get((vm_uuid, iface_id)) or self._by_address.get((vm_uuid, mac))
        return mine or (self._domains.get(vm_uuid), None)


def _by_name(host: Namespace | None) -> Mapping[str, Link]:
    return {link.name: link for link in host.links.values()} if host else {}


def _linux_bridge(links: Mapping[str, Link], host: Namespace | None, name: str) -> str | None:
    """Return the Linux bridge that a device is a member of."""
    link = links.get(name)
    master = host.links.get(link.master) if host and link and link.master is not None else None
    return master.name if master and master.kind == "bridge" else None
