"""Whether a source is up, why not, and one line each way."""

import json
import time

from agent.errors import Reason, SourceError
from agent.health import SourceHealth
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
