"""An error of libvirt's is one, whatever its text is, and leaves nothing behind."""

import asyncio
import gc
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agent.sources import hypervisor, hypervisor_session
from lab.libvirt_faults import Call, fails, late, says_nothing
from lab.libvirt_rpc import Procedure, Status, error, message
from lab.libvirt_server import LibvirtServer
from tests.sources.libvirt.following import NAME, Following, descriptors, made, threads, xml

EVENTS, STATISTICS = "events", "statistics"
STARTED = 2
LIST, XML, STATS, OPEN, REGISTER = (
    Procedure.CONNECT_LIST_ALL_DOMAINS,
    Procedure.DOMAIN_GET_XML_DESC,
    Procedure.CONNECT_GET_ALL_DOMAIN_STATS,
    Procedure.CONNECT_OPEN,
    Procedure.CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY,
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the source's patience, so that a test need not wait for it."""
    monkeypatch.setattr(hypervisor, "WATCH_SECONDS", 0.05)


async def fails_without_text(call: Call) -> None:
    """Answer with an error whose text is not UTF-8: libvirt cuts long ones anywhere."""
    header = replace(call.header, status=Status.ERROR)
    text = "x" * 8
    data = message(header, error(1, 10, text))
    await call.say(data.replace(text.encode(), b"\xe2" * len(text)))


@pytest.mark.parametrize("procedure", [OPEN, REGISTER, LIST])
async def test_an_error_without_text_takes_only_the_source_down(
    server: LibvirtServer, procedure: Procedure
) -> None:
    server.answers[procedure] = fails_without_text
    async with Following(server.uri).running() as following:
        assert following.problems == {EVENTS: "malformed"}
        del server.answers[procedure]
        await following.until(lambda: following.live)
        assert following.health.up


async def test_an_error_without_text_is_of_what_was_asked_for(server: LibvirtServer) -> None:
    interfaces = (
        "<interface type='vhostuser'><target dev='vhu1'/></interface>"
        "<interface type='bridge'><target dev='tap2'/></interface>"
    )
    two = made("instance-00000002", number=2, xml=xml(f"<devices>{interfaces}</devices>"))
    server.answers[XML] = fails_without_text
    async with Following(server.uri).running() as following:
        assert following.live
        assert following.problems == {f"domain {NAME}": "malformed"}
    del server.answers[XML]
    async with Following(server.uri).running() as following:
        server.answers[STATS] = fails_without_text
        assert await following.read() is None
        assert following.problems == {STATISTICS: "malformed"}
        del server.answers[STATS]
        server.domains = (*server.domains, two)
        server.lifecycle(two, STARTED)
        await following.until(lambda: two.name in following.named)
        server.answers[Procedure.DOMAIN_INTERFACE_STATS] = fails_without_text
        assert (await following.counted()).keys() == {(NAME, "tap1")}
        assert following.health.up


async def test_an_end_that_is_answered_without_text_is_an_end(server: LibvirtServer) -> None:
    server.answers |= {
        LIST: fails(1, "internal error"),
        Procedure.CONNECT_DOMAIN_EVENT_CALLBACK_DEREGISTER_ANY: fails_without_text,
        Procedure.CONNECT_CLOSE: fails_without_text,
    }
    async with Following(server.uri).running() as following:
        assert following.problems == {EVENTS: "broken"}
        del server.answers[LIST]
        await following.until(lambda: following.live)
    await following.until(lambda: not threads())


async def test_a_users_own_libvirt_is_missed_when_it_is_there_and_refuses(tmp_path: Path) -> None:
    (tmp_path / "libvirt").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "libvirt" / "libvirt-sock"))
    for directory in (tmp_path / "libvirt", tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    (tmp_path / "libvirt" / "libvirt-sock").chmod(0o777)
    script = (
        "import asyncio, os, agent.sources.hypervisor_session\n"
        "from tests.sources.libvirt.following import Following\n"
        "os.setuid(65534)\n"
        "async def main():\n"
        "    async with Following('qemu:///session').running() as following:\n"
        "        print(following.health.configured, following.problems)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    out, _ = await process.communicate()
    assert out.decode().splitlines()[-1] == "True {'events': 'refused'}"


async def test_errors_keep_no_connection(server: LibvirtServer) -> None:
    """What is left to the collector of cycles is closed late, and by any thread."""
    vhostuser = xml(
        "<devices><interface type='vhostuser'><target dev='vhu1'/></interface></devices>"
    )
    server.domains = (*server.domains, made("instance-00000002", number=2, xml=vhostuser))
    async with Following(server.uri, timeouts={"libvirt_seconds": 20}).running() as following:
        before = descriptors(), threads()
        gc.collect()
        gc.disable()
        try:
            server.answers[STATS] = fails(1, "internal error")
            assert await following.read() is None
            del server.answers[STATS]
            server.answers[XML] = says_nothing
            asked = server.calls[XML]
            server.metadata_changed(server.domains[0])
            await following.until(lambda: server.calls[XML] > asked)
            del server.answers[XML]
            server.drop()
            await following.until(lambda: not following.live)
            await following.until(lambda: following.live)
            assert (descriptors(), threads()) == before
        finally:
            gc.enable()


async def test_events_of_more_domains_than_there_can_be_are_one_list(
    server: LibvirtServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hypervisor_session, "MAX_WAITING", 20)
    lookup = Procedure.DOMAIN_LOOKUP_BY_UUID
    async with Following(server.uri, timeouts={"libvirt_seconds": 20}).running() as following:
        lists = server.calls[LIST]
        server.answers[lookup] = late(0.2)
        for number in range(2, 102):
            server.lifecycle(made(number=number), STARTED)
        await following.until(lambda: server.calls[LIST] > lists)
        await following.until(lambda: following.events["domain_started"] == 100)
        assert following.live
        assert following.named.keys() == {NAME}
        assert server.calls[lookup] < 20
