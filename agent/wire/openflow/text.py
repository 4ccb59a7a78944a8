"""Values and masks of match fields, written as ovs-ofctl writes them (OVS lib/match.c).

Each writer takes a value and a mask that is neither all zeros nor all ones, or ``None`` for an
exact match, and returns what stands behind ``name=``.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from socket import AF_INET6, inet_ntop  # functions of bytes; nothing is opened

Writer = Callable[[int, int | None], str]

IPV4_BITS, IPV6_BITS, MAC_BYTES = 32, 128, 6
CT_STATES = ("new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat")
TCP_FLAGS = (
    *("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns"),
    *("[200]", "[400]", "[800]"),
)
TUNNEL_FLAGS = ("oam", "df", "csum", "key")
TUNNEL_PUBLIC_FLAGS = 0x1
FRAGMENT_ANY, FRAGMENT_LATER = 1, 2
FRAGMENTS = {
    FRAGMENT_ANY | FRAGMENT_LATER: ("no", "first", "<error>", "later"),
    FRAGMENT_ANY: ("no", "yes"),
    FRAGMENT_LATER: ("not_later", "", "later"),
}
"""Text by mask, then by value."""
LABEL_MASK = 0xFFFFF
PORT_OFFSET, FIRST_RESERVED_PORT = 0xFFFF0000, 0xFFFFFF00
RESERVED_PORTS = {
    0xFFFFFFF7: "UNSET",
    0xFFFFFFF8: "IN_PORT",
    0xFFFFFFF9: "TABLE",
    0xFFFFFFFA: "NORMAL",
    0xFFFFFFFB: "FLOOD",
    0xFFFFFFFC: "ALL",
    0xFFFFFFFD: "CONTROLLER",
    0xFFFFFFFE: "LOCAL",
    0xFFFFFFFF: "ANY",
}
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_ESCAPES = str.maketrans(
    {chr(code): f"\\u{code:04x}" for code in range(0x20)}
    | {"\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t"}
    | {'"': r"\"", "\\": r"\\"}
)


def hexadecimal(value: int, mask: int | None) -> str:
    """Write ``0x10/0xff``; zero is ``0``, as with C's ``%#x``."""
    text = f"{value:#x}" if value else "0"
    return text if mask is None else f"{text}/{mask:#x}"


def padded_hexadecimal(value: int, mask: int | None) -> str:
    """Write ``0x0`` for zero too."""
    return f"{value:#x}" if mask is None else f"{value:#x}/{mask:#x}"


def exact_hexadecimal(value: int, _mask: int | None) -> str:
    """Write the value alone: of some fields ovs-ofctl leaves the mask out."""
    return hexadecimal(value, None)


def decimal(value: int, mask: int | None) -> str:
    """Write ``80``, or with a mask ``0x50/0xfff0``."""
    return str(value) if mask is None else f"{value:#x}/{mask:#x}"


def octet(value: int, mask: int | None) -> str:
    """Write ``2``, or with a mask ``0x02/0x0f``."""
    return str(value) if mask is None else f"0x{value:02x}/0x{mask:02x}"


def exact_decimal(value: int, _mask: int | None) -> str:
    """Write the value alone, for the same reason."""
    return str(value)


def dscp(value: int, mask: int | None) -> str:
    """Write OXM's DSCP as the TOS byte it stands in."""
    return decimal(value << 2, mask)


def ethernet(value: int, mask: int | None) -> str:
    """Write ``fa:16:3e:61:21:c6``."""
    text = value.to_bytes(MAC_BYTES, "big").hex(":")
    return text if mask is None else f"{text}/{mask.to_bytes(MAC_BYTES, 'big').hex(':')}"


def _prefix_length(mask: int, bits: int) -> int | None:
    """Return how many leading ones a mask is made of; ``None`` if it is not only that."""
    host_part = (1 << bits) - 1 - mask
    return None if host_part & (host_part + 1) else bits - host_part.bit_length()


def _dotted(address: int) -> str:
    return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"


def ipv4(value: int, mask: int | None) -> str:
    """Write ``10.0.0.0/8``; a mask that is no prefix is dotted too."""
    if mask is None:
        return _dotted(value)
    prefix = _prefix_length(mask, IPV4_BITS)
    return f"{_dotted(value)}/{_dotted(mask) if prefix is None else prefix}"


def _colons(address: int) -> str:
    return inet_ntop(AF_INET6, address.to_bytes(16, "big"))


def ipv6(value: int, mask: int | None) -> str:
    """Write ``fe80::/64``; a mask that is no prefix is an address too."""
    if mask is None:
        return _colons(value)
    prefix = _prefix_length(mask, IPV6_BITS)
    return f"{_colons(value)}/{_colons(mask) if prefix is None else prefix}"


def ipv6_label(value: int, mask: int | None) -> str:
    """Write ``0x00abc``; the field has 20 bits."""
    if mask is None or mask & LABEL_MASK == LABEL_MASK:
        return f"0x{value:05x}"
    return f"0x{value:05x}/0x{mask:05x}"


def fragment(value: int, mask: int | None) -> str:
    """Write nw_frag: ``no``, ``yes``, ``first``, ``later``, ``not_later``."""
    bits = FRAGMENT_ANY | FRAGMENT_LATER
    choices = FRAGMENTS.get(bits if mask is None else mask & bits, ())
    value &= bits
    return choices[value] if value < len(choices) else hexadecimal(value, mask)


def _flags(value: int, mask: int | None, *, names: Sequence[str], all_bits: int) -> str:
    """Write ``+est-rel``, or ``est|trk`` where every flag is matched."""
    mask = all_bits if mask is None else mask & all_bits
    bits = [(1 << index, name) for index, name in enumerate(names)]
    if mask == (1 << len(names)) - 1:
        return "|".join(name for bit, name in bits if value & bit) or "0"
    return "".join(("+" if value & bit else "-") + name for bit, name in bits if mask & bit)


ct_state: Writer = partial(_flags, names=CT_STATES, all_bits=0xFF)
tcp_flags: Writer = partial(_flags, names=TCP_FLAGS, all_bits=0xFFF)
tunnel_flags: Writer = partial(_flags, names=TUNNEL_FLAGS, all_bits=TUNNEL_PUBLIC_FLAGS)


def packet_type(value: int, mask: int | None) -> str:
    """Write ``(1,0x800)``: namespace and type, small numbers decimal."""
    mask = 0xFFFFFFFF if mask is None else mask
    halves = (_half(value >> 16, mask >> 16), _half(value & 0xFFFF, mask & 0xFFFF))
    return f"({','.join(halves)})"


def _half(value: int, mask: int) -> str:
    if not mask:
        return "*"
    text = f"{value:#x}" if value > 9 else str(value)  # noqa: PLR2004 - the last decimal digit
    return text if mask == 0xFFFF else f"{text}/{mask:#x}"  # noqa: PLR2004 - all ones


def unambiguous(names: Mapping[int, str]) -> dict[int, str]:
    """Leave out the names that two ports have (OpenFlow cuts them at 15 bytes).

    They say nothing; ``--names`` prints the number then.
    """
    uses = Counter(names.values())
    return {number: name for number, name in names.items() if uses[name] == 1}


def port(number: int, names: Mapping[int, str]) -> str:
    """Write a port as ``--names`` does: reserved ones by their fixed name, else quoted.

    Args:
        number: OpenFlow port number.
        names: As ``unambiguous`` returns them.
    """
    if number in RESERVED_PORTS:
        return RESERVED_PORTS[number]
    name = names.get(number)
    if name is None:
        return str(number - PORT_OFFSET if number >= FIRST_RESERVED_PORT else number)
    if _PLAIN_NAME.fullmatch(name):
        return name
    return f'"{name.translate(_ESCAPES)}"'
