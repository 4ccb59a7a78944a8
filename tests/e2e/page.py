"""A page as tests look at it."""

import re

SERIES = re.compile(r"([a-z0-9_]+)(?:\{(.*)\})?")
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')

Page = dict[str, list[tuple[dict[str, str], float]]]


def parse(metrics: dict[str, float]) -> Page:
    """Return (labels, value) by metric name."""
    page: Page = {}
    for series, value in metrics.items():
        found = SERIES.fullmatch(series)
        assert found, series
        labels = {
            name: text.replace('\\"', '"').replace("\\\\", "\\")
            for name, text in LABEL.findall(found[2] or "")
        }
        page.setdefault(found[1], []).append((labels, value))
    return page


def labels_of(page: Page, name: str, *wanted: str) -> set[tuple[str, ...]]:
    return {tuple(labels.get(label, "") for label in wanted) for labels, _ in page.get(name, [])}


def value_of(page: Page, name: str, **wanted: str) -> float:
    values = [v for labels, v in page[name] if wanted.items() <= labels.items()]
    assert len(values) == 1, (name, wanted, values)
    return values[0]
