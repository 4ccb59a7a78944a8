"""The benchmarks' flow tables are real, alike every time, and count when they are told to."""

import re
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from lab.openflow import FlowStats
from lab.probe import KINDS, Probe
from lab.recorded import NODES, Flow, parse_flows
from lab.shapes import (
    MANY_FLOWS_PER_PORT,
    SHAPES,
    ShapedNode,
    neutron_flows,
    neutron_rules_flows,
    ovn_flows,
)
from lab.visits import Visitor
from tests.conftest import OPEN_VSWITCH, require_parts

FLOWS = 1000
TAP, MAC, ADDRESS = "tap648437e1-0d", "fa:16:3e:61:21:c6", "192.168.101.85"


@pytest.fixture(scope="module", params=SHAPES)
def shaped(request: pytest.FixtureRequest) -> Iterator[ShapedNode]:
    require_parts(*OPEN_VSWITCH)
    with ShapedNode(request.param, FLOWS) as node:
        node.load()
        yield node


@pytest.fixture
def visitor(shaped: ShapedNode) -> Iterator[Visitor]:
    visitor = Visitor(shaped.mgmt)
    yield visitor
    visitor.close()


@pytest.mark.parametrize("shape", SHAPES)
def test_flows_are_as_many_as_asked_and_the_same_every_time(shape: str) -> None:
    flows = list(SHAPES[shape].flows(10 * FLOWS))
    assert len(flows) == 10 * FLOWS
    assert flows == list(SHAPES[shape].flows(10 * FLOWS))


def test_a_switch_takes_every_flow(visitor: Visitor) -> None:
    assert len(visitor.flows()) == FLOWS


def test_neutrons_have_one_cookie_and_their_tables_the_recorded_proportions() -> None:
    flows = list(neutron_flows(100 * FLOWS))
    assert len({flow.split(",")[0] for flow in flows}) == 1
    recording = parse_flows((NODES / "lb_ovs" / "dump-flows-br-int.txt").read_text())
    recorded = Counter(f"table={flow.table}" for flow in recording)
    there = {table: number / len(recording) for table, number in recorded.items()}
    for table in ("table=71", "table=72", "table=81"):
        assert share(flows, table) == pytest.approx(there[table], abs=0.06), table
    # The largest: a few more rules than the recorded ports have.
    assert there["table=82"] < share(flows, "table=82") < 1 / 3


def test_with_many_rules_most_of_neutrons_are_in_table_82() -> None:
    assert share(list(neutron_rules_flows(100 * FLOWS)), "table=82") == pytest.approx(0.8, abs=0.01)


def test_ovns_have_a_cookie_each_and_no_table_has_a_quarter() -> None:
    flows = list(ovn_flows(100 * FLOWS))
    assert len({flow.split(",")[0] for flow in flows}) > 99 * FLOWS
    tables = Counter(flow.split(",")[1] for flow in flows)
    assert max(tables.values()) < 25 * FLOWS
    assert len(tables) == 37


def share(flows: list[str], table: str) -> float:
    return sum(flow.split(",")[1] == table for flow in flows) / len(flows)


def test_a_neutron_port_has_the_flows_of_the_recorded_ones() -> None:
    """All but its rules, which the recorded one has few of and this one many."""
    recording = parse_flows((NODES / "lb_ovs" / "dump-flows-br-int.txt").read_text())
    recorded = {without_names(flow) for flow in recording if belongs(flow)}
    require_parts(*OPEN_VSWITCH)
    with ShapedNode("neutron-rules", MANY_FLOWS_PER_PORT) as node:
        node.load()
        shaped = {without_names(flow) for flow in parse_flows(node.ofctl("dump-flows", "br-int"))}
    assert len(recorded) == 51
    ssh = {each for each in recorded if each[2].endswith("tcp,reg5=PORT,tp_dst=22")}
    assert recorded - shaped == ssh


def belongs(flow: Flow) -> bool:
    return TAP in flow.text or MAC in flow.text or "reg5=0x4" in flow.match


def without_names(flow: Flow) -> tuple[int, int, str, str]:
    """Write both nodes' port, network and addresses in the same words."""
    words = (
        (rf'in_port=("{TAP}"|1\b)', "in_port=PORT"),
        (rf'output:("{TAP}"|1)(?=,|$)', "output:PORT"),
        (r"reg5=0x[41]\b", "reg5=PORT"),
        (r"load:0x[41]->NXM_NX_REG5", "load:PORT->NXM_NX_REG5"),
        (r"load:0x[21]->NXM_NX_REG6", "load:NET->NXM_NX_REG6"),
        (r"(reg6=0x|ct_zone=|dl_vlan=)[21]\b", r"\1NET"),
        (f"{MAC}|fa:16:3e:00:00:01", "MAC"),
        (rf"{ADDRESS}\b|10\.0\.0\.1\b", "IP"),
        (r"fe80::f816:3eff:fe(61:21c6|00?:1)\b", "IPV6"),
    )
    match, actions = flow.match, flow.actions
    for pattern, word in words:
        match, actions = re.sub(pattern, word, match), re.sub(pattern, word, actions)
    return flow.table, flow.priority, match, actions


def test_a_visited_tenth_of_the_flows_counts(visitor: Visitor) -> None:
    before = counts(visitor.flows())
    visitor.visit(visitor.prepare(0.1))
    grown = [flow for flow, n in counts(visitor.flows()).items() if n > before[flow]]
    assert 0.08 * FLOWS < len(grown) < 0.13 * FLOWS


def test_nearly_every_flow_can_be_visited(visitor: Visitor) -> None:
    before = counts(visitor.flows())
    visitor.visit(visitor.prepare(1.0))
    grown = [flow for flow, n in counts(visitor.flows()).items() if n > before[flow]]
    assert len(grown) >= 0.8 * FLOWS  # not clauses of conjunctions, nor what others shadow


def counts(flows: list[FlowStats]) -> dict[tuple[int, int, bytes], int]:
    return {(flow.table, flow.priority, flow.match): flow.packets for flow in flows}


def test_a_probe_sees_how_long_a_switch_is_away(shaped: ShapedNode) -> None:
    with Probe(shaped.mgmt) as probe:
        shaped.pause_vswitchd()
        time.sleep(0.3)  # the promise is about time passing
        shaped.resume_vswitchd()
        time.sleep(0.1)
    assert set(probe.waits) == set(KINDS)
    for waits in probe.waits.values():
        assert waits.worst_seconds > 0.25
        assert waits.p99_seconds > 0.1
        assert waits.asked > 1
