"""Instructions and actions as they follow each other on the wire."""

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from agent.errors import ParseError

_HEADER = struct.Struct(">HH")
_VENDOR = struct.Struct(">IH")
EXPERIMENTER = 0xFFFF
ONF_VENDOR = 0x4F4E4600
NX_VENDOR = 0x00002320
"""Nicira's experimenter id (openflow-common.h)."""


class Instruction(IntEnum):
    """Instruction types (OpenFlow 1.3, 7.2.4)."""

    GOTO_TABLE = 1
    WRITE_METADATA = 2
    WRITE_ACTIONS = 3
    APPLY_ACTIONS = 4
    CLEAR_ACTIONS = 5
    METER = 6


class Standard(IntEnum):
    """Standard actions that matter to a packet's fate."""

    OUTPUT = 0
    GROUP = 22
    SET_FIELD = 25


class Nicira(IntEnum):
    """Nicira's actions that decide where a packet goes (OVS lib/ofp-actions.c)."""

    RESUBMIT = 1
    REG_LOAD = 7
    BUNDLE = 12
    RESUBMIT_TABLE = 14
    OUTPUT_REG = 15
    CONTROLLER = 20
    OUTPUT_REG2 = 32
    REG_LOAD2 = 33
    CONJUNCTION = 34
    CT = 35
    CONTROLLER2 = 37
    OUTPUT_TRUNC = 39
    CLONE = 42
    CT_CLEAR = 43
    RESUBMIT_TABLE_CT = 44


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
