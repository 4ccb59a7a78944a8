"""A real ovsdb-server with an older or newer schema: what is missing is absent, nothing fails."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.errors import SourceError
from agent.model.switch import Interface, Port
from tests.sources.ovsdb.peers import VSWITCH_SCHEMA, Observer, OvsdbServer, ovsdb_server

Edit = Callable[[dict[str, Any]], None]


def schema_file(directory: Path, edit: Edit) -> Path:
    schema = json.loads(VSWITCH_SCHEMA.read_text())
    schema.pop("cksum", None)
    edit(schema["tables"])
    path = directory / "edited.ovsschema"
    path.write_text(json.dumps(schema))
    return path


def transact(server: OvsdbServer, *operations: dict[str, Any]) -> None:
    answer = server.tool(
        "ovsdb-client", "transact", server.remote, json.dumps(["Open_vSwitch", *operations])
    )
    assert '"error"' not in answer, answer


def rows() -> list[dict[str, Any]]:
    return [
        {"op": "insert", "table": "Interface", "uuid-name": "i", "row": {"name": "tap1"}},
        {
            "op": "insert",
            "table": "Port",
            "uuid-name": "p",
            "row": {"name": "tap1", "interfaces": ["named-uuid", "i"]},
        },
        {
            "op": "insert",
            "table": "Bridge",
            "uuid-name": "b",
            "row": {"name": "br-int", "ports": ["named-uuid", "p"]},
        },
        {
            "op": "insert",
            "table": "Open_vSwitch",
            "uuid-name": "o",
            "row": {"bridges": ["named-uuid", "b"]},
        },
    ]


def drop_columns(tables: dict[str, Any]) -> None:
    for table, columns in {
        "Open_vSwitch": ("dpdk_version", "system_type", "external_ids"),
        "Bridge": ("fail_mode", "datapath_id"),
        "Port": ("tag", "vlan_mode"),
        "Interface": (
            *("error", "link_resets", "status", "external_ids", "options", "mtu"),
            *("bfd_status", "cfm_fault"),
        ),
    }.items():
        for column in columns:
            del tables[table]["columns"][column]


def drop_tables(tables: dict[str, Any]) -> None:
    del tables["Manager"], tables["Controller"]
    del tables["Open_vSwitch"]["columns"]["manager_options"]
    del tables["Bridge"]["columns"]["controller"]


def add_columns(tables: dict[str, Any]) -> None:
    tables["Interface"]["columns"]["colour"] = {"type": "string"}
    tables["Hologram"] = {"columns": {"name": {"type": "string"}}}


async def check(directory: Path, edit: Edit) -> None:
    with ovsdb_server(directory, schema_file(directory, edit)) as server:
        transact(server, *rows())
        observer = Observer(server.remote)
        async with observer.running():
            switch = await observer.until(lambda now: bool(now.bridges))
    assert switch.bridges[0].ports == (Port("tap1", (Interface("tap1"),)),)
    assert not switch.managers
    assert not switch.bridges[0].controllers


async def test_missing_columns_are_absent(tmp_path: Path) -> None:
    await check(tmp_path, drop_columns)


async def test_missing_tables_are_absent(tmp_path: Path) -> None:
    await check(tmp_path, drop_tables)


async def test_unknown_columns_and_tables_are_ignored(tmp_path: Path) -> None:
    await check(tmp_path, add_columns)


async def test_a_conversion_to_another_schema_begins_anew(tmp_path: Path) -> None:
    with ovsdb_server(tmp_path) as server:
        transact(server, *rows())
        observer = Observer(server.remote)
        async with observer.running() as task:
            await observer.until(lambda now: bool(now.bridges))
            server.tool(
                "ovsdb-client", "convert", server.remote, str(schema_file(tmp_path, drop_columns))
            )
            ended = await _ended(task)
        assert isinstance(ended, SourceError)
        async with observer.running():
            switch = await observer.until(lambda now: bool(now.bridges))
        assert switch.bridges[0].ports == (Port("tap1", (Interface("tap1"),)),)


async def _ended(task: Any) -> BaseException | None:
    try:
        await task
    except SourceError as error:
        return error
    return None
