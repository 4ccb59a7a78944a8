"""Pages that are made once for all who ask at the same time, and sent at the client's pace."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field

from aiohttp import hdrs, web

Page = list[bytes]
"""A page in parts of any size."""

SLICE_BYTES = 1 << 16
JOIN_SECONDS = 0.1
HELD_BYTES = 1 << 26
"""Of all pages being sent, as long as there is more than one."""


@dataclass(frozen=True, slots=True)
class _Making:
    began: float
    due: float
    task: asyncio.Task[Page]


class Press:
    """Makes pages; whoever asks for the same one at the same time gets the same bytes.

    Args:
        join_seconds: How long after its beginning a page is joined. Its numbers are older by
            that for who joins, so the readings must leave room for it.
    """

    def __init__(self, join_seconds: float = JOIN_SECONDS) -> None:
        self._join_seconds = join_seconds
        self._making: dict[Hashable, _Making] = {}
        self._due: dict[asyncio.Task[Page], float] = {}

    async def page(self, key: Hashable, due: float, make: Callable[[], Awaitable[Page]]) -> Page:
        """Return a page that is being made, or make one.

        Nobody's going away ends the work: it belongs to all who wait, and a deadline bounds it.

        Args:
            key: Everything that the bytes depend on.
            due: When it must be ready, on the loop's clock. A page under way that is due at
                another time is not joined.
            make: Makes it.

        Raises:
            Exception: What ``make`` raised, to all who wait.
        """
        now = asyncio.get_running_loop().time()
        making = self._making.get(key)
        if (
            making is None
            or making.task.done()
            or making.due > due
            # Made in a hurry, it may lack what there is time to wait for.
            or due - making.due > self._join_seconds
            or now - making.began > self._join_seconds
        ):
            task = asyncio.ensure_future(make())
            self._due[task] = due
            task.add_done_callback(lambda task: self._forget(key, task))
            making = self._making[key] = _Making(now, due, task)
        return await asyncio.shield(making.task)

    def overdue_seconds(self) -> float:
        """Return how long ago the oldest page that is still being made was due; 0 for none."""
        oldest = min(self._due.values(), default=float("inf"))
        return max(0.0, asyncio.get_running_loop().time() - oldest)

    def _forget(self, key: Hashable, task: asyncio.Task[Page]) -> None:
        del self._due[task]
        making = self._making.get(key)
        if making is not None and making.task is task:
            del self._making[key]

    async def close(self) -> None:
        """Stop what is under way."""
        tasks = list(self._due)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(slots=True)
class _Held:
    size: int
    transports: list[asyncio.Transport] = field(default_factory=list)


class Courier:
    """Sends pages.

    Args:
        held_bytes: How much all pages being sent may be together. A page that many clients get
            counts once; above the bound those who have been taking the oldest are cut off.
    """

    def __init__(self, held_bytes: int = HELD_BYTES) -> None:
        self._held_bytes = held_bytes
        self._held: dict[int, _Held] = {}

    async def send(
        self, request: web.Request, body: Page, headers: Mapping[str, str], until: float
    ) -> web.StreamResponse:
        """Send a page, and return when the client has it, is gone or was cut off.

        No more than a slice waits for the client at any time.

        Args:
            request: What to answer.
            body: The page; HEAD gets only its length.
            headers: All others.
            until: When the client is cut off, on the loop's clock.
        """
        length = str(sum(map(len, body)))
        response = web.StreamResponse(headers={**headers, hdrs.CONTENT_LENGTH: length})
        transport = request.transport
        if transport is None:  # the client is gone; aiohttp finds out by itself
            return response
        # A client that goes away is no error, and one that is cut off knows it.
        with self._holding(body, transport), contextlib.suppress(ConnectionError):
            try:
                async with asyncio.timeout_at(until):
                    await _write(request, response, body)
            except TimeoutError:
                transport.abort()
                response.force_close()
        return response

    @contextlib.contextmanager
    def _holding(self, body: Page, transport: asyncio.Transport) -> Iterator[None]:
        held = self._held.setdefault(id(body), _Held(sum(map(len, body))))
        held.transports.append(transport)
        self._make_room(held)
        try:
            yield
        finally:
            held.transports.remove(transport)
            if not held.transports:
                del self._held[id(body)]

    def _make_room(self, newest: _Held) -> None:
        total = sum(each.size for each in self._held.values())
        for oldest in self._held.values():
            if total <= self._held_bytes or oldest is newest:
                return
            total -= oldest.size
            for transport in oldest.transports:
                transport.abort()


async def _write(request: web.Request, response: web.StreamResponse, body: Page) -> None:
    await response.prepare(request)
    if request.method == hdrs.METH_HEAD:
        return
    for part in body:
        view = memoryview(part)
        for start in range(0, len(part), SLICE_BYTES):
            await response.write(view[start : start + SLICE_BYTES])
            await request.writer.drain()
