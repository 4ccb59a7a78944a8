"""The HTTP server: /metrics, health, /status and a page of links.

A scrape is answered 200 by its deadline with what is known by then. Health and readiness are good
as soon and as long as /metrics can be answered, whatever the peers do.
"""

import asyncio
import html
import json
import math
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from ssl import SSLContext
from typing import Any

from aiohttp import web

from agent import __version__
from agent.exposition import connections, process, text
from agent.exposition.auth import protect
from agent.exposition.pages import JOIN_SECONDS, Courier, Press
from agent.exposition.web_config import WebConfigFile
from agent.families import Block, Sample
from agent.scrape import Collected, Scraper
from agent.sections import Web

TIMEOUT_HEADER = "X-Prometheus-Scrape-Timeout-Seconds"
SMALLEST_MARGIN_SECONDS = 0.5
MARGIN = 0.1
SHORTEST_DEADLINE_SECONDS = 0.1
LONGEST_PATIENCE_SECONDS = 120.0
FORGET = 0.9
"""What each page leaves of the time that the slowest before it took to write."""
GZIP_LEVEL = 1
"""A page of 126 KB is 13.5 KB at level 1 in 0.3 ms, and 10.3 KB at level 6 in 1.0 ms."""
GZIP_IN_THREAD_BYTES = 1 << 18
OVERDUE_SECONDS = 30.0
"""A page that is not done so long after it was due never will be."""
WRITE_SECONDS = 10.0
"""What a client gets beyond its deadline to take the page."""
SHUTDOWN_SECONDS = 0.5
"""aiohttp spends it twice."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Status = Callable[[], dict[str, Any]]


class Exporter:
    """The handlers.

    Args:
        scraper: Answers scrapes.
        status: What /status shows.
        settings: Path of the metrics and requests at once.
        deadline_seconds: Longest time for a scrape.
        write_seconds: How long after its deadline a client may still take its page.
        join_seconds: How long after its beginning an identical scrape's page is joined.
    """

    def __init__(
        self,
        scraper: Scraper,
        status: Status,
        settings: Web,
        deadline_seconds: float,
        write_seconds: float = WRITE_SECONDS,
        join_seconds: float = JOIN_SECONDS,
    ) -> None:
        self._scraper = scraper
        self._status = status
        self._telemetry_path = settings.telemetry_path
        self._max_requests = settings.max_requests
        self._deadline_seconds = deadline_seconds
        self._write_seconds = write_seconds
        self._press = Press(join_seconds)
        self._courier = Courier()
        self._running = 0
        self._writing_seconds = 0.0
        self._requests: Counter[tuple[str, str]] = Counter()
        self._handlers: dict[str, Handler] = {
            settings.telemetry_path: self.metrics,
            "/": self.landing,
            "/-/healthy": self.healthy,
            "/-/ready": self.healthy,
            "/healthz": self.healthy,
            "/readyz": self.healthy,
            "/status": self.status,
        }

    def application(self, access: WebConfigFile | None) -> web.Application:
        """Return the application, with ``access`` before every handler."""
        app = web.Application()
        if access is not None:
            protect(app, access)
        app.middlewares.insert(0, self._count)  # it also counts those who are not let in
        for path, handler in self._handlers.items():
            app.router.add_get(path, handler)
        app.on_cleanup.append(self._close)
        return app

    def serves(self) -> bool:
        """Whether pages that are asked for get done; systemd's watchdog asks, and /healthz."""
        return self._press.overdue_seconds() < OVERDUE_SECONDS

    async def _close(self, _app: web.Application) -> None:
        await self._press.close()

    @web.middleware
    async def _count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count every answer; unknown paths together, so that a scanner makes no series."""
        name = request.path if request.path in self._handlers else "other"
        code = 500
        try:
            response = await handler(request)
            code = response.status
        except web.HTTPException as error:
            code = error.status
            raise
        finally:
            self._requests[name, str(code)] += 1
        return response

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """Answer a scrape; its place is free again when the client has the page.

        Raises:
            web.HTTPBadRequest: For a collector that is not there, or collect[] with exclude[].
            web.HTTPServiceUnavailable: If too many scrapes run.
        """
        names = self._chosen(request)
        if self._max_requests and self._running >= self._max_requests:
            raise web.HTTPServiceUnavailable(text=f"{self._running} requests are being served\n")
        self._running += 1
        try:
            return await self._scrape(request, names)
        finally:
            self._running -= 1

    async def _scrape(
        self, request: web.Request, names: frozenset[str] | None
    ) -> web.StreamResponse:
        asked = request.headers.get(TIMEOUT_HEADER)
        seconds = deadline(asked, self._deadline_seconds)
        began = asyncio.get_running_loop().time()
        due = began + seconds
        form = text.negotiate(request.headers.get("Accept", ""))
        packed = accepts_gzip(request.headers.get("Accept-Encoding", ""))
        body = await self._press.page(
            (names, form, packed), due, lambda: self._page(seconds, names, form, packed=packed)
        )
        headers = {"Content-Type": form.value, "Vary": "Accept, Accept-Encoding"}
        if packed:
            headers["Content-Encoding"] = "gzip"
        # Who says how long it waits may take that long; a silence ends it earlier.
        patience = min(timeout_of(asked) or 0.0, LONGEST_PATIENCE_SECONDS)
        until = max(due + self._write_seconds, began + patience)
        return await self._courier.send(request, body, headers, until)

    async def _page(
        self, seconds: float, names: frozenset[str] | None, form: text.Format, *, packed: bool
    ) -> list[bytes]:
        # Writing the page belongs to the deadline too; at most half of it, as for collecting.
        left = seconds - min(2 * self._writing_seconds, seconds / 2)
        collected = await self._scraper.scrape(left, names, self._requests)
        began = time.perf_counter()
        body = text.render(page(collected), form)
        if packed:
            big = sum(map(len, body)) > GZIP_IN_THREAD_BYTES
            body = [await asyncio.to_thread(_gzip, body) if big else _gzip(body)]
        # A small page in between (collect[]) must not let the next large one be late.
        spent = time.perf_counter() - began
        self._writing_seconds = max(spent, FORGET * self._writing_seconds)
        return body

    def _chosen(self, request: web.Request) -> frozenset[str] | None:
        known = frozenset(collector.name for collector in self._scraper.collectors)
        collect = frozenset(request.query.getall("collect[]", []))
        exclude = frozenset(request.query.getall("exclude[]", []))
        if collect and exclude:
            raise web.HTTPBadRequest(text="collect[] and exclude[] exclude each other\n")
        unknown = sorted((collect | exclude) - known)
        if unknown:
            raise web.HTTPBadRequest(text=f"no such collector here: {', '.join(unknown)[:200]}\n")
        if collect:
            return collect
        return known - exclude if exclude else None

    async def healthy(self, _request: web.Request) -> web.Response:
        """Say that the loop answers and pages get done: with one process, all that can be asked.

        Raises:
            web.HTTPServiceUnavailable: If a page never gets done: only a start mends that.
        """
        if not self.serves():
            raise web.HTTPServiceUnavailable(text="no page gets done\n")
        return web.Response(text="ok\n")

    async def status(self, _request: web.Request) -> web.Response:
        """Show sources with reason and age, limits and open errors."""
        return web.Response(
            text=json.dumps(self._status(), indent=2) + "\n", content_type="application/json"
        )

    async def landing(self, _request: web.Request) -> web.Response:
        """Show links."""
        links = "".join(
            f'<li><a href="{html.escape(path)}">{html.escape(path)}</a></li>'
            for path in (self._telemetry_path, "/status", "/healthz", "/readyz")
        )
        body = (
            "<!doctype html><html lang=en><title>dataplane-agent</title>"
            f"<h1>dataplane-agent {__version__}</h1><ul>{links}</ul></html>\n"
        )
        return web.Response(text=body, content_type="text/html")


def timeout_of(header: str | None) -> float | None:
    """Return the seconds of X-Prometheus-Scrape-Timeout-Seconds; ``None`` if it says nothing."""
    try:
        seconds = float(header) if header else math.inf
    except ValueError:
        return None
    return seconds if 0 < seconds < math.inf else None


def deadline(header: str | None, longest_seconds: float) -> float:
    """Return how many seconds a scrape may take.

    Args:
        header: X-Prometheus-Scrape-Timeout-Seconds, if the client sent one.
        longest_seconds: The configured bound.
    """
    timeout = timeout_of(header)
    if timeout is None:
        return longest_seconds
    seconds = timeout - max(SMALLEST_MARGIN_SECONDS, MARGIN * timeout)
    return max(SHORTEST_DEADLINE_SECONDS, min(seconds, longest_seconds))


def page(collected: list[Collected]) -> list[Sample | Block]:
    """Return all samples of a page; process_* and python_info go with the agent's own."""
    samples: list[Sample | Block] = []
    for each in collected:
        samples.extend(each.samples)
        if each.facts.name == "agent":
            samples.extend(process.samples())
    return samples


def _gzip(body: list[bytes]) -> bytes:
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return b"".join([*map(compressor.compress, body), compressor.flush()])


def accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding header wants gzip; ``gzip;q=0`` says no, whatever ``*`` says."""
    wanted: dict[str, bool] = {}
    for item in header.split(","):
        coding, _, weight = item.strip().lower().partition(";")
        zero = weight.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000")
        wanted[coding.strip()] = not zero
    return wanted.get("gzip", wanted.get("*", False))


async def serve(
    app: web.Application,
    addresses: list[tuple[str | None, int]],
    tls: SSLContext | None,
    limits: connections.Limits = connections.LIMITS,
) -> web.AppRunner:
    """Listen on all addresses; see ``connections.serve``.

    Raises:
        connections.ListenError: If an address cannot be listened on.
    """
    return await connections.serve(app, addresses, tls, SHUTDOWN_SECONDS, limits)
