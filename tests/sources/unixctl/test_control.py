"""The connection to the control socket, against peers that do not behave."""

import asyncio
import contextlib
import os
import pwd
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from agent.errors import Reason, SourceError
from agent.sources.unixctl import ALLOWED, OVN_CONTROLLER, VSWITCHD, CommandError, Control
from tests.sources.unixctl.peers import (
    Answer,
    Peer,
    answers_another,
    closes,
    fails,
    half_then_closes,
    half_then_stalls,
    raw,
    says_nothing,
    text,
)

SOON = 0.3
"""Seconds given to a peer that will not answer."""
SLACK = 1.0
"""Seconds by which a loaded machine may be late."""


@asynccontextmanager
async def control_of(rundir: Path, max_reply_bytes: int = 1 << 20) -> AsyncIterator[Control]:
    control = Control(rundir, max_reply_bytes=max_reply_bytes)
    try:
        yield control
    finally:
        control.close()


@contextmanager
def fails_in_time(reason: Reason, seconds: float = SOON) -> Iterator[None]:
    start = time.monotonic()
    with pytest.raises(SourceError) as caught:
        yield
    assert caught.value.reason is reason, caught.value
    assert time.monotonic() - start < seconds + SLACK


@contextmanager
def listening(path: Path, backlog: int) -> Iterator[socket.socket]:
    """A peer that is stopped: the kernel takes connections for it until the backlog is full."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen(backlog)
        server.settimeout(0)
        yield server


async def accept_all(server: socket.socket) -> list[socket.socket]:
    accepted = []
    with contextlib.suppress(BlockingIOError):
        while True:
            accepted.append(server.accept()[0])
    return accepted


async def test_answers_what_the_peer_answers_over_one_connection(rundir: Path) -> None:
    async with (
        Peer(rundir / "ovs-vswitchd.1.ctl", {"memory/show": text("ports:3")}) as peer,
        control_of(rundir) as control,
    ):
        for _ in range(3):
            assert await control.run("memory/show", timeout=5) == "ports:3"
        assert peer.connections == 1
        assert peer.methods() == ["list-commands", *["memory/show"] * 3]
        assert "dpctl/show" in control.commands


async def test_large_answer_arrives_whole(rundir: Path) -> None:
    answer = "flows: 1\n" * 100_000
    async with (
        Peer(rundir / "ovs-vswitchd.1.ctl", {"upcall/show": text(answer)}),
        control_of(rundir, max_reply_bytes=2 << 20) as control,
    ):
        assert await control.run("upcall/show", timeout=10) == answer


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("exit", ()),
        ("dpctl/del-flows", ()),
        ("fdb/flush", ()),
        ("dpif-netdev/pmd-stats-clear", ()),
        ("set-options", ("--format", "json")),
        ("dpctl/show", ("-s",)),
        ("dpctl/show", ("netdev@ovs-netdev",)),
        ("dpctl/ct-get-nconns", ("--may-create",)),
        ("dpif-netdev/pmd-perf-show", ("-it", "20000")),
        ("bond/show", ("bond0",)),
    ],
)
async def test_command_that_is_not_on_the_list_is_never_written(
    rundir: Path, method: str, arguments: tuple[str, ...]
) -> None:
    async with (
        Peer(rundir / "ovs-vswitchd.1.ctl", {}) as peer,
        control_of(rundir) as control,
    ):
        await control.connect(5)
        with pytest.raises(ValueError, match="not a read-only command"):
            await control.run(method, *arguments, timeout=5)
        assert peer.methods() == ["list-commands"]


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("exit", ()),
        ("exit", ("--restart",)),
        ("recompute", ()),
        ("inc-engine/recompute", ()),
        ("inc-engine/clear-stats", ()),
        ("inc-engine/compute-log-timeout", ("1",)),
        ("debug/pause", ()),
        ("debug/resume", ()),
        ("debug/delay-nb-cfg-report", ("60",)),
        ("debug/ignore-startup-delay", ()),
        ("inject-pkt", ("inport==1",)),
        ("stopwatch/reset", ()),
        ("lflow-cache/flush", ()),
        ("flush-lflow-cache", ()),
        ("sb-cluster-state-reset", ()),
        ("vlog/set", ("dbg",)),
        ("stopwatch/show", ("flow-generation",)),
        ("inc-engine/show-stats", ("runtime_data", "recompute")),
        ("lflow-cache/show-stats", ("all",)),
        ("debug/dump-local-bindings", ("all",)),
        ("dpctl/show", ()),
        ("upcall/show", ()),
    ],
)
async def test_ovn_controller_has_a_list_of_its_own(
    rundir: Path, method: str, arguments: tuple[str, ...]
) -> None:
    async with Peer(rundir / "ovn-controller.1.ctl", {"version": text("23.03.1")}) as peer:
        control = Control(rundir, OVN_CONTROLLER)
        try:
            await control.connect(5)
            with pytest.raises(ValueError, match="not a read-only command of ovn-controller"):
                await control.run(method, *arguments, timeout=5)
            assert await control.run("version", timeout=5) == "23.03.1"
            assert peer.methods() == ["list-commands", "version"]
        finally:
            control.close()


@pytest.mark.parametrize(
    "method",
    ["connection-status", "stopwatch/show", "inc-engine/show-stats", "debug/dump-local-bindings"],
)
async def test_what_ovn_controller_may_be_asked_is_not_asked_of_ovs_vswitchd(
    rundir: Path, method: str
) -> None:
    async with (
        Peer(rundir / "ovs-vswitchd.1.ctl", {}) as peer,
        control_of(rundir) as control,
    ):
        with pytest.raises(ValueError, match="not a read-only command of ovs-vswitchd"):
            await control.run(method, timeout=5)
        assert peer.requests == []


async def test_daemon_without_a_list_can_be_asked_nothing(rundir: Path) -> None:
    async with Peer(rundir / "ovsdb-server.1.ctl", {"version": text("3.1")}) as peer:
        control = Control(rundir, "ovsdb-server")
        with pytest.raises(ValueError, match="not a read-only command of ovsdb-server"):
            await control.run("version", timeout=5)
        with pytest.raises(ValueError, match="not a read-only command of ovsdb-server"):
            await control.connect(5)
        assert peer.requests == []


async def test_other_daemon_whose_name_begins_alike_is_not_taken(rundir: Path) -> None:
    async with Peer(rundir / "ovn-controller-vtep.1.ctl", {"version": text("23.03.1")}) as peer:
        control = Control(rundir, OVN_CONTROLLER)
        with fails_in_time(Reason.ABSENT):
            await control.run("version", timeout=SOON)
        assert peer.connections == 0


def test_lists_of_commands_hold_only_commands_that_show() -> None:
    for method in ALLOWED[VSWITCHD]:
        last = method.rpartition("/")[2]
        assert last in {"version", "list-commands", "read-counter"} or (
            last.endswith("show") or last.startswith("ct-get-")
        )
    assert ALLOWED[OVN_CONTROLLER] == {
        "connection-status",
        "coverage/read-counter",
        "coverage/show",
        "debug/dump-local-bindings",
        "inc-engine/show-stats",
        "lflow-cache/show-stats",
        "list-commands",
        "memory/show",
        "stopwatch/show",
        "version",
    }
    assert set(ALLOWED) == {VSWITCHD, OVN_CONTROLLER}


async def test_error_reply_is_not_a_failure_of_the_source(rundir: Path) -> None:
    answers = {"lacp/show": fails('"lacp/show" is not a valid command'), "bond/show": text("")}
    async with (
        Peer(rundir / "ovs-vswitchd.1.ctl", answers) as peer,
        control_of(rundir) as control,
    ):
        with pytest.raises(CommandError, match="not a valid command"):
            await control.run("lacp/show", timeout=5)
        assert await control.run("bond/show", timeout=5) == ""
        assert peer.connections == 1


async def test_no_directory_and_no_socket_are_absent(rundir: Path) -> None:
    async with control_of(rundir) as control:
        with fails_in_time(Reason.ABSENT):
            await control.run("version", timeout=SOON)
    async with control_of(rundir / "none") as control:
        with fails_in_time(Reason.ABSENT):
            await control.run("version", timeout=SOON)


async def test_socket_of_another_daemon_is_not_taken(rundir: Path) -> None:
    async with (
        Peer(rundir / "ovsdb-server.1.ctl", {"version": text("ovsdb-server")}) as peer,
        control_of(rundir) as control,
    ):
        with fails_in_time(Reason.ABSENT):
            await control.run("version", timeout=SOON)
        assert peer.connections == 0


async def test_socket_that_a_dead_daemon_left_is_refused(rundir: Path) -> None:
    with listening(rundir / "ovs-vswitchd.9.ctl", 1):
        pass
    async with control_of(rundir) as control:
        with fails_in_time(Reason.REFUSED):
            await control.run("version", timeout=SOON)


async def test_file_that_is_no_socket_is_refused(rundir: Path) -> None:
    (rundir / "ovs-vswitchd.9.ctl").touch()
    async with control_of(rundir) as control:
        with fails_in_time(Reason.REFUSED):
            await control.run("version", timeout=SOON)


@pytest.mark.parametrize("stale_is_newer", [False, True])
async def test_living_daemon_is_found_beside_a_dead_one(
    *, rundir: Path, stale_is_newer: bool
) -> None:
    stale = rundir / "ovs-vswitchd.9.ctl"
    with listening(stale, 1):
        pass
    async with (
        Peer(rundir / "ovs-vswitchd.10.ctl", {"version": text("3.1")}),
        control_of(rundir) as control,
    ):
        other = time.time() + (60 if stale_is_newer else -60)
        os.utime(stale, (other, other))
        assert await control.run("version", timeout=5) == "3.1"


async def test_living_daemon_is_found_beside_a_stopped_one(rundir: Path) -> None:
    with listening(rundir / "ovs-vswitchd.9.ctl", 5):
        async with (
            Peer(rundir / "ovs-vswitchd.10.ctl", {"version": text("3.1")}) as peer,
            control_of(rundir) as control,
        ):
            os.utime(peer.path, (0, 0))  # the stopped one is tried first
            assert await control.run("version", timeout=2 * SOON) == "3.1"


@pytest.mark.parametrize("target", ["rundir", "socket"])
async def test_missing_right_is_denied(rundir: Path, target: str) -> None:
    root = os.geteuid() == 0  # whom no mode keeps out: it gives up its rights
    user = pwd.getpwnam("nobody").pw_uid if root else os.geteuid()
    async with (
        Peer(rundir / "ovs-vswitchd.1.ctl", {}) as peer,
        control_of(rundir) as control,
    ):
        os.chmod(peer.path, 0o000)  # noqa: PTH101 - not in a coroutine
        os.chmod(rundir, 0o755 if target == "socket" else 0o000)  # noqa: PTH101 - the same
        os.setresuid(-1, user, -1)
        try:
            with fails_in_time(Reason.DENIED):
                await control.run("version", timeout=SOON)
        finally:
            os.setresuid(-1, 0 if root else user, -1)
            os.chmod(rundir, 0o700)  # noqa: PTH101 - the same


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (says_nothing, Reason.TIMEOUT),
        (half_then_stalls("ports:3"), Reason.TIMEOUT),
        (half_then_closes("ports:3"), Reason.BROKEN),
        (closes, Reason.BROKEN),
        (answers_another, Reason.MALFORMED),
        (raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Reason.MALFORMED),
        (raw(b"\x00\xff" * 8), Reason.MALFORMED),
        (raw(b'{"id":1,"result":{"a":1},"error":null}'), Reason.MALFORMED),
        (raw(b'{"id":1,"result":null,"error":null}'), Reason.MALFORMED),
        (text("x" * (2 << 20)), Reason.MALFORMED),
    ],
    ids=[
        "says-nothing",
        "half-stalls",
        "half-closes",
        "closes",
        "wrong-id",
        "http",
        "bytes",
        "json-result",
        "neither",
        "oversized",
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["first-request", "later-request"])
async def test_misbehaviour_has_its_reason_and_the_next_try_is_a_new_connection(
    *, rundir: Path, answer: Answer, reason: Reason, first: bool
) -> None:
    method = "list-commands" if first else "memory/show"
    async with (
        Peer(rundir / "ovs-vswitchd.1.ctl", {"version": text("3.1")}) as peer,
        control_of(rundir) as control,
    ):
        good = peer.answers.get(method)
        peer.answers[method] = answer
        with fails_in_time(reason):
            await control.run("memory/show", timeout=SOON)
        assert control.peer_start_time() is None
        peer.answers[method] = good or text("ports:4")
        assert await control.run("version", timeout=5) == "3.1"
        assert peer.connections == 2


async def test_answer_to_an_abandoned_request_is_never_taken_for_the_next(rundir: Path) -> None:
    release = asyncio.Event()

    async def late(request: dict[str, object], writer: asyncio.StreamWriter) -> None:
        await release.wait()
        await text("late")(request, writer)

    async with (
        Peer(rundir / "ovs-vswitchd.1.ctl", {"memory/show": late}) as peer,
        control_of(rundir) as control,
    ):
        with fails_in_time(Reason.TIMEOUT):
            await control.run("memory/show", timeout=SOON)
        release.set()
        peer.answers["memory/show"] = text("in time")
        assert await control.run("memory/show", timeout=5) == "in time"


async def test_abandoning_a_request_abandons_its_connection(rundir: Path) -> None:
    arrived = asyncio.Event()

    async def silent(_request: dict[str, object], _writer: asyncio.StreamWriter) -> None:
        arrived.set()

    async with (
        Peer(rundir / "ovs-vswitchd.1.ctl", {"memory/show": silent}) as peer,
        control_of(rundir) as control,
    ):
        task = asyncio.create_task(control.run("memory/show", timeout=30))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        peer.answers["memory/show"] = text("ports:1")
        assert await control.run("memory/show", timeout=5) == "ports:1"
        assert peer.connections == 2


async def test_requests_of_two_tasks_go_one_after_the_other(rundir: Path) -> None:
    answers = {"memory/show": text("ports:1"), "version": text("3.1")}
    async with (
        Peer(rundir / "ovs-vswitchd.1.ctl", answers) as peer,
        control_of(rundir) as control,
    ):
        found = await asyncio.gather(
            *(control.run(method, timeout=5) for method in ("memory/show", "version") * 5)
        )
        assert found == ["ports:1", "3.1"] * 5
        assert peer.connections == 1


async def test_restarted_daemon_is_found_without_a_failure(rundir: Path) -> None:
    async with control_of(rundir) as control:
        for pid in (1, 2):
            path = rundir / f"ovs-vswitchd.{pid}.ctl"
            async with Peer(path, {"version": text(f"life {pid}")}):
                assert await control.run("version", timeout=5) == f"life {pid}"
                assert control.connections == pid


async def test_full_backlog_is_a_timeout_at_once(rundir: Path) -> None:
    path = rundir / "ovs-vswitchd.1.ctl"
    with listening(path, 0) as server, contextlib.ExitStack() as stack:
        with contextlib.suppress(BlockingIOError):
            while True:
                client = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                client.settimeout(0)
                client.connect(str(path))
        async with control_of(rundir) as control:
            start = time.monotonic()
            with fails_in_time(Reason.TIMEOUT):
                await control.run("version", timeout=30)
            assert time.monotonic() - start < SLACK
        for accepted in await accept_all(server):
            accepted.close()


async def test_stopped_peer_has_one_connection_pending_however_often_it_is_tried(
    rundir: Path,
) -> None:
    with listening(rundir / "ovs-vswitchd.1.ctl", 8) as server:
        async with control_of(rundir) as control:
            for _ in range(5):
                with fails_in_time(Reason.TIMEOUT):
                    await control.run("version", timeout=SOON / 3)
            pending = await accept_all(server)
            assert len(pending) == 1
            assert pending[0].recv(1000).count(b"list-commands") == 1
            for accepted in pending:
                accepted.close()
            with fails_in_time(Reason.TIMEOUT):  # it went on, and was stopped again
                await control.run("version", timeout=SOON / 3)
            pending = await accept_all(server)
            assert len(pending) == 1
            for accepted in pending:
                accepted.close()


async def test_peer_start_time_is_that_of_the_listening_process(rundir: Path) -> None:
    async with (
        Peer(rundir / "ovs-vswitchd.1.ctl", {}),
        control_of(rundir) as control,
    ):
        assert control.peer_start_time() is None
        await control.connect(5)
        started = control.peer_start_time()
        assert started is not None
        now = time.time()
        with open("/proc/uptime", encoding="ascii") as file:  # noqa: ASYNC230, PTH123 - a test
            uptime = float(file.read().split()[0])
        assert now - uptime - 2 < started <= now + 1


async def test_path_too_long_for_a_socket_is_a_reason_and_no_traceback(rundir: Path) -> None:
    deep = rundir / ("d" * 120)
    deep.mkdir()
    (deep / "ovs-vswitchd.1.ctl").touch()
    async with control_of(deep) as control:
        with fails_in_time(Reason.BROKEN):
            await control.run("version", timeout=SOON)
