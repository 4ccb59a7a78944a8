"""OVN's databases, followed where they are configured."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Never

from agent.config import Settings
from agent.errors import Reason, SourceError
from agent.health import SourceHealth
from agent.model.ovn import Northbound, Southbound
from agent.sections import OVN_REMOTE
from agent.sources.ovn_databases import OvnDatabaseSource
from agent.store import State, Store
from agent.supervise import Backoff, keep_running

NORTHBOUND, SOUTHBOUND = "ovn_northbound", "ovn_southbound"
LOOK_SECONDS = 2.0
"""How often it is looked whether the node's own database names another Southbound."""

Facts = Northbound | Southbound
Run = Callable[[], Awaitable[Never]]


class OvnFollowed:
    """Northbound and Southbound; neither is opened without a remote.

    Args:
        settings: The configuration.
        store: Takes what they say, knows what the node's own database says of OVN.
        follows: What the enabled collectors show.
        switch_asked: Set when the node's own database has answered, or could not be asked.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        follows: frozenset[str],
        switch_asked: asyncio.Event,
    ) -> None:
        self._settings, self._store = settings, store
        self._switch_asked = switch_asked
        databases = settings.ovn.databases
        remotes = {
            NORTHBOUND: databases.northbound,
            SOUTHBOUND: databases.southbound or settings.ovn.chassis_southbound,
        }
        wanted = {name: name in follows and bool(remote) for name, remote in remotes.items()}
        self._health = {
            name: SourceHealth(name, is_wanted, subscription=True)
            for name, is_wanted in wanted.items()
        }
        self._told = {name: asyncio.Event() for name, is_wanted in wanted.items() if is_wanted}
        self.sources = tuple(self._health.values())

    @contextlib.asynccontextmanager
    async def running(self, on_bug: Callable[[asyncio.Task[Any]], None]) -> AsyncIterator[None]:
        """Follow them. ``on_bug`` is told when that ends; an exception in it is a bug."""
        tasks = [asyncio.create_task(self._keep(name), name=name) for name in self._told]
        for task in tasks:
            task.add_done_callback(on_bug)
        # What is not asked is empty, which is not the same as not known.
        if NORTHBOUND not in self._told:
            self._store.northbound.put(Northbound())
        if SOUTHBOUND not in self._told:
            self._store.southbound.put(Southbound())
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def asked(self) -> None:
        """Wait until they have answered, or could not be asked."""
        for told in self._told.values():
            await told.wait()

    async def _keep(self, name: str) -> Never:
        run = self._northbound() if name == NORTHBOUND else self._southbound()
        await keep_running(run, lambda error: self._down(name, error), Backoff())

    def _northbound(self) -> Run:
        remotes = self._settings.ovn.databases.northbound or ""
        publish = self._publisher(NORTHBOUND, self._store.northbound)
        on_event = self._health[NORTHBOUND].event
        return OvnDatabaseSource(remotes, "OVN_Northbound", self._settings, publish, on_event).run

    def _southbound(self) -> Run:
        remotes = self._settings.ovn.databases.southbound
        publish = self._publisher(SOUTHBOUND, self._store.southbound)
        on_event = self._health[SOUTHBOUND].event
        if remotes is None:
            chassis = OwnChassis(self._settings, self._store, self._switch_asked, publish, on_event)
            return chassis.run
        return OvnDatabaseSource(remotes, "OVN_Southbound", self._settings, publish, on_event).run

    def _publisher(self, name: str, state: State[Any]) -> Callable[[Any], None]:
        health, told = self._health[name], self._told[name]

        def publish(facts: Facts) -> None:
            state.put(facts)
            beyond = sorted(facts.left_out.items())
            health.note(tuple(f"{rows} rows of {table} are left out" for table, rows in beyond))
            health.good()
            if self._is_complete(facts):
                told.set()

        return publish

    def _is_complete(self, facts: Facts) -> bool:
        """Whether nothing is on its way: logical flows come when the rest is known."""
        databases = self._settings.ovn.databases
        return (
            isinstance(facts, Northbound)
            or databases.southbound is None
            or not databases.logical_flows
            or facts.logical_flows is not None
            or bool(facts.left_out)
        )

    def _down(self, name: str, error: SourceError) -> None:
        """A server that restarts comes back with the same: what it said is shown a while longer."""
        self._health[name].failed(error)
        state = self._store.northbound if name == NORTHBOUND else self._store.southbound
        state.lost()
        self._told[name].set()


class OwnChassis:
    """Follows the Southbound for this node's own chassis, wherever the node's database points.

    Args:
        settings: The configuration.
        store: Knows the system-id and ovn-remote.
        switch_asked: Set when it does, or may not.
        publish: As ``OvnDatabaseSource`` takes it.
        on_event: Likewise.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        switch_asked: asyncio.Event,
        publish: Callable[[Any], None],
        on_event: Callable[[str], None],
    ) -> None:
        self._settings, self._store, self._switch_asked = settings, store, switch_asked
        self._publish, self._on_event = publish, on_event
        self._of: tuple[str, str] | None = None
        self._source: OvnDatabaseSource | None = None

    async def run(self) -> Never:
        """Follow until that ends, or the node's database says something else.

        Raises:
            SourceError: absent while the node's database does not say who and where; broken when it
                says otherwise now; and as ``OvnDatabaseSource.run``.
        """
        await self._switch_asked.wait()
        of = self._where()
        if of != self._of or self._source is None:
            remotes, chassis = self._of = of
            try:
                self._source = OvnDatabaseSource(
                    remotes,
                    "OVN_Southbound",
                    self._settings,
                    self._publish,
                    self._on_event,
                    chassis=chassis,
                )
            except ValueError as error:
                raise SourceError(Reason.MALFORMED, f"external_ids:ovn-remote: {error}") from error
        following = asyncio.create_task(self._source.run(), name=SOUTHBOUND)
        try:
            while True:
                if (await asyncio.wait({following}, timeout=LOOK_SECONDS))[0]:
                    await following
                if self._store.switch.known().value is not None and self._where() != of:
                    raise SourceError(Reason.BROKEN, "external_ids say another Southbound now")
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    def _where(self) -> tuple[str, str]:
        """Return the remotes, and the name of this chassis."""
        switch = self._store.switch.known().value
        if switch is None or not switch.system_id:
            raise SourceError(Reason.ABSENT, "the node's database says no external_ids:system-id")
        remotes = self._settings.ovn.chassis_southbound
        if remotes == OVN_REMOTE:
            remotes = switch.ovn.remote if switch.ovn else None
        if not remotes:
            raise SourceError(Reason.ABSENT, "the node's database says no external_ids:ovn-remote")
        return remotes, switch.system_id
