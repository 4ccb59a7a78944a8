"""Which databases are followed, for whom, and what becomes of what they say."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.config import Settings
from agent.errors import Reason, SourceError
from agent.model.ovn import LocalSettings, LogicalFlow, Northbound, Southbound
from agent.model.switch import Switch
from agent.ovn_followed import NORTHBOUND, SOUTHBOUND, OvnFollowed, OwnChassis
from agent.store import Store

BOTH = frozenset({NORTHBOUND, SOUTHBOUND})


def settings(**ovn: Any) -> Settings:
    return Settings.model_validate({"ovn": ovn})


def followed(of: Settings, follows: frozenset[str] = BOTH) -> tuple[OvnFollowed, Store]:
    store = Store()
    asked = asyncio.Event()
    asked.set()
    return OvnFollowed(of, store, follows, asked), store


def bug(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.result()


async def test_without_remotes_there_is_nothing_to_know_and_nothing_to_miss() -> None:
    databases, store = followed(settings())
    async with databases.running(bug):
        await databases.asked()
        assert store.northbound.known().value == Northbound()
        assert store.southbound.known().value == Southbound()
    assert [source.configured for source in databases.sources] == [False, False]


async def test_what_no_collector_shows_is_not_opened(tmp_path: Path) -> None:
    of = settings(databases={"northbound": f"unix:{tmp_path}/nb", "southbound": "unix:/x"})
    databases, store = followed(of, frozenset())
    async with databases.running(bug):
        await databases.asked()
        assert store.northbound.known().value == Northbound()
    assert [source.configured for source in databases.sources] == [False, False]


async def test_databases_that_are_not_there_are_down_and_hold_up_nobody(tmp_path: Path) -> None:
    of = settings(
        databases={"northbound": f"unix:{tmp_path}/nb", "southbound": f"unix:{tmp_path}/sb"}
    )
    databases, store = followed(of)
    async with databases.running(bug):
        async with asyncio.timeout(10):
            await databases.asked()
        assert store.southbound.known().value is None
        for source in databases.sources:
            assert source.configured
            assert not source.up
            assert source.facts().failures[Reason.ABSENT] >= 1


def test_what_is_on_its_way_is_waited_for() -> None:
    beside = settings(databases={"southbound": "unix:/x"})
    complete = followed(beside)[0]._is_complete
    assert not complete(Southbound())
    assert complete(Southbound(logical_flows=()))
    assert complete(Southbound(logical_flows=(LogicalFlow("0x1", "ingress", 0, 0),)))
    assert complete(Southbound(left_out={"Logical_Flow": 7})), "there are too many: none come"
    assert complete(Northbound())
    without = settings(databases={"southbound": "unix:/x", "logical_flows": False})
    assert followed(without)[0]._is_complete(Southbound())
    assert followed(settings(chassis_southbound="unix:/x"))[0]._is_complete(Southbound())


@asynccontextmanager
async def silent_server(path: Path) -> AsyncIterator[asyncio.Queue[Any]]:
    """Takes connections, notes what it is asked, and answers nothing."""
    asked: asyncio.Queue[Any] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.put_nowait(json.loads(await reader.readuntil(b"}")))
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield asked
    finally:
        server.close()
        await server.wait_closed()


def own(of: Settings, store: Store) -> OwnChassis:
    asked = asyncio.Event()
    asked.set()
    return OwnChassis(of, store, asked, lambda _: None, lambda _: None)


@pytest.mark.parametrize(
    ("switch", "detail"),
    [
        (None, "system-id"),
        (Switch(ovn=LocalSettings(remote="unix:/x")), "system-id"),
        (Switch(system_id="node-1"), "ovn-remote"),
        (Switch(system_id="node-1", ovn=LocalSettings()), "ovn-remote"),
    ],
)
async def test_a_node_that_does_not_say_who_it_is_or_where_asks_nobody(
    switch: Switch | None, detail: str
) -> None:
    store = Store()
    if switch is not None:
        store.switch.put(switch)
    with pytest.raises(SourceError, match=f"absent: .*{detail}"):
        await own(settings(chassis_southbound="ovn-remote"), store).run()


async def test_a_remote_that_nobody_understands_is_malformed() -> None:
    store = Store()
    store.switch.put(Switch(system_id="node-1", ovn=LocalSettings(remote="carrier-pigeon:7")))
    with pytest.raises(SourceError, match=r"malformed: external_ids:ovn-remote: carrier-pigeon:7"):
        await own(settings(chassis_southbound="ovn-remote"), store).run()


async def test_another_remote_in_the_database_is_followed_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.ovn_followed.LOOK_SECONDS", 0.01)
    store = Store()
    chassis = own(settings(chassis_southbound="ovn-remote"), store)
    for name in "ab":
        remote = LocalSettings(remote=f"unix:{tmp_path}/{name}")
        store.switch.put(Switch(system_id="node-1", ovn=remote))
        async with silent_server(tmp_path / name) as asked:
            running = asyncio.create_task(chassis.run())
            async with asyncio.timeout(10):
                await asked.get()
            store.switch.put(Switch(system_id="node-1", ovn=LocalSettings(remote="unix:/other")))
            with pytest.raises(SourceError, match="another Southbound"):
                await running


async def test_a_database_of_the_node_that_is_away_for_a_moment_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.ovn_followed.LOOK_SECONDS", 0.01)
    store = Store()
    remote = LocalSettings(remote=f"unix:{tmp_path}/sb")
    store.switch.put(Switch(system_id="node-1", ovn=remote))
    async with silent_server(tmp_path / "sb") as asked:
        running = asyncio.create_task(own(settings(chassis_southbound="ovn-remote"), store).run())
        async with asyncio.timeout(10):
            await asked.get()
        store.switch.withdraw()
        await asyncio.sleep(0.1)
        assert not running.done()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
