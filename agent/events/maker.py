"""Looks when something has changed, and not more often than it can afford.

What changes by the thousand (a rebooting node, a flapping port) is looked at once for all of it:
at most every tenth of a second, and after a look that took long only when twenty times as long
has passed, so that looking takes 5 % of the time at most and a scrape does not wait for it.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Never

from agent.events.change import Change
from agent.events.derive import Memory, Snapshot, derive

PAUSE_SECONDS = 0.1
"""From a change to the look at it, and so the longest time that two changes become one."""
MAX_PAUSE_SECONDS = 2.0
SHARE = 20
"""A look is followed by a pause of so many times its duration."""


class EventMaker:
    """Turns what is known into events.

    Args:
        look: Returns what is known now.
        put: Takes what has changed.
    """

    def __init__(
        self, look: Callable[[], Snapshot], put: Callable[[Sequence[Change]], None]
    ) -> None:
        self._look = look
        self._put = put
        self._changed = asyncio.Event()
        self._memory = Memory()

    def changed(self) -> None:
        """Take that something may have changed: costs nothing when it is said again."""
        self._changed.set()

    async def run(self) -> Never:
        """Look after changes, until cancelled."""
        pause = PAUSE_SECONDS
        while True:
            await self._changed.wait()
            await asyncio.sleep(pause)
            self._changed.clear()
            began = time.perf_counter()
            self._memory, found = derive(self._memory, self._look())
            if found:
                self._put(found)
            took = time.perf_counter() - began
            pause = min(max(PAUSE_SECONDS, SHARE * took), MAX_PAUSE_SECONDS)
