"""Lines are written when their number moves, and say what was last read."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.columns import UNKNOWN, Column
from agent.families import Counter
from tests.page import block

C = Counter("c_total", "C [test].", ("n",))
HIGHEST = (1 << 64) - 2


def column(size: int) -> Column:
    return Column(C, [C.text(str(n)).encode() for n in range(size)])


@given(st.lists(st.lists(st.integers(0, HIGHEST), min_size=4, max_size=4), min_size=1))
def test_shows_the_numbers_of_the_last_reading(readings: list[list[int]]) -> None:
    kept = column(4)
    for numbers in readings:
        shown = kept.block(np.array(numbers, np.uint64))
        assert shown == block(C, [(C.text(str(n)), number) for n, number in enumerate(numbers)])


def test_a_text_that_did_not_move_is_the_same_object() -> None:
    kept = column(3)
    first = kept.block(np.array([1, 2, 3], np.uint64)).lines
    assert kept.block(np.array([1, 2, 3], np.uint64)).lines is first
    assert kept.block(np.array([1, 2, 4], np.uint64)).lines is not first


def test_a_number_that_is_not_known_has_no_series_and_comes_back() -> None:
    kept = column(2)
    assert kept.block(np.array([5, UNKNOWN], np.uint64)) == block(C, [(C.text("0"), 5)])
    both = [(C.text("0"), 5), (C.text("1"), 0)]
    assert kept.block(np.array([5, 0], np.uint64)) == block(C, both)


def test_nothing_is_an_empty_block() -> None:
    assert column(0).block(np.zeros(0, np.uint64)) == block(C, [])


def test_a_label_is_what_it_was_made_from_whatever_the_number() -> None:
    kept = column(2)
    kept.block(np.array([123456, 7], np.uint64))
    assert [kept.label(n) for n in range(2)] == [b'{n="0"}', b'{n="1"}']
