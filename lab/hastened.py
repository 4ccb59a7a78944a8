"""Rules as they are, in a world that runs faster: every duration divided, nothing else changed."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?<![\w.])(\d+)([smhd])\b")
_AGE = re.compile(r"([<>]=?) (900|3600)\b")
"""Numbers that ages of processes are compared with."""
_BASELINE = re.compile(r">= 72\b")
"""How many of its points a day must have to be one."""


def hasten(rules: Path, by: int, points: int, directory: Path) -> Path:
    """Write a file of rules with shorter windows.

    Args:
        rules: Prometheus rules.
        by: How many seconds become one; no duration becomes shorter than a second.
        points: How many points of a baseline are enough.
        directory: Takes the file.
    """
    content = yaml.safe_load(rules.read_text(encoding="utf-8"))
    for group in content["groups"]:
        group.pop("interval", None)
        for rule in group["rules"]:
            rule["expr"] = _expression(rule["expr"], by, points)
            if "for" in rule:
                rule["for"] = f"{seconds(rule['for'], by)}s"
            if "keep_firing_for" in rule:
                rule["keep_firing_for"] = f"{seconds(rule['keep_firing_for'], by)}s"
    file = directory / rules.name
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return file


def bounds(rules: Path, by: int, rounds_seconds: float) -> Mapping[str, float]:
    """Return how long each alert may take at most, in seconds of the faster world.

    Its ``for``, its longest window, and ``rounds_seconds`` of scrapes and evaluations; of an alert
    with several rules the shortest of them.
    """
    found: dict[str, float] = {}
    for group in yaml.safe_load(rules.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            windows = re.findall(r"\[(\w+)\]|rate(\d+m)\b", rule["expr"])
            longest = max((seconds(a or b, by) for a, b in windows), default=0)
            bound = seconds(rule.get("for", "0s"), by) + longest + rounds_seconds
            name = str(rule["alert"])
            found[name] = min(bound, found.get(name, float("inf")))
    return found


def seconds(duration: str, by: int) -> int:
    """Return a duration of the faster world."""
    whole = sum(int(number) * SECONDS[unit] for number, unit in _DURATION.findall(duration))
    return max(1, round(whole / by)) if whole else 0


def _expression(text: Any, by: int, points: int) -> str:
    shorter = _DURATION.sub(lambda found: f"{seconds(found[0], by)}s", str(text))
    aged = _AGE.sub(lambda found: f"{found[1]} {max(1, int(found[2]) // by)}", shorter)
    return _BASELINE.sub(f">= {points}", aged)
