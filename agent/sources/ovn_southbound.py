"""A Southbound's rows, as far as they are wanted, and the model made of them.

Beside the databases that is the whole network. From a compute node it is what concerns the node:
its chassis, the ports that are bound there and their datapaths, which the server picks by
conditions. Most rows of a Southbound are other nodes' business, and there are a thousand nodes.
"""

from collections.abc import Mapping
from operator import attrgetter
from typing import NamedTuple, TypeVar

from agent.model.ovn import (
    BfdSession,
    Chassis,
    DatapathBinding,
    Encap,
    PortBinding,
    Southbound,
)
from agent.sources.ovn_contents import Made
from agent.sources.ovn_logical_flows import LogicalFlows
from agent.sources.ovsdb_monitor import EVERYTHING, NOTHING, Where
from agent.sources.ovsdb_table import RowTable, Table
from agent.wire.ovsdb import BOOLEAN, INTEGER, NOBODY, REFERENCE, REFERENCES, TEXT, Kind, texts

MOST_CONDITIONS = 2000
"""Datapaths asked for one by one; a node with ports in more of them gets all. One is 60 bytes."""
N = TypeVar("N")
_TYPES = {"logical-switch": "switch", "logical-router": "router"}


class _Global(NamedTuple):
    nb_cfg: int | None


class _Chassis(NamedTuple):
    name: str | None
    hostname: str | None
    encaps: frozenset[str]
    nb_cfg: int | None


class _ChassisPrivate(NamedTuple):
    name: str | None
    nb_cfg: int | None
    nb_cfg_timestamp: int | None


class _Encap(NamedTuple):
    type: str | None
    ip: str | None


class _Datapath(NamedTuple):
    tunnel_key: int | None
    external_ids: tuple[str | None, str | None, str | None, str | None]
    type: str | None
    nb_uuid: str | None


class _Port(NamedTuple):
    logical_port: str | None
    type: str | None
    datapath: str | None
    tunnel_key: int | None
    chassis: str | None
    additional_chassis: frozenset[str]
    up: bool | None


class _Bfd(NamedTuple):
    logical_port: str | None
    dst_ip: str | None
    status: str | None
    chassis_name: str | None


_KINDS: Mapping[str, Kind] = {
    "additional_chassis": REFERENCES,
    "chassis": REFERENCE,
    "chassis_name": TEXT,
    "datapath": REFERENCE,
    "dst_ip": TEXT,
    "encaps": REFERENCES,
    "external_ids": texts("name", "name2", "logical-switch", "logical-router"),
    "hostname": TEXT,
    "ip": TEXT,
    "logical_port": TEXT,
    "name": TEXT,
    "nb_cfg": INTEGER,
    "nb_cfg_timestamp": INTEGER,
    "nb_uuid": REFERENCE,
    "status": TEXT,
    "tunnel_key": INTEGER,
    "type": TEXT,
    "up": BOOLEAN,
}
"""Columns of one name are of one kind in all of these tables."""


class SouthboundContents:
    """A Southbound as it is followed over one connection.

    Args:
        rows: How many may be remembered of a table.
        flows: The same of Logical_Flow; ``None`` not to follow it.
        chassis: Name of the only chassis that matters; ``None`` for the whole network.
        without: Tables that are left out.

    Attributes:
        tables: What is asked for, by name.
        flows: Logical flows, which are asked for in pieces; also in ``tables``.
    """

    def __init__(
        self, rows: int, flows: int | None, chassis: str | None, without: frozenset[str]
    ) -> None:
        self._global = RowTable("SB_Global", _Global, _KINDS, rows)
        self._chassis = RowTable("Chassis", _Chassis, _KINDS, rows)
        self._private = RowTable("Chassis_Private", _ChassisPrivate, _KINDS, rows)
        self._encaps = RowTable("Encap", _Encap, _KINDS, rows)
        self._datapaths = RowTable("Datapath_Binding", _Datapath, _KINDS, rows)
        self._ports = RowTable("Port_Binding", _Port, _KINDS, rows)
        self._bfd = RowTable("BFD", _Bfd, _KINDS, rows)
        self._name = chassis
        self._without = without
        wanted: list[Table] = [
            self._global,
            self._chassis,
            self._private,
            self._encaps,
            self._datapaths,
            self._ports,
        ]
        self.flows: LogicalFlows | None = None
        if chassis is None:
            wanted.append(self._bfd)
            if flows is not None and "Logical_Flow" not in without:
                self.flows = LogicalFlows(flows)
                wanted.append(self.flows)
        self.tables = {table.name: table for table in wanted if table.name not in without}
        self._made_chassis: tuple[Chassis, ...] = ()
        self._made_datapaths = Made(self._datapaths, _datapath, attrgetter("tunnel_key"))
        self._made_ports = Made(self._ports, self._port, attrgetter("logical_port"))
        self._made_bfd = Made(self._bfd, _bfd, attrgetter("logical_port", "dst_ip"))
        self._names: dict[str, str] = {}  # of chassis, by UUID
        self._keys: dict[str, int] = {}  # of datapaths

    def conditions(self) -> Mapping[str, Where]:
        """Return which rows are wanted, by table, as far as it is known by now."""
        return {name: self._condition(name) for name in self.tables if name != "Logical_Flow"}

    def build(self, schema: str | None, left_out: Mapping[str, int]) -> Southbound:
        """Return what is known; to be called when the tables hold whole transactions."""
        chassis = self._all_chassis()
        renamed = self._renamed()
        datapaths = self._made_datapaths.all()
        flows = self.flows
        return Southbound(
            schema=schema,
            nb_cfg=next((row.nb_cfg for row in self._global.rows.values()), None),
            chassis=chassis,
            datapaths=datapaths,
            bindings=self._made_ports.all(renamed),
            bfd=self._made_bfd.all(),
            logical_flows=flows.all() if flows else None,
            left_out=dict(left_out),
        )

    def _condition(self, name: str) -> Where:
        if self._name is None:
            return EVERYTHING
        where = EVERYTHING
        match name:
            case "Chassis" | "Chassis_Private":
                where = [["name", "==", self._name]]
            case "Encap":
                where = [["chassis_name", "==", self._name]]
            case "Port_Binding":
                where = self._bound_here() or NOTHING
            case "Datapath_Binding":
                used = {row.datapath for row in self._ports.rows.values() if row.datapath}
                if len(used) <= MOST_CONDITIONS:
                    # Not NOTHING: so the server knows of the condition's column from the start.
                    where = [["_uuid", "==", ["uuid", uuid]] for uuid in sorted(used) or (NOBODY,)]
        return where

    def _bound_here(self) -> Where:
        """Ports of the chassis, and since 22.06 those that are on their way to it."""
        columns = self._ports.columns
        found: Where = []
        for uuid in sorted(self._chassis.rows):
            found.append(["chassis", "==", ["uuid", uuid]])
            if columns and "additional_chassis" in columns.names:
                found.append(["additional_chassis", "includes", ["uuid", uuid]])
        return found

    def _all_chassis(self) -> tuple[Chassis, ...]:
        """Put rows of three tables together; all of them, there are a thousand at most."""
        tables = (self._chassis, self._private, self._encaps)
        if any(table.stale for table in tables):
            private = {row.name: row for row in self._private.rows.values()}
            made = [
                self._one_chassis(row, private.get(row.name)) for row in self._chassis.rows.values()
            ]
            self._made_chassis = tuple(sorted(made, key=lambda each: each.name))
            self._private.stale = set()
            self._encaps.stale = set()
        return self._made_chassis

    def _one_chassis(self, row: _Chassis, private: _ChassisPrivate | None) -> Chassis:
        encaps = [self._encaps.rows[uuid] for uuid in row.encaps if uuid in self._encaps.rows]
        timestamp = private and private.nb_cfg_timestamp
        # Since 20.09 Chassis.nb_cfg is there and not written any more.
        old = self._private.columns is None and "Chassis_Private" not in self._without
        return Chassis(
            name=row.name or "",
            hostname=row.hostname or None,
            encaps=tuple(
                sorted(
                    (Encap(each.type or "", each.ip or "") for each in encaps),
                    key=lambda each: (each.type, each.ip),
                )
            ),
            nb_cfg=private.nb_cfg if private else row.nb_cfg if old else None,
            nb_cfg_timestamp_seconds=timestamp / 1000 if timestamp else None,
        )

    def _renamed(self) -> list[str]:
        """Return ports that refer to a chassis or a datapath which has another name now."""
        changed: set[str] = set()
        for uuid in self._chassis.stale:
            chassis = self._chassis.rows.get(uuid)
            changed |= _renamed(self._names, uuid, chassis and chassis.name)
        for uuid in self._datapaths.stale:
            datapath = self._datapaths.rows.get(uuid)
            changed |= _renamed(self._keys, uuid, datapath and datapath.tunnel_key)
        self._chassis.stale = set()
        if not changed:
            return []
        return [
            uuid
            for uuid, row in self._ports.rows.items()
            if row.chassis in changed or row.datapath in changed
        ]

    def _port(self, _uuid: str, row: _Port) -> PortBinding:
        return PortBinding(
            logical_port=row.logical_port or "",
            type=row.type or "vif",
            datapath=self._keys.get(row.datapath or ""),
            tunnel_key=row.tunnel_key,
            chassis=self._names.get(row.chassis or ""),
            up=row.up,
        )


def _renamed(names: dict[str, N], uuid: str, name: N | None) -> set[str]:
    """Note a name; return the UUID if it is another than before."""
    if names.get(uuid) == name:
        return set()
    if name is None:
        del names[uuid]
    else:
        names[uuid] = name
    return {uuid}


def _datapath(_uuid: str, row: _Datapath) -> DatapathBinding:
    name, name2, switch, router = row.external_ids
    # Since 25.09 both are columns.
    kind = _TYPES.get(row.type or "") or ("switch" if switch else "router" if router else None)
    return DatapathBinding(
        tunnel_key=row.tunnel_key or 0,
        type=kind,
        name=name or None,
        name2=name2 or None,
        uuid=row.nb_uuid or switch or router or None,
    )


def _bfd(_uuid: str, row: _Bfd) -> BfdSession:
    return BfdSession(
        logical_port=row.logical_port or "",
        dst_ip=row.dst_ip or "",
        status=row.status or None,
        chassis=row.chassis_name or None,
    )
