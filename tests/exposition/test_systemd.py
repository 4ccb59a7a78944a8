"""sd_notify(3) against a real datagram socket."""

import asyncio
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.exposition.systemd import feed_watchdog, notify, watchdog_interval_seconds
from tests.logs import Logged


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Listen as systemd does."""
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(0)
        yield listener


def test_systemd_hears_what_is_said(systemd: socket.socket) -> None:
    assert notify("READY=1")
    assert notify("STOPPING=1")
    assert [systemd.recv(100), systemd.recv(100)] == [b"READY=1", b"STOPPING=1"]


def test_an_abstract_address_is_heard_too(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"dataplane-agent-test-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        assert notify("READY=1")
        assert listener.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    "address", ["", "relative", "vsock:2:1", "/nowhere/notify", "/" + "x" * 200, "@nobody"]
)
def test_what_cannot_be_told_is_no_reason_to_fail(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not notify("READY=1")


def test_without_systemd_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")


def test_a_systemd_that_does_not_listen_blocks_nobody(systemd: socket.socket) -> None:
    told = [notify(f"STATUS={n}") for n in range(2000)]
    assert told[0]
    assert not told[-1]
    assert systemd.recv(100) == b"STATUS=0"


def test_a_process_without_free_descriptors_does_not_fail(systemd: socket.socket) -> None:
    assert systemd.fileno() >= 0
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
        told = notify("WATCHDOG=1")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert not told


@pytest.mark.parametrize(
    ("microseconds", "seconds"),
    [
        ("30000000", 15.0),
        ("1", 5e-7),
        ("0", None),
        ("", None),
        (None, None),
        ("-1", None),
        ("30s", None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_asks(
    monkeypatch: pytest.MonkeyPatch, microseconds: str | None, seconds: float | None
) -> None:
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    if microseconds is not None:
        monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    assert watchdog_interval_seconds() == seconds


def test_a_watchdog_for_another_process_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getppid()))
    assert watchdog_interval_seconds() is None
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert watchdog_interval_seconds() == 15.0


async def test_the_watchdog_is_fed_at_once_and_again(systemd: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    feeder = asyncio.create_task(feed_watchdog(0.01, lambda: True))
    try:
        for _ in range(3):
            assert await loop.sock_recv(systemd, 100) == b"WATCHDOG=1"
    finally:
        feeder.cancel()
        await asyncio.gather(feeder, return_exceptions=True)


async def test_the_watchdog_is_not_fed_while_no_page_gets_done(
    systemd: socket.socket, logged: Logged
) -> None:
    asked: list[bool] = []

    def serves() -> bool:
        asked.append(len(asked) >= 3)
        return asked[-1]

    feeder = asyncio.create_task(feed_watchdog(0.01, serves))
    try:
        assert await asyncio.get_running_loop().sock_recv(systemd, 100) == b"WATCHDOG=1"
    finally:
        feeder.cancel()
        await asyncio.gather(feeder, return_exceptions=True)
    assert asked[:4] == [False, False, False, True]
    assert [each["event"] for each in logged()] == ["no page gets done"]
