"""Addresses of links (linux/if_addr.h, rtnetlink(7))."""

import struct

from agent.errors import ParseError
from agent.model.link import Address
from agent.wire.netlink.attributes import attributes, ip_text

NEWADDR, DELADDR = 20, 21
"""RTM_NEWADDR, RTM_DELADDR (linux/rtnetlink.h)."""

IFADDRMSG = struct.Struct("=BBBBI")
IFA_ADDRESS, IFA_LOCAL = 1, 2
ADDRESSES = IFADDRMSG.pack(0, 0, 0, 0, 0)
"""What to ask with for all addresses of all families."""

_FAMILIES = {2: ("inet", 4), 10: ("inet6", 16)}
"""AF_INET and AF_INET6 as ``ip`` names them, and the bytes of an address."""
_SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
"""RT_SCOPE_… (linux/rtnetlink.h) as ``ip`` names them."""


def parse_address(payload: bytes) -> Address | None:
    """Return what a NEWADDR or DELADDR message says; ``None`` for neither inet nor inet6.

    ``ip address`` prints ``inet 192.0.2.1/24 scope global veth2`` of ``02 18 80 00 11000000``,
    IFA_ADDRESS ``0800 0100 c0000201``, IFA_LOCAL ``0800 0200 c0000201`` and more.

    Raises:
        ParseError: If it is cut short, or an address has another length than its family's.
    """
    if len(payload) < IFADDRMSG.size:
        raise ParseError(f"{len(payload)} bytes instead of an address")
    family, prefix, _, scope, index = IFADDRMSG.unpack_from(payload)
    if family not in _FAMILIES:
        return None
    name, length = _FAMILIES[family]
    found = attributes(payload, IFADDRMSG.size)
    # Of a point-to-point link IFA_ADDRESS is the other end's.
    address = found.get(IFA_LOCAL) or found.get(IFA_ADDRESS) or b""
    if len(address) != length:
        raise ParseError(f"{len(address)} bytes instead of an address of {name}")
    return Address(index, f"{ip_text(address)}/{prefix}", name, _SCOPES.get(scope) or str(scope))
