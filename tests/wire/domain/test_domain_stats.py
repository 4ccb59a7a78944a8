"""The bulk statistics of domains, whatever stands in them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.wire.domain_stats import (
    MAX_INTERFACES,
    SUFFIXES,
    UNKNOWN,
    columns,
    interface_row,
    interfaces_of,
)

RECORD = {
    "state.state": 1,
    "state.reason": 1,
    "net.count": 3,
    "net.0.name": "tap13abc033-93",
    **{f"net.0.{suffix}": 90 + place for place, suffix in enumerate(SUFFIXES)},
    # net.1 is SR-IOV: it has its number and nothing else
    "net.2.name": "tap9113df4c-ca",
    "net.2.rx.bytes": 7,
}


def test_each_interface_with_a_device_has_a_row_and_what_is_missing_is_not_known() -> None:
    names, numbers = columns(interfaces_of("d", RECORD))
    assert names == (("d", "tap13abc033-93"), ("d", "tap9113df4c-ca"))
    assert numbers.dtype == np.uint64
    assert numbers.tolist() == [list(range(90, 98)), [7] + [UNKNOWN] * 7]


def test_one_interface_alone_says_minus_one_for_what_it_does_not_know() -> None:
    row = interface_row("d", "tap1", (1, 2, -1, 4, 5, 6, 7, 8))
    assert columns([row])[1].tolist() == [[1, 2, UNKNOWN, 4, 5, 6, 7, 8]]


def test_of_a_device_that_is_there_twice_the_first_counts() -> None:
    twice = [*interfaces_of("d", RECORD), interface_row("d", "tap13abc033-93", (1,) * 8)]
    assert columns(twice)[1].tolist()[0] == list(range(90, 98))


def test_nothing_at_all_is_an_empty_table() -> None:
    names, numbers = columns([])
    assert (names, numbers.shape) == ((), (0, 8))
    assert list(interfaces_of("d", {})) == []


KEYS = st.sampled_from(["net.count", *(f"net.{n}.name" for n in range(3)), "net.0.rx.bytes"])
VALUES = st.one_of(st.integers(), st.text(), st.floats(), st.booleans(), st.none())


@given(st.dictionaries(KEYS | st.text(max_size=8), VALUES))
def test_takes_what_it_can_of_any_record(record: dict[str, object]) -> None:
    names, numbers = columns(interfaces_of("d", record))
    assert len(names) == len(numbers) <= MAX_INTERFACES
    assert all(device for _, device in names)
