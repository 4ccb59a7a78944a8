"""Namespaces for tests, threads inside them, and rooms as the links thread opens them."""

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from agent.sources.conntrack_files import ConntrackFiles
from agent.sources.netlink_socket import NetlinkSocket
from agent.sources.rooms import Held, Room, Rooms
from agent.wire.netlink.allowed import ROUTE
from lab.process import run

T = TypeVar("T")

NAMES = Path("/run/netns")
CLONE_NEWNET = 0x40000000
CAP_NET_ADMIN = 12
TIMEOUT_SECONDS = 5.0
_CAPABILITY_VERSION = 0x20080522
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def namespace(name: str, *commands: str) -> Iterator[str]:
    """A network namespace in which ip(8) runs these commands; nothing is sent by itself."""
    run("ip", "netns", "add", name)
    try:
        # IPv6 would send a packet of its own between two readings that are compared.
        run("sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6", netns=name)
        for command in commands:
            run("ip", *command.split(), netns=name)
        yield name
    finally:
        if (NAMES / name).exists():
            run("ip", "netns", "delete", name)


def inside(name: str, work: Callable[[], T], without: int | None = None) -> T:
    """Run something in a thread that is in a namespace, ``""`` for that of the caller.

    Args:
        name: The namespace's.
        work: What to run; threads that it starts are there too.
        without: Number of a capability that the thread gives up first, below 32.
    """
    result: list[T] = []
    raised: list[BaseException] = []

    def body() -> None:
        try:
            if name:
                with (NAMES / name).open() as opened:
                    _checked(_libc.setns(opened.fileno(), CLONE_NEWNET))
            if without is not None:
                _give_up(without)
            result.append(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the call was made
            raised.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return result[0]


def open_room(name: str, identity: tuple[int, int] | None = None, **instead: Any) -> Room:
    """Open a namespace.

    Args:
        name: The namespace's.
        identity: Its file's unless the test says otherwise.
        instead: Attributes of the room that the test makes.
    """
    if identity is None:
        status = (NAMES / name if name else Path("/proc/thread-self/ns/net")).stat()
        identity = (status.st_dev, status.st_ino)

    def enter() -> dict[str, Any]:
        made: dict[str, Any] = {"events": NetlinkSocket(ROUTE, TIMEOUT_SECONDS)}
        for attribute in ("counters", "qdiscs"):
            if attribute not in instead:
                made[attribute] = Held(NetlinkSocket(ROUTE, TIMEOUT_SECONDS))
        if "conntrack" not in instead:
            files = ConntrackFiles.open()
            made["conntrack"] = None if files is None else Held(files)
        return made

    return Room(name, identity, **inside(name, enter), **instead)


@contextmanager
def rooms_of(*names: str) -> Iterator[Rooms]:
    """Rooms of these namespaces; those that are still there are left at the end."""
    rooms = Rooms()
    for name in names:
        rooms.put(open_room(name))
    try:
        yield rooms
    finally:
        for room in rooms.all():
            room.leave()


def _give_up(capability: int) -> None:
    """capset(2) is the calling thread's alone."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    data = (ctypes.c_uint32 * 6)()
    _checked(_libc.capget(header, data))
    data[0] &= ~(1 << capability)
    data[1] &= ~(1 << capability)
    data[2] &= ~(1 << capability)
    _checked(_libc.capset(header, data))


def _checked(answer: int) -> None:
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
