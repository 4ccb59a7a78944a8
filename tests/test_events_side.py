"""Events as they are wired: from what store and sources know to a broker, and to /status."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent import supervise
from agent.config import Settings
from agent.errors import Reason, SourceError
from agent.events_side import EventsSide
from agent.exposition import mqtt
from agent.health import SourceHealth
from agent.store import Store
from tests.events.nodes import INSTANCE, ROUTER, TAP, namespaces, switch
from tests.events.valid import validate
from tests.exposition.mqtt_peer import BAD_PASSWORD, GOOD, Peer, until


class Wired:
    """A store with two sources, and the events of both."""

    def __init__(self, port: int, rundir: Path) -> None:
        settings = Settings.model_validate(
            {
                "ovs": {"rundir": str(rundir)},
                "mqtt": {"host": "127.0.0.1", "port": port, "node": "compute01"},
            }
        )
        self.store = Store()
        self.libvirt, self.netns = SourceHealth("libvirt", configured=False), SourceHealth("netns")
        self.side = EventsSide(settings, self.store, publishes=True)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Wired"]:
        bugs: list[asyncio.Task[Any]] = []
        sources = (*self.side.sources, self.libvirt, self.netns)
        async with self.side.running(sources, bugs.append):
            yield self
        assert all(task.cancelled() or task.exception() is None for task in bugs)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with Peer().listening() as each:
        yield each


@pytest.fixture
def wired(peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wired:
    monkeypatch.setattr(supervise, "FIRST_DELAY_SECONDS", 0.05)
    return Wired(peer.port, tmp_path)


def told(peer: Peer) -> list[str]:
    """Return kinds and names of what was published, but not of sources."""
    events = [validate(document) for topic, document in peer.got if "/event/" in topic]
    names = ("interface", "netns", "domain", "pid")
    return [
        " ".join([event["kind"], *(str(event[name]) for name in names if name in event)])
        for event in events
        if "source" not in event
    ]


async def baseline(peer: Peer, wired: Wired) -> None:
    """Wait until what is known now was looked at: a source that turns is an event at once."""
    count = len(peer.sequences)
    wired.netns.failed(SourceError(Reason.DENIED, "no"))
    await until(lambda: len(peer.sequences) > count)
    count = len(peer.sequences)
    wired.netns.good()
    await until(lambda: len(peer.sequences) > count)


async def test_what_is_put_into_the_store_after_the_first_time_is_published(
    peer: Peer, wired: Wired, tmp_path: Path
) -> None:
    store = wired.store
    (tmp_path / "ovs-vswitchd.100.ctl").touch()
    async with wired.running():
        wired.libvirt.configured = True
        store.switch.put(switch())
        store.namespaces.put(namespaces())
        store.domains.put({})
        await until(lambda: store.vswitchd_process.known().value)
        await baseline(peer, wired)
        assert told(peer) == []
        store.switch.put(switch(TAP))
        await until(lambda: "interface_up tap1" in told(peer))
        store.namespaces.put(namespaces(ROUTER))
        await until(lambda: "namespace_added qrouter-1" in told(peer))
        store.domains.put({INSTANCE.uuid: INSTANCE})
        await until(lambda: "domain_started instance-00000001" in told(peer))
        (tmp_path / "ovs-vswitchd.200.ctl").touch()
        await until(lambda: "vswitchd_restarted 200" in told(peer))
        store.departed.put(frozenset({INSTANCE.uuid}))
        store.domains.put({})
        await until(lambda: "domain_migrated instance-00000001" in told(peer))


async def test_what_is_not_completely_known_yet_is_no_event(peer: Peer, wired: Wired) -> None:
    async with wired.running():
        wired.store.namespaces.put(namespaces(), complete=False)
        await baseline(peer, wired)
        wired.store.namespaces.put(namespaces(ROUTER))
        await baseline(peer, wired)
        assert told(peer) == []


async def test_domains_of_a_libvirt_that_comes_later_were_there_before(
    peer: Peer, wired: Wired
) -> None:
    async with wired.running():
        wired.store.domains.put({})  # there is no libvirt
        await baseline(peer, wired)
        wired.libvirt.configured = True
        wired.store.domains.put({INSTANCE.uuid: INSTANCE})
        await baseline(peer, wired)
        assert told(peer) == []


async def test_a_namespace_that_cannot_be_entered_is_not_removed(peer: Peer, wired: Wired) -> None:
    async with wired.running():
        wired.store.namespaces.put(namespaces(ROUTER))
        await baseline(peer, wired)
        wired.netns.failed(SourceError(Reason.DENIED, "no"), "qrouter-1")
        wired.store.namespaces.put(namespaces())
        await until(lambda: "source_down" in str(peer.got[-1]))
        wired.netns.good("qrouter-1")
        wired.store.namespaces.put(namespaces(ROUTER))
        await until(lambda: "source_up" in str(peer.got[-1]))
        assert told(peer) == []


async def test_the_status_says_whether_events_get_through_and_why_not(
    peer: Peer, wired: Wired
) -> None:
    peer.admits = BAD_PASSWORD
    assert wired.side.status() == _status(connected=False)
    async with wired.running():
        await until(lambda: (wired.side.status() or {})["problem"])
        detail = f"127.0.0.1:{peer.port}: Bad user name or password"
        problem = {"reason": "refused", "detail": detail}
        wired.libvirt.failed(SourceError(Reason.ABSENT, "no"))
        waiting = _status(connected=False, waiting=2, problem=problem)  # and vswitchd_process
        await until(lambda: wired.side.status() == waiting)
        peer.admits = GOOD
        await until(lambda: wired.side.status() == _status(connected=True))


def _status(
    *, connected: bool, waiting: int = 0, problem: dict[str, str] | None = None
) -> dict[str, Any]:
    return {
        "connected": connected,
        "queue_length": waiting,
        "events_dropped": 0,
        "problem": problem,
    }


@pytest.mark.parametrize(
    ("settings", "publishes"), [({}, True), ({"mqtt": {"host": "127.0.0.1"}}, False)]
)
async def test_without_a_broker_or_for_one_page_nothing_runs_and_nothing_is_shown(
    settings: dict[str, Any], *, publishes: bool
) -> None:
    store = Store()
    side = EventsSide(Settings.model_validate(settings), store, publishes=publishes)
    assert (side.sources, side.facts(), side.status()) == ((), None, None)
    tasks = asyncio.all_tasks()
    async with side.running((), lambda _task: None):
        assert asyncio.all_tasks() == tasks
        assert store.switch.on_change is None


async def test_at_the_end_nothing_is_left(
    peer: Peer, wired: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "STOP_SECONDS", 30.0)  # the machine may be busy
    ours = {"events", "mqtt", "mqtt connection", "vswitchd_process"}

    def running() -> set[str]:
        return {task.get_name() for task in asyncio.all_tasks()} & ours

    async with wired.running():
        await until(lambda: wired.side.status() == _status(connected=True))
        assert running() == ours
    assert running() == set()
    assert peer.statuses == ["online", "offline"]
    threads = {"mqtt", "ovs-vswitchd"}
    await until(lambda: not threads & {each.name for each in threading.enumerate()})
