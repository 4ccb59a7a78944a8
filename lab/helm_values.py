"""Values of the Helm chart as values.yaml documents them: the comment "# --" above a key."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MARK = "# -- "
TABLE = "<!-- values -->\n"
"""Where the table belongs in README.md.in."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value that can be set.

    Attributes:
        path: Keys from the outermost on.
        default: What values.yaml has.
        text: Its comment, in one line; empty for a mapping of other values.
    """

    path: tuple[str, ...]
    default: Any
    text: str

    @property
    def key(self) -> str:
        """The path as people write it: ``image.tag``."""
        return ".".join(self.path)


def read(file: Path) -> list[Value]:
    """Read all values, parents before what they hold.

    A key with a comment is one value, with all that is below it; one without is a mapping of
    others.

    Raises:
        ValueError: For a key without a comment that is no mapping: nobody would know what it is.
    """
    text = file.read_text(encoding="utf-8")
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)  # noqa: S101 - a chart's values are
    return list(_below(root, yaml.safe_load(text), text.splitlines(), ()))


def readme(template: str, values: list[Value]) -> str:
    """Put the table of values into the chart's README.

    Raises:
        ValueError: If there is no place for it, or more than one.
    """
    head, foot = template.split(TABLE)
    rows = ["| value | default | meaning |", "|---|---|---|"]
    rows += [f"| `{each.key}` | `{_shown(each.default)}` | {each.text} |" for each in _said(values)]
    return head + "\n".join(rows) + "\n" + foot


def _said(values: list[Value]) -> list[Value]:
    return [each for each in values if each.text]


def _shown(default: Any) -> str:
    return json.dumps(default, ensure_ascii=False)


def _below(
    node: yaml.MappingNode, defaults: dict[str, Any], lines: list[str], path: tuple[str, ...]
) -> Iterator[Value]:
    for key, value in node.value:
        here = (*path, str(key.value))
        default = defaults[key.value]
        text = _comment(lines, key.start_mark.line)
        if not text and not (isinstance(value, yaml.MappingNode) and value.value):
            raise ValueError(f"{'.'.join(here)}: no comment that begins with {MARK!r}")
        yield Value(here, default, text)
        if not text:
            yield from _below(value, default, lines, here)


def _comment(lines: list[str], line: int) -> str:
    """Return the comment that ends above a line; only what follows the mark counts."""
    found: list[str] = []
    for above in reversed(lines[:line]):
        stripped = above.strip()
        if not stripped.startswith("# "):
            return ""
        found.append(stripped.removeprefix(MARK).removeprefix("# "))
        if stripped.startswith(MARK):
            return " ".join(reversed(found))
    return ""
