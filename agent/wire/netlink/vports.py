"""Ports of a kernel datapath: answers to OVS_VPORT_CMD_GET (linux/openvswitch.h).

This is read for every scrape and a node has hundreds, so it is decoded as structs.
"""

import struct

from agent.errors import ParseError
from agent.model.bridge import PortStats
from agent.model.kernel_datapath import Vport
from agent.wire.netlink.attributes import attributes, counters, text, u32, u64
from agent.wire.netlink.header import messages

HEADERS_BYTES = 8
"""struct genlmsghdr and struct ovs_header, before the attributes."""
PORT_NO, TYPE, NAME, STATS, UPCALL_STATS = 1, 2, 3, 6, 10
"""OVS_VPORT_ATTR_…"""
SUCCESS, FAIL = 0, 1
"""OVS_VPORT_UPCALL_ATTR_…, inside UPCALL_STATS; Linux 6.3 and later."""
KINDS = {1: "netdev", 2: "internal", 3: "gre", 4: "vxlan", 5: "geneve"}
"""OVS_VPORT_TYPE_…"""

_STATS = struct.Struct("=8Q")


def read_vports(datagram: bytes, family: int) -> list[Vport]:
    """Return the ports in a datagram of a dump, none in the one that only ends it.

    One port of Linux 6.1, ``ovs-dpctl show`` calls it ``port 1: br-int (internal)``::

        94000000 1b000200 01000000 0f020000   netlink: 148 bytes, type 27, part of a dump
        01010000 04000000                     OVS_VPORT_CMD_NEW, datapath 4
        08000100 01000000                     PORT_NO 1
        08000200 02000000                     TYPE internal
        0b000300 62722d696e740000             NAME br-int
        08000800 05000000                     IFINDEX
        44000600 …                            STATS rx, tx: packets, bytes, errors, dropped
        08000500 9f0c00c0                     UPCALL_PID
        04000400                              OPTIONS, none

    Args:
        datagram: Netlink messages.
        family: Number of ovs_vport on this kernel; messages of other types are passed over.

    Raises:
        ParseError: If a port has no name, number or type, or anything is too short.
    """
    return [_vport(each.payload) for each in messages(datagram) if each.type == family]


def _vport(payload: bytes) -> Vport:
    found = attributes(payload, HEADERS_BYTES)
    name, number, kind = text(found.get(NAME)), u32(found.get(PORT_NO)), u32(found.get(TYPE))
    if not name or number is None or kind is None:
        raise ParseError("a port of a datapath without its name, number or type")
    upcalls = attributes(found[UPCALL_STATS]) if UPCALL_STATS in found else {}
    return Vport(
        name,
        KINDS.get(kind) or str(kind),
        _stats(number, found.get(STATS)),
        u64(upcalls.get(SUCCESS)),
        u64(upcalls.get(FAIL)),
    )


def _stats(number: int, data: bytes | None) -> PortStats:
    """Read struct ovs_vport_stats."""
    if data is None:
        return PortStats(number)
    rx_packets, tx_packets, rx_bytes, tx_bytes, rx_errors, tx_errors, rx_dropped, tx_dropped = (
        counters(_STATS, data, "statistics of a port")
    )
    return PortStats(
        number,
        rx_packets=rx_packets,
        tx_packets=tx_packets,
        rx_bytes=rx_bytes,
        tx_bytes=tx_bytes,
        rx_dropped=rx_dropped,
        tx_dropped=tx_dropped,
        rx_errors=rx_errors,
        tx_errors=tx_errors,
    )
