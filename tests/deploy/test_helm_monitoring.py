"""What the chart makes for prometheus-operator and Grafana is what they take."""

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from agent import catalogue
from agent.collectors import NAMES
from agent.config import Settings
from dashboards.build import CHART as FILES
from dashboards.build import JSON
from dashboards.rules_source import Settings as Site
from dashboards.rules_source import rules
from tests.deploy import chart
from tests.deploy.chart import BY_VALUES, IMAGE, VALUES, Object

CRDS = Path(__file__).parent / "crds"
MONITOR = IMAGE + "prometheus: {podMonitor: {enabled: true}}\n"
WITH_FLOWS = IMAGE + "prometheus: {podMonitor: {enabled: true, flows: {enabled: true}}}\n"
RULES = IMAGE + "prometheusRule: {enabled: true, migration: true}\n"
OF_OPERATOR = ("namespace", "endpoint", "job", "instance")
"""Labels that the operator gives a target, of those that are left."""
OF_POD = {
    "__meta_kubernetes_pod_node_name": "compute07",
    "namespace": "dataplane",
    "endpoint": "metrics",
    "job": "dataplane/dataplane-agent",
    "pod": "dataplane-agent-x2f5c",
    "container": "dataplane-agent",
}
CONFIGMAP_BYTES = 1 << 20


def is_of_its_crd(each: Object) -> None:
    """Raise jsonschema.ValidationError if it is not."""
    schema = json.loads((CRDS / f"{each['kind'].lower()}.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(each)


def endpoints(values: str) -> list[Any]:
    (monitor,) = chart.of_kind(values, "PodMonitor")
    found: list[Any] = monitor["spec"]["podMetricsEndpoints"]
    return found


def relabeled(endpoint: Object, directory: Path) -> dict[str, str]:
    """Ask Prometheus which labels a target of this endpoint has.

    What the operator makes of an endpoint is repeated here: snake_case, and its labels before.
    """
    names = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    job = {
        "job_name": "podMonitor/dataplane/dataplane-agent/0",
        "metrics_path": endpoint["path"],
        "scheme": endpoint["scheme"],
        "params": endpoint.get("params", {}),
        "static_configs": [{"targets": ["192.0.2.7:10978"], "labels": OF_POD}],
        "relabel_configs": [
            {names.get(key, key): value for key, value in each.items()}
            for each in endpoint["relabelings"]
        ],
    }
    file = directory / "prometheus.yaml"
    file.write_text(yaml.safe_dump({"scrape_configs": [job]}))
    command = ["promtool", "check", "service-discovery", "--timeout=1s", str(file)]
    done = subprocess.run([*command, job["job_name"]], capture_output=True, text=True, check=True)
    (target,) = json.loads(done.stdout)
    return {name: text for name, text in target["labels"].items() if name[:2] != "__"}


def groups(values: str) -> list[Any]:
    found = chart.of_kind(values, "PrometheusRule")
    return [group for each in found for group in each["spec"]["groups"]]


@BY_VALUES
def test_what_the_operator_gets_is_of_its_crds(name: str) -> None:
    for kind in ("PodMonitor", "PrometheusRule"):
        for each in chart.of_kind(chart.text_of(name), kind):
            is_of_its_crd(each)


def test_values_have_both_kinds_somewhere() -> None:
    kinds = {each["kind"] for name in VALUES for each in chart.objects(chart.text_of(name))}
    assert {"PodMonitor", "PrometheusRule"} <= kinds


def test_the_crds_refuse_a_field_that_is_not_there() -> None:
    (monitor,) = chart.of_kind(MONITOR, "PodMonitor")
    monitor["spec"]["podMetricsEndpoints"][0]["scrapeTimout"] = "1s"
    with pytest.raises(jsonschema.ValidationError):
        is_of_its_crd(monitor)


def test_nothing_of_the_operator_or_grafana_is_there_by_default() -> None:
    kinds = {each["kind"] for each in chart.objects(IMAGE)}
    assert kinds == {"ConfigMap", "DaemonSet", "ServiceAccount"}


def test_the_monitor_finds_the_pods_and_their_port() -> None:
    (monitor,) = chart.of_kind(MONITOR, "PodMonitor")
    (daemonset,) = chart.of_kind(MONITOR, "DaemonSet")
    labels = daemonset["spec"]["template"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert monitor["spec"]["namespaceSelector"]["matchNames"] == [
        daemonset["metadata"]["namespace"]
    ]
    (port,) = chart.container(MONITOR)["ports"]
    assert [each["port"] for each in endpoints(MONITOR)] == [port["name"]]


@pytest.mark.usefixtures("prometheus_installed")
def test_an_instance_is_a_node_and_outlives_its_pod(tmp_path: Path) -> None:
    (endpoint,) = endpoints(MONITOR)
    assert relabeled(endpoint, tmp_path) == {
        "namespace": "dataplane",
        "endpoint": "metrics",
        "job": "dataplane-agent",
        "instance": "compute07",
    }


def test_no_series_has_more_labels_than_are_allowed() -> None:
    (monitor,) = chart.of_kind(MONITOR, "PodMonitor")
    most = max(len(family.labels) for _, family in catalogue.families())
    assert most + len(OF_OPERATOR) + len({"__name__", "le"}) <= monitor["spec"]["labelLimit"]
    assert monitor["spec"]["sampleLimit"] > Settings().limits.series


@pytest.mark.usefixtures("prometheus_installed")
def test_flows_are_scraped_by_one_endpoint_and_all_else_by_the_other(tmp_path: Path) -> None:
    fast, slow = endpoints(WITH_FLOWS)
    left_out, taken = fast["params"]["exclude[]"], slow["params"]["collect[]"]
    assert set(left_out) | {"agent"} == set(taken)
    assert set(taken) <= set(NAMES)
    assert [relabeled(each, tmp_path)["job"] for each in (fast, slow)] == [
        "dataplane-agent",
        "dataplane-agent-flows",
    ]
    assert slow["interval"] == "60s"


def test_every_endpoint_has_the_path_of_the_settings() -> None:
    values = WITH_FLOWS + "config: {web: {telemetry_path: /prometheus}}\n"
    assert [each["path"] for each in endpoints(values)] == ["/prometheus"] * 2


@pytest.mark.parametrize(
    ("values", "site"),
    [
        (RULES, Site()),
        (
            RULES + "prometheus: {podMonitor: {jobName: dp, flows: {enabled: true}}}\n",
            Site(job='job=~"dp(-flows)?"'),
        ),
        (
            IMAGE
            + "prometheusRule: {enabled: true, migration: true, runbookUrl: 'https://a.example/b/'}",
            Site(runbook_base="https://a.example/b/"),
        ),
    ],
    ids=["as they are", "with flows apart", "with runbooks"],
)
def test_rules_are_those_of_the_site(values: str, site: Site) -> None:
    wanted = rules(site)
    names = ("recording", "alerts", "migration")
    assert groups(values) == [
        group for name in names for group in yaml.safe_load(wanted[f"{name}.yaml"])["groups"]
    ]


def test_alerts_can_be_left_out_and_labelled() -> None:
    def alerts(values: str) -> dict[str, Object]:
        return {
            f"{rule['alert']} {rule['labels']['severity']}": rule
            for group in groups(values)
            for rule in group["rules"]
            if "alert" in rule
        }

    every, chosen = alerts(RULES), alerts(chart.text_of("everything"))
    assert every.keys() - chosen.keys() == {"DataplaneGuestNotReading info"}
    assert not {"team", "chat"} & {name for rule in every.values() for name in rule["labels"]}
    for rule in chosen.values():
        assert rule["labels"]["team"] == "network"
        assert rule["annotations"]["chat"] == "#network"


@pytest.mark.usefixtures("prometheus_installed")
def test_promtool_takes_the_rules(tmp_path: Path) -> None:
    for each in chart.of_kind(chart.text_of("everything"), "PrometheusRule"):
        file = tmp_path / f"{each['metadata']['name']}.yaml"
        file.write_text(yaml.safe_dump(each["spec"]))
        done = subprocess.run(
            ["promtool", "check", "rules", "--lint-fatal", str(file)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_dashboard_is_a_configmap_that_the_sidecar_finds() -> None:
    values = IMAGE + "dashboards: {enabled: true}\n"
    boards = [
        each for each in chart.of_kind(values, "ConfigMap") if "config.yaml" not in each["data"]
    ]
    names = {each["metadata"]["name"] for each in chart.of_kind(values, "ConfigMap")}
    assert len(names) == len(boards) + 1
    found = {}
    for each in boards:
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert each["metadata"]["annotations"] == {"grafana_folder": "Dataplane"}
        assert len(json.dumps(each)) < CONFIGMAP_BYTES // 2
        found |= {name: json.loads(text) for name, text in each["data"].items()}
    assert found == {
        f"dataplane-{path.name}": json.loads(path.read_text()) for path in JSON.iterdir()
    }


def test_the_chart_has_nothing_but_copies() -> None:
    for path in FILES.glob("*/*"):
        folder = "json" if path.parent.name == "dashboards" else "rules"
        assert path.read_bytes() == (JSON.parent / folder / path.name).read_bytes()


@pytest.mark.parametrize("key", ["web", "mqtt"])
def test_secrets_are_mounted_read_only_and_for_nobody_else(key: str) -> None:
    values = chart.text_of("everything")
    (volume,) = (each for each in chart.pod(values)["volumes"] if each["name"] == key)
    assert volume["secret"] == {"secretName": f"dataplane-agent-{key}", "defaultMode": 0o400}
    (mount,) = (each for each in chart.container(values)["volumeMounts"] if each["name"] == key)
    assert mount == {"name": key, "mountPath": f"/etc/dataplane-agent/{key}", "readOnly": True}
