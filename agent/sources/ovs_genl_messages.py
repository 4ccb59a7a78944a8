"""Messages of generic netlink: kernel datapaths, and limits of conntrack zones.

pyroute2 takes the messages apart. It does not check that an attribute is as long as its type
(it would go on reading in the next one), so every value is taken as bytes and measured here.
"""

import logging
import struct
from collections.abc import Iterable, Iterator
from typing import Any

from pyroute2.netlink import genlmsg
from pyroute2.netlink.exceptions import NetlinkDecodeError

from agent.errors import ParseError
from agent.model.datapath import Datapath
from agent.model.kernel_datapath import ZoneLimit
from agent.wire.netlink import header
from agent.wire.netlink.attributes import counters, text, u32
from agent.wire.netlink.header import Message

_STATS = struct.Struct("=4Q")
_MEGAFLOW_STATS = struct.Struct("=QI4xQ8x")
_ZONE_LIMIT = struct.Struct("=iII")

# Of a message that it cannot decode it would also log a traceback: whoever catches the error logs.
logging.getLogger("pyroute2.netlink").setLevel(logging.CRITICAL)


class OvsMessage(genlmsg):  # type: ignore[misc]  # pyroute2 is untyped
    """What all families of Open vSwitch begin with: struct ovs_header."""

    fields = (*genlmsg.fields, ("dp_ifindex", "i"))


class DatapathMessage(OvsMessage):
    """OVS_DP_CMD_NEW."""

    nla_map = (
        (1, "OVS_DP_ATTR_NAME", "cdata"),
        (3, "OVS_DP_ATTR_STATS", "cdata"),
        (4, "OVS_DP_ATTR_MEGAFLOW_STATS", "cdata"),
        (7, "OVS_DP_ATTR_MASKS_CACHE_SIZE", "cdata"),
    )


class LimitMessage(OvsMessage):
    """OVS_CT_LIMIT_CMD_GET's answer. The attribute holds structures, though it is said nested."""

    nla_map = ((1, "OVS_CT_LIMIT_ATTR_ZONE_LIMIT", "cdata"),)


def read_datapaths(messages: Iterable[Message]) -> dict[int, Datapath]:
    """Return the kernel datapaths by index, without ports.

    The cache of masks and its hits are not known before Linux 5.10: such a kernel leaves out the
    size and has a 0 where the hits are now.

    Raises:
        ParseError: If one has no name, or statistics are too short.
    """
    found: dict[int, Datapath] = {}
    for each in _decoded(DatapathMessage, messages):
        name = text(each.get_attr("OVS_DP_ATTR_NAME"))
        if not name:
            raise ParseError("a kernel datapath without its name")
        hits, missed, lost, flows = _fields(_STATS, each.get_attr("OVS_DP_ATTR_STATS"), 4)
        masks_hit, masks, cache_hits = _fields(
            _MEGAFLOW_STATS, each.get_attr("OVS_DP_ATTR_MEGAFLOW_STATS"), 3
        )
        size = u32(each.get_attr("OVS_DP_ATTR_MASKS_CACHE_SIZE"))
        found[each["dp_ifindex"]] = Datapath(
            f"system@{name}",
            hits=hits,
            missed=missed,
            lost=lost,
            flows=flows,
            masks=masks,
            masks_hit=masks_hit,
            mask_cache_hits=None if size is None else cache_hits,
            mask_cache_size_entries=size,
        )
    return found


def read_zone_limits(messages: Iterable[Message]) -> tuple[ZoneLimit, ...]:
    """Return the zones that have a limit of their own, by number.

    The default for all other zones has the zone -1, and a limit of 0 is none: both are left out.

    Raises:
        ParseError: If there are no whole structures.
    """
    found: dict[int, ZoneLimit] = {}
    for each in _decoded(LimitMessage, messages):
        data = each.get_attr("OVS_CT_LIMIT_ATTR_ZONE_LIMIT") or b""
        if len(data) % _ZONE_LIMIT.size:
            raise ParseError(f"{len(data)} bytes instead of limits of conntrack zones")
        for zone, limit, entries in _ZONE_LIMIT.iter_unpack(data):
            if zone >= 0 and limit:
                found[zone] = ZoneLimit(zone, limit, entries)
    return tuple(found[zone] for zone in sorted(found))


def _decoded(kind: type[Any], messages: Iterable[Message]) -> Iterator[Any]:
    """Decode; what pyroute2 says of a message that it cannot decode becomes ours."""
    for each in messages:
        length = header.LENGTH + len(each.payload)
        head = header.HEADER.pack(length, each.type, each.flags, each.sequence, 0)
        message = kind(head + each.payload)
        try:
            message.decode()
        except (struct.error, KeyError, IndexError, NetlinkDecodeError) as error:
            raise ParseError(f"not a {kind.__name__}: {error}") from error
        yield message


def _fields(form: struct.Struct, data: bytes | None, count: int) -> tuple[int | None, ...]:
    """Read a structure; none of its numbers is known without it."""
    return (None,) * count if data is None else counters(form, data, "statistics")
