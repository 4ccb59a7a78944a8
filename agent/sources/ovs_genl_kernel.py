"""Questions to openvswitch.ko: families, datapaths, ports and limits of conntrack zones.

None needs a right. Families are only ever listed: to ask for one by its name would load the
module.
"""

import contextlib
import errno
import time
from collections.abc import Callable
from dataclasses import replace

from agent.model.kernel_datapath import KernelDatapath, Vport, ZoneLimit
from agent.sources.netlink_socket import NetlinkSocket, errors
from agent.wire.netlink.allowed import GENERIC, GENL_CTRL
from agent.wire.netlink.families import (
    CT_LIMIT,
    DATAPATH,
    VPORT,
    get,
    list_families,
    read_families,
)
from agent.wire.netlink.vports import read_vports

LIST_SECONDS = 10.0
"""Between two looks for the families while they are not there."""


class GenericSocket(NetlinkSocket):
    """A socket of generic netlink.

    Args:
        timeout_seconds: For one answer.

    Raises:
        OSError: If there can be none.
    """

    def __init__(self, timeout_seconds: float) -> None:
        super().__init__(GENERIC, timeout_seconds)


class Kernel:
    """Asks the kernel. Blocks: for one thread.

    Args:
        timeout_seconds: For one answer.
        clock: Monotonic seconds.
        connect: Opens a socket with a timeout.
    """

    def __init__(
        self,
        timeout_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        connect: Callable[[float], GenericSocket] = GenericSocket,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._connect = connect
        self._socket: GenericSocket | None = None
        self._families: dict[str, int] = {}
        self._listed_at = float("-inf")

    def read(self) -> tuple[KernelDatapath, ...] | None:
        """Return all datapaths by name, with their ports by number.

        Returns:
            ``None`` while the kernel has no such module.

        Raises:
            SourceError: If there can be no socket, or an answer fails or cannot be read.
        """
        try:
            with errors("openvswitch"):
                return self._read()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the socket; the next reading opens another. Safe to call twice."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._families = {}
        self._listed_at = float("-inf")

    def _read(self) -> tuple[KernelDatapath, ...] | None:
        if self._families:
            # ENOENT: the module was unloaded. When it is back its families have other numbers.
            with contextlib.suppress(FileNotFoundError):
                return self._datapaths()
            self._families = {}
        elif self._clock() - self._listed_at < LIST_SECONDS:
            return None
        self._learn()
        return self._datapaths() if self._families else None

    def _learn(self) -> None:
        self._listed_at = self._clock()
        generic = self._generic()
        found = read_families(generic.dump(GENL_CTRL, list_families()))
        if DATAPATH in found and VPORT in found:
            self._families = found
            generic.families = frozenset(found.values())

    def _generic(self) -> GenericSocket:
        if self._socket is None:
            self._socket = self._connect(self._timeout_seconds)
        return self._socket

    def _datapaths(self) -> tuple[KernelDatapath, ...]:
        # Not before there is one: what decodes it takes 0.14 s and 22 MB.
        from agent.sources.ovs_genl_messages import read_datapaths  # noqa: PLC0415 - said above

        listed = self._generic().dump(self._families[DATAPATH], get(DATAPATH))
        datapaths = read_datapaths(listed)
        limits = self._zone_limits() if datapaths else None
        found = []
        for index, datapath in datapaths.items():
            vports = self._vports(index)
            if vports is not None:
                found.append(KernelDatapath(replace(datapath, ports=len(vports)), vports, limits))
        return tuple(sorted(found, key=lambda each: each.datapath.name))

    def _vports(self, index: int) -> tuple[Vport, ...] | None:
        """Return the ports of a datapath; ``None`` if it was deleted after it was listed."""
        family = self._families[VPORT]
        try:
            answer = self._generic().whole(family, get(VPORT, index))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        vports = [vport for datagram in answer for vport in read_vports(datagram, family)]
        return tuple(sorted(vports, key=lambda each: each.stats.number))

    def _zone_limits(self) -> tuple[ZoneLimit, ...] | None:
        """Return the limits, which all datapaths share; a kernel may be built without them."""
        from agent.sources.ovs_genl_messages import read_zone_limits  # noqa: PLC0415 - as above

        family = self._families.get(CT_LIMIT)
        if family is None:
            return None
        return read_zone_limits([self._generic().get(family, get(CT_LIMIT))])
