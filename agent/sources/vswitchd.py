"""What ovs-vswitchd says about itself and its datapaths, over its control socket."""

import time

from agent.config import Settings
from agent.errors import SourceError
from agent.health import SourceHealth
from agent.model.datapath import UnixctlReading
from agent.sources.unixctl.control import Control
from agent.sources.unixctl.reader import UnixctlReader
from agent.store import Store
from agent.supervise import Backoff


class VswitchdSource:
    """Brings one reading of unixctl into the store.

    Args:
        settings: The configuration.
        store: Takes the reading, knows bridges and bonds of the database.
        health: Of the source.
    """

    def __init__(self, settings: Settings, store: Store, health: SourceHealth) -> None:
        self.health = health
        self._store = store
        self._control = Control(
            settings.ovs.rundir, max_reply_bytes=settings.limits.unixctl_reply_bytes
        )
        self._reader = UnixctlReader(self._control, settings.timeouts.unixctl_seconds)
        self._backoff = Backoff()

    async def read(self) -> None:
        """Read everything once; what was said before is withdrawn when that fails."""
        if not self._backoff.ready:
            return
        switch = self._store.switch.known().value
        bridges = sorted(bridge.name for bridge in switch.bridges) if switch else []
        bonds = switch is not None and any(
            len(port.interfaces) > 1 for bridge in switch.bridges for port in bridge.ports
        )
        began, taken = time.perf_counter(), self._store.clock()
        try:
            reading = await self._reader.read(bridges, bonds=bonds)
        except SourceError as error:
            self._backoff.failed()
            self._put(None, taken)
            self.health.failed(error)
        else:
            self._backoff.succeeded()
            self._put(reading, taken)
            self.health.note(reading.problems)
            self.health.good(seconds=time.perf_counter() - began)

    def close(self) -> None:
        """Close the connection."""
        self._control.close()

    def _put(self, said: UnixctlReading | None, taken: float) -> None:
        """Hand over each part; a part whose command failed is not known."""
        store = self._store
        store.vswitchd.replace(said.vswitchd if said else None, taken)
        store.datapaths.replace(said.datapaths if said else None, taken)
        store.upcalls.replace(said.upcalls if said else None, taken)
        store.pmds.replace(said.pmds if said else None, taken)
        store.fdbs.replace(said.fdbs if said else None, taken)
        store.bonds.replace(said.bonds if said else None, taken)
        store.conntracks.replace(said.conntracks if said else None, taken)
