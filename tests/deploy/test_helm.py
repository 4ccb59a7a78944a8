"""The chart is what Helm and Kubernetes take, and refuses values that are not there."""

import base64
import gzip
import os
import re
import tarfile
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate.utils import all_versions

from dashboards.build import CHART as FILES
from lab import helm, helm_chart
from lab.helm_chart import CHART
from tests.deploy import chart
from tests.deploy.chart import BY_VALUES, IMAGE, VALUES, Object, require_helm

GOLDEN = Path(__file__).parent / "golden"
OLDEST, NEWEST = all_versions()[0], all_versions()[-1]
CUSTOM = {"PodMonitor", "PrometheusRule"}
SECRET_BYTES = 1 << 20
"""Of a Secret or a ConfigMap, and what a release of Helm is kept in."""


class Readable(yaml.SafeDumper):
    """Writes lines as lines."""


Readable.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def shortened(each: Object) -> Object:
    """Leave out what other tests compare with its source: dashboards and rules."""
    data = each.get("data", {})
    for name in [name for name in data if name.endswith(".json")]:
        data[name] = "(dashboards/json)"
    for group in each.get("spec", {}).get("groups", []):
        group["rules"] = f"({len(group['rules'])} rules)"
    return each


@BY_VALUES
def test_lint_says_nothing_but_that_there_is_no_icon(name: str) -> None:
    require_helm()
    found = helm.lint(CHART, chart.text_of(name))
    assert found == ["info Chart.yaml: icon is recommended"]


@BY_VALUES
def test_renders_what_its_golden_file_says(name: str) -> None:
    documents = [shortened(each) for each in chart.objects(chart.text_of(name))]
    rendered = yaml.dump_all(documents, Dumper=Readable, sort_keys=False, width=100)
    golden = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.write_text(rendered)
    assert rendered == golden.read_text()


def test_there_is_no_golden_file_without_values() -> None:
    assert sorted(path.stem for path in GOLDEN.iterdir()) == VALUES


@BY_VALUES
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_knows_every_field(name: str, version: str) -> None:
    own = [each for each in chart.objects(chart.text_of(name)) if each["kind"] not in CUSTOM]
    assert {"DaemonSet", "ConfigMap", "ServiceAccount"} <= {each["kind"] for each in own}
    for each in own:
        kubernetes_validate.validate(each, version, strict=True)


def test_the_schemas_of_kubernetes_refuse_a_field_that_is_not_there() -> None:
    (daemonset,) = chart.of_kind(IMAGE, "DaemonSet")
    daemonset["spec"]["template"]["spec"]["hostPid"] = True
    with pytest.raises(kubernetes_validate.ValidationError, match="hostPid"):
        kubernetes_validate.validate(daemonset, NEWEST, strict=True)


def test_the_chart_wants_the_oldest_release_that_it_is_checked_against() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    oldest = ".".join(OLDEST.split(".")[:2])
    newest = ".".join(NEWEST.split(".")[:2])
    assert about["kubeVersion"] == f">={oldest}.0-0"
    assert f"{oldest} to {newest}" in (CHART / "Chart.yaml").read_text()


def test_the_chart_has_the_version_of_the_agent() -> None:
    project = tomllib.loads((CHART.parents[2] / "pyproject.toml").read_text())["project"]
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert about["appVersion"] == project["version"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("imgae: {tag: x}", "'imgae' not allowed"),
        ("image: {repo: x}", "'repo' not allowed"),
        ("profile: privileged", "'/profile': value must be one of"),
        ("port: 0", "'/port': minimum"),
        ("extraArgs: [log.level=debug]", "'/extraArgs/0'"),
        ("nodeSelector: {enabled: true}", "'/nodeSelector/enabled': got boolean, want string"),
        ("prometheus: {podMonitor: {interval: 15}}", "got number, want string"),
        ("prometheus: {podMonitor: {scrapeTimout: 5s}}", "'scrapeTimout' not allowed"),
        ("prometheus: {podMonitor: {flows: {interval: 1 m}}}", "does not match pattern"),
        ("prometheusRule: {runbookUrl: docs}", "does not match pattern"),
        ("config: {flow: {mode: all}}", "'flow' not allowed"),
        ("config: {flows: {mode: some}}", "'/config/flows/mode'"),
        ("config: {flows: {select: [{brigde: br-int}]}}", "'brigde' not allowed"),
        ("config: {limits: {series: 1}}", "minimum"),
        ("config: {ovn: {databases: {northbund: x}}}", "'northbund' not allowed"),
    ],
)
def test_refuses_what_is_not_a_value(values: str, said: str) -> None:
    require_helm()
    with pytest.raises(helm.HelmError) as refused:
        helm.render(CHART, IMAGE + values)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("{}", "image.repository: where the image"),
        (IMAGE + 'config: {web: {listen_address: [":1"]}}', "set port and listenOnAllInterfaces"),
        (
            IMAGE + "config: {web: {config_file: /x}}\nwebConfig: {existingSecret: x}",
            "webConfig.existingSecret says it already",
        ),
    ],
)
def test_says_what_it_cannot_do(values: str, said: str) -> None:
    require_helm()
    with pytest.raises(helm.HelmError) as refused:
        helm.render(CHART, values)
    assert said in str(refused.value)


def test_takes_what_a_parent_chart_hands_down() -> None:
    values = IMAGE + "enabled: true\nglobal: {imageRegistry: mirror.example.com, other: {a: 1}}\n"
    image = chart.container(values)["image"]
    assert image.startswith("mirror.example.com/registry.example.com/dataplane-agent:")


@pytest.mark.parametrize("name", helm_chart.written(), ids=lambda path: path.name)
def test_what_is_written_from_the_values_is_up_to_date(name: Path) -> None:
    assert name.read_text() == helm_chart.written()[name], "run: make docs"


def test_every_sample_of_the_readme_is_taken() -> None:
    samples = re.findall(r"```yaml\n(.*?)```", (CHART / "README.md").read_text(), re.DOTALL)
    *of_values, of_another_chart = samples
    assert of_another_chart.startswith("relabelings:")
    assert len(of_values) >= 5
    for sample in of_values:
        assert chart.of_kind(IMAGE + sample, "DaemonSet")


def test_a_changed_configuration_is_a_new_pod_and_another_value_is_none() -> None:
    def checksum(values: str) -> str:
        (daemonset,) = chart.of_kind(IMAGE + values, "DaemonSet")
        found: str = daemonset["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
        return found

    assert checksum("config: {log: {level: debug}}") != checksum("")
    assert checksum("dashboards: {enabled: true}") == checksum("")


def test_a_release_fits_into_the_secret_that_helm_keeps_it_in(tmp_path: Path) -> None:
    require_helm()
    archive = helm.package(CHART, tmp_path)
    manifest = "".join(chart.pages(chart.text_of("everything")).values()).encode()
    kept = base64.b64encode(archive.read_bytes() + gzip.compress(manifest))
    assert len(kept) < SECRET_BYTES // 2


def test_what_is_only_for_tests_is_not_packed(tmp_path: Path) -> None:
    require_helm()
    with tarfile.open(helm.package(CHART, tmp_path)) as archive:
        names = {name.removeprefix("dataplane-agent/") for name in archive.getnames()}
    assert {"Chart.yaml", "README.md", "values.schema.json", "templates/daemonset.yaml"} <= names
    assert {f"files/{path.relative_to(FILES)}" for path in FILES.glob("*/*")} <= names
    assert not {name for name in names if name.startswith("ci/") or name.endswith(".in")}
