"""A real server behind a web configuration, and a client that closes what it opens."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from agent.exposition.auth import protect
from agent.exposition.web_config import WebConfigFile


@dataclass(frozen=True)
class Answer:
    """What a client got."""

    status: int
    headers: dict[str, str]
    body: bytes
    certificate: bytes | None
    cipher: str | None


def put(path: Path, content: str) -> None:
    """Write a file in place, as an editor might."""
    path.write_text(content)


async def _hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello", headers={"X-Own": "1"})


async def _framed(_request: web.Request) -> web.Response:
    return web.Response(text="own", headers={"X-Frame-Options": "sameorigin"})


async def _broken(_request: web.Request) -> web.Response:
    raise web.HTTPInternalServerError


@asynccontextmanager
async def serving(config: Path) -> AsyncIterator[int]:
    """Serve / and /framed and /broken as the file says; yields the port."""
    file = WebConfigFile(config)
    app = web.Application()
    app.router.add_get("/", _hello)
    app.router.add_get("/framed", _framed)
    app.router.add_get("/broken", _broken)
    protect(app, file)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=file.ssl_context())
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def get(
    port: int,
    tls: ssl.SSLContext | None = None,
    path: str = "/",
    user: tuple[str, str] | None = None,
    authorization: str | None = None,
) -> Answer:
    """Ask once on a connection of its own.

    Raises:
        OSError: The server ended the connection, in the handshake or after it.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    try:
        if user:
            authorization = f"Basic {base64.b64encode(':'.join(user).encode()).decode()}"
        header = f"Authorization: {authorization}\r\n" if authorization is not None else ""
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{header}\r\n".encode()
        )
        answer = await reader.read()
        if not answer:
            raise ConnectionResetError("closed without an answer")
        tls_object = writer.get_extra_info("ssl_object")
        certificate = tls_object.getpeercert(binary_form=True) if tls_object else None
        cipher = tls_object.cipher()[0] if tls_object else None
    finally:
        writer.close()
        # The server may have reset the connection before: that was the answer.
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Answer(int(status.split()[1]), headers, body, certificate, cipher)


async def refused(port: int, tls: ssl.SSLContext) -> bool:
    """Say whether the server ends the connection instead of answering."""
    try:
        answer = await get(port, tls)
    except (OSError, ssl.SSLError):
        return True
    assert answer.status == 200
    return False
