"""Flows in a slower job of their own: each alert comes once, and each number is counted once.

The tests of dashboards/rules/tests run again with the two jobs of docs/scraping.md: series of flows
are the second job's, what the agent says of itself is in both.
"""

import re
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from agent.catalogue import families
from dashboards.rules_source import DEFAULT, Settings, rules
from tests.dashboards.meaning import Reading, emitted, recorded, selectors
from tests.dashboards.test_boards import asked, every_name, parsed
from tests.dashboards.test_rules import TESTS, promtool

JOB, FLOWS_JOB = "dataplane-agent", "dataplane-agent-flows"
MATCHER = 'job=~"dataplane-agent(-flows)?"'
SLOW = {"drop", "flow", "ovn_flow"}
OF_COLLECTOR = {family.name: collector for collector, family in families()}
OF_FLOWS = {name for name, collector in OF_COLLECTOR.items() if collector in SLOW}
IN_BOTH = {
    *("up", "dataplane_agent_source_read_seconds_sum", "dataplane_agent_source_read_seconds_count"),
    *(name for name, collector in OF_COLLECTOR.items() if collector == "agent"),
}
ONE_ROW = {"max", "min", "avg", "group"}
"""What of two equal rows gives the same again."""


def split(series: str) -> list[str]:
    """Return the series that two jobs make of one of a single job."""
    name = series.split("{", 1)[0]
    of_collector = re.search(r'collector="(\w+)"', series)
    slow = series.replace(f'job="{JOB}"', f'job="{FLOWS_JOB}"')
    if of_collector:
        return [slow if of_collector[1] in SLOW else series]
    if name in IN_BOTH:
        return list(dict.fromkeys([series, slow]))
    return [slow if name in OF_FLOWS else series]


def of_two_jobs(test: dict[str, Any]) -> dict[str, Any]:
    """Return a test of promtool as two jobs see it; what it expects of a fault is the same."""
    text = yaml.safe_dump(test["alert_rule_test"]).replace(f'job="{JOB}"', MATCHER)
    cases = yaml.safe_load(text)
    for case in cases:
        for alert in case["exp_alerts"] or []:
            labels = alert["exp_labels"]
            if labels.get("layer") == "lost_by_fate":
                labels["job"] = FLOWS_JOB
            if "instance" not in labels and case["alertname"] == "DataplaneAgentMissing":
                del labels["job"]  # absent() takes labels from = alone
    series = [
        {"series": name, "values": each["values"]}
        for each in test["input_series"]
        for name in split(each["series"])
    ]
    return {**test, "input_series": series, "alert_rule_test": cases, "promql_expr_test": []}


def concerns(test: dict[str, Any]) -> bool:
    """Whether two jobs see it otherwise than one, and it is about alerts."""
    names = [each["series"] for each in test["input_series"]]
    return "alert_rule_test" in test and any(split(name) != [name] for name in names)


def for_promtool(path: Path) -> dict[str, Any]:
    file = yaml.safe_load(path.read_text())
    tests = [of_two_jobs(each) for each in file["tests"] if concerns(each)]
    return {**file, "rule_files": list(DEFAULT), "tests": tests}


def written_to(directory: Path) -> None:
    for name, text in rules(Settings(job=MATCHER)).items():
        (directory / name).write_text(text)


CONCERNED = [path for path in TESTS if path.stem != "migration" and for_promtool(path)["tests"]]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", CONCERNED, ids=lambda path: path.stem)
def test_the_alerts_of_a_fault_are_the_same_with_flows_in_a_job_of_their_own(
    path: Path, tmp_path: Path
) -> None:
    written_to(tmp_path)
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(for_promtool(path)))
    promtool("test", "rules", tmp_path / "test.yaml")


def test_two_jobs_are_tested_with_families_of_each_kind() -> None:
    seen = {
        each["series"].split("{", 1)[0]
        for path in CONCERNED
        for test in for_promtool(path)["tests"]
        for each in test["input_series"]
    }
    assert seen & OF_FLOWS
    assert {"up", "dataplane_agent_source_up", "process_start_time_seconds"} <= seen
    assert seen - OF_FLOWS - IN_BOTH


def sampled(expr: str, *samples: tuple[str, float]) -> dict[str, Any]:
    """Return what promtool expects of an expression at minute 25."""
    rows = [{"labels": labels, "value": value} for labels, value in samples]
    return {"expr": expr, "eval_time": "25m", "exp_samples": rows}


def missing(job: str, instance: str) -> dict[str, Any]:
    labels = {"severity": "warning", "job": job, "instance": instance}
    (alert,) = (
        rule
        for group in yaml.safe_load(rules(Settings(job=MATCHER))["alerts.yaml"])["groups"]
        for rule in group["rules"]
        if rule["alert"] == "DataplaneAgentMissing" and rule["labels"]["severity"] == "warning"
    )
    texts = {
        name: re.sub(r"{{ \$labels.(\w+) }}", lambda found: labels[found[1]], text)
        for name, text in alert["annotations"].items()
    }
    return {"exp_labels": labels, "exp_annotations": texts}


NODES = {
    "compute01": {JOB: "0x30", FLOWS_JOB: "0x30"},
    "compute02": {JOB: "1x30", FLOWS_JOB: "0x30"},
    "compute03": {JOB: "1x30", FLOWS_JOB: "1x30"},
}
"""One that is gone, one whose page of flows is refused, and one that is well."""
SITE: dict[str, Any] = {
    "interval": "1m",
    "input_series": [
        {"series": f'up{{job="{job}", instance="{node}"}}', "values": values}
        for node, jobs in NODES.items()
        for job, values in jobs.items()
    ]
    + [
        {
            "series": f'dataplane_agent_source_{what}{{job="{job}", instance="compute03",'
            f' source="{source}"}}',
            "values": f"{int(what == 'configured' or source == 'ovsdb')}x30",
        }
        for what in ("configured", "up")
        for job in (JOB, FLOWS_JOB)
        for source in ("ovsdb", "libvirt")
    ],
    "promql_expr_test": [
        sampled("sum(job:dataplane_agents:count)", ("{}", 3)),
        sampled("sum(job:dataplane_agents_up:sum)", ("{}", 2)),
        sampled("sum(instance:dataplane_agent_sources_down:count)", ("{}", 1)),
        sampled(
            "sum by (source) (job_source:dataplane_agent_source_down:count)",
            ('{source="ovsdb"}', 0),
            ('{source="libvirt"}', 1),
        ),
        # for those who choose: both are there
        sampled("count by (job) (job:dataplane_agents:count)", *(
            (f'{{job="{job}"}}', 1) for job in (JOB, FLOWS_JOB)
        )),
    ],
    "alert_rule_test": [
        {
            "alertname": "DataplaneAgentMissing",
            "eval_time": "25m",
            "exp_alerts": [missing(JOB, "compute01"), missing(FLOWS_JOB, "compute02")],
        }
    ],
}  # fmt: skip


def test_a_node_counts_once_and_a_page_of_flows_that_does_not_come_is_told(tmp_path: Path) -> None:
    written_to(tmp_path)
    groups = [
        group["name"]
        for name in DEFAULT
        for group in yaml.safe_load((tmp_path / name).read_text())["groups"]
    ]
    file = {"rule_files": list(DEFAULT), "evaluation_interval": "1m", "group_eval_order": groups}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({**file, "tests": [SITE]}))
    promtool("test", "rules", tmp_path / "test.yaml")


# -- boards ----------------------------------------------------------------------------------------


def twice(expr: promql.Expr) -> list[str]:
    """Return selectors of what both jobs show that are not made one before anything else."""
    if isinstance(expr, promql.AggregateExpr) and str(expr.op) in ONE_ROW:
        kept = expr.modifier.labels if expr.modifier else []
        return [] if "job" not in kept else [str(expr)]
    if isinstance(expr, promql.VectorSelector):
        return [str(expr)] if expr.name in IN_BOTH else []
    if isinstance(expr, promql.MatrixSelector):
        return twice(expr.vector_selector)
    if isinstance(expr, promql.BinaryExpr):
        return twice(expr.lhs) + twice(expr.rhs)
    if isinstance(expr, promql.Call):
        return [found for each in expr.args for found in twice(each)]
    inner = getattr(expr, "expr", None)
    return [] if inner is None else twice(inner)


@every_name
def test_a_board_shows_once_what_both_jobs_show(name: str) -> None:
    for question in asked(name):
        assert twice(parsed(question.expr)) == []


BY_JOB = {"instance:dataplane_dropped_packets:rate5m", "instance:dataplane_agent_series:sum"}
"""Of each job its own part: of a node they are added up."""


def test_a_node_of_the_fleet_has_one_line_for_both_jobs() -> None:
    reading = Reading({**emitted(), **recorded()})
    of_nodes = [each for each in asked("fleet") if "instance:" in each.expr]
    assert len(of_nodes) > 5
    for question in of_nodes:
        names = {each.name for each in selectors(parsed(question.expr))}
        if names & BY_JOB:
            assert "job" not in (reading.of(parsed(question.expr)).labels or ())
            assert "sum by (cluster, instance)" in question.expr


@pytest.mark.parametrize(
    "expr",
    [
        "dataplane_agent_source_up",
        "rate(dataplane_agent_events_total[5m])",
        "sum by (source) (dataplane_agent_source_up)",
        "count(max by (job, instance) (dataplane_agent_build_info))",
        "topk(3, dataplane_agent_source_up == bool 0)",
    ],
)
def test_what_would_be_there_twice_is_seen(expr: str) -> None:
    assert twice(promql.parse(expr))
