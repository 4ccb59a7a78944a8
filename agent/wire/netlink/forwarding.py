"""Forwarding tables of bridges and vxlan devices: ``bridge fdb`` (linux/neighbour.h)."""

import struct
import sys
from typing import Literal, NamedTuple

from agent.errors import ParseError
from agent.wire.netlink.attributes import ip_address, selected, u16, u32

NEWNEIGH, DELNEIGH = 28, 29
"""RTM_NEWNEIGH, RTM_DELNEIGH (linux/rtnetlink.h)."""
AF_BRIDGE = 7

NDMSG = struct.Struct("=BxxxIHBB")
NDA_DST, NDA_LLADDR, NDA_VLAN, NDA_PORT, NDA_VNI, NDA_IFINDEX, NDA_MASTER = 1, 2, 5, 6, 7, 8, 9
NDA_SRC_VNI, NDA_NH_ID = 11, 13
_PLACE = (NDA_DST, NDA_PORT, NDA_VNI, NDA_IFINDEX, NDA_NH_ID)
_WANTED = frozenset((NDA_LLADDR, NDA_VLAN, NDA_MASTER, NDA_SRC_VNI, *_PLACE))
GROUP_BIT = 0x01
"""Of the first byte of a MAC address: multicast or broadcast."""
NTF_SELF = 0x02
NUD_PERMANENT = 0x80
FORWARDING = NDMSG.pack(AF_BRIDGE, 0, 0, 0, 0)
"""What to ask with for all entries of all links."""


class Entry(NamedTuple):
    """An entry of a forwarding table.

    An entry that moves to another port, or a learned one to another VTEP, is announced only by
    NEWNEIGH of its new place: it has the same key there, and replaces the one that was known.

    Attributes:
        index: Of a bridge's table the member behind which the MAC address is (the bridge itself
            for addresses of its own); else the link with a table of its own: a vxlan device, or
            hardware that lists what it listens to.
        key: The same for the same entry, and another for all others of the namespace.
        bridge: Whether it is of a bridge's table.
        local: Address of a port or of the bridge itself (permanent), not of somebody behind it.
        remote: Of a vxlan device's table the VTEP or group that it sends to.
    """

    index: int  # type: ignore[assignment] # hides tuple.index, which nobody needs here
    key: bytes
    bridge: bool
    local: bool
    remote: str | None


def parse_entry(payload: bytes) -> Entry | None:
    """Return what a NEWNEIGH or DELNEIGH message says; ``None`` if not of family AF_BRIDGE.

    ``bridge fdb`` prints ``02:00:00:00:00:bb dev vx-unicast dst 127.0.0.3 self`` of
    ``07000000 1a000000 0200 02 01``, NDA_LLADDR ``0a00 0200 0200000000bb 0000``, NDA_DST
    ``0800 0100 7f000003`` and NDA_CACHEINFO.

    Raises:
        ParseError: If it is cut short.
    """
    if len(payload) < NDMSG.size:
        raise ParseError(f"{len(payload)} bytes instead of a neighbour")
    family, index, state, flags, kind = NDMSG.unpack_from(payload)
    if family != AF_BRIDGE:
        return None
    found = selected(payload, _WANTED, NDMSG.size)
    mac = found.get(NDA_LLADDR, b"")
    bridge = None if flags & NTF_SELF else u32(found.get(NDA_MASTER))
    if bridge is not None:
        key = b"bridge %d vlan %d " % (bridge, u16(found.get(NDA_VLAN)) or 0) + mac
        return Entry(index, key, True, bool(state & NUD_PERMANENT), None)  # noqa: FBT003 - fields
    # A change that a program asked for (bridge fdb add) Linux 6.1 tells twice, 6.18 once: vxlan
    # itself with all of it, type RTN_UNICAST, and after it with the MAC address only, type 0.
    vlan, vni = u16(found.get(NDA_VLAN)) or 0, u32(found.get(NDA_SRC_VNI)) or 0
    key = b"link %d type %d vlan %d vni %d " % (index, kind, vlan, vni) + mac
    if not any(mac) or mac[0] & GROUP_BIT:
        # Such frames go to several places, each an entry of its own; any other to the last known.
        key += b"".join(b" %d=" % it + found[it] for it in _PLACE if it in found)
    return Entry(index, key, False, False, ip_address(found.get(NDA_DST)))  # noqa: FBT003


def _steps(order: Literal["little", "big"]) -> tuple[tuple[int, int, int, int], ...]:
    """Return code, steps to skip if true and if false, and a number (struct sock_filter)."""
    # BPF loads what the machine wrote in its own order as if it were in the network's.
    new, gone = (int.from_bytes(it.to_bytes(2, order), "big") for it in (NEWNEIGH, DELNEIGH))
    return (
        (_LOAD_HALF, 0, 0, 4),  # nlmsg_type
        (_IF_EQUAL, 1, 0, new),
        (_IF_EQUAL, 0, 2, gone),
        (_LOAD_BYTE, 0, 0, 16),  # ndm_family
        (_IF_EQUAL, 0, 1, AF_BRIDGE),
        (_GIVE, 0, 0, 0xFFFFFFFF),
        (_GIVE, 0, 0, 0),
    )


_LOAD_HALF, _LOAD_BYTE, _IF_EQUAL, _GIVE = 0x28, 0x30, 0x15, 0x06
"""BPF_LD | BPF_H | BPF_ABS, BPF_LD | BPF_B | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET | BPF_K
(linux/filter.h, linux/bpf_common.h)."""
ONLY_FORWARDING = b"".join(struct.pack("=HBBI", *it) for it in _steps(sys.byteorder))
"""Classic BPF for the socket of events: of NEWNEIGH and DELNEIGH it lets through only those of
forwarding tables (ARP and neighbour discovery never rest), and everything else."""
