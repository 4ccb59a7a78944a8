"""Match fields whose text depends on other fields, on port names, or on more than themselves."""

from collections.abc import Callable, Iterator, Mapping

from agent.wire.openflow import text
from agent.wire.openflow.fields import PLACES

ETHERNET_PACKET = 0
VLAN_PRESENT, VLAN_ID, VLAN_PRIORITY, ALL_VLAN = 0x1000, 0x0FFF, 0xE000, 0xFFFF
NSH_FIXED_CONTEXT = 1
REGISTER_BITS, REGISTER_MASK = 32, 0xFFFFFFFF
ERSPAN_VERSIONS = {"tun_erspan_idx": 1, "tun_erspan_dir": 2, "tun_erspan_hwid": 2}
IPV4, IPV6 = 0x0800, 0x86DD
KEYWORDS = {
    IPV4: "ip",
    IPV6: "ipv6",
    0x0806: "arp",
    0x8035: "rarp",
    0x8847: "mpls",
    0x8848: "mplsm",
}
PROTOCOLS = {
    (IPV4, 1): "icmp",
    (IPV4, 6): "tcp",
    (IPV4, 17): "udp",
    (IPV4, 132): "sctp",
    (IPV6, 58): "icmp6",
    (IPV6, 6): "tcp6",
    (IPV6, 17): "udp6",
    (IPV6, 132): "sctp6",
}

Value = tuple[int, int | None]
Piece = tuple[int, str]
"""Place in the line, and text."""

Joint = Mapping[str, Value]


def write_joint(joint: Joint, port_names: Mapping[int, str]) -> Iterator[Piece]:
    """Write the fields that have no writer of their own.

    Args:
        joint: Value and mask by name of the field.
        port_names: Names by OpenFlow port number.
    """
    yield from _protocol(joint)
    yield from _vlan(joint)
    for name, (value, mask) in joint.items():
        if name in _WRITTEN:
            continue
        if name in _PORTS:
            number = text.port(value, port_names) if mask is None else text.decimal(value, mask)
            yield PLACES[name], f"{name}={number}"
        elif name.startswith("tun_metadata"):
            yield PLACES[name], name + _option(value, mask)
        elif "xreg" in name:
            yield from _registers(name, value, mask)
        elif name == "packet_type":
            if value != ETHERNET_PACKET or mask is not None:
                yield PLACES[name], f"packet_type={text.packet_type(value, mask)}"
        elif _is_shown(name, joint):
            yield PLACES[name], f"{name}={_OTHERS[name](value, mask)}"


_PORTS = frozenset({"in_port", "actset_output"})
_WRITTEN = frozenset({"dl_type", "nw_proto", "vlan_vid", "vlan_pcp", "vlan_tci"})
_OTHERS: dict[str, Callable[[int, int | None], str]] = {
    "tun_erspan_ver": text.exact_decimal,
    "nsh_mdtype": text.octet,
    "tun_erspan_idx": text.exact_hexadecimal,
    "tun_erspan_dir": text.exact_decimal,
    "tun_erspan_hwid": text.exact_hexadecimal,
    **dict.fromkeys(("nsh_c1", "nsh_c2", "nsh_c3", "nsh_c4"), text.padded_hexadecimal),
}


def _is_shown(name: str, joint: Joint) -> bool:
    """Say whether ovs-ofctl prints a field that has a meaning only beside another."""
    if name in ERSPAN_VERSIONS:
        return joint.get("tun_erspan_ver", (0, None))[0] == ERSPAN_VERSIONS[name]
    if name.startswith("nsh_c"):
        return joint.get("nsh_mdtype") == (NSH_FIXED_CONTEXT, None)
    return True


def _protocol(joint: Joint) -> Iterator[Piece]:
    """Write Ethernet type and IP protocol: one keyword for both, or for the first, or numbers."""
    ether, proto = joint.get("dl_type"), joint.get("nw_proto")
    keyword = None
    if ether is not None and ether[1] is None:
        if proto is not None and proto[1] is None:
            keyword = PROTOCOLS.get((ether[0], proto[0]))
            if keyword is not None:
                proto = None
        keyword = keyword or KEYWORDS.get(ether[0])
    if keyword is not None:
        yield PLACES["protocol"], keyword
    elif ether is not None:
        yield PLACES["dl_type"], f"dl_type=0x{ether[0]:04x}{_slash(ether[1])}"
    if proto is not None:
        yield PLACES["nw_proto"], f"nw_proto={text.decimal(*proto)}"


def _slash(mask: int | None) -> str:
    return "" if mask is None else f"/0x{mask:04x}"


def _vlan(joint: Joint) -> Iterator[Piece]:
    """Write the tag: dl_vlan and dl_vlan_pcp where each is exact, else as bits of the TCI."""
    tci, mask = joint.get("vlan_tci", (0, 0))
    mask = ALL_VLAN if mask is None else mask
    if "vlan_vid" in joint:
        vid, vid_mask = joint["vlan_vid"]
        within = VLAN_PRESENT | VLAN_ID
        tci |= vid & within
        mask |= within if vid_mask is None else vid_mask & within
    if "vlan_pcp" in joint:
        tci |= VLAN_PRESENT | joint["vlan_pcp"][0] << 13
        mask |= VLAN_PRESENT | VLAN_PRIORITY
    if not mask:
        return
    whole = {0, VLAN_ID}, {0, VLAN_PRIORITY}
    vid_mask, pcp_mask = mask & VLAN_ID, mask & VLAN_PRIORITY
    tagged = tci & mask & VLAN_PRESENT and vid_mask in whole[0] and pcp_mask in whole[1]
    if tagged and vid_mask | pcp_mask:
        parts = [f"dl_vlan={tci & VLAN_ID}"] if vid_mask else []
        parts += [f"dl_vlan_pcp={tci >> 13}"] if pcp_mask else []
        yield PLACES["vlan"], ",".join(parts)
    else:
        yield PLACES["vlan"], f"vlan_tci=0x{tci:04x}{_slash(None if mask == ALL_VLAN else mask)}"


def _option(value: int, mask: int | None) -> str:
    """Write a Geneve option. Without a value under its mask it is the option's presence.

    ovs-ofctl takes the option to be as long as its highest bit that matters, and a mask of all
    ones over that length for none.
    """
    if mask == 0:
        return ""
    if mask is None or mask == (1 << (mask.bit_length() + 7) // 8 * 8) - 1:
        return f"={text.hexadecimal(value, None)}"
    return f"={text.hexadecimal(value, mask)}"


def _registers(name: str, value: int, mask: int | None) -> Iterator[Piece]:
    """Write xregN and xxregN as the 32-bit registers that they are made of."""
    kind, _, number = name.partition("reg")
    count = 4 if kind == "xx" else 2
    for index in range(count):
        shift = REGISTER_BITS * (count - 1 - index)
        part = None if mask is None else mask >> shift & REGISTER_MASK
        if part == 0:
            continue
        register = f"reg{int(number) * count + index}"
        written = text.hexadecimal(
            value >> shift & REGISTER_MASK, None if part == REGISTER_MASK else part
        )
        yield PLACES[register], f"{register}={written}"
