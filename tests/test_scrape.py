"""A scrape answers by its deadline with what it has, and never with what is old."""

import asyncio

import pytest

from agent.collectors import COLLECTORS
from agent.collectors import flow as flows
from agent.collectors.base import Collector
from agent.errors import UnknownFactError
from agent.families import Counter, Gauge, Output, Sample, Suppressed
from agent.health import SourceHealth
from agent.model.datapath import Datapath
from agent.model.node import Known, Node
from agent.scrape import Collected, Reader
from tests.clock import Clock
from tests.collectors import sample
from tests.harness import Gate, Harness, settle
from tests.logs import Logged
from tests.page import block, of

A = Gauge("a", "A [test].", ("n",))
B = Gauge("b", "B [test].", ("n",))
C = Counter("c_total", "C [test].", ("n",))


def many(**sizes: int) -> Collector:
    """Return a collector with so many series of a, b and c; b goes first, then a."""

    def collect(_node: Node) -> Output:
        for n in range(sizes["a"]):
            yield A(n, str(n))
        yield block(B, [(f'{{n="{n}"}}', n) for n in range(sizes["b"])])
        for n in range(sizes["c"]):
            yield C(n, str(n))

    return Collector("many", (A, B, C), (collect,), detail=(B, A))


def shown(collected: Collected) -> list[str]:
    return sorted({each.family.name for each in collected.samples})


# Reading


async def test_every_scrape_after_share_seconds_is_a_new_reading() -> None:
    gate = Gate()
    gate.open()
    harness = Harness(unixctl=gate)
    for expected in (1, 2, 3):
        await harness.scrape()
        assert gate.ended == expected
        harness.clock.sleep(1.001)


async def test_a_scrape_within_share_seconds_shares_the_reading() -> None:
    gate = Gate()
    gate.open()
    harness = Harness(unixctl=gate)
    await harness.scrape()
    harness.clock.sleep(1.0)
    await harness.scrape()
    assert gate.begun == 1


async def test_simultaneous_scrapes_share_one_reading_and_its_values() -> None:
    gate = Gate(lambda: harness.store.datapaths.put((sample.KERNEL,)))
    harness = Harness(unixctl=gate)
    scrapes = [asyncio.create_task(harness.series({"datapath"})) for _ in range(5)]
    await settle()
    gate.open()
    pages = await asyncio.gather(*scrapes)
    assert gate.begun == 1
    assert [of(page, "ovs_datapath_lookup_hits_total") for page in pages] == [[1830]] * 5


async def test_a_scrape_that_comes_shortly_after_a_reading_began_takes_its_result() -> None:
    gate = Gate(lambda: harness.store.datapaths.put((sample.KERNEL,)))
    harness = Harness(unixctl=gate)
    first = asyncio.create_task(harness.series({"datapath"}))
    await settle()
    harness.clock.sleep(0.9)
    second = asyncio.create_task(harness.series({"datapath"}))
    await settle()
    gate.open()
    assert of(await first, "ovs_datapath_lookup_hits_total") == [1830]
    assert of(await second, "ovs_datapath_lookup_hits_total") == [1830]
    assert gate.begun == 1


async def test_a_reading_that_began_too_long_ago_is_followed_by_another() -> None:
    """Its numbers may be as old as its beginning, whenever it ends."""
    asked: list[float] = []

    async def read() -> None:
        asked.append(harness.clock())
        taken = harness.clock()
        await gate()
        harness.store.datapaths.put((Datapath("system@x", hits=int(taken)),), taken=taken)

    gate = Gate()
    harness = Harness(unixctl=read)
    began = int(harness.clock())
    first = asyncio.create_task(harness.series({"datapath"}))
    await settle()
    harness.clock.sleep(3)
    second = asyncio.create_task(harness.series({"datapath"}))
    third = asyncio.create_task(harness.series({"datapath"}))
    await settle()
    assert len(asked) == 1, "a peer is asked one thing at a time"
    gate.open()
    assert of(await first, "ovs_datapath_lookup_hits_total") == [began]
    assert of(await second, "ovs_datapath_lookup_hits_total") == [began + 3]
    assert of(await third, "ovs_datapath_lookup_hits_total") == [began + 3]
    assert len(asked) == 2


async def test_a_reading_older_than_share_seconds_is_absent_and_never_served_again() -> None:
    harness = Harness()
    harness.fill(sample.node())
    assert of(await harness.series(), "ovs_datapath_lookup_hits_total")
    harness.clock.sleep(1.001)
    page = await harness.series()
    assert {name for name, _ in page if name.startswith("ovs_")} == {
        "ovs_build_info",
        "ovs_vswitch_info",
        "ovs_manager_connected",
        "ovs_bridge_info",
        "ovs_controller_connected",
        "ovs_controller_role",
        "ovs_interface_info",
        "ovs_interface_admin_state",
        "ovs_interface_link_state",
        "ovs_interface_mtu_bytes",
        "ovs_interface_link_speed_bytes_per_second",
        "ovs_interface_link_resets_total",
        "ovs_interface_open_error",
        "ovs_interface_bfd_state",
        "ovs_interface_bfd_remote_state",
        "ovs_interface_bfd_forwarding",
        "ovs_interface_bfd_flaps_total",
        "ovs_interface_cfm_fault",
        "ovs_tunnel_egress_carrier",
    }
    assert {name for name, _ in page if name.startswith("netns_")} == {
        "netns_info",
        "netns_address_info",
        "netns_network_info",
        "netns_network_up",
        "netns_network_carrier",
        "netns_network_mtu_bytes",
        "netns_network_carrier_changes_total",
    }


async def test_with_share_seconds_0_a_scrape_shows_what_was_read_for_it() -> None:
    gate = Gate(lambda: harness.store.datapaths.put((sample.KERNEL,)))
    gate.open()
    harness = Harness(share_seconds=0, unixctl=gate)
    assert of(await harness.series({"datapath"}), "ovs_datapath_lookup_hits_total")
    harness.clock.sleep(0.001)
    assert of(await harness.series({"datapath"}), "ovs_datapath_lookup_hits_total")
    assert gate.begun == 2


async def test_only_the_readers_that_the_chosen_collectors_need_run() -> None:
    gates = {name: Gate() for name in ("openflow", "flows", "unixctl")}
    for gate in gates.values():
        gate.open()
    harness = Harness(openflow=gates["openflow"], flows=gates["flows"], unixctl=gates["unixctl"])
    await harness.scrape({"table", "tunnel"})
    assert {name: gate.begun for name, gate in gates.items()} == {
        "openflow": 1,
        "flows": 0,
        "unixctl": 0,
    }


async def test_only_the_chosen_collectors_are_on_the_page() -> None:
    harness = Harness()
    harness.fill(sample.node())
    assert sorted(await harness.facts({"table", "agent"})) == ["agent", "table"]
    assert sorted(await harness.facts(set())) == []
    assert len(await harness.facts(None)) == len(COLLECTORS)


# The deadline


async def test_a_reader_that_hangs_costs_its_source_and_the_page_comes_by_the_deadline() -> None:
    gate = Gate()
    harness = Harness(unixctl=gate)
    harness.fill(sample.node())
    harness.store.datapaths.withdraw()
    harness.store.kernel_datapaths.withdraw()
    harness.scraper._collect_seconds["datapath"] = 0.35  # twice that is kept for the page
    loop = asyncio.get_running_loop()
    began = loop.time()
    collected = await harness.scrape(deadline_seconds=1.0)
    assert 0.29 < loop.time() - began < 1.0
    success = {each.facts.name: each.facts.success for each in collected}
    assert (success["datapath"], success["table"]) == (False, True)
    assert harness.health["unixctl"].deadline_exceeded == 1
    assert harness.health["openflow"].deadline_exceeded == 0
    await harness.close()


async def test_a_late_source_is_counted_once_a_scrape_though_two_of_its_readers_are_late() -> None:
    harness = Harness(openflow=Gate(), flows=Gate())
    for expected in (1, 2):
        await harness.scrape(deadline_seconds=0.05)
        assert harness.health["openflow"].deadline_exceeded == expected
    await harness.close()


async def test_the_page_that_came_without_a_source_says_so_itself() -> None:
    harness = Harness(unixctl=Gate())
    page = await asyncio.wait_for(harness.series_by(0.05), 5)
    assert of(page, "dataplane_agent_scrape_deadline_exceeded_total", source="unixctl") == [1]
    assert of(page, "dataplane_agent_scrape_deadline_exceeded_total", source="openflow") == [0]
    await harness.close()


async def test_a_late_reading_is_left_running_and_no_second_one_is_begun_beside_it() -> None:
    gate = Gate()
    harness = Harness(unixctl=gate)
    await harness.scrape(deadline_seconds=0.05)
    for _ in range(3):
        harness.clock.sleep(60)
        await harness.scrape(deadline_seconds=0.05)
    assert gate.begun == 1
    gate.open()
    await settle()
    assert gate.ended == 2, "the one that was waited for by all who came later"
    harness.clock.sleep(60)
    await harness.scrape(deadline_seconds=0.05)
    assert gate.begun == 3


async def test_what_a_late_reading_brings_is_for_nobody_when_it_has_grown_old() -> None:
    gate = Gate(lambda: harness.store.datapaths.put((sample.KERNEL,)))
    harness = Harness(unixctl=gate)
    await harness.scrape(deadline_seconds=0.05)
    gate.open()
    await settle()
    harness.clock.sleep(1.001)
    harness.readers["unixctl"]._read = Gate()
    page = await harness.series_by(0.05)
    assert of(page, "ovs_datapath_lookup_hits_total") == []
    await harness.close()


async def test_a_slow_collection_leaves_time_to_read_nevertheless() -> None:
    """Else each second page of a large node would be empty: nothing read, nothing to reserve."""
    gate = Gate(lambda: harness.store.datapaths.put((sample.KERNEL,)))
    gate.open()
    harness = Harness(share_seconds=0, unixctl=gate)
    harness.scraper._collect_seconds["datapath"] = 100.0
    collected = await harness.scrape({"datapath"}, deadline_seconds=0.2)
    assert collected[0].facts.success
    assert harness.health["unixctl"].deadline_exceeded == 0


async def test_the_time_that_other_collectors_took_is_not_reserved() -> None:
    harness = Harness()
    harness.scraper._collect_seconds.update(flow=100.0, table=0.5)
    chosen = [each for each in harness.scraper.collectors if each.name == "table"]
    assert harness.scraper._reserve(chosen, 8.0) == 1.0
    assert harness.scraper._reserve(harness.scraper.collectors, 8.0) == 4.0


# Bugs


async def test_a_readers_bug_is_told_and_no_scrape_hangs() -> None:
    async def bug() -> None:
        raise ZeroDivisionError("ours")

    harness = Harness(unixctl=bug)
    told: list[BaseException | None] = []
    harness.readers["unixctl"].on_bug = lambda task: told.append(task.exception())
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(harness.scrape(), 5)
    assert [str(error) for error in told] == ["ours"]


async def test_a_bug_in_a_reading_that_nobody_waits_for_any_more_is_told_too() -> None:
    def bug() -> None:
        raise ZeroDivisionError("late")

    gate = Gate(bug)
    harness = Harness(unixctl=gate)
    told: list[BaseException | None] = []
    harness.readers["unixctl"].on_bug = lambda task: told.append(task.exception())
    await harness.scrape(deadline_seconds=0.05)
    gate.open()
    await settle()
    assert [str(error) for error in told] == ["late"]


async def test_closing_a_reader_ends_the_reading_under_way() -> None:
    gate = Gate()
    reader = Reader("unixctl", SourceHealth("unixctl"), gate, 1.0, Clock())
    task = reader.refresh()
    await settle()
    await reader.close()
    assert task.cancelled()
    assert (gate.begun, gate.ended) == (1, 0)


async def test_a_collector_that_fails_costs_itself_only_and_leaves_a_traceback(
    logged: Logged,
) -> None:
    def broken(_node: Node) -> Output:
        yield A(1, "before")
        raise ZeroDivisionError("ours")

    def sound(_node: Node) -> Output:
        yield B(2, "beside")

    harness = Harness(
        (
            Collector("broken", (A, B), (broken, sound)),
            Collector("sound", (C,), (lambda _: iter((C(3, "other"),)),)),
        )
    )
    collected = {each.facts.name: each for each in await harness.scrape()}
    assert not collected["broken"].facts.success
    assert shown(collected["broken"]) == ["a", "b"]  # its other part still speaks
    assert collected["sound"].facts.success
    (event,) = logged()
    assert (event["level"], event["event"], event["collector"]) == (
        "error",
        "collector failed",
        "broken",
    )
    assert "Traceback" in event["exception"]
    assert "ZeroDivisionError: ours" in event["exception"]
    await harness.scrape()
    assert logged() == [], "one traceback, however often it is scraped"


async def test_what_a_node_has_twice_is_shown_once() -> None:
    def twice(_node: Node) -> Output:
        yield A(1, "tcp:127.0.0.1:6633")
        yield A(0, "tcp:127.0.0.1:6633")
        yield B(1, "tcp:127.0.0.1:6633")

    harness = Harness((Collector("twice", (A, B), (twice,)),))
    [collected] = await harness.scrape()
    assert [(s.family, s.value) for s in collected.samples if isinstance(s, Sample)] == [
        (A, 1),
        (B, 1),
    ]
    assert collected.facts.series == 2


async def test_an_unknown_fact_is_no_bug_and_leaves_no_line(
    logged: Logged,
) -> None:
    def unknown(_node: Node) -> Output:
        yield A(1, "before")
        raise UnknownFactError("fact")

    (collected,) = await Harness((Collector("a", (A,), (unknown,)),)).scrape()
    assert (collected.facts.success, collected.facts.series) == (False, 1)
    assert logged() == []


# Counting and the limit


async def test_series_are_counted_as_they_stand_on_the_page() -> None:
    harness = Harness()
    harness.fill(sample.node())
    collected = {each.facts.name: each.facts for each in await harness.scrape()}
    page = await harness.series()
    for name, facts in collected.items():
        if name != "agent":
            assert of(page, "dataplane_agent_series", collector=name) == [facts.series]
    flow = {family.name for family in flows.COLLECTOR.families}
    assert collected["flow"].series == sum(name in flow for name, _ in page)


async def test_none_has_no_series_and_a_suppressed_one_is_counted() -> None:
    def collect(_node: Node) -> Output:
        yield A(None, "unknown")
        yield A(0, "zero")
        yield Suppressed(5)

    (collected,) = await Harness((Collector("a", (A,), (collect,)),)).scrape()
    assert collected.samples == (Sample(A, '{n="zero"}', 0),)
    assert (collected.facts.series, collected.facts.suppressed) == (1, 5)


@pytest.mark.parametrize(
    ("sizes", "stay", "series", "suppressed"),
    [
        ({"a": 5, "b": 5, "c": 0}, ["a", "b"], 10, 0),  # just within
        ({"a": 4, "b": 4, "c": 3}, ["a", "c_total"], 7, 4),  # b is the first detail
        ({"a": 8, "b": 4, "c": 3}, ["c_total"], 3, 12),  # then a
        ({"a": 1, "b": 1, "c": 11}, [], 0, 13),  # then all: whole families, never some series
        ({"a": 11, "b": 0, "c": 3}, ["c_total"], 3, 11),
    ],
)
async def test_the_limit_refuses_whole_families_detail_first(
    sizes: dict[str, int], stay: list[str], series: int, suppressed: int
) -> None:
    (collected,) = await Harness((many(**sizes),), series_limit=10).scrape()
    facts = collected.facts
    assert [family for family in shown(collected) if sizes[family[0]]] == stay
    assert (facts.series, facts.suppressed, facts.series_limit) == (series, suppressed, 10)
    assert facts.success


async def test_a_refused_family_comes_back_at_80_percent_of_the_limit_and_not_before() -> None:
    sizes = {"a": 50, "b": 50, "c": 1}
    harness = Harness((many_of(sizes),), series_limit=100)

    async def with_b(size: int) -> list[str]:
        sizes["b"] = size
        return shown((await harness.scrape())[0])

    assert await with_b(49) == ["a", "b", "c_total"]
    assert await with_b(50) == ["a", "c_total"]
    assert await with_b(49) == ["a", "c_total"]
    assert await with_b(30) == ["a", "c_total"]
    assert await with_b(29) == ["a", "b", "c_total"]
    assert await with_b(49) == ["a", "b", "c_total"]  # and stays up to the limit itself


async def test_a_second_refusal_keeps_the_first() -> None:
    sizes = {"a": 50, "b": 60, "c": 1}
    harness = Harness((many_of(sizes),), series_limit=100)
    assert shown((await harness.scrape())[0]) == ["a", "c_total"]
    sizes["a"] = 120
    assert shown((await harness.scrape())[0]) == ["c_total"]
    sizes["a"] = 30
    assert shown((await harness.scrape())[0]) == ["c_total"]  # 91 of 100
    sizes["b"] = 40
    assert shown((await harness.scrape())[0]) == ["a", "b", "c_total"]


async def test_the_limit_warns_once(logged: Logged) -> None:
    harness = Harness((many(a=4, b=4, c=3),), series_limit=10)
    for _ in range(3):
        await harness.scrape()
    (event,) = logged()
    assert (
        event.items()
        >= {
            "level": "warning",
            "event": "series limit reached",
            "collector": "many",
            "limit": 10,
            "series": 11,
            "left_out": "b",
        }.items()
    )


async def test_the_agents_own_page_is_last_and_says_how_the_others_did_in_this_scrape() -> None:
    harness = Harness()
    harness.fill(sample.node())
    harness.store.bonds.withdraw()
    collected = await harness.scrape()
    assert collected[-1].facts.name == "agent"
    page = await harness.series()
    success = "dataplane_agent_scrape_collector_success"
    assert of(page, success, collector="bond") == [0]
    assert of(page, success, collector="table") == [1]
    assert of(page, success, collector="agent") == []
    assert len(of(page, "dataplane_agent_series_limit")) == len(COLLECTORS) - 1


def test_a_known_fact_that_is_false_in_python_is_known() -> None:
    assert Known("bonds", ()).require() == ()
    with pytest.raises(UnknownFactError, match="bonds is not known"):
        Known("bonds").require()


def many_of(sizes: dict[str, int]) -> Collector:
    """Return a collector whose sizes the test changes between scrapes."""

    def collect(node: Node) -> Output:
        yield from many(**sizes).collect[0](node)

    return Collector("many", (A, B, C), (collect,), detail=(B, A))
