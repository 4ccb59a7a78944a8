"""What a fleet of agents costs those who scrape and store, computed from what one node costs.

``bench/node.py`` measures nodes and prints two tables for docs/scaling.md: what it measured, and
what that makes of a fleet. The second is a function of the first and of the figures that other
projects publish about themselves, so that a test can compute it again from the page.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil

DAY_SECONDS = 86_400
MILLION = 1_000_000
SAMPLES_OF_A_TARGET = 5
"""up, scrape_duration_seconds, scrape_samples_scraped, scrape_samples_post_metric_relabeling and
scrape_series_added: Prometheus adds them to each scrape."""
BYTES_PER_STORED_SAMPLE = (1, 2)
"""prometheus/prometheus docs/storage.md."""
AGENT_SERIES, AGENT_GIB = 1_000_000, 11
"""grafana/alloy docs/sources/introduction/estimate-resource-usage.md, for the scraping and remote
writing that it shares with Prometheus's agent mode."""
DISTRIBUTOR_SAMPLES = 25_000
"""A second, for a core and a gigabyte."""
INGESTER_SERIES, INGESTER_GB, INGESTER_DISK_GB, REPLICATION = 300_000, 2.5, 5, 3
COMPACTOR_SERIES = 20_000_000
SPARE = 1.5
"""Of memory and disk, for peaks. All of Mimir's: grafana/mimir docs/sources/mimir/manage/
run-production-environment/planning-capacity.md."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one node costs.

    Attributes:
        name: What kind of node.
        series: On its page.
        page_bytes: Not compressed.
        gzip_bytes: As Prometheus takes it.
        cpu_ms: CPU of the agent for a scrape: median, least, most, in milliseconds.
        rest_percent: Of a core, while nobody asks.
        rss_mb: Resident memory of the agent in MB, and at its peak.
        written_bytes: Of remote write for each sample.
    """

    name: str
    series: int
    page_bytes: int
    gzip_bytes: int
    cpu_ms: tuple[float, float, float]
    rest_percent: float
    rss_mb: tuple[float, float]
    written_bytes: float


@dataclass(frozen=True, slots=True)
class Prometheus:
    """What Prometheus costs who scrapes nodes.

    Attributes:
        agent_us: CPU in agent mode for each sample that is scraped and written on, microseconds.
        stored_kb: Memory with its own storage for each series in its first minute, kB.
    """

    agent_us: float
    stored_kb: float


@dataclass(frozen=True, slots=True)
class Fleet:
    """So many nodes of a kind, scraped that often.

    Attributes:
        node: What each of them costs.
        nodes: How many.
        interval_seconds: Between two scrapes of one node.
        prometheus: What scrapes them costs.
    """

    node: Measured
    nodes: int
    interval_seconds: int
    prometheus: Prometheus

    @property
    def series(self) -> int:
        """Active series of all nodes, Prometheus's own for each target included."""
        return self.nodes * (self.node.series + SAMPLES_OF_A_TARGET)

    @property
    def samples_per_second(self) -> float:
        """What is scraped and written."""
        return self.series / self.interval_seconds

    @property
    def agents(self) -> int:
        """Prometheus servers in agent mode, or shards, at the published size of one."""
        return ceil(self.series / AGENT_SERIES)

    @property
    def agent_cores(self) -> float:
        """CPU of all of them."""
        return self.samples_per_second * self.prometheus.agent_us / MILLION


HEAD = (
    "| node | series | page | gzip | CPU a scrape, median (least to most) | at rest, of a core"
    " | memory (peak) | remote write, a sample |"
)
ROW = re.compile(
    r"^\| (?P<name>[^|]+?) \| (?P<series>[\d,]+) \| (?P<page>[\d,]+) KiB \| (?P<gzip>[\d,]+) KiB"
    r" \| (?P<cpu>[\d.]+) ms \((?P<least>[\d.]+) to (?P<most>[\d.]+)\)"
    r" \| (?P<rest>[\d.]+) % \| (?P<rss>[\d.]+) MB \((?P<peak>[\d.]+)\)"
    r" \| (?P<written>[\d.]+) bytes \|$",
    re.MULTILINE,
)


def measured_table(rows: Sequence[Measured]) -> str:
    """Write what was measured."""
    lines = [HEAD, "|---" * (HEAD.count(" | ") + 1) + "|"]
    lines += [
        f"| {row.name} | {row.series:,} | {ceil(row.page_bytes / 1024):,} KiB"
        f" | {ceil(row.gzip_bytes / 1024):,} KiB"
        f" | {row.cpu_ms[0]:.1f} ms ({row.cpu_ms[1]:.1f} to {row.cpu_ms[2]:.1f})"
        f" | {row.rest_percent:.2f} % | {row.rss_mb[0]:.0f} MB ({row.rss_mb[1]:.0f})"
        f" | {row.written_bytes:.1f} bytes |"
        for row in rows
    ]
    return "\n".join(lines)


def read_measured(page: str) -> list[Measured]:
    """Read it back from a page."""
    return [
        Measured(
            found["name"],
            _integer(found["series"]),
            1024 * _integer(found["page"]),
            1024 * _integer(found["gzip"]),
            (float(found["cpu"]), float(found["least"]), float(found["most"])),
            float(found["rest"]),
            (float(found["rss"]), float(found["peak"])),
            float(found["written"]),
        )
        for found in ROW.finditer(page)
    ]


def _integer(text: str) -> int:
    return int(text.replace(",", ""))


def fleets(rows: Sequence[Measured], prometheus: Prometheus) -> list[Fleet]:
    """Return those that the page is about, of the first three of the kinds of node."""
    small, large, full = rows[:3]
    return [
        Fleet(small, 1_000, 15, prometheus),
        Fleet(large, 1_000, 15, prometheus),
        Fleet(large, 10_000, 15, prometheus),
        Fleet(large, 10_000, 60, prometheus),
        Fleet(full, 1_000, 60, prometheus),
    ]


def fleet_table(fleets: Sequence[Fleet]) -> str:
    """Write what fleets cost, one column each."""
    head = " | ".join(
        f"{fleet.nodes:,} x {fleet.node.name}, every {fleet.interval_seconds} s" for fleet in fleets
    )
    lines = [f"| | {head} |", "|---" * (len(fleets) + 1) + "|"]
    lines += [
        f"| {what} | {' | '.join(value(fleet) for fleet in fleets)} |" for what, value in _rows()
    ]
    return "\n".join(lines)


def _rows() -> Iterator[tuple[str, Callable[[Fleet], str]]]:
    low, high = BYTES_PER_STORED_SAMPLE
    yield "active series", lambda fleet: _short(fleet.series)
    yield "samples a second", lambda fleet: _short(fleet.samples_per_second)
    yield (
        f"stored a day, {low} to {high} bytes a sample",
        lambda fleet: f"{_daily(fleet, low):,.0f} to {_daily(fleet, high):,.0f} GB",
    )
    yield (
        "scraped pages, gzip",
        lambda fleet: _megabits(fleet.nodes * fleet.node.gzip_bytes / fleet.interval_seconds),
    )
    yield (
        "remote write",
        lambda fleet: _megabits(fleet.samples_per_second * fleet.node.written_bytes),
    )
    yield (
        f"Prometheus in agent mode, {_short(AGENT_SERIES)} series each",
        lambda fleet: (
            f"{fleet.agents}: {fleet.agent_cores:,.1f} cores,"
            f" {fleet.series / AGENT_SERIES * AGENT_GIB:,.0f} GiB"
        ),
    )
    yield (
        "Mimir distributors",
        lambda fleet: (
            f"{_shares(fleet.samples_per_second, DISTRIBUTOR_SAMPLES)} cores,"
            f" {SPARE * fleet.samples_per_second / DISTRIBUTOR_SAMPLES:,.0f} GB"
        ),
    )
    yield f"Mimir ingesters, replication {REPLICATION}", _ingesters
    yield "Mimir compactors", lambda fleet: _shares(fleet.series, COMPACTOR_SERIES)
    yield (
        f"Thanos receivers, replication {REPLICATION}, at least",
        lambda fleet: (
            f"{SPARE * REPLICATION * fleet.series * fleet.prometheus.stored_kb / MILLION:,.0f} GB"
        ),
    )
    yield (
        "CPU of the agent on each node",
        lambda fleet: (
            f"{fleet.node.cpu_ms[0] / fleet.interval_seconds / 10 + fleet.node.rest_percent:.1f} %"
            " of a core"
        ),
    )


def _ingesters(fleet: Fleet) -> str:
    units = REPLICATION * fleet.series / INGESTER_SERIES
    memory, disk = SPARE * units * INGESTER_GB, SPARE * units * INGESTER_DISK_GB
    return f"{ceil(units):,} cores, {memory:,.0f} GB, {disk:,.0f} GB of disk"


def _shares(amount: float, each: float) -> str:
    return f"{ceil(amount / each):,}"


def _daily(fleet: Fleet, bytes_per_sample: float) -> float:
    return fleet.samples_per_second * DAY_SECONDS * bytes_per_sample / 1e9


def _megabits(bytes_per_second: float) -> str:
    return f"{bytes_per_second * 8 / 1e6:,.0f} Mbit/s"


def _short(number: float) -> str:
    """Three digits say all that is known."""
    if number >= MILLION:
        return f"{number / MILLION:.3g} million"
    return f"{float(f'{number:.3g}'):,.0f}"
