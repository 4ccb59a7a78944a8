"""One scrape: bring the readings up to date under the deadline, then collect.

Readers run together and are shared: a scrape that comes while one runs, or shortly after, takes
its result. A reader that is late is left behind, not cancelled; its answer is for nobody, unless
the next scrape comes soon enough.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from agent import __version__, log
from agent.collectors.base import Collector
from agent.errors import UnknownFactError
from agent.families import Block, Sample, Suppressed
from agent.health import SourceHealth
from agent.model.node import AgentFacts, CollectorFacts, MqttFacts, Node
from agent.store import Store

logger = log.get(__name__)

BACK_BELOW = 0.8
"""Families that the limit refused come back below this share of it: no flapping at the edge."""
SMALLEST_RESERVE_SECONDS = 0.05
OWN = "agent"
"""The collector of the agent's own families: runs last, is never limited."""


class Reader:
    """Reads one peer, once for all scrapes that can share it.

    Args:
        name: What collectors call it.
        health: The health of the source it belongs to.
        read: Brings readings into the store and notes good and bad in the health; raises nothing
            that is not a bug.
        share_seconds: How long after its start a reading is shared.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        name: str,
        health: SourceHealth,
        read: Callable[[], Awaitable[None]],
        share_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.health = health
        self._read = read
        self._share_seconds = share_seconds
        self._clock = clock
        self._started = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._alive: set[asyncio.Task[None]] = set()
        self.on_bug: Callable[[asyncio.Task[None]], None] | None = None
        """Told when a reading ends; an exception in it is a bug."""

    def refresh(self) -> asyncio.Task[None]:
        """Return a reading that began at most ``share_seconds`` ago, or begins now.

        One that is under way for longer holds numbers that are too old for this scrape: another
        follows it, once, because a peer is asked one thing at a time.
        """
        if self._task is None or self._clock() - self._started > self._share_seconds:
            before = None if self._task is None or self._task.done() else self._task
            # Until it begins it is as fresh as can be: whoever comes meanwhile waits for it too.
            self._started = self._clock() if before is None else float("inf")
            self._task = asyncio.create_task(self._run(before), name=f"read {self.name}")
            self._alive.add(self._task)
            self._task.add_done_callback(self._alive.discard)
            if self.on_bug is not None:
                self._task.add_done_callback(self.on_bug)
        return self._task

    async def _run(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
            self._started = self._clock()
        await self._read()

    async def close(self) -> None:
        """Stop the readings that are under way."""
        tasks = list(self._alive)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collector yielded."""

    facts: CollectorFacts
    samples: tuple[Sample | Block, ...]


class Scraper:
    """Answers scrapes.

    Args:
        store: The current node.
        readers: By name.
        sources: Health of every source, those without a reader too.
        collectors: The enabled ones, A to Z.
        series_limit: Series a collector may show.
        share_seconds: How old a reading may be that a scrape shows.
        config_hash: Of the settings.
    """

    def __init__(
        self,
        store: Store,
        readers: Mapping[str, Reader],
        sources: tuple[SourceHealth, ...],
        collectors: tuple[Collector, ...],
        series_limit: int,
        share_seconds: float,
        config_hash: str,
    ) -> None:
        self.collectors = collectors
        self.mqtt: Callable[[], MqttFacts | None] = lambda: None
        """How publishing does, for the agent's own collector."""
        self._store = store
        self._readers = readers
        self._sources = sources
        self._series_limit = series_limit
        self._share_seconds = share_seconds
        self._config_hash = config_hash
        self._refused: dict[str, frozenset[str]] = {}
        self._broken: set[str] = set()
        self._collect_seconds: dict[str, float] = {}

    async def scrape(
        self,
        deadline_seconds: float,
        names: Collection[str] | None = None,
        requests: Mapping[tuple[str, str], int] | None = None,
    ) -> list[Collected]:
        """Read what the collectors need and collect.

        Args:
            deadline_seconds: When the answer must be ready, from now.
            names: Collectors to run; ``None`` for all.
            requests: HTTP requests answered so far, by (handler, status code).
        """
        started = self._store.clock()
        chosen = [each for each in self.collectors if names is None or each.name in names]
        await self._refresh(chosen, deadline_seconds - self._reserve(chosen, deadline_seconds))
        collected = self._collect(chosen, started - self._share_seconds, requests or {})
        for each in collected:
            self._collect_seconds[each.facts.name] = each.facts.duration_seconds
        return collected

    def _reserve(self, collectors: Iterable[Collector], deadline_seconds: float) -> float:
        """Return the time to keep for collecting and writing the page: twice the last time.

        At most half of all: without time to read there would be nothing to collect, and then
        the next scrape would reserve nothing.
        """
        last = sum(self._collect_seconds.get(each.name, 0.0) for each in collectors)
        return min(max(SMALLEST_RESERVE_SECONDS, 2 * last), deadline_seconds / 2)

    async def _refresh(self, collectors: Iterable[Collector], timeout_seconds: float) -> None:
        needed = {name for collector in collectors for name in collector.reads}
        tasks = {self._readers[name].refresh(): self._readers[name] for name in sorted(needed)}
        if not tasks:
            return
        done, late = await asyncio.wait(tasks, timeout=timeout_seconds)
        for health in {id(tasks[task].health): tasks[task].health for task in late}.values():
            health.late()
        for task in done:
            if not task.cancelled():
                task.result()  # readers raise nothing but bugs

    def _collect(
        self,
        collectors: Iterable[Collector],
        since: float,
        requests: Mapping[tuple[str, str], int],
    ) -> list[Collected]:
        agent = AgentFacts(__version__, self._config_hash)
        node = self._store.view(since, agent)
        others = [self._run(each, node) for each in collectors if each.name != OWN]
        agent = AgentFacts(
            version=__version__,
            config_hash=self._config_hash,
            sources=tuple(source.facts() for source in self._sources),
            collectors=tuple(each.facts for each in others),
            http_requests=dict(requests),
            mqtt=self.mqtt(),
        )
        node = self._store.view(since, agent)
        return others + [self._run(each, node) for each in collectors if each.name == OWN]

    def _run(self, collector: Collector, node: Node) -> Collected:
        """Run one collector; the one place for failure, timing and the limit."""
        began = time.perf_counter()
        samples: list[Sample | Block] = []
        seen: set[tuple[str, str, str]] = set()
        suppressed = 0
        success = True
        for part in collector.collect:
            try:
                for item in part(node):
                    if isinstance(item, Suppressed):
                        suppressed += item.series
                    elif isinstance(item, Block):
                        samples.append(item)
                    elif item.value is not None:
                        # What the node has twice (two controllers with one target) is shown once:
                        # a page with one series twice is a page with an error.
                        series_of = (item.family.name, item.labels, item.suffix)
                        if series_of not in seen:
                            seen.add(series_of)
                            samples.append(item)
            except UnknownFactError:
                success = False
            except Exception:
                # A fault of ours in one subject must not take the page from the others. One
                # traceback tells it; the metric goes on telling.
                success = False
                if collector.name not in self._broken:
                    logger.exception("collector failed", collector=collector.name)
                    self._broken.add(collector.name)
        samples, series, refused = self._limit(collector, samples)
        facts = CollectorFacts(
            name=collector.name,
            success=success,
            duration_seconds=time.perf_counter() - began,
            series=series,
            series_limit=self._series_limit,
            suppressed=suppressed + refused,
        )
        return Collected(facts, tuple(samples))

    def _limit(
        self, collector: Collector, samples: list[Sample | Block]
    ) -> tuple[list[Sample | Block], int, int]:
        """Leave out whole families, detail first, until the rest is within the limit.

        Returns:
            The samples that stay, how many series they are, and how many were left out.
        """
        sizes: dict[str, int] = {}
        for sample in samples:
            size = sample.series if isinstance(sample, Block) else 1
            sizes[sample.family.name] = sizes.get(sample.family.name, 0) + size
        total = sum(sizes.values())
        before = self._refused.get(collector.name, frozenset())
        if collector.name == OWN:  # it tells what the others left out
            return samples, total, 0
        if total <= self._series_limit * (BACK_BELOW if before else 1.0):
            self._refused.pop(collector.name, None)
            return samples, total, 0
        refused: set[str] = set()
        left = total
        order = [*collector.detail, *(f for f in collector.families if f not in collector.detail)]
        for family in order:
            if left <= self._series_limit and family.name not in before:
                break
            refused.add(family.name)
            left -= sizes.get(family.name, 0)
        if not before:
            logger.warning(
                "series limit reached",
                collector=collector.name,
                limit=self._series_limit,
                series=total,
                left_out=",".join(sorted(refused)),
            )
        self._refused[collector.name] = frozenset(refused)
        return [each for each in samples if each.family.name not in refused], left, total - left
