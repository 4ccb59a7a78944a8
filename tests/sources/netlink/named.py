"""Real namespaces with names in a directory of the test's own, made as ``ip netns add`` does."""

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from lab.process import run

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
MS_BIND, MNT_DETACH = 0x1000, 2
_libc = ctypes.CDLL(None, use_errno=True)


class NamedNamespacesOfATest:
    """A directory like /run/netns.

    Args:
        path: Of the directory, which is made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(exist_ok=True)

    def file(self, name: str | bytes) -> Path:
        return self.path / os.fsdecode(name)

    def add(self, name: str | bytes, between: Callable[[], None] = lambda: None) -> Path:
        """Make a file, do something, mount a new namespace over it."""
        path = self.file(name)
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0))
        between()
        in_thread(lambda: _mount_new(path))
        return path

    def delete(self, name: str | bytes) -> None:
        """Take the name away; the namespace goes when nobody holds it any more."""
        path = self.file(name)
        _libc.umount2(os.fsencode(path), MNT_DETACH)  # fails for an ordinary file
        path.unlink()

    def ip(self, name: str | bytes, *commands: str) -> None:
        """Run ip(8) or bridge(8) inside: ``link add …``, ``bridge fdb …``."""
        for command in commands:
            words = command.split()
            tool = [] if words[0] == "bridge" else ["ip"]
            run("nsenter", f"--net={self.file(name)}", *tool, *words)

    def batch(self, name: str | bytes, commands: str) -> None:
        """Run many commands of ip(8) inside."""
        run("nsenter", f"--net={self.file(name)}", "ip", "-batch", "-", stdin=commands)

    def inside(self, name: str | bytes, work: Callable[[], T]) -> T:
        """Run something in a thread that is inside."""

        def entered() -> T:
            descriptor = os.open(self.file(name), os.O_RDONLY)
            try:
                _check(_libc.setns(descriptor, CLONE_NEWNET))
            finally:
                os.close(descriptor)
            return work()

        return in_thread(entered)

    def clear(self) -> None:
        """Delete all."""
        with contextlib.suppress(FileNotFoundError):
            for each in list(self.path.iterdir()):
                if each.is_dir():
                    each.rmdir()
                else:
                    self.delete(os.fsencode(each.name))


@contextlib.contextmanager
def named_namespaces(path: Path) -> Iterator[NamedNamespacesOfATest]:
    """A directory of namespaces for as long as the block takes."""
    directory = NamedNamespacesOfATest(path)
    try:
        yield directory
    finally:
        directory.clear()


def in_thread(work: Callable[[], T]) -> T:
    """Run something in a thread that ends with it: what it enters is left."""
    results: list[T] = []
    errors: list[BaseException] = []

    def catching() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 (raised by the caller's thread)
            errors.append(error)

    thread = threading.Thread(target=catching)
    thread.start()
    thread.join()
    for error in errors:
        raise error
    return results[0]


def _mount_new(path: Path) -> None:
    _check(_libc.unshare(CLONE_NEWNET))
    source = b"/proc/thread-self/ns/net"
    _check(_libc.mount(source, os.fsencode(path), None, MS_BIND, None))


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
