"""What an operator does to a domain is known 200 ms after the command returned, by real libvirt."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from agent.model.domain import Domain
from agent.model.instance import InstanceInterface, join
from lab.domain_xml import domain_xml, interface_xml
from lab.host import Host
from lab.hypervisor import Hypervisor
from tests.sources.libvirt.following import Following

NAME, OTHER = "instance-00000001", "instance-00000002"
TAP, SECOND_TAP = "tap00000001-00", "tap00000002-00"
MAC, SECOND_MAC = "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"
RUNNING, PAUSED, SHUT_OFF = 1, 3, 5
NOVA = "http://openstack.org/xmlns/libvirt/nova/1.1"
LATE_SECONDS = 0.2
"""The promise: after that much from the return of the command it is known."""
MANY = 20

pytestmark = pytest.mark.usefixtures("libvirt_installed")

Command = Callable[[], object]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host() as host:
        yield host


@pytest.fixture(scope="module")
def hypervisor(host: Host) -> Iterator[Hypervisor]:
    with Hypervisor(host.name) as hypervisor:
        yield hypervisor


@pytest.fixture
def domain(hypervisor: Hypervisor) -> Iterator[str]:
    """A domain that runs, the only one."""
    define(hypervisor)
    hypervisor.start_domain(NAME)
    yield NAME
    remove_all(hypervisor)


@pytest.fixture
async def following(hypervisor: Hypervisor, domain: str) -> AsyncIterator["Watched"]:
    """The source with the timeouts that it has by default; it knows the domain."""
    async with Following(hypervisor.uri, timeouts={}).running() as following:
        assert following.named.keys() == {domain}
        yield Watched(following)


def define(
    hypervisor: Hypervisor, name: str = NAME, *interfaces: str, identity: str = "", title: str = ""
) -> None:
    plugs = interfaces or (interface_xml(TAP, MAC),)
    metadata = f"<nova:instance xmlns:nova='{NOVA}'>{named(title)}</nova:instance>" if title else ""
    hypervisor.define(domain_xml(name, identity or str(uuid4()), plugs, metadata=metadata))


def named(title: str) -> str:
    return f"<nova:name>{title}</nova:name>"


def remove_all(hypervisor: Hypervisor) -> None:
    for name in hypervisor.virsh("list", "--name").split():
        hypervisor.destroy_domain(name)
    for name in hypervisor.virsh("list", "--name", "--all").split():
        hypervisor.virsh("undefine", name)


class Watched:
    """What is known, and how long after a command it was."""

    def __init__(self, following: Following) -> None:
        self.source = following

    @property
    def named(self) -> dict[str, Domain]:
        return self.source.named

    def state(self, name: str = NAME) -> int | None:
        return self.named[name].state if name in self.named else None

    def devices(self, name: str = NAME) -> list[str | None]:
        return [plug.target_device for plug in self.named[name].interfaces]

    def title(self, name: str = NAME) -> str | None:
        owner = self.named[name].owner
        return owner.instance_name if owner else None

    def instance(self, device: str = TAP) -> InstanceInterface | None:
        """Whose the device is, as the page says."""
        return join(None, self.source.domains, None).get(device)

    async def after(self, command: Command, known: Callable[[], Any]) -> None:
        """Run a command, and see that what it did is known soon after it returned."""

        def run() -> float:
            command()
            return time.monotonic()

        assert not known(), "it has not happened yet"
        returned = await asyncio.to_thread(run)
        await self.source.until(known)
        took = time.monotonic() - returned
        assert took < LATE_SECONDS, f"{took:.3f} s"


# -- coming and going ------------------------------------------------------------------------------


async def test_a_domain_that_is_defined_started_stopped_and_undefined(
    hypervisor: Hypervisor, following: Watched
) -> None:
    plug = interface_xml(SECOND_TAP, SECOND_MAC)
    await following.after(
        lambda: define(hypervisor, OTHER, plug), lambda: following.state(OTHER) == SHUT_OFF
    )
    assert following.devices(OTHER) == [SECOND_TAP]
    assert following.instance(SECOND_TAP) is None
    await following.after(
        lambda: hypervisor.start_domain(OTHER), lambda: following.state(OTHER) == RUNNING
    )
    found = following.instance(SECOND_TAP)
    assert found is not None
    assert (found.domain_name, found.attached_mac) == (OTHER, SECOND_MAC)
    assert (OTHER, SECOND_TAP) in await following.source.counted()
    await following.after(
        lambda: hypervisor.destroy_domain(OTHER), lambda: following.state(OTHER) == SHUT_OFF
    )
    assert following.instance(SECOND_TAP) is None
    assert (await following.source.counted()).keys() == {(NAME, TAP)}
    await following.after(
        lambda: hypervisor.virsh("undefine", OTHER), lambda: following.named.keys() == {NAME}
    )


async def test_a_running_domain_that_is_undefined_is_there_until_it_stops(
    hypervisor: Hypervisor, following: Watched
) -> None:
    hypervisor.virsh("undefine", NAME)
    await following.source.until(lambda: following.source.events.get("domain_undefined"))
    assert following.state() == RUNNING
    await following.after(lambda: hypervisor.destroy_domain(NAME), lambda: not following.named)


async def test_a_domain_that_is_made_for_one_run(
    hypervisor: Hypervisor, following: Watched
) -> None:
    text = domain_xml(OTHER, str(uuid4()), [interface_xml(SECOND_TAP, SECOND_MAC)])
    await following.after(
        lambda: hypervisor.virsh("create", "/dev/stdin", stdin=text),
        lambda: following.state(OTHER) == RUNNING,
    )
    assert following.devices(OTHER) == [SECOND_TAP]
    await following.after(
        lambda: hypervisor.destroy_domain(OTHER), lambda: following.named.keys() == {NAME}
    )


async def test_a_domain_that_is_suspended_and_resumed(
    hypervisor: Hypervisor, following: Watched
) -> None:
    await following.after(
        lambda: hypervisor.virsh("suspend", NAME), lambda: following.state() == PAUSED
    )
    assert following.instance() is not None, "its devices are on the node"
    assert (NAME, TAP) in await following.source.counted()
    await following.after(
        lambda: hypervisor.virsh("resume", NAME), lambda: following.state() == RUNNING
    )


# -- what a domain has -----------------------------------------------------------------------------


async def test_an_interface_that_is_plugged_and_unplugged_while_the_domain_runs(
    hypervisor: Hypervisor, following: Watched
) -> None:
    plug = interface_xml(SECOND_TAP, SECOND_MAC)
    for _ in range(2):
        await following.after(
            lambda: hypervisor.attach(NAME, plug),
            lambda: following.devices() == [TAP, SECOND_TAP],
        )
        found = following.instance(SECOND_TAP)
        assert found is not None
        assert (found.domain_name, found.attached_mac) == (NAME, SECOND_MAC)
        assert (await following.source.counted()).keys() == {(NAME, TAP), (NAME, SECOND_TAP)}
        await following.after(
            lambda: hypervisor.detach(NAME, plug), lambda: following.devices() == [TAP]
        )
        assert following.instance(SECOND_TAP) is None
        assert (await following.source.counted()).keys() == {(NAME, TAP)}


async def test_an_interface_that_a_definition_adds(
    hypervisor: Hypervisor, following: Watched
) -> None:
    hypervisor.destroy_domain(NAME)
    plugs = interface_xml(TAP, MAC), interface_xml(SECOND_TAP, SECOND_MAC)
    identity = hypervisor.virsh("domuuid", NAME).strip()
    await following.after(
        lambda: define(hypervisor, NAME, *plugs, identity=identity, title="web"),
        lambda: following.devices() == [TAP, SECOND_TAP],
    )
    assert following.title() == "web"


async def test_metadata_that_is_set_changed_and_removed(
    hypervisor: Hypervisor, following: Watched
) -> None:
    def metadata(*words: str) -> Command:
        return lambda: hypervisor.virsh("metadata", NAME, NOVA, *words)

    async def rename(title: str) -> None:
        text = f"<instance><name>{title}</name></instance>"
        await following.after(
            metadata("--key", "nova", "--set", text), lambda: following.title() == title
        )

    await rename("web-1")
    await rename("web-2")
    found = following.instance()
    assert found is not None
    assert found.instance_name == "web-2"
    await following.after(metadata("--remove"), lambda: following.named[NAME].owner is None)


async def test_a_domain_that_is_renamed_while_it_is_shut_off(
    hypervisor: Hypervisor, following: Watched
) -> None:
    (identity,) = following.source.domains
    await following.after(
        lambda: hypervisor.destroy_domain(NAME), lambda: following.state() == SHUT_OFF
    )
    await following.after(
        lambda: hypervisor.virsh("domrename", NAME, OTHER),
        lambda: following.named.keys() == {OTHER},
    )
    assert following.source.domains.keys() == {identity}
    await following.after(
        lambda: hypervisor.start_domain(OTHER), lambda: following.state(OTHER) == RUNNING
    )
    assert (await following.source.counted()).keys() == {(OTHER, TAP)}


async def test_a_device_that_goes_from_one_domain_to_another_belongs_to_the_one_that_runs(
    hypervisor: Hypervisor, following: Watched
) -> None:
    """A, shut off, still names it."""

    def owner() -> str | None:
        found = following.instance()
        return found.domain_name if found else None

    async def give(then: str, now: str) -> None:
        await following.after(lambda: hypervisor.destroy_domain(then), lambda: not owner())
        await following.after(lambda: hypervisor.start_domain(now), owner)
        assert owner() == now
        assert following.devices(then) == following.devices(now) == [TAP]
        assert (await following.source.counted()).keys() == {(now, TAP)}

    define(hypervisor, OTHER, interface_xml(TAP, SECOND_MAC))
    await give(NAME, OTHER)
    await give(OTHER, NAME)


# -- many at once ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowded(host: Host) -> Iterator[Hypervisor]:
    """A hypervisor with many domains that run."""
    with Hypervisor(host.name) as hypervisor:
        for number in range(MANY):
            plug = interface_xml(f"many{number:02}", f"fa:16:3e:00:01:{number:02x}")
            define(hypervisor, f"many-{number:02}", plug)
            hypervisor.start_domain(f"many-{number:02}")
        yield hypervisor


async def test_many_domains_that_one_loop_suspends_and_resumes(crowded: Hypervisor) -> None:
    async with Following(crowded.uri, timeouts={}).running() as following:
        assert len(following.named) == MANY
        for command, state in (("suspend", PAUSED), ("resume", RUNNING)):
            late = await lateness(following, crowded, command, state)
            assert late < LATE_SECONDS, f"{late:.3f} s"


async def lateness(following: Following, hypervisor: Hypervisor, command: str, state: int) -> float:
    """Run a command for one domain after the other; how late the last of them was known."""
    names = sorted(following.named)
    returned: dict[str, float] = {}
    known: dict[str, float] = {}

    def loop() -> None:
        for name in names:
            hypervisor.virsh(command, name)
            returned[name] = time.monotonic()

    def are_known() -> bool:
        for name, domain in following.named.items():
            if domain.state == state:
                known.setdefault(name, time.monotonic())
        return len(known) == len(names)

    assert not are_known()
    assert not known
    looping = asyncio.create_task(asyncio.to_thread(loop))
    await following.until(are_known)
    await looping
    return max(known[name] - returned[name] for name in names)


async def test_many_domains_that_one_command_suspends_and_resumes(crowded: Hypervisor) -> None:
    async with Following(crowded.uri, timeouts={}).running() as following:
        assert len(following.named) == MANY

        async def turn(command: str, state: int) -> None:
            commands = "; ".join(f"{command} {name}" for name in following.named)
            await Watched(following).after(
                lambda: crowded.virsh(commands),
                lambda: {each.state for each in following.named.values()} == {state},
            )

        await turn("suspend", PAUSED)
        await turn("resume", RUNNING)
