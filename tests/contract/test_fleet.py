"""What a fleet costs is computed from what a node costs, and the page has what was computed."""

import re
from pathlib import Path

import pytest

from lab.fleet import (
    Fleet,
    Measured,
    Prometheus,
    fleet_table,
    fleets,
    measured_table,
    read_measured,
)

PAGE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()
LARGE = Measured("large", 9_995, 1_024_000, 153_600, (100.0, 90.5, 120.0), 0.4, (110.0, 120.0), 20)
PROMETHEUS = Prometheus(agent_us=3.0, stored_kb=4.0)


def test_the_table_of_fleets_is_computed_from_the_table_of_nodes() -> None:
    measured = read_measured(PAGE)
    (agent_us,) = re.findall(r"([\d.]+) us of CPU a sample", PAGE)
    (stored_kb,) = re.findall(r"own storage took ([\d.]+) kB", PAGE)
    assert measured_table(measured) in PAGE
    assert fleet_table(fleets(measured, Prometheus(float(agent_us), float(stored_kb)))) in PAGE


def test_a_page_gives_back_what_was_measured() -> None:
    assert read_measured(f"before\n\n{measured_table([LARGE, LARGE])}\n\nafter") == [LARGE, LARGE]


def test_samples_grow_with_nodes_and_with_how_often_they_are_scraped() -> None:
    slow, often = Fleet(LARGE, 1_000, 60, PROMETHEUS), Fleet(LARGE, 1_000, 15, PROMETHEUS)
    assert slow.series == often.series == 10_000_000
    assert often.samples_per_second == 4 * slow.samples_per_second == pytest.approx(666_666.7)
    assert often.agents == 10
    assert Fleet(LARGE, 101, 15, PROMETHEUS).agents == 2


def test_the_table_says_what_can_be_worked_out_by_hand() -> None:
    table = fleet_table([Fleet(LARGE, 1_000, 15, PROMETHEUS)])
    for row in (
        "| active series | 10 million |",
        "| samples a second | 667,000 |",
        "| stored a day, 1 to 2 bytes a sample | 58 to 115 GB |",
        "| scraped pages, gzip | 82 Mbit/s |",
        "| remote write | 107 Mbit/s |",
        "| Prometheus in agent mode, 1 million series each | 10: 2.0 cores, 110 GiB |",
        "| Mimir distributors | 27 cores, 40 GB |",
        "| Mimir ingesters, replication 3 | 100 cores, 375 GB, 750 GB of disk |",
        "| Mimir compactors | 1 |",
        "| Thanos receivers, replication 3, at least | 180 GB |",
        "| CPU of the agent on each node | 1.1 % of a core |",
    ):
        assert row in table


def test_every_row_has_a_column_for_every_fleet() -> None:
    table = fleet_table(fleets([LARGE, LARGE, LARGE], PROMETHEUS)).splitlines()
    assert {line.count("|") for line in table} == {7}
