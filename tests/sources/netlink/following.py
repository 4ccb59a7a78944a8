"""A source that runs, and what it published."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from agent.config import Settings
from agent.health import SourceHealth
from agent.model.link import Link
from agent.model.namespace import HOST, Namespace
from agent.sources.rooms import Rooms
from agent.sources.rtnetlink import RtnetlinkSource

EVERYTHING = frozenset({"links", "qdiscs", "conntrack", "addresses"})
PATIENCE_SECONDS = 20.0


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def threads() -> set[str]:
    return {each.name for each in threading.enumerate()}


class Following:
    """The source, and a store of its own."""

    def __init__(
        self, directory: Path, wants: frozenset[str] = EVERYTHING, **sections: Mapping[str, Any]
    ) -> None:
        namespaces = {"directory": directory, **sections.pop("namespaces", {})}
        settings = Settings.model_validate({"namespaces": namespaces, **sections})
        self.rooms = Rooms()
        self.links_health = SourceHealth("rtnetlink")
        self.netns_health = SourceHealth("netns", configured=False, subscription=True)
        self.namespaces: Mapping[str, Namespace] = {}
        self.published = 0
        self._changed = asyncio.Event()
        self.source = RtnetlinkSource(
            settings, self.rooms, wants, self._publish, self.links_health, self.netns_health
        )

    def _publish(self, namespaces: Mapping[str, Namespace]) -> None:
        self.namespaces = namespaces
        self.published += 1
        self._changed.set()

    async def until(self, predicate: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until something is true; looked at after publications and a few times a second."""
        async with asyncio.timeout(seconds):
            while not predicate():
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await self._changed.wait()

    async def until_named(self, *names: str) -> None:
        """Wait until exactly these namespaces are known besides the host's own."""
        await self.until(lambda: self.namespaces.keys() == {HOST, *names})

    def links(self, name: str) -> dict[str, Link]:
        """Return the links of a namespace by name; none if it is not known."""
        namespace = self.namespaces.get(name)
        return {each.name: each for each in namespace.links.values()} if namespace else {}

    def events(self) -> dict[str, int]:
        """Return what was counted, of both sources."""
        return {**self.links_health.facts().events, **self.netns_health.facts().events}

    def problem(self, part: str) -> tuple[str, str] | None:
        """Return reason and text of a problem of the source netns."""
        problems = self.netns_health.status()["problems"]
        return (problems[part]["reason"], problems[part]["detail"]) if part in problems else None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Following"]:
        """Run it; its failure is raised at the end of the block."""
        task = asyncio.create_task(self.source.run())
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self.source.settled.wait()
            yield self
        finally:
            task.cancel()
            result = (await asyncio.gather(task, return_exceptions=True))[0]
        assert isinstance(result, asyncio.CancelledError), result
