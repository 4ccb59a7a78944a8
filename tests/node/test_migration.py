"""A domain that moves from one node to another by real libvirt, as the agents of both see it.

Both have it while it moves, the one it goes to paused; there is no time when neither has it.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from uuid import uuid4

import pytest

from agent.model.domain import FIELDS, Domains
from agent.model.instance import InstanceInterface, join
from agent.model.switch import Bridge, Interface, Port, Switch
from agent.sources import hypervisor_session
from agent.store import State
from lab import frames
from lab.domain_xml import domain_xml, interface_xml
from lab.frames import Host as Party
from lab.host import Host
from lab.hypervisor import Hypervisor
from lab.nic import Nic, redirection
from lab.process import LabError
from lab.reactor import Reactor
from lab.recorded import parse_links
from tests.node.test_domains import pidns_of, processes_in
from tests.sources.libvirt.following import Following

NAME, IDENTITY = "instance-00000001", str(uuid4())
TAP, MAC = "tap00000001-00", "fa:16:3e:00:00:01"
INSTANCE, ELSEWHERE = Party(MAC, "10.0.0.1"), Party("fa:16:3e:00:00:02", "10.0.0.2")
RUNNING, PAUSED, SHUT_OFF = 1, 3, 5
AS_NOVA = ("--undefinesource", "--persistent")
CONTENT_MIB = 8
"""What the domain has in its memory, so that there is something to move."""
SLOWLY = ("--bandwidth", "1")
"""MiB a second: what is to be seen meanwhile is seen long before its end."""
ITERATION = "migration_iteration"
LATE_SECONDS = 0.2
"""The promise: after that much from the return of the command both know it."""
ANNOUNCEMENTS = 5
"""Frames that QEMU sends where a domain has come in, so that switches learn the new way (RARP)."""
PLUGGED = Switch(
    bridges=(
        Bridge("br-int", ports=(Port(TAP, (Interface(TAP, vm_uuid=IDENTITY, attached_mac=MAC),)),)),
    )
)
"""Open vSwitch of both: Nova plugs before a domain comes, and unplugs after it has gone."""

pytestmark = pytest.mark.usefixtures("libvirt_installed")


@dataclass(frozen=True)
class Compute:
    """A node that has the domain or has none."""

    host: Host
    hypervisor: Hypervisor

    def virsh(self, *words: str) -> "asyncio.Task[str]":
        return asyncio.create_task(asyncio.to_thread(self.hypervisor.virsh, *words))

    def devices(self) -> set[str]:
        return set(parse_links(self.host.run("ip", "address"))) - {"lo"}

    def clear(self) -> None:
        for domain in self.hypervisor.virsh("list", "--name").split():
            self.hypervisor.destroy_domain(domain)
        for domain in self.hypervisor.virsh("list", "--name", "--all").split():
            self.hypervisor.virsh("undefine", domain)

    @contextmanager
    def emulator_paused(self) -> Iterator[None]:
        """SIGSTOP QEMU: it answers no libvirtd, and does not end itself when a migration breaks."""
        (emulator,) = (
            process
            for process in processes_in(pidns_of(self.hypervisor))
            if Path("/proc", str(process), "comm").read_text().startswith("qemu-system")
        )
        os.kill(emulator, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(emulator, signal.SIGCONT)


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[Compute, Compute]]:
    with ExitStack() as stack:

        def compute() -> Compute:
            host = stack.enter_context(Host())
            return Compute(host, stack.enter_context(Hypervisor(host.name)))

        yield compute(), compute()


class Published(State[Domains]):
    """Domains as a store has them; somebody is called after each publication."""

    def __init__(self, then: Callable[[], None]) -> None:
        super().__init__("domains", 60.0, time.monotonic)
        self._then = then

    def put(self, value: Domains) -> None:
        super().put(value)
        self._then()


class Side:
    """A node, and the source that follows it with the timeouts that it has by default."""

    def __init__(self, node: Compute, then: Callable[[], None]) -> None:
        self.node = node
        self.source = Following(node.hypervisor.uri, timeouts={})
        self.source.store.domains = Published(then)

    @property
    def state(self) -> int | None:
        """The domain's; ``None`` where there is none."""
        domain = self.source.named.get(NAME)
        return domain.state if domain else None

    def row(self, switch: Switch | None = None) -> InstanceInterface | None:
        """Whose the device is, as the page says."""
        return join(switch, self.source.domains, None).get(TAP)

    @property
    def owner_of_port(self) -> str | None:
        """Name of the domain that has the switch's port, which tells the instance in any case."""
        row = self.row(PLUGGED)
        assert row is not None
        assert (row.instance_id, row.attached_mac) == (IDENTITY, MAC)
        return row.domain_name

    async def packets(self) -> int | None:
        """What the instance sent here; ``None`` where it has no device."""
        counted = await self.source.counted()
        assert counted.keys() <= {(NAME, TAP)}
        numbers = counted.get((NAME, TAP))
        return numbers[FIELDS.index("transmit_packets")] if numbers else None

    async def until_sent(self, packets: int) -> None:
        async with asyncio.timeout(20):
            while (await self.packets() or 0) < packets:  # noqa: ASYNC110 - nobody tells it
                await asyncio.sleep(0.02)


class Pair:
    """Where the domain is and where it goes, and what was published of it by the one or other."""

    def __init__(self, here: Compute, there: Compute) -> None:
        self.seen: list[tuple[int | None, int | None]] = []
        self.here, self.there = Side(here, self._look), Side(there, self._look)

    @property
    def states(self) -> tuple[int | None, int | None]:
        return self.here.state, self.there.state

    @property
    def seen_here(self) -> list[int | None]:
        return changes(state for state, _ in self.seen)

    @property
    def seen_there(self) -> list[int | None]:
        return changes(state for _, state in self.seen)

    @property
    def events(self) -> tuple[dict[str, int], dict[str, int]]:
        """What was counted on both, but for how often memory was gone through."""
        here, there = self.here.source.events, self.there.source.events
        for events in (here, there):
            events.pop(ITERATION, None)
        return here, there

    async def until(self, here: int | None, there: int | None) -> None:
        await self.here.source.until(lambda: self.states == (here, there))

    def migrate(self, *options: str) -> "asyncio.Task[float]":
        """Begin; the task's result is when the command returned."""

        def command() -> float:
            self.here.node.hypervisor.migrate(NAME, self.there.node.hypervisor, *options)
            return time.monotonic()

        return asyncio.create_task(asyncio.to_thread(command))

    async def migrate_slowly(self) -> "asyncio.Task[float]":
        """Begin, and return while the domain is on its way."""
        moving = self.migrate(*AS_NOVA, *SLOWLY)
        await self.until(RUNNING, PAUSED)
        return moving

    def _look(self) -> None:
        for side in (self.here, self.there):
            row = side.row()
            assert bool(row) == (side.state not in {None, SHUT_OFF}), "the row goes with the domain"
        assert self.here.row() or self.there.row(), "one always has it"
        if [self.states] != self.seen[-1:]:
            self.seen.append(self.states)


def changes(states: Iterable[int | None]) -> list[int | None]:
    return [state for state, _ in groupby(states)]


@pytest.fixture
def placed(nodes: tuple[Compute, Compute]) -> Iterator[tuple[Compute, Compute]]:
    """The nodes, the first of them with the domain."""
    here, _ = nodes
    content = here.hypervisor.directory / "content"
    content.write_bytes(os.urandom(CONTENT_MIB << 20))
    loader = ("-device", f"loader,file={content},addr={2 << 20},force-raw=on")
    card = redirection(0, TAP, Path("/run"))
    plug = interface_xml(TAP, MAC)
    here.hypervisor.define(domain_xml(NAME, IDENTITY, [plug], arguments=[*loader, *card]))
    here.hypervisor.start_domain(NAME)
    yield nodes
    for node in nodes:
        node.clear()


@pytest.fixture
async def pair(placed: tuple[Compute, Compute]) -> AsyncIterator[Pair]:
    """Both nodes are followed."""
    pair = Pair(*placed)
    async with pair.here.source.running(), pair.there.source.running():
        assert pair.states == (RUNNING, None)
        yield pair


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor("guest")
    yield reactor
    reactor.close()


# -- there and back --------------------------------------------------------------------------------


async def test_a_domain_that_moves_is_known_on_both_nodes_until_it_has_moved(pair: Pair) -> None:
    assert (pair.here.owner_of_port, pair.there.owner_of_port) == (NAME, None)
    moving = await pair.migrate_slowly()
    assert (pair.here.owner_of_port, pair.there.owner_of_port) == (NAME, NAME)
    assert pair.here.node.devices() == pair.there.node.devices() == {TAP}
    await pair.here.node.virsh("migrate-setspeed", NAME, "1000")
    returned = await moving
    await pair.until(None, RUNNING)
    assert time.monotonic() - returned < LATE_SECONDS
    assert (pair.here.owner_of_port, pair.there.owner_of_port) == (None, NAME)
    assert (pair.here.node.devices(), pair.there.node.devices()) == (set(), {TAP})
    assert pair.seen[:2] == [(RUNNING, None), (RUNNING, PAUSED)]
    assert pair.seen_here in ([RUNNING, PAUSED, None], [RUNNING, None])
    assert pair.seen_there == [None, PAUSED, RUNNING]
    assert pair.events == (
        {"domain_suspended": 1, "domain_stopped": 1},  # undefined without an event
        {"domain_started": 1, "domain_defined": 1, "domain_resumed": 1},
    )
    assert pair.here.source.events[ITERATION] > 1
    assert ITERATION not in pair.there.source.events


async def test_what_an_instance_sends_is_counted_where_it_is(pair: Pair, reactor: Reactor) -> None:
    async def send(side: Side, packets: int) -> None:
        guest = Nic(reactor, side.node.hypervisor.run_directory, TAP, (INSTANCE,))
        await asyncio.to_thread(guest.send, frames.echo(INSTANCE, ELSEWHERE), packets)

    await send(pair.here, 100)
    await pair.here.until_sent(100)
    moving = await pair.migrate_slowly()
    assert (await pair.here.packets(), await pair.there.packets()) == (100, 0)
    await pair.here.node.virsh("migrate-setspeed", NAME, "1000")
    await moving
    await pair.until(None, RUNNING)
    assert await pair.here.packets() is None
    await send(pair.there, 10)
    await pair.there.until_sent(10 + ANNOUNCEMENTS)
    assert await pair.there.packets() == 10 + ANNOUNCEMENTS


async def test_a_domain_that_stays_defined_moves_away_and_back(pair: Pair) -> None:
    await pair.migrate()
    await pair.until(SHUT_OFF, RUNNING)
    assert pair.here.row() is None
    assert (pair.here.owner_of_port, pair.there.owner_of_port) == (NAME, NAME)
    here, there = (side.node.hypervisor for side in (pair.here, pair.there))
    await asyncio.to_thread(there.migrate, NAME, here)
    await pair.until(RUNNING, None)
    there_and_back = {
        f"domain_{each}": 1 for each in ("started", "resumed", "suspended", "stopped")
    }
    assert pair.events == (there_and_back, there_and_back)


# -- what does not come about ----------------------------------------------------------------------


async def test_a_migration_that_is_cancelled_leaves_the_domain_where_it_was(pair: Pair) -> None:
    moving = await pair.migrate_slowly()
    await pair.here.node.virsh("domjobabort", NAME)
    with pytest.raises(LabError, match="canceled by client"):
        await moving
    await pair.until(RUNNING, None)
    assert pair.seen == [(RUNNING, None), (RUNNING, PAUSED), (RUNNING, None)]
    assert pair.events == ({}, {"domain_started": 1, "domain_stopped": 1})
    assert (pair.here.node.devices(), pair.there.node.devices()) == ({TAP}, set())


async def test_a_migration_that_is_refused_is_known_to_nobody(pair: Pair) -> None:
    there = pair.there.node.host
    there.run("ip", "link", "add", TAP, "type", "bridge")
    try:
        with pytest.raises(LabError, match=f"The {TAP} interface already exists"):
            await pair.migrate(*AS_NOVA)
    finally:
        there.run("ip", "link", "delete", TAP)
    await pair.here.node.virsh("suspend", NAME)
    await pair.until(PAUSED, None)
    assert pair.seen == [(RUNNING, None), (PAUSED, None)]
    assert pair.events == ({"domain_suspended": 1}, {})


async def test_a_source_that_loses_its_libvirtd_has_the_domain_all_the_while(pair: Pair) -> None:
    moving = await pair.migrate_slowly()
    pair.here.node.hypervisor.kill_libvirtd()
    with pytest.raises(LabError, match="End of file"):
        await moving
    await pair.until(RUNNING, None)
    await pair.here.source.until(lambda: not pair.here.source.live)
    await asyncio.to_thread(pair.here.node.hypervisor.start_libvirtd)
    await pair.here.source.until(lambda: pair.here.source.live)
    assert pair.seen_here == [RUNNING]
    here, there = pair.events
    there.pop("domain_shutdown", None)  # libvirt may be told by QEMU, or find it gone
    assert (here, there) == ({}, {"domain_started": 1, "domain_stopped": 1})


async def test_a_domain_that_a_new_libvirtd_ends_without_an_event_is_forgotten(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One on its way in; the libvirtd before is the only one that knew of the way."""
    monkeypatch.setattr(hypervisor_session, "SETTLE_SECONDS", 2.0)
    moving = await pair.migrate_slowly()
    with pair.there.node.emulator_paused():
        pair.there.node.hypervisor.kill_libvirtd()
        with pytest.raises(LabError, match="client socket is closed"):
            await moving
        await pair.there.source.until(lambda: not pair.there.source.live)
        await asyncio.to_thread(pair.there.node.hypervisor.start_libvirtd)
        await pair.there.source.until(lambda: pair.there.source.live)
        assert pair.states == (RUNNING, PAUSED)
    await pair.until(RUNNING, None)
    assert pair.events == ({}, {"domain_started": 1})
