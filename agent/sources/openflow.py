"""Tables, ports and flows of every bridge, over one long-lived OpenFlow connection each.

ovs-vswitchd answers in its main thread, the one that also installs flows: one question at a time
on each bridge, flows table by table with a pause in between.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from agent.config import Settings
from agent.errors import Reason, SourceError
from agent.health import SourceHealth
from agent.model.flow import BridgeReading, FlowCount, FlowReading, PortStats
from agent.sources import unix_socket
from agent.sources.openflow_connection import Connection, open_connection
from agent.store import Store
from agent.supervise import Backoff
from agent.wire.openflow import messages as of
from agent.wire.openflow.decoder import FlowDecoder

BACK_BELOW = 0.8
"""``flows.mode=auto`` shows a bridge's flows again below this share of max_per_bridge."""
MAX_BRIDGES = 1024


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
        if not attempt.done():
            raise SourceError(Reason.TIMEOUT, f"{self._path}: no HELLO in time")
        if attempt is self._attempt:
            self._attempt = None
            if attempt.exception() is None:
                self._connection = attempt.result()
                self._backoff.succeeded()
            else:
                self._backoff.failed()
        return attempt.result()

    def drop(self) -> None:
        """Close the connection, if there is one; an attempt goes on."""
        if self._connection is not None:
            self._connection.close()

    def close(self) -> None:
        """Close the connection and give up an attempt."""
        self.drop()
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None


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
        await self._each(self._read_bridge, "", self._store.bridges.withdraw)

    async def read_flows(self) -> None:
        """Read the flows of every bridge into the store."""
        await self._each(self._read_flows, " flows", self._store.flows.withdraw)

    def close(self) -> None:
        """Close all connections."""
        for peer in self._peers.values():
            peer.close()

    async def _each(
        self,
        read: Callable[[str, BridgePeer, Connection], Awaitable[None]],
        suffix: str,
        withdraw: Callable[[str], None],
    ) -> None:
        try:
            names = self._discover()
        except SourceError as error:
            self.health.failed(error)
            return
        await asyncio.gather(*(self._one(name, read, suffix, withdraw) for name in names))

    async def _one(
        self,
        name: str,
        read: Callable[[str, BridgePeer, Connection], Awaitable[None]],
        suffix: str,
        withdraw: Callable[[str], None],
    ) -> None:
        """Read one bridge; what it said before is withdrawn when it fails."""
        peer = self._peers[name]
        began = time.perf_counter()
        try:
            with unix_socket.errors_of(name):
                connection = await peer.connection()
                if connection is None:
                    return
                await read(name, peer, connection)
        except SourceError as error:
            peer.drop()
            withdraw(name)
            self.health.failed(error, name + suffix)
        else:
            self.health.good(name + suffix, time.perf_counter() - began)

    def _discover(self) -> list[str]:
        """Return the bridges' names: the database's, else those that have a socket.

        Raises:
            SourceError: absent when neither knows a bridge.
        """
        rundir = self._settings.ovs.rundir
        switch = self._store.switch.known().value
        if switch is not None:
            names = {bridge.name for bridge in switch.bridges}
        else:
            names = {path.stem for path in rundir.glob("*.mgmt")}
            if not names:
                raise SourceError(Reason.ABSENT, f"{rundir}: no bridge's .mgmt socket")
        names = set(sorted(name for name in names if "/" not in name)[:MAX_BRIDGES])
        for gone in self._peers.keys() - names:
            self._peers.pop(gone).close()
            self._store.bridges.withdraw(gone)
            self._store.flows.withdraw(gone)
        for new in names - self._peers.keys():
            self._peers[new] = BridgePeer(rundir / f"{new}.mgmt", self._settings)
        self.health.keep_parts({*names, *(f"{name} flows" for name in names)})
        self.health.clear()
        return sorted(names)

    async def _read_bridge(self, name: str, _peer: BridgePeer, connection: Connection) -> None:
        echo_seconds = await connection.echo()
        tables = of.parse_table_stats(await connection.multipart(of.Multipart.TABLE))
        names = of.parse_port_desc(
            connection.version, await connection.multipart(of.Multipart.PORT_DESC)
        )
        ports = of.parse_port_stats(
            connection.version,
            await connection.multipart(of.Multipart.PORT_STATS, of.port_stats_request_body()),
        )
        reading = BridgeReading(
            bridge=name,
            echo_seconds=echo_seconds,
            tables=tuple(table for table in tables if table.flows or table.lookups),
            ports={number: self._without_custom(stats) for number, stats in ports.items()},
            port_names=names,
        )
        self._store.bridges.put(reading, name)

    async def _read_flows(self, name: str, peer: BridgePeer, connection: Connection) -> None:
        tables = of.parse_table_stats(await connection.multipart(of.Multipart.TABLE))
        total = sum(table.flows for table in tables)
        if not self._shown(peer, total):
            self._store.flows.put(FlowReading(name, (), left_out=total), name)
            return
        names = of.parse_port_desc(
            connection.version, await connection.multipart(of.Multipart.PORT_DESC)
        )
        wanted = [table.table_id for table in tables if table.flows]
        peer.decoder.prepare(names, set(wanted))
        flows: list[FlowCount] = []
        for table_id in wanted:
            bodies = await connection.multipart(of.Multipart.FLOW, of.flow_request_body(table_id))
            for batch in peer.decoder.decode(table_id, bodies):
                flows += batch
                await asyncio.sleep(0)
            await asyncio.sleep(self._settings.flows.table_pause_seconds)
        self._store.flows.put(FlowReading(name, tuple(flows)), name)

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
