"""The agent about itself: which peers it reads, how old that is, and what it left out.

Every other family can be absent for a good reason; these say which.
"""

from agent.collectors.base import Collector
from agent.families import Counter, Gauge, Output, Summary
from agent.model.node import Node

SOURCE = ("source",)
COLLECTOR_LABEL = ("collector",)

BUILD = Gauge("dataplane_agent_build_info", "The agent's version, always 1 [agent].", ("version",))
CONFIG = Gauge(
    "dataplane_agent_config_info",
    "Hash of the agent's settings, always 1, to find nodes that differ [agent].",
    labels=("hash",),
)
CONFIGURED = Gauge(
    "dataplane_agent_source_configured",
    "Whether a source is expected on this node, 1 or 0 [agent].",
    labels=SOURCE,
)
UP = Gauge(
    "dataplane_agent_source_up",
    "Whether a source said all it was asked the last time, 1 or 0; why not is on /status [agent].",
    labels=SOURCE,
)
LAST_SUCCESS = Gauge(
    "dataplane_agent_source_last_success_timestamp_seconds",
    "Unix time at which a source was last read or connected [agent].",
    labels=SOURCE,
)
READ_SECONDS = Summary(
    "dataplane_agent_source_read_seconds", "Time spent waiting for a source [agent].", labels=SOURCE
)
FAILURES = Counter(
    "dataplane_agent_source_failures_total",
    "Failed tries to read a source, by reason [agent].",
    labels=("source", "reason"),
)
EVENTS = Counter(
    "dataplane_agent_events_total",
    "Events that a source's subscription brought [agent].",
    labels=("source", "event"),
)
DEADLINE = Counter(
    "dataplane_agent_scrape_deadline_exceeded_total",
    "Scrapes that were answered without a source because it was late [agent].",
    labels=SOURCE,
)
THROTTLED = Counter(
    "dataplane_agent_source_throttled_total",
    "Readings that were left out to spare a source's peer [agent].",
    labels=SOURCE,
)
MIN_INTERVAL = Gauge(
    "dataplane_agent_source_min_interval_seconds",
    "Distance of scrapes at which every reading of a source is allowed [agent flows.duty_cycle].",
    labels=SOURCE,
)
SUCCESS = Gauge(
    "dataplane_agent_scrape_collector_success",
    "Whether a collector had all that it shows, 1 or 0 [agent].",
    labels=COLLECTOR_LABEL,
)
DURATION = Gauge(
    "dataplane_agent_scrape_collector_duration_seconds",
    "Time a collector computed in this scrape, without reading [agent].",
    labels=COLLECTOR_LABEL,
)
SERIES = Gauge(
    "dataplane_agent_series", "Series of a collector in this scrape [agent].", COLLECTOR_LABEL
)
SERIES_LIMIT = Gauge(
    "dataplane_agent_series_limit",
    "Series a collector may show [agent limits.series].",
    labels=COLLECTOR_LABEL,
)
SUPPRESSED = Gauge(
    "dataplane_agent_series_suppressed",
    "Series that the rules or the limit leave out in this scrape [agent].",
    labels=COLLECTOR_LABEL,
)
REQUESTS = Counter(
    "dataplane_agent_http_requests_total",
    "Requests answered before this one, by handler and status [agent].",
    labels=("handler", "code"),
)
MQTT_CONNECTED = Gauge(
    "dataplane_agent_mqtt_connected",
    "Whether events can be published, 1 or 0 [agent mqtt.host].",
)
MQTT_QUEUE = Gauge(
    "dataplane_agent_mqtt_queue_length",
    "Events that wait for the broker, at most mqtt.queue [agent].",
)
MQTT_DROPPED = Counter(
    "dataplane_agent_mqtt_events_dropped_total",
    "Events given up: the oldest beyond mqtt.queue, and those that the broker refused [agent].",
)


def sources(node: Node) -> Output:
    """Yield the health of each source."""
    yield BUILD(1, node.agent.version)
    yield CONFIG(1, node.agent.config_hash)
    for source in node.agent.sources:
        yield CONFIGURED(source.configured, source.name)
        yield UP(source.up, source.name)
        yield LAST_SUCCESS(source.last_success_seconds, source.name)
        yield from READ_SECONDS.both(source.read_seconds, source.reads, source.name)
        yield DEADLINE(source.deadline_exceeded, source.name)
        yield THROTTLED(source.throttled, source.name)
        yield MIN_INTERVAL(source.min_interval_seconds, source.name)
        for reason, count in source.failures.items():
            yield FAILURES(count, source.name, reason)
        for event, count in source.events.items():
            yield EVENTS(count, source.name, event)


def scrape(node: Node) -> Output:
    """Yield how the other collectors did in this scrape, and the requests before it."""
    for collector in node.agent.collectors:
        yield SUCCESS(collector.success, collector.name)
        yield DURATION(collector.duration_seconds, collector.name)
        yield SERIES(collector.series, collector.name)
        yield SERIES_LIMIT(collector.series_limit, collector.name)
        yield SUPPRESSED(collector.suppressed, collector.name)
    for (handler, code), count in node.agent.http_requests.items():
        yield REQUESTS(count, handler, code)


def mqtt(node: Node) -> Output:
    """Yield how publishing does, where it is switched on."""
    if (facts := node.agent.mqtt) is not None:
        yield MQTT_CONNECTED(facts.connected)
        yield MQTT_QUEUE(facts.queue_length)
        yield MQTT_DROPPED(facts.events_dropped)


COLLECTOR = Collector(
    "agent",
    (
        BUILD, CONFIG, CONFIGURED, UP, LAST_SUCCESS, READ_SECONDS, FAILURES, EVENTS, DEADLINE,
        THROTTLED, MIN_INTERVAL, SUCCESS, DURATION, SERIES, SERIES_LIMIT, SUPPRESSED, REQUESTS,
        MQTT_CONNECTED, MQTT_QUEUE, MQTT_DROPPED,
    ),
    (sources, scrape, mqtt),
)  # fmt: skip
