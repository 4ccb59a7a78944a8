"""Links and namespaces are known as the kernel has them, by its events."""

import asyncio
import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import agent.sources.links_thread
import agent.sources.rtnetlink
from agent.errors import Reason, SourceError
from agent.model.link import LinuxBridge, Tunnel
from agent.model.namespace import HOST, Namespace
from agent.sources import netlink_socket
from agent.sources.netlink_socket import NetlinkSocket
from agent.wire.netlink.allowed import GETLINK
from agent.wire.netlink.header import Message
from lab.process import run, wait_until
from tests.sources.netlink.following import Following, descriptors, threads
from tests.sources.netlink.named import NamedNamespacesOfATest


async def test_knows_the_host_s_links_as_ip_shows_them(tmp_path: Path) -> None:
    async with Following(tmp_path / "none").running() as following:
        shown = json.loads(run("ip", "-json", "link"))
        expected = {(each["ifindex"], each["ifname"]) for each in shown} - {(1, "lo")}
        links = following.namespaces[HOST].links
        assert {(index, link.name) for index, link in links.items()} == expected
        assert following.namespaces.keys() == {HOST}
        assert not following.netns_health.configured
        assert following.netns_health.status()["problems"] == {}
        assert [room.name for room in following.rooms.all()] == [HOST]


async def test_follows_links_that_come_change_and_go(netns: NamedNamespacesOfATest) -> None:
    netns.add("a")
    async with Following(netns.path).running() as following:
        netns.ip("a", "link add v0 type veth peer name v1")
        await following.until(lambda: {"v0", "v1"} == following.links("a").keys())
        before = following.links("a")["v0"]
        assert (before.kind, before.up, before.mtu_bytes) == ("veth", False, 1500)
        netns.ip("a", "link set v0 up", "link set v1 up")
        await following.until(lambda: following.links("a")["v0"].carrier)
        assert following.links("a")["v0"].up
        netns.ip("a", "link set v0 down", "link set v0 name renamed", "link set renamed mtu 1400")
        await following.until(lambda: following.links("a").get("renamed", before).mtu_bytes == 1400)
        assert following.links("a")["renamed"].index == before.index
        netns.ip("a", "link delete renamed")
        await following.until(lambda: not following.links("a"))
        events = following.events()
        assert (events["link_added"], events["link_removed"]) == (2, 2)
        assert events["link_changed"] >= 4


async def test_follows_a_link_from_one_namespace_to_another(netns: NamedNamespacesOfATest) -> None:
    netns.add("a")
    netns.add("b")
    async with Following(netns.path).running() as following:
        netns.ip("a", "link add v0 type veth peer name v1")
        await following.until(lambda: "v1" in following.links("a"))
        netns.ip("a", f"link set v1 netns {netns.file('b')}")
        await following.until(lambda: "v1" in following.links("b"))
        assert following.links("a").keys() == {"v0"}


async def test_knows_members_of_a_bridge_and_their_states(netns: NamedNamespacesOfATest) -> None:
    netns.add("a")
    async with Following(netns.path).running() as following:
        netns.ip(
            "a",
            "link add br0 type bridge stp_state 1 forward_delay 200",
            "link add v0 type veth peer name v1",
            "link set v0 master br0",
            "link set br0 up",
            "link set v0 up",
            "link set v1 up",
        )

        def state() -> int | None:
            link = following.links("a").get("v0")
            return link.bridge_port_state if link else None

        await following.until(lambda: state() == 1)
        # learning comes after forward_delay, by a message of the bridge alone
        await following.until(lambda: state() == 2)
        bridge, member = following.links("a")["br0"], following.links("a")["v0"]
        assert bridge.bridge == LinuxBridge(stp=True, vlan_filtering=False)
        assert member.master == bridge.index
        netns.ip("a", "link set br0 type bridge stp_state 0", "bridge link set dev v0 state 0")
        await following.until(lambda: state() == 0)
        netns.ip("a", "link set v0 nomaster")
        await following.until(lambda: following.links("a")["v0"].master is None)
        assert following.links("a")["v0"].bridge_port_state is None
        assert "v0" in following.links("a")


async def test_counts_forwarding_entries_by_port_and_by_remote(
    netns: NamedNamespacesOfATest,
) -> None:
    netns.add("a")
    netns.ip(
        "a",
        "link add br0 type bridge",
        "link add vx0 type vxlan id 42 local 192.0.2.1 dstport 8472 remote 192.0.2.9 dev lo",
        "link set vx0 master br0",
        "link set lo up",
        "link set br0 up",
        "link set vx0 up",
        "bridge fdb add 02:00:00:00:00:01 dev vx0 dst 192.0.2.2 self permanent",
        "bridge fdb add 02:00:00:00:00:02 dev vx0 dst 192.0.2.2 self permanent",
        "bridge fdb append 00:00:00:00:00:00 dev vx0 dst 192.0.2.3 self permanent",
        "bridge fdb add 02:00:00:00:00:03 dev vx0 master static",
    )
    async with Following(netns.path).running() as following:
        vx0 = following.links("a")["vx0"]
        assert vx0.tunnel == Tunnel("vxlan", "192.0.2.1", "192.0.2.9", "42", 8472)
        assert following.namespaces["a"].remotes == {
            (vx0.index, "192.0.2.9"): 1,
            (vx0.index, "192.0.2.2"): 2,
            (vx0.index, "192.0.2.3"): 1,
        }
        assert following.namespaces["a"].forwarding == {vx0.index: 1}
        netns.ip(
            "a",
            "bridge fdb replace 02:00:00:00:00:02 dev vx0 dst 192.0.2.4 self permanent",
            "bridge fdb delete 00:00:00:00:00:00 dev vx0 dst 192.0.2.3 self",
            "bridge fdb add 02:00:00:00:00:04 dev vx0 master static",
        )
        await following.until(lambda: following.namespaces["a"].forwarding == {vx0.index: 2})
        assert following.namespaces["a"].remotes == {
            (vx0.index, "192.0.2.9"): 1,
            (vx0.index, "192.0.2.2"): 1,
            (vx0.index, "192.0.2.4"): 1,
        }
        netns.ip("a", "link delete vx0")
        await following.until(lambda: following.links("a").keys() == {"br0"})
        assert following.namespaces["a"].remotes == {}
        assert following.namespaces["a"].forwarding == {}


async def test_follows_an_address_that_moves_behind_another_port(
    netns: NamedNamespacesOfATest,
) -> None:
    netns.add("a")
    netns.ip(
        "a",
        "link add br0 type bridge",
        "link add v0 type veth peer name v1",
        "link set v0 master br0",
        "link set v1 master br0",
        "bridge fdb add 02:00:00:00:00:01 dev v0 master static",
    )
    async with Following(netns.path).running() as following:
        v0, v1 = following.links("a")["v0"].index, following.links("a")["v1"].index
        assert following.namespaces["a"].forwarding == {v0: 1}
        netns.ip("a", "bridge fdb replace 02:00:00:00:00:01 dev v1 master static")
        await following.until(lambda: following.namespaces["a"].forwarding == {v1: 1})


async def test_shows_no_entries_of_a_namespace_with_too_many(
    netns: NamedNamespacesOfATest,
) -> None:
    netns.add("a")
    netns.ip("a", "link add br0 type bridge", "link add v0 type veth peer name v1",
             "link set v0 master br0")  # fmt: skip
    following = Following(netns.path, limits={"forwarding_entries": 3})
    async with following.running():
        for number in range(3):
            netns.ip("a", f"bridge fdb add 02:00:00:00:00:0{number} dev v0 master static")
        index = following.links("a")["v0"].index
        await following.until(lambda: following.namespaces["a"].forwarding == {index: 3})
        netns.ip("a", "bridge fdb add 02:00:00:00:00:09 dev v0 master static")
        await following.until(lambda: following.namespaces["a"].forwarding is None)
        assert following.namespaces["a"].remotes is None
        await following.until(lambda: following.problem("a") is not None)
        assert following.problem("a") == (
            "refused",
            "a: more than 3 forwarding entries (limits.forwarding_entries): none shown",
        )
        netns.ip("a", "bridge fdb delete 02:00:00:00:00:09 dev v0 master")
        following.source.reopen()
        await following.until(lambda: following.namespaces["a"].forwarding == {index: 3})
        await following.until(lambda: following.problem("a") is None)


async def test_follows_addresses_only_when_they_are_wanted(netns: NamedNamespacesOfATest) -> None:
    netns.add("a")
    netns.ip("a", "link add v0 type veth peer name v1", "addr add 192.0.2.7/24 dev v0")
    async with Following(netns.path).running() as following:

        def addresses() -> set[tuple[str, str, str]]:
            known = following.namespaces["a"].addresses or ()
            return {(each.address, each.family, each.scope) for each in known}

        assert addresses() == {("192.0.2.7/24", "inet", "global")}
        netns.ip("a", "link set lo up", "addr add 2001:db8::7/64 dev v0 nodad")
        await following.until(lambda: ("2001:db8::7/64", "inet6", "global") in addresses())
        netns.ip("a", "addr delete 192.0.2.7/24 dev v0")
        await following.until(lambda: addresses() == {("2001:db8::7/64", "inet6", "global")})
        events = following.events()
        assert (events["address_added"], events["address_removed"]) == (1, 1)
        netns.ip("a", "link delete v0")
        await following.until(lambda: not addresses())
    async with Following(netns.path, frozenset({"links"})).running() as following:
        assert following.namespaces["a"].addresses is None


async def test_is_complete_again_after_the_kernel_lost_events(
    netns: NamedNamespacesOfATest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netlink_socket, "EVENT_BUFFER_BYTES", 2304)
    monkeypatch.setattr(agent.sources.links_thread, "REOPEN_SECONDS", 0.1)
    receive = NetlinkSocket.receive_events
    reading = threading.Event()
    reading.set()

    def when_there_is_time(this: NetlinkSocket, at_most: int) -> Iterator[Message]:
        reading.wait()
        yield from receive(this, at_most)

    monkeypatch.setattr(NetlinkSocket, "receive_events", when_there_is_time)
    netns.add("a")
    async with Following(netns.path).running() as following:
        for burst in range(3):
            names = [f"v{burst}x{number}" for number in range(100)]
            commands = "".join(f"link add {each} type veth peer name {each}p\n" for each in names)
            reading.clear()
            await asyncio.to_thread(netns.batch, "a", commands)
            reading.set()
        await following.until(lambda: len(following.links("a")) == 600)
        assert following.events()["overflow"] >= 1
        assert [room.name for room in following.rooms.all()] == [HOST, "a"]
        deletions = "".join(f"link delete {each}\n" for each in names)
        await asyncio.to_thread(netns.batch, "a", deletions)
        await following.until(lambda: len(following.links("a")) == 400)


async def test_opens_all_rooms_anew_when_asked(netns: NamedNamespacesOfATest) -> None:
    netns.add("a")
    async with Following(netns.path).running() as following:
        before = following.rooms.all()
        held = descriptors()
        following.source.reopen()
        await following.until(
            lambda: all(
                new is not old for new, old in zip(following.rooms.all(), before, strict=True)
            )
        )
        await following.until(lambda: descriptors() == held)
        assert [room.name for room in following.rooms.all()] == [HOST, "a"]
        assert all(room.events.fileno() == -1 for room in before)
        netns.ip("a", "link add v0 type veth peer name v1")
        await following.until(lambda: "v0" in following.links("a"))
        assert "namespace_added" not in following.events()


async def test_leaves_nothing_open_at_the_end(netns: NamedNamespacesOfATest) -> None:
    netns.add("a")
    async with Following(netns.path).running():
        pass  # imports and the loop's own descriptors
    held = descriptors()
    for _ in range(3):
        async with Following(netns.path).running() as following:
            assert {"links", "netns"} <= threads()
        assert following.rooms.all() == []
        assert descriptors() == held
        wait_until(lambda: not {"links", "netns"} & threads(), what="the threads to end")
    netns.delete("a")


async def test_fails_when_the_host_s_links_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> object:
        raise OSError(24, os.strerror(24))

    monkeypatch.setattr(socket, "socket", refuse)
    following = Following(tmp_path)
    held = descriptors()
    with pytest.raises(SourceError) as caught:
        await following.source.run()
    assert caught.value.reason is Reason.BROKEN
    assert "Too many open files" in caught.value.detail
    assert following.source.settled.is_set()
    assert descriptors() == held


async def test_a_source_that_is_stuck_is_not_started_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()
    ask = NetlinkSocket.whole

    def wait(this: NetlinkSocket, kind: int, payload: bytes) -> list[bytes]:
        answered.wait()
        return ask(this, kind, payload)

    monkeypatch.setattr(NetlinkSocket, "whole", wait)
    monkeypatch.setattr(agent.sources.rtnetlink, "STOP_SECONDS", 0.1)
    following = Following(tmp_path)
    held = descriptors()
    task = asyncio.create_task(following.source.run())
    await following.until(lambda: "netns" in threads())
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    with pytest.raises(SourceError) as caught:
        await following.source.run()
    assert caught.value.reason is Reason.TIMEOUT
    answered.set()
    await following.until(lambda: not {"links", "netns"} & threads())
    assert descriptors() == held
    following.source.settled.clear()
    async with following.running():
        assert HOST in following.namespaces


async def test_a_receiver_s_bug_comes_out_of_run(tmp_path: Path) -> None:
    following = Following(tmp_path)

    def publish(_: Mapping[str, Namespace]) -> None:
        raise ZeroDivisionError

    following.source._publish = publish
    with pytest.raises(ZeroDivisionError):
        await following.source.run()
    assert following.rooms.all() == []


async def test_a_question_that_waits_for_the_kernel_is_told_and_costs_no_events(
    netns: NamedNamespacesOfATest, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = NetlinkSocket.whole
    answered = threading.Event()
    netns.add("a")
    async with Following(netns.path, timeouts={"netlink_seconds": 0.2}).running() as following:
        following.links_health.good()

        def wait(this: NetlinkSocket, kind: int, payload: bytes) -> list[bytes]:
            answered.wait()
            return ask(this, kind, payload)

        monkeypatch.setattr(NetlinkSocket, "whole", wait)
        try:
            netns.add("b")
            problems = following.links_health.status
            await following.until(lambda: "opening" in problems()["problems"])
            problem = problems()["problems"]["opening"]
            assert problem["reason"] == Reason.TIMEOUT
            assert problem["detail"] == "opening namespace b takes more than 0.2 s"
            netns.ip("a", "link add v0 type veth peer name v1")
            await following.until(lambda: following.links("a").keys() == {"v0", "v1"})
            assert following.links_health.facts().failures[Reason.TIMEOUT] == 1
        finally:
            answered.set()
        await following.until_named("a", "b")
        await following.until(lambda: following.links_health.up)


async def test_a_list_that_never_rested_is_read_again_later(
    netns: NamedNamespacesOfATest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent.sources.links_thread, "REOPEN_SECONDS", 0.1)
    ask = NetlinkSocket.whole
    moving = threading.Event()
    moving.set()

    def pass_over(this: NetlinkSocket, kind: int, payload: bytes) -> list[bytes]:
        """Do what the kernel does when links go while it lists them."""
        datagrams = ask(this, kind, payload)
        if kind != GETLINK or not moving.is_set():
            return datagrams
        this.interrupted = True
        return []

    netns.add("a")
    netns.ip("a", "link add v0 type veth peer name v1")
    monkeypatch.setattr(NetlinkSocket, "whole", pass_over)
    async with Following(netns.path).running() as following:
        assert following.links("a") == {}
        moving.clear()
        await following.until(lambda: following.links("a").keys() == {"v0", "v1"})


async def test_a_name_that_went_while_it_was_to_be_opened_anew_keeps_no_other_waiting(
    netns: NamedNamespacesOfATest, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = NetlinkSocket.whole
    answered, asked = threading.Event(), threading.Event()

    def wait(this: NetlinkSocket, kind: int, payload: bytes) -> list[bytes]:
        asked.set()
        answered.wait()
        return ask(this, kind, payload)

    async with Following(netns.path).running() as following:
        monkeypatch.setattr(NetlinkSocket, "whole", wait)
        try:
            netns.add("x")
            await following.until(asked.is_set)
            before = following.rooms.all()
            following.source.reopen()
            netns.delete("x")
            netns.add("y")
            await asyncio.sleep(0.2)  # nothing tells that both were noticed
        finally:
            answered.set()
        await following.until_named("y")
        assert following.rooms.all()[0] is not before[0]
