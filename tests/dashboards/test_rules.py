"""The rules are what the code writes, ask for what there is, and speak when they should.

What they say of data is in dashboards/rules/tests, which promtool runs: here only that it is all
there.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from dashboards.rules_source import DEFAULT, Settings, rules
from dashboards.rules_source.inhibit import INHIBITIONS
from tests.dashboards.meaning import GROWTH, TARGET, Metric, Reading, emitted, recorded, selectors
from tests.dashboards.test_boards import QUESTIONS, parsed

ROOT = Path(__file__).parents[2]
RULES, DOCS = ROOT / "dashboards" / "rules", ROOT / "docs"
LOADED = (*DEFAULT, "migration.yaml")
"""What Prometheus can load; inhibit.example.yaml is Alertmanager's."""
PROMETHEUS_OWN = {
    "up": Metric(TARGET, "count"),
    "scrape_duration_seconds": Metric(TARGET, "s"),
}
OF_THE_FLEET = {"DataplaneTunnelPeerDown", "DataplaneTunnelPeerMissing"}
"""Alerts of an address that many nodes have to do with, which have no instance."""
OTHER_SITE = Settings(
    job='job=~"edge|core"',
    window="10m",
    runbook_base="https://runbooks.example.com/",
    deadline_seconds=4,
    scrape_interval="60s",
)
OF_DEVICES = {
    name: metric
    for name, metric in emitted().items()
    if name.startswith(("ovs_interface_", "netns_network_", "libvirt_domain_interface_"))
}
READINGS_OF_A_GROUP, FEW_READINGS = 12, 1
QUERY = re.compile(r"^ *```promql\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`([a-z_:0-9]+)`")
Rule = dict[str, Any]


def loaded(name: str) -> Any:
    return yaml.safe_load((RULES / name).read_text())


def rules_of(name: str) -> list[Rule]:
    return [rule for group in loaded(name)["groups"] for rule in group["rules"]]


ALERTS = rules_of("alerts.yaml")
NAMES = sorted({alert["alert"] for alert in ALERTS})
TESTS = sorted((RULES / "tests").glob("*.yaml"))
README = (RULES / "README.md").read_text()
RUNBOOKS = sorted((DOCS / "runbooks").glob("*.md"))

every_alert = pytest.mark.parametrize(
    "alert", ALERTS, ids=lambda alert: f"{alert['alert']}-{alert['labels']['severity']}"
)
every_name = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def known() -> dict[str, Metric]:
    """All that a rule can ask for."""
    return {**emitted(), **recorded(), **PROMETHEUS_OWN}


def promtool(*arguments: str | Path) -> None:
    found = shutil.which("promtool")
    assert found, "promtool is part of Debian's prometheus package: make setup"
    run = subprocess.run([found, *map(str, arguments)], check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def cases() -> Iterator[tuple[str, str, list[Rule]]]:
    """Yield (test, alert, what it is expected to say) of every question in every test file."""
    for path in TESTS:
        for test in loaded(f"tests/{path.name}")["tests"]:
            for case in test.get("alert_rule_test", []):
                yield f"{path.name}: {test['name']}", case["alertname"], case["exp_alerts"] or []


@pytest.mark.parametrize("name", rules(Settings()))
def test_a_file_is_what_the_code_writes(name: str) -> None:
    assert (RULES / name).read_text() == rules(Settings())[name]


@pytest.mark.parametrize("name", LOADED)
def test_promtool_accepts_a_file(name: str) -> None:
    promtool("check", "rules", RULES / name)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_rules_say_what_their_tests_expect(path: Path) -> None:
    promtool("test", "rules", path)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_what_is_compared_is_evaluated_first(path: Path) -> None:
    """promtool takes groups that are not named in any order, and what it finds is then chance."""
    test = loaded(f"tests/{path.name}")
    groups = [
        group["name"]
        for file in test["rule_files"]
        for group in loaded(Path(file).name)["groups"]
        if "migration" not in file
    ]
    assert test.get("group_eval_order", []) == groups


def test_a_site_writes_its_own_rules_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dashboards.rules_source", "--to", str(tmp_path / "rules")]
    more = ["--job", OTHER_SITE.job, "--window", "10m", "--deadline-seconds", "4"]
    environment = {**os.environ, "RUNBOOK_BASE": OTHER_SITE.runbook_base}
    subprocess.run(
        [*command, *more, "--scrape-interval", "60s"], check=True, cwd=ROOT, env=environment
    )
    written = {path.name: path.read_text() for path in (tmp_path / "rules").iterdir()}
    assert written == rules(OTHER_SITE)


def test_another_site_has_its_own_settings_in_every_rule(tmp_path: Path) -> None:
    written = rules(OTHER_SITE)
    for name in LOADED:
        (tmp_path / name).write_text(written[name])
        promtool("check", "rules", tmp_path / name)
        assert "rate5m" not in written[name]
        assert 'job="dataplane-agent"' not in written[name]
    for group in yaml.safe_load(written["alerts.yaml"])["groups"]:
        for rule in group["rules"]:
            url = f"https://runbooks.example.com/docs/runbooks/{rule['alert']}.md"
            assert rule["annotations"]["runbook_url"] == url
    assert 'scrape_duration_seconds{job=~"edge|core"} / 4' in written["recording.yaml"]
    assert "[10m]" in written["recording.yaml"]
    assert "interval: 60s" in written["migration.yaml"]


def test_no_group_reads_the_counters_of_all_devices_too_often() -> None:
    """Prometheus evaluates the rules of a group one after the other: 1,000 nodes have a minute."""
    of_devices = {name for name, metric in OF_DEVICES.items() if metric.counter}
    read = {
        group["name"]: sum(
            len({str(x) for x in selectors(promql.parse(rule["expr"])) if x.name in of_devices})
            for rule in group["rules"]
        )
        for group in loaded("recording.yaml")["groups"]
    }
    intervals = {
        group["name"]: group.get("interval") for group in loaded("recording.yaml")["groups"]
    }
    assert max(read.values()) <= READINGS_OF_A_GROUP
    for name, readings in read.items():
        assert readings <= FEW_READINGS or intervals[name] in {"1m", "2m"}, name


def test_every_record_is_asked_for() -> None:
    """By a board, an alert, another rule or a runbook: each is a series of every node."""
    rules = [*rules_of("recording.yaml"), *ALERTS]
    asked = {
        *(found.name for rule in rules for found in selectors(promql.parse(rule["expr"]))),
        *(found.name for each in QUESTIONS for found in selectors(parsed(each.expr))),
        *re.findall(r"\w+:\w+:\w+", "".join(path.read_text() for path in RUNBOOKS)),
    }
    assert {rule["record"] for rule in rules_of("recording.yaml")} <= asked


@every_alert
def test_an_alert_has_a_severity_a_text_with_a_number_and_a_runbook(alert: Rule) -> None:
    assert alert["alert"].startswith("Dataplane")
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    notes = alert["annotations"]
    assert notes["runbook_url"] == f"docs/runbooks/{alert['alert']}.md"
    assert re.search(r"\bfirst\b|\bFirst\b", notes["description"]), "what to look at first"
    assert "for" in alert


@every_alert
def test_an_alert_asks_for_what_there_is_and_says_of_which_node(
    alert: Rule, known: dict[str, Metric]
) -> None:
    given = Reading(known).of(promql.parse(alert["expr"]))
    wanted = TARGET - ({"instance"} if alert["alert"] in OF_THE_FLEET else set())
    assert given.labels is not None
    assert wanted <= given.labels
    named = {*re.findall(r"\$labels\.(\w+)", str(alert["annotations"]))}
    assert named <= given.labels | alert["labels"].keys()


@pytest.mark.parametrize("rule", rules_of("migration.yaml"), ids=lambda rule: rule["record"])
def test_an_old_name_is_recorded_from_what_there_is_and_is_not_ours(
    rule: Rule, known: dict[str, Metric]
) -> None:
    assert rule["record"] not in known
    expr = promql.parse(rule["expr"])
    assert not GROWTH & set(re.findall(r"\b\w+(?=\()", rule["expr"])), "no rates"
    for selector in selectors(expr):
        assert selector.name in known
        matchers = {matcher.name for matcher in selector.matchers.matchers}
        assert matchers <= known[selector.name].labels


@every_name
def test_an_alert_speaks_of_the_fault_and_is_silent_without_it(name: str) -> None:
    of_name = [(test, said) for test, alert, said in cases() if alert == name]
    spoken = {alert["exp_labels"]["severity"] for _, said in of_name for alert in said}
    assert spoken == {each["labels"]["severity"] for each in ALERTS if each["alert"] == name}
    for _, said in of_name:
        for alert in said:
            assert alert["exp_annotations"].keys() == {"summary", "description", "runbook_url"}
    loud = {test for test, said in of_name if said}
    assert {test for test, _ in of_name} - loud, "no test in which it is silent throughout"
    before = Counter(test for test, said in of_name if test in loud and not said)
    assert before, "no test in which it is silent before it has lasted"


def test_every_alert_of_a_test_exists() -> None:
    assert {alert for _, alert, _ in cases()} == set(NAMES)


def test_the_list_of_alerts_is_that_of_the_rules() -> None:
    listed = re.findall(r"^\| (Dataplane\w+) \| ([^|]+) \|", README, re.MULTILINE)
    order = ("warning", "critical", "info")
    found: dict[str, set[str]] = {name: set() for name in NAMES}
    for alert in ALERTS:
        found[alert["alert"]].add(alert["labels"]["severity"])
    assert dict(listed) == {
        name: ", ".join(sorted(severities, key=order.index)) for name, severities in found.items()
    }


def test_the_list_of_layers_is_that_of_the_rules() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE))
    record = "instance_layer:dataplane_dropped_packets:rate5m"
    layers = {
        rule["labels"]["layer"]
        for rule in rules_of("recording.yaml")
        if rule["record"] in {record, "instance_interface:dataplane_layer:info"}
        and "layer" in rule["labels"]
    }
    assert listed == layers


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert [path.stem for path in RUNBOOKS] == NAMES


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_says_what_to_do_and_asks_for_what_there_is(
    path: Path, known: dict[str, Metric]
) -> None:
    text = path.read_text()
    severities = {each["labels"]["severity"] for each in ALERTS if each["alert"] == path.stem}
    title = text.split("\n", 1)[0]
    assert title.startswith(f"# {path.stem} (")
    assert all(severity in title for severity in severities)
    for part in ("## First five minutes", "## Usual causes", "## When it is harmless"):
        assert part in text
    queries = QUERY.findall(text)
    assert queries
    for query in queries:
        Reading(known).of(promql.parse(query))
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (path.parent / link).is_file(), link


def test_the_page_on_migration_has_every_name_that_is_recorded_and_none_that_is_not_there(
    known: dict[str, Metric],
) -> None:
    text = (DOCS / "migration.md").read_text()
    for rule in rules_of("migration.yaml"):
        event = re.sub(r"^ovs_coverage_(datapath_drop|drop_action)_\w+", "", rule["record"])
        assert not event or f"`{rule['record']}`" in text
    ours = emitted()
    tables = re.findall(r"^\|([^|]+)\|([^|]+)\|([^|]*)\|$", text, re.MULTILINE)
    named = [(old, name) for old, here, _ in tables for name in CODE.findall(here)]
    assert len(named) > len(tables) / 2
    for old, name in named:
        assert name in ours or name in known, f"{old} is not {name}"


def test_inhibitions_name_alerts_that_exist_by_labels_that_they_have(
    known: dict[str, Metric],
) -> None:
    labels = {
        alert["alert"]: (Reading(known).of(promql.parse(alert["expr"])).labels or frozenset())
        | {"alertname", *alert["labels"]}
        for alert in ALERTS
    }
    written = loaded("inhibit.example.yaml")["inhibit_rules"]
    assert len(written) == len(INHIBITIONS)
    for each in written:
        for side in ("source_matchers", "target_matchers"):
            pattern = re.search(r'alertname=~?"([^"]+)"', each[side][0])
            assert pattern
            alerts = [name for name in NAMES if re.fullmatch(pattern[1], name)]
            assert alerts
            for option in pattern[1].split("|"):
                assert any(re.fullmatch(option, name) for name in NAMES), option
            for label in set(each["equal"]) - {"datapath", "netns", "zone", "direction"}:
                assert any(label in labels[name] for name in alerts), label
