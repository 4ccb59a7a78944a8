"""``inc-engine/show-stats`` and ``stopwatch/show``: what ovn-controller's main loop did, how long.

Both print a block for each of many things, and what is wanted of a block is all of it: one that
lacks a line is left out.
"""

import re
from collections.abc import Iterator

from agent.errors import ParseError
from agent.model.ovn import EngineNode, Stopwatch
from agent.wire.unixctl.text import number

EXPONENTS = {"msec": "e-3", "usec": "e-6", "nsec": "e-9"}
"""Of a second, by the units of Open vSwitch's lib/stopwatch.c."""

_NODE = re.compile(r"Node: (.+)")
_COUNTS = {
    "- recompute": "recomputes",
    "- compute": "computes",
    "- cancel": "cancels",
    "- abort": "cancels",
}
_STOPWATCH = re.compile(r"Statistics for '(.+)'")
_TIMES = {
    "  Maximum": "maximum",
    "  Minimum": "minimum",
    "  95th percentile": "percentile_95",
    "  Short term average": "short_term_average",
    "  Long term average": "long_term_average",
}
_TIME = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,9})?) ([mun]sec)")


def parse_engine_stats(text: str) -> dict[str, EngineNode]:
    """Return what each node of the incremental engine did; 21.06 and later.

    ::

        Node: SB_sb_global
        - recompute:           57
        - compute:              0
        - abort:                0

    ``abort`` is called ``cancel`` from 24.09 on.

    Raises:
        ParseError: If the text names no node though it is not empty, or a number is none.
    """
    nodes = {}
    for name, lines in _blocks(_NODE, text, "inc-engine/show-stats"):
        counts = {}
        for line in lines:
            label, _, value = line.partition(":")
            if label in _COUNTS:
                counts[_COUNTS[label]] = number(value.strip(), f"{name[:40]} {label}")
        if len(counts) == len(set(_COUNTS.values())):
            nodes[name] = EngineNode(**counts)
    return nodes


def parse_stopwatches(text: str) -> dict[str, Stopwatch]:
    """Return how long each part took, in seconds.

    ::

        Statistics for 'flow-installation'
          Total samples: 60
          Maximum: 6 msec
          Minimum: 0 msec
          95th percentile: 1.909127 msec
          Short term average: 0.000000 msec
          Long term average: 0.074246 msec

    26.03 has a stopwatch for each handler of the engine besides. Where it has several of one name,
    all but one stay without a sample.

    Raises:
        ParseError: If the text names no stopwatch though it is not empty, or a number is none.
    """
    stopwatches: dict[str, Stopwatch] = {}
    for name, lines in _blocks(_STOPWATCH, text, "stopwatch/show"):
        samples = None
        times = {}
        for line in lines:
            label, _, value = line.partition(": ")
            if label in _TIMES:
                times[_TIMES[label]] = _seconds(value, f"{name[:40]} {label.strip()}")
            elif label == "  Total samples":
                samples = number(value, f"{name[:40]} samples")
        if samples is not None and len(times) == len(_TIMES):
            known = stopwatches.get(name)
            if known is None or known.samples <= samples:
                stopwatches[name] = Stopwatch(samples, **times)
    return stopwatches


def _blocks(head: re.Pattern[str], text: str, command: str) -> Iterator[tuple[str, list[str]]]:
    """Cut a text into names and the lines that follow each."""
    name = None
    lines: list[str] = []
    for line in text.split("\n"):
        if found := head.fullmatch(line):
            if name is not None:
                yield name, lines
            name, lines = found[1], []
        else:
            lines.append(line)
    if name is not None:
        yield name, lines
    elif text.strip():
        raise ParseError(f"not an answer of {command}: {text[:40]!r}")


def _seconds(text: str, what: str) -> float:
    time = _TIME.fullmatch(text)
    if time is None:
        raise ParseError(f"{what}: {text[:40]!r} is not a time")
    return float(time[1] + EXPONENTS[time[2]])
