"""The match fields of OXM and NXM: header -> name, size, place in the text, writer.

Headers and sizes are those of OVS include/openvswitch/meta-flow.h, the order that of match_format
in lib/match.c, which is not the order on the wire.
"""

from typing import NamedTuple

from agent.wire.openflow import text
from agent.wire.openflow.text import Writer

NXM_OF, NXM_NX, OXM, PACKET_REGS, ERICSSON = 0x0000, 0x0001, 0x8000, 0x8001, 0x1000
EXPERIMENTER = 0xFFFF
NICIRA, ONF, NSH = 0x00002320, 0x4F4E4600, 0x005AD650

REGISTERS, GENEVE_OPTIONS = 32, 64
"""Open vSwitch 4.0 has 32 registers, before it 16."""
GENEVE_BYTES = 124
"""The most that a Geneve option holds; on the wire the field is as long as the option."""


class Field(NamedTuple):
    """A match field.

    Attributes:
        name: As ovs-ofctl prints it; xregN and xxregN are printed as the registers they cover.
        size_bytes: Of the value, and of the mask where there is one.
        place: Fields are printed in ascending order of this.
        writer: ``None`` where the text depends on other fields too.
    """

    name: str
    size_bytes: int
    place: int
    writer: Writer | None


ORDER = (
    "pkt_mark recirc_id dp_hash conj_id actset_output ct_state ct_zone ct_mark ct_label ct_nw_src "
    "ct_ipv6_src ct_nw_dst ct_ipv6_dst ct_nw_proto ct_tp_src ct_tp_dst packet_type protocol "
    f"{' '.join(f'reg{n}' for n in range(REGISTERS))} tun_id tun_src tun_dst tun_ipv6_src "
    "tun_ipv6_dst tun_gbp_id tun_gbp_flags tun_erspan_ver tun_erspan_idx tun_erspan_dir "
    "tun_erspan_hwid gtpu_flags gtpu_msgtype tun_flags "
    f"{' '.join(f'tun_metadata{n}' for n in range(GENEVE_OPTIONS))} metadata in_port vlan dl_src "
    "dl_dst dl_type ipv6_src ipv6_dst ipv6_label arp_spa arp_tpa nsh_flags nsh_ttl nsh_mdtype "
    "nsh_np nsh_spi nsh_si nsh_c1 nsh_c2 nsh_c3 nsh_c4 nw_src nw_dst nw_proto arp_op arp_sha "
    "arp_tha nw_tos nw_ecn nw_ttl mpls_label mpls_tc mpls_ttl mpls_bos nw_frag icmp_type tp_src "
    "icmp_code tp_dst nd_target nd_sll nd_tll nd_reserved nd_options_type tcp_flags"
)
PLACES = {name: place for place, name in enumerate(ORDER.split())}
LAST = len(PLACES)
"""The place of what is not known."""

# name, size in bytes, writer, then the headers as (class, number) or (class, number, experimenter)
_TABLE: tuple[tuple[str, int, Writer | None, tuple[tuple[int, ...], ...]], ...] = (
    ("pkt_mark", 4, text.hexadecimal, ((NXM_NX, 33),)),
    ("recirc_id", 4, text.hexadecimal, ((NXM_NX, 36),)),
    ("dp_hash", 4, text.hexadecimal, ((NXM_NX, 35), (EXPERIMENTER, 0, NICIRA))),
    ("conj_id", 4, text.decimal, ((NXM_NX, 37),)),
    ("actset_output", 4, None, ((EXPERIMENTER, 43, ONF), (OXM, 43))),
    ("ct_state", 4, text.ct_state, ((NXM_NX, 105),)),
    ("ct_zone", 2, text.decimal, ((NXM_NX, 106),)),
    ("ct_mark", 4, text.hexadecimal, ((NXM_NX, 107),)),
    ("ct_label", 16, text.hexadecimal, ((NXM_NX, 108),)),
    ("ct_nw_proto", 1, text.decimal, ((NXM_NX, 119),)),
    ("ct_nw_src", 4, text.ipv4, ((NXM_NX, 120),)),
    ("ct_nw_dst", 4, text.ipv4, ((NXM_NX, 121),)),
    ("ct_ipv6_src", 16, text.ipv6, ((NXM_NX, 122),)),
    ("ct_ipv6_dst", 16, text.ipv6, ((NXM_NX, 123),)),
    ("ct_tp_src", 2, text.decimal, ((NXM_NX, 124),)),
    ("ct_tp_dst", 2, text.decimal, ((NXM_NX, 125),)),
    ("packet_type", 4, None, ((OXM, 44),)),
    ("tun_id", 8, text.hexadecimal, ((OXM, 38), (NXM_NX, 16))),
    ("tun_src", 4, text.ipv4, ((NXM_NX, 31),)),
    ("tun_dst", 4, text.ipv4, ((NXM_NX, 32),)),
    ("tun_ipv6_src", 16, text.ipv6, ((NXM_NX, 109),)),
    ("tun_ipv6_dst", 16, text.ipv6, ((NXM_NX, 110),)),
    ("tun_gbp_id", 2, text.decimal, ((NXM_NX, 38),)),
    ("tun_gbp_flags", 1, text.exact_hexadecimal, ((NXM_NX, 39),)),
    ("tun_erspan_ver", 1, None, ((EXPERIMENTER, 12, NICIRA),)),
    ("tun_erspan_idx", 4, None, ((EXPERIMENTER, 11, NICIRA),)),
    ("tun_erspan_dir", 1, None, ((EXPERIMENTER, 13, NICIRA),)),
    ("tun_erspan_hwid", 1, None, ((EXPERIMENTER, 14, NICIRA),)),
    ("gtpu_flags", 1, text.exact_hexadecimal, ((EXPERIMENTER, 15, NICIRA),)),
    ("gtpu_msgtype", 1, text.exact_decimal, ((EXPERIMENTER, 16, NICIRA),)),
    ("tun_flags", 2, text.tunnel_flags, ((NXM_NX, 104),)),
    ("metadata", 8, text.hexadecimal, ((OXM, 2),)),
    ("in_port", 4, None, ((OXM, 0),)),
    ("vlan_vid", 2, None, ((OXM, 6),)),
    ("vlan_pcp", 1, None, ((OXM, 7),)),
    ("vlan_tci", 2, None, ((NXM_OF, 4),)),
    ("dl_src", 6, text.ethernet, ((OXM, 4), (NXM_OF, 2))),
    ("dl_dst", 6, text.ethernet, ((OXM, 3), (NXM_OF, 1))),
    ("dl_type", 2, None, ((OXM, 5), (NXM_OF, 3))),
    ("ipv6_src", 16, text.ipv6, ((OXM, 26), (NXM_NX, 19))),
    ("ipv6_dst", 16, text.ipv6, ((OXM, 27), (NXM_NX, 20))),
    ("ipv6_label", 4, text.ipv6_label, ((OXM, 28), (NXM_NX, 27))),
    ("arp_spa", 4, text.ipv4, ((OXM, 22), (NXM_OF, 16))),
    ("arp_tpa", 4, text.ipv4, ((OXM, 23), (NXM_OF, 17))),
    ("nsh_flags", 1, text.octet, ((EXPERIMENTER, 1, NSH),)),
    ("nsh_mdtype", 1, None, ((EXPERIMENTER, 2, NSH),)),
    ("nsh_np", 1, text.octet, ((EXPERIMENTER, 3, NSH),)),
    ("nsh_spi", 4, text.padded_hexadecimal, ((EXPERIMENTER, 4, NSH),)),
    ("nsh_si", 1, text.octet, ((EXPERIMENTER, 5, NSH),)),
    ("nsh_c1", 4, None, ((EXPERIMENTER, 6, NSH),)),
    ("nsh_c2", 4, None, ((EXPERIMENTER, 7, NSH),)),
    ("nsh_c3", 4, None, ((EXPERIMENTER, 8, NSH),)),
    ("nsh_c4", 4, None, ((EXPERIMENTER, 9, NSH),)),
    ("nsh_ttl", 1, text.octet, ((EXPERIMENTER, 10, NSH),)),
    ("nw_src", 4, text.ipv4, ((OXM, 11), (NXM_OF, 7))),
    ("nw_dst", 4, text.ipv4, ((OXM, 12), (NXM_OF, 8))),
    ("nw_proto", 1, None, ((OXM, 10), (NXM_OF, 6))),
    ("arp_op", 2, text.decimal, ((OXM, 21), (NXM_OF, 15))),
    ("arp_sha", 6, text.ethernet, ((OXM, 24), (NXM_NX, 17))),
    ("arp_tha", 6, text.ethernet, ((OXM, 25), (NXM_NX, 18))),
    ("nw_tos", 1, text.dscp, ((OXM, 8),)),
    ("nw_tos", 1, text.decimal, ((NXM_OF, 5),)),
    ("nw_ecn", 1, text.decimal, ((OXM, 9), (NXM_NX, 28))),
    ("nw_ttl", 1, text.decimal, ((NXM_NX, 29),)),
    ("mpls_label", 4, text.decimal, ((OXM, 34),)),
    ("mpls_tc", 1, text.decimal, ((OXM, 35),)),
    ("mpls_bos", 1, text.decimal, ((OXM, 36),)),
    ("mpls_ttl", 1, text.decimal, ((NXM_NX, 30),)),
    ("nw_frag", 1, text.fragment, ((NXM_NX, 26),)),
    ("icmp_type", 1, text.decimal, ((OXM, 19), (NXM_OF, 13), (OXM, 29), (NXM_NX, 21))),
    ("icmp_code", 1, text.decimal, ((OXM, 20), (NXM_OF, 14), (OXM, 30), (NXM_NX, 22))),
    ("tp_src", 2, text.decimal, ((OXM, 13), (NXM_OF, 9), (OXM, 15), (NXM_OF, 11), (OXM, 17))),
    ("tp_dst", 2, text.decimal, ((OXM, 14), (NXM_OF, 10), (OXM, 16), (NXM_OF, 12), (OXM, 18))),
    ("nd_target", 16, text.ipv6, ((OXM, 31), (NXM_NX, 23))),
    ("nd_sll", 6, text.ethernet, ((OXM, 32), (NXM_NX, 24))),
    ("nd_tll", 6, text.ethernet, ((OXM, 33), (NXM_NX, 25))),
    ("nd_reserved", 4, text.decimal, ((ERICSSON, 1),)),
    ("nd_options_type", 1, text.decimal, ((ERICSSON, 2),)),
    ("tcp_flags", 2, text.tcp_flags, ((NXM_NX, 34), (EXPERIMENTER, 42, ONF), (OXM, 42))),
    *((f"reg{n}", 4, text.hexadecimal, ((NXM_NX, n),)) for n in range(16)),
    *((f"reg{n}", 4, text.hexadecimal, ((EXPERIMENTER, n + 1, NICIRA),)) for n in range(16, 32)),
    *((f"xreg{n}", 8, None, ((PACKET_REGS, n),)) for n in range(REGISTERS // 2)),
    *((f"xxreg{n}", 16, None, ((NXM_NX, 111 + n),)) for n in range(REGISTERS // 4)),
    *((f"tun_metadata{n}", GENEVE_BYTES, None, ((NXM_NX, 40 + n),)) for n in range(64)),
)


def header_key(oxm_class: int, number: int, experimenter: int = 0) -> int:
    """Return what identifies a field: its header without mask bit and length."""
    return oxm_class << 7 | number | experimenter << 23


FIELDS: dict[int, Field] = {
    header_key(*header): Field(name, size_bytes, PLACES.get(name, LAST), writer)
    for name, size_bytes, writer, headers in _TABLE
    for header in headers
}
