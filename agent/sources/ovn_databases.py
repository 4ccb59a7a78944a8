"""OVN's databases, each followed over one connection, by a monitor, in a thread.

A Southbound has a thousand clients and one thread of its own, so this one asks it for little: the
columns that are shown, from a compute node only its own rows, logical flows in pieces, and it does
not connect more often than ovn-controller does. Any member of a cluster will do that is connected
to the others; which of them leads matters to writers only.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any, Literal, Never, overload

from agent.addresses import Address, parse_remotes
from agent.config import Settings
from agent.errors import SourceError
from agent.model.ovn import Northbound, Southbound
from agent.sources.follower import Follower, Put
from agent.sources.ovn_contents import Contents
from agent.sources.ovn_following import Following
from agent.sources.ovn_northbound import NorthboundContents
from agent.sources.ovn_southbound import SouthboundContents
from agent.sources.ovsdb_row_framing import RowFraming
from agent.sources.ovsdb_session import Session
from agent.sources.ovsdb_tls import TlsFiles

Database = Literal["OVN_Southbound", "OVN_Northbound"]

FIRST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 1.0, 8.0
"""Between attempts, besides what the supervisor waits; as ovn-controller (1 to 8 s)."""
PATIENCE_SECONDS = (10.0, 120.0)
"""For silence, twice, and for a message. A Southbound's server is busy for 20 s when somebody asks
for half a million logical flows at once, and to connect again adds to that; but until it is given
up its last word counts as true."""
STEADY_SECONDS = 10.0
"""A connection that held for so long was a good one."""


class OvnDatabaseSource:
    """Follows a Northbound or Southbound database.

    Args:
        remotes: ``unix:PATH``, ``tcp:HOST:PORT`` or ``ssl:HOST:PORT``, or several with commas
            between: the members of a cluster, of which one is followed at a time.
        database: Which.
        settings: Certificates, limits, and whether logical flows are followed.
        publish: Gets what is known, in the event loop's thread: as soon as it is known, then after
            changes, at most once a second. Logical flows come when all of them are there.
        on_event: Gets ``<table>_added``, ``<table>_changed`` or ``<table>_removed`` for each row
            change after the first publication, with the table in lower case, and one
            ``logical_flow_changed`` for each message with any; same thread.
        chassis: A system-id: follow the Southbound as far as it concerns this node, and no
            logical flows. A port that is on its way to this chassis has no chassis here.

    Raises:
        ValueError: If a remote is of another form.
    """

    @overload
    def __init__(
        self,
        remotes: str,
        database: Literal["OVN_Southbound"],
        settings: Settings,
        publish: Callable[[Southbound], None],
        on_event: Callable[[str], None],
        *,
        chassis: str | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        remotes: str,
        database: Literal["OVN_Northbound"],
        settings: Settings,
        publish: Callable[[Northbound], None],
        on_event: Callable[[str], None],
    ) -> None: ...

    def __init__(
        self,
        remotes: str,
        database: Database,
        settings: Settings,
        publish: Callable[[Any], None],
        on_event: Callable[[str], None],
        *,
        chassis: str | None = None,
    ) -> None:
        self._remotes = parse_remotes(remotes)
        self._database = database
        self._settings = settings
        self._chassis = chassis
        self._follower = Follower(
            "ovn-" + database.removeprefix("OVN_").lower(), remotes, self._follow, publish, on_event
        )
        # Anywhere: all agents at once at the first of the list would be too many.
        self._first = random.randrange(len(self._remotes))  # noqa: S311 - not cryptography
        self._pause_seconds = 0.0

    async def run(self) -> Never:
        """Connect, publish the contents and then every change, until cancelled.

        Raises:
            SourceError: When no server can be reached or understood, or the connection ends.
        """
        await asyncio.sleep(self._pause_seconds * random.uniform(0.5, 1.0))  # noqa: S311 - likewise
        began = time.monotonic()
        try:
            await self._follower.run()
        finally:
            if time.monotonic() - began > STEADY_SECONDS:
                self._pause_seconds = 0.0
            else:
                longer = max(FIRST_PAUSE_SECONDS, 2 * self._pause_seconds)
                self._pause_seconds = min(longer, MOST_PAUSE_SECONDS)

    def _follow(self, told: int, put: Put[Any]) -> Never:
        """Try each remote until one can be followed, beginning with the one that could be."""
        errors: list[SourceError] = []
        for number in range(len(self._remotes)):
            at = (self._first + number) % len(self._remotes)
            following = Following(self._database, self._contents, put)
            try:
                following.run(self._connecting(self._remotes[at], told))
            except SourceError as error:
                if following.published:
                    # What failed last is tried last.
                    self._first = (at + 1) % len(self._remotes)
                    raise
                errors.append(error)
        if len(errors) == 1:
            raise errors[0]
        raise SourceError(errors[0].reason, "; ".join(error.detail for error in errors))

    def _connecting(
        self, remote: tuple[str, Address, bool], told: int
    ) -> Callable[[RowFraming], Session]:
        text, address, encrypted = remote
        ovn = self._settings.ovn
        files = TlsFiles(ovn.ca_certificate, ovn.certificate, ovn.private_key)
        tls = files if encrypted else None

        def session(framing: RowFraming) -> Session:
            return Session(address, text, told, tls=tls, framing=framing, patience=PATIENCE_SECONDS)

        return session

    def _contents(self, without: frozenset[str]) -> Contents[Any]:
        limits = self._settings.limits
        if self._database == "OVN_Northbound":
            return NorthboundContents(limits.ovn_rows, without)
        follows_flows = self._settings.ovn.databases.logical_flows
        flows = limits.logical_flows if follows_flows else None
        return SouthboundContents(limits.ovn_rows, flows, self._chassis, without)
