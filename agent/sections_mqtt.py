"""The section ``mqtt`` of the configuration: where events go."""

import re
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from agent.sections import Section

PLAIN_PORT, TLS_PORT = 1883, 8883
"""IANA's mqtt and secure-mqtt."""
MAX_CHARACTERS = 200
"""Of the parts of a topic; a topic may have 65,535 bytes."""

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What topics must or should not have, MQTT 5.0 section 1.5.4."""


class MqttTls(Section):
    """TLS to the broker."""

    enabled: bool = Field(default=False, description="Whether the broker is spoken to in TLS.")
    ca_certificate: Path | None = Field(
        None, description="Who signs the broker's certificate, PEM; default: the system's CAs."
    )
    certificate: Path | None = Field(None, description="The agent's own certificate, PEM.")
    private_key: Path | None = Field(None, description="Its key, PEM, without a passphrase.")
    insecure: bool = Field(
        default=False,
        description="Take any certificate: whoever is in between reads and forges everything.",
    )

    @model_validator(mode="after")
    def _together(self) -> "MqttTls":
        if (self.private_key is None) != (self.certificate is None):
            raise ValueError("private_key and certificate go together")
        if not self.enabled and (self.ca_certificate or self.certificate or self.insecure):
            raise ValueError("enabled is false: none of this would be used")
        if self.insecure and self.ca_certificate:
            raise ValueError("insecure takes any certificate: ca_certificate would not be used")
        return self


class Mqtt(Section):
    """A broker that gets an event whenever something changes on the node. Off without host."""

    host: str | None = Field(
        None, description="The broker's name or address; needs the extra mqtt (aiomqtt)."
    )
    port: int | None = Field(
        None, ge=1, le=65535, description=f"Default {PLAIN_PORT}, with TLS {TLS_PORT}."
    )
    username: str | None = Field(None, description="Who the agent is to the broker.")
    password_file: Path | None = Field(
        None,
        description=(
            "File with the password, read at each connection; a line feed at its end is not part"
            " of it. The password itself is no setting."
        ),
    )
    tls: MqttTls = Field(MqttTls(), description=MqttTls.__doc__)
    prefix: str = Field(
        "dataplane", description="Topics begin with it: <prefix>/<node>/event/<kind>."
    )
    node: str | None = Field(None, description="The node's name in topics; default its host name.")
    client_id: str | None = Field(
        None, max_length=MAX_CHARACTERS, description="Default dataplane-agent-<node>."
    )
    qos: int = Field(
        1,
        ge=0,
        le=2,
        description=(
            "0: at most once: what is on its way when a connection breaks is lost; 1: at least"
            " once; 2: as 1, and once for each connection."
        ),
    )
    keepalive_seconds: int = Field(
        30,
        ge=5,
        le=3600,
        description=(
            "Silence before the broker is asked for a sign of life; after one and a half times that"
            " it publishes that the agent is offline."
        ),
    )
    timeout_seconds: float = Field(
        5.0,
        gt=0,
        le=60,
        description="How long the broker may take for one answer, and for a connection.",
    )
    queue: int = Field(
        1000,
        ge=100,
        le=100_000,
        description="Events kept while they cannot be sent, 1 kB each; beyond it the oldest go.",
    )

    @field_validator("host")
    @classmethod
    def _host(cls, host: str | None) -> str | None:
        if host is not None and not re.fullmatch(r"[A-Za-z0-9._:%-]{1,253}", host):
            raise ValueError(f"{host!r} is neither a host's name nor an address")
        return host

    @field_validator("prefix")
    @classmethod
    def _prefix(cls, prefix: str) -> str:
        if prefix.startswith("$"):
            raise ValueError("topics that begin with $ are the broker's own")
        if not all(prefix.split("/")):
            raise ValueError("a level of the topic is empty")
        _check_topic(prefix)
        return prefix

    @field_validator("username")
    @classmethod
    def _username(cls, name: str | None) -> str | None:
        if name is not None and (not name or _UNPRINTABLE.search(name)):
            raise ValueError("empty, or not printable")
        return name

    @field_validator("node", "client_id")
    @classmethod
    def _name(cls, name: str | None) -> str | None:
        if name is not None:
            _check_topic(name)
            if "/" in name or not name:
                raise ValueError("empty, or has a /")
        return name

    @model_validator(mode="after")
    def _user(self) -> "Mqtt":
        if self.password_file and self.username is None:
            raise ValueError("password_file needs username")
        return self

    @property
    def broker_port(self) -> int:
        """The port that is connected to."""
        return self.port or (TLS_PORT if self.tls.enabled else PLAIN_PORT)


def _check_topic(part: str) -> None:
    if len(part) > MAX_CHARACTERS:
        raise ValueError(f"longer than {MAX_CHARACTERS} characters")
    if wrong := re.search(r"[+#]", part) or _UNPRINTABLE.search(part):
        raise ValueError(f"must not have {wrong[0]!r}")
