"""From what was known and what is known now to what has changed. Pure.

Three rules. The first time a part is known is a baseline and no event. A part that is not known
(its source is down) is remembered as it was: its things are not removed, and what is different
when it is known again is told then. What is told is compared with what was told last, not with
the state in between.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from agent.events import controllers as of_controllers
from agent.events import domains as of_domains
from agent.events import interfaces as of_interfaces
from agent.events import namespaces as of_namespaces
from agent.events.change import Change, Kind, change
from agent.model.domain import Domains
from agent.model.instance import InstanceInterface, join
from agent.model.namespace import HOST, Namespace
from agent.model.switch import Switch, VswitchdProcess


@dataclass(frozen=True, slots=True)
class SourceState:
    """How a source does: ``up`` is ``None`` while there is nothing to tell of it."""

    up: bool | None
    reason: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known now; ``None`` is a part that is not followed, or not completely known yet.

    Attributes:
        switch: Open vSwitch's database.
        process: The ovs-vswitchd that runs.
        namespaces: By name, with the host's own.
        unreadable_namespaces: Names of those that are there and cannot be entered.
        domains: By uuid.
        unreadable_domains: Names or uuids of those that libvirt would not show.
        departed: uuids of domains that have moved to another node.
        sources: By name.
    """

    switch: Switch | None = None
    process: VswitchdProcess | None = None
    namespaces: Mapping[str, Namespace] | None = None
    unreadable_namespaces: frozenset[str] = frozenset()
    domains: Domains | None = None
    unreadable_domains: frozenset[str] = frozenset()
    departed: frozenset[str] = frozenset()
    sources: Mapping[str, SourceState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Memory:
    """What was told last of each part; ``None`` for a part that was never known.

    Attributes:
        known: The newest of each part of a snapshot: whose things are, also while a part is down.
        sources: Whether each was up.
    """

    interfaces: of_interfaces.InterfaceMemory | None = None
    controllers: of_controllers.Connections | None = None
    namespaces: of_namespaces.Namespaces | None = None
    domains: of_domains.Running | None = None
    known: Snapshot = Snapshot()
    sources: Mapping[str, bool] = field(default_factory=dict)


def derive(memory: Memory, now: Snapshot) -> tuple[Memory, list[Change]]:
    """Return what is remembered now, and what has changed, subject by subject."""
    before = memory.known
    known = replace(
        now,
        switch=now.switch or before.switch,
        process=now.process or before.process,
        namespaces=before.namespaces if now.namespaces is None else now.namespaces,
        domains=before.domains if now.domains is None else now.domains,
    )
    memory = replace(memory, known=known)
    memory, found = _sources(memory, now)
    if now.process and before.process and now.process != before.process:
        found.append(
            change(Kind.VSWITCHD_RESTARTED, pid=now.process.pid, previous_pid=before.process.pid)
        )
    memory, more = _namespaces(memory, now)
    found += more
    memory, more = _switch(memory, now, before)
    found += more
    memory, more = _domains(memory, now)
    return memory, found + more


def _sources(memory: Memory, now: Snapshot) -> tuple[Memory, list[Change]]:
    """A source that is up from the start is no news; one that is down from the start is."""
    told = dict(memory.sources)
    found: list[Change] = []
    for name, source in sorted(now.sources.items()):
        if source.up is None or source.up == told.get(name):
            continue
        if source.up and name in told:
            found.append(change(Kind.SOURCE_UP, source=name))
        elif not source.up:
            reason, detail = source.reason, source.detail
            found.append(change(Kind.SOURCE_DOWN, source=name, reason=reason, detail=detail))
        told[name] = source.up
    return replace(memory, sources=told), found


def _namespaces(memory: Memory, now: Snapshot) -> tuple[Memory, list[Change]]:
    if now.namespaces is None:
        return memory, []
    if memory.namespaces is None:
        return replace(memory, namespaces=of_namespaces.named(now.namespaces)), []
    told, found = of_namespaces.changes(
        memory.namespaces, now.namespaces, now.unreadable_namespaces
    )
    return replace(memory, namespaces=told), found


def _switch(memory: Memory, now: Snapshot, before: Snapshot) -> tuple[Memory, list[Change]]:
    if now.switch is None:
        return memory, []
    if memory.interfaces is None or memory.controllers is None:
        told, connected = of_interfaces.baseline(now.switch), of_controllers.connections(now.switch)
        return replace(memory, interfaces=told, controllers=connected), []
    if now.switch is before.switch:
        return memory, []
    told, found = of_interfaces.changes(
        memory.interfaces, now.switch, _owners(before), _owners(memory.known)
    )
    connected, more = of_controllers.changes(memory.controllers, now.switch)
    return replace(memory, interfaces=told, controllers=connected), found + more


def _domains(memory: Memory, now: Snapshot) -> tuple[Memory, list[Change]]:
    if now.domains is None:
        return memory, []
    if memory.domains is None:
        return replace(memory, domains=of_domains.running(now.domains)), []
    told, found = of_domains.changes(
        memory.domains, now.domains, now.unreadable_domains, now.departed
    )
    return replace(memory, domains=told), found


def _owners(known: Snapshot) -> of_interfaces.Owner:
    """Return who knows whose interfaces are; the join is made when somebody asks, once."""

    @cache
    def rows() -> Mapping[str, InstanceInterface]:
        return join(known.switch, known.domains, (known.namespaces or {}).get(HOST))

    return lambda name: rows().get(name)
