"""The table of rights of docs/security.md, as data."""

import re
from dataclasses import dataclass
from pathlib import Path

SECURITY = Path(__file__).parents[2] / "docs" / "security.md"
HEADER = "| source | opens | needs | without it the page has no |"
NONE = "none"
CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table.

    Attributes:
        source: Its name.
        right: A capability, or ``NONE``.
        lost: Patterns of families; with ``{netns}`` behind them only series of a named namespace.
    """

    source: str
    right: str
    lost: tuple[str, ...]


def rows() -> tuple[Row, ...]:
    """Read the table."""
    _, _, rest = SECURITY.read_text().partition(HEADER)
    found = []
    for line in rest.splitlines()[2:]:
        if not line.startswith("|"):
            break
        source, _, needs, lost = (cell.strip() for cell in line.split("|")[1:-1])
        rights = CODE.findall(needs)
        found.append(Row(source.strip("`"), rights[0], tuple(CODE.findall(lost))))
    return tuple(found)
