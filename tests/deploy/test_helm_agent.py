"""What the chart gives the agent is what the agent takes, and probes see it alive."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from agent import cli, config
from lab.agent import PROGRAM
from lab.process import Daemon, free_port, wait_until
from tests.deploy import chart
from tests.deploy.chart import BY_VALUES, IMAGE
from tests.deploy.mounted import Mounted
from tests.exposition.pki import Pki

PROBES = ("livenessProbe", "readinessProbe")
PROBE_USER = "probe: $2b$04$UY0Xy3E8eHbVOd8tTLiLaOjYeo.f3Lh9wMmEkUdTRrNI2ltpI0oii"
"""As `htpasswd -nBC 4 probe` writes it, of the password in ci/users-values.yaml."""
NO_SWITCH = "config: {ovs: {enabled: false}, libvirt: {enabled: false}}\n"
"""The tests' own machine is nobody's compute node."""


def settings(values: str, directory: Path) -> config.Settings:
    """Read the settings as the process in the container does."""
    mounted = Mounted(values, directory)
    options = cli._parser().parse_args(mounted.args)
    assert options.command == "run"
    return config.load(options.config_file, mounted.env, cli._flags(options))


@contextmanager
def running(mounted: Mounted) -> Iterator[Daemon]:
    """Run the container's command."""
    log = mounted.directory / "agent.log"
    daemon = Daemon([str(PROGRAM), *mounted.args], log, mounted.env)
    try:
        wait_until(lambda: "ready" in _alive(daemon).log.read_text(), timeout=30, what="the agent")
        yield daemon
    finally:
        daemon.stop(timeout=15)


def _alive(daemon: Daemon) -> Daemon:
    daemon.require_alive()
    return daemon


def on_a_free_port(values: str) -> str:
    """Let the chart have a port that nobody has on this machine."""
    loaded = yaml.safe_load(values)
    loaded["port"] = free_port()
    loaded["config"] = yaml.safe_load(NO_SWITCH)["config"]
    return yaml.safe_dump(loaded)


@BY_VALUES
def test_the_agent_takes_its_configuration_and_flags(name: str, tmp_path: Path) -> None:
    values = chart.text_of(name)
    found = settings(values, tmp_path)
    port = yaml.safe_load(values).get("port", 10978)
    (address,) = found.web.listen_address
    assert address in (f"[127.0.0.1]:{port}", f":{port}")


def test_the_agent_has_what_the_values_say(tmp_path: Path) -> None:
    found = settings(chart.text_of("everything"), tmp_path)
    assert found.flows.mode == "off"
    assert [rule.cookie for rule in found.flows.select] == [(0x10, 0xF0), None]
    assert found.limits.openflow_reply_bytes == 268435456
    assert found.limits.series == 100000
    assert found.log.level == "debug"
    assert "qdisc" not in found.enabled()
    assert "address" in found.enabled()
    assert str(found.web.config_file).endswith("/web/web.yaml")


@pytest.mark.parametrize(
    ("settings", "added", "sees_processes"),
    [
        ("", {"NET_ADMIN", "DAC_OVERRIDE", "SYS_ADMIN"}, True),
        ("{ovs: {enabled: false}}", {"NET_ADMIN", "DAC_OVERRIDE", "SYS_ADMIN"}, True),
        ("{ovs: {enabled: false}, ovn: {enabled: false}}", {"NET_ADMIN", "SYS_ADMIN"}, False),
        ("{namespaces: {include: []}}", {"NET_ADMIN", "DAC_OVERRIDE"}, True),
        (
            "{ovs: {enabled: false}, ovn: {enabled: false, databases: {southbound: 'unix:/s'}}}",
            {"NET_ADMIN", "DAC_OVERRIDE", "SYS_ADMIN"},
            True,
        ),
    ],
)
def test_what_is_switched_off_has_no_rights(
    settings: str, added: set[str], *, sees_processes: bool
) -> None:
    values = IMAGE + (f"config: {settings}" if settings else "")
    assert set(chart.container(values)["securityContext"]["capabilities"]["add"]) == added
    assert chart.pod(values)["hostPID"] == sees_processes


def test_the_secret_of_the_broker_is_where_the_settings_look_for_it(tmp_path: Path) -> None:
    values = chart.text_of("everything")
    mqtt = settings(values, tmp_path).mqtt
    (mount,) = (each for each in chart.container(values)["volumeMounts"] if each["name"] == "mqtt")
    for file in (mqtt.password_file, mqtt.tls.ca_certificate):
        assert file is not None
        assert str(file.parent) == mount["mountPath"]


def test_large_numbers_are_taken_as_older_releases_of_helm_write_them(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("limits: {openflow_reply_bytes: 2.68435456e+08}")
    assert config.load(file, {}, {}).limits.openflow_reply_bytes == 268435456


def test_without_capabilities_no_namespace_is_missed(tmp_path: Path) -> None:
    assert settings(chart.text_of("least"), tmp_path).namespaces.include == []


def test_paths_of_the_settings_are_where_the_run_directory_is_mounted(tmp_path: Path) -> None:
    values = chart.text_of("everything")
    found = settings(values, tmp_path)
    (mount,) = (each for each in chart.container(values)["volumeMounts"] if each["name"] == "run")
    for path in (found.ovs.rundir, found.ovn.rundir, found.namespaces.directory):
        assert path.is_relative_to(mount["mountPath"])
    defaults = config.Settings()
    (mount,) = (each for each in chart.container(IMAGE)["volumeMounts"] if each["name"] == "run")
    for path in (defaults.ovs.rundir, defaults.ovn.rundir, defaults.namespaces.directory):
        assert path.is_relative_to(mount["mountPath"])


def test_probes_and_both_endpoints_are_answered(tmp_path: Path) -> None:
    values = on_a_free_port(
        IMAGE + "prometheus: {podMonitor: {enabled: true, flows: {enabled: true}}}"
    ).replace("enabled: false", "enabled: true")  # every collector that the endpoints name is on
    mounted = Mounted(values, tmp_path)
    (monitor,) = chart.of_kind(values, "PodMonitor")
    with running(mounted):
        assert all(mounted.probe(name) for name in PROBES)
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            query = urlencode(endpoint["params"], doseq=True)
            assert mounted.get(f"{endpoint['path']}?{query}") == 200


def test_probes_speak_tls_where_the_agent_does(tmp_path: Path) -> None:
    values = on_a_free_port(chart.text_of("tls"))
    mounted = Mounted(values, tmp_path / "etc", web_files(tmp_path, {}))
    with running(mounted):
        assert all(mounted.probe(name) for name in PROBES)


def test_probes_pass_where_users_are_wanted(tmp_path: Path) -> None:
    values = on_a_free_port(chart.text_of("users"))
    files = web_files(tmp_path, {"basic_auth_users": dict([PROBE_USER.split(": ")])})
    mounted = Mounted(values, tmp_path / "etc", {"web-config.yml": files.pop("web.yaml"), **files})
    with running(mounted):
        assert all(mounted.probe(name) for name in PROBES)
        without = mounted.container["livenessProbe"]
        del without["httpGet"]["httpHeaders"]
        assert not mounted.probe("livenessProbe", without)


def test_probes_pass_where_client_certificates_are_wanted(tmp_path: Path) -> None:
    web = "webConfig: {existingSecret: web, tls: true, authentication: true}\n"
    values = on_a_free_port(IMAGE + web)
    wanted = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "tls.crt"}
    mounted = Mounted(values, tmp_path / "etc", web_files(tmp_path, {"tls_server_config": wanted}))
    with running(mounted):
        assert all(mounted.probe(name) for name in PROBES)
        with pytest.raises(OSError, match=r"(?i)certificate|reset|EOF|closed"):
            mounted.get("/healthz", "HTTPS")


def web_files(directory: Path, more: dict[str, Any]) -> dict[str, str | bytes]:
    """Make the Secret of a web configuration: TLS, and what is given on top."""
    made = directory / "pki"
    made.mkdir()
    identity = Pki(made).authority()
    written: dict[str, Any] = {"tls_server_config": {"cert_file": "tls.crt", "key_file": "tls.key"}}
    for key, value in more.items():
        written[key] = {**written.get(key, {}), **value}
    return {
        "web.yaml": yaml.safe_dump(written),
        "tls.crt": identity.cert.read_bytes(),
        "tls.key": identity.key.read_bytes(),
    }
