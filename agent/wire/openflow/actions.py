"""What a flow does with a packet: the action that decides."""

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from agent.errors import ParseError

_HEADER = struct.Struct(">HH")
_VENDOR = struct.Struct(">IH")
_PORT = struct.Struct(">I")
EXPERIMENTER = 0xFFFF
ONF_VENDOR = 0x4F4E4600
NX_VENDOR = 0x00002320
"""Nicira's experimenter id (openflow-common.h)."""

NORMAL, CONTROLLER, ANY = 0xFFFFFFFA, 0xFFFFFFFD, 0xFFFFFFFF
_OUTPUTS = {NORMAL: "normal", CONTROLLER: "controller", ANY: "drop"}
_CT_TABLE_AT = 8
_CT_NO_TABLE = 0xFF
_CLONED_AT = 6


class Instruction(IntEnum):
    """Instruction types (OpenFlow 1.3, 7.2.4)."""

    GOTO_TABLE = 1
    WRITE_METADATA = 2
    WRITE_ACTIONS = 3
    APPLY_ACTIONS = 4
    CLEAR_ACTIONS = 5
    METER = 6


class Standard(IntEnum):
    """Standard actions that send a packet somewhere."""

    OUTPUT = 0
    GROUP = 22


class Nicira(IntEnum):
    """Nicira's actions that send a packet somewhere (OVS lib/ofp-actions.c)."""

    RESUBMIT = 1
    BUNDLE = 12
    RESUBMIT_TABLE = 14
    OUTPUT_REG = 15
    CONTROLLER = 20
    OUTPUT_REG2 = 32
    CONJUNCTION = 34
    CT = 35
    CONTROLLER2 = 37
    OUTPUT_TRUNC = 39
    CLONE = 42
    RESUBMIT_TABLE_CT = 44


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
_RANKS = {kind: rank for rank, kind in enumerate(PRECEDENCE)}
_STANDARD_SILENT = frozenset(range(1, 30)) - {Standard.GROUP}
_NICIRA_SILENT = frozenset(range(1, 52)) - frozenset(Nicira)
_ONF_COPY_FIELD = 3200
_NICIRA_KINDS: dict[int, str] = {
    Nicira.RESUBMIT: "resubmit",
    Nicira.RESUBMIT_TABLE: "resubmit",
    Nicira.RESUBMIT_TABLE_CT: "resubmit",
    Nicira.BUNDLE: "output",
    Nicira.OUTPUT_REG: "output",
    Nicira.OUTPUT_REG2: "output",
    Nicira.OUTPUT_TRUNC: "output",
    Nicira.CONTROLLER: "controller",
    Nicira.CONTROLLER2: "controller",
    Nicira.CONJUNCTION: "conjunction",
    **dict.fromkeys(_NICIRA_SILENT, "drop"),
}


class Action(NamedTuple):
    """One action.

    Attributes:
        type: Standard type; of an experimenter's action its subtype.
        vendor: Experimenter id, 0 for standard actions.
        body: What follows type and length, or vendor and subtype.
    """

    type: int
    vendor: int
    body: memoryview


def iter_instructions(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """Yield type and body of instructions.

    ``0001 0008 48 000000`` is goto_table:72.

    Raises:
        ParseError: If one is cut off or has an impossible length.
    """
    return _iter_records(memoryview(data), "instruction")


def iter_actions(data: bytes | memoryview) -> Iterator[Action]:
    """Yield actions one after the other; those inside clone and ct are part of their bodies.

    ``ffff 0010 00002320 000e fff8 48 000000`` is resubmit(,72).

    Raises:
        ParseError: If one is cut off or has an impossible length.
    """
    for kind, body in _iter_records(memoryview(data), "action"):
        if kind != EXPERIMENTER:
            yield Action(kind, 0, body)
            continue
        if len(body) < _VENDOR.size:
            raise ParseError(f"experimenter action with {len(body)} bytes")
        vendor, subtype = _VENDOR.unpack_from(body)
        yield Action(subtype, vendor, body[_VENDOR.size :])


def _iter_records(data: memoryview, what: str) -> Iterator[tuple[int, memoryview]]:
    offset, end = 0, len(data)
    while offset < end:
        if end - offset < _HEADER.size:
            raise ParseError(f"{what} of {end - offset} bytes")
        kind, length = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or length % 8 or offset + length > end:
            raise ParseError(f"{what} says it has {length} of {end - offset} bytes")
        yield kind, data[offset + _HEADER.size : offset + length]
        offset += length


def action_kind(instructions: bytes) -> str:
    """Name the kind of action that decides where packets of a flow go.

    One of drop, output, normal, resubmit, ct, group, controller, conjunction, other. Of several
    the first of these counts:

    1. conjunction;
    2. output (to any port but NORMAL and CONTROLLER, or by register or bundle);
    3. normal;
    4. group;
    5. resubmit, or the instruction goto_table;
    6. ct with ``table=``;
    7. controller: what it is shown is mostly a copy;
    8. ct without ``table=``, which only commits;
    9. other: an action or instruction this table does not know;
    10. drop, when nothing sends the packet anywhere: setting fields, learning, sampling, meters.

    The contents of clone count as if they stood outside. So does the action set
    (write_actions), in which a group replaces an output.

    Args:
        instructions: ``FlowEntry.instructions``.

    Raises:
        ParseError: As ``iter_instructions`` and ``iter_actions``.
    """
    kinds = {"drop"}
    for kind, body in iter_instructions(instructions):
        if kind in (Instruction.APPLY_ACTIONS, Instruction.WRITE_ACTIONS):
            found = _action_kinds(body[4:])
            if kind == Instruction.WRITE_ACTIONS and "group" in found:
                found -= {"output", "normal", "controller"}
            kinds |= found
        elif kind == Instruction.GOTO_TABLE:
            kinds.add("resubmit")
        elif kind not in _INSTRUCTIONS:
            kinds.add("other")
    decides = min(kinds, key=_RANKS.__getitem__)
    return "ct" if decides == "commit" else decides


_INSTRUCTIONS = frozenset(Instruction)


def _action_kinds(actions: memoryview) -> set[str]:
    """Collect the kinds of actions, inside clones too; deep nesting costs no stack."""
    kinds: set[str] = set()
    waiting = [actions]
    while waiting:
        for action in iter_actions(waiting.pop()):
            if action.vendor == NX_VENDOR and action.type == Nicira.CLONE:
                waiting.append(action.body[_CLONED_AT:])
            else:
                kinds.add(_kind(action))
    return kinds


def _kind(action: Action) -> str:
    if action.vendor == 0:
        return _standard_kind(action)
    if action.vendor == NX_VENDOR:
        if action.type == Nicira.CT:
            if len(action.body) <= _CT_TABLE_AT:
                raise ParseError(f"ct action with {len(action.body)} bytes")
            return "commit" if action.body[_CT_TABLE_AT] == _CT_NO_TABLE else "ct"
        return _NICIRA_KINDS.get(action.type, "other")
    copies = (action.vendor, action.type) == (ONF_VENDOR, _ONF_COPY_FIELD)
    return "drop" if copies else "other"


def _standard_kind(action: Action) -> str:
    if action.type == Standard.OUTPUT:
        if len(action.body) < _PORT.size:
            raise ParseError(f"output action with {len(action.body)} bytes")
        (port,) = _PORT.unpack_from(action.body)
        return _OUTPUTS.get(port, "output")
    if action.type == Standard.GROUP:
        return "group"
    return "drop" if action.type in _STANDARD_SILENT else "other"
