"""Tunnel devices: what IFLA_INFO_DATA of a link says (linux/if_link.h, linux/if_tunnel.h)."""

from typing import NamedTuple

from agent.model.link import Tunnel
from agent.wire.netlink.attributes import big_u16, big_u32, ip_address, selected, u32

GRE_KEY = 0x2000
"""Flag that there is a key (linux/if_tunnel.h)."""


class _Numbers(NamedTuple):
    """Where a kind of device has what.

    Attributes:
        external: COLLECT_METADATA: a flag without a value, of vxlan a byte.
        remote: REMOTE or GROUP, for IPv4 and where that is another number for IPv6.
        local: LOCAL.
        vni: ID.
        keys: OFLAGS and OKEY, that it sends with, then IFLAGS and IKEY, that it takes.
        port: PORT, in network order.
    """

    external: int
    remote: tuple[int, ...]
    local: tuple[int, ...] = ()
    vni: int = 0
    keys: tuple[tuple[int, int], ...] = ()
    port: int = 0


_VXLAN = _Numbers(external=25, remote=(2, 16), local=(4, 17), vni=1, port=15)
_GENEVE = _Numbers(external=6, remote=(2, 7), vni=1, port=5)
_GRE = _Numbers(external=18, remote=(7,), local=(6,), keys=((3, 5), (2, 4)))
_IP = _Numbers(external=19, remote=(3,), local=(2,))

_KINDS = {
    "vxlan": _VXLAN,
    "geneve": _GENEVE,
    **dict.fromkeys(("gre", "gretap", "ip6gre", "ip6gretap", "erspan", "ip6erspan"), _GRE),
    **dict.fromkeys(("ipip", "sit", "ip6tnl"), _IP),
}
_WANTED = {
    kind: frozenset(
        (
            it.external,
            it.vni,
            it.port,
            *it.remote,
            *it.local,
            *(n for pair in it.keys for n in pair),
        )
    )
    for kind, it in _KINDS.items()
}


def tunnel(kind: str | None, data: bytes) -> Tunnel | None:
    """Return the ends of a device of this kind; ``None`` if it is no tunnel.

    ``ip -d link`` prints ``vxlan id 31 local 192.168.74.104 dev eth1 srcport 0 0 dstport 8472``
    of ``0800 0100 1f000000  0800 0400 c0a84a68  0600 0f00 2118 …`` (length, type, value).

    Args:
        kind: IFLA_INFO_KIND.
        data: IFLA_INFO_DATA.

    Raises:
        ParseError: If it is cut short.
    """
    numbers = _KINDS.get(kind or "")
    if kind is None or numbers is None:
        return None
    found = selected(data, _WANTED[kind])
    external = found.get(numbers.external, b"\0") != b"\0"
    return Tunnel(
        tunnel_type=kind,
        local_ip=_address(found, numbers.local),
        # What an external device has of these means nothing: each packet brings its own.
        remote_ip=None if external else _address(found, numbers.remote),
        key=None if external else _key(found, numbers),
        dst_port=big_u16(found.get(numbers.port)),
        external=external,
    )


def _address(found: dict[int, bytes], numbers: tuple[int, ...]) -> str | None:
    for number in numbers:
        if (address := ip_address(found.get(number))) is not None:
            return address
    return None


def _key(found: dict[int, bytes], numbers: _Numbers) -> str | None:
    if numbers.vni in found:
        return str(u32(found[numbers.vni]))
    for flags, key in numbers.keys:
        if (big_u16(found.get(flags)) or 0) & GRE_KEY and key in found:
            return str(big_u32(found[key]))
    return None
