"""Where actions send a packet.

A list of actions (apply_actions, the contents of clone) is executed one by one. A set of actions
(write_actions, the bucket of a group) ends in at most one of them: a group, else output, else
resubmit, else ct_clear, else ct, and of several of a kind the last. Without any of these Open
vSwitch does not execute the set at all, whatever it sets or however it punts (lib/ofp-actions.c,
the same from 2.13 to 4.0).
"""

import struct
from collections.abc import Callable

from agent.errors import ParseError
from agent.model.bridge import LOCAL
from agent.model.flow import MARKS, OWN_TABLE
from agent.wire.openflow.actions import (
    NX_VENDOR,
    ONF_VENDOR,
    Action,
    Nicira,
    Standard,
    iter_actions,
)

PRECEDENCE = (
    "conjunction",
    "output",
    "normal",
    "group",
    "resubmit",
    "ct",
    "controller",
    "commit",  # ct without table=
    "other",
    "drop",
)
"""Kinds of actions, the one that decides first."""

RANKS = {kind: rank for rank, kind in enumerate(PRECEDENCE)}
_DROP = len(PRECEDENCE) - 1
LABELS = tuple("ct" if kind == "commit" else kind for kind in PRECEDENCE)

# Reserved port numbers (OpenFlow 1.3, 7.2.1). Nicira's actions have 16 bits, of which those from
# 0xff00 on stand for the highest that there are in 32.
_HIGHEST_PORT = 0xFFFFFF00
_IN_PORT, _TABLE, _NORMAL = 0xFFFFFFF8, 0xFFFFFFF9, 0xFFFFFFFA
_CONTROLLER, _ANY = 0xFFFFFFFD, 0xFFFFFFFF
_RESERVED_16, _UPPER_HALF = 0xFF00, 0xFFFF0000

_NESTED_AT = 6
"""Where clone has its actions and controller2 its properties, in the body of the action."""
_CT_TABLE_AT, _CT_NO_TABLE = 8, 0xFF
_RESUBMIT_TABLE_AT = 2
_USERDATA = 3
_PORT, _PORT_16, _GROUP = struct.Struct(">I"), struct.Struct(">H"), struct.Struct(">I")
_MEMBER_COUNT, _MEMBERS_AT = struct.Struct(">10xH"), 22
_PROPERTY = struct.Struct(">HH")
_LOAD = struct.Struct(">HIQ")
_HEADER, _LOAD2_AT = struct.Struct(">I"), 6
_MASKED, _LENGTH, _ALL = 0x100, 0xFF, (1 << 128) - 1
_NXM_REGISTERS, _PACKET_REGISTERS, _REGISTERS, _XXREG0 = 0x0001, 0x8001, 16, 111
_REGISTER_BITS = 32


class Destinations:
    """What the actions read so far do. Ports are those that output actions name."""

    __slots__ = (
        "conjunction",
        "delivers",
        "groups",
        "marks",
        "ports",
        "punts",
        "rank",
        "tables",
        "unknown",
        "userdata",
    )

    def __init__(self) -> None:
        self.rank = _DROP
        self.delivers = self.punts = self.conjunction = self.unknown = False
        self.userdata: list[bytes] = []
        self.groups: list[int] = []
        self.tables: list[int] = []
        self.ports: set[int] = set()
        self.marks: set[int] = set()

    def take_list(self, actions: memoryview) -> None:
        """Add actions that are executed one by one; clones within clones cost no stack."""
        waiting = [iter_actions(actions)]
        while waiting:
            for action in waiting[-1]:
                if action.type == Nicira.CLONE and action.vendor == NX_VENDOR:
                    waiting.append(iter_actions(action.body[_NESTED_AT:]))
                    break
                self.take(action)
            else:
                waiting.pop()

    def take_set(self, actions: bytes | memoryview) -> None:
        """Add the action that a set ends in, and what may be one."""
        last, highest = None, 0
        for action in iter_actions(actions):
            key = action.vendor, action.type
            place = _FINAL.get(key, -1)
            if place >= highest:
                last, highest = action, place
            elif key not in _MEANINGS:
                self.take_unknown()
        if last is not None:
            self.take(last)

    def take(self, action: Action) -> None:
        """Add one action that is no clone."""
        meaning = _MEANINGS.get((action.vendor, action.type))
        if meaning is None:
            self.take_unknown()
        elif (rank := RANKS[meaning(self, action.body)]) < self.rank:
            self.rank = rank

    def take_unknown(self) -> None:
        """Add something that may deliver."""
        self.delivers = self.unknown = True
        self.rank = min(self.rank, RANKS["other"])

    def send_to(self, port: int) -> str:
        """Add an output and return its kind."""
        if port == _CONTROLLER:
            return self.punt(b"")
        if port == _ANY:
            return "drop"
        if port == _TABLE:
            self.tables.append(0)
            return "resubmit"
        self.delivers = True
        if port == _NORMAL:
            return "normal"
        if port <= _HIGHEST_PORT or port == LOCAL:
            self.ports.add(port)
        return "output"

    def write(self, header: int, value: int, mask: int) -> None:
        """Add a field that is written, the bits of ``mask``."""
        first, count = _registers(header)
        for register in range(first, first + count):
            if register not in MARKS:
                continue
            shift = _REGISTER_BITS * (first + count - 1 - register)
            bit = MARKS[register] << shift & mask
            if bit & value:
                self.marks.add(register)
            elif bit:
                self.marks.discard(register)

    def punt(self, userdata: bytes) -> str:
        """Add a controller action and return its kind."""
        self.punts = True
        self.userdata.append(userdata)
        return "controller"


def _output(found: Destinations, body: memoryview) -> str:
    return found.send_to(_PORT.unpack_from(body)[0])


def _output_register(found: Destinations, _body: memoryview) -> str:
    found.delivers = True
    return "output"


def _output_truncated(found: Destinations, body: memoryview) -> str:
    """Open vSwitch cuts packets for ports, LOCAL and IN_PORT; for others it does nothing."""
    port = _wide(*_PORT_16.unpack_from(body))
    if port > _HIGHEST_PORT and port not in (LOCAL, _IN_PORT):
        return "drop"
    return found.send_to(port)


def _bundle(found: Destinations, body: memoryview) -> str:
    """Open vSwitch chooses one of the members; a member ANY is none."""
    if len(body) < _MEMBERS_AT:
        raise ParseError(f"bundle action with {len(body)} bytes")
    (count,) = _MEMBER_COUNT.unpack_from(body)
    end = _MEMBERS_AT + count * _PORT_16.size
    if end > len(body):
        raise ParseError(f"bundle action with {len(body)} bytes for {count} members")
    kinds = {"drop"}
    for (member,) in _PORT_16.iter_unpack(body[_MEMBERS_AT:end]):
        kinds.add(found.send_to(_wide(member)))
    return min(kinds, key=RANKS.__getitem__)


def _wide(port: int) -> int:
    return port if port < _RESERVED_16 else port | _UPPER_HALF


def _group(found: Destinations, body: memoryview) -> str:
    found.groups.append(_GROUP.unpack_from(body)[0])
    return "group"


def _resubmit(found: Destinations, _body: memoryview) -> str:
    found.tables.append(OWN_TABLE)
    return "resubmit"


def _resubmit_table(found: Destinations, body: memoryview) -> str:
    found.tables.append(body[_RESUBMIT_TABLE_AT])  # 255 is OWN_TABLE on the wire too
    return "resubmit"


def _ct(found: Destinations, body: memoryview) -> str:
    if len(body) <= _CT_TABLE_AT:
        raise ParseError(f"ct action with {len(body)} bytes")
    table = body[_CT_TABLE_AT]
    if table == _CT_NO_TABLE:
        return "commit"
    found.tables.append(table)
    return "ct"


def _controller(found: Destinations, _body: memoryview) -> str:
    return found.punt(b"")


def _controller2(found: Destinations, body: memoryview) -> str:
    """Properties follow: type, length without padding, value; padded to 8 bytes."""
    userdata, offset, end = b"", _NESTED_AT, len(body)
    while offset < end:
        if offset + _PROPERTY.size > end:
            raise ParseError(f"controller action with {end - offset} bytes left over")
        kind, length = _PROPERTY.unpack_from(body, offset)
        if length < _PROPERTY.size or offset + length > end:
            raise ParseError(f"property of {length} bytes in a controller action")
        if kind == _USERDATA:
            userdata = bytes(body[offset + _PROPERTY.size : offset + length])
        offset += (length + 7) // 8 * 8
    return found.punt(userdata)


def _load(found: Destinations, body: memoryview) -> str:
    """``0300 00011404 0000000000000001`` is load:0x1->NXM_NX_REG10[12]."""
    if len(body) >= _LOAD.size:
        place, header, value = _LOAD.unpack_from(body)
        offset, bits = place >> 6, (place & 0x3F) + 1
        found.write(header, value << offset, ((1 << bits) - 1) << offset)
    return "drop"


def _set_field(found: Destinations, body: memoryview) -> str:
    """``00011508 00001000 00001000`` is set_field:0x1000/0x1000->reg10."""
    if len(body) < _HEADER.size:
        return "drop"
    (header,) = _HEADER.unpack_from(body)
    size = (header & _LENGTH) // (2 if header & _MASKED else 1)
    value = int.from_bytes(body[4 : 4 + size], "big")
    mask = int.from_bytes(body[4 + size : 4 + 2 * size], "big") if header & _MASKED else _ALL
    found.write(header, value, mask)
    return "drop"


def _load2(found: Destinations, body: memoryview) -> str:
    return _set_field(found, body[_LOAD2_AT:])


def _registers(header: int) -> tuple[int, int]:
    """Return the registers that a field's header names: the first, and how many they are.

    0 of them for a field that is no register. ``80010908`` is xreg4: reg8, the upper half, and
    reg9.
    """
    oxm_class, number = header >> 16, header >> 9 & 0x7F
    if oxm_class == _PACKET_REGISTERS:
        return 2 * number, 2
    if oxm_class != _NXM_REGISTERS:
        return 0, 0
    if number >= _XXREG0:
        return (4 * (number - _XXREG0), 4) if number < _XXREG0 + 4 else (0, 0)
    return (number, 1) if number < _REGISTERS else (0, 0)


def _conjunction(found: Destinations, _body: memoryview) -> str:
    found.conjunction = True
    return "conjunction"


def _nothing(_found: Destinations, _body: memoryview) -> str:
    return "drop"


_ONF_COPY_FIELD = 3200
_STANDARD_SILENT = range(1, 30)
"""Those of OpenFlow 1.0 to 1.5 set, copy, push and pop fields; 29 is 1.5's meter."""
_NICIRA_SILENT = frozenset(range(2, 52)) - {40}
"""Up to sample4, of 3.4. 40 is OpenFlow 1.0's group."""

_MEANINGS: dict[tuple[int, int], Callable[[Destinations, memoryview], str]] = {
    **{(0, kind): _nothing for kind in _STANDARD_SILENT},
    **{(NX_VENDOR, kind): _nothing for kind in _NICIRA_SILENT},
    (ONF_VENDOR, _ONF_COPY_FIELD): _nothing,
    (0, Standard.OUTPUT): _output,
    (0, Standard.GROUP): _group,
    (NX_VENDOR, Nicira.RESUBMIT): _resubmit,
    (NX_VENDOR, Nicira.RESUBMIT_TABLE): _resubmit_table,
    (NX_VENDOR, Nicira.RESUBMIT_TABLE_CT): _resubmit_table,
    (NX_VENDOR, Nicira.BUNDLE): _bundle,
    (NX_VENDOR, Nicira.OUTPUT_REG): _output_register,
    (NX_VENDOR, Nicira.OUTPUT_REG2): _output_register,
    (NX_VENDOR, Nicira.OUTPUT_TRUNC): _output_truncated,
    (NX_VENDOR, Nicira.CONTROLLER): _controller,
    (NX_VENDOR, Nicira.CONTROLLER2): _controller2,
    (NX_VENDOR, Nicira.CONJUNCTION): _conjunction,
    (NX_VENDOR, Nicira.REG_LOAD): _load,
    (NX_VENDOR, Nicira.REG_LOAD2): _load2,
    (0, Standard.SET_FIELD): _set_field,
    (NX_VENDOR, Nicira.CT): _ct,
}
_FINAL: dict[tuple[int, int], int] = {
    (NX_VENDOR, Nicira.CT): 0,
    (NX_VENDOR, Nicira.CT_CLEAR): 1,
    (NX_VENDOR, Nicira.RESUBMIT): 2,
    (NX_VENDOR, Nicira.RESUBMIT_TABLE): 2,
    (NX_VENDOR, Nicira.RESUBMIT_TABLE_CT): 2,
    (0, Standard.OUTPUT): 3,
    (0, Standard.GROUP): 4,
}
"""What a set may end in; of several the highest, of several of these the last."""
