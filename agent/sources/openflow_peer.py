"""One bridge's management connection: opened when it is needed, given up when it fails."""

import asyncio
from pathlib import Path

from agent.config import Settings
from agent.errors import Reason, SourceError
from agent.sources.openflow_connection import Connection, open_connection
from agent.sources.openflow_flows import BridgeFlows
from agent.supervise import Backoff

VERSION_RETRY_SECONDS = 30.0
"""Between tries of a bridge that allows no version of ours."""


class BridgePeer:
    """One bridge's connection and its backoff, and what is known of its flows.

    Args:
        path: The management socket.
        settings: The configuration.
        flows: Outlives connections.
    """

    def __init__(self, path: Path, settings: Settings, flows: BridgeFlows) -> None:
        self._path = path
        self._timeout_seconds = settings.timeouts.openflow_seconds
        self._reply_limit_bytes = settings.limits.openflow_reply_bytes
        self._backoff = Backoff()
        self._connection: Connection | None = None
        self._attempt: asyncio.Task[Connection] | None = None
        self.flows = flows

    async def connection(self) -> Connection | None:
        """Return the open connection, or make one.

        An attempt that a stopped ovs-vswitchd does not answer is not given up but waited for
        again by the next reading: a new one each time would fill the socket's backlog and lock
        out whoever comes to repair it, and this one is answered at once when it goes on.

        Returns:
            ``None`` while it is too early to try again; the last failure stands.

        Raises:
            SourceError: If it cannot be made.
        """
        if self._connection is not None and not self._connection.closed:
            return self._connection
        if self._attempt is None:
            if not self._backoff.ready:
                return None
            self._attempt = asyncio.create_task(
                open_connection(self._path, self._timeout_seconds, self._reply_limit_bytes),
                name=f"connect {self._path}",
            )
        attempt = self._attempt
        await asyncio.wait({attempt}, timeout=self._timeout_seconds)
        if attempt.cancelled():
            raise SourceError(Reason.ABSENT, f"{self._path}: the bridge is gone")
        if not attempt.done():
            raise SourceError(Reason.TIMEOUT, f"{self._path}: no HELLO in time")
        if attempt is self._attempt:
            self._attempt = None
            self._take(attempt)
        return attempt.result()

    def _take(self, attempt: asyncio.Task[Connection]) -> None:
        error = attempt.exception()
        if error is None:
            self._connection = attempt.result()
            self._backoff.succeeded()
        elif isinstance(error, SourceError) and error.reason is Reason.REFUSED:
            # Versions are a setting, and each try is a line in ovs-vswitchd's log. (A socket that
            # nobody listens on is refused too, but by connect(): errno says so.)
            version = not isinstance(error.__cause__, OSError)
            self._backoff.failed(VERSION_RETRY_SECONDS if version else 0.0)
        else:
            self._backoff.failed()

    def drop(self, connection: Connection) -> None:
        """Close a connection that failed; another that was made meanwhile stays."""
        connection.close()
        if self._connection is connection:
            self._connection = None

    def close(self) -> None:
        """Close the connection and give up an attempt."""
        if self._connection is not None:
            self.drop(self._connection)
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return
        if attempt.done() and not attempt.cancelled() and attempt.exception() is None:
            attempt.result().close()
        attempt.cancel()
