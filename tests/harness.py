"""A scraper over a store that the test fills, with readers that answer when the test says so."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from agent.collectors import COLLECTORS
from agent.collectors.base import Collector
from agent.exposition.http import page
from agent.health import SourceHealth
from agent.model.node import CollectorFacts, Node
from agent.scrape import Collected, Reader, Scraper
from agent.store import Store
from tests.clock import Clock
from tests.page import Series, rendered, series

READERS = {
    "openflow": "openflow",
    "flows": "openflow",
    "unixctl": "unixctl",
    "links": "rtnetlink",
    "qdiscs": "rtnetlink",
    "conntrack": "conntrack",
    "conntrack_zones": "conntrack",
    "ovs_genl": "ovs_genl",
    "libvirt": "libvirt",
    "ovn_controller": "ovn_controller",
}
"""Source by reader, as the daemon wires them."""


class Harness:
    """Everything between a store and a page.

    Args:
        collectors: All by default.
        series_limit: Of each collector.
        share_seconds: Of readers and scraper.
        reads: What readers do, by name; the others succeed at once and bring nothing.
    """

    def __init__(
        self,
        collectors: tuple[Collector, ...] = COLLECTORS,
        series_limit: int = 100_000,
        share_seconds: float = 1.0,
        **reads: Callable[[], Awaitable[None]],
    ) -> None:
        self.clock = Clock()
        self.store = Store(clock=self.clock)
        self.health = {name: SourceHealth(name) for name in sorted({*READERS.values()})}
        self.readers = {
            name: Reader(
                name, self.health[source], reads.get(name, self._nothing), share_seconds, self.clock
            )
            for name, source in READERS.items()
        }
        self.asked = 0
        """Readings by readers that bring nothing."""
        self.scraper = Scraper(
            self.store,
            self.readers,
            tuple(self.health.values()),
            collectors,
            series_limit,
            share_seconds,
            config_hash="0123456789ab",
        )

    async def _nothing(self) -> None:
        self.asked += 1

    def fill(self, node: Node) -> None:
        """Put a node into the store, read just now; what it does not know is not put."""
        for name in ("bridges", "flows"):
            for part, value in (getattr(node, name).value or {}).items():
                getattr(self.store, name).put(value, part)
        for name in (
            *("switch", "vswitchd", "datapaths", "upcalls"),
            *("pmds", "fdbs", "bonds", "conntracks"),
            *("namespaces", "link_counters", "qdiscs"),
            *("conntrack_tables", "conntrack_zones", "kernel_datapaths"),
            *("domains", "domain_counters"),
            *("ovn_controller", "ovn_release", "northbound", "southbound"),
        ):
            if getattr(node, name).value is not None:
                getattr(self.store, name).put(getattr(node, name).value)

    async def scrape(
        self, names: Collection[str] | None = None, deadline_seconds: float = 5.0
    ) -> list[Collected]:
        """Scrape once."""
        return await self.scraper.scrape(deadline_seconds, names)

    async def series(self, names: Collection[str] | None = None) -> Series:
        """Scrape once and read the page back."""
        return series(rendered(page(await self.scrape(names))))

    async def series_by(self, deadline_seconds: float) -> Series:
        """Scrape once with this deadline and read the page back."""
        collected = await self.scrape(deadline_seconds=deadline_seconds)
        return series(rendered(page(collected)))

    async def facts(self, names: Collection[str] | None = None) -> dict[str, CollectorFacts]:
        """Scrape once and return how each collector did."""
        return {each.facts.name: each.facts for each in await self.scrape(names)}

    async def close(self) -> None:
        """Stop what is still being read."""
        for reader in self.readers.values():
            await reader.close()


async def settle() -> None:
    """Let every task run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


class Gate:
    """A reading that begins, and goes on when it is told to."""

    def __init__(self, done: Callable[[], None] = lambda: None) -> None:
        self.begun = 0
        self.ended = 0
        self._open = asyncio.Event()
        self._done = done

    async def __call__(self) -> None:
        self.begun += 1
        await self._open.wait()
        self._done()
        self.ended += 1

    def open(self) -> None:
        """Let the readings through, those to come as well."""
        self._open.set()
