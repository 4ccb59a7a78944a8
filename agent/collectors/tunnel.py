"""Tunnel endpoints: who this node expects at the other end, and how.

The first question of a broken overlay is whether both ends agree on addresses, key and port.
"""

from agent.collectors.base import Collector
from agent.families import Gauge, Output
from agent.model.node import Node

TYPES = frozenset(
    {
        "bareudp", "erspan", "geneve", "gre", "gtpu", "ip6erspan", "ip6gre", "lisp", "srv6",
        "stt", "vxlan",
    }
)  # fmt: skip
"""Interface.type values of tunnels, ovs-vswitchd.conf.db(5) of 2.13 to 4.0."""

ENDPOINT = Gauge(
    "dataplane_tunnel_endpoint_info",
    "A tunnel's two ends, always 1; join on (instance, device) [Interface.options].",
    labels=(
        "implementation", "device", "bridge", "tunnel_type", "local_ip", "remote_ip", "key",
        "dst_port",
    ),
)  # fmt: skip


def collect(node: Node) -> Output:
    """Yield every tunnel interface of the switch."""
    for bridge, _, interface in node.switch.require().interfaces():
        if interface.type in TYPES:
            options = interface.options
            yield ENDPOINT(
                1,
                "ovs",
                interface.name,
                bridge.name,
                interface.type,
                options.get("local_ip", ""),
                options.get("remote_ip", ""),
                options.get("key") or options.get("out_key") or options.get("in_key", ""),
                options.get("dst_port", ""),
            )


COLLECTOR = Collector("tunnel", (ENDPOINT,), (collect,))
