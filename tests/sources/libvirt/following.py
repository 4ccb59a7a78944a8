"""The libvirt source as it runs, beside a libvirtd that does what the test says."""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from agent.config import Settings
from agent.health import SourceHealth
from agent.model.domain import Domain, DomainCounters, Domains
from agent.sources.hypervisor import HypervisorSource
from agent.store import Store
from agent.supervise import Backoff, keep_running
from lab import libvirt_domains

PATIENCE_SECONDS = 20.0
ANSWER_SECONDS = 0.4
"""How long the source waits for an answer here."""
NAME = "instance-00000001"


class Following:
    """The source, and a store and a health of its own."""

    def __init__(self, uri: str, **sections: Mapping[str, Any]) -> None:
        settings = Settings.model_validate(
            {
                "timeouts": {"libvirt_seconds": ANSWER_SECONDS},
                **sections,
                "libvirt": {"uri": uri, **sections.get("libvirt", {})},
            }
        )
        self.store = Store()
        self.health = SourceHealth("libvirt", settings.libvirt.enabled is True)
        self.source = HypervisorSource(settings, self.store, self.health)

    @property
    def domains(self) -> Domains:
        """Domains that are known; none while they are not."""
        return self.store.domains.known().value or {}

    @property
    def named(self) -> dict[str, Domain]:
        """The same by name."""
        return {domain.name: domain for domain in self.domains.values()}

    @property
    def live(self) -> bool:
        """Whether they are followed now."""
        known = self.store.domains.known()
        return known.live and known.value is not None

    @property
    def problems(self) -> dict[str, str]:
        """Reasons by part of the source."""
        told = self.health.status()["problems"]
        return {part: problem["reason"] for part, problem in told.items()}

    @property
    def events(self) -> dict[str, int]:
        """What was counted; 0 of what has not come yet."""
        return Counter(self.health.facts().events)

    def detail(self, part: str) -> str:
        """Return what is said of a problem."""
        text: str = self.health.status()["problems"][part]["detail"]
        return text

    async def read(self) -> DomainCounters | None:
        """Read once as a scrape does."""
        await self.source.read()
        return self.store.domain_counters.whole(float("-inf")).value

    async def counted(self) -> dict[tuple[str, str], list[int]]:
        """Read once, and return the numbers by domain and device."""
        counters = await self.read()
        assert counters is not None, self.problems
        return dict(zip(counters.interfaces, counters.numbers.tolist(), strict=True))

    async def until(self, predicate: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until something is true."""
        async with asyncio.timeout(seconds):
            while not predicate():  # noqa: ASYNC110 - health and store have no events
                await asyncio.sleep(0.002)

    async def until_read(self) -> None:
        """Read until there is something to read."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self.read() is None:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.02)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Following"]:
        """Run it, again and again as the daemon does; a bug is raised at the end of the block."""
        task = asyncio.create_task(keep_running(self.source.run, self.source.down, Backoff()))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self.source.settled.wait()
            yield self
        finally:
            task.cancel()
            (result,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(result, asyncio.CancelledError), result


def threads() -> list[str]:
    """Return the names of the source's threads; that of the library's own loop is none."""
    return sorted(each.name for each in threading.enumerate() if each.name == "libvirt")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def made(name: str = NAME, *devices: str, number: int = 1, **others: Any) -> libvirt_domains.Domain:
    """Return a domain of Nova's with these devices; ``others`` are fields of it."""
    (made_up,) = libvirt_domains.many(number, 1)[-1:]
    interfaces = tuple(
        libvirt_domains.Interface(device, f"fa:16:3e:00:00:{place:02x}", (10 * place,) * 8)
        for place, device in enumerate(devices, start=1)
    )
    return replace(made_up, **{"name": name, "interfaces": interfaces, **others})


def xml(inside: str, name: str = NAME) -> str:
    """Return the XML of a domain with something inside."""
    return f"<domain type='kvm'><name>{escape(name)}</name>{inside}</domain>"
