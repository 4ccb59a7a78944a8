"""Faults, and the alerts that come of them: a short form of `python -m lab.drill`.

Faults that do not disturb each other are on at the same time. How long an alert takes is for the
drill itself, on a machine with nothing else to do; here each comes, alone, and goes.
"""

import re
import time
from collections.abc import Callable, Iterator

import pytest

from dashboards.build import RULES
from lab.drill import ALWAYS, EXERCISES, FEW_POINTS, PAGE, Ground
from lab.hastened import bounds

pytestmark = [
    *(pytest.mark.e2e, pytest.mark.node, pytest.mark.timeout(600)),
    pytest.mark.usefixtures("open_vswitch", "ovn_installed", "prometheus_installed"),
]

CALM_SECONDS, BASELINE_SECONDS = 30.0, 300.0
ROUNDS = (
    ("unplug", "controller", "agent"),
    ("stop", "ovn-cut-off"),
    ("refuse", "flow-limit", "conntrack", "ovn-gone"),
)
"""Faults that are on at the same time. Those of the last have to know what is usual."""
LOADED = frozenset(
    {
        "DataplaneMainLoopSlow",
        "DataplaneScrapeDeadlineExceeded",
        "DataplaneScrapeNearDeadline",
        "DataplaneSourceThrottled",
    }
)
"""What is true of a machine that has other things to do."""
SWAMPED = LOADED | {"DataplaneUpcallsLost"}
"""The same where a flow limit is exhausted: each packet of each new flow is an upcall, and queues
are short."""


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Traffic and nothing wrong."""
    with Ground(FEW_POINTS) as ground:
        _calm(ground, lambda seconds: seconds > CALM_SECONDS)
        yield ground


def _calm(ground: Ground, until: Callable[[float], bool]) -> None:
    began = time.monotonic()
    while not until(time.monotonic() - began):
        assert ground.firing() <= LOADED
        assert time.monotonic() - began < BASELINE_SECONDS
        time.sleep(0.5)


@pytest.mark.parametrize("names", ROUNDS, ids="+".join)
def test_the_alert_of_each_fault_fires_and_no_other(ground: Ground, names: tuple[str, ...]) -> None:
    if "refuse" in names:
        _calm(ground, lambda _: ground.has_baseline())
    outcomes = ground.run(*(EXERCISES[name] for name in names))
    fired = {it.exercise.alert: it.seconds is not None for it in outcomes}
    assert fired == {EXERCISES[name].alert: True for name in names}
    allowed = SWAMPED if "flow-limit" in names else LOADED
    assert {other for it in outcomes for other in it.others} <= allowed


def test_alerts_have_bounds_of_the_faster_world() -> None:
    allowed = bounds(RULES / "alerts.yaml", by=30, rounds_seconds=8)
    # for: 5m; for: 10m and rates over 5m
    assert allowed["DataplaneTunnelDown"] == 10 + 8
    assert allowed["DataplaneDroppedPacketGrowth"] >= 20 + 8
    assert {each.alert for each in EXERCISES.values()} <= allowed.keys()


def test_the_page_says_of_which_alerts_there_was_no_fault() -> None:
    table, _, rest = PAGE.read_text().partition("\nNo fault is made here for ")
    drilled = {each.alert for each in EXERCISES.values()}
    assert drilled == set(re.findall(r"^\|[^|]+\| (Dataplane\w+) \|", table, re.MULTILINE))
    every = bounds(RULES / "alerts.yaml", by=30, rounds_seconds=8).keys()
    assert set(re.findall(r"Dataplane\w+", rest)) == every - drilled - ALWAYS
