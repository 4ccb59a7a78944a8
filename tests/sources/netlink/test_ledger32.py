"""Counters of 32 bits become counters that never go down."""

import numpy as np
import pytest

from agent.sources.ledger32 import Figures, Ledgers, growth

TOP = 0xFFFFFFFF


def figures(*rows: list[int]) -> Figures:
    return np.array(rows, np.uint32)


@pytest.mark.parametrize(
    ("last", "now", "grown"),
    [
        (0, 0, 0),
        (5, 7, 2),
        (0, TOP, TOP),
        (TOP, TOP, 0),
        (TOP, 0, 1),
        (TOP - 9, 10, 20),
        (1 << 31, 0, 1 << 31),
        ((1 << 31) - 1, 0, 0),
        (100, 3, 3),
        (TOP, TOP - 5, TOP - 5),
    ],
    ids=str,
)
def test_grows_over_a_wrap_and_from_zero(last: int, now: int, grown: int) -> None:
    assert growth(figures([now]), figures([last])).tolist() == [[grown]]


def test_begins_at_zero_and_adds_up_parts_that_wrap_one_by_one() -> None:
    ledgers: Ledgers[str] = Ledgers()
    assert ledgers.book("a", figures([7, TOP], [1, 1])) == [0, 0]
    assert ledgers.book("a", figures([8, 4], [1, 1])) == [6, 0]
    assert ledgers.book("a", figures([8, 4], [1, 1])) == [6, 0]
    assert ledgers.book("a", figures([8, 4], [0, 2])) == [6, 1]
    assert ledgers.book("b", figures([8, 4], [0, 2])) == [0, 0]


def test_adds_up_beyond_32_bits() -> None:
    ledgers: Ledgers[str] = Ledgers()
    ledgers.book("a", figures([0]))
    for turn in range(1, 11):
        total = ledgers.book("a", figures([TOP if turn % 2 else 0]))
    assert total == [5 * (TOP + 1)]


def test_may_begin_at_the_kernels_figures() -> None:
    ledgers: Ledgers[str] = Ledgers(from_figures=True)
    assert ledgers.book("a", figures([TOP, TOP])) == [2 * TOP]
    assert ledgers.book("a", figures([0, TOP])) == [2 * TOP + 1]


def test_keeps_what_was_counted_when_there_are_more_cpus() -> None:
    ledgers: Ledgers[str] = Ledgers()
    ledgers.book("a", figures([1]))
    assert ledgers.book("a", figures([4])) == [3]
    assert ledgers.book("a", figures([4, 100])) == [3]
    assert ledgers.book("a", figures([5, 101])) == [5]


def test_forgets_what_is_gone() -> None:
    ledgers: Ledgers[int] = Ledgers()
    for key in range(10):
        ledgers.book(key, figures([0]))
        ledgers.book(key, figures([1]))
    ledgers.keep(lambda key: key < 3)
    assert len(ledgers) == 3
    assert ledgers.book(2, figures([2])) == [2]
    assert ledgers.book(3, figures([2])) == [0]


def test_other_counters_than_before_begin_anew() -> None:
    ledgers: Ledgers[str] = Ledgers()
    ledgers.book("a", figures([1], [2]))
    ledgers.book("a", figures([2], [4]))
    assert ledgers.book("a", figures([3])) == [0]
    assert ledgers.book("a", figures([5])) == [2]
