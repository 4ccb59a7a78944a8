"""Lines of series that are written once, then kept: those that move, and those that stay."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from agent.families import Block, Family

Numbers = NDArray[np.uint64]
UNKNOWN = np.uint64(0xFFFFFFFFFFFFFFFF)
"""A number that is not known has no series."""


def fixed(family: Family, rows: Iterable[tuple[int, tuple[str, ...]]]) -> Block:
    """Write series that stay as they are; one that is there twice is written once.

    Args:
        family: What they belong to.
        rows: Number and label values of each, in the order of the family's labels.
    """
    lines: dict[str, int] = {}
    for number, values in rows:
        lines.setdefault(family.text(*values), number)
    text = "".join([f"{family.name}{labels} {number}\n" for labels, number in lines.items()])
    return Block(family, text.encode("utf-8", "replace"), len(lines))


class Column:
    """Series of one counter, each with a line of its own.

    A line is written again only when its number has moved, and the text of all only when any
    line was.

    Args:
        family: What the series belong to.
        labels: Label text of each, as ``Family.text`` returns it, in bytes.
    """

    def __init__(self, family: Family, labels: list[bytes]) -> None:
        name = family.name.encode()
        self._family = family
        self._lines = [name + text + b" " for text in labels]
        self._ends = np.fromiter(map(len, self._lines), np.int32, len(labels))
        self._numbers: Numbers | None = None
        self._text = b""
        self._series = 0

    def label(self, index: int) -> bytes:
        """Return the label text of a series."""
        return self._lines[index][len(self._family.name) : self._ends[index] - 1]

    def block(self, numbers: Numbers) -> Block:
        """Return all lines with these numbers, in the order of the labels."""
        last = self._numbers
        moved = np.arange(len(numbers)) if last is None else np.flatnonzero(numbers != last)
        if len(moved) or last is None:
            self._write(numbers, moved)
        return Block(self._family, self._text, self._series)

    def _write(self, numbers: Numbers, moved: NDArray[np.int64]) -> None:
        lines = self._lines
        ends, new = self._ends[moved].tolist(), numbers[moved].tolist()
        for index, end, number in zip(moved.tolist(), ends, new, strict=True):
            lines[index] = b"%b%d\n" % (lines[index][:end], number)
        self._numbers = numbers
        unknown = np.flatnonzero(numbers == UNKNOWN).tolist()
        self._series = len(lines) - len(unknown)
        self._text = b""  # let the old text go before the new one is made
        if unknown:
            hidden = frozenset(unknown)
            self._text = b"".join([line for i, line in enumerate(lines) if i not in hidden])
        else:
            self._text = b"".join(lines)
