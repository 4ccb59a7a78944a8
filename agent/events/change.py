"""What an event says: its kind, and the fields that name the thing it is about."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

MAX_CHARACTERS = 500
"""Of one field: what peers say has no end of its own."""

Field = str | int | bool


class Kind(StrEnum):
    """Kinds of events: topics, and ``kind`` in the payload. Their fields: event.schema.json."""

    INTERFACE_ADDED = "interface_added"
    INTERFACE_REMOVED = "interface_removed"
    INTERFACE_UP = "interface_up"
    INTERFACE_DOWN = "interface_down"
    INTERFACE_ERROR = "interface_error"
    TUNNEL_UP = "tunnel_up"
    TUNNEL_DOWN = "tunnel_down"
    CONTROLLER_CONNECTED = "controller_connected"
    CONTROLLER_LOST = "controller_lost"
    DOMAIN_STARTED = "domain_started"
    DOMAIN_STOPPED = "domain_stopped"
    DOMAIN_MIGRATED = "domain_migrated"
    NAMESPACE_ADDED = "namespace_added"
    NAMESPACE_REMOVED = "namespace_removed"
    VSWITCHD_RESTARTED = "vswitchd_restarted"
    SOURCE_UP = "source_up"
    SOURCE_DOWN = "source_down"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that has changed. Build it with ``change``."""

    kind: Kind
    fields: Mapping[str, Field]


def change(kind: Kind, **fields: Field | None) -> Change:
    """Make a change; what is ``None`` is not known and left out, long texts are cut."""
    return Change(kind, {name: _cut(value) for name, value in fields.items() if value is not None})


def _cut(value: Field) -> Field:
    if isinstance(value, str) and len(value) > MAX_CHARACTERS:
        return value[: MAX_CHARACTERS - 1] + "…"
    return value
