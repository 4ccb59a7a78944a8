"""A server that does not behave takes the source down with a reason, and nothing else."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from agent.errors import Reason, SourceError
from agent.model.ovn import DatapathBinding, PortBinding
from agent.sources import ovn_databases, ovsdb_framing, ovsdb_monitor
from tests.sources.ovn.fakes import ROWS, SCHEMA, SERVED, UUIDS, FakeSouthbound, answers
from tests.sources.ovn.servers import Southbounds
from tests.sources.ovsdb.peers import Close, Failure, Silence
from tests.sources.ovsdb.test_faults import GARBAGE

pytestmark = pytest.mark.usefixtures("prompt")

QUESTIONS = ("server_schema", "served", "get_schema", "rows", "flows", "change")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ovsdb_monitor, "SCHEMA_SECONDS", 0.3)
    monkeypatch.setattr(ovsdb_monitor, "CONTENTS_SECONDS", 0.8)
    monkeypatch.setattr(ovn_databases, "PATIENCE_SECONDS", (0.3, 0.6))


async def failure(remote: str, **settings: Any) -> SourceError:
    with pytest.raises(SourceError) as caught:
        async with asyncio.timeout(20):
            await Southbounds(remote, **settings).source.run()
    assert "\n" not in caught.value.detail
    assert len(caught.value.detail) < 400
    assert remote in caught.value.detail
    return caught.value


async def failure_with(path: Path, **others: Any) -> SourceError:
    async with FakeSouthbound(answers(**others)).listen(path / "db.sock") as remote:
        return await failure(remote)


async def after(path: Path, *updates: Any, monitor: object = "rows") -> SourceError:
    """Return what is said of a server that says this when it is followed."""
    server = FakeSouthbound(answers())
    async with server.listen(path / "db.sock") as remote:
        observer = Southbounds(remote)
        async with observer.running() as task:
            await observer.until(lambda it: it.logical_flows is not None)
            for update in updates:
                if isinstance(update, bytes):
                    server.push(update)
                else:
                    server.update(update, monitor)
            async with asyncio.timeout(20):
                await asyncio.wait([task])
            error = task.exception()
    assert isinstance(error, SourceError)
    return error


async def test_follows_a_server_that_behaves(tmp_path: Path) -> None:
    server = FakeSouthbound(answers())
    async with server.listen(tmp_path / "db.sock") as remote:
        observer = Southbounds(remote)
        async with observer.running():
            known = await observer.until(lambda it: it.logical_flows is not None)
    assert known.bindings == (PortBinding("p", "vif", 5, 1),)
    assert {message["method"] for message in server.seen} == {
        "get_schema",
        "monitor_cond",
        "monitor_cond_change",
    }


async def test_asks_for_no_column_that_is_not_shown(tmp_path: Path) -> None:
    server = FakeSouthbound(answers())
    async with server.listen(tmp_path / "db.sock") as remote:
        observer = Southbounds(remote)
        async with observer.running():
            await observer.until(lambda it: it.logical_flows is not None)
    asked = {
        table: set(request[0]["columns"])
        for message in server.seen
        if message["method"] == "monitor_cond"
        for table, request in message["params"][2].items()
    }
    assert asked == {
        "Database": {"name", "model", "connected"},
        "SB_Global": {"nb_cfg"},
        "Chassis": {"name", "hostname", "encaps", "nb_cfg"},
        "Chassis_Private": {"name", "nb_cfg", "nb_cfg_timestamp"},
        "Encap": {"type", "ip"},
        "Datapath_Binding": {"tunnel_key", "type", "nb_uuid", "external_ids"},
        "Port_Binding": {
            "logical_port",
            "type",
            "datapath",
            "tunnel_key",
            "chassis",
            "additional_chassis",
            "up",
        },
        "BFD": {"logical_port", "dst_ip", "status", "chassis_name"},
        "Logical_Flow": {"pipeline", "table_id", "priority", "external_ids"},
    }


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"error": "permission error", "details": "role has no access"}, Reason.REFUSED),
        ("not allowed", Reason.REFUSED),
        ({"error": "unknown database", "details": "no"}, Reason.REFUSED),
        ({"error": "resources"}, Reason.BROKEN),
        ("unknown method", Reason.BROKEN),
        ([["x" * 5000]], Reason.BROKEN),
    ],
)
@pytest.mark.parametrize("question", ["get_schema", "rows", "flows", "change"])
async def test_tells_what_an_error_reply_says(
    tmp_path: Path, question: str, error: object, reason: Reason
) -> None:
    said = await failure_with(tmp_path, **{question: Failure(error)})
    assert said.reason is reason
    words = error.values() if isinstance(error, dict) else [str(error)[:50]]
    assert all(word in said.detail for word in words)


async def test_a_server_that_knows_nothing_of_clusters_is_followed(tmp_path: Path) -> None:
    unknown = Failure({"error": "unknown database", "details": "no"})
    server = FakeSouthbound(answers(server_schema=unknown))
    async with server.listen(tmp_path / "db.sock") as remote:
        observer = Southbounds(remote)
        async with observer.running():
            await observer.until(lambda it: bool(it.bindings))


@pytest.mark.parametrize(("model", "whom"), [("clustered", "its cluster"), ("relay", "its source")])
async def test_a_member_without_a_cluster_is_refused(tmp_path: Path, model: str, whom: str) -> None:
    served = {"Database": {UUIDS[0]: {"initial": {"name": "OVN_Southbound", "model": model}}}}
    error = await failure_with(tmp_path, served=served)
    assert error.reason is Reason.REFUSED
    assert error.detail.endswith(f"OVN_Southbound is not connected to {whom}")


async def test_a_member_that_loses_its_cluster_is_left(tmp_path: Path) -> None:
    error = await after(
        tmp_path,
        {"Database": {UUIDS[0]: {"modify": {"connected": False}}}},
        monitor="_Server",
    )
    assert error.reason is Reason.REFUSED


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("question", QUESTIONS)
async def test_does_not_wait_for_ever(tmp_path: Path, question: str) -> None:
    began = time.monotonic()
    assert (await failure_with(tmp_path, **{question: Silence()})).reason is Reason.TIMEOUT
    assert time.monotonic() - began < 5


@pytest.mark.usefixtures("quick")
async def test_half_an_answer_is_given_up(tmp_path: Path) -> None:
    half = b'{"id":ID,"result":{"Port_Binding":{"' + UUIDS[3].encode() + b'":{"init'
    assert (await failure_with(tmp_path, rows=half)).reason is Reason.TIMEOUT
    assert (await failure_with(tmp_path, rows=Close(half))).reason is Reason.BROKEN


@pytest.mark.parametrize("question", QUESTIONS)
async def test_says_broken_when_the_connection_ends(tmp_path: Path, question: str) -> None:
    assert (await failure_with(tmp_path, **{question: Close()})).reason is Reason.BROKEN


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.parametrize("question", ["get_schema", "rows", "change"])
async def test_says_malformed_about_garbage(tmp_path: Path, question: str, data: bytes) -> None:
    assert (await failure_with(tmp_path, **{question: data})).reason is Reason.MALFORMED


ILL_TYPED_SCHEMAS: dict[str, Any] = {
    "text": "OVN_Southbound",
    "null": None,
    "empty": {},
    "tables are a list": {"tables": ["Port_Binding"]},
    "a table is null": {"tables": {"Port_Binding": 5}},
    "columns are a list": {"tables": {"Port_Binding": {"columns": ["name"]}}},
}


@pytest.mark.parametrize("schema", ILL_TYPED_SCHEMAS.values(), ids=ILL_TYPED_SCHEMAS.keys())
async def test_says_malformed_about_an_ill_typed_schema(tmp_path: Path, schema: object) -> None:
    assert (await failure_with(tmp_path, get_schema=schema)).reason is Reason.MALFORMED


async def test_a_schema_of_another_world_is_a_southbound_without_anything(tmp_path: Path) -> None:
    strange = {
        "Port_Binding": {"columns": {"logical_port": 5, "up": {"type": []}}},
        "Logical_Flow": {"columns": {"table_id": {"type": {"key": {"maxInteger": 1 << 60}}}}},
    }
    server = FakeSouthbound(answers(get_schema={"tables": strange}, rows={}))
    async with server.listen(tmp_path / "db.sock") as remote:
        observer = Southbounds(remote)
        async with observer.running():
            known = await observer.until(lambda it: it.logical_flows is not None)
    assert (known.schema, known.bindings, known.logical_flows) == (None, (), ())


def row(table: str, uuid: str = UUIDS[9], **columns: Any) -> dict[str, Any]:
    return {table: {uuid: {"initial": columns}}}


ILL_TYPED_ROWS: dict[str, Any] = {
    "a list": [1],
    "text": "x",
    "a table that was not asked for": {"Mirror": {}},
    "table is a list": {"Port_Binding": []},
    "bad uuid": {"Port_Binding": {"x": {"initial": {}}}},
    "upper case": {"Port_Binding": {UUIDS[1].replace("4", "A"): {"initial": {}}}},
    "row is null": {"Port_Binding": {UUIDS[9]: None}},
    "no change": {"Port_Binding": {UUIDS[9]: {}}},
    "two changes": {"Port_Binding": {UUIDS[9]: {"initial": {}, "insert": {}}}},
    "unknown change": {"Port_Binding": {UUIDS[9]: {"paint": {}}}},
    "columns are a list": {"Port_Binding": {UUIDS[9]: {"initial": []}}},
    "a change of no row": {"Port_Binding": {UUIDS[9]: {"modify": {"up": True}}}},
    "a change of no flow": {"Logical_Flow": {UUIDS[9]: {"modify": {"priority": 1}}}},
    "a number for a text": row("Port_Binding", logical_port=5),
    "a text for a number": row("Port_Binding", tunnel_key="5"),
    "a boolean for a number": row("Port_Binding", tunnel_key=True),
    "a number of 65 bits": row("Port_Binding", tunnel_key=1 << 64),
    "a float": row("Port_Binding", tunnel_key=1.5),
    "a number for a boolean": row("Port_Binding", up=1),
    "two values": row("Port_Binding", up=["set", [True, False]]),
    "no set": row("Port_Binding", up=["sets", []]),
    "a text for a UUID": row("Port_Binding", datapath="x"),
    "no UUID": row("Port_Binding", datapath=["uuid", "x"]),
    "a name for a UUID": row("Port_Binding", datapath=["named-uuid", UUIDS[2]]),
    "a set of texts": row("Chassis", encaps=["set", ["x"]]),
    "no list of references": row("Chassis", encaps=["set", "x"]),
    "very many references": row("Chassis", encaps=["set", [["uuid", UUIDS[1]]] * 10_001]),
    "no map": row("Datapath_Binding", external_ids=["set", []]),
    "a map of texts": row("Datapath_Binding", external_ids=["map", ["name"]]),
    "a map of threes": row("Datapath_Binding", external_ids=["map", [["name", "a", "b"]]]),
    "a key that is a list": row("Datapath_Binding", external_ids=["map", [[["name"], "a"]]]),
    "a value that is a list": row("Datapath_Binding", external_ids=["map", [["name", ["a"]]]]),
}


@pytest.mark.parametrize("rows", ILL_TYPED_ROWS.values(), ids=ILL_TYPED_ROWS.keys())
async def test_says_malformed_about_ill_typed_rows(tmp_path: Path, rows: object) -> None:
    assert (await failure_with(tmp_path, rows=rows)).reason is Reason.MALFORMED
    assert (await after(tmp_path, rows)).reason is Reason.MALFORMED


@pytest.mark.parametrize(
    "message",
    [
        {"method": "update2", "params": ["other", {}], "id": None},
        {"method": "update2", "params": [["rows"], {}], "id": None},
        {"method": "update2", "params": ["rows"], "id": None},
        {"method": "update", "params": ["rows", {}], "id": None},
        {"method": "update3", "params": ["rows", UUIDS[1], {}], "id": None},
        {"method": "stolen", "params": [], "id": None},
        {"method": "transact", "params": [], "id": 5},
        {"id": 12345, "result": {}, "error": None},
        {"id": ["x"], "result": {}, "error": None},
        {"id": {"x": 1}, "result": None, "error": "x"},
    ],
)
async def test_says_malformed_about_a_message_that_was_not_asked_for(
    tmp_path: Path, message: dict[str, Any]
) -> None:
    assert (await after(tmp_path, json.dumps(message).encode())).reason is Reason.MALFORMED


async def test_says_broken_when_a_monitor_is_canceled(tmp_path: Path) -> None:
    canceled = json.dumps({"method": "monitor_canceled", "params": ["rows"], "id": None})
    assert (await after(tmp_path, canceled.encode())).reason is Reason.BROKEN


async def test_echo_is_answered(tmp_path: Path) -> None:
    server = FakeSouthbound(answers())
    async with server.listen(tmp_path / "db.sock") as remote:
        observer = Southbounds(remote)
        async with observer.running():
            await observer.until(lambda it: bool(it.bindings))
            server.push({"method": "echo", "params": ["x"], "id": "echo"})
            async with asyncio.timeout(20):
                while not any(it.get("result") == ["x"] for it in server.seen):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)


async def test_rows_that_are_there_twice_or_not_at_all_are_no_matter(tmp_path: Path) -> None:
    """Conditions that change may say so of rows that change at the same time."""
    server = FakeSouthbound(answers())
    async with server.listen(tmp_path / "db.sock") as remote:
        observer = Southbounds(remote)
        async with observer.running():
            await observer.until(lambda it: bool(it.bindings))
            server.update({"Port_Binding": {UUIDS[8]: {"delete": None}}})
            again = {"logical_port": "q", "datapath": ["uuid", UUIDS[7]], "tunnel_key": 1}
            server.update({"Port_Binding": {UUIDS[3]: {"insert": again}}})
            known = await observer.until(lambda it: it.bindings[0].logical_port == "q")
            assert known.bindings == (PortBinding("q", "vif", None, 1),)
            server.update({"Datapath_Binding": {UUIDS[7]: {"insert": {"tunnel_key": 9}}}})
            known = await observer.until(lambda it: it.bindings[0].datapath == 9)
            server.update({"Datapath_Binding": {UUIDS[7]: {"delete": None}}})
            known = await observer.until(lambda it: it.bindings[0].datapath is None)
    assert known.datapaths == (DatapathBinding(5, None, "net"),)


async def test_texts_are_bounded_and_can_be_shown(tmp_path: Path) -> None:
    rows = row("Port_Binding", logical_port="\ud800\0" + "x" * 100_000, type="y" * 2000)
    server = FakeSouthbound(answers(rows=rows))
    async with server.listen(tmp_path / "db.sock") as remote:
        observer = Southbounds(remote)
        async with observer.running():
            known = await observer.until(lambda it: bool(it.bindings))
    (port,) = known.bindings
    assert (len(port.logical_port), len(port.type)) == (1024, 1024)
    port.logical_port.encode()


async def test_does_not_tell_what_a_bad_row_holds(tmp_path: Path) -> None:
    rows = row("Datapath_Binding", external_ids=["map", [["name", {"hunter2": 1}]]])
    assert "hunter2" not in str(await failure_with(tmp_path, rows=rows))


@pytest.mark.usefixtures("quick")
async def test_a_flood_of_other_messages_is_no_answer(tmp_path: Path) -> None:
    flood = b'{"method":"update2","params":["_Server",{}],"id":null}' * 200_000
    assert (await failure_with(tmp_path, get_schema=flood)).reason is Reason.TIMEOUT


@pytest.mark.usefixtures("quick")
async def test_a_message_without_an_end_is_given_up_in_bounded_memory(tmp_path: Path) -> None:
    rows = b",".join(
        b'"%08x-0000-4000-8000-000000000000":{"initial":{"tunnel_key":1}}' % number
        for number in range(20_000)
    )
    begin = b'{"id":ID,"result":{"Port_Binding":{' + rows
    error = await failure_with(tmp_path, rows=begin)
    assert error.reason is Reason.TIMEOUT


async def test_says_malformed_when_a_message_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ovsdb_framing, "MAX_MESSAGE_BYTES", 1 << 20)
    many = b'{"id":ID,"result":[' + b'"x", ' * (1 << 18)
    error = await failure_with(tmp_path, rows=many)
    assert error.reason is Reason.MALFORMED
    assert "a message of more than" in error.detail


async def test_a_server_that_serves_one_that_is_not_connected_too(tmp_path: Path) -> None:
    other = {"initial": {"name": "OVN_Northbound", "model": "clustered"}}
    served = {"Database": {**SERVED["Database"], UUIDS[5]: other}}
    server = FakeSouthbound(answers(served=served))
    async with server.listen(tmp_path / "db.sock") as remote:
        observer = Southbounds(remote)
        async with observer.running():
            await observer.until(lambda it: bool(it.bindings))
    assert SCHEMA["tables"].keys() > ROWS.keys()
