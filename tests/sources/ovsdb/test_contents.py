"""What a server says becomes a Switch, whatever it is, and only what changed is made again."""

import asyncio
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from agent.errors import Reason, SourceError
from agent.model.switch import Bfd, Bridge, Interface, Port, Switch
from agent.wire.text import clean
from tests.sources.ovsdb.peers import (
    CONTENTS,
    SCHEMA,
    TEXTS,
    UUIDS,
    Failure,
    FakeServer,
    Observer,
    Silence,
    descriptors,
    good_answers,
    optional,
    reference,
    until,
)


def workers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "ovsdb"]


async def contents_of(path: Path, answers: dict[str, Any]) -> Switch:
    async with FakeServer(answers).listen(path / "db.sock") as remote:
        observer = Observer(remote)
        async with observer.running():
            return await observer.until(lambda _: True)


async def test_publishes_the_contents(tmp_path: Path) -> None:
    interface = Interface("tap1", ofport=5)
    bridge = Bridge("br-int", ports=(Port("tap1", (interface,)),))
    switch = await contents_of(tmp_path, good_answers())
    assert switch == Switch(ovs_version="3.1.0", bridges=(bridge,))


async def test_an_empty_database_is_a_switch_without_anything(tmp_path: Path) -> None:
    assert await contents_of(tmp_path, good_answers(monitor={})) == Switch()


async def test_a_schema_of_another_database_is_a_switch_without_anything(tmp_path: Path) -> None:
    schema = {"name": "Open_vSwitch", "tables": {}}
    assert await contents_of(tmp_path, good_answers(get_schema=schema, monitor={})) == Switch()


async def test_asks_for_wanted_columns_that_the_schema_has_and_for_nothing_else(
    tmp_path: Path,
) -> None:
    schema = {
        **SCHEMA,
        "tables": {
            **SCHEMA["tables"],
            "Interface": {
                "columns": {
                    "name": {"type": "string"},
                    "statistics": {"type": {"key": "string", "value": "integer", "max": 100}},
                    "a_new_one": {"type": "boolean"},
                },
                "indexes": [["name", "a_new_one"]],
                "a_new_word": True,
            },
            "SSL": {"columns": {"private_key": {"type": "string"}}},
        },
    }
    server = FakeServer(good_answers(get_schema=schema, monitor={}))
    async with server.listen(tmp_path / "db.sock") as remote:
        observer = Observer(remote)
        async with observer.running():
            await observer.until(lambda _: True)
    monitor = next(message for message in server.seen if message["method"] == "monitor")
    asked = {table: set(request[0]["columns"]) for table, request in monitor["params"][2].items()}
    assert asked == {
        "Open_vSwitch": {"ovs_version", "bridges", "external_ids"},
        "Bridge": {"name", "ports"},
        "Port": {"name", "interfaces"},
        "Interface": {"name"},
    }


async def test_dangling_references_are_left_out_until_their_row_comes(tmp_path: Path) -> None:
    contents = {**CONTENTS, "Interface": {}}
    server = FakeServer(good_answers(monitor=contents))
    async with server.listen(tmp_path / "db.sock") as remote:
        observer = Observer(remote)
        async with observer.running():
            switch = await observer.until(lambda _: True)
            assert switch.bridges[0].ports == (Port("tap1"),)
            server.update({"Interface": CONTENTS["Interface"]})
            switch = await observer.until(lambda now: bool(now.bridges[0].ports[0].interfaces))
    assert switch.bridges[0].ports[0].interfaces[0].ofport == 5


async def test_a_port_that_is_on_two_bridges_changes_on_both(tmp_path: Path) -> None:
    contents = {
        **CONTENTS,
        "Open_vSwitch": {
            UUIDS[0]: {"new": {"bridges": ["set", [["uuid", UUIDS[1]], ["uuid", UUIDS[4]]]]}}
        },
        "Bridge": {
            **CONTENTS["Bridge"],
            UUIDS[4]: {"new": {"name": "br-ex", "ports": ["uuid", UUIDS[2]]}},
        },
    }
    server = FakeServer(good_answers(monitor=contents))
    async with server.listen(tmp_path / "db.sock") as remote:
        observer = Observer(remote)
        async with observer.running():
            await observer.until(lambda _: True)
            server.update(
                {"Interface": {UUIDS[3]: {"old": {"ofport": 5}, "new": {"name": "x", "ofport": 6}}}}
            )
            switch = await observer.until(lambda _: len(observer.switches) > 1)
    numbers = [bridge.ports[0].interfaces[0].ofport for bridge in switch.bridges]
    assert [bridge.name for bridge in switch.bridges] == ["br-ex", "br-int"]
    assert numbers == [6, 6]


async def test_references_in_a_circle_end(tmp_path: Path) -> None:
    """A schema may say that ports are bridges; a port is looked up among ports all the same."""
    schema = {**SCHEMA, "tables": {**SCHEMA["tables"]}}
    schema["tables"]["Bridge"] = {
        "columns": {"name": {"type": "string"}, "ports": reference("Bridge")}
    }
    contents = {
        "Open_vSwitch": CONTENTS["Open_vSwitch"],
        "Bridge": {UUIDS[1]: {"new": {"name": "br-int", "ports": ["uuid", UUIDS[1]]}}},
    }
    switch = await contents_of(tmp_path, good_answers(get_schema=schema, monitor=contents))
    assert switch.bridges == (Bridge("br-int"),)


async def test_columns_of_another_type_are_absent(tmp_path: Path) -> None:
    schema = {**SCHEMA, "tables": {**SCHEMA["tables"]}}
    schema["tables"]["Interface"] = {
        "columns": {
            "name": {"type": "string"},
            "ofport": {"type": "string"},
            "error": {"type": "boolean"},
            "external_ids": {"type": {"key": "integer", "value": "integer", "max": "unlimited"}},
            "mtu": {"type": "real"},
        }
    }
    new = {"name": "tap1", "ofport": "5", "error": True, "mtu": 1.5}
    contents = {**CONTENTS, "Interface": {UUIDS[3]: {"new": new}}}
    switch = await contents_of(tmp_path, good_answers(get_schema=schema, monitor=contents))
    assert switch.bridges[0].ports[0].interfaces == (Interface("tap1"),)


WATCHED = {"name": {"type": "string"}, "bfd_status": TEXTS, "status": TEXTS}


async def watched(path: Path, new: dict[str, Any]) -> Interface:
    """Return what becomes of a row of the columns that tell whether an interface is alive."""
    columns = {**WATCHED, "cfm_fault": optional("boolean")}
    schema = {**SCHEMA, "tables": {**SCHEMA["tables"], "Interface": {"columns": columns}}}
    contents = {**CONTENTS, "Interface": {UUIDS[3]: {"new": {"name": "tap1", **new}}}}
    switch = await contents_of(path, good_answers(get_schema=schema, monitor=contents))
    (interface,) = switch.bridges[0].ports[0].interfaces
    return interface


@pytest.mark.parametrize(
    ("status", "bfd"),
    [
        pytest.param([], None, id="switched off"),
        pytest.param([["diagnostic", "No Diagnostic"]], None, id="nothing of ours"),
        pytest.param(
            [
                ["diagnostic", "No Diagnostic"],
                ["flap_count", "18446744073709551615"],
                ["forwarding", "true"],
                ["remote_state", "init"],
                ["state", "up"],
            ],
            Bfd("up", "init", forwarding=True, flap_count=(1 << 64) - 1),
            id="all of it",
        ),
        pytest.param([["forwarding", "false"]], Bfd(forwarding=False), id="a part of it"),
        pytest.param(
            [["state", "up"], ["flap_count", "-1"], ["forwarding", "yes"]], Bfd("up"), id="odd"
        ),
        pytest.param([["state", "up"], ["flap_count", "9" * 5000]], Bfd("up"), id="endless"),
        pytest.param([["state", "up"], ["flap_count", "\u0665"]], Bfd("up"), id="no digit of ours"),
    ],
)
async def test_a_session_of_bfd_is_what_its_status_says(
    tmp_path: Path, status: list[list[str]], bfd: Bfd | None
) -> None:
    assert (await watched(tmp_path, {"bfd_status": ["map", status]})).bfd == bfd


@pytest.mark.parametrize(("fault", "known"), [(["set", []], None), (True, True), (False, False)])
async def test_a_fault_that_nobody_looks_for_is_not_known(
    tmp_path: Path, fault: object, known: object
) -> None:
    assert (await watched(tmp_path, {"cfm_fault": fault})).cfm_fault is known


@pytest.mark.parametrize(("carrier", "known"), [("up", True), ("down", False), ("sideways", None)])
async def test_the_carrier_of_a_tunnels_egress_is_up_or_down_or_not_known(
    tmp_path: Path, carrier: str, known: object
) -> None:
    status = ["map", [["tunnel_egress_iface", "eth0"], ["tunnel_egress_iface_carrier", carrier]]]
    assert (await watched(tmp_path, {"status": status})).egress_carrier is known


async def test_texts_are_bounded_and_can_be_printed(tmp_path: Path) -> None:
    ids = [["iface-id", "x" * 500_000], ["vm-id", "a\0b"], ["attached-mac", "\ud800\N{SNOWMAN}"]]
    new = {"name": "tap1", "external_ids": ["map", ids], "error": "", "ofport": -1}
    contents = {**CONTENTS, "Interface": {UUIDS[3]: {"new": new}}}
    switch = await contents_of(tmp_path, good_answers(monitor=contents))
    assert switch.bridges[0].ports[0].interfaces == (
        Interface(
            "tap1",
            iface_id="x" * 1024,
            vm_uuid="a\N{REPLACEMENT CHARACTER}b",
            attached_mac="?\N{SNOWMAN}",
        ),
    )
    assert clean("eth0") == "eth0"


async def test_what_did_not_change_is_the_same_object(tmp_path: Path) -> None:
    contents = {
        "Open_vSwitch": CONTENTS["Open_vSwitch"],
        "Bridge": {
            UUIDS[1]: {
                "new": {
                    "name": "br-int",
                    "ports": ["set", [["uuid", UUIDS[2]], ["uuid", UUIDS[4]]]],
                }
            }
        },
        "Port": {
            **CONTENTS["Port"],
            UUIDS[4]: {"new": {"name": "tap0", "interfaces": ["uuid", UUIDS[5]]}},
        },
        "Interface": {**CONTENTS["Interface"], UUIDS[5]: {"new": {"name": "tap0", "ofport": 9}}},
    }
    server = FakeServer(good_answers(monitor=contents))
    async with server.listen(tmp_path / "db.sock") as remote:
        observer = Observer(remote)
        async with observer.running():
            before = (await observer.until(lambda _: True)).bridges[0]
            server.update(
                {
                    "Interface": {
                        UUIDS[3]: {"old": {"ofport": 5}, "new": {"name": "tap1", "ofport": 6}}
                    }
                }
            )
            await observer.until_event("interface_changed")
            after = observer.switches[-1].bridges[0]
    assert [port.name for port in after.ports] == ["tap0", "tap1"]
    assert after.ports[0] is before.ports[0]
    assert after.ports[1].interfaces[0].ofport == 6
    assert before.ports[1].interfaces[0].ofport == 5


async def test_the_initial_contents_are_no_events(tmp_path: Path) -> None:
    server = FakeServer(good_answers())
    async with server.listen(tmp_path / "db.sock") as remote:
        observer = Observer(remote)
        async with observer.running():
            await observer.until(lambda _: True)
            server.update(
                {"Interface": {UUIDS[3]: {"old": CONTENTS["Interface"][UUIDS[3]]["new"]}}}
            )
            await observer.until_event("interface_removed")
    assert dict(observer.events) == {"interface_removed": 1}
    assert observer.switches[-1].bridges[0].ports == (Port("tap1"),)


async def test_an_old_server_is_asked_for_the_oldest_monitor(tmp_path: Path) -> None:
    """One with _Server is asked for newer monitors first, and may know none of them."""
    server_schema = {
        "name": "_Server",
        "version": "1.0.0",
        "tables": {
            "Database": {
                "columns": {
                    "name": {"type": "string"},
                    "model": {"type": "string"},
                    "connected": {"type": "boolean"},
                }
            }
        },
    }
    unknown = Failure("unknown method")
    answers = good_answers(
        server_schema=server_schema,
        monitor_cond=unknown,
        monitor_cond_since=unknown,
        set_db_change_aware=unknown,
    )
    assert (await contents_of(tmp_path, answers)).ovs_version == "3.1.0"


async def test_answers_the_probes_of_the_server(tmp_path: Path) -> None:
    server = FakeServer(good_answers())
    async with server.listen(tmp_path / "db.sock") as remote, Observer(remote).running():
        await server.monitored.wait()
        server.push({"method": "echo", "params": ["are you there"], "id": "echo"})
        await until(lambda: server.seen[-1].get("id") == "echo")
    assert server.seen[-1] == {"id": "echo", "result": ["are you there"], "error": None}


async def test_a_busy_loop_gets_the_newest_contents_and_every_event(tmp_path: Path) -> None:
    server = FakeServer(good_answers())
    async with server.listen(tmp_path / "db.sock") as remote:
        observer = Observer(remote)
        async with observer.running():
            await observer.until(lambda _: True)
            for number in range(6, 506):
                server.update(
                    {
                        "Interface": {
                            UUIDS[3]: {
                                "old": {"ofport": number - 1},
                                "new": {"name": "tap1", "ofport": number},
                            }
                        }
                    }
                )
            time.sleep(0.5)  # noqa: ASYNC251 (this is the busy loop)
            switch = await observer.until(
                lambda now: now.bridges[0].ports[0].interfaces[0].ofport == 505
            )
    assert switch.bridges[0].ports[0].interfaces[0].ofport == 505
    assert observer.events["interface_changed"] == 500
    assert len(observer.switches) < 50


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(good_answers(get_schema=Silence()), id="waits for the schema"),
        pytest.param(good_answers(monitor=Silence()), id="waits for the contents"),
        pytest.param(good_answers(), id="follows"),
    ],
)
async def test_ends_within_a_second_and_leaves_nothing(
    tmp_path: Path, answers: dict[str, Any]
) -> None:
    server = FakeServer(answers)
    async with server.listen(tmp_path / "db.sock") as remote:
        before = descriptors()
        async with Observer(remote).running() as task:
            await server.connected.wait()
            await asyncio.wait([task], timeout=0.1)
            assert workers() == ["ovsdb"]
            started = time.monotonic()
        assert time.monotonic() - started < 1
        await until(lambda: not workers())
        await until(lambda: descriptors() == before)
    assert task.cancelled()


async def test_publishes_nothing_after_its_end(tmp_path: Path) -> None:
    server = FakeServer(good_answers())
    async with server.listen(tmp_path / "db.sock") as remote:
        observer = Observer(remote)
        async with observer.running():
            await observer.until(lambda _: True)
        count = len(observer.switches)
        server.update({"Interface": {UUIDS[3]: {"old": {}}}})
        await asyncio.sleep(0.1)
    assert len(observer.switches) == count


async def test_a_stuck_thread_costs_only_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking up a name has no deadline that we could set."""
    answer = threading.Event()

    def slow(*_: object, **__: object) -> list[Any]:
        answer.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    observer = Observer("tcp:localhost:1")
    async with observer.running():
        await until(lambda: bool(workers()))
        started = time.monotonic()
    assert time.monotonic() - started < 1.5
    with pytest.raises(SourceError) as caught:
        await observer.source.run()
    assert caught.value.reason is Reason.TIMEOUT
    assert workers() == ["ovsdb"]
    answer.set()
    await until(lambda: not workers())
    with pytest.raises(SourceError) as caught:
        await observer.source.run()
    assert caught.value.reason is Reason.ABSENT


async def test_follows_a_server_over_tcp() -> None:
    server = FakeServer(good_answers())
    listening = await asyncio.start_server(server._serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    observer = Observer(f"tcp:localhost:{port}")
    async with observer.running():
        assert (await observer.until(lambda _: True)).ovs_version == "3.1.0"
    listening.close()
    for writer in server._writers:
        writer.close()
    await listening.wait_closed()
