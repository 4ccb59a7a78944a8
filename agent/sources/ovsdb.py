"""The switch as its database describes it, followed by a monitor.

python-ovs's Idl keeps a replica of the wanted columns. It parses in Python and it waits in its
own way, so it has a thread, which sleeps in poll until the server says something, and hands
immutable Switch values to the event loop. The server is the authority on what exists: a
connection that ends takes the replica with it, and the next one begins from the server's schema.
"""

import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Never

import ovs.db.error
import ovs.db.idl

from agent.addresses import parse_remote
from agent.errors import ParseError, Reason, SourceError
from agent.model.switch import Switch
from agent.sources.follower import Follower, Put
from agent.sources.ovsdb_rows import SwitchBuilder, wanted_schema
from agent.sources.ovsdb_session import Session, cut

DATABASE = "Open_vSwitch"
SCHEMA_SECONDS = 5.0
CONTENTS_SECONDS = 30.0
"""From the schema to the whole contents; 2,000 interfaces take half a second."""

_CHANGES = {"create": "added", "update": "changed", "delete": "removed"}


class OvsdbSource:
    """Follows the Open_vSwitch database of one server.

    Args:
        remote: ``unix:PATH`` or ``tcp:HOST:PORT``, ``ovsdb-server --remote`` without the ``p``.
        publish: Gets the contents when they are known and after changes, in the event loop's
            thread. While the loop is busy, newer contents replace older ones.
        on_event: Gets ``<table>_added``, ``<table>_changed`` or ``<table>_removed`` for each row
            change after the initial contents, with the table in lower case (``open_vswitch``,
            ``manager``, ``bridge``, ``controller``, ``port``, ``interface``); same thread, after
            the publication that contains the change.

    Raises:
        ValueError: If the remote is of another form.
    """

    def __init__(
        self,
        remote: str,
        publish: Callable[[Switch], None],
        on_event: Callable[[str], None],
    ) -> None:
        self._remote = remote
        self._address = parse_remote(remote)
        self._follower = Follower("ovsdb", remote, self._follow, publish, on_event)

    async def run(self) -> Never:
        """Connect, publish the contents and then every change, until cancelled.

        Raises:
            SourceError: When the server cannot be reached or understood, or the connection ends.
        """
        await self._follower.run()

    def _follow(self, told: int, put: Put[Switch]) -> Never:
        session = Session(self._address, self._remote, told)
        try:
            _follow(session, self._remote, put)
        finally:
            session.close()


class _Replica(ovs.db.idl.Idl):  # type: ignore[misc] # the library has no types
    """An Idl over a session of ours that notes which rows changed."""

    def __init__(self, remote: str, schema: Mapping[str, Any], session: Session) -> None:
        helper = ovs.db.idl.SchemaHelper(schema_json=wanted_schema(schema))
        helper.register_all()
        super().__init__(remote, helper, leader_only=False)
        self._session = session  # instead of one that connects again by itself
        self.changes: list[tuple[str, Any]] = []

    def notify(self, event: str, row: Any, _updates: Any = None) -> None:
        """Note a change. The work is done outside of the library's parser, see ``_digest``."""
        self.changes.append((event, row))


class _Complaints:
    """Stands in for the Idl module's log.

    The Idl logs what it cannot parse and goes on with a replica that has a hole, which would be
    published as the truth.
    """

    def err(self, message: str) -> Never:
        """Give up the replica. What the message quotes is left out: options hold secrets."""
        raise ParseError(message.partition(': syntax "')[0])

    warn = err

    def info(self, message: str) -> None:
        """Say nothing: what matters of it comes as force_reconnect."""

    dbg = info


ovs.db.idl.vlog = _Complaints()
# Idl names its monitors with uuid1(), for which libuuid opens /var/lib/libuuid/clock.txt once a
# thread, keeps a lock and a counter in it and never closes it: measured, one descriptor lost with
# each connection. A random name does as well.
ovs.db.idl.uuid = SimpleNamespace(UUID=uuid.UUID, uuid1=uuid.uuid4, uuid4=uuid.uuid4)


def _follow(session: Session, remote: str, put: Put[Switch]) -> Never:
    session.connect()
    schema = session.request("get_schema", [DATABASE], SCHEMA_SECONDS)
    with _digest(session, remote):
        replica = _Replica(remote, schema, session)
    builder = SwitchBuilder(replica.tables)
    events: Counter[str] = Counter()
    deadline: float | None = time.monotonic() + CONTENTS_SECONDS
    while True:
        with _digest(session, remote):
            replica.run()
        changes, replica.changes = replica.changes, []
        for event, row in changes:
            table = row._table.name  # noqa: SLF001 (rows do not say it otherwise)
            builder.forget(table, row.uuid)
            if deadline is None:
                events[f"{table.lower()}_{_CHANGES[event]}"] += 1
        if changes or (deadline and replica.has_ever_connected()):
            put(builder.build(), dict(events))
            deadline = None
        if deadline and time.monotonic() > deadline:
            raise SourceError(Reason.TIMEOUT, f"{remote}: no contents in {CONTENTS_SECONDS:g} s")
        session.wait(deadline)


@contextlib.contextmanager
def _digest(session: Session, remote: str) -> Iterator[None]:
    """Blame the server for what the library raises over a message of the server's, and only that.

    Idl takes the shape of messages on trust. A wrong one surfaces as AssertionError,
    AttributeError, KeyError, TypeError, ValueError, OverflowError and ovs.db.error.Error from
    anywhere in it, so the kind of exception does not tell a bug from a bad message. The place
    does: between the return of a message from the session and the next use of the session, only
    the library's parser runs. ``notify`` is ours but only appends. Everything else is a bug.
    """
    try:
        yield
    except SourceError:
        raise
    except Exception as error:
        if not session.digesting:
            raise
        raise SourceError(Reason.MALFORMED, f"{remote}: {_unquoted(error)}") from error


def _unquoted(error: Exception) -> str:
    """Describe an error without the row that it is about, because options hold secrets."""
    if isinstance(error, ovs.db.error.Error):
        return cut(error.msg)
    return cut(error) if isinstance(error, ParseError) else type(error).__name__
