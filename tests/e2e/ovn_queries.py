"""The queries of docs/ovn.md, asked of a Prometheus that scrapes a whole cloud."""

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lab.host import Host
from lab.ovn import OvnCloud
from lab.ovn_traffic import KINDS
from lab.process import LabError, wait_until
from lab.prometheus import Job, Prometheus
from tests.e2e.ovn_beside import agent_beside
from tests.e2e.ovn_page import (
    EVERY_SCRAPE_READS,
    WAIT_SECONDS,
    agent_on,
    cookie_of,
    dumped,
    logical_flows,
    northbound_rows,
    southbound_rows,
)
from tests.e2e.test_instances_stalled import Place as LabsOwnNetwork
from tests.e2e.test_ovn_traffic import FATES, rules_of

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "ovn.md"
QUERIES = re.findall(r"```promql\n(.*?)```", DOCUMENTATION.read_text(), re.DOTALL)
Answer = dict[tuple[str, ...], bool]
"""By labels, whether it is more than 0."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A Prometheus that scrapes both nodes and the agent beside the databases.

    Attributes:
        hosts: Name of each node, by its instance in Prometheus.
    """

    prometheus: Prometheus
    hosts: Mapping[str, str]

    def answer(self, about: str, *labels: str) -> Answer:
        """Return what the one query answers that has this word in it; nodes by their names."""
        (query,) = (each for each in QUERIES if about in each)
        found: Answer = {}
        for row in self.prometheus.query(query):
            named = {**row.labels, "instance": self.hosts.get(row.labels.get("instance", ""), "")}
            key = tuple(named.get(label, "") for label in labels)
            assert key not in found
            found[key] = row.value > 0
        return found

    def wait(self, expected: Answer, about: str, *labels: str) -> None:
        """Return when the answer is what is expected."""
        last: Answer = {}

        def is_expected() -> bool:
            nonlocal last
            last = self.answer(about, *labels)
            return last == expected

        with suppress(LabError):
            wait_until(is_expected, timeout=WAIT_SECONDS)
        assert last == expected

    def nothing_is_wrong(self) -> None:
        for about in "database_connected", "ovn_sb_nb_cfg", "tunnel_expected", "binding_up":
            self.wait({}, about)


@contextmanager
def asked(cloud: OvnCloud) -> Iterator[Asked]:
    with ExitStack() as stack:
        places = [LabsOwnNetwork(each) for each in (*cloud.chassis, stack.enter_context(Host()))]
        agents = [
            agent_on(each, env=EVERY_SCRAPE_READS, host=place)
            for each, place in zip(cloud.chassis, places, strict=False)
        ]
        agents.append(agent_beside(cloud.central, host=places[-1]))
        targets = [f"127.0.0.1:{stack.enter_context(agent).port}" for agent in agents]
        prometheus = stack.enter_context(Prometheus(Job(targets, interval="2s")))
        names = (each.place.hostname for each in cloud.chassis)
        yield Asked(prometheus, dict(zip(targets, names, strict=False)))


def rules(cloud: OvnCloud) -> Answer:
    """Return node, ACL and rule of each ACL that has flows there, and whether traffic meets it."""
    found: Answer = {}
    acls = {row["_uuid"][:8]: row for row in northbound_rows(cloud.central, "ACL")}
    hints = {
        cookie_of(row["_uuid"]): row["external_ids"].get("stage-hint", "")
        for row in southbound_rows(cloud.central, "Logical_Flow")
    }
    own = rules_of(cloud)
    for number, chassis in enumerate(cloud.chassis):
        met = {own.get(each, each)[:8] for kind in KINDS for each in FATES[kind][number].acls}
        for hint in {hints.get(flow.cookie, "") for flow in dumped(chassis)} & acls.keys():
            rule = acls[hint]["external_ids"].get("neutron:security_group_rule_id", "")
            found[chassis.place.hostname, hint, rule] = hint in met
    return found


def flows_of_nodes(cloud: OvnCloud) -> set[tuple[str, ...]]:
    """Return node, table, priority, match and stage of each flow that a logical flow has made."""
    stages = {flow.cookie: flow.stage for flow in logical_flows(cloud.central)}
    return {
        (
            chassis.place.hostname,
            *(str(flow.table), str(flow.priority), flow.match, stages[flow.cookie]),
        )
        for chassis in cloud.chassis
        for flow in dumped(chassis)
        if flow.cookie in stages
    }
