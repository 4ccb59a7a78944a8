"""OpenFlow controllers of bridges that were reached or lost: Controller.is_connected."""

from collections.abc import Mapping

from agent.events.change import Change, Kind, change
from agent.model.switch import Switch

Connections = Mapping[tuple[str, str], bool | None]
"""Whether one is connected, by bridge and target; ``None`` while ovs-vswitchd has not said."""


def connections(switch: Switch) -> Connections:
    """Return which controllers are connected; of two with one target, either will do."""
    found: dict[tuple[str, str], bool | None] = {}
    for bridge in switch.bridges:
        for controller in bridge.controllers:
            key = (bridge.name, controller.target)
            found[key] = found.get(key) or controller.connected
    return found


def changes(before: Connections, switch: Switch) -> tuple[Connections, list[Change]]:
    """Return what is remembered now, and what has changed.

    A controller that is no longer configured is lost as well, and ``configured`` says so. One
    that was never reached is not lost.
    """
    now = dict(connections(switch))
    found: list[Change] = []
    for (bridge, target), connected in now.items():
        last = before.get((bridge, target))
        if connected is None:
            now[bridge, target] = last
        elif connected and not last:
            found.append(change(Kind.CONTROLLER_CONNECTED, bridge=bridge, target=target))
        elif last and not connected:
            found.append(_lost(bridge, target, configured=True))
    for (bridge, target), last in before.items():
        if last and (bridge, target) not in now:
            found.append(_lost(bridge, target, configured=False))
    return now, found


def _lost(bridge: str, target: str, *, configured: bool) -> Change:
    return change(Kind.CONTROLLER_LOST, bridge=bridge, target=target, configured=configured)
