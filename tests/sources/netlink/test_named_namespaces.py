"""Namespaces are followed by their names, and what cannot be entered is said."""

import asyncio
import contextlib
import errno
import json
import os
import resource
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import agent.sources.named_namespaces
from agent.errors import Reason
from agent.model.namespace import HOST
from agent.sources.watched_directory import WatchedDirectory
from lab.process import run
from tests.sources.netlink.following import Following, descriptors, threads
from tests.sources.netlink.named import NamedNamespacesOfATest, named_namespaces
from tests.sources.netlink.rooms_of import CAP_NET_ADMIN, inside

CAP_SYS_ADMIN = 21


@contextlib.contextmanager
def few_descriptors_left(count: int) -> Iterator[None]:
    """Fill the gaps between descriptors, and allow few above them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as undo:
        highest = max(int(each.name) for each in Path("/proc/self/fd").iterdir())
        while (filler := os.open("/dev/null", os.O_RDONLY)) <= highest:
            undo.callback(os.close, filler)
        os.close(filler)
        resource.setrlimit(resource.RLIMIT_NOFILE, (filler + count, hard))
        undo.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        yield


async def test_follows_names_that_come_and_go(netns: NamedNamespacesOfATest) -> None:
    netns.add("early")
    async with Following(netns.path).running() as following:
        assert following.netns_health.configured
        assert following.netns_health.up
        assert following.namespaces.keys() == {HOST, "early"}
        netns.add("late")
        await following.until_named("early", "late")
        assert [room.name for room in following.rooms.all()] == [HOST, "early", "late"]
        netns.delete("early")
        await following.until_named("late")
        assert [room.name for room in following.rooms.all()] == [HOST, "late"]
        events = following.events()
        assert (events["namespace_added"], events["namespace_removed"]) == (1, 1)


async def test_a_name_that_is_used_again_is_another_namespace(
    netns: NamedNamespacesOfATest,
) -> None:
    netns.add("a")
    netns.ip("a", "link add old type veth peer name old1")
    async with Following(netns.path).running() as following:
        for number in range(5):
            before = following.rooms.all()[1].identity
            netns.delete("a")
            netns.add("a")
            netns.ip("a", f"link add new{number} type veth peer name peer{number}")
            await following.until(
                lambda: following.links("a").keys() == {f"new{number}", f"peer{number}"}  # noqa: B023 (it is awaited here)
            )
            assert following.rooms.all()[1].identity != before


async def test_lets_a_deleted_namespace_go_with_its_devices(
    netns: NamedNamespacesOfATest,
) -> None:
    netns.add("a")
    netns.add("b")
    netns.ip("a", f"link add v0 type veth peer name v1 netns {netns.file('b')}")
    async with Following(netns.path).running() as following:
        assert following.links("a").keys() == {"v0"}
        assert following.links("b").keys() == {"v1"}
        netns.delete("a")
        # the kernel deletes v1 with its peer, and that only when nobody holds the namespace
        await following.until(lambda: following.namespaces.keys() == {HOST, "b"})
        await following.until(lambda: not following.links("b"))


async def test_waits_for_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "not" / "yet"
    async with Following(path).running() as following:
        assert following.netns_health.facts().configured is False
        path.parent.mkdir()
        with named_namespaces(path) as netns:
            netns.add("a")
            await following.until_named("a")
            assert following.netns_health.facts().configured is True
        path.rmdir()
        await following.until_named()
        with named_namespaces(path) as netns:
            netns.add("b")
            await following.until_named("b")
            path.rename(path.with_name("elsewhere"))
            await following.until_named()
            path.with_name("elsewhere").rename(path)
            await following.until_named("b")
        assert following.netns_health.status()["problems"] == {}


async def test_waits_for_the_namespace_that_is_mounted_over_a_file(
    netns: NamedNamespacesOfATest,
) -> None:
    async with Following(netns.path).running() as following:
        looked = threading.Event()
        threading.Timer(0.3, looked.set).start()

        def wait() -> None:
            looked.wait()

        await asyncio.to_thread(netns.add, "slow", wait)
        await following.until_named("slow")
        assert following.netns_health.facts().failures[Reason.ABSENT] == 0


async def test_says_what_is_no_namespace_and_goes_on(
    netns: NamedNamespacesOfATest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent.sources.named_namespaces, "PATIENCE_SECONDS", 0.5)
    netns.file("plain").touch()
    os.mkfifo(netns.file("fifo"))
    netns.file("directory").mkdir()
    netns.file("dangling").symlink_to("/nowhere")
    netns.add("a")
    async with Following(netns.path).running() as following:
        assert following.namespaces.keys() == {HOST, "a"}
        await following.until(lambda: following.problem("plain") and following.problem("fifo"))
        reason, detail = following.problem("plain") or ("", "")
        assert reason == "absent"
        assert detail.startswith("plain is not a network namespace here: do mounts of the host")
        assert following.problem("directory") is None
        netns.delete("plain")
        netns.delete("fifo")
        await following.until(lambda: following.netns_health.up)


async def test_enters_no_namespace_of_another_type(netns: NamedNamespacesOfATest) -> None:
    path = netns.file("uts")
    path.touch()
    run("mount", "--bind", "/proc/self/ns/uts", str(path))
    netns.add("a")
    async with Following(netns.path).running() as following:
        assert following.namespaces.keys() == {HOST, "a"}
        assert following.problem("uts") == ("absent", "uts is a namespace, but not of the network")


async def test_leaves_out_the_host_s_own_namespace_under_a_name(
    netns: NamedNamespacesOfATest,
) -> None:
    path = netns.file("host")
    path.touch()
    run("mount", "--bind", "/proc/self/ns/net", str(path))
    async with Following(netns.path).running() as following:
        assert following.namespaces.keys() == {HOST}
        assert following.netns_health.up


async def test_follows_a_symbolic_link_to_a_namespace(netns: NamedNamespacesOfATest) -> None:
    with named_namespaces(netns.path.with_name("other")) as other:
        netns.file("link").symlink_to(other.add("a"))
        async with Following(netns.path).running() as following:
            assert following.namespaces.keys() == {HOST, "link"}


async def test_writes_names_that_are_not_utf_8_with_escapes(
    netns: NamedNamespacesOfATest,
) -> None:
    netns.add(b"a\xff")
    netns.add("r\u00f6uter")
    async with Following(netns.path).running() as following:
        assert following.namespaces.keys() == {HOST, "a\\xff", "r\u00f6uter"}
        assert following.netns_health.up
        netns.add("a\\xff")
        await following.until(lambda: following.problem("netns") is not None)
        assert following.problem("netns") == (
            "refused",
            "1 whose names are written like others' are not entered",
        )
        before = following.rooms.all()[1].identity
        netns.delete(b"a\xff")
        await following.until(lambda: following.problem("netns") is None)
        await following.until_named("a\\xff", "r\u00f6uter")
        assert following.rooms.all()[1].identity != before


async def test_enters_only_what_the_patterns_name(netns: NamedNamespacesOfATest) -> None:
    for name in ("qrouter-1", "qdhcp-1", "cni-1"):
        netns.add(name)
    patterns = {"include": ["q*"], "exclude": ["*dhcp*"]}
    async with Following(netns.path, namespaces=patterns).running() as following:
        assert following.namespaces.keys() == {HOST, "qrouter-1"}
        netns.add("qrouter-2")
        await following.until_named("qrouter-1", "qrouter-2")


async def test_enters_as_many_as_the_limit_says(netns: NamedNamespacesOfATest) -> None:
    for number in range(4):
        netns.add(f"n{number}")
    async with Following(netns.path, limits={"namespaces": 2}).running() as following:
        assert following.namespaces.keys() == {HOST, "n0", "n1"}
        assert following.problem("netns") == (
            "refused",
            "2 beyond limits.namespaces (2) are not entered",
        )
        netns.delete("n0")
        await following.until_named("n1", "n2")
        assert (following.problem("netns") or ("", ""))[1].startswith("1 beyond")
        netns.delete("n1")
        await following.until_named("n2", "n3")
        await following.until(lambda: following.netns_health.up)


async def without_the_right_to_enter(
    netns: NamedNamespacesOfATest, privileged: ThreadPoolExecutor
) -> None:
    async with Following(netns.path).running() as following:
        shown = json.loads(run("ip", "-json", "link"))
        names = {each["ifname"] for each in shown} - {"lo"}
        assert following.links(HOST).keys() == names
        assert following.namespaces.keys() == {HOST}
        denied = [f"n{n}" for n in range(8) if following.problem(f"n{n}")]
        assert denied == ["n0", "n1", "n2"]  # the rest is not even tried
        for name in denied:
            assert following.problem(name) == ("denied", f"entering {name} needs CAP_SYS_ADMIN")
        assert not following.netns_health.up
        assert following.netns_health.configured
        assert following.links_health.facts().failures[Reason.DENIED] == 0
        await asyncio.wrap_future(privileged.submit(netns.delete, "n1"))
        await following.until(lambda: following.problem("n1") is None)
        assert following.problem("n0") is not None


def test_without_cap_sys_admin_the_host_s_part_is_complete(netns: NamedNamespacesOfATest) -> None:
    for number in range(8):
        netns.add(f"n{number}")
    with ThreadPoolExecutor(1) as privileged:
        privileged.submit(threads).result()  # threads have the rights of those that start them
        work = lambda: asyncio.run(without_the_right_to_enter(netns, privileged))  # noqa: E731
        inside("", work, without=CAP_SYS_ADMIN)


async def without_the_right_to_a_large_buffer(netns: NamedNamespacesOfATest) -> None:
    async with Following(netns.path).running() as following:
        assert following.namespaces.keys() == {HOST, "a"}
        netns.ip("a", "link add v0 type veth peer name v1")
        await following.until(lambda: following.links("a").keys() == {"v0", "v1"})
        assert following.netns_health.up


def test_without_cap_net_admin_everything_is_followed(netns: NamedNamespacesOfATest) -> None:
    netns.add("a")
    work = lambda: asyncio.run(without_the_right_to_a_large_buffer(netns))  # noqa: E731
    inside("", work, without=CAP_NET_ADMIN)


async def test_hundreds_of_namespaces_come_and_go_without_a_trace(
    netns: NamedNamespacesOfATest,
) -> None:
    async with Following(netns.path).running() as following:
        held = descriptors()
        for _ in range(3):
            names = [f"n{number}" for number in range(100)]
            for name in names:
                await asyncio.to_thread(netns.add, name)
            await following.until_named(*names)
            for name in names:
                netns.delete(name)
            await following.until_named()
            await following.until(lambda: descriptors() == held)
        assert following.netns_health.up


async def test_a_namespace_that_is_gone_before_it_was_entered_is_nothing(
    netns: NamedNamespacesOfATest,
) -> None:
    async with Following(netns.path).running() as following:
        for number in range(100):
            netns.add(f"short{number}")
            netns.delete(f"short{number}")
        netns.add("last")
        await following.until_named("last")
        facts = following.netns_health.facts()
        assert not any(facts.failures.values())
        assert facts.up
        events = following.events()
        assert events["namespace_added"] == events.get("namespace_removed", 0) + 1


async def test_a_namespace_that_there_are_no_descriptors_for_is_tried_again(
    netns: NamedNamespacesOfATest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent.sources.named_namespaces, "RETRY_SECONDS", 0.3)
    async with Following(netns.path).running() as following:
        held = descriptors()
        with few_descriptors_left(3):
            netns.add("a")
            await following.until(lambda: following.problem("a") is not None)
            assert following.problem("a") == ("broken", "namespace a: Too many open files")
            assert following.namespaces.keys() == {HOST}
        await following.until_named("a")
        await following.until(lambda: following.netns_health.up)
        netns.delete("a")
        await following.until(lambda: descriptors() == held)


async def test_a_directory_that_cannot_be_watched_is_listed_now_and_then(
    netns: NamedNamespacesOfATest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_: Path) -> WatchedDirectory:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    named = agent.sources.named_namespaces
    monkeypatch.setattr(named, "WatchedDirectory", none_left)
    monkeypatch.setattr(named, "CHECK_SECONDS", 0.2)
    async with Following(netns.path).running() as following:
        netns.add("a")
        await following.until_named("a")
        problem = ("broken", f"watching {netns.path}: Too many open files")
        assert following.problem("netns") == problem
        monkeypatch.setattr(named, "WatchedDirectory", WatchedDirectory)
        await following.until(lambda: following.netns_health.up)
        monkeypatch.setattr(named, "CHECK_SECONDS", 60)
        netns.delete("a")
        await following.until_named()


async def test_a_namespace_that_is_unmounted_but_not_deleted_goes_too(
    netns: NamedNamespacesOfATest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent.sources.named_namespaces, "CHECK_SECONDS", 0.2)
    netns.add("a")
    async with Following(netns.path).running() as following:
        assert following.namespaces.keys() == {HOST, "a"}
        run("umount", str(netns.file("a")))
        await following.until_named()


async def test_namespaces_leave_descriptors_to_scrapes_and_other_peers(
    netns: NamedNamespacesOfATest,
) -> None:
    async with Following(netns.path).running() as following:
        with few_descriptors_left(200), contextlib.ExitStack() as undo:
            for number in range(40):
                netns.add(f"n{number}")
            await following.until(lambda: following.netns_health.status()["problems"])
            assert 2 < len(following.namespaces) < 40
            for _ in range(32):
                undo.callback(os.close, os.open("/dev/null", os.O_RDONLY))
