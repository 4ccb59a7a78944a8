"""Turns rows of the Open_vSwitch database into model.switch values, and only those that changed.

A node has thousands of interfaces and changes them one at a time. Each row's object is kept until
the row, or one that it contains, changes.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from uuid import UUID

from agent.model.ovn import LocalSettings
from agent.model.switch import Bfd, Bridge, Controller, Interface, Manager, Port, Switch
from agent.wire.text import clean

WANTED: Mapping[str, tuple[str, ...]] = {
    "Open_vSwitch": (
        "ovs_version",
        "db_version",
        "dpdk_version",
        "external_ids",
        "system_type",
        "system_version",
        "bridges",
        "manager_options",
    ),
    "Manager": ("target", "is_connected"),
    "Bridge": (
        "name",
        "datapath_type",
        "datapath_id",
        "fail_mode",
        "ports",
        "controller",
        "external_ids",
    ),
    "Controller": ("target", "is_connected", "role"),
    "Port": ("name", "interfaces", "tag", "vlan_mode"),
    "Interface": (
        "name",
        "type",
        "ofport",
        "mac_in_use",
        "admin_state",
        "link_state",
        "mtu",
        "link_speed",
        "link_resets",
        "error",
        "status",
        "external_ids",
        "options",
        "bfd_status",
        "cfm_fault",
    ),
}
"""Columns that are replicated. Not Interface.statistics: it changes every 5 s on every row."""

ENDPOINT_OPTIONS = (
    "remote_ip",
    "local_ip",
    "key",
    "in_key",
    "out_key",
    "dst_port",
    "peer",
    "vhost-server-path",
)
"""The options that describe an endpoint; others hold secrets (IPsec's psk) and are not kept."""

OVN_SETTINGS = (
    "ovn-bridge",
    "ovn-bridge-mappings",
    "ovn-encap-ip",
    "ovn-encap-type",
    "ovn-monitor-all",
    "ovn-remote",
)
"""What ovn-controller(8) reads of Open_vSwitch.external_ids and people look for."""

BFD_STATUS = ("state", "remote_state", "forwarding", "flap_count")
_COUNT = re.compile(r"[0-9]{1,20}")
_UP = {"up": True, "down": False}

_Key = tuple[str, UUID]
_Made = TypeVar("_Made", Bridge, Controller, Interface, Manager, Port)


def wanted_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Cut a schema down to the wanted tables and columns that it has.

    Args:
        schema: Answer to ``get_schema``, RFC 7047 section 3.2:
            ``{"name": "Open_vSwitch", "tables": {"Port": {"columns": {"tag": {"type": …}}}}}``.

    Returns:
        A schema with columns and nothing else (no indexes, which could name absent columns).
        What an older or newer schema does not have is missing, and absent in the model.
    """
    tables = {}
    for name, columns in WANTED.items():
        known = schema["tables"].get(name, {}).get("columns", {})
        if kept := {column: known[column] for column in columns if column in known}:
            tables[name] = {"columns": kept}
    return {"name": schema["name"], "tables": tables}


class SwitchBuilder:
    """Builds Switch values from an Idl's tables; belongs to the Idl's thread.

    Args:
        tables: ``Idl.tables``.
    """

    def __init__(self, tables: Mapping[str, Any]) -> None:
        self._tables = tables
        self._made: dict[_Key, Any] = {}
        self._users: dict[_Key, set[_Key]] = {}  # a row, and the rows whose objects contain its

    def forget(self, table: str, uuid: UUID) -> None:
        """Drop the object of a row that changed, came or went, and those that contain it."""
        stale = [(table, uuid)]
        while stale:
            key = stale.pop()
            self._made.pop(key, None)
            stale.extend(self._users.pop(key, ()))

    def build(self) -> Switch:
        """Return the switch; without a row in Open_vSwitch (``ovs-vsctl init``) an empty one."""
        table = self._tables.get("Open_vSwitch")
        rows = dict(table.rows) if table is not None else {}
        if not rows:
            return Switch()
        key = ("Open_vSwitch", min(rows))
        row = rows[key[1]]
        return Switch(
            ovs_version=_text(row, "ovs_version"),
            db_version=_text(row, "db_version"),
            dpdk_version=_text(row, "dpdk_version"),
            system_id=_texts(row, "external_ids", ("system-id",)).get("system-id"),
            system_type=_text(row, "system_type"),
            system_version=_text(row, "system_version"),
            managers=self._all(key, "Manager", _references(row, "manager_options"), _manager),
            bridges=self._all(key, "Bridge", _references(row, "bridges"), self._bridge),
            ovn=_ovn(row),
        )

    def _all(
        self,
        user: _Key,
        table: str,
        uuids: Iterable[UUID],
        make: Callable[[_Key, Any], _Made | None],
    ) -> tuple[_Made, ...]:
        """Return the objects of these rows, sorted; rows without a name are left out."""
        rows = self._tables[table].rows if table in self._tables else {}
        found = []
        for uuid in uuids:
            key = (table, uuid)
            # A row that is not there is noted as well: it may come.
            self._users.setdefault(key, set()).add(user)
            made = self._made.get(key)
            if made is None and (row := rows.get(uuid)) is not None:
                made = self._made[key] = make(key, row)
            if made is not None:
                found.append(made)
        return tuple(sorted(found, key=_identity))

    def _bridge(self, key: _Key, row: Any) -> Bridge | None:
        name = _text(row, "name")
        if name is None:
            return None
        ids = _texts(row, "external_ids", ("ovn-nb-cfg", "ovn-nb-cfg-ts"))
        since = _count(ids.get("ovn-nb-cfg-ts"))
        return Bridge(
            name=name,
            datapath_type=_text(row, "datapath_type") or "system",
            datapath_id=_text(row, "datapath_id"),
            fail_mode=_text(row, "fail_mode"),
            ports=self._all(key, "Port", _references(row, "ports"), self._port),
            controllers=self._all(key, "Controller", _references(row, "controller"), _controller),
            ovn_nb_cfg=_count(ids.get("ovn-nb-cfg")),
            ovn_nb_cfg_timestamp_seconds=None if since is None else since / 1000,
        )

    def _port(self, key: _Key, row: Any) -> Port | None:
        name = _text(row, "name")
        if name is None:
            return None
        return Port(
            name=name,
            interfaces=self._all(key, "Interface", _references(row, "interfaces"), _interface),
            tag=_integer(row, "tag"),
            vlan_mode=_text(row, "vlan_mode"),
        )


def _identity(made: Bridge | Controller | Interface | Manager | Port) -> str:
    return made.target if isinstance(made, Controller | Manager) else made.name


def _interface(_key: _Key, row: Any) -> Interface | None:
    name = _text(row, "name")
    if name is None:
        return None
    ids = _texts(row, "external_ids", ("iface-id", "vm-uuid", "vm-id", "attached-mac"))
    status = _texts(row, "status", ("driver_name", "tunnel_egress_iface_carrier"))
    ofport = _integer(row, "ofport")
    return Interface(
        name=name,
        type=_text(row, "type") or "system",
        ofport=ofport if ofport is not None and ofport >= 0 else None,
        mac=_text(row, "mac_in_use"),
        admin_state=_up(row, "admin_state"),
        link_state=_up(row, "link_state"),
        mtu_bytes=_integer(row, "mtu"),
        link_speed_bits_per_second=_integer(row, "link_speed"),
        link_resets=_integer(row, "link_resets"),
        error=_text(row, "error"),
        driver=status.get("driver_name"),
        iface_id=ids.get("iface-id"),
        vm_uuid=ids.get("vm-uuid") or ids.get("vm-id"),
        attached_mac=ids.get("attached-mac"),
        options=_texts(row, "options", ENDPOINT_OPTIONS),
        egress_carrier=_UP.get(status.get("tunnel_egress_iface_carrier", "")),
        bfd=_bfd(row),
        cfm_fault=_boolean(row, "cfm_fault"),
    )


def _bfd(row: Any) -> Bfd | None:
    status = _texts(row, "bfd_status", BFD_STATUS)
    if not status:
        return None
    return Bfd(
        state=status.get("state"),
        remote_state=status.get("remote_state"),
        forwarding={"true": True, "false": False}.get(status.get("forwarding", "")),
        flap_count=_count(status.get("flap_count")),
    )


def _ovn(row: Any) -> LocalSettings | None:
    """Read what ovn-controller is told; a key with ``-<system-id>`` behind it goes first."""
    system_id = _texts(row, "external_ids", ("system-id",)).get("system-id", "")
    own = {f"{key}-{system_id}": key for key in OVN_SETTINGS} if system_id else {}
    found = _texts(row, "external_ids", (*OVN_SETTINGS, *own))
    said = {own.get(key, key): value for key, value in sorted(found.items(), key=_length)}
    if "ovn-remote" not in said and "ovn-encap-ip" not in said:
        return None
    mappings = (
        pair.strip().partition(":") for pair in said.get("ovn-bridge-mappings", "").split(",")
    )
    return LocalSettings(
        encap_ips=_list(said.get("ovn-encap-ip")),
        encap_types=_list(said.get("ovn-encap-type")),
        bridge_mappings={network: bridge for network, _, bridge in mappings if network and bridge},
        remote=said.get("ovn-remote"),
        bridge=said.get("ovn-bridge", "br-int"),
        monitor_all=said.get("ovn-monitor-all") == "true",
    )


def _length(item: tuple[str, str]) -> int:
    return len(item[0])


def _list(text: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


def _count(text: str | None) -> int | None:
    """Read a number of 64 bits that stands in a map of texts."""
    return int(text) if text and _COUNT.fullmatch(text) else None


def _controller(_key: _Key, row: Any) -> Controller | None:
    target = _text(row, "target")
    if target is None:
        return None
    return Controller(target, _boolean(row, "is_connected"), _text(row, "role"))


def _manager(_key: _Key, row: Any) -> Manager | None:
    target = _text(row, "target")
    return None if target is None else Manager(target, _boolean(row, "is_connected"))


# Row's attributes rebuild a column twice for each look at it, because a transaction might have
# changed it; there are none, so the atoms are taken from below: measured with 2,000 interfaces,
# 27 ms instead of 125. Values are checked for their type all the same: the schema that promised it
# came from the server.


def _atoms(row: Any, column: str) -> Mapping[Any, Any]:
    """Return a column's atoms, and for a map the atoms they lead to; empty when it is absent."""
    datum = row._data.get(column)  # noqa: SLF001 (the reason stands above)
    values: Mapping[Any, Any] = {} if datum is None else datum.values
    return values


def _scalar(row: Any, column: str) -> Any:
    return next((atom.value for atom in _atoms(row, column)), None)


def _text(row: Any, column: str) -> str | None:
    """Return a column's text; ``None`` for none and for the empty one, OVSDB's default."""
    value = _scalar(row, column)
    return clean(value) or None if isinstance(value, str) else None


def _integer(row: Any, column: str) -> int | None:
    value = _scalar(row, column)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _boolean(row: Any, column: str) -> bool | None:
    value = _scalar(row, column)
    return value if isinstance(value, bool) else None


def _up(row: Any, column: str) -> bool | None:
    return _UP.get(_scalar(row, column))


def _references(row: Any, column: str) -> list[UUID]:
    return [atom.value for atom in _atoms(row, column) if isinstance(atom.value, UUID)]


def _texts(row: Any, column: str, keys: tuple[str, ...]) -> dict[str, str]:
    """Return these keys of a map of texts, without empty ones."""
    return {
        key.value: clean(value.value)
        for key, value in _atoms(row, column).items()
        if value is not None and key.value in keys and isinstance(value.value, str) and value.value
    }
