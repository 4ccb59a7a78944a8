"""ovs-vswitchd gives us its share of time and no more, in short portions."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.pacing import (
    MAX_BITS,
    MAX_PAUSE_SECONDS,
    PIECE_FLOWS,
    Budget,
    Pacer,
    Piece,
    Splitter,
    cost_seconds,
)
from tests.clock import Clock

WINDOW = 60.0
ROUNDING = 1e-6


def seconds(most: float) -> st.SearchStrategy[float]:
    return st.floats(0.0, most, allow_nan=False, allow_subnormal=False)


# The budget


@given(st.floats(0.001, 1.0), st.lists(st.tuples(seconds(100.0), seconds(30.0)), max_size=50))
def test_no_stretch_of_time_costs_more_than_its_share_one_window_and_one_reading(
    duty: float, scrapes: list[tuple[float, float]]
) -> None:
    clock = Clock()
    budget = Budget(duty, WINDOW, clock)
    spent: list[tuple[float, float]] = []
    for wait, cost in scrapes:
        clock.sleep(wait)
        if budget.allows():
            clock.sleep(cost)
            budget.spend(cost)
            spent.append((clock.now, cost))
    for first in range(len(spent)):
        for last in range(first, len(spent)):
            costs = [cost for _, cost in spent[first : last + 1]]
            stretch = spent[last][0] - spent[first][0]
            bound = duty * (stretch + WINDOW) + max(costs)
            assert sum(costs) <= bound + ROUNDING


@given(st.floats(0.001, 0.99), st.floats(0.0, 15.0), st.floats(0.001, 1.0))
def test_two_scrapers_that_stay_within_the_share_together_both_always_get_their_reading(
    part: float, phase: float, duty: float
) -> None:
    interval = 15.0
    cost = part * duty * interval / 2
    clock = Clock()
    budget = Budget(duty, WINDOW, clock)
    times = sorted(
        [*(interval * n for n in range(200)), *(interval * n + phase for n in range(200))]
    )
    for before, now in pairwise([times[0], *times]):
        clock.sleep(now - before)
        assert budget.allows()
        budget.spend(cost)


def test_two_scrapers_that_ask_too_much_take_turns_and_neither_starves() -> None:
    clock = Clock()
    budget = Budget(0.02, WINDOW, clock)
    got = {"first": 0, "second": 0}
    for _ in range(2000):
        for name, pause in (("first", 0.5), ("second", 14.5)):
            if budget.allows():
                budget.spend(0.4)
                got[name] += 1
            clock.sleep(pause)
    assert min(got.values()) > 0.3 * sum(got.values())


@given(st.floats(0.001, 1.0), st.floats(0.1, 1e4))
def test_a_reading_beyond_every_share_is_possible_again_when_its_debt_is_repaid(
    duty: float, cost: float
) -> None:
    clock = Clock()
    budget = Budget(duty, WINDOW, clock)
    assert budget.allows()
    budget.spend(cost + duty * WINDOW)
    assert not budget.allows()
    clock.sleep(cost / duty * 0.999)
    assert not budget.allows()
    clock.sleep(cost / duty * 0.002)
    assert budget.allows()


def test_at_the_interval_that_it_tells_every_reading_is_allowed() -> None:
    clock = Clock()
    budget = Budget(0.02, WINDOW, clock)
    for _ in range(1000):
        assert budget.allows()
        budget.spend(3.0)
        assert budget.min_interval_seconds == 150.0
        clock.sleep(budget.min_interval_seconds + ROUNDING)


def test_a_reading_that_failed_costs_time_and_does_not_tell_what_a_whole_one_costs() -> None:
    clock = Clock()
    budget = Budget(0.02, WINDOW, clock)
    assert budget.min_interval_seconds is None
    budget.spend(5.0, complete=False)
    assert budget.min_interval_seconds is None
    assert not budget.allows()
    clock.sleep(300.0)
    budget.spend(0.5)
    budget.spend(0.1, complete=False)
    assert budget.min_interval_seconds == 25.0


def test_what_was_saved_up_is_no_more_than_a_window() -> None:
    clock = Clock()
    budget = Budget(0.02, WINDOW, clock)
    clock.sleep(1e6)
    budget.spend(1.2)
    assert not budget.allows()


# The pace


@given(seconds(1.0), seconds(100.0))
def test_at_most_half_of_the_time_is_ours_as_long_as_a_reading_can_end(
    least: float, answer: float
) -> None:
    pause = Pacer(least, 0.5).pause_seconds(answer)
    assert pause >= least
    assert pause >= min(answer, MAX_PAUSE_SECONDS)
    assert pause <= max(least, MAX_PAUSE_SECONDS)


def test_a_peer_is_busy_when_its_echo_takes_longer_than_the_setting() -> None:
    pacer = Pacer(0.002, 0.5)
    assert not pacer.busy(0.5)
    assert pacer.busy(0.501)


# The pieces

COOKIES = st.integers(0, (1 << 64) - 1)
SEEN = st.none() | st.lists(COOKIES, max_size=200) | st.lists(st.integers(0, 9), max_size=200)


def divided(flows: int, seen: list[int] | None) -> list[Piece]:
    return Splitter().pieces(0, flows, None if seen is None else np.array(seen, np.uint64))


def sizes(parts: list[Piece], cookies: list[int]) -> list[int]:
    return [sum(each & mask == value for each in cookies) for value, mask in parts]


@given(st.integers(0, (1 << 32) - 1), SEEN, st.lists(COOKIES, min_size=1))
def test_every_cookie_is_in_exactly_one_piece(
    flows: int, seen: list[int] | None, cookies: list[int]
) -> None:
    parts = divided(flows, seen)
    assert len(parts) <= 1 << MAX_BITS
    for cookie in [*cookies, *(seen or [])]:
        assert sizes(parts, [cookie]).count(1) == 1


@pytest.mark.parametrize("seen", [None, [], [1, 2], [7] * 50])
def test_a_small_table_is_one_answer(seen: list[int] | None) -> None:
    for flows in (0, 1, PIECE_FLOWS):
        assert divided(flows, seen) == [(0, 0)]


def test_a_table_with_one_cookie_is_one_answer_however_large() -> None:
    assert divided(100_000, [0x50EBD87957CF5C44] * 5000) == [(0, 0)]


def test_a_large_table_that_was_never_read_is_divided_by_the_lowest_bits() -> None:
    assert divided(PIECE_FLOWS + 1, None) == [(0, 1), (1, 1)]
    assert divided(4 * PIECE_FLOWS, []) == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert len(divided(10**9, None)) == 1 << MAX_BITS


def test_random_cookies_are_divided_evenly() -> None:
    seen = np.random.default_rng(1).integers(0, 1 << 32, 100_000, np.uint64)
    found = sizes(Splitter().pieces(0, len(seen), seen), seen.tolist())
    assert len(found) == 16
    assert max(found) < 1.1 * len(seen) / 16


def test_the_bits_are_those_that_differ() -> None:
    seen = [high << 60 | 0xABC for high in range(16)] * 5
    assert sizes(divided(100_000, seen), seen) == [5] * 16


def test_no_bit_is_chosen_that_leaves_nearly_all_flows_together() -> None:
    seen = [1] * 60 + [2] * 40
    assert sorted(sizes(divided(100_000, seen), seen)) == [40, 60]
    assert divided(100_000, [1] * 80 + [2] * 20) == [(0, 0)]


def test_a_division_stays_while_it_serves_whatever_the_order_of_the_answer() -> None:
    random = np.random.default_rng(2)
    seen = random.integers(0, 1 << 32, 20_000, np.uint64)
    splitter = Splitter()
    blind = splitter.pieces(16, len(seen), None)
    for _ in range(5):
        random.shuffle(seen)
        fewer = seen[: len(seen) - int(random.integers(0, 3000))]
        assert splitter.pieces(16, len(fewer), fewer) == blind
    assert splitter.pieces(17, len(seen), None) == blind


def test_a_division_that_no_longer_serves_is_given_up() -> None:
    splitter = Splitter()
    one = np.full(20_000, 7, np.uint64)
    assert len(splitter.pieces(16, len(one), None)) == 16
    assert splitter.pieces(16, len(one), one) == [(0, 0)]
    high = np.arange(20_000, dtype=np.uint64) << np.uint64(32)
    assert max(sizes(splitter.pieces(16, len(high), high), high.tolist())) < 2 * 20_000 / 16
    assert splitter.pieces(16, 10, high[:10]) == [(0, 0)]


def test_an_answer_costs_no_more_than_one_of_its_size_can() -> None:
    assert cost_seconds(0.5, 100, 0) < 0.001  # a busy switch took its time, not ours
    assert cost_seconds(0.1, 15_000_000, 0) == 0.1
    assert 0.1 < cost_seconds(9.0, 100, 100_000) < 0.2  # it looked at every cookie
