"""What a person named, a bridge and an interface, found in the database."""

from collections.abc import Iterable, Mapping

from agent.drops.text import printable
from agent.model.bridge import LOCAL, LOCAL_IN_DATABASE
from agent.model.switch import Bridge, Interface, Switch

Chosen = Mapping[str, frozenset[int] | None]
"""By bridge: the OpenFlow ports whose flows are wanted, ``None`` for all flows."""
MAX_NAMES = 50


class NothingToWatchError(Exception):
    """What was asked for is not there, or cannot be read.

    Attributes:
        lines: For a person, printable.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = lines


def choose(switch: Switch, bridge: str | None, interface: str | None) -> Chosen:
    """Find bridges and ports.

    Args:
        switch: What the database says.
        bridge: Its name; ``None`` for all.
        interface: Interface.name, the Neutron port (external_ids:iface-id), or a MAC address, the
            instance's (external_ids:attached-mac) or the device's; ``None`` for all flows.

    Raises:
        NothingToWatchError: If there is no such bridge or interface, or it has no OpenFlow port.
    """
    bridges = [each for each in switch.bridges if bridge in (None, each.name)]
    if not bridges:
        there = (each.name for each in switch.bridges)
        raise NothingToWatchError(_missing("bridge", bridge or "", there))
    if interface is None:
        return {each.name: None for each in bridges}
    found = [(each, one) for each in bridges for one in _interfaces(each) if _is(one, interface)]
    if not found:
        there = (one.name for each in bridges for one in _interfaces(each))
        raise NothingToWatchError(_missing("interface", interface, there))
    chosen: dict[str, frozenset[int] | None] = {}
    for owner, one in found:
        number = number_of(one)
        if number is not None:
            chosen[owner.name] = (chosen.get(owner.name) or frozenset()) | {number}
    if not chosen:
        raise NothingToWatchError(*(_without_port(owner, one) for owner, one in found))
    return chosen


def ports(switch: Switch, bridge: str) -> dict[int, Interface]:
    """Return a bridge's interfaces by OpenFlow port number."""
    return {
        number: one
        for each in switch.bridges
        if each.name == bridge
        for one in _interfaces(each)
        if (number := number_of(one)) is not None
    }


def number_of(interface: Interface) -> int | None:
    """Return the OpenFlow port number as OpenFlow writes it; ``None`` without one."""
    return LOCAL if interface.ofport == LOCAL_IN_DATABASE else interface.ofport


def _interfaces(bridge: Bridge) -> Iterable[Interface]:
    return (one for port in bridge.ports for one in port.interfaces)


def _is(interface: Interface, wanted: str) -> bool:
    if interface.name == wanted:
        return True
    ids = interface.iface_id, interface.attached_mac, interface.mac
    return wanted.lower() in {each.lower() for each in ids if each}


def _missing(what: str, wanted: str, there: Iterable[str]) -> str:
    names = sorted(there)
    listed = ", ".join(names[:MAX_NAMES]) or "none"
    rest = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return printable(f"no {what} {wanted}; there are: {listed}{rest}".replace("  ", " "))


def _without_port(bridge: Bridge, interface: Interface) -> str:
    why = interface.error or "ovs-vswitchd has given it no number"
    return printable(f"{interface.name} on {bridge.name} has no OpenFlow port: {why}")
