"""Queueing disciplines: RTM_GETQDISC (linux/rtnetlink.h, linux/pkt_sched.h, linux/gen_stats.h).

One message, as the kernel sends it for ``tc qdisc add dev v2 root handle 1: htb default 10`` when
56 packets have been dropped:

```
 b4000000 2400 0200 01000000 f9000000     nlmsghdr: RTM_NEWQDISC
 00 00 0000 05000000 00000100 ffffffff    tcmsg: family, pads, ifindex 5, handle 1:, parent root
 03000000                                 tcm_info
 0800 0100 68746200                       TCA_KIND "htb"
 2400 0200 …  0500 0c00 …                 TCA_OPTIONS, TCA_HW_OFFLOAD
 3000 0700                                TCA_STATS2
   1400 0100 …                              TCA_STATS_BASIC
   1800 0300 00000000 00000000              TCA_STATS_QUEUE: qlen, backlog,
   38000000 00000000 03000000                 drops, requeues, overlimits
 2c00 0300 …                              TCA_STATS
```
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from agent.errors import ParseError
from agent.wire.netlink.attributes import attribute, attributes, text
from agent.wire.netlink.header import messages

NEWQDISC = 36
_TCMSG = struct.Struct("=BBHiIII")
REQUEST = _TCMSG.pack(0, 0, 0, 0, 0, 0, 0)
"""Payload of the question: those of all links."""

PARENTS = frozenset({0xFFFFFFFF, 0xFFFFFFF1})
"""TC_H_ROOT; TC_H_INGRESS, which is clsact's too. What a child drops its root counts as well."""
_TCA_KIND, _TCA_STATS, _TCA_STATS2 = 1, 3, 7
_TCA_STATS_QUEUE = 3
_QUEUE = struct.Struct("=IIIII")
"""``struct gnet_stats_queue``: qlen, backlog, drops, requeues, overlimits."""
_STATS = struct.Struct("=QII")
"""The beginning of ``struct tc_stats``: bytes, packets, drops."""
_NOQUEUE = attribute(_TCA_KIND, b"noqueue\0")
"""It has no queue and drops nothing; almost every virtual link has it."""


@dataclass(frozen=True, slots=True)
class QdiscDrops:
    """What a discipline dropped.

    Attributes:
        index: Of its link.
        handle: Its number, major in the upper half; 0 for one that the kernel chose.
        parent: One of ``PARENTS``.
        kind: fq_codel, htb, ingress, clsact, …
        drops: Since it was made, of 32 bits.
    """

    index: int
    handle: int
    parent: int
    kind: str
    drops: int


def parse_qdiscs(datagrams: Iterable[bytes]) -> list[QdiscDrops]:
    """Read the disciplines at the root and at the ingress of links, without ``noqueue``.

    One that tells no statistics is left out.

    Raises:
        ParseError: If a message or an attribute is too short or too long.
    """
    return [
        one
        for data in datagrams
        for message in messages(data)
        if message.type == NEWQDISC and (one := _parse(message.payload)) is not None
    ]


def _parse(payload: bytes) -> QdiscDrops | None:
    if len(payload) < _TCMSG.size:
        raise ParseError(f"{len(payload)} bytes instead of a tcmsg")
    _, _, _, index, handle, parent, _ = _TCMSG.unpack_from(payload)
    if parent not in PARENTS or payload.startswith(_NOQUEUE, _TCMSG.size):
        return None
    found = attributes(payload, _TCMSG.size)
    kind = text(found.get(_TCA_KIND))
    drops = _drops(found)
    if kind is None or drops is None:
        return None
    return QdiscDrops(index, handle, parent, kind, drops)


def _drops(found: dict[int, bytes]) -> int | None:
    """Return the drops; TCA_STATS, which TCA_STATS2 replaced, where there is nothing else."""
    queue = attributes(found.get(_TCA_STATS2, b"")).get(_TCA_STATS_QUEUE)
    number: int
    if queue is not None:
        if len(queue) < _QUEUE.size:
            raise ParseError(f"{len(queue)} bytes instead of a gnet_stats_queue")
        number = _QUEUE.unpack_from(queue)[2]
        return number
    stats = found.get(_TCA_STATS)
    if stats is None:
        return None
    if len(stats) < _STATS.size:
        raise ParseError(f"{len(stats)} bytes instead of a tc_stats")
    number = _STATS.unpack_from(stats)[2]
    return number
