"""What may be asked of the kernel: GET and nothing else. Checked at the one place that sends."""

from agent.errors import ParseError
from agent.wire.netlink.header import Flag, Message, messages

ROUTE, NETFILTER, GENERIC = 0, 12, 16
"""NETLINK_ROUTE, NETLINK_NETFILTER, NETLINK_GENERIC (linux/netlink.h)."""

GETLINK, GETADDR, GETNEIGH, GETQDISC, GETSTATS = 18, 22, 30, 38, 94
"""RTM_GET… (linux/rtnetlink.h)."""
CT_GET, CT_GET_STATS_CPU = 0x0101, 0x0104
"""NFNL_SUBSYS_CTNETLINK << 8, with IPCTNL_MSG_CT_GET and IPCTNL_MSG_CT_GET_STATS_CPU
(linux/netfilter/nfnetlink_conntrack.h). CT_GET_CTRZERO (3) also resets, and is not here."""
GENL_CTRL = 16
"""GENL_ID_CTRL; families beyond it have numbers that the kernel gives out at run time."""
GENL_GET = 3
"""CTRL_CMD_GETFAMILY, OVS_DP_CMD_GET, OVS_VPORT_CMD_GET and OVS_CT_LIMIT_CMD_GET: all are 3
(linux/genetlink.h, linux/openvswitch.h)."""

_GETS = {
    ROUTE: frozenset({GETLINK, GETADDR, GETNEIGH, GETQDISC, GETSTATS}),
    NETFILTER: frozenset({CT_GET, CT_GET_STATS_CPU}),
}


def is_allowed(protocol: int, message: bytes, families: frozenset[int] = frozenset()) -> bool:
    """Say whether these bytes are exactly one request that changes nothing.

    NLM_F_CREATE, REPLACE, EXCL and APPEND share their bits with the flags of a dump: it is the
    type that tells a GET. ACK and ECHO are not needed and refused.

    Args:
        protocol: ROUTE, NETFILTER or GENERIC.
        message: Header and payload.
        families: Numbers of Open vSwitch's families on this kernel: in others command 3 may be
            anything.
    """
    try:
        only, *others = messages(message)
    except (ParseError, ValueError):
        return False
    if others or only.flags not in (Flag.REQUEST, Flag.REQUEST | Flag.DUMP):
        return False
    if protocol == GENERIC:
        return _generic_reads(only, families)
    return only.type in _GETS.get(protocol, frozenset())


def _generic_reads(message: Message, families: frozenset[int]) -> bool:
    if not message.payload or message.payload[0] != GENL_GET:
        return False
    # Asking for a family by its name would load its module: families are only listed.
    listing = message.type == GENL_CTRL and message.flags & Flag.DUMP == Flag.DUMP
    return listing or (message.type in families and message.type != GENL_CTRL)
