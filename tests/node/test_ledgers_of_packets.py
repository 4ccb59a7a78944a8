"""Ledgers over real flows that come, change and go, against packets that were counted out."""

from collections.abc import Iterator
from functools import partial
from itertools import count

import pytest

from lab import frames
from lab.agent import Agent
from lab.node import Node
from lab.process import wait_until
from tests import page
from tests.conftest import OPEN_VSWITCH, require_parts
from tests.node.packets import (
    ANN,
    BOB,
    add_bridges,
    add_flows,
    booked,
    delivered,
    events,
    missed,
    port,
    push_often,
    send,
    settle,
    unattributed,
    watching,
)

DROP = "in_port=1 actions=drop"
DROPPED = "ovs_flow_table_dropped_packets_total"
DROPPED_OF = "ovs_interface_flow_dropped_packets_total"
DELIVER = "in_port=3 actions=output:2"
_numbers = count()


@pytest.fixture(scope="module")
def switch() -> Iterator[Node]:
    require_parts(*OPEN_VSWITCH)
    with Node() as node:
        push_often(node)
        yield node


@pytest.fixture
def bridge(switch: Node) -> Iterator[str]:
    """A bridge for this test, with ports 1 to 4 and without flows."""
    name = f"br{next(_numbers)}"
    add_bridges(switch, [name])
    yield name
    switch.vsctl("del-br", name)


# -- flows that come, change and go ----------------------------------------------------------------


async def test_a_flow_that_is_deleted_leaves_its_losses_and_adds_to_them_when_it_is_back(
    switch: Node, bridge: str
) -> None:
    add_flows(switch, bridge, DROP, DELIVER)
    async with watching(switch, bridge) as watch:
        await watch.flows()
        send(switch, port(bridge, 1), 5)
        settle(switch)
        assert booked((await watch.flows())[bridge]) == {(0, "lost"): 5}
        switch.ofctl("del-flows", bridge, "in_port=1")
        assert booked((await watch.flows())[bridge]) == {(0, "lost"): 5}
        add_flows(switch, bridge, DROP)
        send(switch, port(bridge, 1), 2)
        settle(switch)
        reading = (await watch.flows())[bridge]
    assert booked(reading) == {(0, "lost"): 7}
    assert unattributed(reading) == {}
    assert reading.totals.changes == {"added": 1, "removed": 1, "modified": 0}


async def test_what_a_flow_counts_between_its_last_reading_and_its_end_is_unattributed(
    switch: Node, bridge: str
) -> None:
    add_flows(switch, bridge, DROP, DELIVER)
    async with watching(switch, bridge) as watch:
        await watch.flows()
        send(switch, port(bridge, 1), 5)
        settle(switch)
        await watch.flows()
        send(switch, port(bridge, 1), 3)
        send(switch, port(bridge, 3), 4)
        settle(switch)
        switch.ofctl("del-flows", bridge, "in_port=1")
        reading = (await watch.flows())[bridge]
        assert booked(reading) == {(0, "lost"): 5}
        assert unattributed(reading) == {0: 3}
        add_flows(switch, bridge, DROP)
        send(switch, port(bridge, 1), 2)
        settle(switch)
        reading = (await watch.flows())[bridge]
    assert booked(reading) == {(0, "lost"): 7}
    assert unattributed(reading) == {0: 3}


async def test_a_flow_that_comes_and_goes_between_two_readings_is_unattributed(
    switch: Node, bridge: str
) -> None:
    add_flows(switch, bridge, DELIVER)
    async with watching(switch, bridge) as watch:
        await watch.flows()
        add_flows(switch, bridge, DROP)
        send(switch, port(bridge, 1), 6)
        settle(switch)
        switch.ofctl("del-flows", bridge, "in_port=1")
        reading = (await watch.flows())[bridge]
    assert booked(reading) == {}
    assert unattributed(reading) == {0: 6}


async def test_a_flow_that_is_added_over_keeps_counting(switch: Node, bridge: str) -> None:
    """As neutron and ovn-controller do all the time: another cookie, the same match."""
    add_flows(switch, bridge, f"cookie=0x1,{DROP}", DELIVER)
    async with watching(switch, bridge) as watch:
        await watch.flows()
        send(switch, port(bridge, 1), 5)
        settle(switch)
        await watch.flows()
        send(switch, port(bridge, 1), 3)
        settle(switch)
        add_flows(switch, bridge, f"cookie=0x2,{DROP}")
        send(switch, port(bridge, 1), 1)
        settle(switch)
        reading = (await watch.flows())[bridge]
    assert booked(reading) == {(0, "lost"): 9}
    assert unattributed(reading) == {}
    assert reading.totals.changes == {"added": 0, "removed": 0, "modified": 1}


@pytest.mark.parametrize("after", [3, 4, 9])
async def test_a_flow_whose_counters_are_reset_counts_from_zero(
    after: int, switch: Node, bridge: str
) -> None:
    """Also when it has counted past its old figure by the time of the next reading."""
    add_flows(switch, bridge, DROP, DELIVER)
    async with watching(switch, bridge) as watch:
        await watch.flows()
        send(switch, port(bridge, 1), 4)
        settle(switch)
        await watch.flows()
        add_flows(switch, bridge, f"reset_counts,{DROP}")
        send(switch, port(bridge, 1), after)
        settle(switch)
        reading = (await watch.flows())[bridge]
    [table] = reading.tables
    assert sorted(table.packets.tolist()) == [0, after]
    assert booked(reading) == {(0, "lost"): 4 + after}
    assert unattributed(reading) == {}


async def test_what_was_lost_before_a_flow_was_opened_stays_lost(switch: Node, bridge: str) -> None:
    """The judgement is of the flows as they are; what was booked is not judged again."""
    closed = "table=10,in_port=1 actions=drop"
    add_flows(switch, bridge, "in_port=1 actions=resubmit(,10)", DELIVER, closed)
    async with watching(switch, bridge) as watch:
        await watch.flows()
        send(switch, port(bridge, 1), 4)
        settle(switch)
        assert booked((await watch.flows())[bridge]) == {(0, "lost"): 4}
        add_flows(switch, bridge, "table=10,in_port=1 actions=output:4")
        await watch.flows()
        send(switch, port(bridge, 1), 3)
        settle(switch)
        assert booked((await watch.flows())[bridge]) == {(0, "lost"): 4}
        add_flows(switch, bridge, closed)
        await watch.flows()
        send(switch, port(bridge, 1), 2)
        settle(switch)
        assert booked((await watch.flows())[bridge]) == {(0, "lost"): 6}
        assert delivered((await watch.bridges())[bridge]) == 3


# -- connections that come and go ------------------------------------------------------------------


async def test_a_new_connection_of_ours_changes_nothing(switch: Node, bridge: str) -> None:
    add_flows(switch, bridge, DROP, DELIVER)
    async with watching(switch, bridge) as watch:
        await watch.flows()
        send(switch, port(bridge, 1), 5)
        settle(switch)
        before = (await watch.flows())[bridge]
        watch.source.close()
        after = (await watch.flows())[bridge]
        assert after.totals == before.totals
        assert after.fate is before.fate
        watch.source.close()
        send(switch, port(bridge, 1), 3)
        settle(switch)
        reading = (await watch.flows())[bridge]
    assert booked(reading) == {(0, "lost"): 8}
    assert unattributed(reading) == {}


async def test_packets_without_a_flow_are_not_sent_up_because_we_are_connected(
    switch: Node, bridge: str
) -> None:
    """A switch that does not know our version yet takes us for a controller that wants them."""
    async with watching(switch, bridge) as watch:
        await watch.bridges()
        before = events(switch)
        send(switch, port(bridge, 1), 5)
        assert events(switch) - before == 5
        assert "userspace" not in switch.appctl("dpctl/dump-flows")
        settle(switch)
        assert missed((await watch.bridges())[bridge]) == {0: 5}


async def test_ovs_vswitchd_is_killed_and_what_comes_after_is_counted_exactly(node: Node) -> None:
    """Also when it has counted past its old figures by the time of the next reading."""
    push_often(node)
    add_bridges(node, ["br0"])
    add_flows(node, "br0", DROP, DELIVER)
    async with watching(node, "br0") as watch:
        await watch.flows()
        send(node, port("br0", 1), 5)
        settle(node)
        assert booked((await watch.flows())["br0"]) == {(0, "lost"): 5}
        send(node, port("br0", 1), 3)  # nobody reads these, and they die with the process
        node.kill_vswitchd()
        assert await watch.flows() == {}
        node.start_vswitchd()
        add_flows(node, "br0", DROP, DELIVER)
        send(node, port("br0", 1), 9)
        settle(node)
        reading = await watch.flows_again("br0")
        assert booked(reading) == {(0, "lost"): 5 + 9}
        assert unattributed(reading) == {}
        send(node, port("br0", 1), 2)
        settle(node)
        reading = (await watch.flows())["br0"]
    assert booked(reading) == {(0, "lost"): 5 + 9 + 2}
    assert unattributed(reading) == {}


# -- more than one bridge's flows ------------------------------------------------------------------


async def test_what_a_flood_sends_across_a_patch_pair_is_booked_as_patch(switch: Node) -> None:
    near, far = f"br{next(_numbers)}", f"br{next(_numbers)}"
    add_bridges(switch, [near, far])
    for here, there in ((near, far), (far, near)):
        interface = ("--", "set", "Interface", f"{here}.p", "type=patch", "ofport_request=9")
        switch.vsctl("add-port", here, f"{here}.p", *interface, f"options:peer={there}.p")
    add_flows(switch, near, "in_port=4 actions=output:9", "priority=1 actions=NORMAL")
    add_flows(
        switch,
        far,
        "in_port=9,udp actions=resubmit(,10)",
        "in_port=9,tcp actions=drop",
        "in_port=1 actions=drop",
        "priority=1 actions=NORMAL",
        "table=10,udp,nw_src=10.0.0.1 actions=drop",
        "table=10,udp,nw_src=10.0.0.2 actions=output:1",
    )
    syn = frames.tcp(ANN, BOB, 1000, 80)
    async with watching(switch, near, far) as watch:
        await watch.flows()
        before = events(switch)
        send(switch, port(near, 1), 5)
        send(switch, port(near, 1), 2, syn)
        assert events(switch) == before, "the other ports of the bridge have got them"
        send(switch, port(far, 1), 3)
        assert events(switch) == before + 3
        settle(switch)
        readings = await watch.flows()
        assert booked(readings[near]) == {}
        assert booked(readings[far]) == {(10, "patch"): 5, (0, "patch"): 2, (0, "lost"): 3}
        # What one bridge sends to the other and nowhere else looks the same from there.
        send(switch, port(near, 4), 4)
        assert events(switch) == before + 3 + 4
        settle(switch)
        readings = await watch.flows()
    switch.vsctl("del-br", near, "--", "del-br", far)
    assert booked(readings[far]) == {(10, "patch"): 9, (0, "patch"): 2, (0, "lost"): 3}


# -- what is seen elsewhere, or nowhere ------------------------------------------------------------


async def test_what_a_meter_drops_is_seen_by_the_meter_alone(switch: Node, bridge: str) -> None:
    meter = "meter=1,pktps,burst,bands=type=drop,rate=1,burst_size=1"
    switch.ofctl("-OOpenFlow13", "add-meter", bridge, meter)
    add_flows(switch, bridge, "in_port=1 actions=meter:1,output:2", "in_port=2 actions=drop")
    async with watching(switch, bridge) as watch:
        await watch.flows()
        before = events(switch)
        send(switch, port(bridge, 1), 20)
        assert events(switch) == before
        settle(switch)
        flows, reading = (await watch.flows())[bridge], (await watch.bridges())[bridge]
    [stats] = reading.meters
    assert 0 < delivered(reading) < 20
    assert stats.band_packets == (20 - delivered(reading),)
    assert booked(flows) == {}


async def test_a_loop_with_a_way_out_that_packets_do_not_take_is_an_event_alone(
    switch: Node, bridge: str
) -> None:
    add_flows(switch, bridge, "in_port=1 actions=resubmit(,10)", "table=10 actions=resubmit(,0)")
    add_flows(switch, bridge, DELIVER)
    async with watching(switch, bridge) as watch:
        await watch.flows()
        before = events(switch, "drop_action_recursion_too_deep")
        send(switch, port(bridge, 1), 5)
        assert events(switch, "drop_action_recursion_too_deep") == before + 5
        settle(switch)
        assert booked((await watch.flows())[bridge]) == {}


# -- the whole process -----------------------------------------------------------------------------

FIREWALL = """
table=0,in_port=1 actions=load:1->NXM_NX_REG5[],resubmit(,71)
table=0,in_port=2 actions=load:2->NXM_NX_REG5[],resubmit(,71)
table=0,in_port=4 actions=resubmit(,81)
table=23 actions=drop
table=71,priority=9,udp,reg5=0x1,nw_src=10.0.0.1 actions=resubmit(,72)
table=71,priority=9,reg5=0x2 actions=resubmit(,72)
table=71,priority=1,reg5=0x1 actions=ct_clear,resubmit(,93)
table=72,udp actions=ct(table=73)
table=73,udp,reg5=0x1 actions=output:4
table=73,udp,reg5=0x2 actions=ct(commit),output:4,resubmit(,91)
table=81 actions=load:1->NXM_NX_REG5[],resubmit(,82)
table=82,priority=9,udp,reg5=0x1,tp_dst=1000 actions=ct(commit),output:1,resubmit(,92)
table=82,priority=1,reg5=0x1 actions=resubmit(,93)
table=91 actions=drop
table=92 actions=drop
table=93 actions=drop
"""
"""The openvswitch firewall of neutron in short: instances at ports 1 and 2, the network at 4."""


COLLECT = "/metrics?collect[]=drop"


def test_the_page_says_whose_packets_were_lost_and_the_datapath_agrees(
    switch: Node, bridge: str
) -> None:
    add_flows(switch, bridge, *FIREWALL.strip().split("\n"))
    tap, other, wire = (port(bridge, number) for number in (1, 2, 4))
    with Agent(switch.rundir, env={"DATAPLANE_AGENT_SCRAPE__SHARE_SECONDS": "0"}) as agent:
        # Nothing is judged before the database has said which ports there are.
        before = wait_until(partial(judged, agent, bridge), what="a judgement")
        assert before is not None
        explicit = events(switch)
        send(switch, tap, 3, frames.udp(ANN, BOB, 1000, 2000, b""))
        send(switch, tap, 4, frames.udp(BOB, ANN, 1000, 2000, b"an address that is not its own"))
        send(switch, other, 5, frames.udp(ANN, BOB, 1000, 2000, b""))
        send(switch, wire, 6, frames.udp(BOB, ANN, 2000, 1000, b""))
        send(switch, wire, 7, frames.udp(BOB, ANN, 2000, 1001, b"to a port that is not open"))
        settle(switch)
        after = page.series(agent.get(COLLECT).body)
    grown = {series: value - before.get(series, 0) for series, value in after.items()}
    dropped = {labels(each): n for each, n in grown.items() if n and each[0] == DROPPED}
    assert dropped == {(bridge, "71", "lost"): 4, (bridge, "82", "lost"): 7}
    assert events(switch) - explicit == sum(dropped.values())
    for direction, lost in (("from_instance", 4), ("to_instance", 7)):
        assert page.of(grown, DROPPED_OF, interface=tap, direction=direction) == [lost]
        assert page.of(grown, DROPPED_OF, interface=other, direction=direction) in ([], [0])
    assert not any(page.of(grown, "ovs_flow_table_unattributed_packets_total"))
    names = {labels(each, "table", "name") for each in after if each[0] == "ovs_flow_table_info"}
    assert {("71", "base_egress"), ("82", "rules_ingress")} <= names


def judged(agent: Agent, bridge: str) -> page.Series | None:
    """Scrape; ``None`` while the page does not say what a bridge has lost."""
    found = page.series(agent.get(COLLECT).body)
    return found if page.of(found, DROPPED, bridge=bridge, kind="lost") else None


def labels(series: tuple[str, frozenset[tuple[str, str]]], *names: str) -> tuple[str, ...]:
    found = dict(series[1])
    return tuple(found[name] for name in names or ("bridge", "table", "kind"))
