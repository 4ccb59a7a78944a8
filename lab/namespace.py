"""Network namespaces: make, enter, delete, and sweep up after a lab that was killed."""

import fcntl
import os
import re
import shutil
import socket
import struct
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import TypeVar

from lab.process import NAMESPACES, run
from lab.setns import CLONE_NEWNET, setns

T = TypeVar("T")

DIRECTORIES = Path("/tmp")  # noqa: S108 - a UNIX socket's path may have 107 bytes: keep it short
OWNED = re.compile(r"dpa-(?P<pid>\d+)-\d+(-\w+)?")
"""Names of this lab's namespaces and directories carry the process that answers for them."""

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
ETH_P_ALL = 0x0003

SILENT = {
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
    "ipv4/conf/all/rp_filter": "1",
    "ipv4/conf/all/arp_ignore": "1",
}
"""The kernel sends nothing of its own accord, and does not answer what userspace switching reads.

A frame that ovs-vswitchd reads from a device goes up the kernel's own stack as well, which would
answer for the node's addresses a second time. It takes only what came in by the route back.
"""

_numbers = count(1)


def create() -> tuple[str, Path]:
    """Make a namespace and a private directory; return their names.

    The namespace has ``lo`` up and a silent kernel: a quiet switch has to be quiet.
    """
    sweep()
    name = _owned_name()
    run("ip", "netns", "add", name)
    try:
        inside(name, _silence_kernel)
        run("ip", "link", "set", "lo", "up", netns=name)
        return name, make_directory()
    except BaseException:
        run("ip", "netns", "delete", name)
        raise


def delete(name: str, directory: Path) -> None:
    """Delete both; what is already gone is well gone."""
    if (NAMESPACES / name).exists():
        run("ip", "netns", "delete", name)
    delete_directory(directory)


def make_directory() -> Path:
    """Make a private directory with a short path."""
    return Path(tempfile.mkdtemp(prefix=f"{_owned_name()}-", dir=DIRECTORIES))


def delete_directory(directory: Path) -> None:
    """Delete it with all that is in it."""
    shutil.rmtree(directory, ignore_errors=True)


def _owned_name() -> str:
    return f"dpa-{os.getpid()}-{next(_numbers)}"


def sweep() -> None:
    """Delete namespaces and directories of labs whose process no longer exists."""
    for path in (*_listing(NAMESPACES), *_listing(DIRECTORIES)):
        owned = OWNED.fullmatch(path.name)
        if owned is None or Path("/proc", owned["pid"]).exists():
            continue
        if path.parent == NAMESPACES:
            run("ip", "netns", "delete", path.name)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _listing(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.is_dir() else []


def inside(name: str, work: Callable[[], T]) -> T:
    """Do something in a namespace, in a thread that ends right after.

    Sockets and taps stay in the namespace where they were opened.
    """

    def enter_and_work() -> T:
        setns(NAMESPACES / name, CLONE_NEWNET)
        return work()

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"in-{name}") as thread:
        return thread.submit(enter_and_work).result()


def _silence_kernel() -> None:
    for setting, value in SILENT.items():
        switch = Path("/proc/sys/net", setting)
        if switch.exists():
            switch.write_text(value)


def open_tap(netns: str, device: str) -> int:
    """Make a tap device as a hypervisor does; it exists while the descriptor is open."""

    def opened() -> int:
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        request = struct.pack("16sH22x", device.encode(), IFF_TAP | IFF_NO_PI)
        fcntl.ioctl(descriptor, TUNSETIFF, request)
        return descriptor

    return inside(netns, opened)


def open_device(netns: str, device: str) -> int:
    """Open a device that exists for sending and receiving whole frames.

    The kernel hands VLAN tags over beside the frame, so frames read here have lost their tag.
    """

    def opened() -> int:
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        packets.bind((device, ETH_P_ALL))
        packets.setblocking(False)  # noqa: FBT003 - the standard library's own signature
        return packets.detach()

    return inside(netns, opened)
