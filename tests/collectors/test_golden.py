"""Every collector's page for one node, letter by letter; UPDATE_GOLDEN=1 writes it anew."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.collectors import COLLECTORS, NAMES
from agent.collectors.base import Collector
from agent.exposition import text
from agent.families import Block, Sample, Suppressed
from agent.model.node import Node
from tests.collectors import sample
from tests.page import rendered, series

GOLDEN = Path(__file__).parent / "golden"
BY_NAME = pytest.mark.parametrize("collector", COLLECTORS, ids=NAMES)


def output(collector: Collector, node: Node) -> Iterator[Sample | Block]:
    """Yield what goes on the page."""
    for part in collector.collect:
        for item in part(node):
            if not isinstance(item, Suppressed):
                yield item


@BY_NAME
def test_says_of_the_sample_what_its_golden_page_says(collector: Collector) -> None:
    page = rendered(output(collector, sample.node()))
    golden = GOLDEN / f"{collector.name}.prom"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.write_bytes(page)
    assert page.decode() == golden.read_text()


@BY_NAME
def test_yields_no_family_that_it_does_not_name(collector: Collector) -> None:
    yielded = {item.family for item in output(collector, sample.node())}
    assert yielded <= set(collector.families)


@BY_NAME
def test_the_golden_page_shows_every_family_once_at_least(collector: Collector) -> None:
    shown = re.findall(
        r"^# TYPE (\S+)", (GOLDEN / f"{collector.name}.prom").read_text(), re.MULTILINE
    )
    assert sorted(shown) == sorted(family.name for family in collector.families)


@BY_NAME
def test_promtool_accepts_the_golden_page(collector: Collector) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is part of Debian's prometheus package: make setup"
    with (GOLDEN / f"{collector.name}.prom").open("rb") as page:
        answer = subprocess.run(
            [promtool, "check", "metrics"], check=False, stdin=page, capture_output=True
        )
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, b"", b"")


def test_there_is_no_golden_page_without_a_collector() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(NAMES)


@pytest.mark.parametrize("form", list(text.Format))
def test_a_page_of_all_collectors_has_no_series_twice(form: text.Format) -> None:
    node = sample.node()
    page = rendered((item for c in COLLECTORS for item in output(c, node)), form)
    both = series(page, form)  # fails at the second
    assert len(both) == sum(not line.startswith(b"#") for line in page.splitlines())
