"""What /status shows to a person: how each source does, what is followed, and whose it is."""

from collections.abc import Iterator
from typing import Any

from agent import __version__
from agent.collectors.base import Collector
from agent.config import Settings
from agent.health import SourceHealth
from agent.model.instance import InstanceInterface, join
from agent.model.namespace import HOST
from agent.model.ovn import Northbound, Southbound
from agent.store import Store

MAX_INTERFACES = 2000
"""Devices of instances listed; the number of all is beside them."""


def status(
    settings: Settings,
    store: Store,
    sources: tuple[SourceHealth, ...],
    collectors: tuple[Collector, ...],
    kernel: dict[str, Any],
    mqtt: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return it as it becomes JSON."""
    switch = store.switch.known().value
    domains = store.domains.known()
    host = (store.namespaces.known().value or {}).get(HOST)
    instances = join(switch, domains.value, host)
    return {
        "version": __version__,
        "config_hash": settings.hash(),
        "collectors": [collector.name for collector in collectors],
        "limits": settings.limits.model_dump(),
        "sources": {source.name: source.status() for source in sources},
        "kernel": kernel,
        "flows": dict(_flows(store)),
        "ovn": _ovn(store),
        "mqtt": mqtt,
        "open_errors": [
            {
                "bridge": bridge.name,
                "interface": interface.name,
                "error": interface.error,
                **_owner(instances.get(interface.name)),
            }
            for bridge, _, interface in (switch.interfaces() if switch else ())
            if interface.error
        ],
        "instances": {
            "followed": domains.value is not None and domains.live,
            "domains": len(domains.value or {}),
            "devices": len(instances),
            "interfaces": [
                {"interface": name, "bridge": row.bridge, "iface_id": row.iface_id, **_owner(row)}
                for name, row in list(instances.items())[:MAX_INTERFACES]
            ],
        },
    }


def _flows(store: Store) -> Iterator[tuple[str, dict[str, Any]]]:
    for bridge, reading in (store.flows.parts(float("-inf")).value or {}).items():
        yield (
            bridge,
            {
                "pipeline": reading.fate.pipeline or "unknown",
                "flows": sum(len(table.flows) for table in reading.tables),
                "left_out": reading.left_out,
            },
        )


def _ovn(store: Store) -> dict[str, Any]:
    """Return the release whose stages are counted, and how much is known of the databases."""
    release = store.ovn_release.known().value
    north, south = store.northbound.known(), store.southbound.known()
    northbound, southbound = north.value or Northbound(), south.value or Southbound()
    flows = southbound.logical_flows
    return {
        "release": (release.ovn or None) if release else None,
        "northbound": {
            "schema": northbound.schema,
            "followed": northbound.schema is not None and north.live,
            "acls": len(northbound.acls),
        },
        "southbound": {
            "schema": southbound.schema,
            "followed": southbound.schema is not None and south.live,
            "chassis": len(southbound.chassis),
            "port_bindings": len(southbound.bindings),
            "logical_flows": None if flows is None else len(flows),
        },
    }


def _owner(row: InstanceInterface | None) -> dict[str, str | None]:
    """Return whose a device is; all ``None`` where it is no instance's, or nobody knows."""
    return {
        "domain": row.domain_name if row else None,
        "instance_id": row.instance_id if row else None,
        "instance_name": row.instance_name if row else None,
        "project_name": row.project_name if row else None,
    }
