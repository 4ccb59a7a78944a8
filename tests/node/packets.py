"""Packets sent one by one into a real switch, and what the agent's own sources say of them."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress

from agent.config import load
from agent.health import SourceHealth
from agent.model.bridge import BridgeReading
from agent.model.flow import FlowReading
from agent.model.switch import Switch
from agent.sources.openflow import OpenFlowSource
from agent.sources.ovsdb import OvsdbSource
from agent.store import Store
from lab import frames
from lab.frames import Host
from lab.node import Node
from lab.process import wait_until

ANN, BOB = Host("02:00:00:00:00:0a", "10.0.0.1"), Host("02:00:00:00:00:0b", "10.0.0.2")
FRAME = frames.udp(ANN, BOB, 1000, 2000, b"from ann to bob")
PORTS = (1, 2, 3, 4)
QUEUE = 100
"""Packets that a port of type dummy takes before it throws away (NETDEV_DUMMY_MAX_QUEUE)."""
SECONDS = 15.0

Row = tuple[int, str]
"""Table and kind."""


def port(bridge: str, number: int) -> str:
    """Return the name of a port of ``add_bridges``."""
    return f"{bridge}.{number}"


def add_bridges(node: Node, names: Collection[str]) -> None:
    """Add bridges without flows, each with ports 1 to 4 that need no device."""
    commands: list[str] = []
    for name in names:
        commands += ["--", "add-br", name, "--", "set", "Bridge", name]
        commands += ["datapath_type=netdev", "fail_mode=secure"]
        for number in PORTS:
            device = port(name, number)
            commands += ["--", "add-port", name, device, "--", "set", "Interface", device]
            commands += ["type=dummy", f"ofport_request={number}"]
    node.vsctl(*commands[1:])


def add_flows(node: Node, bridge: str, *flows: str) -> None:
    """Add flows, as the later OpenFlow versions write them."""
    node.ofctl("-OOpenFlow13", "add-flows", bridge, "-", stdin="\n".join(flows))


def send(node: Node, device: str, count: int, frame: bytes = FRAME) -> None:
    """Let a port receive a packet so many times; returns when the last one has met its fate.

    A dummy port is polled by the main thread, one packet in each of its rounds, and that thread
    carries it through to the end before it answers the next question.
    """
    assert 0 < count <= QUEUE
    want = _received(node, device) + count
    node.appctl("netdev-dummy/receive", device, *[frame.hex()] * count)
    wait_until(lambda: _received(node, device) == want, what=f"{device} to take {count} packets")


def _received(node: Node, device: str) -> int:
    # Not by OpenFlow: while a connection of version 1.0 is open, or has not agreed on one yet, a
    # miss is sent to it (connmgr_wants_packet_in_on_miss), and the datapath drops nothing.
    stats = node.appctl("dpctl/show", "--statistics")
    return int(stats.partition(f": {device} ")[2].partition("RX packets:")[2].split(" ", 1)[0])


def push_often(node: Node) -> None:
    """Have the revalidators push counters up five times as often as they would: tests wait."""
    node.vsctl("set", "Open_vSwitch", ".", "other_config:max-revalidator=100")


def settle(node: Node) -> None:
    """Have every packet counted that was sent so far.

    The first round of the revalidators that ends may have begun before the last packet.
    """
    node.appctl("revalidator/wait")
    node.appctl("revalidator/wait")


def events(node: Node, counter: str = "drop_action_of_pipeline") -> int:
    """Return a coverage counter; those of the main thread count at once."""
    return int(node.appctl("coverage/read-counter", counter))


class Watch:
    """The agent's sources over a node; make one with ``watching``.

    Attributes:
        source: Reads tables, ports and flows.
    """

    def __init__(self, node: Node) -> None:
        self._store = Store()
        settings = load(None, {}, {"ovs": {"rundir": str(node.rundir)}, "flows": {"duty_cycle": 1}})
        self.source = OpenFlowSource(settings, self._store, SourceHealth("openflow"))
        self._database = OvsdbSource(f"unix:{node.rundir}/db.sock", self._put, lambda _event: None)
        self._changed = asyncio.Event()

    def _put(self, switch: Switch) -> None:
        self._store.switch.put(switch)
        self._changed.set()

    async def follow(self) -> None:
        """Follow the database until cancelled."""
        await self._database.run()

    async def knows(self, *bridges: str) -> None:
        """Wait until the database has said which numbers the ports of these bridges have."""
        async with asyncio.timeout(SECONDS):
            while not set(bridges) <= self._complete():
                self._changed.clear()
                await self._changed.wait()

    def _complete(self) -> set[str]:
        switch = self._store.switch.known().value
        return {
            bridge.name
            for bridge in (switch.bridges if switch else ())
            if all(each.ofport for owned in bridge.ports for each in owned.interfaces)
        }

    async def flows(self) -> dict[str, FlowReading]:
        """Read the flows of all bridges; those that cannot be read are left out."""
        await self.source.read_flows()
        return dict(self._store.flows.parts(0).value or {})

    async def bridges(self) -> dict[str, BridgeReading]:
        """Read tables, ports and meters of all bridges."""
        await self.source.read_bridges()
        return dict(self._store.bridges.parts(0).value or {})

    async def flows_again(self, bridge: str) -> FlowReading:
        """Try until the flows of a bridge that went away can be read again."""
        async with asyncio.timeout(SECONDS):
            while bridge not in (readings := await self.flows()):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        return readings[bridge]


@asynccontextmanager
async def watching(node: Node, *bridges: str) -> AsyncIterator[Watch]:
    """Watch a node, with the ports of these bridges known."""
    watch = Watch(node)
    following = asyncio.create_task(watch.follow())
    try:
        await watch.knows(*bridges)
        yield watch
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        watch.source.close()


def booked(reading: FlowReading) -> dict[Row, int]:
    """Return the ledgers that are not 0."""
    return {row: packets for row, packets in reading.totals.dropped.items() if packets}


def unattributed(reading: FlowReading) -> dict[int, int]:
    """Return what no reading of flows accounted for, of tables where that is not 0."""
    return {table: packets for table, packets in reading.totals.unattributed.items() if packets}


def delivered(reading: BridgeReading) -> int:
    """Return how many packets left through the bridge's ports."""
    return sum(stats.tx_packets or 0 for stats in reading.ports.values())


def missed(reading: BridgeReading) -> dict[int, int]:
    """Return how many packets matched nothing, of tables where that is not 0."""
    return {
        table.table_id: table.lookups - table.matches
        for table in reading.tables
        if table.lookups > table.matches
    }
