"""Domains are known as libvirt tells them: listed once, then by events."""

import asyncio
import queue
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.sources import hypervisor_session
from agent.sources.hypervisor_words import Closed, Inbox, Stop
from lab.libvirt_domains import PAUSED, RUNNING, SHUTOFF, UNKNOWN, Interface, many
from lab.libvirt_faults import Call, fails
from lab.libvirt_rpc import Procedure
from lab.libvirt_server import LibvirtServer
from tests.sources.libvirt.following import NAME, Following, made, xml

STARTED, STOPPED, DEFINED, UNDEFINED = 2, 5, 0, 1
"""virDomainEventType, of what events tell."""
LATE_SECONDS = 0.2
"""In which a change has to be known."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LibvirtServer]:
    with LibvirtServer(tmp_path / "sock", [made(NAME, "tap1", "tap2")]) as server:
        yield server


async def test_lists_what_is_there_with_owner_and_interfaces(server: LibvirtServer) -> None:
    async with Following(server.uri).running() as following:
        (domain,) = following.domains.values()
        assert (domain.name, domain.state) == (NAME, RUNNING)
        assert domain.uuid == str(server.domains[0].uuid)
        assert [plug.target_device for plug in domain.interfaces] == ["tap1", "tap2"]
        assert domain.owner is not None
        assert domain.owner.instance_name == f"server of {NAME}"
        assert following.health.up
        assert following.health.configured
    assert server.opened == [1], "one connection, read-only"


async def test_registers_before_it_lists(server: LibvirtServer) -> None:
    """A domain that starts in between is in the list or in an event, or in both."""
    order: list[int] = []
    honest = server._handle

    async def noting(link: object, header: object, arguments: object) -> None:
        order.append(header.procedure)  # type: ignore[attr-defined] # a Header
        await honest(link, header, arguments)  # type: ignore[arg-type] # as they came

    server._handle = noting  # type: ignore[assignment, method-assign] # a spy
    async with Following(server.uri).running():
        registered = order.index(Procedure.CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY)
        assert registered < order.index(Procedure.CONNECT_LIST_ALL_DOMAINS)


async def test_follows_what_starts_changes_stops_and_goes(server: LibvirtServer) -> None:
    first, second = server.domains[0], made("instance-00000002", "tap3", number=2)
    async with Following(server.uri).running() as following:
        server.domains = (first, second)
        server.lifecycle(second, STARTED)
        await following.until(lambda: len(following.domains) == 2, LATE_SECONDS)
        paused = replace(first, state=PAUSED)
        server.domains = (paused, second)
        server.lifecycle(first, 3)
        await following.until(lambda: following.named[NAME].state == PAUSED, LATE_SECONDS)
        more = replace(paused, interfaces=(*first.interfaces, Interface("tap4")))
        server.domains = (more, second)
        server.device_added(first, "net2")
        await following.until(lambda: len(following.named[NAME].interfaces) == 3, LATE_SECONDS)
        server.domains = (replace(more, interfaces=more.interfaces[1:]), second)
        server.device_removed(first, "net0")
        await following.until(lambda: len(following.named[NAME].interfaces) == 2, LATE_SECONDS)
        owner = xml(
            "<metadata><n:instance xmlns:n='http://openstack.org/xmlns/libvirt/nova/1.1'>"
            "<n:name>new</n:name></n:instance></metadata>"
        )
        server.domains = (replace(more, xml=owner), second)
        server.metadata_changed(first)
        await following.until(
            lambda: (found := following.named[NAME].owner) and found.instance_name == "new",
            LATE_SECONDS,
        )
        server.domains = (server.domains[0],)
        server.lifecycle(second, STOPPED)
        await following.until(lambda: following.named.keys() == {NAME}, LATE_SECONDS)
        assert following.events == {
            "domain_started": 1,
            "domain_suspended": 1,
            "device_added": 1,
            "device_removed": 1,
            "metadata_changed": 1,
            "domain_stopped": 1,
        }


async def test_a_domain_that_is_renamed_is_the_same_under_its_new_name(
    server: LibvirtServer,
) -> None:
    off = replace(server.domains[0], state=SHUTOFF)
    server.domains = (off,)
    async with Following(server.uri).running() as following:
        renamed = replace(off, name="renamed")
        server.domains = (renamed,)
        server.lifecycle(off, UNDEFINED, 1)
        server.lifecycle(renamed, DEFINED, 2)
        await following.until(lambda: following.named.keys() == {"renamed"}, LATE_SECONDS)
        assert following.domains.keys() == {str(off.uuid)}


async def test_what_changes_nothing_is_counted_and_asks_nothing(server: LibvirtServer) -> None:
    async with Following(server.uri).running() as following:
        asked = server.calls.total()
        domain = server.domains[0]
        server.rebooted(domain)
        server.agent_lifecycle(domain, 1)
        for number in range(3):
            server.migration_iteration(domain, number)
        await following.until(lambda: sum(following.events.values()) == 5)
        assert following.events == {
            "domain_rebooted": 1,
            "agent_lifecycle": 1,
            "migration_iteration": 3,
        }
        assert server.calls.total() == asked


async def test_a_change_without_an_event_is_found_by_the_next_list(
    server: LibvirtServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pause in ("SETTLE_SECONDS", "RELIST_SECONDS"):
        monkeypatch.setattr(hypervisor_session, pause, 0.3)
    async with Following(server.uri).running() as following:
        server.domains = (made(NAME, "tap9"), made("instance-00000002", "tap2", number=2))
        await following.until(lambda: len(following.domains) == 2)
        assert [plug.target_device for plug in following.named[NAME].interfaces] == ["tap9"]
        server.domains = server.domains[1:]
        await following.until(lambda: following.named.keys() == {"instance-00000002"})
        assert not following.events


async def test_a_burst_of_events_reads_a_domain_seldom(server: LibvirtServer) -> None:
    async with Following(server.uri).running() as following:
        before = server.calls[Procedure.DOMAIN_GET_XML_DESC]
        for _ in range(200):
            server.lifecycle(server.domains[0], 3)
        await following.until(lambda: following.events.get("domain_suspended") == 200)
        assert server.calls[Procedure.DOMAIN_GET_XML_DESC] - before < 100


async def test_a_restarted_libvirtd_is_found_again_and_its_changes_too(
    server: LibvirtServer,
) -> None:
    async with Following(server.uri).running() as following:
        before = following.domains
        server.stop()
        await following.until(lambda: not following.live)
        assert following.domains == before, "they go on without libvirtd"
        assert following.problems.keys() == {"events"}
        assert following.problems["events"] in {"broken", "absent"}
        assert await following.read() is None, "but nobody knows what they count"
        server.domains = (made("instance-00000005", "tap5", number=5),)
        server.start()
        await following.until(lambda: following.live)
        assert following.named.keys() == {"instance-00000005"}
        assert following.health.up
        assert await following.counted() == {("instance-00000005", "tap5"): [10] * 8}


async def test_a_domain_that_is_renamed_between_list_and_reading_has_its_new_name(
    tmp_path: Path,
) -> None:
    first, second = served = many(2, 1)
    with LibvirtServer(tmp_path / "sock", served) as server:
        renamed = replace(second, name="renamed")

        async def held(call: Call) -> None:
            del server.answers[Procedure.DOMAIN_GET_XML_DESC]
            await asyncio.to_thread(rename)
            await call.say(call.honest())

        def rename() -> None:
            server.domains = (first, renamed)
            server.lifecycle(renamed, DEFINED, 2)

        server.answers[Procedure.DOMAIN_GET_XML_DESC] = held
        async with Following(server.uri).running() as following:
            wanted = {first.name, "renamed"}
            await following.until(
                lambda: following.named.keys() == wanted,
                hypervisor_session.SETTLE_SECONDS / 2,  # the next list would tell it, too
            )


async def test_more_domains_than_the_limit_are_left_out_and_told(tmp_path: Path) -> None:
    with LibvirtServer(tmp_path / "sock", many(5, 1)) as server:
        limited = Following(server.uri, limits={"domains": 3})
        async with limited.running() as following:
            assert len(following.domains) == 3
            assert following.health.status()["notes"] == ["2 domains are left out: limits.domains"]
            counted = await following.counted()
            assert {name for name, _ in counted} == following.named.keys()


async def test_a_domain_that_cannot_be_read_any_more_counts_once_for_the_limit(
    tmp_path: Path,
) -> None:
    first, *_ = served = many(4, 1)
    with LibvirtServer(tmp_path / "sock", served[:2]) as server:
        async with Following(server.uri, limits={"domains": 3}).running() as following:
            server.answers[Procedure.DOMAIN_GET_XML_DESC] = fails(88, "access denied")
            for each in served[:2]:
                server.metadata_changed(each)
            await following.until(lambda: len(following.problems) == 2)
            server.answers.clear()
            server.domains = served[:3]
            server.lifecycle(served[2], STARTED)
            await following.until(lambda: len(following.domains) == 3, LATE_SECONDS)
            server.domains = served
            server.lifecycle(served[3], STARTED)
            server.rebooted(first)
            await following.until(lambda: "domain_rebooted" in following.events)
            assert len(following.domains) == 3


async def test_without_names_only_ids_come_in(server: LibvirtServer) -> None:
    async with Following(server.uri, identity={"names": False}).running() as following:
        (domain,) = following.domains.values()
        assert domain.owner is not None
        names = {each for each in dir(domain.owner) if each.endswith("_name")}
        assert names == {"instance_name", "flavor_name", "project_name", "user_name"}
        assert {getattr(domain.owner, each) for each in names} == {None}
        assert domain.owner.project_id
        assert domain.owner.user_id


def test_nothing_piles_up_for_a_thread_that_is_not_waited_for_any_more() -> None:
    inbox = Inbox()
    inbox.put(Closed(1))
    inbox.stop()
    for _ in range(3):
        inbox.put(Closed(2))
    assert [inbox.get(0), inbox.get(0)] == [Closed(1), Stop()]
    with pytest.raises(queue.Empty):
        inbox.get(0)


# -- counters --------------------------------------------------------------------------------------


async def test_counts_every_interface_of_every_active_domain_in_one_call(tmp_path: Path) -> None:
    domains = (*many(20, 2), replace(made("off", "tapoff", number=21), state=SHUTOFF, id=-1))
    with LibvirtServer(tmp_path / "sock", domains) as server:
        async with Following(server.uri).running() as following:
            before = server.calls.total()
            found = await following.counted()
            assert server.calls.total() - before == 1
            assert found == {
                (domain.name, str(plug.device)): list(plug.counters)
                for domain in domains[:20]
                for plug in domain.interfaces
            }
            first, second = await following.read(), await following.read()
            assert first is not None
            assert second is not None
            assert first.interfaces is second.interfaces


async def test_what_has_no_device_or_cannot_be_read_is_not_known(server: LibvirtServer) -> None:
    numbers = (1, 2, UNKNOWN, 4, 5, 6, 7, 8)
    plugs = (Interface(None), Interface("tap2", counters=numbers))
    server.domains = (replace(server.domains[0], interfaces=plugs),)
    async with Following(server.uri).running() as following:
        unknown = 2**64 - 1
        assert await following.counted() == {(NAME, "tap2"): [1, 2, unknown, 4, 5, 6, 7, 8]}


async def test_a_libvirtd_that_does_not_know_nowait_is_asked_without(server: LibvirtServer) -> None:
    """Before 4.5: VIR_ERR_INVALID_ARG for a flag that it does not know."""
    procedure = Procedure.CONNECT_GET_ALL_DOMAIN_STATS

    async def old(call: object) -> None:
        server.answers.pop(procedure)
        await fails(8, "unsupported flags (0x20000000)")(call)  # type: ignore[arg-type] # a Call

    server.answers[procedure] = old
    async with Following(server.uri).running() as following:
        assert (NAME, "tap1") in await following.counted()
        assert server.calls[procedure] == 2
        await following.counted()
        assert server.calls[procedure] == 3, "and from then on at once"


VHOSTUSER = xml(
    "<devices>"
    "<interface type='vhostuser'><mac address='fa:16:3e:00:00:09'/>"
    "<source type='unix' path='/run/vhu9' mode='server'/><target dev='vhu9'/></interface>"
    "<interface type='ethernet'><mac address='fa:16:3e:00:00:01'/><target dev='tap9'/></interface>"
    "</devices>",
    "vhost",
)


async def test_libvirt_is_never_asked_to_start_ovs_vsctl(server: LibvirtServer) -> None:
    """It would for each vhostuser interface; the domain's other interfaces are asked for alone."""
    mixed = made("vhost", "tap9", "vhu9", number=9, xml=VHOSTUSER)
    server.domains = (*server.domains, mixed)
    async with Following(server.uri).running() as following:
        found = await following.counted()
        assert found.keys() == {(NAME, "tap1"), (NAME, "tap2"), ("vhost", "tap9")}
        assert found["vhost", "tap9"] == [10] * 8
        assert server.calls[Procedure.DOMAIN_INTERFACE_STATS] == 1
        server.domains = (mixed,)
        server.lifecycle(made(), STOPPED)
        await following.until(lambda: following.named.keys() == {"vhost"})
        assert (await following.counted()).keys() == {("vhost", "tap9")}
