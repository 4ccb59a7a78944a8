"""A broker that does what the test says, on MQTT 5's wire, and the publisher that meets it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from agent.events.change import Kind, change
from agent.events.document import Origin
from agent.events.queue import EventQueue
from agent.exposition.mqtt import MqttPublisher
from agent.sections_mqtt import Mqtt

CONNECT, PUBLISH, PINGREQ, DISCONNECT = 1, 3, 12, 14
CONNACK, PUBACK = b"\x20%c\x00%c%c%b", b"\x40\x03%c%c%c"
RETAIN = 1
GOOD = 0
BAD_PASSWORD, NOT_AUTHORIZED, TAKEN_OVER = 0x86, 0x87, 0x8E
ANSWER_SECONDS = 0.5
"""How long the publisher waits here."""


@dataclass(slots=True, eq=False)
class Connection:
    """One that the publisher made."""

    writer: asyncio.StreamWriter
    packets: list[int] = field(default_factory=list)

    def send(self, data: bytes) -> None:
        self.writer.write(data)


class Peer:
    """Accepts and answers.

    Attributes:
        admits: Reason code of CONNACK; ``None``: no answer at all.
        limits: Properties of CONNACK.
        accepts: Reason code of each PUBACK, by topic; ``None``: no answer.
        got: Topics and documents, all that were ever published to it.
        kept: Topics with a message that the broker is to keep.
        sizes: Of all packets that brought them, in bytes.
        connections: All, the last one last.
    """

    def __init__(self) -> None:
        self.admits: int | None = GOOD
        self.limits = b""
        self.accepts: Callable[[str], int | None] = lambda _topic: GOOD
        self.after_connack = b""
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.kept: set[str] = set()
        self.sizes: list[int] = []
        self.connections: list[Connection] = []
        self.port = 0

    @property
    def sequences(self) -> list[int]:
        """Numbers of the events that were published, in order."""
        return [document["sequence"] for topic, document in self.got if "/event/" in topic]

    @property
    def statuses(self) -> list[str]:
        """What the status was."""
        return [document["status"] for topic, document in self.got if topic.endswith("/status")]

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["Peer"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for connection in self.connections:
                connection.writer.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(writer)
        self.connections.append(connection)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readexactly(1))[0]
                body = await reader.readexactly(await _length(reader))
                if head >> 4 == PUBLISH:
                    self.sizes.append(1 + (1 if len(body) < 128 else 2) + len(body))
                connection.packets.append(head >> 4)
                self._answer(connection, head, body)
                await writer.drain()
        writer.close()

    def _answer(self, connection: Connection, head: int, body: bytes) -> None:
        match head >> 4:
            case 1 if self.admits is not None:
                size = len(self.limits)
                greeting = CONNACK % (3 + size, self.admits, size, self.limits)
                connection.send(greeting + self.after_connack)
            case 3:
                size = int.from_bytes(body[:2], "big")
                topic, rest = body[2 : 2 + size].decode(), body[2 + size :]
                packet, rest = rest[:2], rest[2:]
                if head & RETAIN:
                    self.kept.add(topic)
                self.got.append((topic, json.loads(rest[1 + rest[0] :])))
                answer = self.accepts(topic)
                if answer is not None:
                    connection.send(PUBACK % (packet[0], packet[1], answer))
            case 12:
                connection.send(b"\xd0\x00")


async def _length(reader: asyncio.StreamReader) -> int:
    size = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        size |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return size


class Publishing:
    """A publisher and its queue; ``bugs`` are tasks that ended with an error of ours."""

    def __init__(self, port: int, **settings: Any) -> None:
        self.settings = Mqtt.model_validate(
            {"host": "127.0.0.1", "port": port, "timeout_seconds": ANSWER_SECONDS, **settings}
        )
        self.queue = EventQueue(self.settings.queue)
        self.publisher = MqttPublisher(
            self.settings, Origin("compute01", "0" * 32, "0.1.0"), self.queue
        )
        self.bugs: list[BaseException] = []

    def happen(self, count: int = 1) -> None:
        """Have so many events."""
        self.queue.put(change(Kind.SOURCE_UP, source=f"s{number}") for number in range(count))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Publishing"]:
        async with self.publisher.running(self._on_bug):
            yield self
        assert self.bugs == []

    def _on_bug(self, task: "asyncio.Task[Any]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.bugs.append(error)

    async def connected(self) -> None:
        await until(lambda: self.publisher.connected)


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - nobody tells it
            await asyncio.sleep(0.005)


@contextlib.contextmanager
def loop_stays_awake(longest_seconds: float = 0.2) -> Iterator[None]:
    """See that nothing blocks the loop: who answers scrapes is not kept from it."""
    loop = asyncio.get_running_loop()
    late: list[float] = []
    handle: asyncio.TimerHandle | None = None

    def beat(due: float) -> None:
        nonlocal handle
        late.append(loop.time() - due)
        handle = loop.call_later(0.01, beat, loop.time() + 0.01)

    beat(loop.time())
    try:
        yield
    finally:
        assert handle is not None
        handle.cancel()
        assert max(late) < longest_seconds
