"""OVN's side of the node: ovn-controller, and the databases where they are asked."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from agent.collectors.base import Collector
from agent.config import Settings
from agent.health import SourceHealth
from agent.model.ovn import NO_RELEASE, OvnController
from agent.ovn_followed import OvnFollowed
from agent.scrape import Reader
from agent.sources.ovn_controller import OvnControllerSource
from agent.store import Store

CONTROLLER = "ovn_controller"


class OvnSide:
    """Sources and readers of everything that OVN tells.

    Args:
        settings: The configuration.
        store: Takes what they bring, knows what the node's own database says of OVN.
        collectors: The enabled ones: what none of them needs is not opened.
        share_seconds: How long a reading is shared.
        switch_asked: Set when the node's own database has answered, or could not be asked.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        collectors: tuple[Collector, ...],
        share_seconds: float,
        switch_asked: asyncio.Event,
    ) -> None:
        reads = {name for collector in collectors for name in collector.reads}
        follows = frozenset(name for collector in collectors for name in collector.follows)
        ovn = settings.ovn
        self._asks = ovn.enabled is not False and CONTROLLER in reads
        if not self._asks:  # nobody's release: that is not the same as not known
            store.ovn_release.put(NO_RELEASE)
            store.ovn_controller.put(OvnController())
        self._controller = OvnControllerSource(
            settings, store, SourceHealth(CONTROLLER, ovn.enabled is True and CONTROLLER in reads)
        )
        self._followed = OvnFollowed(settings, store, follows, switch_asked)
        self._looked = asyncio.Event()
        self.sources = (self._controller.health, *self._followed.sources)
        self.readers = (
            Reader(CONTROLLER, self._controller.health, self._controller.read, share_seconds),
        )

    @contextlib.asynccontextmanager
    async def running(self, on_bug: Callable[[asyncio.Task[Any]], None]) -> AsyncIterator[None]:
        """Follow the databases.

        Args:
            on_bug: Told when following ends; an exception in it is a bug.
        """
        looking = asyncio.create_task(self._look(), name=CONTROLLER)
        looking.add_done_callback(on_bug)
        try:
            async with self._followed.running(on_bug):
                yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    def close(self) -> None:
        """Close the connection to ovn-controller; not while it is read."""
        self._controller.close()

    async def asked(self) -> None:
        """Wait until everything has answered, or could not be asked."""
        await self._looked.wait()
        await self._followed.asked()

    async def _look(self) -> None:
        """Ask ovn-controller once, before anybody reads flows: its release names their stages."""
        if self._asks:
            # Together with a scrape that comes meanwhile: it is asked one thing at a time.
            await asyncio.wait({self.readers[0].refresh()})
        self._looked.set()
