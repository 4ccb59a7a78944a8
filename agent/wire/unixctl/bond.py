"""``bond/show`` and ``lacp/show``: which members of a bond carry traffic."""

import re
from collections.abc import Mapping
from dataclasses import replace

from agent.errors import ParseError
from agent.model.datapath import Bond, BondMember
from agent.wire.unixctl.text import first_word

# Members were called slaves up to 2.14.
_BLOCK = re.compile(r"---- (.+) ----")
_MEMBER = re.compile(r"(?:member|slave) (.+): (enabled|disabled)")
_LACP_MEMBER = re.compile(r"(?:member|slave): (.+): (current|expired|defaulted) (?:at|de)tached")


def parse_bond_show(text: str) -> tuple[Bond, ...]:
    """Return one element a bond with its members, none without bonds.

    ::

        ---- bond2 ----
        bond_mode: active-backup
        lacp_status: off
        active member mac: ee:41:0b:7d:1c:3d(v7)

        member v7: enabled
          active member
          may_enable: true

        member v8: disabled
          may_enable: false

    Raises:
        ParseError: If the text names no bond though it is not empty.
    """
    bonds: list[Bond] = []
    members: list[list[BondMember]] = []
    for line in text.split("\n"):
        if block := _BLOCK.fullmatch(line):
            bonds.append(Bond(block[1]))
            members.append([])
        elif bonds and not _take_member(members[-1], line):
            bonds[-1] = _with_line(bonds[-1], line)
    if text.strip() and not bonds:
        raise ParseError(f"not an answer of bond/show: {text[:40]!r}")
    return tuple(
        replace(bond, members=tuple(its)) for bond, its in zip(bonds, members, strict=True)
    )


def _take_member(members: list[BondMember], line: str) -> bool:
    """Add a member or what is said of the last one; False if the line is about the bond."""
    if member := _MEMBER.fullmatch(line):
        # Only the active one is marked, so of the others it is known that they are not.
        members.append(BondMember(member[1], enabled=member[2] == "enabled", active=False))
        return True
    if members and line in {"  active member", "  active slave"}:
        members[-1] = replace(members[-1], active=True)
        return True
    return False


def _with_line(bond: Bond, line: str) -> Bond:
    label, _, value = line.partition(": ")
    match label:
        case "bond_mode":
            return replace(bond, mode=first_word(value) or None)
        case "lacp_status":
            return replace(bond, lacp_status=first_word(value) or None)
        case _:
            return bond


def parse_lacp_show(text: str) -> dict[str, dict[str, bool]]:
    """Return by port and member whether the partner's LACP state is current.

    ::

        ---- bond1 ----
          status: active negotiated

        member: v5: current attached
          port_id: 2

    Raises:
        ParseError: If the text names no port though it is not empty.
    """
    ports: dict[str, dict[str, bool]] = {}
    members: dict[str, bool] = {}
    for line in text.split("\n"):
        if block := _BLOCK.fullmatch(line):
            members = ports.setdefault(block[1], {})
        elif ports and (member := _LACP_MEMBER.fullmatch(line)):
            members[member[1]] = member[2] == "current"
    if text.strip() and not ports:
        raise ParseError(f"not an answer of lacp/show: {text[:40]!r}")
    return ports


def with_lacp(bonds: tuple[Bond, ...], lacp: Mapping[str, Mapping[str, bool]]) -> tuple[Bond, ...]:
    """Return the bonds with ``lacp_current`` of the members that speak LACP.

    A port that speaks LACP without being a bond is left out.
    """
    return tuple(
        replace(
            bond,
            members=tuple(
                replace(member, lacp_current=lacp.get(bond.port, {}).get(member.name))
                for member in bond.members
            ),
        )
        for bond in bonds
    )
