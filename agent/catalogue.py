"""Everything the agent can emit, from the code: the documentation is generated from this."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from agent.collectors import COLLECTORS
from agent.config import ENV_DELIMITER, ENV_PREFIX, Settings
from agent.exposition import process
from agent.families import Family

Entry = tuple[str, Family]


def families() -> list[Entry]:
    """Return (collector, family) of everything that can be on a page, A to Z by collector."""
    return [*_from_collectors(), *(("agent", sample.family) for sample in process.samples())]


def _from_collectors() -> Iterator[Entry]:
    for collector in COLLECTORS:
        for family in collector.families:
            yield collector.name, family


def markdown(entries: list[Entry]) -> str:
    """Write a table, one row a family."""
    rows = ["| collector | metric | type | labels | help |", "|---|---|---|---|---|"]
    rows += [
        f"| {collector} | {family.name} | {family.kind} | {', '.join(family.labels)} "
        f"| {family.help} |"
        for collector, family in entries
    ]
    return "\n".join(rows)


def as_json(entries: list[Entry]) -> str:
    """Write a list of objects."""
    return json.dumps(
        [
            {
                "collector": collector,
                "name": family.name,
                "type": family.kind,
                "labels": list(family.labels),
                "help": family.help,
            }
            for collector, family in entries
        ],
        indent=2,
    )


FORMATS: dict[str, Callable[[list[Entry]], str]] = {"markdown": markdown, "json": as_json}


def metrics_page() -> str:
    """Write docs/metrics.md."""
    return (
        "# Metrics\n\nWritten by `make docs` from `dataplane-agent metrics`. rx and tx of `ovs_*`"
        " are the switch's: what an\ninstance sends is rx; only internal ports of the kernel's"
        " datapath are counted as the host sees them, as\n`ovs-dpctl show -s` prints them too. rx"
        " and tx of `netns_network_*` are the device's own, as `ip -s link`\nshows them;"
        " receive and transmit of `libvirt_*` are the instance's: what it sends is transmit\n"
        "([instances.md](instances.md#rx-and-tx-receive-and-transmit)). A value that is not known"
        " has no series; a label that\nis empty is left out.\n\n" + markdown(families()) + "\n"
    )


def settings_page() -> str:
    """Write docs/configuration.md."""
    rows = [
        "# Configuration",
        "",
        "Written by `make docs` from the code. The file of `--config.file` (YAML) is overridden by",
        "the environment, and that by flags. Unknown keys and bad values are reported all at once.",
        "",
        "| key | environment | default | meaning |",
        "|---|---|---|---|",
        *_settings(Settings, ""),
    ]
    return "\n".join(rows) + "\n"


def _settings(model: type[BaseModel], path: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        key = f"{path}{name}"
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _settings(kind, f"{key}.")
            continue
        variable = ENV_PREFIX + key.upper().replace(".", ENV_DELIMITER)
        yield f"| `{key}` | `{variable}` | {_default(field.default)} | {field.description} |"


def _default(value: Any) -> str:
    if value is None or value is PydanticUndefined:
        return ""
    if isinstance(value, bool | list | dict):
        return f"`{json.dumps(value)}`"
    return f"`{value}`"
