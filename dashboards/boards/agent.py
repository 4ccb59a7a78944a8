"""The agents about themselves: what they read, how long that takes, what they leave out."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards import panels as p
from dashboards.frame import Row, board, nodes, to, whose
from dashboards.promql import (
    busiest_once,
    by,
    largest_once,
    level,
    lowest_once,
    of_those,
    rate,
)

SOURCE, COLLECTOR, NODE = "{{instance}} {{source}}", "{{instance}} {{collector}}", "{{instance}}"
UP = by("source", level("dataplane_agent_source_up"), "max")
EXPECTED = by("source", level("dataplane_agent_source_configured"), "max")
MISSING = f"(1 - {UP}) * on (cluster, instance, source) {EXPECTED}"
WORST = lowest_once("source", 40, "dataplane_agent_source_up")
FAILED = "dataplane_agent_scrape_collector_success"
READ, READINGS = (
    by("source", rate(f"dataplane_agent_source_read_seconds_{part}"), "avg")
    for part in ("sum", "count")
)
LAST = by("source", level("dataplane_agent_source_last_success_timestamp_seconds"), "max")
SERIES = largest_once("collector", 20, "dataplane_agent_series")
LIMIT = by("collector", level("dataplane_agent_series_limit"), "max")
ANSWERS = by("handler, code", rate("dataplane_agent_http_requests_total"), "max")
FILES, FILES_LIMIT = (by("", level(f"process_{what}_fds"), "max") for what in ("open", "max"))


def build() -> Dashboard:
    """Make the board."""
    return board(
        "agent",
        "Agent",
        "The agents themselves: sources, how long reading takes, throttling, series, deadline.",
        [*whose(), nodes()],
        [
            Row("Agents", AGENTS),
            Row("Sources", SOURCES),
            Row("Scrapes", SCRAPES),
            Row("Process", PROCESS),
        ],
    )


AGENTS = (
    p.number(
        "Agents",
        "Agents that Prometheus has metrics of.",
        p.COUNT,
        f"count({by('', level('dataplane_agent_build_info'), 'max')})",
    ),
    p.number(
        "Sources that are missing",
        "Of all that these agents should read, how much they cannot.",
        p.COUNT,
        f"sum({MISSING})",
        p.ONE,
    ),
    p.number(
        "Collectors that lack something",
        "Collectors that did not have all that they show in the last scrape.",
        p.COUNT,
        f"sum({by('collector', level(FAILED), 'min')} == bool 0)",
        p.ONE,
    ),
    p.number(
        "Different settings",
        "How many different sets of settings these agents run with.",
        p.COUNT,
        f"count(group by (hash) ({level('dataplane_agent_config_info')}))",
        ((2, p.WARN),),
    ),
    p.table(
        "Agents and their sources",
        "Version and settings of each, since when it runs, and what it misses.",
        (
            by("version", level("dataplane_agent_build_info"), "max"),
            by("", level("process_start_time_seconds"), "max") + " * 1000",
            by("", MISSING),
            by("", by("collector", level("dataplane_agent_series"), "max")),
            by("hash", level("dataplane_agent_config_info"), "max"),
        ),
        p.Column("instance", "Node", link=to("node", node="${__value.raw}")),
        p.Column("version", "Version"),
        p.Column("hash", "Settings"),
        p.Column("Value #B", "Started", unit=p.SINCE),
        p.Column("Value #C", "Sources that are missing", bounds=p.ONE),
        p.Column("Value #D", "Series"),
    ),
)

SOURCES = (
    p.states(
        "Sources",
        "Whether each source that a node should have said all that it was asked: the worst of them"
        " in the time shown.",
        p.UP_OR_DOWN,
        (of_those(WORST, "source", f"({EXPECTED} == 1)"), SOURCE),
    ),
    p.graph(
        "Time since a source was last read",
        "The twenty longest. What is followed and not read: since it was connected. State is shown"
        " for 60 s after its source is lost (scrape.state_max_age_seconds).",
        p.SECONDS,
        (f"topk(20, time() - {LAST})", SOURCE),
    ).span(p.HALF),
    p.graph(
        "Failures",
        "Failed tries to read a source, by reason, of those with most.",
        p.EVENTS,
        (
            busiest_once("source, reason", 10, "dataplane_agent_source_failures_total"),
            f"{SOURCE} {{{{reason}}}}",
        ),
        bounds=p.LOSS,
    ),
    p.graph(
        "Time to read a source",
        "Average wait of a reading, the twenty longest. A scrape has 8 s (scrape.deadline_seconds),"
        " less where Prometheus's timeout is shorter.",
        p.SECONDS,
        (f"topk(20, {READ} / ({READINGS} > 0))", SOURCE),
        bounds=((4, p.WARN), (8, p.BAD)),
    ),
    p.graph(
        "Readings that were left out",
        "To spare a source's peer: its share of time was spent, or it was slow (flows.duty_cycle,"
        " flows.busy_echo_seconds). What it would have said is absent.",
        p.EVENTS,
        (busiest_once("source", 10, "dataplane_agent_source_throttled_total"), SOURCE),
        bounds=p.LOSS,
    ),
    p.graph(
        "Distance of scrapes that a source allows",
        "At this distance every reading is allowed; scraped more often, some are left out.",
        p.SECONDS,
        (largest_once("source", 20, "dataplane_agent_source_min_interval_seconds"), SOURCE),
        bounds=((15, p.WARN), (60, p.BAD)),
    ),
    p.graph(
        "Scrapes that did not wait for a source",
        "Scrapes that were answered at their deadline without a source that was late.",
        p.EVENTS,
        (busiest_once("source", 10, "dataplane_agent_scrape_deadline_exceeded_total"), SOURCE),
        bounds=p.LOSS,
    ),
    p.graph(
        "Events",
        "Changes that sources have told of. Overflow: the kernel had too many, and all was read"
        " again.",
        p.EVENTS,
        (
            busiest_once("source, event", 20, "dataplane_agent_events_total"),
            f"{SOURCE} {{{{event}}}}",
        ),
    ),
)

SCRAPES = (
    p.share(
        "Series against their limit",
        "Series of a collector, of as many as it may show (limits.series). Beyond it whole"
        " families of detail are left out.",
        (f"{SERIES} / {LIMIT}", COLLECTOR),
        bounds=p.FULL,
    ),
    p.graph("Series", "How much the largest collectors show.", p.COUNT, (SERIES, COLLECTOR)),
    p.graph(
        "Series that are left out",
        "By the rules of flows.select, or by the limit.",
        p.COUNT,
        (largest_once("collector", 20, "dataplane_agent_series_suppressed"), COLLECTOR),
        bounds=((1, p.WARN),),
    ),
    p.graph(
        "Time to write the page",
        "How long a collector computed in a scrape, without reading.",
        p.SECONDS,
        (
            largest_once("collector", 20, "dataplane_agent_scrape_collector_duration_seconds"),
            COLLECTOR,
        ),
    ).span(p.HALF),
    p.graph(
        "Answers",
        "HTTP requests that were answered, by page and status.",
        p.EVENTS,
        (
            f"sum by (handler, code) ({ANSWERS})",
            "{{handler}} {{code}}",
        ),
    ).span(p.HALF),
)

PROCESS = (
    p.graph(
        "CPU",
        "Of one processor.",
        p.SHARE,
        (busiest_once("", 20, "process_cpu_seconds_total"), NODE),
    ),
    p.graph(
        "Memory",
        "What the process holds in memory.",
        p.BYTES,
        (largest_once("", 20, "process_resident_memory_bytes"), NODE),
    ),
    p.share(
        "Open files against their limit",
        "Sockets and files of the process, of as many as it may open: the fullest.",
        (f"topk(20, {FILES} / {FILES_LIMIT})", NODE),
        bounds=p.FULL,
    ),
)
