"""Families -> bytes: Prometheus text 0.0.4 and OpenMetrics 1.0.

The lines of samples are the same in both; only the header of a counter and the end differ.
Written here and not by prometheus_client because a node has 100,000 flows: see bench/.
"""

from collections.abc import Iterable
from enum import Enum

from agent.families import Block, Family, Sample, Value

LONG_BYTES = 1 << 14
"""A part of a page that is not worth another copy; shorter ones are sent together."""


class Format(Enum):
    """An exposition format and its Content-Type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def negotiate(accept: str) -> Format:
    """Choose the format for an Accept header, RFC 9110 section 12.5.1.

    OpenMetrics only where it is asked for by name with the higher weight; everything else,
    also an empty or broken header, gets the text format, which every reader understands.
    """
    best = {Format.OPENMETRICS: 0.0, Format.TEXT: 0.0}
    for item in accept.split(","):
        media, *parameters = (part.strip().lower() for part in item.split(";"))
        pairs = dict(part.split("=", 1) for part in parameters if "=" in part)
        weight = _weight(pairs.get("q", "1"))
        if media == "application/openmetrics-text" and pairs.get("version", "1.0.0") in (
            "0.0.1",
            "1.0.0",
        ):
            best[Format.OPENMETRICS] = max(best[Format.OPENMETRICS], weight)
        elif media in ("text/plain", "text/*", "*/*"):
            best[Format.TEXT] = max(best[Format.TEXT], weight)
    if best[Format.OPENMETRICS] > 0 and best[Format.OPENMETRICS] >= best[Format.TEXT]:
        return Format.OPENMETRICS
    return Format.TEXT


def _weight(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0


def render(samples: Iterable[Sample | Block], form: Format) -> list[bytes]:
    """Write a page; samples of a family may come apart, on the page they stand together.

    Returns:
        The page in parts. Blocks are parts as they are: nobody copies the lines of 100,000 flows.
    """
    families: dict[str, tuple[Family, list[str | bytes]]] = {}
    for sample in samples:
        family = sample.family
        entry = families.get(family.name)
        if entry is None:
            entry = families[family.name] = (family, [])
        if isinstance(sample, Block):
            if sample.lines:
                entry[1].append(sample.lines)
        elif sample.value is not None:
            line = f"{family.name}{sample.suffix}{sample.labels} {number(sample.value)}\n"
            entry[1].append(line)
    page = _Page()
    for family, lines in families.values():
        if lines:
            page.write(header(family, form))
            for part in lines:
                page.write(part)
    if form is Format.OPENMETRICS:
        page.write("# EOF\n")
    return page.parts()


class _Page:
    """Joins short parts and leaves long ones alone."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._short: list[bytes] = []

    def write(self, part: str | bytes) -> None:
        data = part.encode("utf-8", "replace") if isinstance(part, str) else part
        if len(data) < LONG_BYTES:
            self._short.append(data)
            return
        self._flush()
        self._parts.append(data)

    def parts(self) -> list[bytes]:
        self._flush()
        return self._parts

    def _flush(self) -> None:
        if self._short:
            self._parts.append(b"".join(self._short))
            self._short = []


def header(family: Family, form: Format) -> str:
    """Write HELP and TYPE; OpenMetrics names a counter's family without ``_total``."""
    name, text = family.name, family.help.replace("\\", "\\\\").replace("\n", "\\n")
    if form is Format.OPENMETRICS:
        text = text.replace('"', '\\"')
        if family.kind == "counter":
            name = name.removesuffix("_total")
    return f"# HELP {name} {text}\n# TYPE {name} {family.kind}\n"


def number(value: Value) -> str:
    """Write a number as Go and OpenMetrics read it; integers stay exact."""
    if value is True:
        return "1"
    if value is False:
        return "0"
    if isinstance(value, int):
        return str(value)
    if value != value:  # noqa: PLR0124 - the definition of NaN
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)
