"""The domains of one connection: listed once, then each read again when an event says so."""

from collections.abc import Iterator
from typing import Any

import libvirt

from agent.errors import ParseError, Reason, SourceError
from agent.model.domain import Domain, Domains
from agent.model.instance import VHOSTUSER
from agent.sources.hypervisor_errors import (
    NOT_TEXT,
    NOT_TEXT_ERRORS,
    errors,
    is_gone,
    source_error,
)
from agent.wire.domain_stats import Row, interface_row, interfaces_of
from agent.wire.domain_xml import Description, parse_domain_xml
from agent.wire.text import clean

STATISTICS = libvirt.VIR_DOMAIN_STATS_STATE | libvirt.VIR_DOMAIN_STATS_INTERFACE
"""Neither needs qemu's monitor: a domain that is busy (migrates, shuts down) is not waited for."""
ACTIVE = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE
NOWAIT = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
"""Since libvirt 4.5; whatever else it may want of a busy domain, it leaves out."""


class KnownDomains:
    """What is known of the domains of a connection; belongs to the connection's thread.

    Args:
        connection: libvirt's.
        limit: How many are remembered.
        names: Whether names in Nova's metadata are kept.

    Attributes:
        beyond: How many there are beyond the limit.
        refused: uuids of domains that libvirt would not show, though they are there.
    """

    def __init__(self, connection: Any, limit: int, *, names: bool) -> None:
        self._connection = connection
        self._limit = limit
        self._names = names
        self._flags = ACTIVE | NOWAIT
        self._listed: dict[str, Any] = {}
        self._handles: dict[str, Any] = {}
        self._domains: dict[str, Domain] = {}
        self._failed: dict[str, tuple[str, SourceError]] = {}
        self.beyond = 0
        self.refused: set[str] = set()

    @property
    def domains(self) -> Domains:
        """A copy of what is known, by uuid."""
        return dict(self._domains)

    @property
    def problems(self) -> dict[str, SourceError]:
        """Why a domain cannot be read, by its name; its uuid where that is not known either."""
        return dict(self._failed.values())

    def let_go(self) -> None:
        """Let go of the library's domains: each holds the connection, and so its descriptors."""
        self._listed.clear()
        self._handles.clear()

    def list(self) -> list[str]:
        """Ask which domains there are, and forget those that are not.

        Returns:
            Their uuids, each to be read.

        Raises:
            SourceError: If libvirt does not say.
        """
        with errors("list of domains"):
            handles = self._connection.listAllDomains()
        # Beyond the limit, those stay that are known: libvirt's order may be another each time.
        handles.sort(key=lambda handle: handle.UUIDString() not in self._domains)
        there = {handle.UUIDString(): handle for handle in handles[: self._limit]}
        self.beyond = len(handles) - len(there)
        for uuid in (self._domains.keys() | self._failed.keys()) - there.keys():
            self._forget(uuid)
        self._listed = there
        return list(there)

    def changed(self, uuid: str) -> None:
        """Take that a domain may not be any more what it was when it was listed."""
        self._listed.pop(uuid, None)

    def read(self, uuid: str) -> None:
        """Read one domain again; one that is gone is forgotten.

        Raises:
            libvirt.libvirtError: If the connection has ended.
        """
        known = uuid in self._domains or uuid in self.refused
        count = len(self._domains) + len(self.refused.difference(self._domains))
        if not known and count >= self._limit:
            self.beyond = max(self.beyond, 1)
            return
        name = self._domains[uuid].name if uuid in self._domains else uuid
        try:
            # A handle keeps the name that it was made with, so an event asks for a new one.
            handle = self._listed.pop(uuid, None) or self._connection.lookupByUUIDString(uuid)
            name = clean(handle.name())
            xml, state = handle.XMLDesc(), handle.state()[0]
        except libvirt.libvirtError as error:
            if is_gone(error):
                self._forget(uuid)
            elif self._connection.isAlive():
                self._refuse(uuid, name, source_error("libvirt", error))
            else:
                raise
            return
        except NOT_TEXT_ERRORS:
            self._refuse(uuid, name, SourceError(Reason.MALFORMED, NOT_TEXT))
            return
        self.refused.discard(uuid)
        self._handles[uuid] = handle
        self._keep(uuid, name, state, xml)

    def _keep(self, uuid: str, name: str, state: int, xml: str) -> None:
        try:
            told = parse_domain_xml(xml)
            self._failed.pop(uuid, None)
        except ParseError as error:
            self._failed[uuid] = name, SourceError(Reason.MALFORMED, f"domain XML: {error}")
            told = Description(interfaces=(), owner=None)
        owner = told.owner if told.owner is None or self._names else told.owner.without_names()
        self._domains[uuid] = Domain(uuid, name, state, told.interfaces, owner)

    def _refuse(self, uuid: str, name: str, error: SourceError) -> None:
        """Note that this one cannot be read; the others are none the worse for it."""
        self._failed[uuid] = name, error
        self.refused.add(uuid)

    def _forget(self, uuid: str) -> None:
        self._handles.pop(uuid, None)
        self._domains.pop(uuid, None)
        self._failed.pop(uuid, None)
        self.refused.discard(uuid)

    def statistics(self) -> Iterator[Row]:
        """Read what the interfaces of all active domains count: in one question.

        vhostuser interfaces are left out: for each of them libvirt would start ovs-vsctl. A domain
        that has one is asked for its other interfaces one by one.

        Raises:
            SourceError: If libvirt does not answer.
        """
        apart = {
            uuid
            for uuid, domain in self._domains.items()
            if any(plug.type == VHOSTUSER for plug in domain.interfaces)
        }
        with errors("statistics of domains"):
            for handle, statistics in self._records(apart):
                if not self.beyond or handle.UUIDString() in self._domains:
                    yield from interfaces_of(clean(handle.name()), statistics)
            for uuid in apart:
                yield from self._one_by_one(self._domains[uuid])

    def _records(self, apart: set[str]) -> Any:
        if apart:
            handles = [handle for uuid, handle in self._handles.items() if uuid not in apart]
            if not handles:
                return []
            return self._asked(
                lambda flags: self._connection.domainListGetStats(handles, STATISTICS, flags)
            )
        return self._asked(lambda flags: self._connection.getAllDomainStats(STATISTICS, flags))

    def _asked(self, ask: Any) -> Any:
        try:
            return ask(self._flags)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG or not self._flags & NOWAIT:
                raise
            self._flags &= ~NOWAIT
            return ask(self._flags)

    def _one_by_one(self, domain: Domain) -> Iterator[Row]:
        for plug in domain.interfaces if domain.active else ():
            if plug.target_device and plug.type != VHOSTUSER:
                try:
                    numbers = self._handles[domain.uuid].interfaceStats(plug.target_device)
                except (libvirt.libvirtError, *NOT_TEXT_ERRORS):
                    if not self._connection.isAlive():
                        raise
                    continue  # it has just gone
                yield interface_row(domain.name, plug.target_device, numbers)
