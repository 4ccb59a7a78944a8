"""The fate of packets in a real switch, case by case, as the agent's own sources measure it."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from agent.model.bridge import BridgeReading
from agent.model.flow import FlowReading
from lab.node import Node
from tests.conftest import OPEN_VSWITCH, require_parts
from tests.node import packets
from tests.node.fates import CASES, Case


@dataclass(frozen=True)
class Outcome:
    """What became of a case's packets.

    Attributes:
        flows: The last reading of its bridge's flows; the first was before any packet.
        bridge: The same of tables and ports.
        explicit: Growth of drop_action_of_pipeline.
    """

    flows: FlowReading
    bridge: BridgeReading
    explicit: int


NAMES = {name: f"br{number}" for number, name in enumerate(CASES)}


@pytest.fixture(scope="module")
def outcomes() -> Iterator[Mapping[str, Outcome]]:
    """All cases at once: one switch, one reading before and one after."""
    require_parts(*OPEN_VSWITCH)
    with Node() as node:
        packets.push_often(node)
        packets.add_bridges(node, NAMES.values())
        for name, case in CASES.items():
            load(node, NAMES[name], case)
        yield asyncio.run(run(node))


def load(node: Node, bridge: str, case: Case) -> None:
    if case.groups:
        node.ofctl("-OOpenFlow13", "add-groups", bridge, "-", stdin=lines(case.groups))
    packets.add_flows(node, bridge, lines(case.flows))


def lines(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines())


async def run(node: Node) -> Mapping[str, Outcome]:
    async with packets.watching(node, *NAMES.values()) as watch:
        await watch.flows()
        explicit = {name: await asyncio.to_thread(send, node, name) for name in CASES}
        packets.settle(node)
        flows, bridges = await watch.flows(), await watch.bridges()
    return {
        name: Outcome(flows[bridge], bridges[bridge], explicit[name])
        for name, bridge in NAMES.items()
    }


def send(node: Node, name: str) -> int:
    before = packets.events(node)
    for number, count, *frame in CASES[name].sent:
        packets.send(node, packets.port(NAMES[name], number), count, *frame)
    return packets.events(node) - before


@pytest.mark.parametrize("name", CASES)
def test_every_packet_is_booked_as_what_became_of_it(
    name: str, outcomes: Mapping[str, Outcome]
) -> None:
    case, outcome = CASES[name], outcomes[name]
    lost = {(table, "lost"): count for table, count in case.lost.items()}
    copy = {(table, "copy"): count for table, count in case.copy.items()}
    assert packets.booked(outcome.flows) == {**lost, **copy}
    assert packets.unattributed(outcome.flows) == {}


@pytest.mark.parametrize("name", CASES)
def test_the_cases_are_what_they_say(name: str, outcomes: Mapping[str, Outcome]) -> None:
    case, outcome = CASES[name], outcomes[name]
    assert packets.delivered(outcome.bridge) == case.delivered
    assert packets.missed(outcome.bridge) == case.missed


@pytest.mark.parametrize("name", CASES)
def test_the_datapath_dropped_as_many_as_are_lost(
    name: str, outcomes: Mapping[str, Outcome]
) -> None:
    """An oracle that shares nothing with us: the datapath sees the whole way of each packet.

    A translation that ends with no datapath action at all gets the explicit drop action
    (``xlate_actions`` in ofproto/ofproto-dpif-xlate.c), and the userspace datapath counts its
    packets (lib/odp-execute.c). So it counts, besides what is lost, packets without a flow and
    what fate does not see: NORMAL's own drops, outputs that come to nothing. It does not count
    copies, whose originals are delivered; packets with which there is still something to do before
    they die, ct(commit) or a meter or a message to a controller; and translations that fail, which
    have counters of their own (drop_action_recursion_too_deep). Cases that differ say why.
    """
    case = CASES[name]
    lost = sum(case.lost.values())
    assert outcomes[name].explicit == (lost if case.explicit is None else case.explicit)
