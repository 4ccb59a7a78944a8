"""One reading of ovn-controller: a few short commands, one after the other, with pauses."""

from agent.errors import SourceError
from agent.model.ovn import OvnController, Release
from agent.sources.unixctl.control import Control
from agent.sources.unixctl.turn import PAUSE_SECONDS, Turn
from agent.sources.unixctl.zeros import Zeros
from agent.wire.unixctl.coverage import parse_coverage_show
from agent.wire.unixctl.memory import parse_memory_show
from agent.wire.unixctl.ovn import (
    DROP_COUNTERS,
    parse_connection_status,
    parse_lflow_cache,
    parse_version,
)
from agent.wire.unixctl.ovn_bindings import parse_local_bindings
from agent.wire.unixctl.ovn_engine import parse_engine_stats, parse_stopwatches

KEPT_SHARE = 0.5
"""Of a reading's time, not to be spent on counters at 0."""


class OvnReader:
    """Reads all that the collectors want from the control socket.

    ovn-controller answers between two rounds of its main loop, and a round may take seconds when it
    computes everything anew: that is a timeout like any other. Each command waits for a round, so
    the many small questions about counters at 0 come last, and only while there is time.

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
        self.release: Release | None = None
        """Of the ovn-controller that was read last; ``None`` until one has said it."""

    async def read(self) -> OvnController:
        """Ask for everything once.

        Raises:
            SourceError: For any of the six reasons; also when the daemon answers but nothing of
                it can be used.
        """
        turn = Turn(self._control, self._timeout_seconds, self._pause_seconds)
        await self._control.connect(turn.remaining())
        if self._connection != self._control.connections:
            self._forget()
        if self.release is None:
            self.release = await turn.ask_if_listed("version", parse_version)
        connected = await turn.ask_if_listed("connection-status", parse_connection_status)
        coverage = await turn.ask_if_listed("coverage/show", parse_coverage_show)
        memory = await turn.ask_if_listed("memory/show", parse_memory_show)
        cache = await turn.ask_if_listed("lflow-cache/show-stats", parse_lflow_cache)
        engine = await turn.ask_if_listed("inc-engine/show-stats", parse_engine_stats)
        stopwatches = await turn.ask_if_listed("stopwatch/show", parse_stopwatches)
        bindings = await turn.ask_if_listed("debug/dump-local-bindings", parse_local_bindings)
        parts = (connected, coverage, memory, cache, engine, stopwatches, bindings)
        if all(part is None for part in parts):
            raise SourceError(turn.worst, "; ".join(turn.problems) or "has none of its commands")
        if coverage is not None:
            await self._zeros.add(turn, coverage, self._timeout_seconds * KEPT_SHARE)
        return OvnController(
            start_time_seconds=self._control.peer_start_time(),
            southbound_connected=connected,
            coverage=coverage or {},
            memory=memory or {},
            lflow_cache=cache,
            engine=engine,
            stopwatches=stopwatches,
            bindings=bindings,
            problems=tuple(turn.problems),
        )

    def _forget(self) -> None:
        """Forget what was learned: the other end may be another release now."""
        self._connection = self._control.connections
        self._zeros.forget()
        self.release = None
