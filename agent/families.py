"""The vocabulary that collectors and exposition share: families, samples, blocks of lines.

A family knows its name, type, help and labels and makes samples when it is called. Label text
(``{bridge="br-int"}``) is the same in both exposition formats and is cached, because the labels
of a series outlive many scrapes while its value does not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

Value = int | float | bool
LABEL_TEXT_CACHE = 1 << 14
"""Label texts remembered, about 700 bytes each: 11 MiB when a node with 2,000 ports fills it."""
MAX_CACHED_CHARACTERS = 1024
"""Longer label values together are not remembered: nobody's names can make the cache large."""


class Sample(NamedTuple):
    """One series and its value.

    Attributes:
        family: What it belongs to.
        labels: Label text as it stands on the page, ``""`` without labels.
        value: ``None`` means not known: no series.
        suffix: ``_sum`` or ``_count`` for summaries, else empty.
    """

    family: "Family"
    labels: str
    value: Value | None
    suffix: str = ""


class Block(NamedTuple):
    """Many series of one family, as lines that their collector keeps between scrapes.

    Attributes:
        family: What they belong to.
        lines: As they stand on the page, which is the same in both formats.
        series: How many they are.
    """

    family: "Family"
    lines: bytes
    series: int


class Suppressed(NamedTuple):
    """Series that a rule of the configuration leaves out; counted, so that nobody misses them."""

    series: int


Output = Iterator[Sample | Block | Suppressed]


@dataclass(frozen=True, slots=True)
class Family:
    """A metric family.

    Attributes:
        name: Name of its samples; of a counter with ``_total``.
        help: One sentence that ends in the origin in brackets.
        labels: Label names in the order in which values are given.
        kind: Its type in the exposition formats.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    kind: Literal["counter", "gauge", "summary"] = "gauge"

    def __call__(self, value: Value | None, *labels: str) -> Sample:
        """Make the sample with these label values, in the order of ``labels``."""
        if sum(map(len, labels)) > MAX_CACHED_CHARACTERS:
            return Sample(self, render_labels(self.labels, labels), value)
        return Sample(self, label_text(self.labels, labels), value)

    def text(self, *labels: str) -> str:
        """Return the label text of a series, not cached: the caller keeps it."""
        return render_labels(self.labels, labels)


@dataclass(frozen=True, slots=True)
class Counter(Family):
    """Only grows while its source lives; the name ends in ``_total``."""

    kind: Literal["counter", "gauge", "summary"] = "counter"


@dataclass(frozen=True, slots=True)
class Gauge(Family):
    """A level, a state with its codes in the help, or an ``*_info`` that is 1."""


@dataclass(frozen=True, slots=True)
class Summary(Family):
    """A sum and a count, without quantiles."""

    kind: Literal["counter", "gauge", "summary"] = "summary"

    def both(self, total: float, count: int, *labels: str) -> Iterator[Sample]:
        """Yield the sum and the count."""
        text = label_text(self.labels, labels)
        yield Sample(self, text, total, "_sum")
        yield Sample(self, text, count, "_count")


def render_labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    r"""Write ``{a="b",c="d"}``; backslash, quote and newline are escaped.

    A value that is empty is left out: to Prometheus an empty label and none are the same, and a
    shorter page is cheaper on both ends.

    Raises:
        ValueError: If there are more or fewer values than names.
    """
    pairs = [
        f'{name}="{escape(value)}"' for name, value in zip(names, values, strict=True) if value
    ]
    return "{" + ",".join(pairs) + "}" if pairs else ""


@lru_cache(maxsize=LABEL_TEXT_CACHE)
def label_text(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Return ``render_labels`` from a bounded cache."""
    return render_labels(names, values)


def escape(value: str) -> str:
    """Escape a label value for both formats; the common case costs three scans and no copy."""
    if "\\" in value:
        value = value.replace("\\", "\\\\")
    if '"' in value:
        value = value.replace('"', '\\"')
    if "\n" in value:
        value = value.replace("\n", "\\n")
    return value
