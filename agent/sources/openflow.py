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
from pathlib import Path
from typing import Any

from agent.config import Settings
from agent.errors import Reason, SourceError
from agent.health import SourceHealth
from agent.model.flow import BridgeReading, FlowCount, FlowReading, PortStats
from agent.sources import unix_socket
from agent.sources.openflow_connection import Connection, open_connection
from agent.store import Reading, Store
from agent.supervise import Backoff
from agent.wire.openflow import messages as of
from agent.wire.openflow.decoder import FlowDecoder

BACK_BELOW = 0.8
"""``flows.mode=auto`` shows a bridge's flows again below this share of max_per_bridge."""
MAX_BRIDGES = 1024
VERSION_RETRY_SECONDS = 30.0
"""Between tries of a bridge that allows no version of ours."""


class BridgePeer:
    """One bridge's connection, its backoff, and what was decoded on it."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path = path
        self._timeout_seconds = settings.timeouts.openflow_seconds
        self._reply_limit_bytes = settings.limits.openflow_reply_bytes
        self._backoff = Backoff()
        self._connection: Connection | None = None
        self._attempt: asyncio.Task[Connection] | None = None
        self.decoder = FlowDecoder()
        self.above_limit = False

    async def connection(self) -> Connection | None:
        """Return the open connection, or make one.

        An attempt that a stopped ovs-vswitchd does not answer is not given up but waited for
        again by the next reading: a new one each time would fill the socket's backlog and lock
        out whoever comes to repair it, and this one is answered at once when it goes on.

        Returns:
            ``None`` while it is too early to try again; the last failure stands.

        Raises:
            SourceError: If it cannot be made.
        """
        if self._connection is not None and not self._connection.closed:
            return self._connection
        if self._attempt is None:
            if not self._backoff.ready:
                return None
            self._attempt = asyncio.create_task(
                open_connection(self._path, self._timeout_seconds, self._reply_limit_bytes),
                name=f"connect {self._path}",
            )
        attempt = self._attempt
        await asyncio.wait({attempt}, timeout=self._timeout_seconds)
        if attempt.cancelled():
            raise SourceError(Reason.ABSENT, f"{self._path}: the bridge is gone")
        if not attempt.done():
            raise SourceError(Reason.TIMEOUT, f"{self._path}: no HELLO in time")
        if attempt is self._attempt:
            self._attempt = None
            self._take(attempt)
        return attempt.result()

    def _take(self, attempt: asyncio.Task[Connection]) -> None:
        error = attempt.exception()
        if error is None:
            self._connection = attempt.result()
            self._backoff.succeeded()
        elif isinstance(error, SourceError) and error.reason is Reason.REFUSED:
            # Versions are a setting, and each try is a line in ovs-vswitchd's log. (A socket that
            # nobody listens on is refused too, but by connect(): errno says so.)
            version = not isinstance(error.__cause__, OSError)
            self._backoff.failed(VERSION_RETRY_SECONDS if version else 0.0)
        else:
            self._backoff.failed()

    def drop(self, connection: Connection) -> None:
        """Close a connection that failed; another that was made meanwhile stays."""
        connection.close()
        if self._connection is connection:
            self._connection = None

    def close(self) -> None:
        """Close the connection and give up an attempt."""
        if self._connection is not None:
            self.drop(self._connection)
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return
        if attempt.done() and not attempt.cancelled() and attempt.exception() is None:
            attempt.result().close()
        attempt.cancel()


Read = Callable[[str, BridgePeer, Connection], Awaitable[BridgeReading | FlowReading]]


class OpenFlowSource:
    """Reads all bridges; each on its own, so that one that stalls costs only itself.

    Args:
        settings: The configuration.
        store: Takes the readings, knows the bridges of the database.
        health: Has a part for each bridge, and one for its flows.
    """

    def __init__(self, settings: Settings, store: Store, health: SourceHealth) -> None:
        self._settings = settings
        self._store = store
        self.health = health
        self._peers: dict[str, BridgePeer] = {}

    async def read_bridges(self) -> None:
        """Read table and port statistics of every bridge into the store."""
        await self._each(self._read_bridge, "", self._store.bridges)

    async def read_flows(self) -> None:
        """Read the flows of every bridge into the store."""
        await self._each(self._read_flows, " flows", self._store.flows)

    def close(self) -> None:
        """Close all connections."""
        for peer in self._peers.values():
            peer.close()

    async def _each(self, read: Read, suffix: str, readings: Reading[Any]) -> None:
        try:
            peers = self._discover()
        except SourceError as error:
            self.health.failed(error)
            return
        self.health.clear()
        if not peers:
            self.health.good()  # a switch without bridges has nothing to ask
        await asyncio.gather(
            *(self._one(name, peer, read, suffix, readings) for name, peer in peers.items())
        )

    async def _one(
        self, name: str, peer: BridgePeer, read: Read, suffix: str, readings: Reading[Any]
    ) -> None:
        """Read one bridge; what it said before is withdrawn when it fails."""
        began, taken = time.perf_counter(), self._store.clock()
        connection: Connection | None = None
        try:
            with unix_socket.errors_of(name):
                connection = await peer.connection()
                if connection is None:
                    return
                async with asyncio.timeout(self._settings.timeouts.bridge_seconds):
                    reading = await read(name, peer, connection)
        except SourceError as error:
            if connection is not None:
                peer.drop(connection)
            if self._peers.get(name) is peer:
                readings.withdraw(name)
                self.health.failed(error, name + suffix)
        else:
            if self._peers.get(name) is peer:  # else it was deleted while it was read
                readings.put(reading, name, taken)
                self.health.good(name + suffix, time.perf_counter() - began)

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
            self._peers[new] = BridgePeer(rundir / f"{new}.mgmt", self._settings)
        self.health.keep_parts({*names, *(f"{name} flows" for name in names)})
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
        )

    async def _read_flows(self, name: str, peer: BridgePeer, connection: Connection) -> FlowReading:
        tables = of.parse_table_stats(await connection.multipart(of.Multipart.TABLE))
        total = sum(table.flows for table in tables)
        if not self._shown(peer, total):
            return FlowReading(name, (), left_out=total)
        descriptions = await connection.multipart(of.Multipart.PORT_DESC)
        wanted = [table.table_id for table in tables if table.flows]
        names = of.parse_port_desc(connection.version, descriptions)
        peer.decoder.prepare(names, set(wanted))
        flows: list[FlowCount] = []
        for table_id in wanted:
            bodies = await connection.multipart(of.Multipart.FLOW, of.flow_request_body(table_id))
            for batch in peer.decoder.decode(table_id, bodies):
                flows += batch
                await asyncio.sleep(0)
            await asyncio.sleep(self._settings.flows.table_pause_seconds)
        return FlowReading(name, tuple(flows))

    def _shown(self, peer: BridgePeer, flows: int) -> bool:
        """Decide by rule and size alone, with a hysteresis so that series do not flap."""
        mode, limit = self._settings.flows.mode, self._settings.flows.max_per_bridge
        if mode != "auto":
            return mode == "all"
        peer.above_limit = flows > limit * (BACK_BELOW if peer.above_limit else 1.0)
        return not peer.above_limit

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
