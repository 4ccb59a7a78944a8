"""The judge remembers what did not change, and what it remembers is right."""

from time import process_time

import numpy as np
import pytest

from agent.model.flow import KINDS, Effect, Flow, Scope
from agent.pipelines.fate import Judge
from tests.pipelines.written import Tables, flow, group, judge, tables

PATCH = frozenset({9})
BRIDGE = (
    "table=0 actions=group:1,resubmit(,5)\ntable=5,in_port=1 actions=output:1\ntable=5 actions=drop"
)


def test_a_judgement_is_the_same_object_until_something_changes() -> None:
    judge_, read = Judge(), tables(BRIDGE)
    fate = judge_.judge(read, {1: group(1, "drop")}, PATCH)
    assert judge_.judge(dict(read), {1: group(1, "drop")}, frozenset({9})) is fate
    assert judge_.judge(read, {1: group(1, "output:1")}, PATCH) is not fate
    fate = judge_.judge(read, None, PATCH)
    assert judge_.judge(read, None, PATCH) is fate
    assert judge_.judge(read, None, frozenset()) is not fate
    fate = judge_.judge(read, None, PATCH)
    assert judge_.judge(read | {5: read[5]}, None, PATCH) is fate
    assert judge_.judge(read | {5: tuple(iter(read[5]))}, None, PATCH) is not fate


def test_only_what_changed_is_read_again() -> None:
    judge_, read = Judge(), tables(BRIDGE)
    before = judge_.judge(read, None, PATCH)
    after = judge_.judge(read | {5: (*read[5], flow("table=5 actions=output:7"))}, None, PATCH)
    assert after.kinds[0] is before.kinds[0]
    assert [KINDS[code] for code in after.kinds[5]] == ["open", "copy", "open"]


def test_a_judgement_with_a_memory_equals_one_without() -> None:
    judge_, read = Judge(), tables(BRIDGE)
    for groups in (None, {1: group(1)}, {1: group(1, "output:1")}, {1: group(1)}):
        for changed in (read, {0: read[0]}, {5: read[5]}, {}, read):
            remembered = judge_.judge(changed, groups, PATCH)
            fresh = judge(changed, groups, PATCH)
            assert remembered.owners == fresh.owners
            assert {t: codes.tolist() for t, codes in remembered.kinds.items()} == {
                t: codes.tolist() for t, codes in fresh.kinds.items()
            }


def test_a_table_that_lost_its_flows_is_left_out() -> None:
    assert judge({0: (flow("table=0 actions=resubmit(,5)"),), 5: ()}).kinds.keys() == {0}
    assert judge({}).kinds == {}


def test_kinds_are_codes_of_one_byte_that_nobody_changes() -> None:
    codes = judge("table=0 actions=drop").kinds[0]
    assert codes.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        codes[0] = 0


def _hundred_thousand() -> Tables:
    effects = [Effect("resubmit", tables=(table,)) for table in range(1, 50)]
    effects.append(Effect("output", delivers=True))
    scopes = [Scope(in_port=port) for port in range(300)]
    return {
        table: tuple(
            Flow(table, 1, "", 0, scopes[n % 300], effects[min(table + n % 3, 49)])
            for n in range(2000)
        )
        for table in range(50)
    }


def test_a_hundred_thousand_flows_are_judged_in_passing() -> None:
    """It costs about what it costs to look at what each of them does, for its hash."""
    read = _hundred_thousand()
    judging = looking = float("inf")
    for _ in range(3):
        start = process_time()
        fate = judge(read, {}, PATCH)
        judging = min(judging, process_time() - start)
        start = process_time()
        assert len({flow.effect for flows in read.values() for flow in flows}) > 1
        looking = min(looking, process_time() - start)
    assert sum(len(codes) for codes in fate.kinds.values()) == 100_000
    assert judging < 3 * looking
