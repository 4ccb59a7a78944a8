"""Links: what rtnetlink tells of a network device (linux/if_link.h, rtnetlink(7)).

A payload is a struct ifinfomsg (family, hardware type, index, flags, change mask) and attributes.
Of a port of a Linux bridge begins, with its length, type and value of each attribute::

    00 00 0100 0d000000 43100100 00000000            AF_UNSPEC, Ethernet, index 13, UP and more
    0a00 0300 76 65 74 68 30 00 …                    IFLA_IFNAME veth0
    0800 0400 dc050000                               IFLA_MTU 1500
    0800 0a00 09000000                               IFLA_MASTER 9
    5c01 1280 0900 0100 76 65 74 68 00 …             IFLA_LINKINFO: IFLA_INFO_KIND veth, …
"""

import struct
from typing import NamedTuple

from agent.errors import ParseError
from agent.model.link import Link, LinuxBridge
from agent.wire.netlink.attributes import attribute, attributes, first, selected, text, u8, u16, u32
from agent.wire.netlink.tunnels import tunnel

NEWLINK, DELLINK = 16, 17
"""RTM_NEWLINK, RTM_DELLINK (linux/rtnetlink.h)."""
AF_UNSPEC, AF_BRIDGE = 0, 7

IFINFOMSG = struct.Struct("=BxHIII")
ARPHRD_ETHER = 1
IFF_UP = 1
MAC_BYTES = 6

ADDRESS, IFNAME, MTU, MASTER, PROTINFO, LINKINFO = 1, 3, 4, 10, 12, 18
EXT_MASK, CARRIER, CARRIER_CHANGES = 29, 33, 35
_WANTED = frozenset((ADDRESS, IFNAME, MTU, MASTER, LINKINFO, CARRIER, CARRIER_CHANGES))
INFO_KIND, INFO_DATA, INFO_SLAVE_KIND, INFO_SLAVE_DATA = 1, 2, 4, 5
VLAN_ID = 1
BR_STP_STATE, BR_VLAN_FILTERING = 5, 7
BRPORT_STATE = 1
"""IFLA_…"""

SKIP_STATS = 8
"""RTEXT_FILTER_SKIP_STATS leaves out those of IPv6 and of virtual functions. The link's own 64-bit
ones come whether one wants them or not."""
LINKS = IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, 0) + attribute(EXT_MASK, struct.pack("=I", SKIP_STATS))
"""What to ask with for all links."""


class LinkMessage(NamedTuple):
    """A message of type NEWLINK or DELLINK.

    Attributes:
        family: AF_UNSPEC about the link, AF_BRIDGE about the link as a member of a bridge: there
            DELLINK says that it left the bridge.
        index: The link's.
        link: All of it; ``None`` in messages of a bridge and in those that name no link (events
            of wireless drivers).
        port_state: State of a bridge's port, in messages of a bridge; changes by STP come only
            this way.
    """

    family: int
    index: int  # type: ignore[assignment] # hides tuple.index, which nobody needs here
    link: Link | None
    port_state: int | None


def parse_link(payload: bytes) -> LinkMessage:
    """Return what a NEWLINK or DELLINK message says.

    Raises:
        ParseError: If it is cut short.
    """
    if len(payload) < IFINFOMSG.size:
        raise ParseError(f"{len(payload)} bytes instead of a link")
    family, hardware, index, flags, _ = IFINFOMSG.unpack_from(payload)
    if family != AF_UNSPEC:
        port = first(payload, PROTINFO, IFINFOMSG.size) if family == AF_BRIDGE else None
        return LinkMessage(family, index, None, _port_state(port))
    found = selected(payload, _WANTED, IFINFOMSG.size)
    if not (name := text(found.get(IFNAME))):
        return LinkMessage(family, index, None, None)
    info = attributes(found.get(LINKINFO, b""))
    kind = text(info.get(INFO_KIND))
    data = info.get(INFO_DATA, b"")
    mac = found.get(ADDRESS, b"")
    link = Link(
        index=index,
        name=name,
        kind=kind,
        # Tunnels have their IP address there.
        mac=mac.hex(":") if hardware == ARPHRD_ETHER and len(mac) == MAC_BYTES else None,
        mtu_bytes=u32(found.get(MTU)),
        up=bool(flags & IFF_UP),
        carrier=_truth(u8(found.get(CARRIER))),
        master=u32(found.get(MASTER)),
        carrier_changes=u32(found.get(CARRIER_CHANGES)),
        vlan_id=u16(first(data, VLAN_ID)) if kind == "vlan" else None,
        tunnel=tunnel(kind, data),
        bridge=_bridge(data) if kind == "bridge" else None,
        bridge_port_state=_member_state(info) if INFO_SLAVE_KIND in info else None,
    )
    return LinkMessage(family, index, link, None)


def _bridge(data: bytes) -> LinuxBridge:
    stp, filtering = u32(first(data, BR_STP_STATE)), u8(first(data, BR_VLAN_FILTERING))
    return LinuxBridge(_truth(stp), _truth(filtering))


def _member_state(info: dict[int, bytes]) -> int | None:
    """Return the port's state if it is a bridge that it is a member of, and no bond or VRF."""
    bridged = text(info[INFO_SLAVE_KIND]) == "bridge"
    return _port_state(info.get(INFO_SLAVE_DATA)) if bridged else None


def _port_state(data: bytes | None) -> int | None:
    return None if data is None else u8(first(data, BRPORT_STATE))


def _truth(number: int | None) -> bool | None:
    return None if number is None else number != 0
