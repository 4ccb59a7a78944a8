"""What ovn-controller says about itself, over its control socket."""

import time

from agent.config import Settings
from agent.errors import Reason, SourceError
from agent.health import SourceHealth
from agent.model.ovn import NO_RELEASE, OvnController
from agent.sources.unixctl.allowed import OVN_CONTROLLER
from agent.sources.unixctl.control import Control
from agent.sources.unixctl.ovn_reader import OvnReader
from agent.store import Store
from agent.supervise import Backoff


class OvnControllerSource:
    """Brings one reading of unixctl into the store.

    Expected is an ovn-controller where there was one, or where the node's own database says where
    the Southbound is.

    Args:
        settings: The configuration.
        store: Takes the reading and the release, knows what the database says.
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
            if error.reason is Reason.ABSENT and not self._is_expected():
                # There is none, which is not the same as not known.
                self._store.ovn_controller.replace(OvnController(), taken)
                self._store.ovn_release.put(NO_RELEASE)
                return
            self._backoff.failed()
            self.health.configured = True
            self._store.ovn_controller.replace(None, taken)
            self.health.failed(error)
        else:
            self._backoff.succeeded()
            self.health.configured = True
            self._store.ovn_controller.replace(reading, taken)
            if self._reader.release is not None:  # it stays known when ovn-controller is gone
                self._store.ovn_release.put(self._reader.release)
            self.health.note(reading.problems)
            self.health.good(seconds=time.perf_counter() - began)

    def close(self) -> None:
        """Close the connection."""
        self._control.close()

    def _is_expected(self) -> bool:
        switch = self._store.switch.known().value
        says_so = switch is not None and switch.ovn is not None and switch.ovn.remote is not None
        return self.health.configured or says_so
