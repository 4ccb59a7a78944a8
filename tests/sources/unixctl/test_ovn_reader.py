"""What one reading of ovn-controller brings, and what comes of it in the store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.config import Settings
from agent.errors import Reason, SourceError
from agent.health import SourceHealth
from agent.model.ovn import NO_RELEASE, EngineNode, LocalSettings, OvnController, Release
from agent.model.switch import Switch
from agent.sources.ovn_controller import OvnControllerSource
from agent.sources.unixctl import OVN_CONTROLLER, Control, OvnReader
from agent.store import Store
from agent.wire.unixctl.commands import parse_list_commands
from agent.wire.unixctl.ovn import DROP_COUNTERS
from tests.sources.unixctl.peers import (
    Answer,
    Peer,
    closes,
    fails,
    half_then_closes,
    half_then_stalls,
    raw,
    says_nothing,
    text,
)

FIXTURES = Path(__file__).parents[2] / "wire" / "unixctl" / "fixtures"
RELEASES = ("22.03.8", "23.03.1", "24.03.9", "25.03.0", "26.03.1", "26.09.0")
MISSING = {
    "23.03.1": {
        "ofctrl_msg_too_long",
        "pinctrl_drop_put_fdb",
        "pinctrl_ring_full_put_fdb",
        "pinctrl_ring_full_put_mac_binding",
    },
    "26.09.0": set[str](),
}
"""Drop counters that a release does not have."""
COMMANDS = (
    "connection-status",
    "coverage/read-counter",
    "coverage/show",
    "debug/dump-local-bindings",
    "inc-engine/show-stats",
    "lflow-cache/show-stats",
    "memory/show",
    "stopwatch/show",
    "version",
)
OF_20_03 = (
    "connection-status",
    "coverage/read-counter",
    "coverage/show",
    "memory/show",
    "stopwatch/show",
    "version",
)
"""Of ``COMMANDS`` those that it has."""


def recorded(name: str) -> str:
    return (FIXTURES / f"{name}.txt").read_text(encoding="utf-8")


def counters(release: str, **standing: int) -> Answer:
    async def read_counter(request: dict[str, Any], writer: Any) -> None:
        (name,) = request["params"]
        known = name in DROP_COUNTERS and name not in MISSING[release]
        answer = text(f"{standing.get(name, 0)}\n") if known else fails("No such counter")
        await answer(request, writer)

    return read_counter


def answers(release: str = "23.03.1", **changed: Answer) -> dict[str, Answer]:
    usual = {
        "connection-status": text(recorded(f"connection-status-{release}")),
        "coverage/read-counter": counters(release if release in MISSING else "26.09.0"),
        "coverage/show": text(recorded(f"coverage-show-ovn-{release}")),
        "debug/dump-local-bindings": text(recorded(f"dump-local-bindings-{release}")),
        "inc-engine/show-stats": text(recorded(f"inc-engine-show-stats-{release}")),
        "lflow-cache/show-stats": text(recorded(f"lflow-cache-show-stats-{release}")),
        "memory/show": text(recorded(f"memory-show-ovn-{release}")),
        "stopwatch/show": text(recorded(f"stopwatch-show-{release}")),
        "version": text(recorded(f"version-ovn-{release}")),
    }
    return usual | {name.replace("__", "/").replace("_", "-"): it for name, it in changed.items()}


@asynccontextmanager
async def reading(
    rundir: Path,
    answers: dict[str, Answer],
    commands: tuple[str, ...] = COMMANDS,
    timeout_seconds: float = 10,
) -> AsyncIterator[tuple[Peer, OvnReader]]:
    async with Peer(rundir / "ovn-controller.1.ctl", answers, commands) as peer:
        control = Control(rundir, OVN_CONTROLLER)
        try:
            yield peer, OvnReader(control, timeout_seconds, pause_seconds=0)
        finally:
            control.close()


@pytest.mark.parametrize("release", RELEASES)
async def test_reads_everything_of_each_release(rundir: Path, release: str) -> None:
    commands = tuple(sorted(parse_list_commands(recorded(f"list-commands-ovn-{release}"))))
    async with reading(rundir, answers(release), commands) as (peer, reader):
        found = await reader.read()
    assert found.problems == ()
    assert reader.release is not None
    assert reader.release.ovn == release
    assert found.start_time_seconds is not None
    assert found.southbound_connected is True
    assert found.coverage["lflow_run"] > 0
    assert found.memory["ofctrl_installed_flow_usage-KB"] > 0
    assert found.lflow_cache is not None
    assert found.lflow_cache.enabled
    assert found.engine is not None
    assert found.engine["runtime_data"].recomputes > 0
    assert found.stopwatches is not None
    assert found.stopwatches["flow-generation"].maximum > 0
    assert found.bindings is not None
    assert [one.interface for one in found.bindings] == ["p1", "p11", "p12", "p2"]
    assert set(peer.methods()) == {"list-commands", *COMMANDS}


@pytest.mark.parametrize("release", MISSING)
async def test_drop_counters_of_the_release_stand_at_zero_from_the_first_reading(
    rundir: Path, release: str
) -> None:
    drops = counters(release, pinctrl_drop_put_mac_binding=7)
    async with reading(rundir, answers(release, coverage__read_counter=drops)) as (_, reader):
        first = await reader.read()
        second = await reader.read()
    for found in (first, second):
        assert set(found.coverage) & set(DROP_COUNTERS) == set(DROP_COUNTERS) - MISSING[release]
        assert found.coverage["lflow_cache_mem_full"] == 0
    # what happened between the two questions is not denied
    assert first.coverage["pinctrl_drop_put_mac_binding"] == 7


async def test_counters_and_the_release_are_asked_for_once_a_connection(rundir: Path) -> None:
    async with reading(rundir, answers()) as (peer, reader):
        for _ in range(3):
            await reader.read()
        assert peer.methods().count("version") == 1
        assert peer.methods().count("coverage/read-counter") == len(DROP_COUNTERS)


async def test_slow_daemon_is_asked_about_its_counters_over_several_readings(rundir: Path) -> None:
    usual = counters("26.09.0")

    async def slow(request: dict[str, Any], writer: Any) -> None:
        await asyncio.sleep(0.3)
        await usual(request, writer)

    known: list[int] = []
    every = answers("26.09.0", coverage__read_counter=slow)
    async with reading(rundir, every, timeout_seconds=2) as (peer, reader):
        while not known or known[-1] < len(DROP_COUNTERS):
            found = await reader.read()
            assert found.problems == ()
            assert found.bindings
            known.append(len(set(found.coverage) & set(DROP_COUNTERS)))
            assert len(known) < len(DROP_COUNTERS)
        assert peer.connections == 1
        assert peer.methods().count("coverage/read-counter") == len(DROP_COUNTERS)
    assert len(known) > 1
    assert known == sorted(known)


async def test_what_a_release_lacks_is_absent_without_a_problem(rundir: Path) -> None:
    async with reading(rundir, answers(), OF_20_03) as (peer, reader):
        found = await reader.read()
    assert found.problems == ()
    assert found.southbound_connected is True
    assert found.memory
    assert found.stopwatches
    assert (found.lflow_cache, found.engine, found.bindings) == (None, None, None)
    assert set(peer.methods()) == {"list-commands", *OF_20_03}


async def test_one_command_that_fails_costs_its_facts_and_nothing_else(rundir: Path) -> None:
    broken = answers(
        memory__show=text("???"),
        stopwatch__show=fails("no stopwatches"),
        debug__dump_local_bindings=text("Local friends:\n"),
        version=text("ovn-northd 23.03.1\n"),
    )
    async with reading(rundir, broken) as (peer, reader):
        found = await reader.read()
        assert found.memory == {}
        assert found.stopwatches is None
        assert found.bindings is None
        assert reader.release is None
        assert found.coverage
        assert found.engine
        assert [problem.partition(":")[0] for problem in found.problems] == [
            "version",
            "memory/show",
            "stopwatch/show",
            "debug/dump-local-bindings",
        ]
        peer.answers["version"] = text(recorded("version-ovn-23.03.1"))
        await reader.read()
        assert reader.release == Release("23.03.1", "3.1.0")


async def test_lost_southbound_is_said_and_no_problem(rundir: Path) -> None:
    lost = answers(connection_status=text(recorded("connection-status-off-23.03.1")))
    async with reading(rundir, lost) as (_, reader):
        found = await reader.read()
    assert found.southbound_connected is False
    assert found.problems == ()


@pytest.mark.parametrize(
    ("answer", "reason"), [(text("???\n"), Reason.MALFORMED), (fails("no"), Reason.BROKEN)]
)
async def test_daemon_of_which_nothing_can_be_used_is_a_failure(
    rundir: Path, answer: Answer, reason: Reason
) -> None:
    async with reading(rundir, dict.fromkeys(COMMANDS, answer)) as (_, reader):
        with pytest.raises(SourceError) as caught:
            await reader.read()
    assert caught.value.reason is reason


async def test_daemon_without_any_of_the_commands_is_a_failure(rundir: Path) -> None:
    async with reading(rundir, answers(), ("exit",)) as (peer, reader):
        with pytest.raises(SourceError, match="none of its commands"):
            await reader.read()
        assert peer.methods() == ["list-commands"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (says_nothing, Reason.TIMEOUT),
        (half_then_stalls("Node: a"), Reason.TIMEOUT),
        (half_then_closes("Node: a"), Reason.BROKEN),
        (closes, Reason.BROKEN),
        (raw(b"\x00\xff" * 8), Reason.MALFORMED),
    ],
    ids=["stalls", "half-stalls", "half-closes", "closes", "garbage"],
)
async def test_connection_lost_in_the_middle_gives_no_half_reading(
    rundir: Path, answer: Answer, reason: Reason
) -> None:
    broken = answers(inc_engine__show_stats=answer)
    async with reading(rundir, broken, timeout_seconds=0.5) as (peer, reader):
        with pytest.raises(SourceError) as caught:
            await reader.read()
        assert caught.value.reason is reason
        peer.answers["inc-engine/show-stats"] = text(recorded("inc-engine-show-stats-23.03.1"))
        found = await reader.read()
        assert found.engine is not None
        assert found.engine["runtime_data"] == EngineNode(6, 3, 2)


async def test_long_recompute_is_waited_for_until_the_deadline(rundir: Path) -> None:
    asked, computed = asyncio.Event(), asyncio.Event()

    async def busy(request: dict[str, Any], writer: Any) -> None:
        asked.set()
        await computed.wait()
        await text("connected\n")(request, writer)

    async with reading(rundir, answers(connection_status=busy), timeout_seconds=30) as (
        peer,
        reader,
    ):
        task = asyncio.create_task(reader.read())
        await asked.wait()
        assert not task.done()
        computed.set()
        assert (await task).southbound_connected is True
        assert peer.connections == 1


async def test_counters_of_two_lives_do_not_come_into_one_reading(rundir: Path) -> None:
    """It is restarted while it is read: the commands that are left reach another process."""
    control = Control(rundir, OVN_CONTROLLER)
    reader = OvnReader(control, 10, pause_seconds=0)

    async def ends(request: dict[str, Any], writer: Any) -> None:
        old.path.unlink()
        await text(recorded("lflow-cache-show-stats-23.03.1"))(request, writer)
        writer.close()

    old = Peer(rundir / "ovn-controller.1.ctl", answers(lflow_cache__show_stats=ends), COMMANDS)
    new = Peer(rundir / "ovn-controller.2.ctl", answers("26.09.0"), COMMANDS)
    try:
        async with old:
            await control.connect(5)
            async with new:
                with pytest.raises(SourceError) as caught:
                    await reader.read()
                assert caught.value.reason is Reason.BROKEN
                assert (await reader.read()).problems == ()
                assert reader.release == Release("26.09.0", "4.0.0")
    finally:
        control.close()


async def test_restarted_daemon_of_another_release_is_learned_anew(rundir: Path) -> None:
    control = Control(rundir, OVN_CONTROLLER)
    reader = OvnReader(control, 10, pause_seconds=0)
    try:
        for number, release in enumerate(MISSING):
            path = rundir / f"ovn-controller.{number}.ctl"
            async with Peer(path, answers(release), COMMANDS):
                found = await reader.read()
                assert reader.release is not None
                assert reader.release.ovn == release
                has = set(found.coverage) & set(DROP_COUNTERS)
                assert has == set(DROP_COUNTERS) - MISSING[release]
            path.unlink(missing_ok=True)
    finally:
        control.close()


@asynccontextmanager
async def source_of(rundir: Path) -> AsyncIterator[tuple[OvnControllerSource, Store]]:
    settings = Settings.model_validate({"ovn": {"rundir": str(rundir)}})
    store = Store(clock=lambda: 1000.0)
    health = SourceHealth("ovn_controller", configured=False)
    source = OvnControllerSource(settings, store, health)
    try:
        yield source, store
    finally:
        source.close()


async def test_source_brings_the_reading_and_the_release(rundir: Path) -> None:
    async with (
        Peer(rundir / "ovn-controller.1.ctl", answers(), COMMANDS),
        source_of(rundir) as (source, store),
    ):
        await source.read()
        found = store.ovn_controller.whole(1000.0).value
        assert found is not None
        assert found.southbound_connected is True
        assert store.ovn_release.known().value == Release("23.03.1", "3.1.0")
        assert source.health.up


async def test_source_withdraws_what_an_ovn_controller_said_that_is_gone(rundir: Path) -> None:
    async with source_of(rundir) as (source, store):
        async with Peer(rundir / "ovn-controller.1.ctl", answers(), COMMANDS):
            await source.read()
        await source.read()
        assert store.ovn_controller.whole(1000.0).value is None
        assert store.ovn_release.known().value is not None, "its flows are still there"
        assert not source.health.up


async def test_a_node_that_never_had_an_ovn_controller_has_nothing_to_miss(rundir: Path) -> None:
    async with source_of(rundir) as (source, store):
        for _ in range(3):  # every time: nothing has to be spared
            await source.read()
            assert store.ovn_controller.whole(1000.0).value == OvnController()
            store.ovn_controller.withdraw()
        assert store.ovn_release.known().value == NO_RELEASE
        assert source.health.facts().failures[Reason.ABSENT] == 0
        assert not source.health.configured


async def test_where_the_database_names_a_southbound_an_ovn_controller_is_missed(
    rundir: Path,
) -> None:
    async with source_of(rundir) as (source, store):
        store.switch.put(Switch(ovn=LocalSettings(remote="tcp:10.0.0.1:6642")))
        await source.read()
        assert source.health.configured
        assert source.health.facts().failures[Reason.ABSENT] == 1
        assert store.ovn_controller.whole(1000.0).value is None
        assert store.ovn_release.known().value is None


async def test_an_ovn_controller_that_was_there_is_missed(rundir: Path) -> None:
    async with source_of(rundir) as (source, _):
        assert not source.health.configured
        async with Peer(rundir / "ovn-controller.1.ctl", answers(), COMMANDS):
            await source.read()
        assert source.health.configured
        (rundir / "ovn-controller.1.ctl").unlink(missing_ok=True)
        await source.read()
        assert source.health.facts().failures[Reason.ABSENT] == 1
        assert not source.health.up


async def test_source_shows_what_failed_and_keeps_the_rest(rundir: Path) -> None:
    broken = answers(memory__show=fails("no memory"))
    async with (
        Peer(rundir / "ovn-controller.1.ctl", broken, COMMANDS),
        source_of(rundir) as (source, store),
    ):
        await source.read()
        found = store.ovn_controller.whole(1000.0).value
        assert found is not None
        assert found.problems == ("memory/show: no memory",)
        assert found.engine
