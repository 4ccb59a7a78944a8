"""The match fields of Open vSwitch 3.1.0 by every name that ovs-ofctl takes for them.

From the comments of include/openvswitch/meta-flow.h, where each field states whether it can be
masked: 195 names that can be matched, and those that no controller can load.
"""

import re

REGISTERS, XREGISTERS, XXREGISTERS, OPTIONS, CONTEXTS = 16, 8, 4, 64, 4

_MASKABLE = (
    "tun_id tunnel_id tun_src tun_dst tun_ipv6_src tun_ipv6_dst tun_flags tun_gbp_id "
    "tun_gbp_flags tun_erspan_idx tun_erspan_ver tun_erspan_dir tun_erspan_hwid "
    "tun_gtpu_flags tun_gtpu_msgtype metadata pkt_mark ct_state ct_mark ct_label ct_nw_src "
    "ct_nw_dst ct_ipv6_src ct_ipv6_dst ct_tp_src ct_tp_dst eth_src dl_src eth_dst dl_dst "
    "vlan_tci vlan_vid ip_src nw_src ip_dst nw_dst ipv6_src ipv6_dst ipv6_label ip_frag "
    "nw_frag arp_spa arp_tpa arp_sha arp_tha tcp_src tp_src tcp_dst tp_dst tcp_flags udp_src "
    "udp_dst sctp_src sctp_dst nd_target nd_sll nd_tll nsh_flags"
)
_EXACT_ONLY = (
    "packet_type conj_id in_port in_port_oxm actset_output ct_zone ct_nw_proto eth_type dl_type "
    "dl_vlan dl_vlan_pcp vlan_pcp mpls_label mpls_tc mpls_bos mpls_ttl nw_proto ip_proto nw_tos "
    "ip_dscp nw_ecn ip_ecn nw_ttl arp_op icmp_type icmp_code icmpv6_type icmpv6_code nd_reserved "
    "nd_options_type nsh_mdtype nsh_np nsh_spi nsp nsh_si nsi nsh_ttl"
)
MASKABLE = frozenset(
    _MASKABLE.split()
    + [f"reg{n}" for n in range(REGISTERS)]
    + [f"xreg{n}" for n in range(XREGISTERS)]
    + [f"xxreg{n}" for n in range(XXREGISTERS)]
    + [f"tun_metadata{n}" for n in range(OPTIONS)]
    + [f"{name}{n}" for name in ("nsh_c", "nshc") for n in range(1, CONTEXTS + 1)]
)
EXACT_ONLY = frozenset(_EXACT_ONLY.split())
NOT_LOADABLE = {
    "recirc_id": "OFPBRC_EPERM: only flows that ovs-vswitchd makes for itself in table 254",
    "dp_hash": "OFPBRC_EPERM: the same",
    "skb_priority": "has neither an NXM nor an OXM header, so that it is on no wire",
    "tun_ttl": "the same",
    "tun_tos": "the same",
}
"""Name -> why no controller can add a flow that matches it."""

EXACT, MASKED = "exact", "masked"
WANTED = frozenset((name, EXACT) for name in MASKABLE | EXACT_ONLY) | frozenset(
    (name, MASKED) for name in MASKABLE
)

_FIELD = re.compile(r"([a-z_0-9]+)(\[[0-9.]+\])?=(\"(?:[^\"\\]|\\.)*\"|\([^)]*\)|[^,]*)")
_PARTS_OF_FRAGMENTS = {"yes", "not_later"}
"""Values of nw_frag that leave one of its two bits open."""


def forms(flow: str) -> set[tuple[str, str]]:
    """Return which fields a flow in ovs-ofctl's language matches, and how.

    ``reg0[0..3]=1,tcp,tcp_flags=+syn`` has reg0 and tcp_flags, both masked.
    """
    return {
        (name, MASKED if bits or _is_masked(name, value) else EXACT)
        for name, bits, value in _FIELD.findall(flow)
    }


def _is_masked(name: str, value: str) -> bool:
    if name in {"nw_frag", "ip_frag"}:
        return value in _PARTS_OF_FRAGMENTS
    return not value.startswith('"') and ("/" in value or value[:1] in {"+", "-"})
