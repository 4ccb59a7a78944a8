"""Trying again: a backoff with jitter, and a loop that keeps a subscription running."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Never

from agent.errors import SourceError

FIRST_DELAY_SECONDS = 0.5
MAX_DELAY_SECONDS = 2.0
"""Well below the 5 s in which a node must be back after its peer accepts again; peers are local,
so a try costs one connect() to a UNIX socket."""

STEADY_SECONDS = 10.0


class Backoff:
    """Delays that double from try to try, with jitter so that a thousand nodes do not agree.

    Args:
        clock: Monotonic seconds.
        max_delay_seconds: The longest delay.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        max_delay_seconds: float = MAX_DELAY_SECONDS,
    ) -> None:
        self._clock = clock
        self._max_delay_seconds = max_delay_seconds
        self._delay_seconds = FIRST_DELAY_SECONDS
        self._next_try = 0.0

    @property
    def ready(self) -> bool:
        """Whether the next try may be made now."""
        return self._clock() >= self._next_try

    def failed(self, at_least_seconds: float = 0.0) -> float:
        """Note a failed try and return how many seconds to wait before the next."""
        delay = self._delay_seconds * random.uniform(0.5, 1.0)  # noqa: S311 - not cryptography
        delay = max(delay, at_least_seconds)
        self._delay_seconds = min(2 * self._delay_seconds, self._max_delay_seconds)
        self._next_try = self._clock() + delay
        return delay

    def succeeded(self) -> None:
        """Begin again with the first delay."""
        self._delay_seconds = FIRST_DELAY_SECONDS
        self._next_try = 0.0


async def keep_running(
    run: Callable[[], Awaitable[Never]],
    down: Callable[[SourceError], None],
    backoff: Backoff,
) -> Never:
    """Run a subscription for ever.

    Args:
        run: Connects, follows and raises SourceError when that ends.
        down: Told each time.
        backoff: How long to wait in between; begins anew after a run that held for a while, so
            that a peer which serves and hangs up is not tried at the shortest interval for ever.

    Raises:
        Exception: Whatever ``run`` raises besides SourceError: a bug, which ends the process.
    """
    while True:
        began = time.monotonic()
        try:
            await run()
        except SourceError as error:
            down(error)
        if time.monotonic() - began > STEADY_SECONDS:
            backoff.succeeded()
        await asyncio.sleep(backoff.failed())
