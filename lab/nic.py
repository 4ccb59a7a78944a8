"""The instance's side of a domain's interface, for domains in which no system runs.

QEMU's filter-redirector stands between the tap and the virtual card: what the tap has for the card
goes to one socket, and what comes from another goes to the tap as if the card had sent it.
"""

import errno
import fcntl
import os
import socket
import struct
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lab.frames import Host
from lab.process import wait_until
from lab.reactor import Reactor, void
from lab.station import Station

READ_BYTES = 65536
SEND_BUFFER_BYTES = 4 << 20
"""Thousands of frames: the reactor's thread, which also has to read, is not kept waiting."""
SO_SNDBUFFORCE = 32
"""Of asm-generic/socket.h: SO_SNDBUF without the limit of net.core.wmem_max, for root."""
LENGTH = struct.Struct("!I")
VIRTIO_HEADER_BYTES = 10
"""struct virtio_net_hdr: before each frame between a tap with ``vnet_hdr on`` and its card. Zeros
say that nothing is left to be done for the frame."""


class Nic(Station):
    """Sends as the card of a running domain, and receives what reaches it.

    Args:
        reactor: Reads for it.
        directory: Where the domain, which was made with ``redirection``, has its sockets.
        device: The tap.
        hosts: Addresses it answers for. The first is its own.
    """

    def __init__(
        self, reactor: Reactor, directory: Path, device: str, hosts: tuple[Host, ...]
    ) -> None:
        self._reactor = reactor
        self._device = device
        self._unread = bytearray()
        self._writing = threading.Lock()
        self._to_tap = _connect(directory / f"{device}.in")
        self._plugged = True
        super().__init__(reactor, _connect(directory / f"{device}.out"), hosts)
        reactor.watch(self._to_tap, lambda: void(self._read(self._to_tap)))

    def _write(self, frame: bytes) -> None:
        head = LENGTH.pack(VIRTIO_HEADER_BYTES + len(frame)) + bytes(VIRTIO_HEADER_BYTES)
        message = memoryview(head + frame)
        with self._writing:  # a frame of the reactor's thread must not begin within another
            self._require_plugged()
            while message:
                message = message[os.write(self._to_tap, message) :]

    def _pause(self) -> None:
        super()._pause()
        wait_until(self._is_taken, what=f"QEMU to take what {self._device} was sent")

    def _is_taken(self) -> bool:
        with self._writing:
            self._require_plugged()
            waiting = fcntl.ioctl(self._to_tap, termios.TIOCOUTQ, bytes(4))
        return not int.from_bytes(waiting, sys.byteorder)

    def _require_plugged(self) -> None:
        if not self._plugged:
            raise OSError(errno.ENODEV, "its domain no longer runs", self._device)

    def _on_readable(self) -> None:
        self._unread += self._read(self._descriptor)
        for frame in self._whole_frames():
            with suppress(OSError):  # the answer, to a domain that has ended meanwhile
                self._take(frame)

    def _whole_frames(self) -> Iterator[bytes]:
        """Yield what has been read whole; what has come in part stays for the next time."""
        while len(self._unread) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(self._unread)[0]
            if len(self._unread) < end:
                return
            frame = bytes(self._unread[LENGTH.size + VIRTIO_HEADER_BYTES : end])
            del self._unread[:end]
            yield frame

    def _read(self, descriptor: int) -> bytes:
        """Return what is there; nothing, now and later, if the domain has ended."""
        with suppress(ConnectionError):
            if data := os.read(descriptor, READ_BYTES):
                return data
        with self._writing:
            self._plugged = False
            self._reactor.drop(descriptor)
        return b""


def redirection(number: int, device: str, directory: Path) -> tuple[str, ...]:
    """Return the arguments of QEMU that put a ``Nic`` in the place of a domain's card.

    Args:
        number: Which of the domain's interfaces, from 0 on.
        device: Its tap.
        directory: For the sockets; a short path.
    """

    def chardev(way: str) -> str:
        return f"socket,id={device}.{way},path={directory}/{device}.{way},server=on,wait=off"

    # rx and tx as the tap has them: received from the card, transmitted to the card
    filters = f"filter-redirector,netdev=hostnet{number}"
    return (
        *("-chardev", chardev("in"), "-chardev", chardev("out")),
        *("-object", f"{filters},id={device}.rx,queue=rx,indev={device}.in"),
        *("-object", f"{filters},id={device}.tx,queue=tx,outdev={device}.out"),
    )


def _connect(path: Path) -> int:
    with socket.socket(socket.AF_UNIX) as client:
        client.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_BYTES)
        client.connect(str(path))
        return client.detach()
