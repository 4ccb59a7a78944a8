"""Whether a source is up, why not, and one line each way."""

import json
import time

from agent.errors import Reason, SourceError
from agent.health import CALM_SECONDS, STALE_SECONDS, SourceHealth
from tests.clock import Clock
from tests.logs import Event, Logged

TIMEOUT = SourceError(Reason.TIMEOUT, "dpctl/show: 5 s")
REFUSED = SourceError(Reason.REFUSED, "db.sock: connection refused")

UP = ("info", "source up", "")
DOWN = ("warning", "source down", "")


def texts(events: list[Event]) -> list[tuple[str, str, str]]:
    return [(each["level"], each["event"], each.get("part", "")) for each in events]


def test_a_source_that_was_never_read_is_not_up_and_has_no_success() -> None:
    facts = SourceHealth("unixctl").facts()
    assert (facts.up, facts.last_success_seconds, facts.reads) == (False, None, 0)
    assert facts.failures == dict.fromkeys(Reason, 0)


def test_a_good_reading_makes_it_up_and_is_timed() -> None:
    health = SourceHealth("unixctl")
    before = time.time()
    health.good(seconds=0.25)
    health.good(seconds=0.5)
    facts = health.facts()
    assert (facts.up, facts.reads, facts.read_seconds) == (True, 2, 0.75)
    assert facts.last_success_seconds is not None
    assert before <= facts.last_success_seconds <= time.time()


def test_a_failure_makes_it_down_and_is_counted_by_reason() -> None:
    health = SourceHealth("unixctl")
    health.good()
    health.failed(TIMEOUT)
    health.failed(REFUSED)
    health.failed(TIMEOUT)
    facts = health.facts()
    assert not facts.up
    assert facts.failures == {
        **dict.fromkeys(Reason, 0),
        Reason.TIMEOUT: 2,
        Reason.REFUSED: 1,
    }
    assert health.status()["problems"]["unixctl"]["reason"] == "timeout"


def test_a_success_that_is_over_stays_in_the_facts() -> None:
    health = SourceHealth("unixctl")
    health.good()
    success = health.facts().last_success_seconds
    health.failed(TIMEOUT)
    assert health.facts().last_success_seconds == success


def test_a_subscription_that_is_up_is_good_now_and_one_that_is_down_was_good_then() -> None:
    health = SourceHealth("ovsdb", subscription=True)
    health.good()
    first, second = health.facts().last_success_seconds, health.facts().last_success_seconds
    assert first is not None
    assert second is not None
    assert second > first
    health.failed(REFUSED)
    down = health.facts().last_success_seconds
    assert down is not None
    assert down < first
    assert health.facts().last_success_seconds == down


def test_a_source_is_up_when_all_its_parts_are() -> None:
    health = SourceHealth("openflow")
    health.good("br-int")
    health.failed(TIMEOUT, "br-tun")
    assert not health.up
    health.good("br-int")
    assert not health.up
    health.good("br-tun")
    assert health.up


def test_parts_that_are_gone_take_their_problems_with_them() -> None:
    health = SourceHealth("openflow")
    health.good("br-int")
    health.failed(TIMEOUT, "br-tun")
    health.failed(REFUSED)
    health.keep_parts({"br-int"})
    assert set(health.status()["problems"]) == {"openflow"}
    health.clear()
    assert health.up


def test_one_line_down_one_line_up_and_repetition_is_a_counter(logged: Logged) -> None:
    health = SourceHealth("unixctl")
    for _ in range(3):
        health.good()
    for _ in range(3):
        health.failed(TIMEOUT)
    for _ in range(3):
        health.good()
    assert texts(logged()) == [UP, DOWN, UP]


def test_the_line_says_why(logged: Logged) -> None:
    SourceHealth("unixctl").failed(TIMEOUT)
    (line,) = logged()
    assert (
        line.items()
        >= {
            "source": "unixctl",
            "reason": "timeout",
            "detail": "dpctl/show: 5 s",
        }.items()
    )


def test_a_peer_that_is_absent_from_the_start_is_one_line_until_it_appears(logged: Logged) -> None:
    health = SourceHealth("ovsdb")
    for _ in range(3):
        health.failed(SourceError(Reason.ABSENT, "db.sock"))
    health.good()
    assert texts(logged()) == [DOWN, UP]


def test_what_is_found_after_all_is_up_when_it_was_read_and_not_before(logged: Logged) -> None:
    health = SourceHealth("openflow")
    health.failed(SourceError(Reason.ABSENT, "no bridge's .mgmt socket"))
    health.clear()
    assert not health.up
    assert texts(logged()) == [DOWN]
    health.good("br-int")
    health.good("br-tun")
    assert texts(logged()) == [UP]


def test_many_parts_that_break_for_one_reason_are_one_line_and_so_is_their_return(
    logged: Logged,
) -> None:
    health = SourceHealth("openflow")
    bridges = ("br-int", "br-tun", "br-ex")
    for bridge in bridges:
        health.good(bridge)
    assert texts(logged()) == [UP]
    for bridge in bridges:
        health.failed(TIMEOUT, bridge)
    assert texts(logged()) == [("warning", "source down", "br-int")]
    for bridge in bridges:
        assert logged() == []
        health.good(bridge)
    assert texts(logged()) == [UP]


def test_a_part_that_breaks_for_another_reason_has_its_own_line(logged: Logged) -> None:
    health = SourceHealth("openflow")
    health.failed(TIMEOUT, "br-int")
    health.failed(REFUSED, "br-tun")
    assert [each["reason"] for each in logged()] == ["timeout", "refused"]


def test_a_part_that_goes_with_the_last_problem_brings_the_source_up(logged: Logged) -> None:
    health = SourceHealth("openflow")
    health.good("br-int")
    health.failed(TIMEOUT, "br-tun")
    logged()
    health.keep_parts({"br-int"})
    assert health.up
    health.good("br-int")
    assert texts(logged()) == [UP]


def test_a_source_that_is_late_is_down_until_it_answers() -> None:
    health = SourceHealth("unixctl")
    health.good()
    health.late()
    assert (health.up, health.deadline_exceeded) == (False, 1)
    health.late()
    assert health.deadline_exceeded == 2
    health.good()
    assert (health.up, health.facts().deadline_exceeded) == (True, 2)


def test_a_problem_that_changes_its_reason_keeps_its_age_and_shows_the_newest(
    logged: Logged,
) -> None:
    health = SourceHealth("unixctl")
    health.failed(TIMEOUT)
    since = health._problems[""].since_seconds
    health.failed(REFUSED)
    problem = health._problems[""]
    assert (problem.reason, problem.detail, problem.since_seconds) == (
        Reason.REFUSED,
        REFUSED.detail,
        since,
    )
    assert len(logged()) == 1


def test_status_is_json_with_reason_age_and_notes() -> None:
    health = SourceHealth("openflow")
    assert health.status()["last_success_age_seconds"] is None
    health.good("br-int")
    health.failed(TIMEOUT, "br-tun")
    health.note(("bond/show: unknown command",))
    status = json.loads(json.dumps(health.status()))
    assert status["configured"] is True
    assert status["up"] is False
    assert 0 <= status["last_success_age_seconds"] < 60
    assert status["problems"]["br-tun"]["detail"] == TIMEOUT.detail
    assert 0 <= status["problems"]["br-tun"]["age_seconds"] < 60
    assert status["notes"] == ["bond/show: unknown command"]


def test_events_are_counted_and_facts_do_not_change_afterwards() -> None:
    health = SourceHealth("ovsdb")
    health.event("update")
    facts = health.facts()
    health.event("update")
    health.failed(TIMEOUT)
    assert facts.events == {"update": 1}
    assert facts.failures[Reason.TIMEOUT] == 0
    assert health.facts().events == {"update": 2}


# Throttling


def test_a_source_that_is_never_throttled_has_a_zero_and_no_interval() -> None:
    facts = SourceHealth("unixctl").facts()
    assert (facts.throttled, facts.min_interval_seconds) == (0, None)


def test_a_reading_left_out_is_counted_and_neither_a_success_nor_a_failure() -> None:
    health = SourceHealth("openflow")
    health.good("br-int flows", seconds=0.5)
    before = health.facts()
    health.throttled(None, "br-int flows")
    health.throttled(25.0, "br-int flows")
    facts = health.facts()
    assert (facts.throttled, facts.min_interval_seconds) == (2, 25.0)
    assert (facts.up, facts.reads, facts.failures) == (True, 1, before.failures)
    assert facts.last_success_seconds == before.last_success_seconds


def test_a_source_that_is_down_stays_down_while_it_is_spared() -> None:
    health = SourceHealth("openflow")
    health.good("br-int")
    health.failed(TIMEOUT, "br-int flows")
    health.throttled(25.0, "br-int flows")
    assert not health.up
    assert set(health.status()["problems"]) == {"br-int flows"}


def test_the_longest_interval_of_all_parts_counts_while_they_are_there() -> None:
    health = SourceHealth("openflow")
    health.throttled(25.0, "br-int flows")
    health.min_interval(5.0, "br-tun flows")
    health.min_interval(None, "br-ex flows")
    assert health.facts().min_interval_seconds == 25.0
    health.min_interval(12.5, "br-int flows")
    assert health.facts().min_interval_seconds == 12.5
    health.keep_parts({"br-tun flows"})
    assert health.facts().min_interval_seconds == 5.0
    assert health.facts().throttled == 1
    health.keep_parts(set())
    assert health.facts().min_interval_seconds is None


def test_status_says_how_often_a_source_was_throttled() -> None:
    health = SourceHealth("openflow")
    health.throttled(22.516_666, "br-int flows")
    status = json.loads(json.dumps(health.status()))
    assert (status["throttled"], status["min_interval_seconds"]) == (1, 22.517)


def test_throttling_is_one_line_when_it_begins_and_one_when_it_is_over(logged: Logged) -> None:
    clock = Clock()
    health = SourceHealth("openflow", clock=clock)
    for _ in range(20):  # a reading that costs twice its share, every other scrape
        health.min_interval(30.0, "br-int flows")
        clock.sleep(15.0)
        health.throttled(30.0, "br-int flows")
        clock.sleep(15.0)
    (begin,) = logged()
    assert texts([begin]) == [("warning", "source throttled", "br-int flows")]
    assert begin["min_interval_seconds"] == 30.0
    assert "flows.duty_cycle" in begin["advice"]
    clock.sleep(CALM_SECONDS - 15.1)
    health.min_interval(5.0, "br-int flows")
    assert logged() == []
    clock.sleep(0.1)
    for _ in range(2):
        health.min_interval(5.0, "br-int flows")
    assert texts(logged()) == [("info", "source no longer throttled", "")]
    health.throttled(None, "br-tun flows")
    assert texts(logged()) == [("warning", "source throttled", "br-tun flows")]


def test_a_part_that_nobody_asks_for_any_more_does_not_keep_a_source_down() -> None:
    """A slow job that read flows once and failed, and was then taken away."""
    clock = Clock()
    health = SourceHealth("openflow", clock=clock)
    health.failed(SourceError(Reason.TIMEOUT, "slow"), "br0 flows")
    health.good("br0")
    assert not health.up
    clock.sleep(STALE_SECONDS / 2)
    health.failed(SourceError(Reason.TIMEOUT, "slow"), "br0 flows")
    clock.sleep(STALE_SECONDS)
    assert not health.up
    clock.sleep(1.0)
    assert health.up
    assert health.status()["problems"] == {}
