"""The answer for a script: one JSON object, its keys stay.

Numbers are of the time between the two readings; ``null`` is what is not known or does not exist.

- ``bridges``: of each that was compared ``bridge``, ``seconds`` between its readings,
  ``pipeline`` (``neutron``, ``ovn`` or ``""``), ``tables``, ``flows``, and ``watched``: how many of
  the flows deliver nothing, by kind (``lost``, ``copy``, ``patch``), of the interface that was
  asked for.
- ``flows``: of each that grew, those with most packets first, ``bridge``, ``table``,
  ``table_name``, ``kind``, ``packets``, ``packets_per_second``, ``bytes``; of the port whose
  packets they are ``interface``, ``direction`` (``from_instance``, ``to_instance``), ``iface_id``
  (the Neutron port), ``vm_uuid``, ``attached_mac``; of the instance ``domain`` (libvirt's name),
  ``instance_id``, ``instance_name``, ``project_name``; of the flow ``priority``, ``match``,
  ``action``, ``cookie`` (text, ``0x…``). Only of kind lost without ``--all-kinds``.
- ``totals``: by kind, always all three, ``flows``, ``packets``, ``packets_per_second``, ``bytes``.
- ``shared_packets``: with ``--interface`` or ``--instance``, packets of kind lost in flows that do
  not tell whose packets they meet, and that are not in ``flows``.
- ``changed_packets``: of flows that deliver nothing now, but were judged otherwise at the first
  reading: which of the packets came before the change is not known.
- ``unattributed`` and ``missed``: of each table with some ``bridge``, ``table``, ``table_name``,
  ``packets`` that matched but that no reading of its flows accounts for, and that matched nothing.
- ``problems``: a line for each bridge that was not compared, and for each interface that was asked
  for and has no OpenFlow port.
"""

import json
from typing import Any

from agent.drops.report import BOOKED, Grown, Report, Unseen


def write(report: Report) -> str:
    """Write the object, over several lines."""
    return json.dumps(_report(report), indent=2) + "\n"


def _report(report: Report) -> dict[str, Any]:
    bridges = report.bridges
    return {
        "bridges": [
            {
                "bridge": each.bridge,
                "seconds": round(each.seconds, 3),
                "pipeline": each.pipeline,
                "tables": each.tables,
                "flows": each.flows,
                "watched": dict(each.watched),
            }
            for each in bridges
        ],
        "flows": [_flow(one) for one in report.grown(*report.kinds)],
        "totals": {kind: _total(report.grown(kind)) for kind in BOOKED},
        "shared_packets": None if report.whose is None else sum(one.shared for one in bridges),
        "changed_packets": sum(one.changed for one in bridges),
        "unattributed": [_unseen(table) for each in bridges for table in each.unattributed],
        "missed": [_unseen(table) for each in bridges for table in each.missed],
        "problems": list(report.problems),
    }


def _flow(one: Grown) -> dict[str, Any]:
    interface, instance = one.interface, one.instance
    return {
        "bridge": one.bridge,
        "table": one.flow.table_id,
        "table_name": one.table_name,
        "kind": one.kind,
        "packets": one.packets,
        "packets_per_second": round(one.packets_per_second, 6),
        "bytes": one.octets,
        "interface": interface.name if interface else None,
        "direction": one.direction,
        "iface_id": interface.iface_id if interface else None,
        "vm_uuid": interface.vm_uuid if interface else None,
        "attached_mac": interface.attached_mac if interface else None,
        "domain": instance.domain_name if instance else None,
        "instance_id": instance.instance_id if instance else None,
        "instance_name": instance.instance_name if instance else None,
        "project_name": instance.project_name if instance else None,
        "priority": one.flow.priority,
        "match": one.flow.match,
        "action": one.flow.effect.action,
        "cookie": f"{one.flow.cookie:#x}",
    }


def _total(grown: list[Grown]) -> dict[str, Any]:
    octets = [one.octets for one in grown]
    return {
        "flows": len(grown),
        "packets": sum(one.packets for one in grown),
        "packets_per_second": round(sum(one.packets_per_second for one in grown), 6),
        "bytes": None if None in octets else sum(size or 0 for size in octets),
    }


def _unseen(table: Unseen) -> dict[str, Any]:
    return {
        "bridge": table.bridge,
        "table": table.table_id,
        "table_name": table.table_name,
        "packets": table.packets,
    }
