"""values.schema.json of the Helm chart, from values.yaml and the agent's own settings.

Whatever values.yaml does not have is refused, so that a typo ends the installation and not the
agents. What Kubernetes defines (resources, affinity, probes) is left to Kubernetes.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from agent.config import Settings
from lab.helm_values import Value

DURATION = {"type": "string", "pattern": "^([0-9]+(ms|[smhdwy]))*$"}
WORD = {"type": "string", "pattern": "^[^ ]*$"}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
NATURAL = {"type": "integer", "minimum": 0}

NARROWER: Mapping[str, Any] = {
    "image.pullPolicy": {"enum": ["IfNotPresent", "Always", "Never"]},
    "image.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "image.repository": WORD,
    "profile": {"enum": ["default", "full", "least"]},
    "port": PORT,
    "portName": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$"},
    "hostPID": {"type": ["boolean", "null"]},
    "hostRunMount.mountPath": {"type": "string", "pattern": "^/."},
    "hostRunMount.mountPropagation": {"enum": ["HostToContainer", "None"]},
    "env": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
    "extraArgs": {"type": "array", "items": {"type": "string", "pattern": "^--"}},
    "prometheus.podMonitor.interval": DURATION,
    "prometheus.podMonitor.scrapeTimeout": DURATION,
    "prometheus.podMonitor.scheme": {"enum": ["", "http", "https"]},
    "prometheus.podMonitor.jobName": {"type": "string", "pattern": "^[A-Za-z0-9_./-]+$"},
    "prometheus.podMonitor.flows.interval": DURATION,
    "prometheus.podMonitor.flows.scrapeTimeout": DURATION,
    "prometheus.podMonitor.flows.collectors": {
        "type": "array",
        "minItems": 1,
        "items": {"type": "string"},
    },
    "prometheusRule.disabled": {"type": "object", "additionalProperties": {"type": "boolean"}},
    "prometheusRule.runbookUrl": {"type": "string", "pattern": '^(https?://[^ "\\\\]+)?$'},
    "revisionHistoryLimit": NATURAL,
    "terminationGracePeriodSeconds": NATURAL,
    **dict.fromkeys(
        (
            *("commonLabels", "podLabels", "podAnnotations", "daemonsetAnnotations"),
            *("nodeSelector", "serviceAccount.annotations", "dashboards.annotations"),
            *("prometheus.podMonitor.additionalLabels", "prometheusRule.additionalLabels"),
            *("prometheusRule.additionalRuleLabels", "prometheusRule.additionalRuleAnnotations"),
        ),
        TEXTS,
    ),
}
"""Where the type of the default does not say enough."""
OF_PARENTS = {
    "global": {"type": "object"},
    "enabled": {"type": "boolean", "description": "For the condition of a parent chart."},
}
"""What a parent chart may say beside, because Helm hands it down."""
TYPES = {bool: "boolean", int: "integer", str: "string", list: "array", dict: "object"}


def schema(values: list[Value]) -> str:
    """Write the schema: JSON Schema draft 7, the newest that all of Helm 3 and 4 read."""
    settings, definitions = _settings()
    root: dict[str, Any] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": definitions,
        **_mapping(),
    }
    for value in values:
        parent = root
        for key in value.path[:-1]:
            parent = parent["properties"][key]
        name = value.path[-1]
        if value.key == "config":
            parent["properties"][name] = {**settings, "description": value.text}
        elif not value.text:
            parent["properties"][name] = _mapping()
        else:
            parent["properties"][name] = _of(value)
    root["properties"] |= OF_PARENTS
    return json.dumps(root, indent=2, ensure_ascii=False) + "\n"


def _mapping() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": {}}


def _of(value: Value) -> dict[str, Any]:
    narrower = NARROWER.get(value.key) or {"type": TYPES[type(value.default)]}
    return {**narrower, "description": value.text}


def _settings() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the schema of the agent's settings, and what it refers to."""
    whole = Settings.model_json_schema(ref_template="#/definitions/{model}")
    models: dict[str, Any] = whole.pop("$defs")
    for model in _subclasses(BaseModel):
        if model.__module__.startswith("agent.") and model.__name__ in models:
            properties = models[model.__name__]["properties"]
            for key in _read_first(model):
                properties[key] = _wider(properties[key])
    return _without_defaults(whole), _without_defaults(models)


def _wider(written: dict[str, Any]) -> dict[str, Any]:
    """Leave of a key's schema what holds before code has read it: ``off`` is false in YAML."""
    words = {"enum": [*written["enum"], False]} if "enum" in written else {}
    return {key: text for key, text in written.items() if key == "description"} | words


def _read_first(model: type[BaseModel]) -> set[str]:
    """Return the keys that code reads before their type is checked, such as a cookie's mask."""
    validators = model.__pydantic_decorators__.field_validators.values()
    return {
        field
        for validator in validators
        if validator.info.mode == "before"
        for field in validator.info.fields
    }


def _subclasses(model: type[BaseModel]) -> set[type[BaseModel]]:
    direct = set(model.__subclasses__())
    return direct.union(*(_subclasses(each) for each in direct))


def _without_defaults(part: Any) -> Any:
    """Leave out what does not narrow: the agent has the defaults, and titles repeat keys."""
    if isinstance(part, list):
        return [_without_defaults(each) for each in part]
    if not isinstance(part, dict):
        return part
    left_out = ("title", "default", "format")
    return {
        key: {name: _without_defaults(each) for name, each in value.items()}
        if key == "properties"
        else _without_defaults(value)
        for key, value in part.items()
        if key not in left_out
    }
