"""Rules as values, and their text: YAML that a person can read, comments included."""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dashboards.rules_source.settings import Settings

WIDTH = 100
HEAD = "# Written by `make dashboards` from dashboards/rules_source: change it there.\n"


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording rule.

    See ``filled`` for what is put into ``expr``.
    """

    record: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert; its runbook is ``docs/runbooks/NAME.md``.

    Attributes:
        hold: How long the expression holds before somebody is told.
        labels: Besides ``severity``: what Alertmanager compares with other alerts.
    """

    name: str
    severity: str
    expr: str
    summary: str
    description: str
    hold: str = "5m"
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated together and one after the other, and why they are there.

    Attributes:
        interval: How often, where it is not Prometheus's own ``evaluation_interval``.
    """

    name: str
    why: str
    rules: Sequence[Recording | Alert]
    interval: str = ""


_OF_A_NODE = re.compile(r"\b(by|on) \((job|instance)\b")
_PART = re.compile(r"<(\w+)>")


def fit(template: str, **parts: str) -> str:
    """Put expressions of several lines into another, each as far in as its ``<name>`` stands."""
    lines = []
    for line in template.strip("\n").split("\n"):
        indent = line[: len(line) - len(line.lstrip())]

        def part(match: re.Match[str], indent: str = indent) -> str:
            return parts[match[1]].strip().replace("\n", f"\n{indent}")

        lines.append(_PART.sub(part, line))
    return "\n".join(lines)


def once(expr: str, more: str = "") -> str:
    """Keep one row of what two jobs show of a node whose flows are scraped by a job of their own.

    The row of a job whose name ends in -flows goes where the other job has one, too. With one job
    nothing is left out.

    Args:
        expr: Its rows have job and instance.
        more: Labels that tell rows of a node apart, besides these two.
    """
    labels = ", ".join(filter(None, ("job, instance", more)))
    return fit(
        f"""
<expr>
unless on ({labels})
label_replace(
  <expr>,
  "job", "$1-flows", "job", "(.+)"
)
""",
        expr=expr,
    )


def page(groups: Sequence[Group], settings: Settings, about: str) -> str:
    """Write a file of rules."""
    lines = [*comment(about, ""), "groups:"]
    for group in groups:
        lines += comment(group.why, "  ")
        lines.append(f"  - name: {group.name}")
        if group.interval:
            lines.append(f"    interval: {group.interval}")
        lines.append("    rules:")
        for rule in group.rules:
            lines += _rule(rule, settings)
    return HEAD + "\n".join(lines) + "\n"


def filled(text: str, settings: Settings) -> str:
    """Put the settings into an expression or a name.

    ``JOB`` stands for the job's matcher, ``[RATE]`` for the window of rates, which ``rate5m`` in
    names follows too, and ``DEADLINE`` for the scrapes' deadline. Where a node is named in ``by``
    or ``on``, its cluster goes with it: a label that a site may have, and that changes nothing
    where there is none.
    """
    return (
        _OF_A_NODE.sub(r"\1 (cluster, \2", text.strip())
        .replace("[RATE]", f"[{settings.window}]")
        .replace("JOB", settings.job)
        .replace("DEADLINE", f"{settings.deadline_seconds:g}")
        .replace("rate5m", f"rate{settings.window}")
    )


def _rule(rule: Recording | Alert, settings: Settings) -> Iterator[str]:
    if isinstance(rule, Recording):
        yield f"      - record: {filled(rule.record, settings)}"
        yield from _block("expr", filled(rule.expr, settings))
        if rule.labels:
            yield from _mapping("labels", rule.labels)
        return
    yield f"      - alert: {rule.name}"
    yield from _block("expr", filled(rule.expr, settings))
    yield f"        for: {rule.hold}"
    yield from _mapping("labels", {"severity": rule.severity} | dict(rule.labels))
    yield "        annotations:"
    yield from _folded("summary", rule.summary)
    yield from _folded("description", filled(rule.description, settings))
    yield f"          runbook_url: {json.dumps(settings.runbook(rule.name))}"


def _block(key: str, text: str) -> Iterator[str]:
    yield f"        {key}: |-"
    yield from textwrap.indent(text, " " * 10).splitlines()


def _mapping(key: str, values: Mapping[str, str]) -> Iterator[str]:
    yield f"        {key}:"
    for name, value in values.items():
        yield f"          {name}: {json.dumps(value)}"


def _folded(key: str, text: str) -> Iterator[str]:
    yield f"          {key}: >-"
    for line in _wrapped(" ".join(text.split()), WIDTH - 12):
        yield " " * 12 + line


def comment(text: str, indent: str) -> Iterator[str]:
    """Write a comment of several lines."""
    for line in _wrapped(" ".join(text.split()), WIDTH - len(indent) - 2):
        yield f"{indent}# {line}"


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
