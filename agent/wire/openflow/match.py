"""A flow's match, as ``ovs-ofctl --names dump-flows`` writes it."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from agent.errors import ParseError
from agent.model.flow import Scope
from agent.wire.openflow import text
from agent.wire.openflow.fields import (
    EXPERIMENTER,
    FIELDS,
    GENEVE_BYTES,
    LAST,
    OXM,
    Field,
    header_key,
)
from agent.wire.openflow.joint import Piece, Value, write_joint

NXM_1 = 0x0001
SCOPE_FIELDS = {
    header_key(OXM, 0): "in_port",
    header_key(OXM, 2): "metadata",
    header_key(NXM_1, 5): "reg5",
    header_key(NXM_1, 14): "reg14",
    header_key(NXM_1, 15): "reg15",
}


class Oxm(NamedTuple):
    """One field of a match; ``mask`` is ``None`` for an exact match."""

    key: int
    size_bytes: int
    value: int
    mask: int | None


def iter_oxm(match: bytes) -> Iterator[Oxm]:
    """Yield the fields of a match (OpenFlow 1.3, 7.2.3.2).

    ``80000004 00000005`` is class 0x8000, field 0, no mask, 4 bytes: in_port 5.
    ``0001d908 00000002 000000ff`` has a mask: class 1, field 108.

    Raises:
        ParseError: If a field is cut off or its length impossible.
    """
    offset, end = 0, len(match)
    while offset < end:
        header = _number(match[offset : offset + 4])
        start, length = offset + 4, header & 0xFF
        offset = start + length
        if offset > end:
            raise ParseError(f"match field {header:#010x} is cut off")
        key = header >> 9
        if header >> 16 == EXPERIMENTER:
            start += 4
            length -= 4
            key = header_key(EXPERIMENTER, key & 0x7F, _number(match[start - 4 : start]))
        if length < 0 or (header & 0x100 and length % 2):
            raise ParseError(f"match field {header:#010x} has an impossible length")
        if not header & 0x100:
            yield Oxm(key, length, _number(match[start:offset]), None)
            continue
        middle = start + length // 2
        mask = _number(match[middle:offset])
        value = _number(match[start:middle]) & mask
        exact = mask == (1 << length * 4) - 1
        yield Oxm(key, length // 2, value, None if exact else mask)


def match_scope(match: bytes) -> Scope:
    """Return what the match names exactly of the fields that tell whose packets it meets.

    Registers may also come as parts of xregs and xxregs; neutron and OVN write them one by one.

    Raises:
        ParseError: As ``iter_oxm``.
    """
    exact = {
        name: field.value
        for field in iter_oxm(match)
        if field.mask is None and (name := SCOPE_FIELDS.get(field.key))
    }
    return Scope(**exact)


def format_match(match: bytes, port_names: Mapping[int, str]) -> str:
    """Write a match exactly as ``ovs-ofctl --names dump-flows`` does, without the priority.

    ``80000a02 0800 80001401 11 80001a02 0044`` is ``udp,tp_src=68``.

    Fields that this table does not know, or not with this length, are written by class and
    number: ``oxm(0x8000,45)=0x1/0xff``. Geneve options need no table: Open vSwitch sends them by
    the number of their tun_metadata field, and its tools print no more than that.

    Args:
        match: OXM fields without header and padding (``FlowEntry.match``).
        port_names: Names by port number, as ``text.unambiguous`` returns them.

    Returns:
        ``""`` for a match of everything.

    Raises:
        ParseError: As ``iter_oxm``.
    """
    pieces: list[Piece] = []
    joint: dict[str, Value] = {}
    seen: set[str] = set()
    for oxm in iter_oxm(match):
        field = _known(oxm)
        if field is None or field.name in seen:
            pieces.append((LAST, _unknown(oxm)))
            continue
        seen.add(field.name)
        if oxm.mask == 0 and not field.name.startswith("tun_metadata"):
            continue
        if field.writer is None:
            joint[field.name] = oxm.value, oxm.mask
        else:
            pieces.append((field.place, f"{field.name}={field.writer(oxm.value, oxm.mask)}"))
    if joint:
        pieces += write_joint(joint, port_names)
    pieces.sort()
    return ",".join([piece for _place, piece in pieces])


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _known(oxm: Oxm) -> Field | None:
    """Return the field, unless its length is another than the field's (options have any)."""
    field = FIELDS.get(oxm.key)
    if field is None or oxm.size_bytes == field.size_bytes:
        return field
    return field if field.size_bytes == GENEVE_BYTES > oxm.size_bytes else None


def _unknown(oxm: Oxm) -> str:
    number, oxm_class, experimenter = oxm.key & 0x7F, oxm.key >> 7 & 0xFFFF, oxm.key >> 23
    header = f"{oxm_class:#06x},{number}" + (f",{experimenter:#x}" if experimenter else "")
    return f"oxm({header})={text.padded_hexadecimal(oxm.value, oxm.mask)}"
