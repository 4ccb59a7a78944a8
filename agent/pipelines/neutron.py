"""Neutron's Open vSwitch agent: its integration, tunnel and provider bridges.

Known by what their tables do, not by the names of bridges, which are configuration. Numbers and
names are those of neutron_lib/plugins/ml2/ovs_constants.py (before 2022:
neutron/plugins/ml2/drivers/openvswitch/agent/common/constants.py), in lower case and without
``_table``; they are the same from Ocata on, but for the rate limits: packet_rate_limit moved from
59 to 58 when bandwidth_rate_limit took 59 (neutron-lib 3.2).
"""

from dataclasses import dataclass

from agent.model.flow import Effect, Flow
from agent.pipelines.base import FROM_INSTANCE, TO_INSTANCE, Owner, Pipeline, Structure

NAME = "neutron"

INTEGRATION = {
    0: "local_switching",
    1: "dvr_to_src_mac",
    2: "dvr_to_src_mac_physical",
    3: "arp_dvr_mac_to_dst_mac",
    4: "arp_dvr_mac_to_dst_mac_physical",
    23: "canary",
    24: "arp_spoof",
    25: "mac_spoof",
    30: "local_egress",
    31: "local_ip",
    60: "transient",
    61: "local_mac_direct",
    62: "transient_egress",
    71: "base_egress",
    72: "rules_egress",
    73: "accept_or_ingress",
    77: "dhcp_ipv4",
    78: "dhcp_ipv6",
    81: "base_ingress",
    82: "rules_ingress",
    91: "accepted_egress_traffic",
    92: "accepted_ingress_traffic",
    93: "dropped_traffic",
    94: "accepted_egress_traffic_normal",
}
RATE_LIMITS = {58: "packet_rate_limit", 59: "bandwidth_rate_limit"}
RATE_LIMIT_BEFORE = {59: "packet_rate_limit"}
TUNNEL = {
    0: "local_switching",
    1: "dvr_process",
    2: "patch_lv_to_tun",
    3: "gre_tun_to_lv",
    4: "vxlan_tun_to_lv",
    6: "geneve_tun_to_lv",
    9: "dvr_not_learn",
    10: "learn_from_tun",
    20: "ucast_to_tun",
    21: "arp_responder",
    22: "flood_to_tun",
    222: "bagpipe_flood_to_tun_broadcast",
}
PROVIDER = {
    0: "local_switching",
    1: "dvr_process_physical",
    2: "local_vlan_translation",
    3: "dvr_not_learn_physical",
    80: "metadata_egress_nat",
    87: "metadata_egress_output",
    90: "metadata_ip_arp_responder",
    91: "metadata_ingress_direct",
}

CANARY, ARP_SPOOF, PACKET_RATE_LIMIT = 23, 24, 58
FIREWALL = 71, 72, 73, 81, 82
SENDERS = frozenset({71, 72, 73})
RECEIVERS = frozenset({81, 82})
LOGGED = frozenset({91, 92, 93})
TO_LOCAL_VLAN = frozenset({3, 4, 6})
DROP_PRIORITY = 2
"""Of the flow that a provider bridge keeps for what its patch port brings (drop_port)."""


@dataclass(frozen=True)
class Integration(Pipeline):
    """The integration bridge, whatever firewall driver it has.

    With the openvswitch driver, reg5 is the OpenFlow port of the instance: of the one that sends in
    tables 71 to 73, of the one that receives in 81 and 82. Without it filtering is iptables'.
    """

    def only_logs(self, table: int, effect: Effect) -> bool:  # noqa: ARG002  # the table says it
        """Security group logging: the agent prints what tables 91 to 93 send it.

        ``table=93,priority=53,reg5=0x4 actions=CONTROLLER:65535`` takes the place of a drop
        (neutron/services/logapi/drivers/openvswitch/ovs_firewall_log.py).
        """
        return table in LOGGED

    def attribute(self, flow: Flow) -> Owner | None:
        """By in_port where the flow has it, else by reg5 in the firewall's tables."""
        instance = flow.scope.reg5
        if flow.table_id in RECEIVERS:
            return None if instance is None else (instance, TO_INSTANCE)
        sender = self.sender(flow)
        if sender is None and flow.table_id in SENDERS and instance is not None:
            return instance, FROM_INSTANCE
        return sender


@dataclass(frozen=True)
class Transport(Pipeline):
    """The tunnel bridge and provider bridges: no instance has a port there.

    Attributes:
        from_tunnels: Tables that take what comes out of tunnels.
    """

    from_tunnels: frozenset[int] = frozenset()

    def is_copy(self, flow: Flow) -> bool:
        """Networks that are not on this node: without l2population every node gets every flood.

        ``table=4,priority=0 actions=drop`` (setup_default_table of br_tun.py).
        """
        return flow.table_id in self.from_tunnels and flow.priority == 0 and not flow.match

    def attribute(self, flow: Flow) -> Owner | None:  # noqa: ARG002  # whatever it matches
        """Nobody's."""
        return None


def recognise(bridge: Structure) -> Pipeline | None:
    """Tell which of neutron's bridges this is; ``None`` for none of them."""
    ports = bridge.patch_ports
    if _is_integration(bridge):
        limits = RATE_LIMITS if bridge.has(PACKET_RATE_LIMIT) else RATE_LIMIT_BEFORE
        return Integration(NAME, INTEGRATION | limits, ports)
    if _is_tunnel(bridge):
        return Transport(NAME, TUNNEL, ports, from_tunnels=TO_LOCAL_VLAN)
    if _is_provider(bridge) or _is_distributed_provider(bridge):
        return Transport(NAME, PROVIDER, ports)
    return None


def _is_integration(bridge: Structure) -> bool:
    """Tell it by the canary, whose only flow drops, and the spoofing table or the firewall."""
    canary = bridge.effects.get(CANARY, ())
    return (
        bool(canary)
        and all(effect.action == "drop" for effect in canary)
        and (bridge.has(0, ARP_SPOOF) or bridge.has(0, *FIREWALL))
    )


def _is_tunnel(bridge: Structure) -> bool:
    """Tell it by unicast and flooding from the patch port: 2 -> 20 -> 22, 2 -> 22, and learning."""
    after = bridge.continues
    return bridge.has(0, 10) and after.get(2, set()) >= {20, 22} and after.get(20, set()) >= {22}


def _is_provider(bridge: Structure) -> bool:
    """Tell it by two flows: NORMAL for everything, but drop what comes in by the patch port."""
    default = bridge.default(0)
    return (
        default is not None
        and default.action == "normal"
        and any(
            flow.priority == DROP_PRIORITY
            and flow.scope.in_port in bridge.patch_ports
            and flow.effect.action == "drop"
            for flow in bridge.tables.get(0, ())
        )
    )


def _is_distributed_provider(bridge: Structure) -> bool:
    """Tell it by what distributed routing adds: 0 -> 1 -> 2 from the patch port, else 0 -> 3."""
    after = bridge.continues
    return after.get(0, set()) >= {1, 3} and after.get(1, set()) == {2} and bridge.has(2, 3)
