"""Only the kernel's answer to the question that was asked is an answer."""

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from agent.errors import ParseError, Reason, SourceError
from agent.sources.netlink_socket import (
    TRIES,
    NetlinkSocket,
    OverflowedError,
    errors,
)
from agent.wire.netlink.allowed import (
    CT_GET_STATS_CPU,
    GETLINK,
    GETSTATS,
    NETFILTER,
    ROUTE,
)
from agent.wire.netlink.header import DONE, ERROR, HEADER, OVERRUN, Flag, messages, request
from agent.wire.netlink.link_stats import NEWSTATS, REQUEST
from lab.process import run
from tests.sources.netlink.rooms_of import CAP_NET_ADMIN, inside, namespace

IFINFOMSG = bytes(16)
RTNLGRP_LINK = 1
NEWLINK = 16
MANY = 60
"""Pairs of links: too many for one datagram."""

Sender = tuple[int, int]


@pytest.fixture(scope="module")
def many_links() -> Iterator[str]:
    pairs = [f"link add a{number} type veth peer name b{number}" for number in range(MANY)]
    with namespace("counters-many", *pairs) as name:
        yield name


class FakeKernel(socket.socket):
    """Answers questions with what the test says, as the kernel's side of a socket.

    Args:
        port_id: Of the socket that asks.
        answers: To each question its datagrams: without the header's sequence and port id, which
            are the question's own unless the test sets them.
    """

    def __init__(self, port_id: int, *answers: Sequence[bytes | OSError]) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._port_id = port_id
        self._answers = list(answers)
        self._waiting: list[bytes | OSError] = []
        self.questions = 0

    def sendto(self, data: bytes, address: Sender) -> int:  # type: ignore[override] # netlink's
        assert address == (0, 0)
        self.questions += 1
        (question,) = messages(data)
        self._waiting = [
            it if isinstance(it, OSError) else self._addressed(it, question.sequence)
            for it in self._answers.pop(0)
        ]
        return len(data)

    def recvfrom(self, _size: int) -> tuple[bytes, Sender]:  # type: ignore[override] # netlink's
        if not self._waiting:
            raise BlockingIOError(errno.EAGAIN, "")
        datagram = self._waiting.pop(0)
        if isinstance(datagram, OSError):
            raise datagram
        return datagram, (0, 0)

    def recv(self, _size: int, flags: int = 0) -> bytes:
        assert flags == socket.MSG_DONTWAIT
        return self.recvfrom(0)[0]

    def _addressed(self, datagram: bytes, sequence: int) -> bytes:
        if len(datagram) < HEADER.size:
            return datagram
        length, kind, flags, own_sequence, own_port_id = HEADER.unpack_from(datagram)
        return (
            HEADER.pack(length, kind, flags, own_sequence or sequence, own_port_id or self._port_id)
            + datagram[HEADER.size :]
        )


class Opened:
    """Sockets that are closed with the test."""

    def __init__(self) -> None:
        self._all: list[NetlinkSocket] = []

    def real(
        self, name: str = "", protocol: int = ROUTE, timeout_seconds: float = 5.0
    ) -> NetlinkSocket:
        """A socket in a namespace."""
        self._all.append(inside(name, lambda: NetlinkSocket(protocol, timeout_seconds)))
        return self._all[-1]

    def faked(self, *answers: Sequence[bytes | OSError]) -> tuple[NetlinkSocket, FakeKernel]:
        """A socket, and the kernel that it is connected to."""
        netlink = self.real()
        netlink._socket.close()
        kernel = FakeKernel(netlink._port_id, *answers)
        netlink._socket = kernel
        return netlink, kernel

    def close(self) -> None:
        for each in self._all:
            each.close()


@pytest.fixture
def opened() -> Iterator[Opened]:
    made = Opened()
    yield made
    made.close()


def message(kind: int = NEWLINK, payload: bytes = b"", flags: int = Flag.MULTI) -> bytes:
    return HEADER.pack(16 + len(payload), kind, flags, 0, 0) + payload


def end(number: int = 0, flags: int = Flag.MULTI) -> bytes:
    return message(DONE, (-number).to_bytes(4, "little", signed=True), flags)


@pytest.fixture
def asked(many_links: str, opened: Opened) -> NetlinkSocket:
    """A socket that is in a namespace with many links."""
    return opened.real(many_links)


CHANGED = Flag.MULTI | Flag.DUMP_INTERRUPTED


def test_a_dump_of_many_datagrams_is_whole(asked: NetlinkSocket) -> None:
    datagrams = asked.whole(GETLINK, IFINFOMSG)
    assert len(datagrams) > 2
    found = [it for it in asked.dump(GETLINK, IFINFOMSG) if it.type == NEWLINK]
    assert len(found) == 2 * MANY + 1
    assert not asked.interrupted


def test_a_dump_that_was_given_up_does_not_disturb_the_next(asked: NetlinkSocket) -> None:
    for taken in (1, 2):
        answer = asked.datagrams(GETLINK, IFINFOMSG)
        for _ in range(taken):
            next(answer)
        # the kernel has not come to its end, and says EBUSY to whoever asks meanwhile
        (data,) = asked.whole(GETSTATS, REQUEST)[:1]
        assert next(messages(data)).type == NEWSTATS


def test_a_list_that_changes_under_the_reader_is_noticed(asked: NetlinkSocket) -> None:
    answer = asked.datagrams(GETLINK, IFINFOMSG)
    next(answer)
    run("ip", "link", "add", "late", "type", "veth", "peer", "name", "later", netns="counters-many")
    for _ in answer:
        pass
    assert asked.interrupted
    run("ip", "link", "delete", "late", netns="counters-many")
    assert len(asked.dump(GETLINK, IFINFOMSG)) == 2 * MANY + 1
    assert not asked.interrupted


def test_a_list_that_changed_is_read_again(opened: Opened) -> None:
    netlink, kernel = opened.faked(
        [message(flags=CHANGED), end()], [message(), end(flags=CHANGED)], [message(), end()], []
    )
    assert len(netlink.dump(GETLINK, IFINFOMSG)) == 1
    assert kernel.questions == 3


def test_a_list_that_never_rests_is_taken_as_it_is(opened: Opened) -> None:
    netlink, kernel = opened.faked(*[[message(flags=CHANGED), end()]] * (TRIES + 1))
    assert len(netlink.dump(GETLINK, IFINFOMSG)) == 1
    assert kernel.questions == TRIES


def test_what_other_processes_send_is_not_the_kernels_word(opened: Opened) -> None:
    netlink = opened.real()
    port_id = netlink._socket.getsockname()[0]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, ROUTE) as other:
        other.bind((0, 0))
        for sequence in (1, 2):
            forged = HEADER.pack(20, ERROR, 0, sequence, port_id) + (-1).to_bytes(
                4, "little", signed=True
            )
            other.sendto(forged, (port_id, 0))
    assert netlink.dump(GETLINK, IFINFOMSG)[0].type == NEWLINK
    netlink.close()


def test_answers_to_other_questions_and_to_other_sockets_are_skipped(opened: Opened) -> None:
    stale = HEADER.pack(20, DONE, 2, 999, 0) + bytes(4)
    foreign = HEADER.pack(20, DONE, 2, 0, 999) + bytes(4)
    netlink, _ = opened.faked([stale, foreign, message(payload=b"right"), end()])
    assert [it.payload for it in netlink.dump(GETLINK, IFINFOMSG)] == [b"right"]


def test_a_late_answer_of_the_kernel_is_skipped(asked: NetlinkSocket) -> None:
    lo = HEADER.pack(32, GETLINK, Flag.REQUEST, 999, 0) + bytes([0, 0, 0, 0, 1]) + bytes(11)
    asked._socket.sendto(lo, (0, 0))
    assert len(asked.dump(GETLINK, IFINFOMSG)) == 2 * MANY + 1


def test_what_looks_like_an_end_inside_a_message_is_none(opened: Opened) -> None:
    inner = HEADER.pack(20, DONE, 2, 1, 0) + bytes(4)
    netlink, _ = opened.faked([message(payload=inner), message(payload=b"more"), end()])
    assert len(netlink.dump(GETLINK, IFINFOMSG)) == 2


@pytest.mark.parametrize("kind", [ERROR, DONE])
def test_an_error_of_the_kernel_is_raised(kind: int, opened: Opened) -> None:
    refusal = message(kind, (-errno.EOPNOTSUPP).to_bytes(4, "little", signed=True))
    netlink, _ = opened.faked([refusal], [message(), end()])
    with pytest.raises(SourceError) as caught, errors("links"):
        netlink.dump(GETLINK, IFINFOMSG)
    assert caught.value.reason is Reason.REFUSED
    assert len(netlink.dump(GETLINK, IFINFOMSG)) == 1  # and the next question is as good as any


def test_a_missing_right_is_denied(opened: Opened) -> None:
    netlink = opened.real(protocol=NETFILTER)

    def ask() -> object:
        return netlink.dump(CT_GET_STATS_CPU, bytes(4))

    assert inside("", ask)
    with pytest.raises(SourceError, match="not permitted") as caught, errors("statistics"):
        inside("", ask, without=CAP_NET_ADMIN)
    assert caught.value.reason is Reason.DENIED
    netlink.close()


def test_a_kernel_that_says_nothing_is_not_waited_for_forever(opened: Opened) -> None:
    netlink = opened.real(timeout_seconds=0.05)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        netlink._receive(began + 60)
    assert 0.04 < time.monotonic() - began < 2
    netlink.close()


@pytest.mark.parametrize("ask", [NetlinkSocket.dump, NetlinkSocket.get])
def test_a_question_that_waits_for_the_kernels_lock_takes_no_time_from_its_answer(
    ask: Callable[[NetlinkSocket, int, bytes], object], opened: Opened
) -> None:
    netlink, kernel = opened.faked([message(), end()])
    send = kernel.sendto

    def wait(data: bytes, address: Sender) -> int:
        time.sleep(0.1)
        return send(data, address)

    kernel.sendto = wait  # type: ignore[method-assign] # as slow as a busy kernel
    netlink._timeout_seconds = 0.05
    assert ask(netlink, GETLINK, IFINFOMSG)


def test_a_kernel_that_never_comes_to_an_end_is_not_listened_to_forever(opened: Opened) -> None:
    netlink, _ = opened.faked([message()], [message(), end()])
    with pytest.raises(SourceError) as caught, errors("links"):
        netlink.dump(GETLINK, IFINFOMSG)
    assert caught.value.reason is Reason.TIMEOUT
    assert len(netlink.dump(GETLINK, IFINFOMSG)) == 1
    endless, _ = opened.faked([message()] * 1000)
    endless._timeout_seconds = 0.0
    with pytest.raises(TimeoutError):
        endless.dump(GETLINK, IFINFOMSG)


def test_lost_answers_are_an_error_and_not_a_short_list(opened: Opened) -> None:
    netlink, _ = opened.faked([message(), OSError(errno.ENOBUFS, "")], [message(OVERRUN)])
    for _ in range(2):
        with pytest.raises(OSError) as caught:  # noqa: PT011 - by its number
            netlink.dump(GETLINK, IFINFOMSG)
        assert caught.value.errno == errno.ENOBUFS


@pytest.mark.parametrize(
    "datagram",
    [b"\0" * 15, message()[:-1] + b"\0" * 8, message(DONE), message(payload=b"x" * 8)[:-4]],
    ids=["no header", "no second header", "end without its number", "cut"],
)
def test_what_is_no_netlink_is_malformed(datagram: bytes, opened: Opened) -> None:
    netlink, _ = opened.faked([datagram, end()])
    with pytest.raises(SourceError) as caught, errors("links"):
        netlink.dump(GETLINK, IFINFOMSG)
    assert caught.value.reason is Reason.MALFORMED


def test_nothing_but_questions_can_be_sent(opened: Opened) -> None:
    netlink, kernel = opened.faked([])
    for kind in (16, 17, 19, 36, 37):
        with pytest.raises(ValueError, match="not a read-only request"):
            netlink.dump(kind, IFINFOMSG)
    assert kernel.questions == 0


def test_events_that_were_lost_are_told(opened: Opened) -> None:
    with namespace("counters-events") as name:
        heard = opened.real(name)
        heard.subscribe(RTNLGRP_LINK)
        assert list(heard.receive_events(10)) == []
        run("ip", "link", "add", "v1", "type", "veth", "peer", "name", "v2", netns=name)
        assert {it.type for it in heard.receive_events(100)} == {NEWLINK}
        heard._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        for _ in range(5):
            run("ip", "link", "set", "v1", "up", netns=name)
            run("ip", "link", "set", "v1", "down", netns=name)
        with pytest.raises(OverflowedError):
            list(heard.receive_events(1000))
        heard.close()


def test_events_come_from_the_kernel_alone(opened: Opened) -> None:
    heard = opened.real()
    heard.subscribe(RTNLGRP_LINK)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, ROUTE) as other:
        other.sendto(request(NEWLINK, IFINFOMSG, 1), (heard._socket.getsockname()[0], 0))
    assert NEWLINK not in {it.type for it in heard.receive_events(10) if it.payload == IFINFOMSG}
    heard.close()


def test_a_closed_socket_has_no_descriptor(opened: Opened) -> None:
    netlink = opened.real()
    before = os.stat(netlink.fileno())  # noqa: PTH116 - of a descriptor
    netlink.close()
    netlink.close()
    assert netlink.fileno() == -1
    assert before.st_ino


def test_errors_have_the_words_of_the_catalogue() -> None:
    for number, reason in (
        (errno.EPERM, Reason.DENIED),
        (errno.ENOENT, Reason.ABSENT),
        (errno.EAGAIN, Reason.TIMEOUT),
        (errno.EBADF, Reason.BROKEN),
    ):
        with pytest.raises(SourceError, match="what") as caught, errors("what"):
            raise OSError(number, os.strerror(number))
        assert caught.value.reason is reason
    with pytest.raises(SourceError) as malformed, errors("what"):
        raise ParseError("cut")
    assert malformed.value.reason is Reason.MALFORMED
