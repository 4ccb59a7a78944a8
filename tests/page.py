"""A rendered page, read back by prometheus_client's own parsers."""

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from agent.exposition.text import Format, render
from agent.families import Block, Family, Sample

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def rendered(samples: Iterable[Sample | Block], form: Format = Format.TEXT) -> bytes:
    """Return the whole page."""
    return b"".join(render(samples, form))


def block(family: Family, rows: Iterable[tuple[str, int]]) -> Block:
    """Make a block of lines from label texts and numbers."""
    lines = [f"{family.name}{labels} {number}\n".encode() for labels, number in rows]
    return Block(family, b"".join(lines), len(lines))


def families(page: bytes, form: Format) -> list[Metric]:
    """Return the families of a page, in its order."""
    parse = parse_text if form is Format.TEXT else parse_openmetrics
    return list(parse(page.decode()))


def series(page: bytes, form: Format = Format.TEXT) -> Series:
    """Return values by (name, labels); a series that stands there twice fails the test."""
    found: Series = {}
    for family in families(page, form):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def of(page: Series, name: str, **labels: str) -> list[float]:
    """Return the values of the series with this name and at least these labels."""
    return [
        value
        for (each, pairs), value in page.items()
        if each == name and labels.items() <= dict(pairs).items()
    ]
