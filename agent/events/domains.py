"""Domains of libvirt that started, stopped, or moved to another node."""

from collections.abc import Collection, Mapping

from agent.events.change import Change, Kind, change
from agent.model.domain import Domain, Domains

Running = Mapping[str, Domain]
"""Those whose devices are on this node, by uuid."""


def running(domains: Domains) -> Running:
    """Return the domains that run here, are paused, or come or go."""
    return {uuid: domain for uuid, domain in domains.items() if domain.active}


def changes(
    before: Running, domains: Domains, unreadable: Collection[str], departed: Collection[str]
) -> tuple[Running, list[Change]]:
    """Return what is remembered now, and what has changed.

    Args:
        before: Those that ran.
        domains: All that are known now.
        unreadable: Names or uuids of domains that libvirt would not show: what is not seen for
            that reason has not stopped.
        departed: uuids of domains that libvirt stopped because they moved to another node.
    """
    now = dict(running(domains))
    found: list[Change] = []
    for uuid, domain in before.items():
        if uuid in now:
            continue
        if uuid not in domains and not {uuid, domain.name}.isdisjoint(unreadable):
            now[uuid] = domain
        else:
            kind = Kind.DOMAIN_MIGRATED if uuid in departed else Kind.DOMAIN_STOPPED
            found.append(_change(kind, domain))
    found += [
        _change(Kind.DOMAIN_STARTED, domain) for uuid, domain in now.items() if uuid not in before
    ]
    return now, found


def _change(kind: Kind, domain: Domain) -> Change:
    owner = domain.owner
    return change(
        kind,
        domain=domain.name,
        instance_id=domain.uuid,
        instance_name=owner.instance_name if owner else None,
        project_id=owner.project_id if owner else None,
        project_name=owner.project_name if owner else None,
    )
