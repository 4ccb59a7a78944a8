"""What is open in a namespace is closed when it must be, and never under the hands of a reader."""

import os
import threading
from collections.abc import Callable

import pytest

from agent.sources.rooms import Held, Rooms
from agent.wire.netlink.allowed import GETSTATS
from agent.wire.netlink.link_stats import REQUEST
from lab.process import run, wait_until
from tests.sources.netlink.rooms_of import namespace, open_room


class Resource:
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - of this process, as it is


def links_of(name: str) -> set[str]:
    lines = run("ip", "-o", "link", netns=name).splitlines()
    return {line.split(":")[1].strip().split("@")[0] for line in lines}


def test_what_nobody_uses_is_closed_at_once() -> None:
    held = Held(resource := Resource())
    held.retire()
    assert resource.closed
    with held.using() as used:
        assert used is None


def test_what_is_used_is_closed_by_whoever_used_it() -> None:
    held = Held(resource := Resource())
    with held.using() as used:
        assert used is resource
        held.retire()
        assert resource.closed == 0
    assert resource.closed > 0
    with held.using() as used:
        assert used is None


def test_what_is_used_is_closed_also_when_the_use_fails() -> None:
    held = Held(resource := Resource())

    def use() -> None:
        with held.using():
            held.retire()
            raise ConnectionError

    with pytest.raises(ConnectionError):
        use()
    assert resource.closed


def test_retiring_never_waits_for_a_reader() -> None:
    held = Held(resource := Resource())
    inside_it, release = threading.Event(), threading.Event()

    def use() -> None:
        with held.using():
            inside_it.set()
            release.wait()

    reader = threading.Thread(target=use)
    reader.start()
    inside_it.wait()
    held.retire()  # would hang here
    held.retire()
    assert not resource.closed
    release.set()
    reader.join()
    assert resource.closed


def test_nothing_is_used_after_it_was_closed_nor_left_open() -> None:
    for _ in range(300):
        held = Held(resource := Resource())
        wrong: list[int] = []
        begin = threading.Barrier(2)

        def use(
            held: Held[Resource] = held,
            begin: Callable[[], int] = begin.wait,
            wrong: list[int] = wrong,
        ) -> None:
            begin()
            for _ in range(20):
                with held.using() as used:
                    if used is not None and used.closed:
                        wrong.append(used.closed)

        reader = threading.Thread(target=use)
        reader.start()
        begin.wait()
        held.retire()
        reader.join()
        assert not wrong
        assert resource.closed


def test_rooms_come_with_the_host_first_and_in_order() -> None:
    rooms = Rooms()
    made = [open_room("", (0, number)) for number in range(2)]
    assert rooms.all() == []
    rooms.put(made[0])
    rooms.put(made[1])
    assert rooms.all() == [made[1]]
    with namespace("counters-b"), namespace("counters-a"):
        for name in ("counters-b", "counters-a"):
            made.append(open_room(name))
            rooms.put(made[-1])
        assert [room.name for room in rooms.all()] == ["", "counters-a", "counters-b"]
        rooms.remove("counters-a")
        rooms.remove("counters-a")
        assert [room.name for room in rooms.all()] == ["", "counters-b"]
    for room in made:
        room.leave()


def test_a_room_that_is_left_keeps_nothing_open_and_nothing_alive() -> None:
    before = descriptors()
    pair = "link add far type veth peer name near netns counters-stays"
    with namespace("counters-stays") as stays, namespace("counters-goes", pair) as goes:
        room = open_room(goes)
        assert room.counters is not None
        run("ip", "netns", "delete", goes)
        with room.counters.using() as counters:
            assert counters is not None
            assert counters.whole(GETSTATS, REQUEST)  # the namespace is there without its name
        assert "near" in links_of(stays)
        room.leave()
        wait_until(lambda: "near" not in links_of(stays), what="end of the namespace")
        room.leave()
    assert descriptors() == before


def test_files_of_connection_tracking_keep_a_namespace_alive_no_longer_than_its_room() -> None:
    pair = "link add far type veth peer name near netns counters-stays"
    with namespace("counters-stays") as stays, namespace("counters-goes", pair) as goes:
        room = open_room(goes)
        assert room.conntrack is not None
        room.events.close()
        for held in (room.counters, room.qdiscs):
            assert held is not None
            held.retire()
        run("ip", "netns", "delete", goes)
        with room.conntrack.using() as files:
            assert files is not None
            assert files.read().entries == 0
        room.leave()
        wait_until(lambda: "near" not in links_of(stays), what="end of the namespace")
