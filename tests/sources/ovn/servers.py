"""Real ovsdb-servers with OVN's databases, filled by hand, and an observer of the source."""

import asyncio
import contextlib
import hashlib
import json
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, cast

from agent.config import Settings
from agent.model.ovn import Northbound, Southbound
from agent.sources.ovn_databases import Database, OvnDatabaseSource

T = TypeVar("T", Northbound, Southbound)
SCHEMAS = Path(__file__).parent / "schemas"
RELEASES = (
    "20.03",
    "20.09",
    "21.03",
    "22.03",
    "23.03",
    "24.03",
    "25.03",
    "25.09",
    "26.03",
    "main",
)
NEWEST = RELEASES[-1]
START_SECONDS = 10.0


def schema_of(database: str, release: str = NEWEST) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(path_of(database, release).read_text())
    return schema


def path_of(database: str, release: str = NEWEST) -> Path:
    return SCHEMAS / f"{database}-{release}.json"


class Client:
    """Writes to a database, as the agent never does."""

    def __init__(self, path: Path, database: str, schema: dict[str, Any]) -> None:
        self._database = database
        self._tables = schema["tables"]
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(str(path))
        self._heard = ""

    def close(self) -> None:
        self._socket.close()

    def transact(self, *operations: dict[str, Any]) -> list[str]:
        """Do it and return the UUIDs of what was inserted."""
        request = {"method": "transact", "params": [self._database, *operations], "id": 1}
        self._socket.sendall(json.dumps(request).encode())
        results = self._answer()
        errors = [it for it in results if it and "error" in it]
        assert not errors, errors
        return [it["uuid"][1] for it in results if "uuid" in it]

    def _answer(self) -> list[Any]:
        while True:
            with contextlib.suppress(json.JSONDecodeError):
                message, end = json.JSONDecoder().raw_decode(self._heard)
                self._heard = self._heard[end:]
                if message.get("method") is None:
                    assert message["error"] is None, message
                    return cast("list[Any]", message["result"])
                answer = {"id": message["id"], "result": message["params"], "error": None}
                self._socket.sendall(json.dumps(answer).encode())
                continue
            heard = self._socket.recv(1 << 20)
            assert heard, "ovsdb-server closed the connection"
            self._heard += heard.decode()

    def insert(self, table: str, **row: Any) -> dict[str, Any]:
        """An operation; columns that this release does not have are left out."""
        columns = self._tables[table]["columns"]
        known = {name: value for name, value in row.items() if name in columns}
        return {"op": "insert", "table": table, "row": known}

    def has(self, table: str, column: str | None = None) -> bool:
        known = self._tables.get(table)
        return known is not None and (column is None or column in known["columns"])


def update(table: str, uuid: str, **row: Any) -> dict[str, Any]:
    return {"op": "update", "table": table, "where": is_row(uuid), "row": row}


def delete(table: str, uuid: str) -> dict[str, Any]:
    return {"op": "delete", "table": table, "where": is_row(uuid)}


def mutate(table: str, uuid: str, *mutations: list[Any]) -> dict[str, Any]:
    return {"op": "mutate", "table": table, "where": is_row(uuid), "mutations": list(mutations)}


def is_row(uuid: str) -> list[Any]:
    return [["_uuid", "==", reference(uuid)]]


def reference(uuid: str) -> list[str]:
    return ["uuid", uuid]


def named(name: str) -> list[str]:
    return ["named-uuid", name]


def references(*uuids: str) -> list[Any]:
    return ["set", [reference(uuid) for uuid in uuids]]


def texts(**pairs: str) -> list[Any]:
    return ["map", [[key, text] for key, text in pairs.items()]]


class OvnServer:
    """A real ovsdb-server with one of OVN's databases in a directory of its own.

    Args:
        directory: Where.
        database: Its name.
        release: Whose schema it has.
        remotes: To listen on, besides a UNIX socket.
        options: More of ovsdb-server's.
    """

    def __init__(
        self,
        directory: Path,
        database: Database = "OVN_Southbound",
        release: str = NEWEST,
        *,
        remotes: Iterable[str] = (),
        options: Iterable[str] = (),
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.database = database
        self.schema_path = path_of(database, release)
        self.schema = schema_of(database, release)
        self.socket = directory / "db.sock"
        self.remote = f"unix:{self.socket}"
        self.file = directory / "ovn.db"
        self._arguments = [f"--remote=p{self.remote}", *(f"--remote={it}" for it in remotes)]
        self._arguments += options
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Client | None = None

    def create(self) -> None:
        subprocess.run(["ovsdb-tool", "create", self.file, self.schema_path], check=True)

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                "ovsdb-server",
                self.file,
                *self._arguments,
                f"--unixctl={self.directory / 'server.ctl'}",
                f"--log-file={self.directory / 'server.log'}",
                "-vconsole:off",
            ]
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._accepts():
            assert self._process.poll() is None, (self.directory / "server.log").read_text()
            assert time.monotonic() < deadline, "ovsdb-server does not listen"
            time.sleep(0.01)

    def _accepts(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._process is not None:
            self.signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def client(self) -> Client:
        """A connection that ends with the server."""
        if self._client is None:
            self._client = Client(self.socket, self.database, self.schema)
        return self._client

    def __enter__(self) -> Self:
        if not self.file.exists():
            self.create()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def write_database(path: Path, schema: dict[str, Any], rows: dict[str, dict[str, Any]]) -> None:
    """Write the file of a database as ovsdb-server would: ovsdb(5), one transaction."""
    with path.open("wb") as file:
        for record in (schema, {"_date": 0, **rows}):
            data = json.dumps(record).encode() + b"\n"
            digest = hashlib.sha1(data).hexdigest()  # noqa: S324 (the file's format)
            file.write(b"OVSDB JSON %d %s\n" % (len(data), digest.encode()) + data)


class Observer(Generic[T]):
    """Runs a source and remembers what it publishes."""

    def __init__(
        self,
        remotes: str,
        database: Database = "OVN_Southbound",
        chassis: str | None = None,
        **settings: Any,
    ) -> None:
        self.known: list[T] = []
        self.at: list[float] = []
        self.events: Counter[str] = Counter()
        self.source = OvnDatabaseSource(
            remotes,
            cast("Any", database),
            Settings(**settings),
            self._publish,
            self._event,
            **({"chassis": chassis} if chassis else {}),
        )
        self._news = asyncio.Event()

    def _publish(self, known: Any) -> None:
        self.known.append(known)
        self.at.append(time.monotonic())
        self._news.set()

    def _event(self, name: str) -> None:
        self.events[name] += 1
        self._news.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["asyncio.Task[None]"]:
        self.known.clear()
        task: asyncio.Task[None] = asyncio.create_task(self.source.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def until(self, promise: Callable[[T], bool], seconds: float = 30) -> T:
        """Wait for a publication of which this is true."""
        async with asyncio.timeout(seconds):
            while not self.known or not promise(self.known[-1]):
                self._news.clear()
                await self._news.wait()
        return self.known[-1]


class Southbounds(Observer[Southbound]):
    """Observes a Southbound."""


class Northbounds(Observer[Northbound]):
    """Observes a Northbound."""

    def __init__(self, remotes: str, **settings: Any) -> None:
        super().__init__(remotes, "OVN_Northbound", **settings)
