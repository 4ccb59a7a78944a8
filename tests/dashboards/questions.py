"""What the boards ask of Prometheus: every query of every panel and of every variable."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dashboards.build import JSON

Board = dict[str, Any]

VARIABLE = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")
LABEL_VALUES = re.compile(r"label_values\((.+), (\w+)\)")
TIMES = {"__rate_interval": "5m", "__range": "1h", "__interval": "1m"}
"""What Grafana puts for its own, one hour shown."""


@dataclass(frozen=True, slots=True)
class Question:
    """A query.

    Attributes:
        board: Name of its board's file.
        panel: Title of its panel.
        ref: Its letter.
        expr: As it stands on the board.
        legend: Of its series; of tables and single numbers empty.
        instant: Whether it is asked once, not for each point of a line.
    """

    board: str
    panel: str
    ref: str
    expr: str
    legend: str
    instant: bool

    def __str__(self) -> str:
        return f"{self.board}: {self.panel} ({self.ref})"


@dataclass(frozen=True, slots=True)
class Values:
    """Where the values of a variable come from: ``label_values(selector, label)``."""

    board: str
    variable: str
    selector: str
    label: str

    def __str__(self) -> str:
        return f"{self.board}: ${self.variable}"


def boards() -> dict[str, Board]:
    """Return the committed boards by the names of their files."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(JSON.glob("*.json"))}


def panels(board: Board) -> Iterator[dict[str, Any]]:
    """Yield every panel that shows something, also those of rows that are folded."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def questions() -> Iterator[Question]:
    """Yield every query of a panel."""
    for name, board in boards().items():
        for panel in panels(board):
            for target in panel["targets"]:
                yield Question(
                    name,
                    panel["title"],
                    target["refId"],
                    target["expr"],
                    target.get("legendFormat", ""),
                    target["instant"],
                )


def values() -> Iterator[Values]:
    """Yield every query of a variable."""
    for name, board in boards().items():
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                found = LABEL_VALUES.fullmatch(variable["query"]["query"])
                assert found, variable
                yield Values(name, variable["name"], *found.groups())


def filled(expr: str, chosen: Mapping[str, str]) -> str:
    """Put values for variables, as Grafana does before it asks.

    Raises:
        KeyError: If there is none for one of them.
    """
    known = {**TIMES, **chosen}
    # "$1" is label_replace's
    return VARIABLE.sub(
        lambda found: found[0] if found[2] and found[2].isdigit() else known[found[1] or found[2]],
        expr,
    )


def chosen_of(values: Iterable[str]) -> str:
    """Return what Grafana puts for a variable of which several may be chosen."""
    literal = (value.replace("\\", "\\" * 4) for value in values)
    return "|".join(re.sub(r"[$^*{}\[\]'+?.()|]", r"\\\\\g<0>", value) for value in literal)
