"""A real exporter on a port of its own, and a client of it."""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from agent.exposition.connections import LIMITS, Limits
from agent.exposition.http import WRITE_SECONDS, Exporter, serve
from agent.sections import Web
from tests.harness import Harness
from tests.page import series


@dataclass(frozen=True)
class Answer:
    """What a client got; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


JOIN_SECONDS = 60.0
"""A busy machine must not decide which request still joins another."""


class Server:
    """An exporter on a port of 127.0.0.1, and a client of it."""

    def __init__(
        self,
        harness: Harness,
        status: dict[str, Any] | None = None,
        limits: Limits = LIMITS,
        write_seconds: float = WRITE_SECONDS,
        tls: ssl.SSLContext | None = None,
        **web: Any,
    ) -> None:
        self.harness = harness
        self.exporter = Exporter(
            harness.scraper, lambda: status or {}, Web(**web), 8.0, write_seconds, JOIN_SECONDS
        )
        self._limits = limits
        self._tls = tls

    async def __aenter__(self) -> Self:
        app = self.exporter.application(None)
        self.runner = await serve(app, [("127.0.0.1", 0)], self._tls, self._limits)
        self.port = self.runner.addresses[0][1]
        return self

    def connections(self) -> int:
        """Return how many connections aiohttp has."""
        assert self.runner.server is not None
        return len(self.runner.server.connections)

    async def __aexit__(self, *_: object) -> None:
        await self.harness.close()
        await self.runner.cleanup()

    async def get(
        self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET"
    ) -> Answer:
        """Ask once on a connection of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            lines = [f"{method} {path} HTTP/1.1", "Host: test", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
            writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
            head, _, body = (await asyncio.wait_for(reader.read(), 20)).partition(b"\r\n\r\n")
        finally:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        status, *rest = head.decode("latin-1").split("\r\n")
        pairs = (line.split(": ", 1) for line in rest)
        return Answer(int(status.split()[1]), {n.lower(): v for n, v in pairs}, body)

    async def collectors(self, query: str) -> set[str]:
        """Return the collectors that ran for this query, told by the limits that stand there."""
        page = series((await self.get(f"/metrics?{query}")).body)
        return {
            dict(labels)["collector"]
            for name, labels in page
            if name == "dataplane_agent_series_limit"
        }


async def until(met: Any) -> None:
    """Give the loop time until a condition holds; the test's timeout is the limit."""
    while not met():  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0.001)


def deaf(port: int, request: bytes) -> socket.socket:
    """Ask, and never read the answer."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.sendall(request)
    client.settimeout(0)
    return client
