"""The configuration: defaults, types and documentation in one place.

YAML < environment (``DATAPLANE_AGENT_`` and ``__`` between levels) < flags. Unknown keys and bad
values are all found at once, before anything is opened.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError
from pydantic_settings.sources import PydanticBaseSettingsSource

from agent.addresses import check_rundir, parse_address, parse_remote
from agent.collectors import NAMES
from agent.flow_rules import Rule

ENV_PREFIX = "DATAPLANE_AGENT_"
ENV_DELIMITER = "__"
MAX_FILE_BYTES = 1 << 20
OTHER_PATHS = ("/-/healthy", "/-/ready", "/healthz", "/readyz", "/status")
"""What the server answers besides metrics; metrics there would never be served."""


class ConfigError(Exception):
    """The configuration cannot be used.

    Attributes:
        problems: One line each: the key's path and what is wrong with it.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Section(BaseModel):
    """A part of the configuration; keys that it does not have are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Ovs(Section):
    """Where Open vSwitch is."""

    rundir: Path = Field(
        Path("/run/openvswitch"),
        description="Directory of ovs-vswitchd's sockets: ovs-vswitchd.*.ctl and <bridge>.mgmt.",
    )
    db: str | None = Field(
        None,
        description="OVSDB server, unix:PATH or tcp:HOST:PORT; default unix:<rundir>/db.sock.",
    )

    @field_validator("rundir")
    @classmethod
    def _room_for_sockets(cls, rundir: Path) -> Path:
        check_rundir(str(rundir))
        return rundir

    @field_validator("db")
    @classmethod
    def _remote(cls, db: str | None) -> str | None:
        if db is not None:
            parse_remote(db)
        return db

    @property
    def remote(self) -> str:
        """The OVSDB server's address."""
        return self.db or f"unix:{self.rundir}/db.sock"


class Web(Section):
    """How metrics are served."""

    listen_address: Annotated[list[str], Field(min_length=1)] = Field(
        [":10978"], description="Addresses to listen on, HOST:PORT; an empty host means all."
    )
    config_file: Path | None = Field(
        None, description="TLS, client certificates and users, in exporter-toolkit's format."
    )
    telemetry_path: str = Field(
        "/metrics", pattern=r"^/[A-Za-z0-9/._-]+$", description="Path of the metrics."
    )
    max_requests: int = Field(
        40, ge=0, description="Requests for metrics served at once, 0 for no limit."
    )

    @field_validator("listen_address")
    @classmethod
    def _addresses(cls, addresses: list[str]) -> list[str]:
        problems = [problem for each in addresses if (problem := _address_problem(each))]
        if problems:
            raise ValueError("; ".join(problems))
        return addresses

    @field_validator("telemetry_path")
    @classmethod
    def _free_path(cls, path: str) -> str:
        if path in OTHER_PATHS:
            raise ValueError(f"{path} is taken")
        return path


class Log(Section):
    """What is logged, to stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Threshold.")
    format: Literal["logfmt", "json"] = Field("logfmt", description="Form of a line.")


class Scrape(Section):
    """How a scrape is answered."""

    share_seconds: float = Field(
        1.0, ge=0, le=5, description="Scrapes within this time share one reading of the peers."
    )
    deadline_seconds: float = Field(
        8.0,
        gt=0,
        le=60,
        description="Longest time a scrape may take; Prometheus's own timeout shortens it.",
    )
    state_max_age_seconds: float = Field(
        60.0, ge=0, description="How long state is shown after its subscription is lost."
    )


class Flows(Section):
    """Which flows have series, and how gently they are read."""

    mode: Literal["auto", "selected", "all", "off"] = Field(
        "auto",
        description=(
            "auto: every flow of a bridge with at most max_per_bridge flows, only what select names"
            " above that until it is below 80 % again; selected: only what select names; all: every"
            " flow; off: flows are not read at all: no fate and no ledgers either."
        ),
    )
    max_per_bridge: int = Field(1000, ge=0, description="Bound of auto.")
    select: list[Rule] = Field(
        [],
        max_length=1000,
        description=(
            "Rules that name flows, each with at least one of bridge, table, priority, cookie"
            " (0x1f, or 0x10/0xf0 with a mask), match and interface (shell patterns on the text of"
            " the match, and on the name of its in_port)."
        ),
    )
    duty_cycle: float = Field(
        0.02,
        gt=0,
        le=1,
        description=(
            "Share of ovs-vswitchd's time that reading flows may take, on average over a minute;"
            " scrapes beyond it are answered without flows."
        ),
    )
    busy_echo_seconds: float = Field(
        0.5, gt=0, le=60, description="Flows are left out when an OpenFlow ECHO takes longer."
    )
    table_pause_seconds: float = Field(
        0.002,
        ge=0,
        le=1,
        description="Shortest pause between questions for flows, for ovs-vswitchd's other work.",
    )

    @field_validator("mode", mode="before")
    @classmethod
    def _off(cls, mode: Any) -> Any:
        return "off" if mode is False else mode  # YAML's off, without quotes


class Interfaces(Section):
    """What interfaces show besides their counters."""

    custom_statistics: list[str] = Field(
        [],
        description="Shell patterns of custom port statistics (DPDK, vhost, AF_XDP) to show.",
    )


class Timeouts(Section):
    """How long a peer may take for one answer before its connection is given up."""

    openflow_seconds: float = Field(5.0, gt=0, le=60, description="One OpenFlow answer.")
    bridge_seconds: float = Field(
        30.0, gt=0, le=300, description="All answers of one bridge for one reading together."
    )
    unixctl_seconds: float = Field(5.0, gt=0, le=60, description="All unixctl commands together.")


class Limits(Section):
    """Bounds that are enforced and exported."""

    series: int = Field(
        250_000,
        ge=100,
        description="Series a collector may show; above it leaves out whole families of detail.",
    )
    openflow_reply_bytes: int = Field(
        256 << 20, ge=1 << 16, description="Size of one complete OpenFlow answer."
    )
    unixctl_reply_bytes: int = Field(
        16 << 20, ge=1 << 16, description="Size of one unixctl answer."
    )


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
        nested_model_default_partial_update=True,
    )

    ovs: Ovs = Field(Ovs(), description=Ovs.__doc__)
    web: Web = Field(Web(), description=Web.__doc__)
    log: Log = Field(Log(), description=Log.__doc__)
    scrape: Scrape = Field(Scrape(), description=Scrape.__doc__)
    flows: Flows = Field(Flows(), description=Flows.__doc__)
    interfaces: Interfaces = Field(Interfaces(), description=Interfaces.__doc__)
    timeouts: Timeouts = Field(Timeouts(), description=Timeouts.__doc__)
    limits: Limits = Field(Limits(), description=Limits.__doc__)
    disable_defaults: bool = Field(
        default=False, description="Run only the collectors that are switched on by name."
    )
    collectors: dict[str, bool] = Field(
        {}, description=f"Switch collectors on or off by name: {', '.join(NAMES)}."
    )

    @field_validator("collectors")
    @classmethod
    def _known_collectors(cls, collectors: dict[str, bool]) -> dict[str, bool]:
        unknown = sorted(set(collectors) - set(NAMES))
        if unknown:
            raise ValueError(f"no such collector: {', '.join(unknown)}")
        return collectors

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Leave only what ``load`` merged; the environment is one of its three sources."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    def enabled(self) -> tuple[str, ...]:
        """Return the names of the collectors that run, A to Z."""
        default = not self.disable_defaults
        return tuple(name for name in NAMES if self.collectors.get(name, default))

    def hash(self) -> str:
        """Return 12 hex digits that change when a setting does, to compare a fleet's nodes."""
        # Sorted: the order in which a file switches collectors is no difference.
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


def describe(section: str, key: str) -> str:
    """Return a setting's description, for the help of its flag."""
    model = getattr(Settings.model_fields[section], "default", None)
    field = type(model).model_fields[key] if isinstance(model, Section) else None
    return (field.description if field else None) or ""


def _address_problem(address: str) -> str | None:
    try:
        parse_address(address)
    except ValueError as error:
        return str(error)
    return None


def load(file: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
    """Merge the three sources and validate the result.

    Args:
        file: YAML file, or ``None``.
        environ: The environment; only names with the prefix count.
        flags: Nested like the settings.

    Raises:
        ConfigError: With every problem of every source.
    """
    problems: list[str] = []
    merged: dict[str, Any] = {}
    if file is not None:
        try:
            merged = read_yaml(file)
        except ConfigError as error:
            problems += error.problems
    _merge(merged, _environment(environ, problems))
    _merge(merged, flags)
    # Names with an underscore would be read as arguments of BaseSettings itself.
    for key in [key for key in merged if key.startswith("_")]:
        problems.append(f"{key}: no such setting")
        del merged[key]
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        problems += [_describe(problem) for problem in error.errors(include_url=False)]
    if problems:
        raise ConfigError(sorted(problems))
    return settings


def read_yaml(file: Path) -> dict[str, Any]:
    """Read a YAML mapping with text keys.

    Raises:
        ConfigError: If it cannot be read, is larger than 1 MiB, or is not a mapping.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ConfigError([f"{file}: larger than {MAX_FILE_BYTES} bytes"])
        content = yaml.safe_load(data.decode())
    except OSError as error:
        raise ConfigError([f"{file}: {error.strerror}"]) from error
    except RecursionError as error:
        raise ConfigError([f"{file}: nested too deeply"]) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, no such date
        raise ConfigError([f"{file}: {' '.join(str(error).split())}"]) from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError([f"{file}: not a mapping of settings"])
    # "web:" with everything below it commented out is a section without settings.
    return {key: {} if value is None else value for key, value in content.items()}


def _environment(environ: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    """Read the environment as pydantic-settings does; names it would pass over are problems."""
    ours = {name: value for name, value in environ.items() if name.startswith(ENV_PREFIX)}
    for name in sorted(ours):
        section = name.removeprefix(ENV_PREFIX).lower().split(ENV_DELIMITER)[0]
        if section not in Settings.model_fields:
            problems.append(f"{name}: no such setting")
    source = EnvSettingsSource(Settings, env_prefix=ENV_PREFIX, env_nested_delimiter=ENV_DELIMITER)
    found: dict[str, Any] = {}
    # One by one, so that each bad value is found; a section's name sorts before those of its keys.
    for name, value in sorted(ours.items()):
        source.env_vars = {name.lower(): value}
        try:
            _merge(found, source())
        except (SettingsError, ValueError):
            problems.append(f"{name}: not JSON")
    return found


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        known = base.get(key)
        if isinstance(known, dict) and isinstance(value, Mapping):
            _merge(known, value)
        else:
            base[key] = dict(value) if isinstance(value, Mapping) else value


def _describe(problem: Any) -> str:
    path = ".".join(str(part) for part in problem["loc"])
    what = problem["msg"]
    if problem["type"] == "extra_forbidden":
        what = "no such setting"
    what = str(what).removeprefix("Value error, ")
    return f"{path}: {what}" if path else what


def from_process(file: Path | None, flags: Mapping[str, Any]) -> Settings:
    """Load with this process's environment. Raises ConfigError."""
    return load(file, os.environ, flags)
