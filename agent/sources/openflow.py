"""Tables, ports and flows of every bridge, over one long-lived OpenFlow connection each.

ovs-vswitchd answers in its main thread, the one that also installs flows: one question at a time
on each bridge, flows table by table with a pause in between.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from agent.config import Settings
from agent.errors import Reason, SourceError
from agent.health import SourceHealth
from agent.model.bridge import BridgeReading, PortStats
from agent.model.flow import FlowReading
from agent.sources import unix_socket
from agent.sources.openflow_connection import Connection
from agent.sources.openflow_flows import BridgeFlows, surroundings
from agent.sources.openflow_peer import BridgePeer
from agent.sources.pacing import Budget
from agent.store import Reading, Store
from agent.wire.openflow import messages as of

MAX_BRIDGES = 1024
FLOWS = "flows of all bridges"
"""The part of the source's health that is throttled."""


Read = Callable[[str, BridgePeer, Connection], Awaitable[BridgeReading | FlowReading | None]]


class OpenFlowSource:
    """Reads all bridges; each on its own, so that one that stalls costs only itself.

    Args:
        settings: The configuration.
        store: Takes the readings, knows the bridges of the database.
        health: Has a part for each bridge, and one for its flows.
        from_figures: Ledgers begin at the flows' own figures, for a reading without a before.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        health: SourceHealth,
        *,
        from_figures: bool = False,
    ) -> None:
        self._settings = settings
        self._store = store
        self.health = health
        self._from_figures = from_figures
        self._budget = Budget(settings.flows.duty_cycle, clock=store.clock)
        self._peers: dict[str, BridgePeer] = {}

    async def read_bridges(self) -> None:
        """Read table and port statistics of every bridge into the store."""
        await self._each(self._read_bridge, "", self._store.bridges)

    async def read_flows(self) -> None:
        """Read the flows of every bridge into the store.

        All bridges, or none: their one ovs-vswitchd has given us its share of time, or not.
        """
        if not self._budget.allows():
            # What another scrape has just paid for stays; the store lets nobody see it too late.
            self.health.throttled(self._budget.min_interval_seconds, FLOWS)
            return
        for peer in self._peers.values():
            peer.flows.cost_seconds = 0.0
        complete = await self._each(self._read_flows, " flows", self._store.flows)
        spent = sum(peer.flows.cost_seconds for peer in self._peers.values())
        self._budget.spend(spent, complete=complete)
        self.health.min_interval(self._budget.min_interval_seconds, FLOWS)

    def close(self) -> None:
        """Close all connections."""
        for peer in self._peers.values():
            peer.close()

    async def _each(self, read: Read, suffix: str, readings: Reading[Any]) -> bool:
        """Read all bridges; True when every one was read."""
        try:
            peers = self._discover()
        except SourceError as error:
            self.health.failed(error)
            return False
        self.health.clear()
        if not peers:
            self.health.good()  # a switch without bridges has nothing to ask
        read_ones = await asyncio.gather(
            *(self._one(name, peer, read, suffix, readings) for name, peer in peers.items())
        )
        return all(read_ones)

    async def _one(
        self, name: str, peer: BridgePeer, read: Read, suffix: str, readings: Reading[Any]
    ) -> bool:
        """Read one bridge; what it said before is withdrawn when it fails. True when it was read.

        A bridge that is gone meanwhile is nobody's failure.
        """
        began, taken = time.perf_counter(), self._store.clock()
        connection: Connection | None = None
        try:
            with unix_socket.errors_of(name):
                connection = await peer.connection()
                if connection is None:
                    return False
                async with asyncio.timeout(self._settings.timeouts.bridge_seconds):
                    reading = await read(name, peer, connection)
        except SourceError as error:
            if connection is not None:
                peer.drop(connection)
            if self._peers.get(name) is peer:
                readings.withdraw(name)
                self.health.failed(error, name + suffix)
            return False
        if self._peers.get(name) is not peer:
            return True  # it was deleted while it was read
        if reading is None:  # not asked, to spare it
            return False
        readings.put(reading, name, taken)
        self.health.good(name + suffix, time.perf_counter() - began)
        return True

    def _discover(self) -> dict[str, BridgePeer]:
        """Return the bridges, A to Z: the database's, else those that have a socket.

        Raises:
            SourceError: absent when neither knows a bridge, denied.
        """
        names = self._names()
        for gone in self._peers.keys() - set(names):
            self._peers.pop(gone).close()
            self._store.bridges.withdraw(gone)
            self._store.flows.withdraw(gone)
        rundir = self._settings.ovs.rundir
        for new in set(names) - self._peers.keys():
            flows = BridgeFlows(
                new,
                self._settings,
                self.health,
                clock=self._store.clock,
                from_figures=self._from_figures,
            )
            self._peers[new] = BridgePeer(rundir / f"{new}.mgmt", self._settings, flows)
        self.health.keep_parts({FLOWS, *names, *(f"{name} flows" for name in names)})
        return {name: self._peers[name] for name in names}

    def _names(self) -> list[str]:
        rundir = self._settings.ovs.rundir
        switch = self._store.switch.known().value
        if switch is not None:
            found = {bridge.name for bridge in switch.bridges}
        else:
            with unix_socket.errors_of(str(rundir)), os.scandir(rundir) as entries:
                files = [entry.name for entry in entries]
            found = {file.removesuffix(".mgmt") for file in files if file.endswith(".mgmt")}
            if not found:
                raise SourceError(Reason.ABSENT, f"{rundir}: no bridge's .mgmt socket")
        names = sorted(name for name in found if "/" not in name and "\0" not in name)
        left_out = len(names) - MAX_BRIDGES
        self.health.note((f"{left_out} bridges are left out",) if left_out > 0 else ())
        return names[:MAX_BRIDGES]

    async def _read_bridge(
        self, name: str, _peer: BridgePeer, connection: Connection
    ) -> BridgeReading:
        echo_seconds = await connection.echo()
        tables = of.parse_table_stats(await connection.multipart(of.Multipart.TABLE))
        descriptions = await connection.multipart(of.Multipart.PORT_DESC)
        ports = of.parse_port_stats(
            connection.version,
            await connection.multipart(of.Multipart.PORT_STATS, of.port_stats_request_body()),
        )
        return BridgeReading(
            bridge=name,
            echo_seconds=echo_seconds,
            tables=tuple(table for table in tables if table.flows or table.lookups),
            ports={number: self._without_custom(stats) for number, stats in ports.items()},
            port_names=of.parse_port_desc(connection.version, descriptions),
            meters=of.parse_meter_stats(
                await connection.multipart(of.Multipart.METER, of.meter_stats_request_body())
            ),
        )

    async def _read_flows(
        self, name: str, peer: BridgePeer, connection: Connection
    ) -> FlowReading | None:
        store = self._store
        around = surroundings(store.switch.known(), name, store.ovn_release.known().value)
        return await peer.flows.read(connection, around)

    def _without_custom(self, stats: PortStats) -> PortStats:
        patterns = self._settings.interfaces.custom_statistics
        if not stats.custom:
            return stats
        custom = {
            name: value
            for name, value in stats.custom.items()
            if any(fnmatchcase(name, pattern) for pattern in patterns)
        }
        return replace(stats, custom=custom)
