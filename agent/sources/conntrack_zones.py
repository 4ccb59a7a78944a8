"""Tracked connections of the host's own namespace by zone: a dump of the whole table."""

import contextlib
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from agent.errors import ParseError, Reason, SourceError
from agent.health import SourceHealth
from agent.sources.conntrack_files import MODULES, NEEDS, NETLINK_MODULE
from agent.sources.netlink_socket import NetlinkSocket, source_error
from agent.sources.worker import Worker
from agent.store import Store
from agent.wire.netlink.allowed import CT_GET, NETFILTER
from agent.wire.netlink.conntrack import REQUEST, count_zones

PART = "zones"


class ConntrackZones:
    """Counts entries by zone. Needs CAP_NET_ADMIN.

    Every scrape that wants them has the kernel write out its whole table, datagram by datagram;
    none is kept.

    Args:
        store: Takes the reading.
        health: Of connection tracking; the part here is ``zones``.
        timeout_seconds: For the whole table.
        modules: Directory of loaded modules: asking without the module would load it.
    """

    def __init__(
        self,
        store: Store,
        health: SourceHealth,
        timeout_seconds: float,
        *,
        modules: Path = MODULES,
    ) -> None:
        self._store = store
        self._health = health
        self._timeout_seconds = timeout_seconds
        self._module = modules / NETLINK_MODULE
        self._worker = Worker("conntrack zones")

    async def read(self) -> None:
        """Read everything once; what was said before is withdrawn when that fails."""
        began, taken = time.perf_counter(), self._store.clock()
        try:
            zones = await self._worker.call(self._count, self._timeout_seconds)
        except SourceError as error:
            self._store.conntrack_zones.withdraw()
            self._health.failed(error, PART)
        else:
            self._store.conntrack_zones.replace(zones, taken)
            self._health.good(PART, time.perf_counter() - began)

    def close(self) -> None:
        """Let the thread end."""
        self._worker.close()

    def _count(self) -> Mapping[int, int]:
        if not self._module.exists():
            raise SourceError(
                Reason.ABSENT, f"zones: the kernel module {NETLINK_MODULE} is not loaded"
            )
        zones: Counter[int] = Counter()
        try:
            # Made here: a socket belongs to the namespace of the thread that makes it.
            with contextlib.closing(NetlinkSocket(NETFILTER, self._timeout_seconds)) as socket:
                for data in socket.datagrams(CT_GET, REQUEST):
                    count_zones(data, zones)
        except PermissionError as error:
            raise SourceError(Reason.DENIED, f"zones: {error.strerror}, {NEEDS}") from error
        except (OSError, ParseError) as error:
            raise source_error("zones", error) from error
        return zones
