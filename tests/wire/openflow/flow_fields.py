"""What each match field may hold, and in which packets, for the generator of flows.

A writer takes the random numbers and returns what stands behind ``name=``.
"""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import NamedTuple

from tests.wire.openflow.meta_flow import OPTIONS, REGISTERS, XREGISTERS, XXREGISTERS

Writer = Callable[[Random], str]

STATES = ("new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat")
TCP_FLAGS = ("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns")
ODD_PORTS = ("LOCAL", "65285", "NORMAL", "IN_PORT", "CONTROLLER", "FLOOD", "ANY", "99", "65279")
ODD_IPV6 = (0xFFFF << 32 | 0xA000001, 0xA000001, 1, 0, 0xFE80 << 112 | 5, 0xFFFF)
DECIMAL_BITS = 64
IPV6_MASKS = ("ff0f::", "::ff", "ffff:0:ffff::1", "::ffff:ffff:ffff:ffff", "::", "f::1.2.3.4")


class Field(NamedTuple):
    """A field of meta_flow.

    Attributes:
        exact: Writer without a mask.
        masked: Writer with a mask; ``None`` if the field takes none.
        layer: What a packet must have for it, in words; ``""`` for fields of every packet.
        covers: Names of the storage it sets: no two fields of a flow set the same.
        bits: Width of a number whose parts can be matched as ``name[3..5]``; 0 for other fields.
    """

    exact: Writer
    masked: Writer | None
    layer: str
    covers: frozenset[str]
    bits: int = 0


def _value(random: Random, bits: int) -> int:
    """Return a number that is small, middling or large; one in eight is all zeros or all ones."""
    if random.random() < 1 / 8:
        return random.choice([0, (1 << bits) - 1])
    return random.getrandbits(random.choice([1, bits // 2 or 1, bits]))


def number(bits: int) -> Writer:
    """Write a number; ovs-ofctl reads decimal ones of up to 64 bits."""
    bases = (str, hex) if bits <= DECIMAL_BITS else (hex,)
    return lambda random: random.choice(bases)(_value(random, bits))


def masked_number(bits: int) -> Writer:
    def write(random: Random) -> str:
        masks = [random.getrandbits(bits), _value(random, bits), 1 << random.randrange(bits)]
        mask = random.choice(masks)
        # every bit outside the mask is zero, or ovs-ofctl refuses it
        return f"{_value(random, bits) & mask:#x}/{mask:#x}"

    return write


def among(*choices: str) -> Writer:
    return lambda random: random.choice(choices)


def dotted(value: int) -> str:
    return str(ipaddress.IPv4Address(value))


def ipv4(random: Random) -> str:
    return dotted(_value(random, 32))


def ipv4_masked(random: Random) -> str:
    mask = random.choice([str(random.randrange(33)), dotted(_value(random, 32))])
    return f"{ipv4(random)}/{mask}"


def ipv6(random: Random) -> str:
    halves = [random.choice([0, random.getrandbits(64)]) for _ in range(2)]
    value = random.choice([halves[0] << 64 | halves[1], _value(random, 128), *ODD_IPV6])
    return str(ipaddress.IPv6Address(value))


def ipv6_masked(random: Random) -> str:
    # ovs-ofctl takes a mask for a prefix length if it begins with a decimal digit
    odd = (random.getrandbits(128) & ~(0xF << 124)) | random.randrange(10, 16) << 124
    some = [str(random.randrange(129)), str(ipaddress.IPv6Address(odd)), *IPV6_MASKS]
    return f"{ipv6(random)}/{random.choice(some)}"


def ethernet(random: Random) -> str:
    return _value(random, 48).to_bytes(6, "big").hex(":")


def ethernet_masked(random: Random) -> str:
    masks = ["01:00:00:00:00:00", "ff:ff:ff:00:00:00", ethernet(random)]
    return f"{ethernet(random)}/{random.choice(masks)}"


def flags(*names: str) -> Writer:
    """Write ``syn|ack``: every flag is matched, and these are set."""
    return lambda random: "|".join(random.sample(names, random.randrange(len(names) + 1))) or "0"


def masked_flags(*names: str) -> Writer:
    """Write ``+syn-ack``, or the same as numbers."""
    bits = masked_number(len(names))

    def write(random: Random) -> str:
        some = random.sample(names, random.randrange(1, len(names) + 1))
        by_name = "".join(random.choice("+-") + name for name in some)
        return random.choice([by_name, by_name, bits(random)])

    return write


def packet_type(random: Random) -> str:
    """Write a namespace and a type, but not one whose packets have fields of their own."""
    other = f"({random.randrange(2, 1 << 16)},{_value(random, 16)})"
    ether_type = random.choice([0x88CC, 0x0600, 5, 0xFFFF, 0])
    return random.choice(["(0,0)", f"(0,{_value(random, 16)})", f"(1,{ether_type:#x})", other])


def tag(random: Random) -> str:
    return random.choice(["0", f"{0x1000 | _value(random, 16):#x}"])


def tag_id(random: Random) -> str:
    return f"{random.choice([0x1000, 0]) | _value(random, 12):#x}"


def masked_tag(random: Random) -> str:
    """Write bits of the TCI; those of the priority need the bit that says there is a tag."""
    mask = random.choice([0x1000 | _value(random, 16), 0x1FFF & _value(random, 16), 0xF000])
    value = _value(random, 16) & mask
    return f"{value | 0x1000 if mask & 0xE000 else value:#06x}/{mask:#06x}"


def _field(
    names: str,
    exact: Writer,
    masked: Writer | None = None,
    layer: str = "",
    covers: str = "",
) -> dict[str, Field]:
    """Return a field by each of its names."""
    storage = frozenset((covers or names.partition(" ")[0]).split())
    return {name: Field(exact, masked, layer, storage) for name in names.split()}


def _numeric(names: str, bits: int, layer: str = "", covers: str = "") -> dict[str, Field]:
    field = _field(names, number(bits), masked_number(bits), layer, covers)
    return {name: each._replace(bits=bits) for name, each in field.items()}


def _registers() -> dict[str, Field]:
    found: dict[str, Field] = {}
    for name, count, size in (("reg", REGISTERS, 1), ("xreg", XREGISTERS, 2)):
        for n in range(count):
            covers = " ".join(f"reg{n * size + part}" for part in range(size))
            found |= _numeric(f"{name}{n}", 32 * size, covers=covers)
    for n in range(XXREGISTERS):
        covers = " ".join(f"reg{n * 4 + part}" for part in range(4))
        found |= _numeric(f"xxreg{n}", 128, covers=covers)
    return found


def _options(sizes: Mapping[int, int]) -> dict[str, Field]:
    found: dict[str, Field] = {}
    for n in range(OPTIONS):
        if n in sizes:
            bits = 8 * sizes[n]
            found |= _field(f"tun_metadata{n}", number(bits), masked_number(bits))
    return found


def _metadata(ports: Sequence[str]) -> dict[str, Field]:
    port = among(*ports, *ODD_PORTS)
    return {
        **_numeric("pkt_mark", 32),
        **_numeric("metadata", 64),
        **_numeric("tun_id tunnel_id", 64),
        **_field("tun_src", ipv4, ipv4_masked),
        **_field("tun_dst", ipv4, ipv4_masked),
        **_field("tun_ipv6_src", ipv6, ipv6_masked),
        **_field("tun_ipv6_dst", ipv6, ipv6_masked),
        **_field("tun_flags", flags("oam"), masked_flags("oam")),
        **_numeric("tun_gbp_id", 16),
        **_numeric("tun_gbp_flags", 8),
        **_numeric("tun_gtpu_flags", 8),
        **_numeric("tun_gtpu_msgtype", 8),
        **_field("tun_erspan_ver", among("1", "2", "0", "0xf"), masked_number(4)),
        **_numeric("tun_erspan_idx", 20),
        **_numeric("tun_erspan_dir", 1),
        **_numeric("tun_erspan_hwid", 6),
        **_field("in_port in_port_oxm", port),
        **_field("actset_output", port),
        **_field("conj_id", number(32)),
        **_field("packet_type", packet_type, layer="blank"),
    }


def _conntrack() -> dict[str, Field]:
    return {
        **_field("ct_state", flags(*STATES), masked_flags(*STATES)),
        **_field("ct_zone", number(16)),
        **_numeric("ct_mark", 32),
        **_numeric("ct_label", 128),
        **_field("ct_nw_src", ipv4, ipv4_masked, "ct ethernet ip4"),
        **_field("ct_nw_dst", ipv4, ipv4_masked, "ct ethernet ip4"),
        **_field("ct_ipv6_src", ipv6, ipv6_masked, "ct ethernet ip6"),
        **_field("ct_ipv6_dst", ipv6, ipv6_masked, "ct ethernet ip6"),
        **_field("ct_nw_proto", among("6", "17", "132", "1", "58", "255"), None, "ct ip"),
        **_numeric("ct_tp_src", 16, "ct ip"),
        **_numeric("ct_tp_dst", 16, "ct ip"),
    }


def _ethernet() -> dict[str, Field]:
    types = among("0x88cc", "0x8100", "0x88a8", "0x05ff", "0x9999", "0xffff", "0x0600", "0x894f")
    return {
        **_field("dl_src eth_src", ethernet, ethernet_masked, "ethernet"),
        **_field("dl_dst eth_dst", ethernet, ethernet_masked, "ethernet"),
        **_field("dl_type eth_type", types, None, "untyped"),
        **_field("vlan_tci", tag, masked_tag, "ethernet", "vid pcp"),
        **_field("dl_vlan", among("0", "1", "100", "4095", "0xffff"), None, "ethernet", "vid"),
        **_field("vlan_vid", tag_id, masked_number(13), "ethernet", "vid"),
        **_field("dl_vlan_pcp", number(3), None, "ethernet", "pcp"),
        **_field("vlan_pcp", number(3), None, "ethernet", "pcp"),
        **_field("mpls_label", number(20), None, "mpls"),
        **_field("mpls_tc", number(3), None, "mpls"),
        **_field("mpls_bos", number(1), None, "mpls"),
        **_field("mpls_ttl", number(8), None, "mpls"),
        **_field("arp_op", number(8), None, "arp"),
        **_field("arp_spa", ipv4, ipv4_masked, "arp"),
        **_field("arp_tpa", ipv4, ipv4_masked, "arp"),
        **_field("arp_sha", ethernet, ethernet_masked, "arp"),
        **_field("arp_tha", ethernet, ethernet_masked, "arp"),
        **_numeric("nsh_flags", 8, "nsh"),
        **_field("nsh_ttl", number(6), None, "nsh"),
        **_field("nsh_mdtype", among("1", "1", "2"), None, "nsh"),
        **_field("nsh_np", number(8), None, "nsh"),
        **_field("nsh_spi nsp", number(24), None, "nsh"),
        **_field("nsh_si nsi", number(8), None, "nsh"),
    } | {
        name: field
        for n in range(1, 5)
        for name, field in _numeric(f"nsh_c{n} nshc{n}", 32, "nsh").items()
    }


def _internet() -> dict[str, Field]:
    return {
        **_field("nw_src ip_src", ipv4, ipv4_masked, "ip4"),
        **_field("nw_dst ip_dst", ipv4, ipv4_masked, "ip4"),
        **_field("ipv6_src", ipv6, ipv6_masked, "ip6"),
        **_field("ipv6_dst", ipv6, ipv6_masked, "ip6"),
        **_numeric("ipv6_label", 20, "ip6"),
        **_field("nw_proto ip_proto", number(8), None, "protocol"),
        **_field("nw_tos", lambda random: str(random.getrandbits(6) << 2), None, "ip"),
        **_field("ip_dscp", number(6), None, "ip", "nw_tos"),
        **_field("nw_ecn ip_ecn", number(2), None, "ip"),
        **_field("nw_ttl", number(8), None, "ip"),
        **_field("nw_frag ip_frag", among("no", "first"), among("yes", "not_later"), "ip"),
        **_numeric("tcp_src", 16, "tcp", "source"),
        **_numeric("tcp_dst", 16, "tcp", "destination"),
        **_field("tcp_flags", flags(*TCP_FLAGS), masked_flags(*TCP_FLAGS), "tcp"),
        **_numeric("udp_src", 16, "udp", "source"),
        **_numeric("udp_dst", 16, "udp", "destination"),
        **_numeric("sctp_src", 16, "sctp", "source"),
        **_numeric("sctp_dst", 16, "sctp", "destination"),
        **_numeric("tp_src", 16, "ports", "source"),
        **_numeric("tp_dst", 16, "ports", "destination"),
        **_field("icmp_type", number(8), None, "icmp"),
        **_field("icmp_code", number(8), None, "icmp"),
        **_field("icmpv6_type", number(8), None, "icmp6"),
        **_field("icmpv6_code", number(8), None, "icmp6"),
        **_field("nd_target", ipv6, ipv6_masked, "nd"),
        **_field("nd_sll", ethernet, ethernet_masked, "nd solicit"),
        **_field("nd_tll", ethernet, ethernet_masked, "nd advert"),
        **_field("nd_reserved", number(32), None, "nd"),
        **_field("nd_options_type", number(8), None, "nd"),
    }


def fields(ports: Sequence[str], options: Mapping[int, int]) -> dict[str, Field]:
    """Return every field that a flow of a bridge can match, by name.

    Args:
        ports: The bridge's ports as ovs-ofctl takes them.
        options: Bytes of its Geneve options by number.
    """
    return (
        _registers()
        | _options(options)
        | _metadata(ports)
        | _conntrack()
        | _ethernet()
        | (_internet())
    )
