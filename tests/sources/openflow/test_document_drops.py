"""The node of the document: 19 packets of its 455 under ``actions=drop`` on br-int were lost."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from agent.config import load
from agent.health import SourceHealth
from agent.model.flow import FlowReading
from agent.model.switch import Bridge, Interface, Port, Switch
from agent.sources.openflow import OpenFlowSource
from agent.store import Store
from lab.recorded import parse_show
from tests.sources.openflow.fake_switch import listening
from tests.sources.openflow.recorded_switch import DOCUMENT, RecordedSwitch, figures

BRIDGES = ("br-int", "br-mgmt", "br-provider", "br-tun")
TAPS = {"tap648437e1-0d": 6, "tap13abc033-93": 3, "tap9113df4c-ca": 5}


class Node:
    """The document's four bridges, each a fake that answers what the real one said."""

    def __init__(self, rundir: Path, *, from_figures: bool = False) -> None:
        self.rundir = rundir
        self.switches = {bridge: RecordedSwitch(bridge) for bridge in BRIDGES}
        self.store = Store()
        self.store.switch.put(self._database())
        settings = load(None, {}, {"ovs": {"rundir": str(rundir)}})
        self.source = OpenFlowSource(
            settings, self.store, SourceHealth("openflow"), from_figures=from_figures
        )

    def _database(self) -> Switch:
        shown = parse_show((DOCUMENT / "vsctl-show.txt").read_text())
        return Switch(
            bridges=tuple(
                Bridge(
                    name,
                    ports=tuple(
                        Port(
                            i.name,
                            interfaces=(
                                Interface(
                                    i.name,
                                    type=i.type,
                                    ofport=self.switches[name].ports.get(i.name),
                                ),
                            ),
                        )
                        for i in bridge.interfaces.values()
                    ),
                )
                for name, bridge in shown.bridges.items()
            )
        )

    async def read(self) -> dict[str, FlowReading]:
        await self.source.read_flows()
        return dict(self.store.flows.parts(0).value or {})

    def count(self, times: int = 1) -> None:
        """Let every flow have counted what the document says, so many times."""
        for bridge, switch in self.switches.items():
            said = figures(bridge)
            switch.counters = {
                each: (times * packets, times * octets) for each, (packets, octets) in said.items()
            }


@asynccontextmanager
async def serving(node: Node) -> AsyncIterator[Node]:
    async with AsyncExitStack() as stack:
        for bridge, switch in node.switches.items():
            path = node.rundir / f"{bridge}.mgmt"
            await stack.enter_async_context(listening(path, switch.talk))
        stack.callback(node.source.close)
        yield node


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with serving(Node(tmp_path)) as node:
        yield node


def dropped(readings: dict[str, FlowReading], kind: str) -> dict[tuple[str, int], int]:
    return {
        (bridge, table): packets
        for bridge, reading in readings.items()
        for (table, each), packets in reading.totals.dropped.items()
        if each == kind and packets
    }


LOST = {("br-int", 71): 14, ("br-int", 72): 5}
PATCH = {
    ("br-int", 0): 402,
    ("br-provider", 0): 435,
    ("br-mgmt", 0): 582,
    ("br-tun", 22): 726,
}


def test_the_recorded_switch_has_the_documents_flows() -> None:
    for bridge in BRIDGES:
        assert RecordedSwitch(bridge).identities == set(figures(bridge))


async def test_19_packets_were_lost_and_the_rest_were_copies_for_others(node: Node) -> None:
    await node.read()
    node.count()
    readings = await node.read()
    assert dropped(readings, "lost") == LOST
    assert dropped(readings, "patch") == PATCH
    assert dropped(readings, "copy") == {}
    assert readings["br-int"].totals.interfaces == {
        (tap, direction): TAPS[tap] if direction == "from_instance" else 0
        for tap in TAPS
        for direction in ("from_instance", "to_instance")
    }
    assert all(not any(each.totals.unattributed.values()) for each in readings.values())


async def test_the_ledgers_begin_at_zero_and_grow_by_what_is_read(node: Node) -> None:
    node.count()
    first = await node.read()
    assert dropped(first, "lost") == dropped(first, "patch") == {}
    assert first["br-int"].totals.dropped[71, "lost"] == 0
    node.count(times=3)
    assert dropped(await node.read(), "lost") == {row: 2 * n for row, n in LOST.items()}


async def test_a_reading_without_a_before_begins_at_the_flows_own_figures(tmp_path: Path) -> None:
    async with serving(Node(tmp_path, from_figures=True)) as node:
        node.count()
        readings = await node.read()
    assert dropped(readings, "lost") == LOST
    assert dropped(readings, "patch") == PATCH


async def test_the_tables_that_lose_packets_have_names(node: Node) -> None:
    readings = await node.read()
    assert all(table in readings[bridge].fate.names for bridge, table in {**LOST, **PATCH})


async def test_two_readings_of_a_still_switch_are_judged_once(node: Node) -> None:
    first = await node.read()
    second = await node.read()
    assert all(second[bridge].fate is first[bridge].fate for bridge in BRIDGES)


async def test_nothing_is_judged_while_the_ports_are_not_known(node: Node) -> None:
    node.store.switch.withdraw()
    await node.read()
    node.count()
    readings = await node.read()
    assert readings["br-int"].totals.dropped == {}
    assert readings["br-int"].totals.changes["added"] == 0
