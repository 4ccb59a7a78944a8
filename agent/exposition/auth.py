"""Who may read the page: rate limit, users and headers of the web configuration, for aiohttp."""

import binascii
import time
from http import HTTPStatus

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from agent.exposition.credentials import BusyError, Verifier
from agent.exposition.web_config import WebConfigFile
from agent.exposition.web_settings import RateLimit


class _Bucket:
    """A token bucket; a changed limit begins with a full one."""

    def __init__(self) -> None:
        self._limit = RateLimit()
        self._tokens = 0.0
        self._filled_at = 0.0

    def take(self, limit: RateLimit, now: float) -> bool:
        """Take a token if there is one.

        Args:
            limit: The limit in force; an interval of 0 or less is none.
            now: A clock in seconds that never goes back.
        """
        if limit.interval <= 0:
            return True
        if limit != self._limit:
            self._limit, self._tokens, self._filled_at = limit, limit.burst, now
        refilled = self._tokens + (now - self._filled_at) / limit.interval
        self._tokens, self._filled_at = min(refilled, limit.burst), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class _Guard:
    """Stands before every handler of an application."""

    def __init__(self, file: WebConfigFile) -> None:
        self._file = file
        self._bucket = _Bucket()
        self._verifier = Verifier()

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let the handler answer, or say why not."""
        config = self._file.current()
        if not self._bucket.take(config.rate_limit, time.monotonic()):
            return _refusal(HTTPStatus.TOO_MANY_REQUESTS)
        if not config.users:
            return await handler(request)
        credentials = parse_basic(request.headers.get(hdrs.AUTHORIZATION, ""))
        try:
            admitted = credentials and await self._verifier.admits(config.users, *credentials)
        except BusyError:
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, {hdrs.RETRY_AFTER: "1"})
        if not admitted:
            return _refusal(HTTPStatus.UNAUTHORIZED, {hdrs.WWW_AUTHENTICATE: "Basic"})
        return await handler(request)

    async def add_headers(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Add the configured headers where the handler has not set its own."""
        for name, value in self._file.current().headers.items():
            response.headers.setdefault(name, value)

    async def close(self, _app: web.Application) -> None:
        """Let go of the thread."""
        self._verifier.close()


def protect(app: web.Application, file: WebConfigFile) -> None:
    """Put the web configuration before every handler of an application, also before its 404.

    Responses: 429 above the rate limit, 401 without the right user, 503 when too many wait for
    their password to be checked.

    Args:
        app: Not started yet. The guard becomes its last middleware: those before it (counting,
            say) see what is refused, and must not answer themselves.
        file: Asked for each request.
    """
    guard = _Guard(file)

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await guard.answer(request, handler)

    app.middlewares.append(answer)
    app.on_response_prepare.append(guard.add_headers)
    app.on_cleanup.append(guard.close)


def parse_basic(header: str) -> tuple[bytes, bytes] | None:
    """Return user and password of an Authorization header (RFC 7617), None if there are none.

    A sample: ``Basic YWxpY2U6c2VjcmV0``.
    """
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = binascii.a2b_base64(encoded, strict_mode=True)
    except (binascii.Error, ValueError):
        return None
    user, colon, password = decoded.partition(b":")
    return (user, password) if colon else None


def _refusal(status: HTTPStatus, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=f"{status.phrase}\n", headers=headers)
