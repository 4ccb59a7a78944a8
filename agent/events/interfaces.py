"""Interfaces and tunnels of Open vSwitch that came, went, got or lost their link.

An interface is told once when it is added, and once more whenever its state is another than the
one that was told last. So a consumer sees the same events whether or not several changes came
together. A state that is not known (``None``: ovs-vswitchd has not looked yet) is no news.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from agent.events.change import Change, Field, Kind, change
from agent.model.instance import InstanceInterface
from agent.model.switch import TUNNEL_TYPES, Interface, Switch

Key = tuple[str, str, str]
"""Bridge, port, interface."""
Owner = Callable[[str], InstanceInterface | None]
"""Whose an interface is, by its name."""


@dataclass(frozen=True, slots=True)
class Told:
    """An interface as it was told last.

    Attributes:
        place: Names of bridge and port. Their rows hold all ports as they were then: each interface
            would keep a switch of its own.
        interface: Its row.
        up: ``None`` while it was never known.
        error: Interface.error.
    """

    place: tuple[str, str]
    interface: Interface
    up: bool | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class InterfaceMemory:
    """All interfaces as they were told last."""

    told: Mapping[Key, Told] = field(default_factory=dict)


def baseline(switch: Switch) -> InterfaceMemory:
    """Return the memory of somebody who knows all this already."""
    return InterfaceMemory(
        {
            key: Told(key[:2], interface, state(interface)[0], interface.error)
            for key, interface in _all(switch)
        }
    )


def changes(
    before: InterfaceMemory, switch: Switch, owner_before: Owner, owner: Owner
) -> tuple[InterfaceMemory, list[Change]]:
    """Return what is remembered now, and what has changed.

    Args:
        before: What was told.
        switch: What is known now.
        owner_before: Whose interfaces were; asked only for what was removed.
        owner: Whose they are.
    """
    told: dict[Key, Told] = {}
    found: list[Change] = []
    for key, interface in _all(switch):
        last = before.told.get(key)
        # The rows that did not change are the same objects: a node has thousands.
        if last is not None and last.interface is interface:
            told[key] = last
            continue
        told[key] = now = _now(last, key[:2], interface)
        found += _turns(last, now, owner)
    for key, last in before.told.items():
        if key not in told:
            names = _names(last, owner_before(last.interface.name))
            found.append(change(Kind.INTERFACE_REMOVED, **names))
    return InterfaceMemory(told), found


def state(interface: Interface) -> tuple[bool | None, str]:
    """Return whether an interface works, as far as its row tells, and by which evidence.

    A tunnel port always has a link of its own: what tells of a tunnel is BFD, then CFM, then the
    carrier of the device that its packets leave by.
    """
    if interface.type in TUNNEL_TYPES:
        bfd = interface.bfd
        if bfd is not None and bfd.forwarding is not None:
            return bfd.forwarding, "bfd"
        if bfd is not None and bfd.state is not None:
            return bfd.state == "up", "bfd"
        if interface.cfm_fault is not None:
            return not interface.cfm_fault, "cfm"
        if interface.egress_carrier is not None:
            return interface.egress_carrier, "egress_carrier"
    return interface.link_state, "link"


def _all(switch: Switch) -> Iterator[tuple[Key, Interface]]:
    for bridge, port, interface in switch.interfaces():
        yield (bridge.name, port.name, interface.name), interface


def _now(last: Told | None, place: tuple[str, str], interface: Interface) -> Told:
    up, _ = state(interface)
    if up is None and last is not None:
        up = last.up
    return Told(place, interface, up, interface.error)


def _turns(last: Told | None, now: Told, owner: Owner) -> Iterator[Change]:
    added = last is None
    error = None if last is None else last.error
    turned = now.up is not None and (last is None or now.up != last.up)
    if not (added or turned or now.error != error):
        return
    names = _names(now, owner(now.interface.name))
    if added:
        yield change(Kind.INTERFACE_ADDED, **names)
    if now.error != error:
        yield change(Kind.INTERFACE_ERROR, **names, error=now.error)
    if turned and now.interface.type in TUNNEL_TYPES:
        up = bool(now.up)
        yield change(Kind.TUNNEL_UP if up else Kind.TUNNEL_DOWN, **names, **_evidence(now))
    elif turned:
        kind = Kind.INTERFACE_UP if now.up else Kind.INTERFACE_DOWN
        yield change(kind, **names, admin_up=now.interface.admin_state)


def _names(told: Told, owner: InstanceInterface | None) -> dict[str, Field | None]:
    (bridge, port), interface = told.place, told.interface
    return {
        "bridge": bridge,
        "port": port,
        "interface": interface.name,
        "type": interface.type,
        "iface_id": (owner.iface_id if owner else None) or interface.iface_id,
        "mac": (owner.attached_mac if owner else None) or interface.attached_mac,
        "domain": owner.domain_name if owner else None,
        "instance_id": (owner.instance_id if owner else None) or interface.vm_uuid,
        "instance_name": owner.instance_name if owner else None,
        "project_name": owner.project_name if owner else None,
    }


def _evidence(told: Told) -> dict[str, Field | None]:
    interface = told.interface
    bfd = interface.bfd
    return {
        "by": state(interface)[1],
        "local_ip": interface.options.get("local_ip"),
        "remote_ip": interface.options.get("remote_ip"),
        "bfd_state": bfd.state if bfd else None,
        "bfd_remote_state": bfd.remote_state if bfd else None,
    }
