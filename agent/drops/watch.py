"""Two readings of the flows, by the agent's own source and with its pacing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from dataclasses import replace

from agent.check import HINTS
from agent.config import Settings
from agent.drops.choice import NothingToCompareError
from agent.drops.growth import Snapshot
from agent.errors import SourceError
from agent.health import SourceHealth
from agent.model.instance import InstanceInterface, join
from agent.model.switch import Switch
from agent.sources.hypervisor import HypervisorSource
from agent.sources.openflow import OpenFlowSource
from agent.sources.ovn_controller import OvnControllerSource
from agent.sources.ovsdb import OvsdbSource
from agent.store import Store
from agent.supervise import Backoff, keep_running

DATABASE_SECONDS = 6.0
"""A server that says nothing is given up by its own deadline, of 5 s, which tells more."""
HYPERVISOR_SECONDS = 3.0
"""How long instances without a name are worth: what is lost is known without libvirt."""
OVN_SECONDS = 3.0
"""How long the names of OVN's stages are worth, likewise."""
UNSTAGED = "stages of OVN are not named: ovn-controller"
UNNAMED = "not all instances are named: libvirt"
RETRY_SECONDS = 2.0
PATIENCE_SECONDS = 60.0
"""How long a bridge that is spared is asked for again, unless the agent's share of the switch's
time is known to come back later."""
SPARED = "not read, to spare it: ovs-vswitchd is busy, or flows.duty_cycle is used up"


class Watch:
    """Reads the bridges of a node, whatever the configuration shows of their flows.

    ``async with watch.running():`` is its lifetime.

    Args:
        settings: The configuration.
        tell: Gets a line when a bridge is spared and has to be waited for, when libvirt does not
            say whose devices are, and when ovn-controller does not say its release.
    """

    def __init__(self, settings: Settings, tell: Callable[[str], None]) -> None:
        self._tell = tell
        # All flows are read and judged; that none has series costs nothing.
        flows = settings.flows.model_copy(update={"mode": "selected", "select": []})
        self._settings = settings.model_copy(update={"flows": flows})
        self._store = Store(settings.scrape.state_max_age_seconds)
        self._ovsdb = SourceHealth("ovsdb", subscription=True)
        self._openflow = SourceHealth("openflow")
        self._source = OpenFlowSource(self._settings, self._store, self._openflow)
        libvirt = SourceHealth("libvirt", settings.libvirt.enabled is True)
        self._hypervisor = HypervisorSource(self._settings, self._store, libvirt)
        self._controller = OvnControllerSource(
            _with_patience(settings, OVN_SECONDS), self._store, SourceHealth("ovn_controller")
        )
        self._controller.health.configured = settings.ovn.enabled is True
        self._waited = False
        self._asked = asyncio.Event()
        self._switch: Switch | None = None
        self._only: frozenset[str] | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the database and libvirt; at the end close everything."""
        source = OvsdbSource(self._settings.ovs.remote, self._publish, self._ovsdb.event)
        following = [keep_running(source.run, self._down, Backoff())]
        if self._settings.libvirt.enabled is not False:
            owners = self._hypervisor
            following.append(keep_running(owners.run, owners.down, Backoff()))
        else:
            self._hypervisor.settled.set()
        tasks = [asyncio.create_task(each) for each in following]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self._source.close()
            self._controller.close()
            for task in tasks:
                if not task.cancelled():
                    task.result()  # it ends by itself only with a bug

    async def switch(self) -> Switch:
        """Return what the database says.

        Raises:
            NothingToCompareError: With the reason if it says nothing.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DATABASE_SECONDS):
                await self._asked.wait()
        if self._switch is None:
            raise NothingToCompareError(*_reasons(self._ovsdb))
        return self._switch

    async def instances(self) -> Mapping[str, InstanceInterface]:
        """Return whose a device is, by its name; without libvirt's names where it says nothing.

        It is waited for once, and if that was in vain a person is told.
        """
        settled = self._hypervisor.settled
        if not self._waited:
            self._waited = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HYPERVISOR_SECONDS):
                    await settled.wait()
            for problem in self._hypervisor.health.status()["problems"].values():
                self._tell(f"{UNNAMED}: {problem['reason']}: {problem['detail']}")
            if not settled.is_set():
                self._tell(f"{UNNAMED}: no answer in {HYPERVISOR_SECONDS:g} s")
        return join(await self.switch(), self._store.domains.known().value, None)

    def narrow(self, bridges: Collection[str]) -> None:
        """Leave all other bridges in peace."""
        self._only = frozenset(bridges)
        if self._switch is not None:
            self._publish(self._switch)

    async def first(self) -> dict[str, Snapshot]:
        """Read every bridge; those that cannot be read are missing.

        Raises:
            NothingToCompareError: With the reasons if there is none.
        """
        if self._settings.ovn.enabled is not False:
            await self._name_stages()
        snapshots: dict[str, Snapshot] = {}
        async for some in self._readings(asyncio.Event(), flows_first=False):
            snapshots |= some
        if not snapshots:
            raise NothingToCompareError(*_reasons(self._openflow))
        return snapshots

    async def _name_stages(self) -> None:
        """Ask for the release of ovn-controller: flows are judged by it."""
        await self._controller.read()
        for problem in self._controller.health.status()["problems"].values():
            self._tell(f"{UNSTAGED}: {problem['reason']}: {problem['detail']}")

    async def second(self, stop: asyncio.Event) -> dict[str, Snapshot]:
        """Read every bridge again; once ``stop`` is set, none that is spared is waited for."""
        snapshots: dict[str, Snapshot] = {}
        async for some in self._readings(stop, flows_first=True):
            snapshots = some | snapshots  # the one that follows the first
        return snapshots

    def reason(self, bridge: str) -> str:
        """Return why a bridge could not be read, in one line."""
        problems = self._openflow.status()["problems"]
        for part in (bridge, f"{bridge} flows", self._openflow.name):
            if part in problems:
                return f"{bridge}: {problems[part]['reason']}: {problems[part]['detail']}"
        if bridge not in self._bridges():
            return f"{bridge}: is gone"
        return f"{bridge}: {SPARED}"

    async def _readings(
        self, stop: asyncio.Event, *, flows_first: bool
    ) -> AsyncIterator[dict[str, Snapshot]]:
        """Read until every bridge was read or cannot be: those that are spared, again."""
        began = self._store.clock()
        left = self._bridges()
        told = False
        while True:
            some = await self._read(flows_first=flows_first)
            yield some
            left -= some.keys() | self._failed(left)
            patience = max(PATIENCE_SECONDS, self._openflow.facts().min_interval_seconds or 0.0)
            if not left or stop.is_set() or self._store.clock() - began > patience:
                return
            if not told:
                told = True
                self._tell(f"{', '.join(sorted(left))}: {SPARED}; trying again")
            await wait(stop, RETRY_SECONDS)

    async def _read(self, *, flows_first: bool) -> dict[str, Snapshot]:
        """Read once. Table statistics are outside of the flows, so that no restart is between."""
        since = self._store.clock()
        if not flows_first:
            await self._source.read_bridges()
        taken = self._store.clock()
        await self._source.read_flows()
        if flows_first:
            await self._source.read_bridges()
        tables = self._store.bridges.parts(since).value or {}
        flows = self._store.flows.parts(since).value or {}
        return {
            name: Snapshot(taken, reading, tables[name].tables if name in tables else None)
            for name, reading in flows.items()
        }

    def _bridges(self) -> set[str]:
        known = self._store.switch.known().value
        return {bridge.name for bridge in known.bridges} if known else set()

    def _failed(self, bridges: Collection[str]) -> set[str]:
        """Return those that are not spared but cannot be read."""
        parts = self._openflow.status()["problems"].keys()
        if self._openflow.name in parts:
            return set(bridges)
        return {each for each in bridges if {each, f"{each} flows"} & parts}

    def _publish(self, switch: Switch) -> None:
        self._switch = switch
        self._ovsdb.good()
        only = self._only
        wanted = [each for each in switch.bridges if only is None or each.name in only]
        self._store.switch.put(replace(switch, bridges=tuple(wanted)))
        self._asked.set()

    def _down(self, error: SourceError) -> None:
        self._ovsdb.failed(error)
        self._store.switch.lost()
        self._asked.set()


def _with_patience(settings: Settings, seconds: float) -> Settings:
    shorter = min(seconds, settings.timeouts.unixctl_seconds)
    timeouts = settings.timeouts.model_copy(update={"unixctl_seconds": shorter})
    return settings.model_copy(update={"timeouts": timeouts})


async def wait(stop: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until ``stop`` is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


def _reasons(health: SourceHealth) -> Iterator[str]:
    """Say why a source is down, as ``check`` does."""
    problems = health.status()["problems"]
    yield f"{health.name}: down"
    for part, problem in problems.items():
        yield f"  {part}: {problem['reason']}: {problem['detail']}"
        yield f"    {HINTS[problem['reason']]}"
    if not problems:
        yield f"  {SPARED if health.up else 'no answer yet'}"
