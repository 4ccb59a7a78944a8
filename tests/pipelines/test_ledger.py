"""Ledgers: what is booked, where, from when on, and what is not."""

import time
from collections.abc import Sequence

import numpy as np
import pytest

from agent.model.flow import ABSENT, UNKNOWN, Fate, TableFlows, Totals
from agent.pipelines.ledger import BridgeLedger
from tests.pipelines.ledger_switch import ALL_LOST, add, codes, table_flows

FATE = Fate({0: codes(["lost", "copy", "patch", "open", "closed", "conjunction"])})
UNSAID = int(UNKNOWN)


def begun(
    packets: Sequence[int], matched: int = 0, *, fate: Fate = ALL_LOST
) -> tuple[BridgeLedger, Totals]:
    """Return a ledger that has read table 0 once."""
    ledger = BridgeLedger()
    totals = add(ledger, table_flows(0, packets, first=True), matches={0: matched}, fate=fate)
    return ledger, totals


# Growth.


def test_begins_at_zero_with_a_row_for_each_kind() -> None:
    _, totals = begun([100, 200, 300, 400, 500, 600], 9999, fate=FATE)
    assert totals.dropped == {(0, "lost"): 0, (0, "copy"): 0, (0, "patch"): 0}
    assert totals.unattributed == {0: 0}
    assert totals.changes == {"added": 0, "removed": 0, "modified": 0}
    assert totals.interfaces == {}


def test_books_growth_by_kind_and_only_of_lost_copy_and_patch() -> None:
    ledger, _ = begun([100, 200, 300, 400, 500, 600], fate=FATE)
    totals = add(ledger, table_flows(0, [101, 202, 304, 408, 516, 632]), fate=FATE)
    assert totals.dropped == {(0, "lost"): 1, (0, "copy"): 2, (0, "patch"): 4}


@pytest.mark.parametrize("other", ["open", "copy", "closed"])
def test_books_nothing_of_a_reading_in_which_the_judgement_changed(other: str) -> None:
    """A flow that is changed in place keeps n_packets: what it delivered before is not lost."""
    was, now = Fate({0: codes([other])}), Fate({0: codes(["lost"])})
    ledger, _ = begun([10], fate=was)
    totals = add(ledger, table_flows(0, [1000], modified=1), fate=now)
    assert totals.dropped[0, "lost"] == 0
    assert add(ledger, table_flows(0, [1003]), fate=now).dropped[0, "lost"] == 3


def test_finds_the_judgement_of_before_where_the_flow_stood_then() -> None:
    ledger, _ = begun([10, 20, 30], fate=Fate({0: codes(["open", "lost", "lost"])}))
    now = Fate({0: codes(["lost", "lost", "lost", "lost"])})
    moved = table_flows(0, [21, 12, 34, 8], before=[1, 0, 2, ABSENT])
    assert add(ledger, moved, fate=now).dropped[0, "lost"] == 1 + 4 + 8


def test_books_a_flow_that_was_changed_when_its_counter_began_anew_by_the_judgement_of_now() -> (
    None
):
    now = Fate({0: codes(["lost"])})
    ledger, _ = begun([10], fate=Fate({0: codes(["open"])}))
    totals = add(ledger, table_flows(0, [15], restarted=(0,)), fate=now)
    assert totals.dropped[0, "lost"] == 15
    ledger, _ = begun([10], fate=Fate({0: codes(["open"])}))
    totals = add(ledger, table_flows(0, [15]), fate=now, restarted=True)
    assert totals.dropped[0, "lost"] == 15


def test_shows_a_row_that_is_new_as_zero_before_it_shows_what_was_booked() -> None:
    ledger, _ = begun([100], 100)
    new = table_flows(3, [4, 5], before=[ABSENT, ABSENT])
    totals = add(ledger, table_flows(0, [101]), new, matches={0: 101, 3: 10})
    assert (totals.dropped[0, "lost"], totals.dropped[3, "lost"]) == (1, 0)
    assert totals.unattributed[3] == 0
    totals = add(ledger, table_flows(0, [101]), table_flows(3, [5, 5]), matches={0: 101, 3: 11})
    assert (totals.dropped[3, "lost"], totals.unattributed[3]) == (10, 1)


def test_has_no_rows_for_a_table_that_was_never_judged() -> None:
    ledger, _ = begun([10], fate=Fate())
    assert add(ledger, table_flows(0, [20]), fate=Fate()).dropped == {}


def test_counts_a_flow_from_zero_when_its_counter_is_less_than_before() -> None:
    ledger, _ = begun([100])
    assert add(ledger, table_flows(0, [30])).dropped[0, "lost"] == 30


def test_counts_a_flow_from_zero_when_it_was_not_there_before() -> None:
    ledger, _ = begun([100])
    totals = add(ledger, table_flows(0, [7, 100], before=[ABSENT, 0]))
    assert totals.dropped[0, "lost"] == 7


def test_follows_flows_that_moved_in_the_answer() -> None:
    ledger, _ = begun([100, 200, 300])
    totals = add(ledger, table_flows(0, [301, 102, 204], before=[2, 0, 1]))
    assert totals.dropped[0, "lost"] == 7


def test_counts_a_flow_from_zero_that_the_switch_set_to_zero() -> None:
    ledger, _ = begun([100, 100])
    totals = add(ledger, table_flows(0, [150, 150], restarted=(1,)))
    assert totals.dropped[0, "lost"] == 50 + 150
    assert add(ledger, table_flows(0, [151, 152])).dropped[0, "lost"] == 203


def test_leaves_the_columns_that_it_was_given_as_they_were() -> None:
    ledger, _ = begun([100])
    given = table_flows(0, [150])
    add(ledger, given)
    add(ledger, table_flows(0, [160], restarted=(0,)))
    add(ledger, table_flows(0, [5]))
    assert given.packets.tolist() == [150]


def test_takes_the_first_reading_as_a_baseline_whatever_it_says() -> None:
    ledger = BridgeLedger()
    totals = add(ledger, table_flows(0, [70]), matches={0: 70}, restarted=True)
    assert (totals.dropped[0, "lost"], totals.unattributed[0]) == (0, 0)
    assert totals.changes["added"] == 0


def test_takes_a_table_that_says_first_as_a_baseline_even_later() -> None:
    ledger, _ = begun([100], 100)
    first = table_flows(0, [500, 900], first=True, modified=3)
    totals = add(ledger, first, matches={0: 5000})
    assert (totals.dropped[0, "lost"], totals.unattributed[0]) == (0, 0)
    assert not any(totals.changes.values())
    totals = add(ledger, table_flows(0, [501, 902]), matches={0: 5010})
    assert (totals.dropped[0, "lost"], totals.unattributed[0]) == (3, 7)


def test_begins_at_the_switchs_figures_when_told_so() -> None:
    ledger = BridgeLedger(from_figures=True)
    totals = add(ledger, table_flows(0, [70, 30], first=True), matches={0: 105, 9: 4})
    assert totals.dropped[0, "lost"] == 100
    assert totals.unattributed == {0: 5, 9: 4}
    assert not any(totals.changes.values())


def test_counts_a_table_from_zero_that_had_no_flows_before() -> None:
    ledger, _ = begun([100])
    add(ledger, table_flows(0, [100]), table_flows(3, [4, 5], before=[ABSENT, ABSENT]))
    totals = add(ledger, table_flows(0, [100]), table_flows(3, [4, 5]))
    assert totals.dropped[3, "lost"] == 9


def test_keeps_the_row_of_a_table_whose_flows_are_gone_and_counts_on_when_they_are_back() -> None:
    ledger, _ = begun([100])
    add(ledger, table_flows(0, [105]))
    assert add(ledger).dropped[0, "lost"] == 5
    assert add(ledger, table_flows(0, [])).dropped[0, "lost"] == 5
    totals = add(ledger, table_flows(0, [200], before=[ABSENT]))
    assert totals.dropped[0, "lost"] == 205


def test_refuses_flows_that_do_not_continue_the_last_reading() -> None:
    ledger, _ = begun([100])
    with pytest.raises(ValueError, match="table 0 does not continue"):
        add(ledger, table_flows(0, [100, 100]))


# A switch that began again.


def test_counts_everything_from_zero_after_a_restart() -> None:
    ledger, _ = begun([100, 100], 1000)
    totals = add(ledger, table_flows(0, [150, 20]), matches={0: 1500}, restarted=True)
    assert totals.dropped[0, "lost"] == 170
    assert totals.unattributed[0] == 1500 - 170
    assert not any(totals.changes.values())


def test_counts_everything_from_zero_when_any_tables_matches_went_down() -> None:
    ledger = BridgeLedger()
    tables = table_flows(0, [100], first=True), table_flows(1, [10], first=True)
    add(ledger, *tables, matches={0: 100, 1: 10})
    totals = add(ledger, table_flows(0, [150]), table_flows(1, [4]), matches={0: 150, 1: 4})
    assert totals.dropped[0, "lost"] == 150
    assert totals.dropped[1, "lost"] == 4
    assert totals.unattributed == {0: 0, 1: 0}


def test_sees_a_new_beginning_at_once_when_a_table_left_the_statistics() -> None:
    ledger = BridgeLedger()
    add(ledger, table_flows(0, [100], first=True), matches={0: 100, 1: 10})
    totals = add(ledger, table_flows(0, [150]), matches={0: 150})
    assert totals.dropped[0, "lost"] == 150
    totals = add(ledger, table_flows(0, [151]), matches={0: 151, 1: 2})
    assert totals.dropped[0, "lost"] == 151
    assert totals.unattributed == {0: 0, 1: 2}


def test_counts_a_table_that_says_first_from_zero_after_a_restart() -> None:
    ledger, _ = begun([100], 100)
    totals = add(ledger, table_flows(0, [8], first=True), matches={0: 9}, restarted=True)
    assert (totals.dropped[0, "lost"], totals.unattributed[0]) == (8, 1)


# Counters that the switch does not say.


def test_does_not_grow_by_a_counter_that_is_unknown_and_keeps_what_was_known() -> None:
    ledger, _ = begun([100, 100])
    assert add(ledger, table_flows(0, [UNSAID, 101])).dropped[0, "lost"] == 1
    assert add(ledger, table_flows(0, [110, 101])).dropped[0, "lost"] == 11


def test_takes_the_first_figure_of_a_flow_as_its_baseline_when_the_first_reading_had_none() -> None:
    ledger, _ = begun([UNSAID])
    assert add(ledger, table_flows(0, [100])).dropped[0, "lost"] == 0
    assert add(ledger, table_flows(0, [101])).dropped[0, "lost"] == 1


def test_counts_a_new_flow_from_zero_when_its_first_counter_was_unknown() -> None:
    ledger, _ = begun([0])
    add(ledger, table_flows(0, [0, UNSAID], before=[0, ABSENT]))
    assert add(ledger, table_flows(0, [0, 40])).dropped[0, "lost"] == 40


# Unattributed.


def test_says_how_many_packets_died_with_a_flow() -> None:
    ledger, _ = begun([100, 100], 500)
    totals = add(ledger, table_flows(0, [103], before=[0]), matches={0: 510})
    assert totals.unattributed[0] == 7


def test_says_the_packets_of_flows_that_nobody_ever_saw() -> None:
    ledger, _ = begun([100], 100)
    add(ledger, table_flows(0, [100]), matches={0: 100, 7: 12})
    totals = add(ledger, table_flows(0, [100]), matches={0: 100, 7: 12})
    assert totals.unattributed == {0: 0, 7: 12}


def test_says_what_matched_beside_flows_that_were_added_again_unseen() -> None:
    ledger, _ = begun([10], 10)
    totals = add(ledger, table_flows(0, [25]), matches={0: 35})
    assert (totals.dropped[0, "lost"], totals.unattributed[0]) == (15, 10)


def test_waits_for_matches_that_were_read_before_packets_came() -> None:
    ledger, _ = begun([100], 100)
    totals = add(ledger, table_flows(0, [150]), matches={0: 120})
    assert totals.unattributed[0] == 0
    totals = add(ledger, table_flows(0, [150]), matches={0: 150})
    assert totals.unattributed[0] == 0
    totals = add(ledger, table_flows(0, [150]), matches={0: 151})
    assert totals.unattributed[0] == 1


def test_never_takes_back_what_died_when_packets_come_between() -> None:
    ledger, _ = begun([100], 100)
    totals = add(ledger, table_flows(0, [100]), matches={0: 105})
    assert totals.unattributed[0] == 5
    totals = add(ledger, table_flows(0, [150]), matches={0: 105})
    assert totals.unattributed[0] == 5
    totals = add(ledger, table_flows(0, [150]), matches={0: 157})
    assert totals.unattributed[0] == 7


def test_invents_nothing_when_matches_of_a_baseline_are_read_after_the_flows() -> None:
    ledger, _ = begun([100], 130)  # 30 passed between flows and matches
    totals = add(ledger, table_flows(0, [150]), matches={0: 150})
    assert totals.unattributed[0] == 0


def test_forgets_at_a_restart_what_matches_still_owed() -> None:
    ledger, _ = begun([100], 100)
    add(ledger, table_flows(0, [150]), matches={0: 120})
    totals = add(ledger, table_flows(0, [5]), matches={0: 8}, restarted=True)
    assert totals.unattributed[0] == 3


def test_counts_matches_of_a_table_that_appears_from_zero() -> None:
    ledger, _ = begun([100], 100)
    new = table_flows(2, [6], before=[ABSENT])
    add(ledger, table_flows(0, [100]), new, matches={0: 100, 2: 8})
    same = table_flows(2, [6])
    totals = add(ledger, table_flows(0, [100]), same, matches={0: 100, 2: 8})
    assert totals.unattributed == {0: 0, 2: 2}


@pytest.mark.parametrize("unsaid", [([UNSAID], 400), ([120], UNSAID), ([UNSAID], UNSAID)])
def test_leaves_out_of_the_difference_what_is_unknown(unsaid: tuple[list[int], int]) -> None:
    ledger, _ = begun([100], 100)
    packets, matched = unsaid
    add(ledger, table_flows(0, packets), matches={0: matched})
    totals = add(ledger, table_flows(0, [150]), matches={0: 450})
    assert (totals.dropped[0, "lost"], totals.unattributed[0]) == (50, 0)
    totals = add(ledger, table_flows(0, [152]), matches={0: 455})
    assert (totals.dropped[0, "lost"], totals.unattributed[0]) == (52, 3)


def test_does_not_take_matches_for_growth_that_were_unknown_at_first() -> None:
    ledger, _ = begun([100], UNSAID)
    totals = add(ledger, table_flows(0, [100]), matches={0: 1000})
    assert totals.unattributed[0] == 0


def test_does_not_see_a_new_beginning_in_matches_after_an_unknown_one() -> None:
    ledger, _ = begun([100], 100)
    add(ledger, table_flows(0, [120]), matches={0: UNSAID})
    totals = add(ledger, table_flows(0, [125]), matches={0: 50})
    assert totals.dropped[0, "lost"] == 25


# Changes.


def test_counts_flows_that_were_added_removed_and_modified() -> None:
    ledger, _ = begun([1, 2, 3])
    totals = add(ledger, table_flows(0, [0, 3, 0], before=[ABSENT, 2, ABSENT], modified=1))
    assert totals.changes == {"added": 2, "removed": 2, "modified": 1}


def test_counts_the_flows_of_tables_that_come_and_go() -> None:
    ledger, _ = begun([1, 2, 3])
    totals = add(ledger, table_flows(1, [0, 0]))
    assert totals.changes == {"added": 2, "removed": 3, "modified": 0}


def test_counts_no_change_while_nothing_changes() -> None:
    ledger, _ = begun([1, 2, 3])
    totals = add(ledger, table_flows(0, [3, 1, 2], before=[2, 0, 1]))
    assert not any(totals.changes.values())


# Numbers, snapshots, time.


def test_adds_up_beyond_64_bits() -> None:
    ledger, _ = begun([0, 0, 0])
    huge = 2**64 - 2
    totals = add(ledger, table_flows(0, [huge, huge, 1]), matches={0: huge})
    assert totals.dropped[0, "lost"] == 2 * huge + 1
    assert type(totals.dropped[0, "lost"]) is int
    totals = add(ledger, table_flows(0, [huge - 1, huge, 1]), matches={0: huge})
    assert totals.dropped[0, "lost"] == 3 * huge


def test_subtracts_exactly_near_the_end_of_64_bits() -> None:
    ledger, _ = begun([2**64 - 5, 2**63 - 1])
    totals = add(ledger, table_flows(0, [2**64 - 2, 2**63 + 1]))
    assert totals.dropped[0, "lost"] == 3 + 2


def test_a_snapshot_stays_what_it_was_and_cannot_be_changed() -> None:
    ledger, before = begun([0])
    add(ledger, table_flows(0, [9]), matches={0: 10}, ports={1: "tap1"})
    assert (before.dropped[0, "lost"], before.unattributed[0]) == (0, 0)
    with pytest.raises(TypeError):
        before.dropped[0, "lost"] = 1  # type: ignore[index] # that it cannot is the promise


def test_100000_flows_that_all_grew_and_moved_cost_no_loop_over_flows() -> None:
    n = 100_000
    order = np.random.default_rng(1).permutation(n)
    kinds = np.resize(codes(["lost", "copy", "open"]), n)
    first = table_flows(0, range(n), first=True)
    ledger = BridgeLedger()
    add(ledger, first, fate=Fate({0: kinds}))
    packets, spent = first.packets, []
    for _ in range(5):
        packets, kinds = packets[order] + np.uint64(1), kinds[order]
        reading = TableFlows(0, first.flows, packets, packets, before=order)
        start = time.process_time()
        totals = add(ledger, reading, fate=Fate({0: kinds}))
        spent.append(time.process_time() - start)
    assert totals.dropped[0, "lost"] == 5 * 33_334
    assert min(spent) < 0.02
