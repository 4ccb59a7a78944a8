"""The boards, from the fleet down to a flow."""

from collections.abc import Callable

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.boards import agent, fleet, flows, instances, kernel, node, ovn, tunnels

BOARDS: dict[str, Callable[[], Dashboard]] = {
    "fleet": fleet.build,
    "node": node.build,
    "flows": flows.build,
    "tunnels": tunnels.build,
    "instances": instances.build,
    "kernel": kernel.build,
    "ovn": ovn.build,
    "agent": agent.build,
}
"""By the name of their file, in the order of a person who looks for something."""
