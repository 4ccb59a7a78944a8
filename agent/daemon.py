"""The story of the process: settings -> store -> sources -> HTTP -> ready -> signal -> end."""

import asyncio
import contextlib
import gc
import resource
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

from agent import __version__, log
from agent.addresses import parse_address
from agent.collectors import COLLECTORS
from agent.collectors.base import Collector
from agent.config import Settings
from agent.errors import Reason, SourceError
from agent.events_side import EventsSide
from agent.exposition import systemd
from agent.exposition.http import Exporter, serve
from agent.exposition.pages import JOIN_SECONDS
from agent.exposition.web_config import WebConfigFile
from agent.health import SourceHealth
from agent.kernel_side import KernelSide
from agent.model.link import LinkPatterns
from agent.model.switch import Switch
from agent.ovn_side import CONTROLLER, OvnSide
from agent.scrape import Reader, Scraper
from agent.sources.hypervisor import HypervisorSource
from agent.sources.openflow import OpenFlowSource
from agent.sources.ovsdb import OvsdbSource
from agent.sources.vswitchd import VswitchdSource
from agent.status import status
from agent.store import Store
from agent.supervise import Backoff, keep_running

logger = log.get(__name__)

DESCRIPTORS = 65536
LOOP_ERROR_SECONDS = 10.0
DOMAINS = "libvirt"
"""What collectors follow that show domains, and the reader of their counters."""
SWITCH_READERS = frozenset({"flows", "openflow", "ovs_genl", "unixctl"})
"""What is read of Open vSwitch; its database is followed."""
READY_PATIENCE_SECONDS = 1.0
"""A READY that is lost would let systemd end the start; everything else can be said again."""


class Agent:
    """Everything between the peers and the page.

    ``async with agent.running():`` is its lifetime. ``run``, ``once`` and ``check`` differ only
    in what they do in between.

    Args:
        settings: The configuration.
        from_figures: Ledgers begin at the flows' own figures: for one page without a before.
        publishes: Events go to the broker, if one is named.
    """

    def __init__(
        self, settings: Settings, *, from_figures: bool = False, publishes: bool = False
    ) -> None:
        self.settings = settings
        self.collectors = tuple(chosen(settings))
        reads = {name for collector in self.collectors for name in collector.reads}
        self.store = Store(
            settings.scrape.state_max_age_seconds,
            link_patterns=LinkPatterns(
                tuple(settings.links.include), tuple(settings.links.exclude)
            ),
            domain_interfaces=settings.libvirt.interfaces,
        )
        self.switch_asked = asyncio.Event()
        """Set once the database has answered, or could not be asked."""
        self._bug: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ovsdb = SourceHealth("ovsdb", settings.ovs.enabled, subscription=True)
        self._openflow = OpenFlowSource(
            settings,
            self.store,
            SourceHealth("openflow", bool(reads & {"openflow", "flows"})),
            from_figures=from_figures,
        )
        self._unixctl = VswitchdSource(
            settings, self.store, SourceHealth("unixctl", "unixctl" in reads)
        )
        # Where no scrape reads anything of it, it is good for as long as it is followed.
        libvirt = SourceHealth(
            "libvirt",
            settings.libvirt.enabled is True and self._wants_domains,
            subscription=DOMAINS not in reads,
        )
        self._hypervisor = HypervisorSource(settings, self.store, libvirt)
        # A page may be joined for a moment after its beginning: readings are shared for so much
        # less, and no number is older than share_seconds for anybody.
        self.join_seconds = min(JOIN_SECONDS, settings.scrape.share_seconds / 2)
        share = settings.scrape.share_seconds - self.join_seconds
        self._kernel = KernelSide(
            settings, self.store, self.collectors, share, from_figures=from_figures
        )
        self._ovn = OvnSide(settings, self.store, self.collectors, share, self.switch_asked)
        self._events = EventsSide(settings, self.store, publishes=publishes)
        health = (
            *self._events.sources,
            self._hypervisor.health,
            *(self._openflow.health, self._ovsdb, self._unixctl.health),
            *self._kernel.sources,
            *self._ovn.sources,
        )
        self.sources = tuple(sorted(health, key=lambda each: each.name))
        self.kernel_sources = self._kernel.sources
        readers = (
            *self._kernel.readers,
            *self._ovn.readers,
            Reader("libvirt", self._hypervisor.health, self._hypervisor.read, share),
            Reader("openflow", self._openflow.health, self._openflow.read_bridges, share),
            Reader("flows", self._openflow.health, self._openflow.read_flows, share),
            Reader("unixctl", self._unixctl.health, self._unixctl.read, share),
        )
        self.scraper = Scraper(
            self.store,
            {reader.name: reader for reader in readers},
            self.sources,
            self.collectors,
            series_limit=settings.limits.series,
            share_seconds=share,
            config_hash=settings.hash(),
        )
        self.scraper.mqtt = self._events.facts
        self._readers = readers
        for reader in readers:
            reader.on_bug = self._on_bug

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the subscriptions; at the end close everything."""
        raise_descriptor_limit()
        tasks = []
        if self.settings.ovs.enabled:
            tasks.append(self._follow_switch())
        else:
            self.store.switch.put(Switch())  # there is none, which is not the same as not known
            self.switch_asked.set()
        if self.settings.libvirt.enabled is not False and self._wants_domains:
            tasks.append(self._follow_domains())
        else:
            self.store.domains.put({})
            self._hypervisor.settled.set()
        try:
            async with (
                self._kernel.running(self._on_bug),
                self._ovn.running(self._on_bug),
                self._events.running(self.sources, self._on_bug),
            ):
                yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for reader in self._readers:
                await reader.close()
            self._openflow.close()
            self._unixctl.close()
            self._ovn.close()

    async def asked(self) -> None:
        """Wait until the database and the kernel have answered, or could not be asked."""
        await self.switch_asked.wait()
        await self._hypervisor.settled.wait()
        await self._kernel.asked()
        await self._ovn.asked()

    async def bug(self) -> None:
        """Wait until a part ends with an error of ours, and raise it."""
        await self._bug

    def status(self) -> dict[str, Any]:
        """Return what /status shows."""
        return status(
            self.settings,
            self.store,
            self.sources,
            self.collectors,
            self._kernel.status(),
            self._events.status(),
        )

    def _follow_switch(self) -> asyncio.Task[Any]:
        source = OvsdbSource(self.settings.ovs.remote, self._publish, self._ovsdb.event)
        task = asyncio.create_task(
            keep_running(source.run, self._ovsdb_down, Backoff()), name="ovsdb"
        )
        task.add_done_callback(self._on_bug)
        return task

    @property
    def _wants_domains(self) -> bool:
        return any(DOMAINS in collector.follows for collector in self.collectors)

    def _follow_domains(self) -> asyncio.Task[Any]:
        source = self._hypervisor
        task = asyncio.create_task(keep_running(source.run, source.down, Backoff()), name=DOMAINS)
        task.add_done_callback(self._on_bug)
        return task

    def _publish(self, switch: Switch) -> None:
        self.store.switch.put(switch)
        self._ovsdb.good()
        self.switch_asked.set()

    def _ovsdb_down(self, error: SourceError) -> None:
        """A server that restarts comes back with the same; one whose socket is gone does not."""
        self._ovsdb.failed(error)
        if error.reason is Reason.ABSENT:
            self.store.switch.withdraw()
        else:
            self.store.switch.lost()
        self.switch_asked.set()

    def _on_bug(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled() or self._bug.done():
            return
        error = task.exception()
        if error is not None:
            self._bug.set_exception(error)


def chosen(settings: Settings) -> Iterator[Collector]:
    """Yield the collectors that run; they read nothing of what is switched off."""
    off = frozenset() if settings.ovs.enabled else SWITCH_READERS
    if settings.libvirt.interfaces == "never" or settings.libvirt.enabled is False:
        off |= {DOMAINS}
    if settings.ovn.enabled is False:
        off |= {CONTROLLER}
    for collector in COLLECTORS:
        if collector.name in settings.enabled():
            reads = tuple(name for name in collector.reads if name not in off)
            yield replace(collector, reads=reads)


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ListenError: If an address cannot be listened on.
        WebConfigError: If --web.config.file cannot be used.
        Exception: A bug; systemd starts a clean process.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(LoopErrors())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    agent = Agent(settings, publishes=True)
    exporter = Exporter(
        agent.scraper,
        agent.status,
        settings.web,
        settings.scrape.deadline_seconds,
        join_seconds=agent.join_seconds,
    )
    access = WebConfigFile(settings.web.config_file) if settings.web.config_file else None
    app = exporter.application(access)
    tls = access.ssl_context() if access else None
    async with agent.running():
        addresses = [parse_address(address) for address in settings.web.listen_address]
        server = await serve(app, addresses, tls)
        logger.info("ready", version=__version__, listen=",".join(settings.web.listen_address))
        # What start-up made stays for ever: collections that walk it again only cost time.
        gc.freeze()
        systemd.notify("READY=1", READY_PATIENCE_SECONDS)
        try:
            await _until(stop, agent, exporter)
        finally:
            systemd.notify("STOPPING=1")
            await server.cleanup()
    logger.info("stopped")


class LoopErrors:
    """What asyncio cannot give to anybody: a line, and not more than one in ten seconds.

    Without descriptors asyncio reports every connection that it could not accept, hundreds a
    second for as long as it lasts.
    """

    def __init__(self) -> None:
        self._next = float("-inf")
        self._silenced = 0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log it, or count it for the next line."""
        if loop.time() < self._next:
            self._silenced += 1
            return
        self._next = loop.time() + LOOP_ERROR_SECONDS
        logger.error(
            "event loop error",
            detail=context.get("message"),
            exc_info=context.get("exception"),
            silenced=self._silenced,
        )
        self._silenced = 0


def raise_descriptor_limit() -> None:
    """Take as many descriptors as the node gives (getrlimit(2)).

    A bridge and a client take one each, a namespace half a dozen.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _until(stop: asyncio.Event, agent: Agent, exporter: Exporter) -> None:
    """Wait for a signal, or raise the bug that came first."""
    waiting = [asyncio.create_task(stop.wait()), asyncio.create_task(agent.bug())]
    interval = systemd.watchdog_interval_seconds()
    if interval is not None:
        waiting.append(asyncio.create_task(systemd.feed_watchdog(interval, exporter.serves)))
    done, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    for task in done:
        task.result()
