"""The configuration: defaults, types and documentation in one place.

YAML < environment (``DATAPLANE_AGENT_`` and ``__`` between levels) < flags. Unknown keys and bad
values are all found at once, before anything is opened.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError
from pydantic_settings.sources import PydanticBaseSettingsSource

from agent.collectors import NAMES, OF_HYPERVISOR, OF_OVN_CONTROLLER, OF_SWITCH, ON_REQUEST
from agent.sections import (
    Flows,
    Identity,
    Interfaces,
    Libvirt,
    Limits,
    Links,
    Log,
    Namespaces,
    Ovn,
    Ovs,
    Scrape,
    Section,
    Timeouts,
    Web,
)
from agent.sections_mqtt import Mqtt

ENV_PREFIX = "DATAPLANE_AGENT_"
ENV_DELIMITER = "__"
MAX_FILE_BYTES = 1 << 20


class ConfigError(Exception):
    """The configuration cannot be used.

    Attributes:
        problems: One line each: the key's path and what is wrong with it.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


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
    links: Links = Field(Links(), description=Links.__doc__)
    namespaces: Namespaces = Field(Namespaces(), description=Namespaces.__doc__)
    libvirt: Libvirt = Field(Libvirt(), description=Libvirt.__doc__)
    ovn: Ovn = Field(Ovn(), description=Ovn.__doc__)
    mqtt: Mqtt = Field(Mqtt(), description=Mqtt.__doc__)
    identity: Identity = Field(Identity(), description=Identity.__doc__)
    timeouts: Timeouts = Field(Timeouts(), description=Timeouts.__doc__)
    limits: Limits = Field(Limits(), description=Limits.__doc__)
    disable_defaults: bool = Field(
        default=False, description="Run only the collectors that are switched on by name."
    )
    collectors: dict[str, bool] = Field(
        {},
        description=(
            f"Switch collectors on or off by name: {', '.join(NAMES)}."
            f" Off without that: {', '.join(ON_REQUEST)}."
        ),
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
        default = set() if self.disable_defaults else set(NAMES) - set(ON_REQUEST)
        if not self.ovs.enabled:
            default -= OF_SWITCH
        if self.libvirt.enabled is False:
            default -= OF_HYPERVISOR
        if self.ovn.enabled is False:
            default -= OF_OVN_CONTROLLER
        return tuple(name for name in NAMES if self.collectors.get(name, name in default))

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
