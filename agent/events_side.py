"""Events over MQTT: from what the store knows to the broker. Nothing runs where none is named."""

import asyncio
import contextlib
import platform
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict
from typing import Any

from agent import __version__
from agent.config import ConfigError, Settings
from agent.errors import SourceError
from agent.events.derive import Snapshot, SourceState
from agent.events.document import Origin
from agent.events.maker import EventMaker
from agent.events.queue import EventQueue
from agent.health import SourceHealth
from agent.model.node import MqttFacts
from agent.model.switch import VswitchdProcess
from agent.sections_mqtt import Mqtt
from agent.sources.vswitchd_process import VswitchdProcessSource
from agent.store import State, Store
from agent.supervise import Backoff, keep_running

LIBVIRT, NETNS, PROCESS = "libvirt", "netns", "vswitchd_process"
"""Names of sources: the first two have parts that cannot be read, the last one is for events."""
DOMAIN_PART = "domain "

OnBug = Callable[[asyncio.Task[Any]], None]


def require_library(settings: Settings) -> None:
    """See that what is needed for events is installed.

    Raises:
        ConfigError: If a broker is named and aiomqtt cannot be loaded, or the node's own name
            cannot be part of a topic.
    """
    if settings.mqtt.host is None:
        return
    try:
        from agent.exposition import mqtt  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        raise ConfigError(
            [f"mqtt.host: needs aiomqtt, the extra mqtt: pip install 'aiomqtt>=2.3,<3' ({error})"]
        ) from error
    try:
        Mqtt(host=settings.mqtt.host, node=node_name(settings))
    except ValueError as error:
        problem = f"mqtt.node: the host name {node_name(settings)!r} cannot be part of a topic"
        raise ConfigError([problem]) from error


def node_name(settings: Settings) -> str:
    """Return what the node is called in topics."""
    return settings.mqtt.node or platform.node()


class EventsSide:
    """Everything for events, or nothing.

    Args:
        settings: The configuration.
        store: Tells what is known, and when that has changed.
        publishes: Whether this process is the one that publishes: commands that look once do not.

    Attributes:
        sources: What is followed for events alone.
    """

    def __init__(self, settings: Settings, store: Store, *, publishes: bool) -> None:
        self._on = publishes and settings.mqtt.host is not None
        self._settings = settings
        self._store = store
        self._process = SourceHealth(PROCESS, settings.ovs.enabled, subscription=True)
        self.sources = (self._process,) if self._on and settings.ovs.enabled else ()
        self._all: tuple[SourceHealth, ...] = ()
        self._queue = EventQueue(settings.mqtt.queue)
        self._maker = EventMaker(self._look, self._queue.put)
        self._state: Callable[[], tuple[bool, SourceError | None]] = lambda: (False, None)

    def facts(self) -> MqttFacts | None:
        """Return what /metrics shows; ``None`` where nothing is published."""
        if not self._on:
            return None
        return MqttFacts(self._state()[0], len(self._queue), self._queue.dropped)

    def status(self) -> dict[str, Any] | None:
        """Return what /status shows, with the reason for the last failure; likewise."""
        facts, (_, problem) = self.facts(), self._state()
        if facts is None:
            return None
        told = {"reason": str(problem.reason), "detail": problem.detail} if problem else None
        return {**asdict(facts), "problem": told}

    @contextlib.asynccontextmanager
    async def running(
        self, sources: tuple[SourceHealth, ...], on_bug: OnBug
    ) -> AsyncIterator[None]:
        """Look and publish; at the end say that this is the end.

        Args:
            sources: All of the agent's.
            on_bug: Told when a part ends; an exception in it is a bug.
        """
        if not self._on:
            yield
            return
        from agent.exposition.mqtt import MqttPublisher  # noqa: PLC0415 - an extra

        self._all = sources
        self._listen()
        origin = Origin(node_name(self._settings), uuid.uuid4().hex, __version__)
        publisher = MqttPublisher(self._settings.mqtt, origin, self._queue)
        self._state = lambda: (publisher.connected, publisher.problem)
        tasks = list(self._tasks())
        for task in tasks:
            task.add_done_callback(on_bug)
        try:
            async with publisher.running(on_bug):
                yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _tasks(self) -> Iterator[asyncio.Task[Any]]:
        yield asyncio.create_task(self._maker.run(), name="events")
        if self.sources:
            source = VswitchdProcessSource(self._settings.ovs.rundir, self._publish)
            yield asyncio.create_task(
                keep_running(source.run, self._process_down, Backoff()), name=PROCESS
            )

    def _listen(self) -> None:
        store = self._store
        states: tuple[State[Any], ...] = (
            *(store.switch, store.vswitchd_process, store.namespaces),
            *(store.departed, store.domains),
        )
        for state in states:
            state.on_change = self._maker.changed
        for source in self._all:
            source.on_turn = self._maker.changed
        self._maker.changed()

    def _publish(self, process: VswitchdProcess) -> None:
        self._store.vswitchd_process.put(process)
        self._process.good()

    def _process_down(self, error: SourceError) -> None:
        self._process.failed(error)
        self._store.vswitchd_process.lost()

    def _look(self) -> Snapshot:
        """Take what is followed and completely known; the rest is not known."""
        store, sources = self._store, {source.name: source for source in self._all}
        libvirt, netns = sources.get(LIBVIRT), sources.get(NETNS)
        parts = libvirt.failing if libvirt else frozenset()
        return Snapshot(
            switch=_followed(store.switch),
            process=_followed(store.vswitchd_process),
            namespaces=_followed(store.namespaces),
            unreadable_namespaces=netns.failing if netns else frozenset(),
            # A node without libvirt has no domains: what it has later was there before.
            domains=_followed(store.domains) if libvirt and libvirt.configured else None,
            unreadable_domains=frozenset(
                part.removeprefix(DOMAIN_PART) for part in parts if part.startswith(DOMAIN_PART)
            ),
            departed=_followed(store.departed) or frozenset(),
            sources={name: _state(source) for name, source in sources.items()},
        )


def _followed(state: State[Any]) -> Any:
    known = state.known()
    return known.value if known.live and state.complete else None


def _state(source: SourceHealth) -> SourceState:
    reason, detail = source.problem or (None, None)
    return SourceState(source.told, str(reason) if reason else None, detail)
