"""The flows of one bridge: read table by table and gently, judged, and added up.

Everything here outlives the connection: what was decoded, and the ledgers.
"""

import asyncio
import operator
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from agent.config import Settings
from agent.health import SourceHealth
from agent.model.bridge import TableStats
from agent.model.flow import Fate, Flow, FlowReading, Group, TableFlows
from agent.model.node import Known
from agent.model.ovn import Release
from agent.model.switch import Switch
from agent.pipelines.fate import Judge
from agent.pipelines.ledger import BridgeLedger
from agent.sources.openflow_connection import Connection, Spent
from agent.sources.pacing import Pacer, Splitter, cost_seconds
from agent.sources.shown import Selection
from agent.wire.openflow import messages as of
from agent.wire.openflow.decoder import FlowDecoder

GROUPS_SECONDS = 60.0
"""Groups change without a flow changing, and seldom: they are asked for that often at least."""


class Surroundings(NamedTuple):
    """What the database knows of a bridge's ports.

    Attributes:
        interfaces: Interface names by OpenFlow port number.
        patch_ports: Numbers of the ports that lead to another bridge.
        release: Of the ovn-controller on this node, which wrote the flows; ``None`` without one.
    """

    interfaces: Mapping[int, str]
    patch_ports: frozenset[int]
    release: str | None = None


def surroundings(
    switch: Known[Switch], bridge: str, release: Release | None = None
) -> Surroundings | None:
    """Return a bridge's ports; ``None`` while the database is not known."""
    if switch.value is None:
        return None
    ports = switch.value.ports(bridge)
    return Surroundings(
        interfaces={number: interface.name for number, interface in ports.items()},
        patch_ports=frozenset(
            number for number, interface in ports.items() if interface.type == "patch"
        ),
        release=release.ovn or None if release else None,
    )


class Questions:
    """What one reading asks, and what that costs the switch.

    Attributes:
        cost_seconds: Time of ovs-vswitchd's main thread that the answers took so far, at most.
    """

    def __init__(self, connection: Connection, pacer: Pacer) -> None:
        self.version, self.process = connection.version, connection.process
        self.cost_seconds = 0.0
        self._connection, self._pacer = connection, pacer
        self._last_seconds = 0.0

    async def multipart(
        self, kind: of.Multipart, body: bytes = b"", scanned_flows: int = 0
    ) -> list[bytes]:
        """Ask; ``scanned_flows`` is the size of a table whose flows are asked for by cookie."""
        spent = Spent()
        try:
            return await self._connection.multipart(kind, body, spent)
        finally:  # an answer that fails midway was given all the same
            self._last_seconds = cost_seconds(spent.seconds, spent.octets, scanned_flows)
            self.cost_seconds += self._last_seconds

    async def pause(self) -> None:
        """Leave the switch to others, for as long as the last answer took."""
        await asyncio.sleep(self._pacer.pause_seconds(self._last_seconds))


class BridgeFlows:
    """What is known of a bridge's flows.

    Args:
        bridge: Its name.
        settings: The configuration.
        health: Told when the bridge is spared.
        clock: Monotonic seconds.
        from_figures: Ledgers begin at the flows' own figures.

    Attributes:
        cost_seconds: Time of ovs-vswitchd's main thread that was spent since somebody set it to 0.
    """

    def __init__(
        self,
        bridge: str,
        settings: Settings,
        health: SourceHealth,
        *,
        clock: Callable[[], float] = time.monotonic,
        from_figures: bool = False,
    ) -> None:
        self._bridge = bridge
        self._part = f"{bridge} flows"
        self._settings = settings.flows
        self._health = health
        self._clock = clock
        self.cost_seconds = 0.0
        self._pacer = Pacer(settings.flows.table_pause_seconds, settings.flows.busy_echo_seconds)
        self._splitter = Splitter()
        self._decoder = FlowDecoder()
        self._judge = Judge(by_datapath=settings.ovn.datapaths)
        self._ledger = BridgeLedger(from_figures=from_figures)
        self._selection = Selection(bridge, settings.flows)
        self._begun = False
        self._groups: Mapping[int, Group] | None = None
        self._groups_of: tuple[tuple[Flow, ...], ...] = ()
        self._groups_at = float("-inf")
        self._process: int | None = None

    async def read(self, connection: Connection, around: Surroundings | None) -> FlowReading | None:
        """Read all flows.

        Args:
            connection: To the bridge.
            around: Its ports; while they are not known, nothing is judged.

        Returns:
            ``None`` when the switch is too slow now to be asked.

        Raises:
            SourceError: timeout, broken or malformed; then nothing counts as read.
        """
        asked = Questions(connection, self._pacer)
        if self._pacer.busy(await connection.echo()):
            self._health.throttled(None, self._part, busy=True)
            return None
        try:
            return await self._read(asked, around)
        finally:
            self.cost_seconds += asked.cost_seconds

    async def _read(self, asked: Questions, around: Surroundings | None) -> FlowReading:
        stats = of.parse_table_stats(await asked.multipart(of.Multipart.TABLE))
        if self._settings.mode == "off":
            return FlowReading(self._bridge, left_out=sum(table.flows for table in stats))
        descriptions = await asked.multipart(of.Multipart.PORT_DESC)
        self._decoder.prepare(of.parse_port_desc(asked.version, descriptions))
        tables = tuple([await self._read_table(asked, table) for table in stats if table.flows])
        groups = await self._read_groups(asked, tables)
        self._decoder.commit()
        fate = Fate()
        ports: Mapping[int, str] = {}
        if around is not None:
            flows = {table.table_id: table.flows for table in tables}
            fate = self._judge.judge(flows, groups, around.patch_ports, around.release)
            ports = around.interfaces
        if not self._begun:
            # Where counting begins, what passes between the two must not look as if it was missed.
            stats = of.parse_table_stats(await asked.multipart(of.Multipart.TABLE))
            self._begun = True
        matches = {each.table_id: each.matches for each in stats if each.flows or each.lookups}
        restarted = self._is_another(asked.process)
        totals = self._ledger.add(tables, matches, fate, ports, restarted=restarted)
        if around is None:  # which ports are patch ports is not known: a zero would be a guess
            totals = replace(totals, dropped={}, interfaces={}, accounts={})
        shown, left_out = self._selection.of(tables, ports)
        return FlowReading(self._bridge, tables, fate, totals, shown, left_out, asked.process)

    async def _read_table(self, asked: Questions, stats: TableStats) -> TableFlows:
        """Ask for a table's flows, in as many pieces as its size and cookies advise."""
        table_id = stats.table_id
        parts = self._splitter.pieces(table_id, stats.flows, self._decoder.cookies(table_id))
        bodies: list[bytes] = []
        began = self._clock()
        for cookie, mask in parts:
            body = of.flow_request_body(table_id, cookie, mask)
            scanned = stats.flows if mask else 0
            bodies += await asked.multipart(of.Multipart.FLOW, body, scanned)
            ended = self._clock()
            await asked.pause()
        steps = self._decoder.decode(table_id, bodies, began, ended, whole=len(parts) == 1)
        for table in steps:
            if table is not None:
                return table
            await asyncio.sleep(0)
        raise AssertionError("a decoder ends with its table")

    async def _read_groups(
        self, asked: Questions, tables: tuple[TableFlows, ...]
    ) -> Mapping[int, Group] | None:
        """Ask for the groups when a flow uses one, and structure has changed or time has passed."""
        flows = tuple(table.flows for table in tables)
        same = len(flows) == len(self._groups_of) and all(map(operator.is_, flows, self._groups_of))
        if same and self._clock() - self._groups_at < GROUPS_SECONDS:
            return self._groups
        groups, began = None, self._clock()
        if any(flow.effect.groups or flow.effect.writes_groups for each in flows for flow in each):
            groups = of.parse_group_desc(await asked.multipart(of.Multipart.GROUP_DESC))
        self._groups_of, self._groups_at, self._groups = flows, began, groups
        return groups

    def _is_another(self, process: int | None) -> bool:
        """Say whether ovs-vswitchd is another process than at the last reading."""
        last, self._process = self._process, process or self._process
        return None not in (last, process) and last != process
