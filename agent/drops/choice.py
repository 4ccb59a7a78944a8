"""What a person named, a bridge, an interface or an instance, found in what is known."""

from collections.abc import Iterable, Mapping

from agent.model.instance import InstanceInterface
from agent.model.switch import Bridge, Interface, Switch

Chosen = Mapping[str, frozenset[int] | None]
"""By bridge, the OpenFlow ports whose flows are wanted; ``None`` for all flows."""
MAX_NAMES = 50
"""Names listed for somebody who named something else."""


class NothingToCompareError(Exception):
    """There is no answer.

    Attributes:
        lines: Why, for a person.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = lines


def choose(
    switch: Switch,
    bridge: str | None,
    interface: str | None,
    devices: frozenset[str] | None = None,
) -> Chosen:
    """Find bridges and ports.

    Args:
        switch: What the database says.
        bridge: Its name; ``None`` for all.
        interface: Interface.name, the Neutron port (external_ids:iface-id) or a MAC address: the
            instance's (external_ids:attached-mac) or the device's (mac_in_use); ``None`` for all.
        devices: Only interfaces of these names; ``None`` for all.

    Raises:
        NothingToCompareError: If there is no such bridge or interface, or no OpenFlow port to it.
    """
    bridges = [each for each in switch.bridges if bridge in (None, each.name)]
    if not bridges:
        wanted = "bridge" if bridge is None else f"bridge {bridge}"
        raise NothingToCompareError(_missing(wanted, (each.name for each in switch.bridges)))
    if interface is None and devices is None:
        return {each.name: None for each in bridges}
    found = _found(bridges, interface, devices)
    if not found:
        names = (one.name for _, one in _found(bridges, None, devices)) if interface else devices
        wanted = f"interface {interface}" if interface else "interface of it on Open vSwitch"
        raise NothingToCompareError(_missing(wanted, names or ()))
    chosen: dict[str, frozenset[int] | None] = {}
    for owner, one in found:
        if one.openflow_port is not None:
            chosen[owner.name] = (chosen.get(owner.name) or frozenset()) | {one.openflow_port}
    if not chosen:
        raise NothingToCompareError(*(_without_port(owner, one) for owner, one in found))
    return chosen


def without_port(
    switch: Switch,
    bridge: str | None,
    interface: str | None,
    devices: frozenset[str] | None = None,
) -> list[str]:
    """Say of each interface that was asked for why nobody can watch its flows, as ``choose``."""
    if interface is None and devices is None:
        return []
    bridges = [each for each in switch.bridges if bridge in (None, each.name)]
    found = _found(bridges, interface, devices)
    return [_without_port(each, one) for each, one in found if one.openflow_port is None]


def devices_of(instance: str, instances: Mapping[str, InstanceInterface]) -> frozenset[str]:
    """Find an instance's devices.

    Args:
        instance: Its id, its name or libvirt's name of its domain.
        instances: Whose a device is, by its name.

    Raises:
        NothingToCompareError: If there is no such instance.
    """
    found = frozenset(name for name, row in instances.items() if _is_of(row, instance))
    if not found:
        names = {row.domain_name or row.instance_id or "" for row in instances.values()}
        raise NothingToCompareError(_missing(f"instance {instance}", names))
    return found


def _is_of(row: InstanceInterface, wanted: str) -> bool:
    names = row.instance_name, row.domain_name
    return wanted in names or (row.instance_id or "").lower() == wanted.lower()


def _found(
    bridges: Iterable[Bridge], interface: str | None, devices: frozenset[str] | None
) -> list[tuple[Bridge, Interface]]:
    return [
        (bridge, one)
        for bridge in bridges
        for port in bridge.ports
        for one in port.interfaces
        if (devices is None or one.name in devices) and (interface is None or _is(one, interface))
    ]


def _is(interface: Interface, wanted: str) -> bool:
    ids = interface.iface_id, interface.attached_mac, interface.mac
    return interface.name == wanted or wanted.lower() in {each.lower() for each in ids if each}


def _missing(wanted: str, there: Iterable[str]) -> str:
    names = sorted(there)
    listed = ", ".join(names[:MAX_NAMES]) or "none"
    rest = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"no {wanted}; there are: {listed}{rest}"


def _without_port(bridge: Bridge, interface: Interface) -> str:
    why = interface.error or "ovs-vswitchd has given it no number"
    return f"{interface.name} on {bridge.name} has no OpenFlow port: {why}"
