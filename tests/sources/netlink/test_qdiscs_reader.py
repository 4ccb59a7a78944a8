"""Drops of root and ingress disciplines are the kernel's, over wraps too."""

import errno
import json
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from agent.errors import Reason
from agent.health import SourceHealth
from agent.model.link import Qdisc
from agent.sources.netlink_socket import NetlinkSocket
from agent.sources.qdiscs import QdiscsReader
from agent.sources.rooms import Held, Room, Rooms
from agent.store import Store
from agent.wire.netlink.allowed import ROUTE
from agent.wire.netlink.attributes import attribute
from agent.wire.netlink.header import DONE, HEADER, LENGTH
from agent.wire.netlink.qdiscs import NEWQDISC
from lab.process import run
from tests.sources.netlink.rooms_of import inside, namespace, open_room, rooms_of

ONE, TWO = "counters-q1", "counters-q2"
COMMANDS = (
    "link add v1 type veth peer name w1",
    "link set v1 up",
    "link set w1 up",
    "address add 192.0.2.1/24 dev v1",
    "neigh add 192.0.2.2 lladdr 02:00:00:00:00:01 dev v1",
)
DISCIPLINES = (
    "qdisc add dev v1 root handle 1: htb default 10",
    "class add dev v1 parent 1: classid 1:10 htb rate 8kbit",
    "qdisc add dev v1 parent 1:10 handle 20: pfifo limit 2",
    "qdisc add dev w1 clsact",
)
ROOT = 0xFFFFFFFF


class Reading:
    """A reader of these rooms, and what it brought."""

    made: ClassVar[list["Reading"]] = []

    def __init__(self, rooms: Rooms, *, from_figures: bool = False) -> None:
        self.store = Store()
        self.health = SourceHealth("rtnetlink")
        self.reader = QdiscsReader(rooms, self.store, self.health, 5.0, from_figures=from_figures)
        self.made.append(self)

    async def __call__(self) -> tuple[Qdisc, ...] | None:
        await self.reader.read()
        return self.store.qdiscs.whole(0.0).value

    @property
    def problems(self) -> dict[str, Any]:
        found: dict[str, Any] = self.health.status()["problems"]
        return found


class Told(NetlinkSocket):
    """A socket whose namespace answers what the test says: drops by (index, kind), or an error."""

    def __init__(self) -> None:
        super().__init__(ROUTE, 5.0)
        self.said: dict[tuple[int, str], int] | OSError = {}

    def whole(self, kind: int, payload: bytes) -> list[bytes]:
        assert kind
        assert payload
        if isinstance(self.said, OSError):
            raise self.said
        return [
            *(_message(index, name, drops) for (index, name), drops in self.said.items()),
            HEADER.pack(20, DONE, 2, 1, 1) + bytes(4),
        ]


def _message(index: int, kind: str, drops: int) -> bytes:
    queue = attribute(3, struct.pack("=IIIII", 0, 0, drops, 0, 0))
    payload = (
        struct.pack("=BBHiIII", 0, 0, 0, index, 0, ROOT, 2)
        + attribute(1, kind.encode() + b"\0")
        + attribute(7, queue)
    )
    return HEADER.pack(LENGTH + len(payload), NEWQDISC, 2, 1, 1) + payload


@pytest.fixture(autouse=True)
def _threads_end() -> Iterator[None]:
    yield
    while Reading.made:
        Reading.made.pop().reader.close()


@pytest.fixture
def real() -> Iterator[Rooms]:
    with namespace(ONE, *COMMANDS), namespace(TWO), rooms_of(ONE, TWO) as rooms:
        for command in DISCIPLINES:
            run("tc", *command.split(), netns=ONE)
        yield rooms


@pytest.fixture
def told() -> Iterator[tuple[Rooms, Room, Told]]:
    answers = Told()
    rooms = Rooms()
    room = open_room("", qdiscs=Held(answers))
    rooms.put(room)
    yield rooms, room, answers
    for each in rooms.all():
        each.leave()


def send(packets: int) -> None:
    def work() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            for number in range(packets):
                udp.sendto(bytes(900), ("192.0.2.2", 1000 + number))

    inside(ONE, work)


def printed() -> dict[str, int]:
    """Return what tc says that each discipline dropped."""
    shown = json.loads(run("tc", "-s", "-j", "qdisc", netns=ONE))
    return {one["kind"]: one["drops"] for one in shown}


async def test_counts_what_tc_counts_once(real: Rooms) -> None:
    reading = Reading(real)
    before = printed()
    assert [(it.netns, it.kind, it.dropped) for it in await reading() or ()] == [
        (ONE, "clsact", 0),
        (ONE, "htb", 0),
    ]
    send(packets=50)
    found = {it.kind: it.dropped for it in await reading() or ()}
    after = printed()
    assert found["htb"] == after["htb"] - before["htb"] == after["pfifo"] - before["pfifo"] > 20
    assert found.keys() == {"clsact", "htb"}
    assert reading.health.up


async def test_a_reader_that_reads_once_says_what_the_kernel_says(real: Rooms) -> None:
    send(packets=50)
    found = {it.kind: it.dropped for it in await Reading(real, from_figures=True)() or ()}
    assert found["htb"] == printed()["htb"] > 20


async def test_goes_on_over_a_wrap(told: tuple[Rooms, Room, Told]) -> None:
    rooms, _, answers = told
    reading = Reading(rooms)
    totals = []
    for drops in (0xFFFFFFF0, 0xFFFFFFFE, 8, 10, 3):
        answers.said = {(2, "htb"): drops, (3, "htb"): 7}
        first, second = await reading() or ()
        totals.append(first.dropped)
        assert second == Qdisc("", 3, "htb", 0)
    assert totals == [0, 14, 24, 26, 29]


async def test_another_discipline_on_the_same_link_begins_anew(
    told: tuple[Rooms, Room, Told],
) -> None:
    rooms, _, answers = told
    reading = Reading(rooms)
    for drops in (1, 5):
        answers.said = {(2, "htb"): drops}
        (last,) = await reading() or ()
    assert last.dropped == 4
    answers.said = {(2, "tbf"): 100}
    assert await reading() == (Qdisc("", 2, "tbf", 0),)
    assert len(reading.reader._ledgers) == 1


async def test_what_is_gone_is_forgotten_and_what_could_not_be_read_is_not(
    told: tuple[Rooms, Room, Told],
) -> None:
    rooms, room, answers = told
    reading = Reading(rooms)
    for drops in (1, 5):
        answers.said = {(index, "htb"): drops for index in range(2, 12)}
        await reading()
    assert len(reading.reader._ledgers) == 10
    answers.said = OSError(errno.EPERM, os.strerror(errno.EPERM))
    assert await reading() is None
    assert reading.problems["qdiscs (host)"]["reason"] == Reason.DENIED
    answers.said = {(2, "htb"): 6}
    assert await reading() == (Qdisc("", 2, "htb", 5),)
    assert reading.problems == {}
    assert len(reading.reader._ledgers) == 1
    # the name is used again by another namespace, whose links have the same numbers
    rooms.put(replace(room, identity=(0, 0)))
    answers.said = {(2, "htb"): 9}
    assert await reading() == (Qdisc("", 2, "htb", 0),)
    rooms.remove("")
    assert await reading() is None
    room.leave()


async def test_lo_is_left_out(told: tuple[Rooms, Room, Told]) -> None:
    rooms, _, answers = told
    answers.said = {(1, "htb"): 5}
    assert await Reading(rooms)() == ()


async def test_one_bad_namespace_costs_only_itself(real: Rooms) -> None:
    reading = Reading(real)
    answers = Told()
    answers.said = OSError(errno.EPERM, os.strerror(errno.EPERM))
    real.put(open_room("", qdiscs=Held(answers)))
    assert {it.netns for it in await reading() or ()} == {ONE}
    assert set(reading.problems) == {"qdiscs (host)"}
