"""Log lines as a program reads them."""

import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr
from typing import Any

from agent import log

Event = dict[str, Any]
Logged = Callable[[], list[Event]]
"""Returns the events since the last call."""


def capture(level: str = "info") -> Logged:
    """Configure logging as the daemon does, in JSON, to a place of its own."""
    stream = io.StringIO()
    with redirect_stderr(stream):
        log.configure(level, "json")

    def logged() -> list[Event]:
        lines = stream.getvalue().splitlines()
        stream.seek(0)
        stream.truncate()
        # In debug mode asyncio tells of callbacks that take long on a busy machine.
        events: list[Event] = [json.loads(line) for line in lines]
        return [event for event in events if not event["event"].startswith("Executing <")]

    return logged
