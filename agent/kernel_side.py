"""The kernel's side of the node: links, namespaces, connection tracking and kernel datapaths.

What follows events runs all the time; what reads counters runs for the scrape that asks.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from agent.collectors.base import Collector
from agent.config import Settings
from agent.errors import SourceError
from agent.health import SourceHealth
from agent.model.namespace import HOST, Namespace
from agent.scrape import Reader
from agent.sources.conntrack import ConntrackReader
from agent.sources.conntrack_zones import ConntrackZones
from agent.sources.link_counters import LinkCountersReader
from agent.sources.ovs_genl import OvsGenlSource
from agent.sources.qdiscs import QdiscsReader
from agent.sources.rooms import Rooms
from agent.sources.rtnetlink import RtnetlinkSource
from agent.store import Store
from agent.supervise import Backoff, keep_running

EVENTS = "events"
"""The part of the source rtnetlink that is the subscription."""
FOLLOWS = "rtnetlink"
COUNTS = ("links", "qdiscs")
"""Readers of the source rtnetlink."""


class KernelSide:
    """Sources and readers of everything that the kernel tells.

    Args:
        settings: The configuration.
        store: Takes what they bring.
        collectors: The enabled ones: what none of them needs is not opened.
        share_seconds: How long a reading is shared.
        from_figures: Ledgers begin at the kernel's own figures: for one page without a before.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        collectors: tuple[Collector, ...],
        share_seconds: float,
        *,
        from_figures: bool = False,
    ) -> None:
        reads = {name for collector in collectors for name in collector.reads}
        follows = {name for collector in collectors for name in collector.follows}
        self._store = store
        self._wanted = FOLLOWS in follows
        # Where no scrape reads anything of it, it is good for as long as it is followed.
        followed_only = reads.isdisjoint(COUNTS)
        self._rtnetlink = SourceHealth("rtnetlink", self._wanted, subscription=followed_only)
        # Expected only once it is found, or asked for by name: no node has to have any of these.
        self._netns = SourceHealth("netns", configured=False, subscription=True)
        self._conntrack = SourceHealth("conntrack", "conntrack_zones" in reads)
        self._genl = SourceHealth("ovs_genl", configured=False)
        self.sources = (self._conntrack, self._netns, self._genl, self._rtnetlink)
        rooms = Rooms()
        wants = reads | ({"addresses"} if "addresses" in follows else set())
        self._links = RtnetlinkSource(
            settings, rooms, frozenset(wants), self._publish, self._rtnetlink, self._netns
        )
        timeout = settings.timeouts.netlink_seconds
        counters = LinkCountersReader(rooms, store, self._rtnetlink, timeout)
        qdiscs = QdiscsReader(rooms, store, self._rtnetlink, timeout, from_figures=from_figures)
        conntrack = ConntrackReader(
            rooms,
            store,
            self._conntrack,
            timeout,
            on_appeared=self._links.reopen,
            from_figures=from_figures,
        )
        zones = ConntrackZones(store, self._conntrack, timeout)
        datapaths = OvsGenlSource(settings, store, self._genl)
        self.readers = (
            Reader("conntrack", self._conntrack, conntrack.read, share_seconds),
            Reader("conntrack_zones", self._conntrack, zones.read, share_seconds),
            Reader("links", self._rtnetlink, counters.read, share_seconds),
            Reader("ovs_genl", self._genl, datapaths.read, share_seconds),
            Reader("qdiscs", self._rtnetlink, qdiscs.read, share_seconds),
        )
        self._closes = [each.close for each in (conntrack, zones, counters, datapaths, qdiscs)]

    @contextlib.asynccontextmanager
    async def running(self, on_bug: Callable[[asyncio.Task[Any]], None]) -> AsyncIterator[None]:
        """Follow the events; at the end close everything.

        Args:
            on_bug: Told when following ends; an exception in it is a bug.
        """
        task: asyncio.Task[Any] | None = None
        if self._wanted:
            task = asyncio.create_task(
                keep_running(self._links.run, self._down, Backoff()), name=FOLLOWS
            )
            task.add_done_callback(on_bug)
        try:
            yield
        finally:
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            for close in self._closes:
                close()

    async def asked(self) -> None:
        """Wait until what was there at the start is known, or cannot be."""
        if self._wanted:
            await self._links.settled.wait()

    def status(self) -> dict[str, Any]:
        """Return what /status shows of it: how much is followed; the rest is with the sources."""
        known = self._store.namespaces.known()
        namespaces = known.value or {}
        return {
            "followed": known.value is not None and known.live,
            "namespaces": len(namespaces.keys() - {HOST}),
            "links": sum(len(namespace.links) for namespace in namespaces.values()),
        }

    def _publish(self, namespaces: Mapping[str, Namespace]) -> None:
        self._store.namespaces.put(namespaces, complete=self._links.complete)
        self._rtnetlink.good(EVENTS)

    def _down(self, error: SourceError) -> None:
        self._rtnetlink.failed(error, EVENTS)
        if self._netns.configured:  # the same thread follows their names
            self._netns.failed(error)
        self._store.namespaces.lost()
