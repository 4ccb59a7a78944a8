"""Random flows that ovs-ofctl accepts, and that use every field it can install."""

import ipaddress
from random import Random

PORTS = ("1", "2", "3", "4", "LOCAL")
IPV6_MASKS = ("ff0f::", "::ff", "ffff:0:ffff::1", "::ffff:ffff:ffff:ffff")
"""None begins with a decimal digit: ovs-ofctl would take it for a prefix length."""
STATES = ("new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat")
TCP = ("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns")


class Generator:
    """Writes flows for ``ovs-ofctl add-flows``.

    Args:
        seed: Of the random numbers, so that a failure can be repeated.
    """

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 - test data

    def flow(self, table: int) -> str:
        """Return one flow."""
        fields = self._metadata() + self._packet()
        priority = self._random.choice([0, 1, 100, 32768, 65535])
        actions = "actions=drop"
        return ",".join([f"table={table},priority={priority}", *fields, actions])

    def _sometimes(self, field: str, chance: float = 0.15) -> list[str]:
        return [field] if self._random.random() < chance else []

    def _number(self, bits: int) -> str:
        value = self._random.getrandbits(self._random.choice([1, bits // 2 or 1, bits]))
        if self._random.random() < 0.6:
            return hex(value)
        mask = self._random.choice([self._random.getrandbits(bits), (1 << bits) - 1, 1])
        return f"{value & mask:#x}/{mask:#x}"

    def _plain(self, bits: int) -> str:
        return str(self._random.getrandbits(bits))

    def _ipv4(self) -> str:
        value, prefix = self._random.getrandbits(32), self._random.randrange(33)
        mask = self._random.choice(["", f"/{prefix}", f"/{_dotted(self._random.getrandbits(32))}"])
        return _dotted(value) + mask

    def _ipv6(self) -> str:
        halves = [self._random.choice([0, self._random.getrandbits(64)]) for _ in range(2)]
        value = self._random.choice(
            [halves[0] << 64 | halves[1], 0xFFFF << 32 | 0xA000001, 0xA000001, 1, 0xFE80 << 112 | 5]
        )
        mask = self._random.choice(IPV6_MASKS)
        text = str(ipaddress.IPv6Address(value))
        return text + self._random.choice(["", "", f"/{self._random.randrange(129)}", f"/{mask}"])

    def _mac(self) -> str:
        text = self._random.randbytes(6).hex(":")
        masks = ["", "", "/01:00:00:00:00:00", "/ff:ff:ff:00:00:00"]
        return text + self._random.choice(masks)

    def _states(self, names: tuple[str, ...]) -> str:
        some = self._random.sample(names, self._random.randrange(1, len(names) + 1))
        return "".join(self._random.choice("+-") + name for name in some)

    def _metadata(self) -> list[str]:
        number, sometimes = self._number, self._sometimes
        fields = [
            *sometimes(f"pkt_mark={number(32)}"),
            *sometimes(f"metadata={number(64)}"),
            *sometimes(f"tun_id={number(64)}"),
            *sometimes(f"tun_src={self._ipv4()}", 0.1),
            *sometimes(f"tun_dst={self._ipv4()}", 0.1),
            *sometimes(f"tun_ipv6_src={self._ipv6()}", 0.1),
            *sometimes(f"tun_ipv6_dst={self._ipv6()}", 0.1),
            *sometimes(f"tun_flags={self._random.choice(['+oam', '-oam', 'oam'])}", 0.1),
            *sometimes(f"tun_gbp_id={number(16)}", 0.1),
            *sometimes(f"tun_gbp_flags={number(8)}", 0.1),
            *sometimes(f"tun_gtpu_flags={number(8)}", 0.05),
            *sometimes(f"tun_gtpu_msgtype={number(8)}", 0.05),
            *sometimes(f"tun_erspan_ver={self._random.choice([1, 2])}", 0.1),
            *sometimes(f"tun_erspan_idx={number(20)}", 0.1),
            *sometimes(f"tun_erspan_dir={number(1)}", 0.1),
            *sometimes(f"tun_erspan_hwid={number(6)}", 0.1),
            *sometimes(f"tun_metadata0={number(32)}", 0.1),
            *sometimes(f"tun_metadata1={number(64)}", 0.1),
            *sometimes("tun_metadata2", 0.1),
            *sometimes(f"tun_metadata63={number(64)}", 0.1),
            *sometimes(f"in_port={self._random.choice(PORTS)}", 0.4),
            *sometimes(f"actset_output={self._random.choice(PORTS)}", 0.05),
            *sometimes(f"conj_id={self._plain(32)}", 0.1),
        ]
        registers = self._random.sample(range(16), self._random.choice([0, 0, 1, 2]))
        fields += [f"reg{register}={number(32)}" for register in registers]
        if not any(field.startswith("reg") for field in fields):
            fields += sometimes(f"xreg{self._random.randrange(8)}={number(64)}", 0.1)
        if not any("reg" in field for field in fields):
            fields += sometimes(f"xxreg{self._random.randrange(4)}={number(128)}", 0.1)
        return fields

    def _conntrack(self, family: int) -> list[str]:
        number, sometimes = self._number, self._sometimes
        fields = [
            *sometimes(f"ct_zone={self._plain(16)}"),
            *sometimes(f"ct_mark={number(32)}", 0.2),
            *sometimes(f"ct_label={number(128)}"),
        ]
        if family == 0 or self._random.random() < 0.7:
            return fields + sometimes(f"ct_state={self._states(STATES)}", 0.4)
        address = self._ipv4 if family == 4 else self._ipv6
        name = "ct_nw" if family == 4 else "ct_ipv6"
        fields += ["ct_state=+trk" + self._random.choice(["+est", "+rpl", "+new-rel"])]
        fields += sometimes(f"{name}_src={address()}", 0.5)
        fields += sometimes(f"{name}_dst={address()}", 0.5)
        if self._random.random() < 0.5:
            fields.append(f"ct_nw_proto={self._random.choice([6, 17])}")
            fields += sometimes(f"ct_tp_src={number(16)}", 0.5)
            fields += sometimes(f"ct_tp_dst={number(16)}", 0.5)
        return fields

    def _packet(self) -> list[str]:
        """Fields of a packet, from Ethernet up, with what each needs before it."""
        if self._random.random() < 0.03:
            return ["packet_type=(1,0x894f)", *self._nsh()]
        choice = self._random.choice
        kinds = [self._ip, self._ip, self._ip, self._arp, self._mpls, self._nsh_ethernet, list]
        fields = [
            *self._sometimes(f"dl_src={self._mac()}", 0.3),
            *self._sometimes(f"dl_dst={self._mac()}", 0.3),
            *self._vlan(),
        ]
        kind = choice(kinds)
        rest: list[str] = kind()
        if not rest:
            fields += self._sometimes(f"dl_type={choice(['0x88cc', '0x8100', '0x05ff', '0x0800'])}")
            fields += self._conntrack(0)
        return fields + rest

    def _vlan(self) -> list[str]:
        choice = self._random.choice
        return choice(
            [
                [],
                [],
                [],
                [f"dl_vlan={self._plain(12)}"],
                [f"dl_vlan={self._plain(12)}", f"dl_vlan_pcp={self._plain(3)}"],
                [f"dl_vlan_pcp={self._plain(3)}"],
                ["vlan_tci=0x0000/0x1fff"],
                ["vlan_tci=0x1000/0x1000"],
                [f"vlan_vid={0x1000 | self._random.getrandbits(12):#x}/0x1{self._plain(2)}0f"],
                [f"vlan_tci={0x1000 | self._random.getrandbits(16):#x}"],
                ["dl_vlan=0xffff"],
            ]
        )

    def _arp(self) -> list[str]:
        return [
            self._random.choice(["arp", "rarp"]),
            *self._sometimes(f"arp_op={self._plain(8)}", 0.5),
            *self._sometimes(f"arp_spa={self._ipv4()}", 0.5),
            *self._sometimes(f"arp_tpa={self._ipv4()}", 0.5),
            *self._sometimes(f"arp_sha={self._mac()}", 0.3),
            *self._sometimes(f"arp_tha={self._mac()}", 0.3),
        ]

    def _mpls(self) -> list[str]:
        return [
            self._random.choice(["mpls", "mplsm"]),
            *self._sometimes(f"mpls_label={self._plain(20)}", 0.5),
            *self._sometimes(f"mpls_tc={self._plain(3)}", 0.5),
            *self._sometimes(f"mpls_ttl={self._plain(8)}", 0.5),
            *self._sometimes(f"mpls_bos={self._plain(1)}", 0.5),
        ]

    def _nsh_ethernet(self) -> list[str]:
        return ["dl_type=0x894f", *self._nsh()]

    def _nsh(self) -> list[str]:
        return [
            *self._sometimes(f"nsh_flags={self._number(8)}", 0.4),
            *self._sometimes(f"nsh_ttl={self._random.randrange(64)}", 0.4),
            *self._sometimes(f"nsh_mdtype={self._random.choice([1, 1, 2])}", 0.7),
            *self._sometimes(f"nsh_np={self._plain(3)}", 0.4),
            *self._sometimes(f"nsh_spi={self._plain(24)}", 0.4),
            *self._sometimes(f"nsh_si={self._plain(8)}", 0.4),
            *self._sometimes(f"nsh_c1={self._number(32)}", 0.4),
            *self._sometimes(f"nsh_c4={self._number(32)}", 0.4),
        ]

    def _ip(self) -> list[str]:
        version = self._random.choice([4, 6])
        address = self._ipv4 if version == 4 else self._ipv6
        name = "nw" if version == 4 else "ipv6"
        fields = [
            *self._sometimes(f"{name}_src={address()}", 0.4),
            *self._sometimes(f"{name}_dst={address()}", 0.4),
            *self._sometimes(f"nw_tos={self._random.getrandbits(6) << 2}", 0.1),
            *self._sometimes(f"nw_ecn={self._plain(2)}", 0.1),
            *self._sometimes(f"nw_ttl={self._plain(8)}", 0.1),
            *self._conntrack(version),
        ]
        if version == 6:
            fields += self._sometimes(f"ipv6_label={self._number(20)}", 0.1)
        keyword, transport = self._transport(version)
        if not transport:
            kinds = ("no", "yes", "first", "later", "not_later")
            fields += self._sometimes(f"nw_frag={self._random.choice(kinds)}", 0.3)
        return [keyword, *fields, *transport]

    def _transport(self, version: int) -> tuple[str, list[str]]:
        six = "6" if version == 6 else ""
        kind = self._random.choice(["tcp", "udp", "sctp", "icmp", "nd", "other", "none"])
        if kind in {"tcp", "udp", "sctp"}:
            fields = [
                *self._sometimes(f"tp_src={self._number(16)}", 0.4),
                *self._sometimes(f"tp_dst={self._number(16)}", 0.4),
            ]
            if kind == "tcp":
                flags = self._random.choice([self._states(TCP), "syn|ack", "0", "0x2/0x812"])
                fields += self._sometimes(f"tcp_flags={flags}", 0.3)
            return kind + six, fields
        if kind == "nd" and version == 6:
            return self._neighbour()
        if kind in {"icmp", "nd"}:
            fields = self._sometimes(f"icmp_type={self._plain(8)}", 0.7)
            return f"icmp{six}", fields + self._sometimes(f"icmp_code={self._plain(8)}", 0.4)
        keyword = "ipv6" if version == 6 else "ip"
        return keyword, [f"nw_proto={self._plain(8)}"] if kind == "other" else []

    def _neighbour(self) -> tuple[str, list[str]]:
        kind = self._random.choice([135, 136])
        return "icmp6", [
            f"icmp_type={kind},icmp_code=0",
            *self._sometimes(f"nd_target={self._ipv6()}", 0.6),
            *self._sometimes(f"nd_{'sll' if kind == 135 else 'tll'}={self._mac()}", 0.5),
            *self._sometimes(f"nd_reserved={self._plain(32)}", 0.2),
            *self._sometimes(f"nd_options_type={self._plain(8)}", 0.2),
        ]


def _dotted(value: int) -> str:
    return str(ipaddress.IPv4Address(value))
