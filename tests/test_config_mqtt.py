"""The settings of MQTT: what becomes a topic, what goes with what, and the node's own name."""

import platform
from pathlib import Path

import pytest

from agent.config import ConfigError, Settings, load
from agent.events_side import node_name, require_library
from agent.sections_mqtt import Mqtt, MqttTls

LONG = "n" * 201


def loaded(tmp_path: Path, mqtt: str) -> Settings:
    file = tmp_path / "agent.yaml"
    file.write_text(f"mqtt: {mqtt}\n")
    return load(file, {}, {})


def test_nothing_is_published_by_default() -> None:
    assert Settings().mqtt.host is None


@pytest.mark.parametrize(
    ("settings", "port"),
    [
        ("{host: a}", 1883),
        ("{host: a, tls: {enabled: true}}", 8883),
        ("{host: a, port: 1, tls: {enabled: true}}", 1),
    ],
)
def test_the_port_is_the_usual_one_unless_it_is_set(
    tmp_path: Path, settings: str, port: int
) -> None:
    assert loaded(tmp_path, settings).mqtt.broker_port == port


def test_every_setting_can_come_from_the_environment() -> None:
    env = {
        "HOST": "broker.example",
        "PORT": "1884",
        "USERNAME": "a",
        "PASSWORD_FILE": "/p",
        "TLS__ENABLED": "true",
        "TLS__CA_CERTIFICATE": "/ca",
        "TLS__CERTIFICATE": "/c",
        "TLS__PRIVATE_KEY": "/k",
        "TLS__INSECURE": "false",
        "PREFIX": "site/dataplane",
        "NODE": "compute01",
        "CLIENT_ID": "c",
        "QOS": "2",
        "KEEPALIVE_SECONDS": "60",
        "TIMEOUT_SECONDS": "2.5",
        "QUEUE": "100",
    }
    mqtt = load(
        None, {f"DATAPLANE_AGENT_MQTT__{name}": text for name, text in env.items()}, {}
    ).mqtt
    assert (mqtt.port, mqtt.qos, mqtt.tls.enabled, mqtt.timeout_seconds) == (1884, 2, True, 2.5)
    assert len(env) == len(Mqtt.model_fields) + len(MqttTls.model_fields) - 1


@pytest.mark.parametrize("host", ["broker.example", "192.0.2.1", "fd00::1", "fe80::1%eth0"])
def test_a_broker_has_a_name_or_an_address(tmp_path: Path, host: str) -> None:
    assert loaded(tmp_path, f"{{host: '{host}'}}").mqtt.host == host


@pytest.mark.parametrize("prefix", ["dataplane", "site/room 1/dataplane", "é"])
def test_topics_may_begin_with_several_levels(tmp_path: Path, prefix: str) -> None:
    assert loaded(tmp_path, f"{{prefix: '{prefix}'}}").mqtt.prefix == prefix


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("{host: 'mqtt://broker'}", "mqtt.host: 'mqtt://broker' is neither a host's name nor"),
        ("{host: ''}", "mqtt.host: "),
        ("{prefix: '$SYS'}", "mqtt.prefix: topics that begin with \\$ are the broker's own"),
        ("{prefix: ''}", "mqtt.prefix: a level of the topic is empty"),
        ("{prefix: '/a'}", "mqtt.prefix: a level of the topic is empty"),
        ("{prefix: 'a//b'}", "mqtt.prefix: a level of the topic is empty"),
        ("{prefix: 'a/#'}", "mqtt.prefix: must not have '#'"),
        ("{prefix: '+'}", "mqtt.prefix: must not have '\\+'"),
        ('{prefix: "a\\0b"}', "mqtt.prefix: must not have '\\\\x00'"),
        ("{node: 'a/b'}", "mqtt.node: empty, or has a /"),
        ("{node: ''}", "mqtt.node: empty, or has a /"),
        ("{node: 'a+b'}", "mqtt.node: must not have '\\+'"),
        ("{node: '#'}", "mqtt.node: must not have '#'"),
        ('{node: "a\\nb"}', "mqtt.node: must not have '\\\\n'"),
        (f"{{node: {LONG}}}", "mqtt.node: longer than 200 characters"),
        ("{client_id: ''}", "mqtt.client_id: empty"),
        ("{username: ''}", "mqtt.username: empty, or not printable"),
        ("{password_file: /p}", "mqtt: password_file needs username"),
        ("{tls: {enabled: true, certificate: /c}}", "private_key and certificate go together"),
        ("{tls: {ca_certificate: /c}}", "enabled is false: none of this would be used"),
        (
            "{tls: {enabled: true, insecure: true, ca_certificate: /c}}",
            "ca_certificate would not be used",
        ),
        ("{qos: 3}", "mqtt.qos"),
        ("{queue: 10}", "mqtt.queue: Input should be greater than or equal to 100"),
        ("{queue: 100001}", "mqtt.queue: Input should be less than or equal to 100000"),
        ("{port: 0}", "mqtt.port"),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, settings: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        loaded(tmp_path, settings)


def test_a_password_in_the_settings_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as told:
        loaded(tmp_path, "{password: s3cret}")
    assert told.value.problems == ["mqtt.password: no such setting"]


def test_the_node_is_called_as_its_host_unless_it_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "node", lambda: "compute01.example")
    assert node_name(loaded(tmp_path, "{host: a}")) == "compute01.example"
    assert node_name(loaded(tmp_path, "{host: a, node: compute01}")) == "compute01"


@pytest.mark.parametrize("name", ["a/b", "a+b", "#", ""])
def test_a_host_whose_name_cannot_be_part_of_a_topic_needs_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(platform, "node", lambda: name)
    with pytest.raises(ConfigError, match=r"mqtt\.node: the host name .* cannot be part"):
        require_library(loaded(tmp_path, "{host: a}"))
    require_library(loaded(tmp_path, "{host: a, node: compute01}"))
    require_library(loaded(tmp_path, "{}"))
