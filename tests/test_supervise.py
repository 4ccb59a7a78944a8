"""Trying again: not too often, not all at once, and soon enough."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Never

import pytest

from agent.errors import Reason, SourceError
from agent.supervise import FIRST_DELAY_SECONDS, MAX_DELAY_SECONDS, Backoff, keep_running
from tests.clock import Clock


def test_delays_double_up_to_the_cap_and_jitter_takes_at_most_half() -> None:
    backoff = Backoff(Clock())
    for step in range(10):
        whole = min(FIRST_DELAY_SECONDS * 2**step, MAX_DELAY_SECONDS)
        assert whole / 2 <= backoff.failed() <= whole


def test_a_peer_that_accepts_again_is_tried_within_5_seconds_for_ever() -> None:
    backoff = Backoff(Clock())
    assert max(backoff.failed() for _ in range(1000)) <= 5


def test_nodes_do_not_agree_on_their_delays() -> None:
    delays = {Backoff(Clock()).failed() for _ in range(100)}
    assert len(delays) > 90


def test_a_success_begins_again_with_the_first_delay() -> None:
    backoff = Backoff(Clock())
    for _ in range(10):
        backoff.failed()
    backoff.succeeded()
    assert backoff.ready
    assert backoff.failed() <= FIRST_DELAY_SECONDS


def test_the_first_try_may_be_made_at_once_and_the_next_after_its_delay() -> None:
    clock = Clock()
    backoff = Backoff(clock)
    ready = [backoff.ready]
    delay = backoff.failed()
    for seconds in (0, delay - 0.001, 0.001_001):
        clock.sleep(seconds)
        ready.append(backoff.ready)
    assert ready == [True, False, False, True]


class Impatient(Backoff):
    """Counts and does not wait."""

    failures = 0

    def failed(self) -> float:
        super().failed()
        self.failures += 1
        return 0.0


def ends(*errors: Exception) -> Callable[[], Awaitable[Never]]:
    """Return a subscription that ends with one error after the other."""
    remaining: Iterator[Exception] = iter(errors)

    async def run() -> Never:
        raise next(remaining)

    return run


async def test_a_subscription_that_breaks_is_begun_again_and_told_each_time() -> None:
    broken = [SourceError(Reason.BROKEN, str(n)) for n in range(3)]
    told: list[SourceError] = []
    backoff = Impatient()
    with pytest.raises(ZeroDivisionError):
        await keep_running(ends(*broken, ZeroDivisionError()), told.append, backoff)
    assert told == broken
    assert backoff.failures == 3


async def test_a_bug_is_not_tried_again() -> None:
    told: list[SourceError] = []
    with pytest.raises(ZeroDivisionError):
        await keep_running(ends(ZeroDivisionError()), told.append, Impatient())
    assert told == []


async def test_it_waits_before_it_tries_again() -> None:
    down = asyncio.Event()
    tries = 0

    async def run() -> Never:
        nonlocal tries
        tries += 1
        raise SourceError(Reason.ABSENT, "db.sock")

    task = asyncio.create_task(keep_running(run, lambda _: down.set(), Backoff()))
    await down.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    assert tries == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
