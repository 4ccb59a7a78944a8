"""A look follows a change, one for all that came together, and never so often that it costs."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from agent.events.change import Change
from agent.events.derive import Snapshot
from agent.events.maker import PAUSE_SECONDS, SHARE, EventMaker
from agent.model.switch import Interface
from tests.events.nodes import TAP, switch
from tests.events.valid import told


class Making:
    """A maker, what it looks at and what it found."""

    def __init__(self, look: Callable[[], None] = lambda: None) -> None:
        self.now = Snapshot(switch=switch())
        self.looks = 0
        self.found: list[Change] = []
        self._look = look
        self.maker = EventMaker(self._snapshot, self.found.extend)

    def _snapshot(self) -> Snapshot:
        self.looks += 1
        self._look()
        return self.now

    def show(self, *interfaces: Interface) -> None:
        self.now = Snapshot(switch=switch(*interfaces))
        self.maker.changed()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - nobody tells it
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def making(look: Callable[[], None] = lambda: None) -> AsyncIterator[Making]:
    each = Making(look)
    task = asyncio.create_task(each.maker.run())
    each.maker.changed()
    try:
        await each.until(lambda: each.looks == 1)
        yield each
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_change_is_looked_at() -> None:
    async with making() as node:
        node.show(TAP)
        await node.until(lambda: bool(node.found))
        assert told(node.found)[0] == ("interface_added", "br-int", "tap1")


async def test_nothing_is_looked_at_without_a_change() -> None:
    async with making() as node:
        node.maker.changed()
        await node.until(lambda: node.looks == 2)
        began = time.monotonic()
        await node.until(lambda: time.monotonic() - began > 3 * PAUSE_SECONDS)
        assert node.looks == 2


async def test_ten_thousand_changes_in_a_moment_are_one_look_and_all_that_they_led_to() -> None:
    async with making() as node:
        many = [replace(TAP, name=f"tap{number}") for number in range(100)]
        for number in range(10_000):
            node.show(*many[: number % 100 + 1])
        await node.until(lambda: bool(node.found))
        assert node.looks == 2
        assert sum(kind == "interface_added" for kind, *_ in told(node.found)) == 100


async def test_a_look_that_takes_long_is_followed_by_a_longer_pause() -> None:
    began: list[float] = []

    def look() -> None:
        began.append(time.monotonic())
        end = time.perf_counter() + 0.02
        while time.perf_counter() < end:
            pass

    async with making(look) as node:
        node.maker.changed()
        await node.until(lambda: node.looks == 2)
        assert began[1] - began[0] > SHARE * 0.02
