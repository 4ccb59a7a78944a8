"""process_* and python_info: prometheus_client's own, in our vocabulary."""

from collections.abc import Iterator

from prometheus_client import PlatformCollector, ProcessCollector

from agent.families import Counter, Family, Gauge, Sample, render_labels

ORIGINS = {"process": "/proc/self", "python": "platform"}

_COLLECTORS = (ProcessCollector(registry=None), PlatformCollector(registry=None))


def samples() -> Iterator[Sample]:
    """Yield what prometheus_client says about this process; reads /proc/self."""
    for collector in _COLLECTORS:
        for metric in collector.collect():
            for sample in metric.samples:
                family = _family(sample.name, metric.documentation, metric.type)
                labels = render_labels(tuple(sample.labels), tuple(sample.labels.values()))
                yield Sample(family, labels, sample.value)


def _family(name: str, text: str, kind: str) -> Family:
    origin = ORIGINS[name.partition("_")[0]]
    make = Counter if kind == "counter" else Gauge
    return make(name, f"{text.rstrip('.')} [{origin}].")
