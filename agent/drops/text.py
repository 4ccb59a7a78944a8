"""The answer for a person at a terminal of 120 columns."""

from collections.abc import Iterator, Sequence

from agent.drops.printable import printable
from agent.drops.report import BOOKED, Grown, Report, Unseen

WIDTH = 120
INDENT = "    "
MAX_FLOWS = 100
"""Flows listed; ``--json`` lists all."""
MAX_TABLES = 5
HEAD = ("packets", "packets/s", "bytes", "kind", "bridge", "table", "interface", "direction")
NUMBERS = 3
"""The first columns are numbers and end where their heads end."""
UNKNOWN = "-"


def write(report: Report) -> str:
    """Write the flows that grew, the totals, and what the judgement does not see."""
    grown = report.grown(*report.kinds)
    unattributed = [each for one in report.bridges for each in one.unattributed]
    missed = [each for one in report.bridges for each in one.missed]
    lines = [
        _heading(report),
        "",
        *(_flows(grown) if grown else [_nothing(report)]),
        "",
        *_totals(report),
        *_shared(report),
        *_changed(report),
        f"not judged: {_unseen(unattributed, 'matched flows that are gone or not listed')}",
        f"not judged: {_unseen(missed, 'matched no flow of a table, not necessarily lost')}",
        *(f"not compared: {problem}" for problem in report.problems),
    ]
    return "".join(f"{printable(line)}\n" for line in lines)


def _heading(report: Report) -> str:
    times = sorted(each.seconds for each in report.bridges)
    apart = f"{times[0]:.1f}"
    if f"{times[-1]:.1f}" != apart:
        apart += f" to {times[-1]:.1f}"
    names = ", ".join(each.bridge for each in report.bridges)
    flows = _count(sum(each.flows for each in report.bridges), "flow")
    tables = _count(sum(each.tables for each in report.bridges), "table")
    return f"{flows} in {tables} of {names}, read twice, {apart} s apart"


def _nothing(report: Report) -> str:
    watched = sum(each.watched[kind] for each in report.bridges for kind in report.kinds)
    whose = "" if report.whose is None else f" of {report.whose}"
    return f"nothing grew of {_count(watched, 'flow')}{whose} of kind {', '.join(report.kinds)}"


def _flows(grown: Sequence[Grown]) -> Iterator[str]:
    listed = grown[:MAX_FLOWS]
    head, *rows = _aligned([HEAD, *(_row(one) for one in listed)])
    yield head
    for row, one in zip(rows, listed, strict=True):
        yield row
        yield from _wrapped(_details(one))
    if len(grown) > MAX_FLOWS:
        more = _count(len(grown) - MAX_FLOWS, "flow")
        packets = _count(sum(one.packets for one in grown[MAX_FLOWS:]), "packet")
        yield f"and {more} more with {packets} (--json lists all)"


def _row(one: Grown) -> tuple[str, ...]:
    return (
        str(one.packets),
        _rate(one.packets_per_second),
        UNKNOWN if one.octets is None else str(one.octets),
        one.kind,
        one.bridge,
        _table(one.flow.table_id, one.table_name),
        one.interface.name if one.interface else UNKNOWN,
        one.direction or UNKNOWN,
    )


def _details(one: Grown) -> Iterator[str]:
    """Yield what tells which flow it is, as ovs-ofctl writes it, and whose packets it met."""
    flow = one.flow
    yield f"priority={flow.priority}{',' if flow.match else ''}{flow.match}"
    yield f"action={flow.effect.action}"
    yield f"cookie={flow.cookie:#x}"
    interface, instance = one.interface, one.instance
    told = (
        ("iface-id", interface.iface_id if interface else None),
        ("vm-uuid", interface.vm_uuid if interface else None),
        ("attached-mac", interface.attached_mac if interface else None),
        ("domain", instance.domain_name if instance else None),
        ("instance", instance.instance_name if instance else None),
        ("project", instance.project_name if instance else None),
    )
    yield from (f"{name}={value}" for name, value in told if value)


def _totals(report: Report) -> Iterator[str]:
    for kind in BOOKED:
        grown = report.grown(kind)
        packets = _count(sum(one.packets for one in grown), "packet")
        flows = _count(len(grown), "flow")
        rate = _rate(sum(one.packets_per_second for one in grown))
        more = "" if kind in report.kinds or not grown else " (--all-kinds lists them)"
        yield f"{kind}: {packets}, {rate}/s, in {flows}{more}"


def _shared(report: Report) -> Iterator[str]:
    """Yield what an interface may have lost besides."""
    packets = sum(each.shared for each in report.bridges)
    if packets:
        yield f"lost in flows that do not tell whose packets they meet: {_count(packets, 'packet')}"


def _changed(report: Report) -> Iterator[str]:
    packets = sum(each.changed for each in report.bridges)
    if packets:
        yield f"not judged: {_count(packets, 'packet')} met flows that were changed in between"


def _unseen(tables: Sequence[Unseen], what: str) -> str:
    total = _count(sum(each.packets for each in tables), "packet")
    most = sorted(tables, key=lambda each: -each.packets)
    listed = [
        f"{each.bridge} {_table(each.table_id, each.table_name)}: {each.packets}"
        for each in most[:MAX_TABLES]
    ]
    if len(most) > MAX_TABLES:
        listed.append(f"{len(most) - MAX_TABLES} more tables")
    return f"{total} {what}" + (f" ({', '.join(listed)})" if listed else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _table(number: int, name: str | None) -> str:
    return f"{number} {name}" if name else str(number)


def _rate(per_second: float) -> str:
    """Write one decimal, or as many as it takes to see that something moves."""
    return f"{per_second:.1f}" if per_second >= 0.1 or not per_second else f"{per_second:.1g}"  # noqa: PLR2004 - what one decimal shows


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place < NUMBERS else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _wrapped(parts: Iterator[str]) -> Iterator[str]:
    """Put as many on a line as fit; one that is long has a line of its own, and is not cut."""
    line = ""
    for part in parts:
        text = printable(part)
        if line and len(INDENT) + len(line) + 2 + len(text) > WIDTH:
            yield INDENT + line
            line = ""
        line = f"{line}  {text}" if line else text
    yield INDENT + line
