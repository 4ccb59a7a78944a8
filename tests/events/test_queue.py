"""Events wait in order and in bounds; whoever reads the numbers knows what is missing."""

import json

from hypothesis import given
from hypothesis import strategies as st

from agent.events.change import Kind, change
from agent.events.queue import EventQueue
from tests.clock import Clock
from tests.events.valid import ORIGIN, validate


def changes(count: int) -> list[object]:
    return [change(Kind.SOURCE_UP, source=f"s{number}") for number in range(count)]


def filled(count: int, limit: int = 10) -> EventQueue:
    queue = EventQueue(limit, Clock(1.7e9))
    queue.put(changes(count))
    return queue


def numbers(queue: EventQueue, count: int = 1000) -> list[int]:
    return [event.sequence for event in queue.take(count)]


def test_events_are_taken_in_their_order() -> None:
    queue = filled(5)
    assert numbers(queue, 2) == [1, 2]
    assert numbers(queue) == [3, 4, 5]
    assert not queue.filled.is_set()


def test_beyond_the_limit_the_oldest_go_and_are_counted() -> None:
    queue = filled(25)
    assert (len(queue), queue.dropped) == (10, 15)
    assert numbers(queue) == list(range(16, 26))


def test_what_was_not_confirmed_comes_again_first() -> None:
    queue = filled(5)
    queue.take(3)
    queue.confirm(1)
    queue.give_back()
    assert numbers(queue) == [2, 3, 4, 5]


def test_what_is_on_its_way_counts_for_the_limit_and_is_not_dropped() -> None:
    queue = filled(10)
    queue.take(4)
    queue.put(changes(8))
    assert (len(queue), queue.dropped) == (10, 8)
    queue.confirm(4)
    assert numbers(queue) == list(range(13, 19))


def test_whoever_waits_is_woken_as_long_as_there_is_something() -> None:
    queue = filled(0)
    assert not queue.filled.is_set()
    queue.put(changes(1))
    assert queue.filled.is_set()
    queue.take(1)
    assert not queue.filled.is_set()
    queue.give_back()
    assert queue.filled.is_set()


def test_refused_events_are_dropped_events() -> None:
    queue = filled(0)
    queue.refused(3)
    assert queue.dropped == 3


STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "take", "confirm", "give_back"]), st.integers(0, 15)),
    max_size=40,
)


@given(STEPS)
def test_every_event_is_confirmed_in_order_or_dropped_or_still_there(
    steps: list[tuple[str, int]],
) -> None:
    queue = filled(0)
    put, confirmed = 0, list[int]()
    on_the_way: list[int] = []
    for step, count in steps:
        if step == "put":
            queue.put(changes(count))
            put += count
        elif step == "take":
            on_the_way += numbers(queue, count)
        elif step == "confirm":
            arrived = min(count, len(on_the_way))
            queue.confirm(arrived)
            confirmed += on_the_way[:arrived]
            del on_the_way[:arrived]
        else:
            queue.give_back()
            on_the_way.clear()
        assert len(queue) <= 10
    assert confirmed == sorted(set(confirmed))
    assert len(confirmed) + len(queue) + queue.dropped == put


def test_a_document_has_number_time_node_and_process() -> None:
    (event,) = filled(1).take(1)
    document = validate(json.loads(ORIGIN.event(event)))
    assert document == {
        "schema": 1,
        "time": "2023-11-14T22:13:20.000Z",
        "node": "compute01",
        "boot": "0" * 32,
        "sequence": 1,
        "kind": "source_up",
        "source": "s0",
    }


def test_a_status_says_whether_and_which_agent() -> None:
    for online, word in ((True, "online"), (False, "offline")):
        document = validate(json.loads(ORIGIN.status(1.7e9, online=online)))
        assert (document["status"], document["version"]) == (word, "0.1.0")


@given(st.text(min_size=1, max_size=600))
def test_whatever_a_peer_calls_things_the_document_is_valid_and_plain_ascii(name: str) -> None:
    queue = filled(0)
    queue.put([change(Kind.SOURCE_UP, source=name)])
    (event,) = queue.take(1)
    content = ORIGIN.event(event)
    assert content.isascii()
    validate(json.loads(content))


def test_half_a_character_of_a_peer_is_no_reason_to_fail() -> None:
    queue = filled(0)
    queue.put([change(Kind.SOURCE_UP, source="\ud800")])
    assert b"\\ud800" in ORIGIN.event(queue.take(1)[0])
