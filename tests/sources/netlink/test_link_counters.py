"""The statistics of every link of every namespace are the kernel's; one bad namespace is one."""

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from agent.errors import Reason, SourceError
from agent.health import SourceHealth
from agent.model.link import FIELDS, LinkCounters
from agent.sources.link_counters import LinkCountersReader
from agent.sources.netlink_socket import NetlinkSocket
from agent.sources.rooms import Held, Rooms
from agent.sources.rounds import OTHERS, ask_all
from agent.store import Store
from agent.wire.netlink.allowed import ROUTE
from lab.process import run
from tests.clock import Clock
from tests.sources.netlink.rooms_of import inside, namespace, open_room, rooms_of

ONE, TWO = "counters-one", "counters-two"
PAIR = "link add v1 type veth peer name v2"


class Reading:
    """A reader of these rooms, and what it brought."""

    made: ClassVar[list["Reading"]] = []

    def __init__(self, rooms: Rooms, timeout_seconds: float = 5.0) -> None:
        self.clock = Clock()
        self.store = Store(clock=self.clock)
        self.health = SourceHealth("rtnetlink")
        self.reader = LinkCountersReader(rooms, self.store, self.health, timeout_seconds)
        self.made.append(self)

    async def __call__(self) -> LinkCounters | None:
        await self.reader.read()
        return self.store.link_counters.whole(0.0).value

    @property
    def problems(self) -> dict[str, Any]:
        found: dict[str, Any] = self.health.status()["problems"]
        return found


@pytest.fixture(autouse=True)
def _threads_end() -> Iterator[None]:
    yield
    while Reading.made:
        Reading.made.pop().reader.close()


class Failing(NetlinkSocket):
    """A socket whose namespace cannot be asked.

    Args:
        answer: What happens: an error, or datagrams.
    """

    def __init__(self, answer: OSError | list[bytes]) -> None:
        super().__init__(ROUTE, 5.0)
        self._said = answer

    def whole(self, kind: int, payload: bytes) -> list[bytes]:
        assert kind
        assert payload
        if isinstance(self._said, OSError):
            raise self._said
        return self._said


@pytest.fixture
def two() -> Iterator[Rooms]:
    addresses = ("address add 192.0.2.1/24 dev v1", "link set v1 up", "link set v2 up")
    with namespace(ONE, PAIR, *addresses), namespace(TWO, PAIR), rooms_of(ONE, TWO) as rooms:
        yield rooms


def send(packets: int) -> None:
    def work() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            for _ in range(packets):
                udp.sendto(bytes(100), ("192.0.2.255", 9))

    inside(ONE, work)


def printed(name: str) -> dict[tuple[str, int], dict[str, int]]:
    """Return what ``ip -s link`` says of all but lo."""
    return {
        (name, link["ifindex"]): {
            **{f"{way}_{what}": link["stats64"][way][what] for way, what in WAYS},
            "rx_missed_errors": link["stats64"]["rx"]["missed_errors"],
        }
        for link in json.loads(run("ip", "-s", "-s", "-j", "link", netns=name))
        if link["ifname"] != "lo"
    }


WAYS = [(way, what) for way in ("rx", "tx") for what in ("packets", "bytes", "errors", "dropped")]


def read_of(counters: LinkCounters | None) -> dict[tuple[str, int], dict[str, int]]:
    assert counters is not None
    rows = counters.numbers.tolist()
    return {
        link: dict(zip(FIELDS, row, strict=True))
        for link, row in zip(counters.links, rows, strict=True)
    }


async def test_says_what_ip_says(two: Rooms) -> None:
    reading = Reading(two)
    before = read_of(await reading())
    send(packets=50)
    after = read_of(await reading())
    assert after == printed(ONE) | printed(TWO)
    grown = max(after[link]["tx_packets"] - before[link]["tx_packets"] for link in after)
    assert grown >= 50
    assert reading.health.up


async def test_names_the_links_anew_only_when_they_change(two: Rooms) -> None:
    reading = Reading(two)
    first, second = await reading(), await reading()
    assert first is not None
    assert second is not None
    assert first is not second
    assert first.links is second.links
    run("ip", "link", "add", "w1", "type", "veth", "peer", "name", "w2", netns=TWO)
    third = await reading()
    assert third is not None
    assert len(third.links) == len(first.links) + 2
    run("ip", "link", "delete", "w1", netns=TWO)
    fourth = await reading()
    assert fourth is not None
    assert fourth.links == first.links


async def test_a_namespace_of_another_name_is_not_taken_for_the_one_before(two: Rooms) -> None:
    reading = Reading(two)
    await reading()
    (_, room) = two.all()
    two.remove(TWO)
    two.put(replace(room, name="other"))
    counters = await reading()
    assert counters is not None
    assert {name for name, _ in counters.links} == {ONE, "other"}


async def test_is_as_old_as_its_oldest_number(two: Rooms) -> None:
    reading = Reading(two)

    class Slow(Failing):
        def whole(self, kind: int, payload: bytes) -> list[bytes]:
            reading.clock.sleep(3.0)
            return super().whole(kind, payload)

    two.put(open_room("", counters=Held(Slow([]))))
    began = reading.clock()
    await reading()
    assert reading.clock() > began
    assert reading.store.link_counters.whole(began).value is not None
    assert reading.store.link_counters.whole(began + 0.001).value is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (OSError(errno.EPERM, os.strerror(errno.EPERM)), Reason.DENIED),
        (TimeoutError(errno.EAGAIN, os.strerror(errno.EAGAIN)), Reason.TIMEOUT),
        ([b"\xe8\0\0\0garbage and more of it"], Reason.MALFORMED),
    ],
)
async def test_one_bad_namespace_costs_only_itself(
    two: Rooms, answer: OSError | list[bytes], reason: Reason
) -> None:
    reading = Reading(two)
    bad = open_room(TWO, counters=Held(Failing(answer)))
    bad = replace(bad, name="bad")
    two.put(bad)
    assert set(read_of(await reading())) == set(printed(ONE) | printed(TWO))
    assert set(reading.problems) == {"counters bad"}
    assert reading.problems["counters bad"]["reason"] == reason
    assert "bad: " in reading.problems["counters bad"]["detail"]
    assert not reading.health.up
    assert reading.health.facts().failures[reason] == 1
    two.remove("bad")
    bad.leave()
    await reading()
    assert reading.problems == {}
    assert reading.health.up


async def test_another_readers_problems_are_its_own(two: Rooms) -> None:
    reading = Reading(two)
    for part in ("events", "qdiscs", "qdiscs bad"):
        reading.health.failed(SourceError(Reason.DENIED, "no"), part)
    await reading()
    assert set(reading.problems) == {"events", "qdiscs", "qdiscs bad"}


async def test_without_a_namespace_nothing_is_known(two: Rooms) -> None:
    reading = Reading(two)
    assert await reading() is not None
    for room in two.all():
        two.remove(room.name)
        room.leave()
    assert await reading() is None
    assert reading.problems == {}


async def test_when_all_fail_nothing_is_known() -> None:
    rooms = Rooms()
    reading = Reading(rooms)
    room = open_room("", counters=Held(Failing(OSError(errno.EPERM, "no"))))
    rooms.put(room)
    assert await reading() is None
    assert set(reading.problems) == {"counters (host)"}
    assert not reading.health.up
    room.leave()


async def test_a_namespace_that_is_left_meanwhile_is_no_failure(two: Rooms) -> None:
    reading = Reading(two)
    first, _ = two.all()
    first.leave()
    assert set(read_of(await reading())) == set(printed(TWO))
    assert reading.health.up


async def test_a_namespace_without_links_is_read_too() -> None:
    with namespace(ONE), rooms_of(ONE) as rooms:
        reading = Reading(rooms)
        counters = await reading()
        assert counters is not None
        assert counters.links == ()
        assert counters.numbers.shape == (0, len(FIELDS))
        assert reading.health.up


async def test_all_together_have_one_timeout(two: Rooms) -> None:
    reading = Reading(two, timeout_seconds=0.0)
    reading.store.link_counters.put(LinkCounters((), None))  # type: ignore[arg-type] # withdrawn
    assert await reading() is None
    assert reading.problems["counters"]["reason"] == Reason.TIMEOUT


def test_what_was_read_before_it_was_too_late_is_not_lost(two: Rooms) -> None:
    """The kernel's lock of all links is held for long while namespaces are deleted."""
    asked: list[NetlinkSocket] = []

    def slow(socket: NetlinkSocket) -> int:
        asked.append(socket)
        time.sleep(0.05)
        return len(asked)

    found, failed = ask_all(two.all(), lambda room: room.counters, slow, 0.04)
    assert [(room.name, what) for room, what in found] == [(two.all()[0].name, 1)]
    assert {name: error.reason for name, error in failed.items()} == {OTHERS: Reason.TIMEOUT}
    assert len(asked) == 1


def test_a_thread_that_is_late_goes_to_no_further_namespace(two: Rooms) -> None:
    asked: list[NetlinkSocket] = []
    with pytest.raises(SourceError, match="0 of 2 namespaces"):
        ask_all(two.all(), lambda room: room.counters, asked.append, -1.0)
    assert asked == []
