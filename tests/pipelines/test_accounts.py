"""Ledgers by stage and ACL: they go on when flows come back, and they are bounded."""

from collections.abc import Mapping

import numpy as np
import pytest

from agent.model.flow import ABSENT, Account, Accounts, AclFlow, Fate, Stage
from agent.pipelines import accounts
from agent.pipelines.accounts import AccountLedger

STAGE = Stage("ingress", "ls_in_acl")
OF_DATAPATH = Stage("ingress", "ls_in_acl", 3)
ACL, OTHER = AclFlow(0xA, "ingress", 8), AclFlow(0xB, "ingress", 8)


def fate(*rows: Account) -> Fate:
    """Table 16, whose flows count for these, one each."""
    places = np.arange(len(rows))
    return Fate(accounts={16: Accounts(rows, places, places)})


def told(ledger: AccountLedger, judged: Fate, *growth: int) -> Mapping[Account, int]:
    ledger.begin(judged)
    ledger.add(16, np.array(growth, np.uint64), lambda: np.arange(len(growth)))
    return ledger.told(new_are_zero=True)


def test_a_new_account_shows_0_once_and_then_all_it_has() -> None:
    ledger, judged = AccountLedger(), fate(STAGE, ACL)
    assert told(ledger, judged, 5, 7) == {STAGE: 0, ACL: 0}
    assert told(ledger, judged, 1, 0) == {STAGE: 6, ACL: 7}


def test_without_a_before_it_shows_what_it_has() -> None:
    ledger = AccountLedger()
    ledger.begin(fate(STAGE))
    ledger.add(16, np.array([5], np.uint64), lambda: np.arange(1))
    assert ledger.told(new_are_zero=False) == {STAGE: 5}


def test_an_acl_that_comes_back_goes_on_where_it_was() -> None:
    ledger, both, some = AccountLedger(), fate(STAGE, ACL, OF_DATAPATH), fate(OTHER)
    told(ledger, both, 0, 0, 0)
    told(ledger, both, 5, 7, 9)
    left = {STAGE: 5, OTHER: 0}
    assert told(ledger, some, 0) == left, "sums stay, the others have no flows to speak of"
    assert told(ledger, fate(STAGE, ACL, OF_DATAPATH), 1, 1, 1) == {
        STAGE: 6,
        ACL: 8,
        OF_DATAPATH: 10,
    }


def test_a_flow_may_count_for_several_accounts() -> None:
    judged = Fate(accounts={16: Accounts((STAGE, ACL), np.array([0, 1, 1]), np.array([0, 0, 1]))})
    ledger = AccountLedger()
    told(ledger, judged, 0, 0)
    assert told(ledger, judged, 2, 3) == {STAGE: 5, ACL: 3}


def test_sums_do_not_wrap_at_64_bits() -> None:
    judged = Fate(accounts={16: Accounts((STAGE,), np.array([0, 1]), np.array([0, 0]))})
    ledger = AccountLedger()
    told(ledger, judged, 0, 0)
    assert told(ledger, judged, 2**64 - 2, 2**64 - 2)[STAGE] == 2 * (2**64 - 2)


def test_what_it_told_does_not_change_with_the_next_reading() -> None:
    ledger, judged = AccountLedger(), fate(STAGE)
    told(ledger, judged, 0)
    before = told(ledger, judged, 5)
    told(ledger, judged, 5)
    assert before == {STAGE: 5}


def test_tables_without_accounts_count_for_nobody() -> None:
    ledger = AccountLedger()
    ledger.begin(fate(STAGE))
    ledger.add(17, np.array([5], np.uint64), lambda: np.arange(1))
    assert ledger.told(new_are_zero=False) == {STAGE: 0}


def test_of_those_that_are_gone_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "MAX_GONE", 1)
    ledger = AccountLedger()
    told(ledger, fate(STAGE, ACL, OTHER), 0, 0, 0)
    told(ledger, fate(STAGE, OTHER), 1, 0)
    told(ledger, fate(STAGE), 1)  # ACL is gone for longer than OTHER
    assert told(ledger, fate(STAGE, ACL, OTHER), 0, 5, 5) == {STAGE: 2, ACL: 0, OTHER: 5}


def test_of_a_bridge_that_nobody_can_judge_nothing_is_told() -> None:
    ledger = AccountLedger()
    told(ledger, fate(STAGE), 0)
    assert told(ledger, fate(STAGE), 5) == {STAGE: 5}
    assert told(ledger, Fate()) == {}, "a sum that does not move would read as no traffic"
    assert told(ledger, fate(STAGE), 1) == {STAGE: 6}


def test_an_acl_that_takes_the_flow_of_another_does_not_take_its_packets() -> None:
    """ovn-controller changes the cookie in place, and n_packets stays."""
    ledger = AccountLedger()
    told(ledger, fate(STAGE, ACL), 0, 0)
    told(ledger, fate(STAGE, ACL), 5, 5)
    assert told(ledger, fate(STAGE, OTHER), 5, 1000) == {STAGE: 10, OTHER: 0}
    assert told(ledger, fate(STAGE, OTHER), 0, 3) == {STAGE: 10, OTHER: 3}


def test_a_flow_that_is_new_counts_for_its_acl_from_the_start() -> None:
    ledger = AccountLedger()
    told(ledger, fate(STAGE), 0)
    ledger.begin(fate(STAGE, ACL))
    ledger.add(16, np.array([1, 7], np.uint64), lambda: np.array([0, ABSENT]))
    assert ledger.told(new_are_zero=False) == {STAGE: 1, ACL: 7}
