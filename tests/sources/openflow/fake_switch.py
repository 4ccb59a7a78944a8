"""A bridge's management socket that answers as told: for the faults a real switch does not make."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from agent.wire.openflow.header import HEADER_LENGTH, Type, message, parse_header
from agent.wire.openflow.multipart import BODY_OFFSET, Multipart

VERSION = 4
HELLO = message(VERSION, Type.HELLO, 1)

Peer = Callable[["Talk"], Awaitable[None]]


class Talk:
    """One connection to the fake, from its side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def request(self) -> tuple[int, int, bytes]:
        """Return type, xid and body of the next request."""
        header = parse_header(await self.reader.readexactly(HEADER_LENGTH))
        body = await self.reader.readexactly(header.length - HEADER_LENGTH)
        return header.type, header.xid, body

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hello(self) -> None:
        """Agree on a version, and answer what a switch is asked first."""
        await self.request()
        await self.say(HELLO)
        kind, xid, _ = await self.request()
        assert kind == Type.FEATURES_REQUEST
        await self.say(message(VERSION, Type.FEATURES_REPLY, xid, bytes(24)))

    async def never(self) -> None:
        """Wait until the other side goes away, reading all it says."""
        while await self.reader.read(1 << 16):
            pass


def multipart_reply(xid: int, kind: int, body: bytes, *, more: bool = False) -> bytes:
    head = struct.pack(">HHxxxx", kind, int(more))
    return message(VERSION, Type.MULTIPART_REPLY, xid, head + body)


def table_stats(*tables: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack(">BxxxIQQ", *table) for table in tables)


def flow(table: int, priority: int, packets: int, octets: int, in_port: int | None = None) -> bytes:
    """One entry of flow statistics, without instructions: a drop."""
    match = struct.pack(">HHxxxx", 1, 4)
    if in_port is not None:
        match = struct.pack(">HHIIxxxx", 1, 12, 0x80000004, in_port)
    fixed = struct.pack(
        ">HBxIIHHHHxxxxQQQ", 48 + len(match), table, 5, 0, priority, 0, 0, 0, 7, packets, octets
    )
    return fixed + match


def answer(kind: int, xid: int, body: bytes) -> bytes:
    """Answer as a small healthy bridge: one table with two flows, one port."""
    if kind == Type.ECHO_REQUEST:
        return message(VERSION, Type.ECHO_REPLY, xid, body)
    asked = int.from_bytes(body[:2], "big")
    replies = {
        Multipart.TABLE: table_stats((0, 2, 10, 9)),
        Multipart.PORT_DESC: struct.pack(">Ixxxx6sxx16s32x", 1, b"\2" * 6, b"tap1"),
        Multipart.PORT_STATS: struct.pack(">Ixxxx12QII", 1, *range(1, 13), 5, 0),
        Multipart.METER: b"",
        Multipart.GROUP_DESC: b"",
        Multipart.FLOW: flow(0, 10, 3, 300, in_port=1) + flow(0, 0, 6, 600),
    }
    return multipart_reply(xid, asked, replies[Multipart(asked)])


async def healthy(talk: Talk) -> None:
    await talk.hello()
    while True:
        kind, xid, body = await talk.request()
        await talk.say(answer(kind, xid, body))


def when(asked: Multipart, fault: Callable[[Talk, int], Awaitable[None]]) -> Peer:
    """Be healthy until one kind of question comes."""

    async def peer(talk: Talk) -> None:
        await talk.hello()
        while True:
            kind, xid, body = await talk.request()
            is_it = kind == Type.MULTIPART_REQUEST and int.from_bytes(body[:2], "big") == asked
            if is_it:
                await fault(talk, xid)
            else:
                await talk.say(answer(kind, xid, body))

    return peer


@contextlib.asynccontextmanager
async def listening(path: Path, peer: Peer) -> AsyncIterator[list[Talk]]:
    """Serve a fake at a path; yields the connections it has had."""
    talks: list[Talk] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = Talk(reader, writer)
        talks.append(talk)
        try:
            await peer(talk)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield talks
    finally:
        server.close()
        for talk in talks:
            talk.writer.transport.abort()
        await server.wait_closed()
        await asyncio.to_thread(path.unlink, missing_ok=True)


__all__ = ["BODY_OFFSET", "Talk", "flow", "healthy", "listening", "multipart_reply", "when"]
