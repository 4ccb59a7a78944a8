"""Families of generic netlink: which of Open vSwitch's this kernel has, and what to ask them.

Families are only ever listed: to ask for one by its name would load its module.
"""

import struct
from collections.abc import Iterable

from agent.errors import ParseError
from agent.wire.netlink.allowed import GENL_GET
from agent.wire.netlink.attributes import attributes, text, u16
from agent.wire.netlink.header import Message

FAMILIES = ("ovs_datapath", "ovs_vport", "ovs_ct_limit")
DATAPATH, VPORT, CT_LIMIT = FAMILIES
VERSIONS = {DATAPATH: 2, VPORT: 1, CT_LIMIT: 1}
"""OVS_…_VERSION (linux/openvswitch.h)."""

_FAMILY_ID, _FAMILY_NAME = 1, 2
"""CTRL_ATTR_… (linux/genetlink.h)."""
_GENERIC = struct.Struct("=BBH")
_REQUEST = struct.Struct("=BBHi")


def list_families() -> bytes:
    """Write the payload that asks the controller for all its families."""
    return _GENERIC.pack(GENL_GET, 1, 0)


def get(family: str, dp_ifindex: int = 0) -> bytes:
    """Write the payload that asks a family of Open vSwitch: all datapaths, or one's."""
    return _REQUEST.pack(GENL_GET, VERSIONS[family], 0, dp_ifindex)


def read_families(messages: Iterable[Message]) -> dict[str, int]:
    """Return the numbers of Open vSwitch's families that this kernel has.

    Args:
        messages: CTRL_CMD_NEWFAMILY of each: its number, its name, and operations and groups.

    Raises:
        ParseError: If a family has no name or number.
    """
    found: dict[str, int] = {}
    for message in messages:
        of = attributes(message.payload, _GENERIC.size)
        name, number = text(of.get(_FAMILY_NAME)), u16(of.get(_FAMILY_ID))
        if name is None or number is None:
            raise ParseError("a generic netlink family without its name or number")
        if name in FAMILIES:
            found[name] = number
    return found
