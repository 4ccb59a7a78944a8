"""ovn-controller dies, stands still and begins anew under traffic: nothing is made up or late."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from lab.agent import Agent
from lab.ovn import OvnCloud
from lab.ovn_chassis import Chassis
from lab.ovn_traffic import KINDS
from lab.process import wait_until
from tests.e2e.ovn_page import (
    ACLS,
    CONNECTED,
    DROPPED,
    EVERY_SCRAPE_READS,
    PACKETS,
    UNATTRIBUTED,
    UP,
    WAIT_SECONDS,
    agent_on,
    counted,
    total,
)
from tests.e2e.ovn_scrapes import Scrapes, no_counter_ever_went_down, no_scrape_was_late, traffic
from tests.e2e.page import Page, value_of
from tests.e2e.test_instances_stalled import Held

pytestmark = [pytest.mark.e2e, pytest.mark.node]

SOURCE = {"source": "ovn_controller"}
AROUND = ("conntrack", "netns", "openflow", "ovsdb", "rtnetlink", "unixctl")
FAILURES = "dataplane_agent_source_failures_total"
EXCEEDED = "dataplane_agent_scrape_deadline_exceeded_total"
DEADLINE_SECONDS = 4.0
"""Less than the agent waits for ovn-controller."""
TUNNELS = "dataplane_tunnel_endpoint_info"
OF_THE_SWITCHS_DATABASE = {
    f"ovn_controller_{name}"
    for name in (
        *("bridge_mappings", "encap_ip", "encap_type", "monitor_all", "sb_connection_method"),
        *("nb_cfg", "nb_cfg_timestamp_seconds"),
    )
}
STAYS = OF_THE_SWITCHS_DATABASE | {"ovn_controller_build_info"}
LOST_HERE = [name for name, kind in KINDS.items() if not kind.arrives and "tunnel" not in name]
"""Kinds of traffic that are lost on the first chassis."""


class Watched(NamedTuple):
    """The first chassis and its agent, which lives as long as all tests here."""

    cloud: OvnCloud
    chassis: Chassis
    agent: Agent


@pytest.fixture(scope="module")
def watched(ovn_installed: None) -> Iterator[Watched]:  # noqa: ARG001 - needed, not used
    with OvnCloud() as cloud, agent_on(cloud.chassis[0], env=EVERY_SCRAPE_READS) as agent:
        yield Watched(cloud, cloud.chassis[0], agent)
        assert "Traceback" not in agent.log


@pytest.fixture
def scrapes(watched: Watched) -> Iterator[Scrapes]:
    with Scrapes(watched.agent) as scrapes:
        scrapes.wait(is_whole, "a page of everything")
        yield scrapes
        no_counter_ever_went_down(scrapes)
        no_scrape_was_late(scrapes)
        (started,) = {value_of(each.page, "process_start_time_seconds") for each in scrapes.all}
        assert started


def is_whole(page: Page) -> bool:
    """Say whether all sources are up and ovn-controller is connected."""
    return (
        {value for labels, value in page[UP] if labels["source"] in AROUND} == {1}
        and value_of(page, UP, **SOURCE) == 1
        and ACLS in page
        and page.get(CONNECTED) == [({}, 1)]
    )


def of_controller(page: Page) -> set[str]:
    return {name for name in page if name.startswith("ovn_controller_")}


def lost(page: Page) -> float:
    return total(page, DROPPED, kind="lost")


def reasons(before: Page, page: Page) -> set[str]:
    """Return why ovn-controller could not be read since then."""
    return {
        labels["reason"]
        for labels, value in page[FAILURES]
        if labels["source"] == "ovn_controller" and value > value_of(before, FAILURES, **labels)
    }


def exit_with(*arguments: str) -> Callable[[Chassis], None]:
    def leave(chassis: Chassis) -> None:
        chassis.controller_appctl("exit", *arguments)
        wait_until(lambda: not chassis.controller.alive, what="ovn-controller to exit")

    return leave


@pytest.mark.parametrize(
    ("end", "tunnels"),
    [
        pytest.param(exit_with("--restart"), 1, id="left, to be started again"),
        pytest.param(exit_with(), 0, id="left for good"),
        pytest.param(Chassis.kill_controller, 1, id="killed"),
    ],
)
def test_an_ovn_controller_that_ends_takes_its_own_word_with_it_and_nothing_else(
    watched: Watched,
    scrapes: Scrapes,
    end: Callable[[Chassis], None],
    tunnels: int,
) -> None:
    """Its flows stay where they are, and go on to count."""
    cloud, chassis, _ = watched
    before = scrapes.all[-1].page
    with traffic(cloud):
        end(chassis)
        ended = time.monotonic()
        dead_socket = any(chassis.ovn_rundir.glob("ovn-controller.*.ctl"))
        reason = "refused" if dead_socket else "absent"
        first = scrapes.wait(lambda page: reason in reasons(before, page), "the loss")
        last = scrapes.wait(lambda page: lost(page) > lost(first) + 10, "flows to count on")
        begins = time.monotonic()
        chassis.start_controller()
        cloud.central.sync()
        now = scrapes.wait(is_whole, "everything to be back")
        scrapes.wait(lambda page: lost(page) > lost(now) + 10, "the new flows to count")
    meanwhile = [scrape.page for scrape in scrapes.since(ended, begins)]
    assert len(meanwhile) >= 2
    for page in meanwhile:
        assert {labels["source"]: value for labels, value in page[UP]} == {
            labels["source"]: 0 if labels["source"] == "ovn_controller" else value
            for labels, value in before[UP]
        }
        # A reading that was under way then was broken off.
        assert reasons(before, page) <= {reason, "broken"}
        assert of_controller(page) == STAYS
        assert page["ovn_controller_build_info"] == before["ovn_controller_build_info"]
        assert len(page.get(TUNNELS, [])) == tunnels
        failed = [
            labels["collector"]
            for labels, value in page["dataplane_agent_scrape_collector_success"]
            if value != 1
        ]
        assert failed == ["ovn_controller"]
    for name in (PACKETS, ACLS):
        assert total(last, name) > total(first, name), name
    assert of_controller(now) == of_controller(before)
    assert now["ovn_controller_build_info"] == before["ovn_controller_build_info"]
    assert now.keys() >= before.keys()


def test_a_busy_main_loop_costs_its_own_word_and_makes_no_scrape_late(watched: Watched) -> None:
    """It takes connections and answers nothing, as while it computes everything anew."""
    cloud, chassis, agent = watched
    before = held(agent)
    with Scrapes(agent, DEADLINE_SECONDS) as scrapes, traffic(cloud):
        whole = scrapes.wait(is_whole, "a page of everything")
        chassis.pause_controller()
        paused = time.monotonic()
        try:
            first = scrapes.wait(lambda _: True, "a page without ovn-controller")
            last = scrapes.wait(lambda page: gave_up(page) > gave_up(whole), "it to be given up")
            scrapes.wait(lambda page: lost(page) > lost(first) + 10, "flows to count on")
            resumed = time.monotonic()
        finally:
            chassis.resume_controller()
        scrapes.wait(is_whole, "everything to be back")
    for page in (scrape.page for scrape in scrapes.since(paused, resumed)):
        assert value_of(page, UP, **SOURCE) == 0
        assert of_controller(page) == STAYS
        assert {value for labels, value in page[UP] if labels["source"] in AROUND} == {1}
    # Until it was given up, pages went out at their deadline, without it.
    assert value_of(last, EXCEEDED, **SOURCE) > value_of(whole, EXCEEDED, **SOURCE)
    no_counter_ever_went_down(scrapes)
    no_scrape_was_late(scrapes)
    wait_until(
        lambda: held(agent) <= before, timeout=WAIT_SECONDS, what="the descriptors it had before"
    )


def gave_up(page: Page) -> float:
    return value_of(page, FAILURES, **SOURCE, reason="timeout")


def held(agent: Agent) -> int:
    """Return how many descriptors it holds when nobody asks it anything."""
    agent.get()
    return Held(agent).descriptors


def test_flows_that_are_made_anew_lose_no_packet(watched: Watched, scrapes: Scrapes) -> None:
    cloud, chassis, agent = watched
    node = {"engine_node": "logical_flow_output"}
    recomputes = "ovn_controller_engine_recompute_total"
    before = counted(chassis, agent)
    with traffic(cloud) as sent:
        for _ in range(5):
            now = scrapes.wait(lambda _: True, "a page")
            chassis.recompute()
            done = value_of(now, recomputes, **node)
            scrapes.wait(
                lambda page, done=done: value_of(page, recomputes, **node) > done,  # type: ignore[misc]
                "a recompute",
            )
    refused = sum(sent[name] for name in LOST_HERE)
    assert refused > 20
    after = scrapes.wait(lambda page: lost(page) == lost(before) + refused, "all that was lost")
    assert value_of(after, recomputes, **node) >= value_of(before, recomputes, **node) + 5
    assert total(after, UNATTRIBUTED) == total(before, UNATTRIBUTED)
