"""A real node: what its flows had counted when it was written down, added up by fate."""

from collections import Counter

import pytest

from agent.model.flow import KINDS, Flow, Scope
from agent.wire.openflow.effects import read_instructions
from agent.wire.openflow.match import format_match, match_scope
from lab.recorded import NODES
from tests.pipelines.written import Tables, counted, judge
from tests.wire.openflow import recorded

TAPS = {"tap648437e1-0d": 4, "tap13abc033-93": 5, "tap9113df4c-ca": 6}
"""Numbers as reg5 in the flows has them."""
OTHERS = {
    name: number
    for number, name in enumerate(
        (
            *("patch-tun", "int-br-provider", "int-br-mgmt", "phy-br-provider", "phy-br-mgmt"),
            *("patch-int", "vxlan-ac10000b"),
        ),
        101,
    )
}
NAMES = TAPS | OTHERS
PATCH = frozenset(number for name, number in OTHERS.items() if not name.startswith("vxlan"))

Booked = dict[tuple[int, str], int]


def read(bridge: str) -> tuple[Tables, dict[Flow, int]]:
    text = (NODES / "lb_ovs" / f"dump-flows-{bridge}.txt").read_text(encoding="utf-8")
    flows = [counted(line, NAMES) for line in text.splitlines() if "actions=" in line]
    tables: Tables = {}
    for flow, _packets in flows:
        tables[flow.table_id] = (*tables.get(flow.table_id, ()), flow)
    return tables, dict(flows)


def add_up(tables: Tables, packets: dict[Flow, int]) -> tuple[Booked, dict[tuple[int, str], int]]:
    """Packets by table and kind, and those lost by port and direction."""
    fate = judge(tables, {}, PATCH)
    booked, owned = Counter[tuple[int, str]](), Counter[tuple[int, str]]()
    for table, codes in fate.kinds.items():
        for index, code in enumerate(codes.tolist()):
            count = packets[tables[table][index]]
            if KINDS[code] in ("lost", "copy", "patch") and count:
                booked[table, KINDS[code]] += count
            if index in fate.owners.get(table, {}) and count:
                owned[fate.owners[table][index]] += count
    assert fate.pipeline == "neutron"
    return dict(booked), dict(owned)


def test_the_integration_bridge_lost_nineteen_packets() -> None:
    booked, owned = add_up(*read("br-int"))
    assert booked == {(0, "patch"): 402, (71, "lost"): 14, (72, "lost"): 5}
    assert owned == {
        (TAPS["tap648437e1-0d"], "from_instance"): 6,
        (TAPS["tap13abc033-93"], "from_instance"): 3,
        (TAPS["tap9113df4c-ca"], "from_instance"): 5,
    }


@pytest.mark.parametrize(
    ("bridge", "booked"),
    [
        ("br-provider", {(0, "patch"): 435}),
        ("br-mgmt", {(0, "patch"): 582}),
        ("br-tun", {(22, "patch"): 726}),
    ],
)
def test_the_other_bridges_lost_none(bridge: str, booked: Booked) -> None:
    assert add_up(*read(bridge)) == (booked, {})


def decoded(bridge: str) -> Tables:
    """The same flows as a switch sends them, read by the agent; ports have other numbers there."""
    names = recorded.port_names(bridge, "of13")
    tables: Tables = {}
    for entry in recorded.flows(bridge, "of13"):
        effect, output = read_instructions(entry.instructions)
        port = match_scope(entry.match).in_port
        flow = Flow(
            entry.table_id,
            entry.priority,
            format_match(entry.match, names),
            entry.cookie,
            Scope(in_port=None if port is None else NAMES[names[port]]),
            effect,
            output,
        )
        tables[flow.table_id] = (*tables.get(flow.table_id, ()), flow)
    return tables


def kinds(tables: Tables) -> Counter[tuple[int, int, str, str]]:
    fate = judge(tables, {}, PATCH)
    return Counter(
        (table, flow.priority, flow.match, KINDS[code])
        for table, codes in fate.kinds.items()
        for flow, code in zip(tables[table], codes.tolist(), strict=True)
    )


@pytest.mark.parametrize("bridge", ["br-int", "br-provider", "br-tun"])
def test_flows_from_the_wire_are_judged_as_flows_from_the_document(bridge: str) -> None:
    assert kinds(decoded(bridge)) == kinds(read(bridge)[0])
