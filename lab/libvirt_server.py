"""A libvirtd that has no machines: for faults the real one does not make, and for 500 domains.

It speaks libvirt's protocol on a UNIX socket, as far as virsh, libvirt-python and
prometheus-libvirt-exporter use it to look at domains; whatever else they ask is "not supported".
Clients reach it as ``qemu:///system?socket=PATH``.

    python -m lab.libvirt_server SOCKET DOMAINS INTERFACES

serves that many domains with as many interfaces each until it is ended; their counters grow with
each reading. SOCKET.calls tells whoever connects what was called how often, as JSON.
"""

import asyncio
import json
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from lab.libvirt_calls import ANSWERS, URI, Hypervisor, RefusedError
from lab.libvirt_domains import Domain, many
from lab.libvirt_faults import FROM_RPC, NO_SUPPORT, RPC, Answer
from lab.libvirt_rpc import (
    EVENT_PROCEDURES,
    KEEPALIVE,
    LENGTH_BYTES,
    PING,
    PONG,
    REMOTE,
    VERSION,
    Event,
    Header,
    Identity,
    Procedure,
    Reader,
    RpcError,
    Status,
    Type,
    error,
    i32,
    identity,
    message,
    optional_string,
    parse_length,
    parse_message,
    string,
)
from lab.part import Part
from lab.process import end_on_signals

T = TypeVar("T")

WITHIN_SECONDS = 10.0
"""In which the server's thread does what another asks of it."""
CALLS_SUFFIX = ".calls"


class Link:
    """One connection of a client, from the server's side. Used in the server's thread only.

    Attributes:
        events: What the client registered for: kind and domain (``None``: all), by callback ID.
        late: Answers that are not the honest ones, while they are on their way.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.events: dict[int, tuple[int, Identity | None]] = {}
        self.late: set[asyncio.Task[None]] = set()
        self._reader = reader
        self._writer = writer
        self._silent = False

    async def next(self) -> tuple[Header, Reader]:
        """Return the next message of the client."""
        length = parse_length(await self._reader.readexactly(LENGTH_BYTES))
        return parse_message(await self._reader.readexactly(length))

    async def say(self, data: bytes) -> None:
        """Send bytes and wait for a slow reader; not if it fell silent."""
        if self.push(data):
            await self._writer.drain()

    def push(self, data: bytes) -> bool:
        """Send bytes without waiting; whether it still says anything."""
        if self._silent or self._writer.is_closing():
            return False
        self._writer.write(data)
        return True

    def fall_silent(self) -> None:
        """Say nothing more."""
        self._silent = True

    def close(self) -> None:
        """Close, when what was said is sent."""
        self._writer.close()

    def abort(self) -> None:
        """Close at once, and forget what is not sent."""
        for task in self.late:
            task.cancel()
        self._writer.transport.abort()


class Call:
    """A call that waits for its answer: what a fault is given."""

    def __init__(self, link: Link, header: Header, payload: Callable[[], bytes]) -> None:
        self.header = replace(header, type=Type.REPLY, status=Status.OK)
        self._link = link
        self._payload = payload
        self.say = link.say
        self.close = link.close
        self.fall_silent = link.fall_silent

    def honest(self) -> bytes:
        """Return the whole answer that a healthy libvirtd would give."""
        try:
            return message(self.header, self._payload())
        except RefusedError as no:
            payload = error(no.code, no.domain, str(no))
            return message(replace(self.header, status=Status.ERROR), payload)


class LibvirtServer(Part):
    """Serves domains from ``start`` to ``stop``; may be started again, as a new libvirtd.

    Attributes and methods are for any thread, while it runs and before.

    Args:
        path: Of the socket.
        domains: What it serves.
        growth: What each reading of an interface adds to its counters.

    Attributes:
        answers: Instead of the honest answer, by procedure: ``lab.libvirt_faults``.
        refuses: Close each new connection at once.
        calls: How often each procedure was called since this was made.
        pings: How often clients asked whether it lives.
        opened: The flags of each CONNECT_OPEN: 1 is read-only.
        connections_ever: Connections since this was made.
    """

    def __init__(self, path: Path, domains: Sequence[Domain] = (), growth: int = 0) -> None:
        super().__init__()
        self.path = path
        self.answers: dict[int, Answer] = {}
        self.refuses = False
        self.calls: Counter[int] = Counter()
        self.pings = 0
        self.opened: list[int] = []
        self.connections_ever = 0
        self._hypervisor = Hypervisor(domains, growth)
        self._links: set[Link] = set()
        self._callbacks = 0
        self._loop: asyncio.AbstractEventLoop
        self._thawed: asyncio.Event

    @property
    def uri(self) -> str:
        """How clients reach it."""
        return f"{URI}?socket={self.path}"

    @property
    def domains(self) -> tuple[Domain, ...]:
        """What it serves; another tuple replaces all at once."""
        return self._hypervisor.domains

    @domains.setter
    def domains(self, domains: Sequence[Domain]) -> None:
        self._hypervisor.domains = tuple(domains)

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._links)

    def _build(self) -> None:
        started: Future[asyncio.Event] = Future()
        thread = threading.Thread(
            target=lambda: asyncio.run(self._main(started)), name="lab-libvirt", daemon=True
        )
        thread.start()
        self._stack.callback(thread.join)
        ended = started.result(WITHIN_SECONDS)
        self._stack.callback(self._loop.call_soon_threadsafe, ended.set)

    async def _main(self, started: "Future[asyncio.Event]") -> None:
        ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._thawed = asyncio.Event()
        self._thawed.set()
        try:
            server = await asyncio.start_unix_server(self._accept, self.path)
        except OSError as problem:
            started.set_exception(problem)
            return
        started.set_result(ended)
        await ended.wait()
        server.close()
        self._drop()
        await server.wait_closed()
        self.path.unlink(missing_ok=True)

    def _in_loop(self, work: Callable[[], T]) -> T:
        async def run() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(WITHIN_SECONDS)

    def drop(self) -> None:
        """Close all connections at once, as a libvirtd that dies."""
        self._in_loop(self._drop)

    def _drop(self) -> None:
        for link in self._links:
            link.abort()

    def freeze(self) -> None:
        """Read and answer nothing on any connection, old or new, as a libvirtd that is stopped."""
        self._in_loop(self._thawed.clear)

    def thaw(self) -> None:
        """Go on with what has come meanwhile."""
        self._in_loop(self._thawed.set)

    def lifecycle(self, domain: Domain, event: int, detail: int = 0) -> int:
        """Tell that a domain started, stopped, … (virDomainEventType and its detail).

        This and what follows do not change what is served. They return how many were told.
        """
        return self._tell(Event.LIFECYCLE, domain, i32(event) + i32(detail))

    def rebooted(self, domain: Domain) -> int:
        """Tell that a guest rebooted."""
        return self._tell(Event.REBOOT, domain)

    def device_added(self, domain: Domain, alias: str) -> int:
        """Tell that a device was plugged in, by its alias: net1."""
        return self._tell(Event.DEVICE_ADDED, domain, string(alias))

    def device_removed(self, domain: Domain, alias: str) -> int:
        """Tell that a device was unplugged, by its alias."""
        return self._tell(Event.DEVICE_REMOVED, domain, string(alias))

    def metadata_changed(self, domain: Domain, kind: int = 2, uri: str | None = None) -> int:
        """Tell that metadata changed: virDomainMetadataType, 2 is the element of a namespace."""
        return self._tell(Event.METADATA_CHANGE, domain, i32(kind) + optional_string(uri))

    def agent_lifecycle(self, domain: Domain, state: int, reason: int = 0) -> int:
        """Tell that the guest's own agent came (1) or went (2)."""
        return self._tell(Event.AGENT_LIFECYCLE, domain, i32(state) + i32(reason))

    def migration_iteration(self, domain: Domain, iteration: int) -> int:
        """Tell that a migration began to copy memory once more."""
        return self._tell(Event.MIGRATION_ITERATION, domain, i32(iteration))

    def _tell(self, event: Event, domain: Domain, rest: bytes = b"") -> int:
        header = Header(REMOTE, VERSION, EVENT_PROCEDURES[event], Type.MESSAGE, 1)
        body = identity(domain.identity) + rest

        def tell() -> int:
            return sum(
                link.push(message(header, i32(callback) + body))
                for link in self._links
                for callback, (kind, only) in link.events.items()
                if kind == event and (only is None or only.uuid == domain.uuid)
            )

        return self._in_loop(tell)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(reader, writer)
        self.connections_ever += 1
        if self.refuses:
            link.close()
            return
        self._links.add(link)
        try:
            while True:
                header, arguments = await link.next()
                await self._thawed.wait()
                await self._handle(link, header, arguments)
        except (asyncio.IncompleteReadError, ConnectionError, RpcError):
            pass  # it hung up, or what it says is no message: libvirtd hangs up too
        finally:
            self._links.discard(link)
            link.abort()

    async def _handle(self, link: Link, header: Header, arguments: Reader) -> None:
        if header.program == KEEPALIVE:
            if header.procedure == PING:
                self.pings += 1
                await link.say(message(Header(KEEPALIVE, VERSION, PONG, Type.MESSAGE, 0)))
            return
        self.calls[header.procedure] += 1
        call = Call(link, header, lambda: self._payload(link, header, arguments))
        answer = self.answers.get(header.procedure)
        if answer is None:
            await link.say(call.honest())
            return
        task = asyncio.create_task(_until_hung_up(answer(call)))
        link.late.add(task)
        task.add_done_callback(link.late.discard)

    def _payload(self, link: Link, header: Header, arguments: Reader) -> bytes:
        """Return the payload of the honest answer.

        Raises:
            RefusedError: If the honest answer is no.
        """
        if header.program != REMOTE:
            text = f"Cannot find program {header.program} version {header.version}"
            raise RefusedError(RPC, text, FROM_RPC)
        match header.procedure:
            case Procedure.CONNECT_OPEN:
                arguments.optional_string()
                self.opened.append(arguments.u32())
                return b""
            case Procedure.CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY:
                self._callbacks += 1
                link.events[self._callbacks] = arguments.i32(), arguments.optional_identity()
                return i32(self._callbacks)
            case Procedure.CONNECT_DOMAIN_EVENT_CALLBACK_DEREGISTER_ANY:
                link.events.pop(arguments.i32(), None)
                return b""
        answer = ANSWERS.get(header.procedure)
        if answer is None:
            text = "this function is not supported by the connection driver: "
            raise RefusedError(NO_SUPPORT, text + _name(header.procedure))
        return answer(self._hypervisor, arguments)


async def _until_hung_up(answer: Coroutine[Any, Any, None]) -> None:
    with suppress(ConnectionError):
        await answer


def _name(procedure: int) -> str:
    return Procedure(procedure).name if procedure in set(Procedure) else f"procedure {procedure}"


def calls_of(path: Path) -> Counter[str]:
    """Return what was called how often of a server that runs as a process, by its socket."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(WITHIN_SECONDS)
        link.connect(f"{path}{CALLS_SUFFIX}")
        with link.makefile("rb") as lines:
            return Counter(json.load(lines))


def main(path: str, domains: str, interfaces: str) -> None:
    """Serve until a signal ends it."""
    end_on_signals()
    teller = Path(f"{path}{CALLS_SUFFIX}")
    with ExitStack() as stack:
        server = LibvirtServer(Path(path), many(int(domains), int(interfaces)), growth=1000)
        stack.enter_context(server)
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        stack.callback(teller.unlink, missing_ok=True)
        listener.bind(str(teller))
        listener.listen()
        while True:
            link, _ = listener.accept()
            with link:
                named = {_name(procedure): count for procedure, count in server.calls.items()}
                link.sendall(json.dumps(named).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
