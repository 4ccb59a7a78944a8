"""Log lines as a program reads them."""

import io
import json
import logging
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr
from typing import Any

from agent import log

Event = dict[str, Any]
Logged = Callable[[], list[Event]]
"""Returns the events since the last call."""


SLOW = "Executing %s took %.3f seconds"
"""In debug mode asyncio tells of callbacks that take long on a busy machine."""


def without_slowness(records: Iterable[logging.LogRecord]) -> list[logging.LogRecord]:
    """Return what was logged, but not that the machine is busy."""
    return [record for record in records if record.msg != SLOW]


def capture(level: str = "info") -> Logged:
    """Configure logging as the daemon does, in JSON, to a place of its own."""
    stream = io.StringIO()
    with redirect_stderr(stream):
        log.configure(level, "json")

    def logged() -> list[Event]:
        lines = stream.getvalue().splitlines()
        stream.seek(0)
        stream.truncate()
        events: list[Event] = [json.loads(line) for line in lines]
        return [
            event
            for event in events
            if not event["event"].startswith(SLOW.split("%", maxsplit=1)[0])
        ]

    return logged
