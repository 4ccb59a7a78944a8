"""The chart as its tests render it, with the values of its own ci/."""

import functools
import importlib.util
import json
import os
from typing import Any

import pytest
import yaml

from lab import helm
from lab.helm_chart import CHART

CI = CHART / "ci"
VALUES = sorted(path.stem.removesuffix("-values") for path in CI.glob("*-values.yaml"))
BY_VALUES = pytest.mark.parametrize("name", VALUES)
IMAGE = "image: {repository: registry.example.com/dataplane-agent}\n"

Object = dict[str, Any]


def require_helm() -> None:
    """Helm's wheel is for x86_64; elsewhere a person's machine does without, and says so."""
    if importlib.util.find_spec(helm.MODULE) is None:
        reason = f"missing: {helm.MODULE} (make setup, on x86_64)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def text_of(name: str) -> str:
    """Return the values of a file in ci/."""
    return (CI / f"{name}-values.yaml").read_text()


@functools.cache
def _rendered(values: str) -> dict[str, str]:
    return helm.render(CHART, values)


def pages(values: str) -> dict[str, str]:
    """Return what Helm writes for these values, by template."""
    require_helm()
    return _rendered(values)


@functools.cache
def _parsed(values: str) -> str:
    found = _rendered(values)
    return json.dumps(
        [
            each
            for page in sorted(found)
            if page.endswith(".yaml")
            for each in yaml.load_all(found[page], Loader=yaml.CSafeLoader)
            if each
        ]
    )


def objects(values: str) -> list[Object]:
    """Return all objects that would be installed, for the caller to change."""
    require_helm()
    found: list[Object] = json.loads(_parsed(values))
    return found


def of_kind(values: str, kind: str) -> list[Object]:
    """Return the objects of one kind."""
    return [each for each in objects(values) if each["kind"] == kind]


def pod(values: str) -> Object:
    """Return the specification of the DaemonSet's pods."""
    (daemonset,) = of_kind(values, "DaemonSet")
    spec: Object = daemonset["spec"]["template"]["spec"]
    return spec


def container(values: str) -> Object:
    """Return the one container of these pods."""
    (only,) = pod(values)["containers"]
    found: Object = only
    return found


def settings_of(values: str) -> str:
    """Return the agent's settings as the ConfigMap has them."""
    (found,) = (each for each in of_kind(values, "ConfigMap") if "config.yaml" in each["data"])
    text: str = found["data"]["config.yaml"]
    return text
