"""What ovn-controller says about itself, over its control socket."""

import time

from agent.config import Settings
from agent.errors import SourceError
from agent.health import SourceHealth
from agent.model.ovn import OvnController
from agent.sources.unixctl.allowed import OVN_CONTROLLER
from agent.sources.unixctl.control import Control
from agent.sources.unixctl.ovn_reader import OvnReader
from agent.store import Store
from agent.supervise import Backoff


class OvnControllerSource:
    """Brings one reading of unixctl into the store.

    Args:
        settings: The configuration.
        store: Takes the reading and the release.
        health: Of the source.
    """

    def __init__(self, settings: Settings, store: Store, health: SourceHealth) -> None:
        self.health = health
        self._store = store
        self._control = Control(
            settings.ovn.rundir, OVN_CONTROLLER, settings.limits.unixctl_reply_bytes
        )
        self._reader = OvnReader(self._control, settings.timeouts.unixctl_seconds)
        self._backoff = Backoff()

    async def read(self) -> None:
        """Read everything once; what was said before is withdrawn when that fails."""
        if not self._backoff.ready:
            return
        began, taken = time.perf_counter(), self._store.clock()
        try:
            reading = await self._reader.read()
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

    def _put(self, said: OvnController | None, taken: float) -> None:
        """Hand over the reading; the release stays known when ovn-controller is gone."""
        self._store.ovn_controller.replace(said, taken)
        if said is not None and self._reader.release is not None:
            self._store.ovn_release.put(self._reader.release)
