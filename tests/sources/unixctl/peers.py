"""A control socket that behaves as a test wants it to."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Answer = Callable[[dict[str, Any], asyncio.StreamWriter], Awaitable[None]]

COMMANDS = (
    "coverage/show",
    "coverage/read-counter",
    "memory/show",
    "upcall/show",
    "dpctl/show",
    "fdb/stats-show",
    "bond/show",
    "lacp/show",
    "dpif-netdev/pmd-stats-show",
    "dpif-netdev/pmd-perf-show",
    "dpctl/offload-stats-show",
    "dpctl/ct-get-nconns",
    "dpctl/ct-get-maxconns",
)


def encode(request: dict[str, Any], result: str | None, error: str | None = None) -> bytes:
    return json.dumps({"id": request["id"], "result": result, "error": error}).encode()


def text(result: str) -> Answer:
    async def answer(request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(encode(request, result))
        await writer.drain()

    return answer


def fails(error: str) -> Answer:
    async def answer(request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(encode(request, None, error))
        await writer.drain()

    return answer


def raw(data: bytes) -> Answer:
    async def answer(_request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return answer


def half_then_closes(result: str) -> Answer:
    async def answer(request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        data = encode(request, result)
        writer.write(data[: len(data) // 2])
        await writer.drain()
        writer.close()

    return answer


def half_then_stalls(result: str) -> Answer:
    async def answer(request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        data = encode(request, result)
        writer.write(data[: len(data) // 2])
        await writer.drain()

    return answer


async def says_nothing(_request: dict[str, Any], _writer: asyncio.StreamWriter) -> None:
    """Read the request and leave it at that."""


async def closes(_request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    writer.close()


async def answers_another(request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    writer.write(encode({"id": request["id"] + 1}, "not yours"))
    await writer.drain()


class Peer:
    """Listens at a control socket; unknown commands get the error that Open vSwitch gives.

    Args:
        path: Of the socket.
        answers: By command.
        commands: What ``list-commands`` lists.
    """

    def __init__(
        self, path: Path, answers: Mapping[str, Answer], commands: tuple[str, ...] = COMMANDS
    ) -> None:
        listing = "The available commands are:\n" + "".join(f"  {name}\n" for name in commands)
        self.path = path
        self.answers = {"list-commands": text(listing), **answers}
        self.requests: list[tuple[str, ...]] = []
        self.connections = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._handlers: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        self._writers.add(writer)
        self.connections += 1
        try:
            while data := await reader.read(1 << 16):
                request = json.loads(data)
                method = request["method"]
                self.requests.append((method, *request["params"]))
                answer = self.answers.get(method, fails(f'"{method}" is not a valid command'))
                await answer(request, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def methods(self) -> list[str]:
        return [method for method, *_ in self.requests]
