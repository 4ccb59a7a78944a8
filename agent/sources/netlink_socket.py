"""A netlink socket: one question at a time, or a subscription. Blocks: for worker threads only.

Even a non-blocking send waits for the kernel's lock of all links (measured: 156 ms while
namespaces come and go), so none of this may run in the event loop.
"""

import contextlib
import ctypes
import errno
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator

from agent.errors import ParseError, Reason, SourceError
from agent.wire.netlink import header
from agent.wire.netlink.allowed import is_allowed
from agent.wire.netlink.header import Message

RECEIVE_BYTES = 1 << 16
"""The kernel makes no larger datagram of a dump (32 KiB), nor of an event."""
TRIES = 4
"""A list that changed while it was read (NLM_F_DUMP_INTR) is read again."""
SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
SO_RCVBUFFORCE = 33
SO_ATTACH_FILTER = 26
SO_NETNS_COOKIE = 71
EVENT_BUFFER_BYTES = 4 << 20

_LENGTH_TYPE_FLAGS = struct.Struct("=IHH")
_INTERRUPTED = header.Flag.DUMP_INTERRUPTED
_ENDS = frozenset({header.ERROR, header.DONE, header.OVERRUN})

_BY_ERRNO = {
    errno.EPERM: Reason.DENIED,
    errno.EACCES: Reason.DENIED,
    errno.ENOENT: Reason.ABSENT,
    errno.ENODEV: Reason.ABSENT,
    errno.EOPNOTSUPP: Reason.REFUSED,
    errno.EINVAL: Reason.REFUSED,
    errno.EAFNOSUPPORT: Reason.ABSENT,
    errno.EPROTONOSUPPORT: Reason.ABSENT,
    errno.EAGAIN: Reason.TIMEOUT,
}


class OverflowedError(Exception):
    """Events were lost (ENOBUFS): what is known must be read again."""


@contextlib.contextmanager
def errors(what: str) -> Iterator[None]:
    """Map the errors of a socket and of a message to ours.

    Raises:
        SourceError: Instead of OSError and ParseError.
    """
    try:
        yield
    except (OSError, ParseError) as error:
        raise source_error(what, error) from error


def source_error(what: str, error: OSError | ParseError) -> SourceError:
    """Return the error of a socket, a file or a message as ours."""
    if isinstance(error, ParseError):
        return SourceError(Reason.MALFORMED, f"{what}: {error}")
    reason = _BY_ERRNO.get(error.errno or 0, Reason.BROKEN)
    return SourceError(reason, f"{what}: {error.strerror or error}")


class NetlinkSocket:
    """A netlink socket in the network namespace in which it was made.

    Args:
        protocol: ROUTE, NETFILTER or GENERIC of ``wire.netlink.allowed``.
        timeout_seconds: How long the kernel may take for one answer.
        families: See ``is_allowed``; may be set later.

    Raises:
        OSError: If there can be none: no descriptors, or the kernel does not have the protocol.
    """

    def __init__(
        self, protocol: int, timeout_seconds: float, families: frozenset[int] = frozenset()
    ) -> None:
        self.families = families
        self._protocol = protocol
        self._timeout_seconds = timeout_seconds
        self._sequence = 0
        self._unfinished = False
        self.interrupted = False
        """Whether the list changed while ``datagrams`` read it the last time."""
        self.small = False
        """Whether ``subscribe`` got no more room for events than the kernel gives to everybody."""
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
        )
        try:
            self._socket.bind((0, 0))
            self._port_id: int = self._socket.getsockname()[0]
            # Not settimeout(): it asks poll() before each recv(), a fifth of the whole cost.
            self._socket.settimeout(None)
            self._socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(timeout_seconds)
            )
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self._socket.fileno()

    def cookie(self) -> int:
        """Return the kernel's number of the namespace, 0 before Linux 5.14 (SO_NETNS_COOKIE)."""
        try:
            data = self._socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
        except OSError:
            return 0
        return int.from_bytes(data, sys.byteorder)

    def close(self) -> None:
        """Close it. Safe to call twice."""
        self._socket.close()

    def dump(self, kind: int, payload: bytes) -> list[Message]:
        """Ask for all there are of something.

        A list that changed while it was read is read again, up to ``TRIES`` times; after that the
        last one is taken, for what moves that fast is never whole.

        Raises:
            OSError: What the kernel answered, or TimeoutError.
            ParseError: If an answer is not netlink.
        """
        return [
            message
            for data in self.whole(kind, payload)
            for message in header.messages(data)
            if message.type > header.OVERRUN
        ]

    def whole(self, kind: int, payload: bytes) -> list[bytes]:
        """Do the same as ``dump``, and return the datagrams, with the end of the dump in the last.

        For readers of many equal structures, which need no object for each message.

        Raises:
            OSError: What the kernel answered, or TimeoutError.
            ParseError: If an answer is not netlink.
        """
        for _ in range(TRIES):
            found = list(self.datagrams(kind, payload))
            if not self.interrupted:
                break
        return found

    def datagrams(self, kind: int, payload: bytes) -> Iterator[bytes]:
        """Ask for all there are of something and yield the datagrams up to the one with the end.

        For answers that are too large to be kept. One that is given up in the middle is read to
        its end before the next question: the kernel answers that with EBUSY otherwise.

        Raises:
            OSError: What the kernel answered, or TimeoutError.
            ParseError: If an answer is not netlink.
        """
        if self._unfinished:
            self._drain(self._deadline())
        self._send(kind, payload)
        yield from self._answer(self._deadline())

    def get(self, kind: int, payload: bytes) -> Message:
        """Ask for one thing.

        Raises:
            OSError: What the kernel answered, or TimeoutError.
            ParseError: If the answer is not netlink.
        """
        if self._unfinished:
            self._drain(self._deadline())
        self._send(kind, payload, dump=False)
        deadline = self._deadline()
        while True:
            for message in header.messages(self._receive(deadline)):
                if message.sequence != self._sequence:
                    continue  # a late answer to a question that was given up
                self._unfinished = False
                if message.type == header.ERROR:
                    raise OSError(message.errno, os.strerror(message.errno))
                return message

    def subscribe(self, *groups: int, filtered: bytes = b"") -> None:
        """Take events instead of answers; ``receive_events`` returns them.

        Args:
            groups: RTNLGRP_… numbers.
            filtered: A classic BPF program that lets through what is wanted.

        Raises:
            OSError: If the kernel refuses.
        """
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, EVENT_BUFFER_BYTES)
        except PermissionError:  # without CAP_NET_ADMIN the default's size
            self.small = True
        if filtered:
            program = (len(filtered) // 8, filtered)
            self._attach(*program)
        for group in groups:
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        self._socket.setblocking(False)  # noqa: FBT003 - the standard library's own signature

    def receive_events(self, at_most: int) -> Iterator[Message]:
        """Yield the events that wait, of at most so many datagrams.

        Raises:
            OverflowedError: If some were lost.
            OSError: If the socket fails otherwise.
            ParseError: If an event is not netlink.
        """
        for _ in range(at_most):
            try:
                data, sender = self._socket.recvfrom(RECEIVE_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    raise OverflowedError from error
                raise
            if sender[0] != 0:
                continue  # from a process, not from the kernel
            for message in header.messages(data):
                if message.type == header.OVERRUN:
                    raise OverflowedError
                yield message

    def _attach(self, length: int, program: bytes) -> None:
        buffer = ctypes.create_string_buffer(program, len(program))
        packed = struct.pack("HL", length, ctypes.addressof(buffer))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, packed)

    def _send(self, kind: int, payload: bytes, *, dump: bool = True) -> None:
        self._sequence = self._sequence % 0xFFFFFFFF + 1
        message = header.request(kind, payload, self._sequence, dump=dump)
        if not is_allowed(self._protocol, message, self.families):
            raise ValueError(f"netlink message {kind:#x} is not a read-only request")
        self._socket.sendto(message, (0, 0))
        self._unfinished = True
        self.interrupted = False

    def _deadline(self) -> float:
        """Return when an answer must be there to what is asked now.

        A question that waited for the kernel's lock of all links has its answer all the same.
        """
        return time.monotonic() + self._timeout_seconds

    def _answer(self, deadline: float) -> Iterator[bytes]:
        """Yield the datagrams that answer the last question, and skip others."""
        while self._unfinished:
            data = self._receive(deadline)
            *_, sequence, port_id = header.HEADER.unpack_from(data)
            if (sequence, port_id) != (self._sequence, self._port_id):
                continue
            end, flags = _end(data)
            # Set before what may raise or give up: an error is an end too.
            self._unfinished = end is None
            self.interrupted |= bool(flags & _INTERRUPTED)
            if end is not None:
                _raise_if_failed(data[end:])
            yield data

    def _drain(self, deadline: float) -> None:
        """Take what waits; the kernel goes on with a dump whenever some of it is taken."""
        while time.monotonic() <= deadline:
            try:
                self._socket.recv(1, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
        raise _timed_out()

    def _receive(self, deadline: float) -> bytes:
        sender = None
        while sender is None or sender[0] != 0:  # others are from a process, not from the kernel
            try:
                data, sender = self._socket.recvfrom(RECEIVE_BYTES)
            except BlockingIOError:
                raise _timed_out() from None
            if time.monotonic() > deadline:
                raise _timed_out()
        if len(data) < header.LENGTH:
            raise ParseError(f"{len(data)} bytes instead of a netlink header")
        return data


def _timed_out() -> TimeoutError:
    return TimeoutError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def _timeval(seconds: float) -> bytes:
    """Write ``struct timeval``; all zeros would mean forever."""
    microseconds = max(1, round(seconds * 1_000_000))
    return struct.pack("@ll", *divmod(microseconds, 1_000_000))


def _end(data: bytes) -> tuple[int | None, int]:
    """Say where in a datagram the end of a dump is, if it is there, and all flags together.

    The messages are walked one by one: what a message holds may look like an end.
    """
    at, flags, last = 0, 0, len(data) - header.LENGTH
    unpack = _LENGTH_TYPE_FLAGS.unpack_from
    while at <= last:
        length, kind, own_flags = unpack(data, at)
        flags |= own_flags
        if kind in _ENDS:
            return at, flags
        if length < header.LENGTH:
            break  # whoever parses the datagram tells what is wrong
        at += (length + 3) & ~3
    return None, flags


def _raise_if_failed(end: bytes) -> None:
    message = next(header.messages(end))
    number = errno.ENOBUFS if message.type == header.OVERRUN else message.errno
    if number:
        raise OSError(number, os.strerror(number))
