"""Network namespaces that came and went: routers, DHCP servers, floating IPs."""

from collections.abc import Collection, Mapping

from agent.events.change import Change, Kind, change
from agent.model.namespace import HOST, Namespace

Namespaces = Mapping[str, Namespace]


def named(namespaces: Namespaces) -> Namespaces:
    """Return those that have a name; the host's own neither comes nor goes."""
    return {name: namespace for name, namespace in namespaces.items() if name != HOST}


def changes(
    before: Namespaces, now: Namespaces, unreadable: Collection[str]
) -> tuple[Namespaces, list[Change]]:
    """Return what is remembered now, and what has changed.

    Args:
        before: Named ones, as they were told.
        now: All that can be entered.
        unreadable: Names of those that are there and cannot be entered now: what is not seen for
            that reason is not removed.
    """
    present = dict(named(now))
    for name in unreadable:
        if name in before and name not in present:
            present[name] = before[name]
    found = [
        _change(Kind.NAMESPACE_REMOVED, namespace)
        for name, namespace in before.items()
        if name not in present or not present[name].is_of(namespace.key)
    ]
    found += [
        _change(Kind.NAMESPACE_ADDED, namespace)
        for name, namespace in present.items()
        if name not in before or not namespace.is_of(before[name].key)
    ]
    return present, found


def _change(kind: Kind, namespace: Namespace) -> Change:
    role, identity = namespace.role
    return change(kind, netns=namespace.name, role=role, id=identity or None)
