"""``debug/dump-local-bindings``: which logical ports ovn-controller has bound here."""

from collections.abc import Iterator

from agent.errors import ParseError
from agent.model.ovn import LocalBinding

HEADER = "Local bindings:"
ABSENT = "NULL"
"""Printed for an interface that is not there."""

_KINDS = {"primary lport": "vif", "localport lport": "localport"}


def parse_local_bindings(text: str) -> tuple[LocalBinding, ...]:
    """Return one element a logical port, child ports behind the one they are in; since 21.06.

    ::

        Local bindings:
        name: [lsp-nobody], OVS interface name : [nobody], num binding lports : [0]
        ----------------------------------------
        name: [lsp-p1], OVS interface name : [p1], num binding lports : [2]
        primary lport : [lsp-p1]
        child lport[1] : [lsp-sub], type : [CONTAINER]
        ----------------------------------------

    A name is what an Interface has as ``external_ids:iface-id``. It has an element of its own
    without a type where no logical port is bound by it. A child port is reached by the interface
    of its parent. 21.06 calls a localport a child of itself.

    Raises:
        ParseError: If the header line is missing.
    """
    header, *lines = text.split("\n")
    if header.strip() != HEADER:
        raise ParseError(f"not an answer of debug/dump-local-bindings: {header[:40]!r}")
    return tuple(_bindings(lines))


def _bindings(lines: list[str]) -> Iterator[LocalBinding]:
    this: LocalBinding | None = None
    told = False  # whether there is an element for the name itself
    for line in lines:
        label, _, rest = line.partition(": [")
        if label == "name":
            if this is not None and not told:
                yield this
            this, told = _named(rest), False
            continue
        if this is None:
            continue
        found = _bound(this, label.strip(), rest.removesuffix("]"))
        if found is not None:
            if found.parent is not None and not told:
                yield this
            yield found
            told = True
    if this is not None and not told:
        yield this


def _bound(this: LocalBinding, label: str, value: str) -> LocalBinding | None:
    """Return the port that a line tells of; ``None`` if it tells of something else."""
    if label in _KINDS:
        return LocalBinding(value, this.interface, _KINDS[label])
    if not label.startswith("child lport["):
        return None
    name, _, kind = value.partition("], type : [")
    if name == this.logical_port:
        return LocalBinding(name, this.interface, kind.lower() or None)
    return LocalBinding(name, this.interface, kind or None, this.logical_port)


def _named(rest: str) -> LocalBinding:
    """Read ``p1], OVS interface name : [tap1], num binding lports : [1]``."""
    name, _, rest = rest.partition("], OVS interface name : [")
    interface, _, _ = rest.partition("], num binding lports : [")
    return LocalBinding(name, None if interface in {"", ABSENT} else interface)
