"""A libvirtd that does not behave takes its source down with a reason, and nothing else."""

import asyncio
import contextlib
import errno
import socket
import stat
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

from agent.sources import hypervisor, hypervisor_session
from lab.libvirt_faults import (
    GARBAGE,
    Call,
    closes,
    fails,
    falls_silent,
    gives,
    half_then_closes,
    half_then_stalls,
    says_nothing,
)
from lab.libvirt_rpc import Procedure, array, i32
from lab.libvirt_server import LibvirtServer
from tests.sources.libvirt.following import (
    ANSWER_SECONDS,
    NAME,
    Following,
    descriptors,
    made,
    threads,
    xml,
)

HARMLESS = "a payload with words too many"
"""The library passes over them."""
EVENTS, STATISTICS = "events", "statistics"
STARTED, STOPPED = 2, 5
POLKIT = 2
"""REMOTE_AUTH_POLKIT of remote_protocol.x."""
LIST, XML, STATS, OPEN = (
    Procedure.CONNECT_LIST_ALL_DOMAINS,
    Procedure.DOMAIN_GET_XML_DESC,
    Procedure.CONNECT_GET_ALL_DOMAIN_STATS,
    Procedure.CONNECT_OPEN,
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the source's patience, so that a test need not wait for it."""
    monkeypatch.setattr(hypervisor, "WATCH_SECONDS", 0.05)
    monkeypatch.setattr(hypervisor_session, "KEEPALIVE_SECONDS", 1)
    monkeypatch.setattr(hypervisor_session, "KEEPALIVE_COUNT", 1)


async def test_a_node_without_libvirt_has_no_domains_and_misses_none(tmp_path: Path) -> None:
    async with Following(f"qemu:///system?socket={tmp_path}/none").running() as following:
        assert not following.health.configured
        assert not following.problems
        assert following.live, "there is none, which is not the same as not known"
        assert await following.counted() == {}
        with LibvirtServer(tmp_path / "none", [made(NAME, "tap1")]):
            await following.until(lambda: following.named.keys() == {NAME})
            assert following.health.configured
        await following.until(lambda: EVENTS in following.problems)
        assert await following.read() is None


async def test_libvirt_that_is_expected_is_missed_from_the_start(tmp_path: Path) -> None:
    uri = f"qemu:///system?socket={tmp_path}/none"
    async with Following(uri, libvirt={"enabled": True}).running() as following:
        assert following.problems == {EVENTS: "absent"}
        assert f"{tmp_path}/none" in following.detail(EVENTS)
        assert not following.live
        assert await following.read() is None


async def test_says_refused_when_nobody_listens(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "sock"))
    async with Following(f"qemu:///system?socket={tmp_path}/sock").running() as following:
        assert following.problems == {EVENTS: "refused"}


async def test_says_denied_when_the_system_says_no(tmp_path: Path) -> None:
    with LibvirtServer(tmp_path / "sock", [made()]) as server:
        server.path.chmod(stat.S_IRUSR)
        for directory in (tmp_path, *tmp_path.parents[:2]):
            directory.chmod(0o755)
        script = (
            "import asyncio, os, agent.sources.hypervisor_session\n"
            "from tests.sources.libvirt.following import Following\n"
            "os.setuid(65534)\n"
            "async def main():\n"
            f"    async with Following({server.uri!r}).running() as following:\n"
            "        print(following.problems)\n"
            "asyncio.run(main())\n"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
    assert out.decode().splitlines()[-1] == "{'events': 'denied'}"


@pytest.mark.parametrize(
    ("procedure", "answer", "reason"),
    [
        (OPEN, fails(5, "no connection driver available"), "refused"),
        (OPEN, fails(88, "access denied"), "denied"),
        (LIST, fails(88, "access denied"), "denied"),
        (LIST, fails(38, "Cannot allocate memory"), "broken"),
        (LIST, fails(1, "internal error"), "broken"),
        (OPEN, closes, "broken"),
        (LIST, half_then_closes, "broken"),
        (OPEN, says_nothing, "timeout"),
        (LIST, falls_silent, "timeout"),
        (XML, half_then_stalls, "timeout"),
    ],
)
async def test_says_why_and_comes_back_by_itself(
    server: LibvirtServer, procedure: Procedure, answer: object, reason: str
) -> None:
    server.answers[procedure] = answer  # type: ignore[assignment] # one of the kinds of answers
    async with Following(server.uri, libvirt={"enabled": True}).running() as following:
        assert following.problems == {EVENTS: reason}, following.health.status()["problems"]
        assert "\n" not in following.detail(EVENTS)
        assert not following.live
        del server.answers[procedure]
        server.drop()  # whoever still waits has waited in vain
        await following.until(lambda: following.live)
        assert following.health.up
        assert following.named.keys() == {NAME}
    await following.until(lambda: not threads())


async def test_says_denied_when_polkit_says_no(server: LibvirtServer) -> None:
    server.answers[Procedure.AUTH_LIST] = gives(array([i32(POLKIT)]))
    server.answers[Procedure.AUTH_POLKIT] = fails(45, "authentication failed: access denied", 60)
    async with Following(server.uri, libvirt={"enabled": True}).running() as following:
        assert following.problems == {EVENTS: "denied"}
        assert "access denied" in following.detail(EVENTS)


@pytest.mark.parametrize("what", sorted(GARBAGE.keys() - {HARMLESS}))
@pytest.mark.parametrize("procedure", [Procedure.AUTH_LIST, LIST])
async def test_garbage_takes_only_the_source_down(
    server: LibvirtServer, procedure: Procedure, what: str
) -> None:
    server.answers[procedure] = GARBAGE[what]
    async with Following(server.uri, libvirt={"enabled": True}).running() as following:
        assert following.problems.keys() == {EVENTS}
        assert following.problems[EVENTS] in ("malformed", "broken", "timeout")
        del server.answers[procedure]
        server.drop()
        await following.until(lambda: following.live)
        assert following.health.up


@pytest.mark.parametrize("what", GARBAGE)
async def test_garbage_instead_of_statistics_is_a_reading_without_them(
    server: LibvirtServer, what: str
) -> None:
    async with Following(server.uri).running() as following:
        server.answers[STATS] = GARBAGE[what]
        if what == HARMLESS:
            assert await following.counted()
            return
        assert await following.read() is None
        assert not following.health.up
        del server.answers[STATS]
        await following.until(lambda: following.live)
        await following.until_read()
        assert following.health.up


async def test_text_that_is_not_utf_8_is_malformed(server: LibvirtServer) -> None:
    async def bad(call: Call) -> None:
        data = call.honest().replace(b"instance", b"\xff\xfe\xfd\xfc\xff\xfe\xfd\xfc")
        await call.say(data)

    server.answers[STATS] = bad
    async with Following(server.uri).running() as following:
        assert await following.read() is None
        assert following.problems == {STATISTICS: "malformed"}
        del server.answers[STATS]
        assert await following.counted()
    server.answers[XML] = bad
    server.domains = (*server.domains, made("instance-00000002", "tap2", number=2))
    async with Following(server.uri).running() as following:
        assert set(following.problems.values()) == {"malformed"}
        assert following.problems.keys() == {f"domain {each.name}" for each in server.domains}
        assert following.live


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (xml("<devices>"), "mismatched tag"),
        ("", "no element found"),
        (f"<!DOCTYPE domain [<!ENTITY a 'b'>]>{xml('&a;')}", "document type"),
        ("<network/>", "root"),
    ],
)
async def test_a_domain_that_cannot_be_understood_is_told_by_name_and_hides_no_other(
    server: LibvirtServer, text: str, said: str
) -> None:
    bad = made("instance-00000002", "tap2", number=2, xml=text)
    server.domains = (*server.domains, bad)
    async with Following(server.uri).running() as following:
        part = "domain instance-00000002"
        assert following.problems == {part: "malformed"}
        assert said in following.detail(part)
        assert following.live
        known = following.named
        assert known[NAME].interfaces
        assert (known[bad.name].interfaces, known[bad.name].state) == ((), 1)
        found = await following.counted()
        assert found.keys() == {(NAME, "tap1"), (bad.name, "tap2")}
        server.domains = (server.domains[0], made(bad.name, "tap2", number=2))
        server.metadata_changed(bad)
        await following.until(lambda: not following.problems)
        assert following.named[bad.name].interfaces
        assert following.health.up


async def test_a_domain_that_libvirt_will_not_show_hides_no_other_and_is_asked_for_again(
    server: LibvirtServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hypervisor_session, "RETRY_SECONDS", 0.2)
    other = made("instance-00000002", "tap2", number=2)
    async with Following(server.uri).running() as following:
        server.domains = (*server.domains, other)
        server.answers[XML] = fails(68, "cannot acquire state change lock")
        server.lifecycle(other, STARTED)
        part = f"domain {other.name}"
        await following.until(lambda: following.problems == {part: "timeout"})
        assert following.live
        assert following.named.keys() == {NAME}
        assert (await following.counted()).keys() == {(NAME, "tap1"), (other.name, "tap2")}
        del server.answers[XML]
        await following.until(lambda: other.name in following.named)
        assert following.health.up
        # One that was known stays as it was while it cannot be read.
        server.answers[XML] = fails(88, "access denied")
        server.metadata_changed(other)
        await following.until(lambda: following.problems == {part: "denied"})
        assert following.named[other.name].interfaces
        server.domains = server.domains[:1]
        server.lifecycle(other, STOPPED)
        await following.until(lambda: not following.problems)
        assert following.named.keys() == {NAME}


async def test_hostile_names_stand_as_they_are_cut(server: LibvirtServer) -> None:
    evil = 'a"b\\c\nd\u202e' + "x" * 10_000
    text = xml(
        "<metadata><nova:instance xmlns:nova='http://openstack.org/xmlns/libvirt/nova/1.1'>"
        f"<nova:name>{evil}</nova:name></nova:instance></metadata>"
    )
    server.domains = (made(xml=text),)
    async with Following(server.uri).running() as following:
        (domain,) = following.domains.values()
        assert domain.owner is not None
        assert domain.owner.instance_name == evil[:1024]
        assert following.health.up


async def test_a_busy_libvirtd_costs_one_reading_and_one_thread(
    server: LibvirtServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hypervisor, "WATCH_SECONDS", 60.0)  # it answers before it is given up
    released = threading.Event()

    async def held(call: Call) -> None:
        while not released.is_set():  # noqa: ASYNC110 - the server has a loop of its own
            await asyncio.sleep(0.01)
        await call.say(call.honest())

    async with Following(server.uri).running() as following:
        server.answers[STATS] = held
        following.source._timeout_seconds = 0.1
        assert await following.read() is None
        assert following.problems == {STATISTICS: "timeout"}
        assert await following.read() is None
        assert "still unanswered" in following.detail(STATISTICS), "it is not asked again meanwhile"
        assert server.calls[STATS] == 1
        released.set()
        following.source._timeout_seconds = 20.0
        await following.until_read()
        assert following.health.up
        assert server.connections_ever == 1, "the connection was kept"


async def test_a_libvirtd_that_stands_still_holds_one_thread_and_all_comes_back(
    server: LibvirtServer,
) -> None:
    async with Following(server.uri).running() as following:
        assert await following.counted()
        before = descriptors(), threads()
        server.freeze()
        assert await following.read() is None
        await following.until(lambda: not following.live)
        assert following.problems[EVENTS] == "timeout"
        for _ in range(10):
            began = asyncio.get_running_loop().time()
            assert await following.read() is None
            assert asyncio.get_running_loop().time() - began < ANSWER_SECONDS
            assert len(threads()) <= 1
            await asyncio.sleep(0.2)
        assert server.connections_ever <= 2
        server.thaw()
        await following.until(lambda: following.live)
        assert await following.counted()
        await following.until(lambda: (descriptors(), threads()) == before)


async def test_one_that_says_nothing_while_nobody_asks_is_noticed(server: LibvirtServer) -> None:
    async with Following(server.uri).running() as following:
        server.freeze()
        await following.until(lambda: following.problems == {EVENTS: "timeout"})
        assert "no sign of life" in following.detail(EVENTS) or "no answer" in following.detail(
            EVENTS
        )
        server.thaw()
        await following.until(lambda: following.live)


async def test_a_scrape_does_not_wait_for_a_connection_that_has_ended(
    server: LibvirtServer,
) -> None:
    async with Following(server.uri, timeouts={"libvirt_seconds": 30}).running() as following:
        server.answers[STATS] = says_nothing
        reading = asyncio.create_task(following.read())
        await following.until(lambda: server.calls[STATS])
        server.drop()
        assert await reading is None
        await following.until(lambda: not following.live)
        assert following.problems.keys() == {EVENTS}


async def test_many_ends_of_the_connection_cost_nothing(server: LibvirtServer) -> None:
    async with Following(server.uri).running() as following:
        baseline: tuple[int, list[str]] | None = None
        for _ in range(5):
            await following.until(lambda: following.live)
            await following.counted()
            baseline = baseline or (descriptors(), threads())
            server.drop()
            await following.until(lambda: not following.live)
        await following.until(lambda: following.live)
        await following.until(lambda: (descriptors(), threads()) == baseline)
    await following.until(lambda: not threads())


async def test_is_stopped_at_once_whatever_libvirt_does(server: LibvirtServer) -> None:
    loop = asyncio.get_running_loop()
    following = Following(server.uri, timeouts={"libvirt_seconds": 60})
    task = asyncio.create_task(following.source.run())
    server.answers[LIST] = says_nothing
    await following.until(lambda: server.calls[LIST])
    began = loop.time()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert loop.time() - began < 2 * hypervisor.STOP_SECONDS
    assert threads() == ["libvirt"]
    server.drop()
    await following.until(lambda: not threads())


async def test_a_library_that_is_not_installed_is_said_to_be_missing(
    server: LibvirtServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "agent.sources.hypervisor_session", None)
    async with Following(server.uri).running() as following:
        assert following.problems == {EVENTS: "absent"}
        assert "libvirt-python" in following.detail(EVENTS)
        assert following.health.configured, "a socket is there, so libvirt is missed"


async def test_a_library_that_is_too_old_is_said_to_be_missing(
    server: LibvirtServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("session", "events", "domains", "errors"):
        monkeypatch.delitem(sys.modules, f"agent.sources.hypervisor_{name}", raising=False)
    monkeypatch.setitem(sys.modules, "libvirt", ModuleType("libvirt"))
    async with Following(server.uri).running() as following:
        assert following.problems == {EVENTS: "absent"}
        assert "has no attribute" in following.detail(EVENTS)


async def test_a_library_that_cannot_be_read_now_is_tried_again(
    server: LibvirtServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoDescriptors:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "agent.sources.hypervisor_session":
                raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.delitem(sys.modules, "agent.sources.hypervisor_session")
    with monkeypatch.context() as exhausted:
        exhausted.setattr(sys, "meta_path", [NoDescriptors, *sys.meta_path])
        async with Following(server.uri).running() as following:
            assert following.problems == {EVENTS: "broken"}
            exhausted.undo()
            await following.until(lambda: following.live)
