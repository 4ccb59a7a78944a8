"""What one reading brings, and what it asks of the daemon for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.errors import Reason, SourceError
from agent.model.datapath import Conntrack
from agent.sources.unixctl import Control, UnixctlReader
from agent.wire.unixctl.coverage import DROP_COUNTERS
from tests.sources.unixctl.peers import COMMANDS, Answer, Peer, closes, fails, says_nothing, text

FIXTURES = Path(__file__).parents[2] / "wire" / "unixctl" / "fixtures"


def recorded(name: str) -> Answer:
    return text((FIXTURES / f"{name}.txt").read_text(encoding="utf-8"))


async def read_counter(request: dict[str, Any], writer: Any) -> None:
    known = {"drop_action_congestion": "0\n", "datapath_drop_meter": "7\n"}
    (name,) = request["params"]
    answer = text(known[name]) if name in known else fails("No such counter")
    await answer(request, writer)


async def fdb(request: dict[str, Any], writer: Any) -> None:
    (bridge,) = request["params"]
    lines = f'Statistics for bridge "{bridge}":\n  Current/maximum MAC entries in the table: 1/8\n'
    answer = fails("no such bridge") if bridge == "br-gone" else text(lines)
    await answer(request, writer)


def answers(**changed: Answer) -> dict[str, Answer]:
    usual = {
        "coverage/show": recorded("coverage-show-3.1.0"),
        "coverage/read-counter": read_counter,
        "memory/show": recorded("memory-show-3.1.0"),
        "upcall/show": recorded("upcall-show-3.1.0"),
        "dpctl/show": recorded("dpctl-show-3.1.0"),
        "fdb/stats-show": fdb,
        "bond/show": recorded("bond-show-3.1.0"),
        "lacp/show": recorded("lacp-show-3.1.0"),
        "dpif-netdev/pmd-stats-show": recorded("pmd-stats-show-3.1.0"),
        "dpif-netdev/pmd-perf-show": recorded("pmd-perf-show-4.0.0"),
        "dpctl/offload-stats-show": fails("retrieving offload statistics (Invalid argument)"),
        "dpctl/ct-get-nconns": recorded("ct-get-nconns-3.1.0"),
        "dpctl/ct-get-maxconns": recorded("ct-get-maxconns-3.1.0"),
    }
    return usual | {name.replace("__", "/").replace("_", "-"): it for name, it in changed.items()}


@asynccontextmanager
async def reading(
    rundir: Path,
    answers: dict[str, Answer],
    commands: tuple[str, ...] = COMMANDS,
    timeout_seconds: float = 10,
) -> AsyncIterator[tuple[Peer, UnixctlReader]]:
    async with Peer(rundir / "ovs-vswitchd.1.ctl", answers, commands) as peer:
        control = Control(rundir)
        try:
            yield peer, UnixctlReader(control, timeout_seconds, pause_seconds=0)
        finally:
            control.close()


async def test_reads_everything_of_a_userspace_node(rundir: Path) -> None:
    async with reading(rundir, answers()) as (_, reader):
        found = await reader.read(["br-int", "br-tun"], bonds=True)
    assert found.problems == ()
    assert found.vswitchd.start_time_seconds is not None
    assert found.vswitchd.memory["handlers"] > 0
    assert found.datapaths is not None
    assert [one.name for one in found.datapaths] == ["netdev@ovs-netdev"]
    assert found.upcalls is not None
    assert found.pmds is not None
    assert [pmd.cpu for pmd in found.pmds] == ["1", "main"]
    assert found.fdbs is not None
    assert [one.bridge for one in found.fdbs] == ["br-int", "br-tun"]
    assert found.bonds is not None
    members = {bond.port: [m.lacp_current for m in bond.members] for bond in found.bonds}
    assert members["bond1"] == [False, False]
    assert members["bond2"] == [None, None]
    assert found.conntracks == (Conntrack("netdev@ovs-netdev", 0, 3000000),)


async def test_drop_counters_of_this_release_stand_at_zero_from_the_first_reading(
    rundir: Path,
) -> None:
    async with reading(rundir, answers()) as (_, reader):
        first = await reader.read()
        second = await reader.read()
    for found in (first, second):
        events = found.vswitchd.coverage
        assert events["drop_action_congestion"] == 0
        assert events["drop_action_of_pipeline"] == 102
        assert "drop_action_stack_too_deep" not in events
    # what happened between the two questions is not denied
    assert first.vswitchd.coverage["datapath_drop_meter"] == 7


async def test_counters_are_probed_once_a_connection(rundir: Path) -> None:
    async with reading(rundir, answers()) as (peer, reader):
        await reader.read()
        probes = peer.methods().count("coverage/read-counter")
        assert probes == len(DROP_COUNTERS) - 1  # one of them is listed by coverage/show
        await reader.read()
        assert peer.methods().count("coverage/read-counter") == probes


async def test_probing_goes_on_where_it_was_interrupted_and_no_half_reading_is_given(
    rundir: Path,
) -> None:
    asked = 0

    async def slow(request: dict[str, Any], writer: Any) -> None:
        nonlocal asked
        asked += 1
        await (says_nothing if asked == 5 else read_counter)(request, writer)

    async with reading(rundir, answers(coverage__read_counter=slow), timeout_seconds=1) as (
        peer,
        reader,
    ):
        with pytest.raises(SourceError) as caught:
            await reader.read()
        assert caught.value.reason is Reason.TIMEOUT
        found = await reader.read()
        assert found.vswitchd.coverage["drop_action_congestion"] == 0
        assert peer.connections == 2


async def test_kernel_node_is_not_asked_about_threads_and_connections(rundir: Path) -> None:
    kernel = answers(dpctl__show=recorded("dpctl-show-kernel-3.3.1"))
    async with reading(rundir, kernel) as (peer, reader):
        found = await reader.read()
        assert found.pmds == ()
        assert found.conntracks == ()
        assert not any("pmd" in name or "ct-get" in name for name in peer.methods())


async def test_nobody_asks_for_bonds_that_are_not_there(rundir: Path) -> None:
    async with reading(rundir, answers()) as (peer, reader):
        found = await reader.read()
        assert found.bonds == ()
        assert not {"bond/show", "lacp/show"} & set(peer.methods())


async def test_release_4_0_is_asked_for_pmd_perf_show(rundir: Path) -> None:
    newer = tuple(name for name in COMMANDS if name != "dpif-netdev/pmd-stats-show")
    async with reading(rundir, answers(), newer) as (peer, reader):
        found = await reader.read()
        assert found.pmds is not None
        assert [pmd.cpu for pmd in found.pmds] == ["main", "20", "21"]
        assert ("dpif-netdev/pmd-perf-show", "-nh", "ovs-netdev") in peer.requests


async def test_release_without_fdb_statistics_has_none(rundir: Path) -> None:
    older = tuple(name for name in COMMANDS if name != "fdb/stats-show")
    async with reading(rundir, answers(), older) as (peer, reader):
        found = await reader.read(["br-int"])
        assert found.fdbs is None
        assert "fdb/stats-show" not in peer.methods()


async def test_bridge_that_is_gone_is_a_problem_and_the_others_are_read(rundir: Path) -> None:
    async with reading(rundir, answers()) as (_, reader):
        found = await reader.read(["br-gone", "br-int"])
    assert found.fdbs is not None
    assert [one.bridge for one in found.fdbs] == ["br-int"]
    assert found.problems == ("fdb/stats-show: no such bridge",)


async def test_number_of_bridges_is_bounded(rundir: Path) -> None:
    async with reading(rundir, answers()) as (_, reader):
        found = await reader.read([f"br{n}" for n in range(70)])
    assert found.fdbs is not None
    assert len(found.fdbs) == 64
    assert found.problems == ("fdb/stats-show: 64 of 70 bridges",)


async def test_offload_statistics_are_asked_once_where_offload_is_off(rundir: Path) -> None:
    async with reading(rundir, answers()) as (peer, reader):
        for _ in range(3):
            await reader.read()
        assert peer.methods().count("dpctl/offload-stats-show") == 1


async def test_offloaded_flows_are_read_where_offload_is_on(rundir: Path) -> None:
    on = answers(dpctl__offload_stats_show=recorded("offload-stats-show-3.6.3"))
    async with reading(rundir, on) as (_, reader):
        for _ in range(2):
            found = await reader.read()
            assert found.datapaths is not None
            assert found.datapaths[0].offloaded_flows == 12


async def test_one_command_that_fails_costs_its_facts_and_nothing_else(rundir: Path) -> None:
    broken = answers(dpctl__show=fails("opening datapath failed"), memory__show=text("???"))
    async with reading(rundir, broken) as (_, reader):
        found = await reader.read()
    assert found.datapaths is None
    assert found.pmds is None
    assert found.conntracks is None
    assert found.vswitchd.memory == {}
    assert found.vswitchd.coverage
    assert found.upcalls
    assert [problem.partition(":")[0] for problem in found.problems] == [
        "memory/show",
        "dpctl/show",
    ]


@pytest.mark.parametrize(
    ("answer", "reason"), [(text("???\n"), Reason.MALFORMED), (fails("no"), Reason.BROKEN)]
)
async def test_daemon_of_which_nothing_can_be_used_is_a_failure(
    rundir: Path, answer: Answer, reason: Reason
) -> None:
    names = ("coverage/show", "memory/show", "upcall/show", "dpctl/show")
    async with reading(rundir, answers() | dict.fromkeys(names, answer)) as (_, reader):
        with pytest.raises(SourceError) as caught:
            await reader.read()
    assert caught.value.reason is reason


async def test_connection_lost_in_the_middle_gives_no_half_reading(rundir: Path) -> None:
    async with reading(rundir, answers(upcall__show=closes)) as (peer, reader):
        with pytest.raises(SourceError) as caught:
            await reader.read()
        assert caught.value.reason is Reason.BROKEN
        peer.answers["upcall/show"] = recorded("upcall-show-3.1.0")
        assert (await reader.read()).upcalls


async def test_reading_has_one_deadline_for_all_commands(rundir: Path) -> None:
    async with reading(rundir, answers(dpctl__show=says_nothing), timeout_seconds=0.5) as (
        _,
        reader,
    ):
        with pytest.raises(SourceError) as caught:
            await reader.read()
    assert caught.value.reason is Reason.TIMEOUT


async def test_connection_survives_a_request_for_which_no_time_was_left(rundir: Path) -> None:
    async with Peer(rundir / "ovs-vswitchd.1.ctl", answers()) as peer:
        control = Control(rundir)
        try:
            await control.connect(5)
            with pytest.raises(SourceError) as caught:
                await control.run("memory/show", timeout=0)
            assert caught.value.reason is Reason.TIMEOUT
            assert await control.run("memory/show", timeout=5)
            assert peer.connections == 1
        finally:
            control.close()
