"""Kernel datapaths by generic netlink, past ovs-vswitchd: also while it hangs or restarts."""

import time

from agent.config import Settings
from agent.errors import Reason, SourceError
from agent.health import SourceHealth
from agent.model.kernel_datapath import KernelDatapath
from agent.sources.ovs_genl_kernel import Kernel
from agent.sources.rooms import Held
from agent.sources.worker import Worker
from agent.store import Store

GONE = "the kernel has no Open vSwitch any more"


class OvsGenlSource:
    """Brings the kernel datapaths of the agent's own network namespace into the store.

    Args:
        settings: The configuration.
        store: Takes the reading.
        health: Of the source; configured from the first datapath on.
    """

    def __init__(self, settings: Settings, store: Store, health: SourceHealth) -> None:
        self.health = health
        health.configured = False
        self._store = store
        self._timeout_seconds = settings.timeouts.netlink_seconds
        self._worker = Worker("ovs datapath")
        self._kernel = Held(Kernel(self._timeout_seconds))

    async def read(self) -> None:
        """Read all datapaths once; a kernel that never had one is no failure."""
        began, taken = time.perf_counter(), self._store.clock()
        try:
            found = await self._worker.call(self._ask, self._timeout_seconds)
        except SourceError as error:
            self._store.kernel_datapaths.withdraw()
            self.health.failed(error)
            return
        self._store.kernel_datapaths.replace(found, taken)
        self.health.configured |= bool(found)
        if found is not None:
            self.health.good(seconds=time.perf_counter() - began)
        elif self.health.configured:
            self.health.failed(SourceError(Reason.ABSENT, GONE))
        else:
            self.health.clear()

    def close(self) -> None:
        """Close the socket, and let the thread end after what it does now."""
        self._kernel.retire()
        self._worker.close()

    def _ask(self) -> tuple[KernelDatapath, ...] | None:
        with self._kernel.using() as kernel:
            return None if kernel is None else kernel.read()
