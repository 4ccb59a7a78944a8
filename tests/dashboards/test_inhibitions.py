"""What inhibit.example.yaml keeps a real Alertmanager from saying, and what it does not."""

from collections.abc import Iterator
from contextlib import suppress

import pytest

from lab.alertmanager import Alertmanager
from lab.process import LabError, wait_until
from tests.conftest import require_parts
from tests.dashboards.test_rules import ALERTS, INHIBITIONS, loaded

pytestmark = pytest.mark.timeout(120)

Labels = dict[str, str]
JOB, FLOWS_JOB = "dataplane-agent", "dataplane-agent-flows"
OWN = {alert["alert"]: alert["labels"] for alert in ALERTS}
"""What a rule adds to the labels of its expression; of a name with two severities the last."""
FATAL = "critical"


def alert(name: str, instance: str = "compute01", **labels: str) -> Labels:
    """Return the labels of an alert as the rules make them."""
    of_node = {"instance": instance} if instance else {}
    return {**OWN[name], "alertname": name, "job": JOB, **of_node, **labels}


GONE = alert("DataplaneAgentMissing", severity="warning")
CARD = alert("DataplaneNicDrops", interface="eth2", direction="rx")
LOST = alert("DataplaneDroppedPacketGrowth", layer="lost_by_fate", job=FLOWS_JOB)
PEER = alert("DataplaneTunnelPeerDown", instance="", remote_ip="172.16.0.11")
RESTARTS = alert("DataplaneVswitchdRestartLoop")
FULL = "DataplaneConntrackNearlyFull"
CASES: dict[str, tuple[list[Labels], list[Labels]]] = {
    "an agent that is gone": (
        [GONE, CARD | {"instance": "compute02"}, LOST, PEER],
        [CARD, alert("DataplaneSourceDown", source="ovsdb"), alert("DataplanePortOpenError")],
    ),
    "a page of flows that does not come": (
        [GONE | {"job": FLOWS_JOB}, CARD, RESTARTS],
        [LOST],
    ),
    "a table of connections at its worst": (
        [alert(FULL, severity=FATAL, netns="qrouter-1"), alert(FULL, severity="warning")],
        [alert(FULL, severity="warning", netns="qrouter-1")],
    ),
    "a restart loop": (
        [RESTARTS, CARD],
        [alert("DataplaneMainLoopSlow"), alert("DataplaneSourceDown", source="openflow")],
    ),
    "a peer that is down": (
        [
            PEER,
            alert("DataplaneTunnelDown", remote_ip="172.16.0.12"),
            alert("DataplaneNodeTunnelsDown", instance="compute03"),
        ],
        [
            alert("DataplaneTunnelDown", instance="compute02", remote_ip="172.16.0.11"),
            alert("DataplaneTunnelPeerMissing", instance="", remote_ip="172.16.0.11"),
        ],
    ),
    "a node without tunnels": (
        [
            alert("DataplaneNodeTunnelsDown"),
            alert("DataplaneTunnelDown", instance="compute02", remote_ip="172.16.0.12"),
        ],
        [alert("DataplaneTunnelDown", remote_ip="172.16.0.12")],
    ),
    "a card that drops": (
        [CARD, alert("DataplaneDroppedPacketGrowth", layer="nic", direction="tx"), LOST],
        [alert("DataplaneDroppedPacketGrowth", layer="nic", direction="rx")],
    ),
    "connections that are dropped": (
        [alert(FULL, severity=FATAL, netns="qrouter-1"), LOST],
        [alert("DataplaneDroppedPacketGrowth", layer="conntrack")],
    ),
    "an ovn-controller that is gone": (
        [alert("DataplaneOvnControllerGone"), alert("DataplaneOvnNorthdLag")],
        [alert("DataplaneOvnConfigLag")],
    ),
    "a database server that is down": (
        [
            alert("DataplaneSourceDown", source="ovsdb"),
            alert("DataplaneSourceDown", source="libvirt"),
        ],
        [
            alert("DataplaneSourceDown", source="openflow"),
            alert("DataplaneScrapeNearDeadline"),
        ],
    ),
    "a slow main loop": (
        [alert("DataplaneMainLoopSlow")],
        [alert("DataplaneSourceThrottled", source="openflow")],
    ),
}
"""What is told, and what is not because of it."""


@pytest.fixture(scope="module")
def rules() -> list[dict[str, object]]:
    require_parts("prometheus-alertmanager")
    written: list[dict[str, object]] = loaded("inhibit.example.yaml")["inhibit_rules"]
    return written


@pytest.fixture
def alertmanager(rules: list[dict[str, object]]) -> Iterator[Alertmanager]:
    with Alertmanager(rules) as alertmanager:
        yield alertmanager


def ordered(alerts: list[Labels]) -> list[Labels]:
    return sorted(alerts, key=lambda each: sorted(each.items()))


def settled(alertmanager: Alertmanager, wanted: list[Labels]) -> list[Labels]:
    """Return what is told once that is as it should be, or what is told all the same."""
    with suppress(LabError):
        wait_until(lambda: ordered(alertmanager.told()) == ordered(wanted), 10, "inhibitions")
    return ordered(alertmanager.told())


@pytest.mark.parametrize("case", CASES)
def test_the_cause_is_told_and_not_what_follows_from_it(
    case: str, alertmanager: Alertmanager
) -> None:
    told, silent = CASES[case]
    alertmanager.fire([*told, *silent])
    assert settled(alertmanager, told) == ordered(told)


def test_every_alert_alone_is_told(alertmanager: Alertmanager) -> None:
    alone = [
        alert(each["alert"], f"compute{n}", remote_ip=f"172.16.0.{n}", **each["labels"])
        for n, each in enumerate(ALERTS)
    ]
    alertmanager.fire(alone)
    assert settled(alertmanager, alone) == ordered(alone)


def test_every_inhibition_is_seen_at_work() -> None:
    assert len(CASES) >= len(INHIBITIONS)
