"""What the OVSDB source meets in tests: small fake servers, a real ovsdb-server, an observer."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from agent.model.switch import Switch
from agent.sources.ovsdb import OvsdbSource

VSWITCH_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def until(promise: Callable[[], bool]) -> None:
    """Wait for something that no event announces: a thread's end, a descriptor's."""
    async with asyncio.timeout(5):
        while not promise():  # noqa: ASYNC110 (see above)
            await asyncio.sleep(0.01)


def reference(table: str, most: int | str = "unlimited") -> dict[str, Any]:
    return {"type": {"key": {"type": "uuid", "refTable": table}, "min": 0, "max": most}}


def optional(kind: str) -> dict[str, Any]:
    return {"type": {"key": kind, "min": 0, "max": 1}}


TEXTS = {"type": {"key": "string", "value": "string", "min": 0, "max": "unlimited"}}
SCHEMA: dict[str, Any] = {
    "name": "Open_vSwitch",
    "version": "8.3.1",
    "tables": {
        "Open_vSwitch": {
            "columns": {
                "ovs_version": optional("string"),
                "bridges": reference("Bridge"),
                "external_ids": TEXTS,
            }
        },
        "Bridge": {"columns": {"name": {"type": "string"}, "ports": reference("Port")}},
        "Port": {"columns": {"name": {"type": "string"}, "interfaces": reference("Interface")}},
        "Interface": {
            "columns": {
                "name": {"type": "string"},
                "ofport": optional("integer"),
                "external_ids": TEXTS,
                "error": optional("string"),
            }
        },
    },
}
UUIDS = [f"00000000-0000-4000-8000-{number:012}" for number in range(10)]
CONTENTS: dict[str, Any] = {
    "Open_vSwitch": {UUIDS[0]: {"new": {"bridges": ["uuid", UUIDS[1]], "ovs_version": "3.1.0"}}},
    "Bridge": {UUIDS[1]: {"new": {"name": "br-int", "ports": ["uuid", UUIDS[2]]}}},
    "Port": {UUIDS[2]: {"new": {"name": "tap1", "interfaces": ["uuid", UUIDS[3]]}}},
    "Interface": {UUIDS[3]: {"new": {"name": "tap1", "ofport": 5}}},
}
UNKNOWN_DATABASE = {"error": "unknown database", "details": "no such database"}


class Close:
    """An answer: end the connection, after these bytes."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data


class Failure:
    """An answer: an error reply."""

    def __init__(self, error: object) -> None:
        self.error = error


class Silence:
    """An answer: none."""


def good_answers(**others: Any) -> dict[str, Any]:
    """What a server says to each question; bytes are sent as they are."""
    return {
        "get_schema": SCHEMA,
        "server_schema": Failure(UNKNOWN_DATABASE),
        "monitor": CONTENTS,
        "echo": [],
        **others,
    }


class FakeServer:
    """Answers from a table. ``push`` says something unasked; ``seen`` is what clients said."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = answers
        self.seen: list[dict[str, Any]] = []
        self.monitored = asyncio.Event()
        self.connected = asyncio.Event()
        self.monitor_id: Any = None
        self._writers: list[asyncio.StreamWriter] = []

    @contextlib.asynccontextmanager
    async def listen(self, path: Path) -> AsyncIterator[str]:
        server = await asyncio.start_unix_server(self._serve, path)
        try:
            yield f"unix:{path}"
        finally:
            server.close()
            for writer in self._writers:
                writer.close()
            await server.wait_closed()

    def push(self, message: object) -> None:
        raw = message if isinstance(message, bytes) else json.dumps(message).encode()
        self._writers[-1].write(raw)

    def update(self, contents: object) -> None:
        self.push({"method": "update", "params": [self.monitor_id, contents], "id": None})

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.connected.set()
        text = ""
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(1 << 16):
                text += chunk.decode()
                while text:
                    message, end = json.JSONDecoder().raw_decode(text)
                    text = text[end:]
                    self.seen.append(message)
                    self._answer(message, writer)
        writer.close()

    def _answer(self, message: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        question = message.get("method")
        if question is None:
            return
        if question == "get_schema" and message["params"][0] == "_Server":
            question = "server_schema"
        if question == "monitor":
            self.monitor_id = message["params"][1]
            self.monitored.set()
        answer = self.answers[question]
        if isinstance(answer, Silence):
            return
        if isinstance(answer, Close):
            writer.write(answer.data)
            writer.close()
        elif isinstance(answer, bytes):
            writer.write(answer)
        elif isinstance(answer, Failure):
            reply = {"id": message["id"], "result": None, "error": answer.error}
            writer.write(json.dumps(reply).encode())
        else:
            reply = {"id": message["id"], "result": answer, "error": None}
            writer.write(json.dumps(reply).encode())


class Observer:
    """Runs a source and remembers what it publishes."""

    def __init__(self, remote: str) -> None:
        self.switches: list[Switch] = []
        self.events: Counter[str] = Counter()
        self.source = OvsdbSource(remote, self._publish, self._event)
        self._news = asyncio.Event()

    def _publish(self, switch: Switch) -> None:
        self.switches.append(switch)
        self._news.set()

    def _event(self, name: str) -> None:
        self.events[name] += 1
        self._news.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["asyncio.Task[None]"]:
        self.switches.clear()
        task: asyncio.Task[None] = asyncio.create_task(self.source.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def until(self, promise: Callable[[Switch], bool], seconds: float = 10) -> Switch:
        """Wait for a publication of which this is true."""
        async with asyncio.timeout(seconds):
            while not self.switches or not promise(self.switches[-1]):
                self._news.clear()
                await self._news.wait()
        return self.switches[-1]

    async def until_event(self, name: str, seconds: float = 10) -> None:
        async with asyncio.timeout(seconds):
            while not self.events[name]:
                self._news.clear()
                await self._news.wait()


class OvsdbServer:
    """A real ovsdb-server with a database of its own in a directory."""

    def __init__(self, directory: Path, schema: Path = VSWITCH_SCHEMA) -> None:
        self.directory = directory
        self.socket = directory / "db.sock"
        self.remote = f"unix:{self.socket}"
        self._database = directory / "conf.db"
        self._process: subprocess.Popen[bytes] | None = None
        subprocess.run(["ovsdb-tool", "create", self._database, schema], check=True)

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                "ovsdb-server",
                self._database,
                f"--remote=p{self.remote}",
                f"--unixctl={self.directory / 'ovsdb.ctl'}",
                "-vconsole:off",
            ],
        )
        deadline = time.monotonic() + 10
        while not self.socket.exists():
            assert self._process.poll() is None, "ovsdb-server ended"
            assert time.monotonic() < deadline, "ovsdb-server does not listen"
            time.sleep(0.01)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End it as a crash would, with its socket left behind."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self.signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait(10)
            self._process = None
            self.socket.unlink(missing_ok=True)

    def vsctl(self, *arguments: str, wait: bool = False) -> str:
        """Run ovs-vsctl, by default without waiting for ovs-vswitchd."""
        no_wait = [] if wait else ["--no-wait"]
        return self.tool("ovs-vsctl", "--timeout=20", *no_wait, f"--db={self.remote}", *arguments)

    def tool(self, *command: str) -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def ovsdb_server(directory: Path, schema: Path = VSWITCH_SCHEMA) -> Iterator[OvsdbServer]:
    server = OvsdbServer(directory, schema)
    server.start()
    try:
        yield server
    finally:
        server.stop()
