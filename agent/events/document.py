"""Events and status as JSON, as ``event.schema.json`` describes them."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.events.queue import Event

SCHEMA = Path(__file__).with_name("event.schema.json")
VERSION = 1
"""Of the schema. New kinds and fields do not change it; other meanings of known ones do."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where documents come from.

    Attributes:
        node: Its name.
        boot: Of this process: numbers of events begin anew with another.
        version: The agent's.
    """

    node: str
    boot: str
    version: str

    def event(self, event: Event) -> bytes:
        """Write an event."""
        return _json(
            {
                "schema": VERSION,
                "time": _time(event.time_seconds),
                "node": self.node,
                "boot": self.boot,
                "sequence": event.sequence,
                "kind": event.change.kind.value,
                **event.change.fields,
            }
        )

    def status(self, now_seconds: float, *, online: bool) -> bytes:
        """Write whether the agent publishes."""
        return _json(
            {
                "schema": VERSION,
                "time": _time(now_seconds),
                "node": self.node,
                "boot": self.boot,
                "status": "online" if online else "offline",
                "version": self.version,
            }
        )


def _time(seconds: float) -> str:
    """RFC 3339, UTC, in milliseconds: 2026-03-01T12:00:00.000Z."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json(document: dict[str, Any]) -> bytes:
    # ASCII: what a peer said may hold half a surrogate, which is no UTF-8.
    return json.dumps(document, separators=(",", ":")).encode("ascii")
