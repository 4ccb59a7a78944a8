"""One reading of ovs-vswitchd: a few short commands, one after the other, with pauses."""

from collections.abc import Sequence
from dataclasses import replace

from agent.errors import SourceError
from agent.model.datapath import (
    Bond,
    Conntrack,
    Datapath,
    Fdb,
    Pmd,
    UnixctlReading,
    Vswitchd,
)
from agent.sources.unixctl.control import Control
from agent.sources.unixctl.turn import PAUSE_SECONDS, Turn
from agent.sources.unixctl.zeros import Zeros
from agent.wire.unixctl.bond import parse_bond_show, parse_lacp_show, with_lacp
from agent.wire.unixctl.coverage import DROP_COUNTERS, parse_coverage_show
from agent.wire.unixctl.dpctl import parse_count, parse_dpctl_show, parse_offload_stats_show
from agent.wire.unixctl.fdb import parse_fdb_stats_show
from agent.wire.unixctl.memory import parse_memory_show
from agent.wire.unixctl.pmd import parse_pmd_show
from agent.wire.unixctl.upcall import parse_upcall_show

MAX_BRIDGES = 64
"""Bridges whose MAC table is asked for in one reading."""
USERSPACE = "netdev@"


class UnixctlReader:
    """Reads all that the collectors want from the control socket.

    Args:
        control: The connection, which is kept.
        timeout_seconds: For one whole reading.
        pause_seconds: Between two commands.
    """

    def __init__(
        self,
        control: Control,
        timeout_seconds: float = 5.0,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._control = control
        self._timeout_seconds = timeout_seconds
        self._pause_seconds = pause_seconds
        self._connection = 0
        self._zeros = Zeros(DROP_COUNTERS)
        self._without_offload: set[str] = set()

    async def read(self, bridges: Sequence[str] = (), *, bonds: bool = False) -> UnixctlReading:
        """Ask for everything once.

        Args:
            bridges: Whose MAC learning tables are wanted.
            bonds: Whether there are bonds; without, nobody is asked about them.

        Raises:
            SourceError: For any of the six reasons; also when the daemon answers but nothing of
                it can be used.
        """
        turn = Turn(self._control, self._timeout_seconds, self._pause_seconds)
        await self._control.connect(turn.remaining())
        if self._connection != self._control.connections:
            self._forget()
        coverage = await turn.ask("coverage/show", parse_coverage_show)
        if coverage is not None:
            await self._zeros.add(turn, coverage)
        memory = await turn.ask("memory/show", parse_memory_show)
        upcalls = await turn.ask("upcall/show", parse_upcall_show)
        datapaths = await turn.ask("dpctl/show", parse_dpctl_show)
        if (coverage, memory, upcalls, datapaths) == (None, None, None, None):
            raise SourceError(turn.worst, "; ".join(turn.problems))
        return UnixctlReading(
            vswitchd=Vswitchd(self._control.peer_start_time(), coverage or {}, memory or {}),
            upcalls=upcalls,
            datapaths=await self._with_offload(turn, datapaths),
            pmds=await self._pmds(turn, datapaths),
            conntracks=await self._conntracks(turn, datapaths),
            fdbs=await self._fdbs(turn, bridges),
            bonds=await self._bonds(turn) if bonds else (),
            problems=tuple(turn.problems),
        )

    def _forget(self) -> None:
        """Forget what was learned: the other end may be another release now."""
        self._connection = self._control.connections
        self._zeros.forget()
        self._without_offload.clear()

    async def _with_offload(
        self, turn: Turn, datapaths: tuple[Datapath, ...] | None
    ) -> tuple[Datapath, ...] | None:
        """Add the flows in hardware; where offload is off (an error), it is asked only once."""
        if datapaths is None:
            return None
        found = []
        for datapath in datapaths:
            flows = None
            if datapath.name not in self._without_offload:
                flows = await turn.try_ask(
                    "dpctl/offload-stats-show", parse_offload_stats_show, datapath.name
                )
            if flows is None:
                self._without_offload.add(datapath.name)
            found.append(replace(datapath, offloaded_flows=flows))
        return tuple(found)

    async def _pmds(
        self, turn: Turn, datapaths: tuple[Datapath, ...] | None
    ) -> tuple[Pmd, ...] | None:
        """Read the threads of the userspace datapath: from the command that says most of them."""
        if datapaths is None:
            return None
        names = _userspace(datapaths)
        if not names:
            return ()
        name = names[0].removeprefix(USERSPACE)
        if turn.has("dpif-netdev/pmd-stats-show"):
            return await turn.ask("dpif-netdev/pmd-stats-show", parse_pmd_show, name)
        return await turn.ask("dpif-netdev/pmd-perf-show", parse_pmd_show, "-nh", name)

    async def _conntracks(
        self, turn: Turn, datapaths: tuple[Datapath, ...] | None
    ) -> tuple[Conntrack, ...] | None:
        if datapaths is None:
            return None
        found = []
        for name in _userspace(datapaths):
            entries = await turn.ask("dpctl/ct-get-nconns", parse_count, name)
            limit = await turn.ask("dpctl/ct-get-maxconns", parse_count, name)
            found.append(Conntrack(name, entries, limit))
        return tuple(found)

    async def _fdbs(self, turn: Turn, bridges: Sequence[str]) -> tuple[Fdb, ...] | None:
        if not turn.has("fdb/stats-show"):
            return None
        if len(bridges) > MAX_BRIDGES:
            turn.problems.append(f"fdb/stats-show: {MAX_BRIDGES} of {len(bridges)} bridges")
        found = []
        for bridge in bridges[:MAX_BRIDGES]:
            fdb = await turn.ask("fdb/stats-show", parse_fdb_stats_show, bridge)
            if fdb is not None:
                found.append(fdb)
        return tuple(found)

    async def _bonds(self, turn: Turn) -> tuple[Bond, ...] | None:
        bonds = await turn.ask("bond/show", parse_bond_show)
        if bonds is None:
            return None
        lacp = None
        if any(bond.lacp_status != "off" for bond in bonds):
            lacp = await turn.ask("lacp/show", parse_lacp_show)
        return bonds if lacp is None else with_lacp(bonds, lacp)


def _userspace(datapaths: tuple[Datapath, ...]) -> list[str]:
    """Return the names of the userspace datapaths; none that dpctl would take for an option."""
    names = [one.name for one in datapaths if one.name.startswith(USERSPACE)]
    return [name for name in names if not name.startswith(f"{USERSPACE}-")]
