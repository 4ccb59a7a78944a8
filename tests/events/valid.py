"""The schema that is shipped, and what is validated against it."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import fastjsonschema

from agent.events.change import Change
from agent.events.document import SCHEMA, Origin
from agent.events.queue import Event

Document = dict[str, Any]
DESCRIBED: Document = json.loads(SCHEMA.read_text())
validate: Callable[[Document], Document] = fastjsonschema.compile(DESCRIBED)
ORIGIN = Origin("compute01", "0" * 32, "0.1.0")


def documents(changes: Iterable[Change]) -> list[Document]:
    """Return changes as documents, each of which is valid."""
    events = [Event(number, 1.7e9, each) for number, each in enumerate(changes, start=1)]
    return [validate(json.loads(ORIGIN.event(event))) for event in events]


def told(changes: Iterable[Change]) -> list[tuple[str, ...]]:
    """Return kinds and the names of what they are about, of valid documents."""
    names = ("bridge", "interface", "target", "netns", "domain", "source")
    return [
        (document["kind"], *(document[name] for name in names if name in document))
        for document in documents(changes)
    ]
