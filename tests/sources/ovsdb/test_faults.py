"""A server that does not behave takes the source down with a reason, and nothing else."""

import asyncio
import errno
import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from agent.addresses import parse_remote
from agent.errors import Reason, SourceError
from agent.sources import ovsdb, ovsdb_framing, ovsdb_session
from agent.sources.ovsdb_session import Session, peer_errors
from agent.supervise import Backoff, keep_running
from tests.sources.ovsdb.peers import (
    CONTENTS,
    SCHEMA,
    UUIDS,
    Close,
    Failure,
    FakeServer,
    Observer,
    Silence,
    good_answers,
    until,
)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source's patience, shortened so that a test need not wait for it."""
    monkeypatch.setattr(ovsdb, "SCHEMA_SECONDS", 0.3)
    monkeypatch.setattr(ovsdb, "CONTENTS_SECONDS", 1.0)
    monkeypatch.setattr(ovsdb_session, "PROBE_SECONDS", 0.3)
    monkeypatch.setattr(ovsdb_session, "MESSAGE_SECONDS", 0.6)


async def failure(remote: str, seconds: float = 10) -> SourceError:
    with pytest.raises(SourceError) as caught:
        async with asyncio.timeout(seconds):
            await Observer(remote).source.run()
    assert "\n" not in caught.value.detail
    assert len(caught.value.detail) < 400
    return caught.value


async def failure_with(path: Path, answers: dict[str, Any]) -> SourceError:
    async with FakeServer(answers).listen(path / "db.sock") as remote:
        return await failure(remote)


def monitor_reply(contents: object) -> dict[str, Any]:
    return good_answers(monitor=contents)


async def test_says_absent_when_there_is_no_socket(tmp_path: Path) -> None:
    assert (await failure(f"unix:{tmp_path}/db.sock")).reason is Reason.ABSENT
    assert (await failure(f"unix:{tmp_path}/no/db.sock")).reason is Reason.ABSENT


async def test_says_refused_when_nobody_listens(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "db.sock"))
        assert (await failure(f"unix:{tmp_path}/db.sock")).reason is Reason.REFUSED
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        assert (await failure(f"tcp:127.0.0.1:{port}")).reason is Reason.REFUSED


async def test_says_timeout_when_the_backlog_of_a_stopped_server_is_full(tmp_path: Path) -> None:
    path = str(tmp_path / "db.sock")
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(path)
        stopped.listen(0)
        waiting = []
        while True:
            client = socket.socket(socket.AF_UNIX)
            waiting.append(client)
            client.settimeout(0)
            if client.connect_ex(path) == errno.EAGAIN:
                break
        assert (await failure(f"unix:{path}")).reason is Reason.TIMEOUT
        for client in waiting:
            client.close()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.EACCES, Reason.DENIED),
        (errno.EPERM, Reason.DENIED),
        (errno.ECONNRESET, Reason.BROKEN),
        (errno.EPIPE, Reason.BROKEN),
        (errno.ETIMEDOUT, Reason.TIMEOUT),
    ],
)
def test_maps_what_the_operating_system_says(code: int, reason: Reason) -> None:
    with pytest.raises(SourceError) as caught, peer_errors("unix:/db.sock"):
        raise OSError(code, os.strerror(code))
    assert caught.value.reason is reason
    assert caught.value.detail == f"unix:/db.sock: {os.strerror(code)}"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(good_answers(get_schema=Silence()), id="says nothing"),
        pytest.param(good_answers(get_schema=b'{"id": 0, "resu'), id="half the schema"),
        pytest.param(good_answers(server_schema=Silence(), echo=Silence()), id="hangs"),
        pytest.param(
            good_answers(monitor=b'{"id":3,"result":{"Bri', echo=Silence()), id="half the contents"
        ),
        pytest.param(good_answers(monitor=Silence()), id="answers probes only"),
    ],
)
async def test_does_not_wait_for_ever(tmp_path: Path, answers: dict[str, Any]) -> None:
    started = asyncio.get_running_loop().time()
    assert (await failure_with(tmp_path, answers)).reason is Reason.TIMEOUT
    assert asyncio.get_running_loop().time() - started < 3


@pytest.mark.usefixtures("quick")
async def test_says_timeout_when_a_server_hangs_while_it_is_followed(tmp_path: Path) -> None:
    server = FakeServer(good_answers(echo=Silence()))
    async with server.listen(tmp_path / "db.sock") as remote:
        observer = Observer(remote)
        with pytest.raises(SourceError) as caught:
            await observer.source.run()
    assert len(observer.switches) == 1
    assert caught.value.reason is Reason.TIMEOUT
    assert [message["method"] for message in server.seen].count("echo") == 1


@pytest.mark.usefixtures("quick")
async def test_says_timeout_when_a_message_arrives_drop_by_drop(tmp_path: Path) -> None:
    server = FakeServer(good_answers())
    async with server.listen(tmp_path / "db.sock") as remote, Observer(remote).running() as task:
        await server.monitored.wait()
        server.push(b'{"method": "update", "params": [')
        while not task.done():
            server.push(b" ")
            await asyncio.wait([task], timeout=0.05)
        error = task.exception()
    assert isinstance(error, SourceError)
    assert error.reason is Reason.TIMEOUT


GARBAGE = {
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "an array": b'["get_schema"]',
    "no JSON": b'{"id": 0, "result": }',
    "wrong bracket": b'{"id": 0, "result": [}}',
    "backslash": b'{\\"id": 0}',
    "no UTF-8": b'{"id": 0, "result": {"name": "\xff\xfe"}, "error": null}',
    "encoded surrogate": b'{"id": 0, "result": {"name": "\xed\xa0\x80"}, "error": null}',
    "NaN": b'{"id": 0, "result": NaN, "error": null}',
    "deep": b'{"id": 0, "result": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "large number": b'{"id": ' + b"9" * 5000 + b"}",
    "no JSON-RPC": b'{"id": 0, "hello": "world"}',
    "ill-typed JSON-RPC": b'{"method": 5, "params": {}, "id": null}',
    "null bytes": b"\0" * 100,
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
async def test_says_malformed_about_garbage(tmp_path: Path, data: bytes) -> None:
    assert (await failure_with(tmp_path, good_answers(get_schema=data))).reason is Reason.MALFORMED
    assert (await failure_with(tmp_path, good_answers(monitor=data))).reason is Reason.MALFORMED


async def test_says_malformed_when_a_message_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ovsdb_framing, "MAX_MESSAGE_BYTES", 1 << 20)
    monkeypatch.setattr(ovsdb_framing, "MAX_STRING_BYTES", 1 << 20)
    many = b'{"id": 0, "result": [' + b'"x", ' * (1 << 18)
    error = await failure_with(tmp_path, good_answers(get_schema=many))
    assert error.reason is Reason.MALFORMED
    assert "a message of more than" in error.detail
    long = b'{"id": 0, "result": "' + b"x" * ((1 << 20) + 100)
    error = await failure_with(tmp_path, good_answers(get_schema=long))
    assert error.reason is Reason.MALFORMED
    assert "a string of more than" in error.detail


ILL_TYPED_SCHEMAS: dict[str, Any] = {
    "text": "Open_vSwitch",
    "empty": {},
    "tables are a list": {"name": "Open_vSwitch", "tables": ["Bridge"]},
    "columns are a list": {"name": "Open_vSwitch", "tables": {"Bridge": {"columns": ["name"]}}},
    "a table is null": {"name": "Open_vSwitch", "tables": {"Bridge": None}},
    "unknown type": {
        "name": "Open_vSwitch",
        "tables": {"Bridge": {"columns": {"name": {"type": "colour"}}}},
    },
    "dangling reference": {
        "name": "Open_vSwitch",
        "tables": {"Port": SCHEMA["tables"]["Port"]},
    },
    "infinite": {
        "name": "Open_vSwitch",
        "tables": {"Port": {"columns": {"tag": {"type": {"key": "integer", "max": 1e999}}}}},
    },
}


@pytest.mark.parametrize("schema", ILL_TYPED_SCHEMAS.values(), ids=ILL_TYPED_SCHEMAS.keys())
async def test_says_malformed_about_an_ill_typed_schema(tmp_path: Path, schema: object) -> None:
    raw = b'{"id": %d, "result": ' + json.dumps(schema).replace("Infinity", "1e999").encode()
    server = FakeServer(good_answers(get_schema=Silence()))
    async with server.listen(tmp_path / "db.sock") as remote, Observer(remote).running() as task:
        await server.connected.wait()
        await until(lambda: bool(server.seen))
        server.push(raw % server.seen[0]["id"] + b', "error": null}')
        await asyncio.wait([task], timeout=5)
        error = task.exception()
    assert isinstance(error, SourceError)
    assert error.reason is Reason.MALFORMED


ILL_TYPED_CONTENTS: dict[str, Any] = {
    "a list": [1],
    "text": "x",
    "unknown table": {"Mirror": {}},
    "table is a list": {"Bridge": []},
    "bad uuid": {"Bridge": {"x": {"new": {}}}},
    "row is null": {"Bridge": {UUIDS[1]: None}},
    "no row": {"Bridge": {UUIDS[1]: {}}},
    "unknown member": {"Bridge": {UUIDS[1]: {"newer": {}}}},
    "ill-typed column": {"Bridge": {UUIDS[1]: {"new": {"name": 5}}}},
    "too many values": {"Interface": {UUIDS[1]: {"new": {"ofport": ["set", [1, 2]]}}}},
    "unknown column": {"Bridge": {UUIDS[1]: {"new": {"colour": "red"}}}},
    "ill-typed map": {"Interface": {UUIDS[1]: {"new": {"external_ids": ["map", [["a"]]]}}}},
}


@pytest.mark.parametrize("contents", ILL_TYPED_CONTENTS.values(), ids=ILL_TYPED_CONTENTS.keys())
async def test_says_malformed_about_ill_typed_contents(tmp_path: Path, contents: object) -> None:
    assert (await failure_with(tmp_path, monitor_reply(contents))).reason is Reason.MALFORMED


@pytest.mark.parametrize(
    "ids",
    [
        ["map", [["psk", "hunter2"], ["psk", "hunter2"]]],
        ["map", [["psk", {"hunter2": 1}]]],
        ["map", ["hunter2"]],
        {"hunter2": "hunter2"},
    ],
)
async def test_does_not_tell_what_a_bad_row_holds(tmp_path: Path, ids: object) -> None:
    """Rows hold secrets, and the library quotes them."""
    contents = {"Interface": {UUIDS[3]: {"new": {"external_ids": ids}}}}
    error = await failure_with(tmp_path, good_answers(monitor=contents))
    assert error.reason is Reason.MALFORMED
    assert "hunter2" not in str(error)


@pytest.mark.usefixtures("quick")
async def test_a_flood_of_other_messages_is_no_answer(tmp_path: Path) -> None:
    flood = b'{"method":"update","params":["x",{}],"id":null}' * 200_000
    server = FakeServer(good_answers(get_schema=flood))
    async with server.listen(tmp_path / "db.sock") as remote:
        assert (await failure(remote)).reason is Reason.TIMEOUT


@pytest.mark.parametrize(
    "message",
    [
        {"method": "update", "params": ["x", {"Bridge": {UUIDS[9]: {"old": {"name": "b"}}}}]},
        {"method": "update2", "params": ["x", {"Bridge": {UUIDS[9]: {"modify": {}}}}]},
        {"method": "update2", "params": ["x", {"Bridge": {UUIDS[9]: {"paint": {}}}}]},
        {"method": "update3", "params": ["x", "y", None]},
    ],
)
async def test_says_malformed_about_an_update_that_leaves_a_hole(
    tmp_path: Path, message: dict[str, Any]
) -> None:
    server = FakeServer(good_answers())
    async with server.listen(tmp_path / "db.sock") as remote:
        observer = Observer(remote)
        async with observer.running() as task:
            await observer.until(lambda switch: bool(switch.bridges))
            server.push({"id": None, **message})
            await asyncio.wait([task], timeout=5)
            error = task.exception()
    assert isinstance(error, SourceError)
    assert error.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("answers", "reason", "text"),
    [
        (
            good_answers(get_schema=Failure({"error": "unknown database", "details": "no"})),
            Reason.REFUSED,
            "unknown database: no",
        ),
        (good_answers(get_schema=Failure("not\nnow" * 500)), Reason.BROKEN, "not now"),
        (good_answers(monitor=Failure({"error": "resources"})), Reason.BROKEN, "resources"),
        (good_answers(monitor=Failure("unknown method")), Reason.BROKEN, "unknown method"),
    ],
)
async def test_tells_what_an_error_reply_says(
    tmp_path: Path, answers: dict[str, Any], reason: Reason, text: str
) -> None:
    error = await failure_with(tmp_path, answers)
    assert error.reason is reason
    assert text in error.detail


@pytest.mark.parametrize(
    "answers",
    [
        good_answers(get_schema=Close()),
        good_answers(get_schema=Close(b'{"id": 0, "res')),
        good_answers(monitor=Close(b'{"id": 3, "res')),
    ],
)
async def test_says_broken_when_the_connection_ends(
    tmp_path: Path, answers: dict[str, Any]
) -> None:
    assert (await failure_with(tmp_path, answers)).reason is Reason.BROKEN


async def test_says_broken_when_the_monitor_is_canceled(tmp_path: Path) -> None:
    server = FakeServer(good_answers())
    async with server.listen(tmp_path / "db.sock") as remote, Observer(remote).running() as task:
        await server.monitored.wait()
        server.push({"method": "monitor_canceled", "params": [server.monitor_id], "id": None})
        await asyncio.wait([task], timeout=5)
        error = task.exception()
    assert isinstance(error, SourceError)
    assert error.reason is Reason.BROKEN


async def test_says_broken_when_a_server_asks_and_does_not_read(tmp_path: Path) -> None:
    """Answers are kept only up to a bound."""
    path = tmp_path / "db.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def flood() -> None:
            client, _ = listener.accept()
            ask = {"method": "echo", "params": ["x" * 10_000], "id": "flood"}
            try:
                while True:
                    client.sendall(json.dumps(ask).encode())
            except OSError:
                client.close()

        thread = threading.Thread(target=flood)
        thread.start()
        error = await failure(f"unix:{path}")
        await asyncio.to_thread(thread.join)
    assert error.reason is Reason.BROKEN
    assert "does not read" in error.detail


async def test_the_library_writes_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for answers in (good_answers(monitor=b"}"), good_answers(monitor=Close())):
        await failure_with(tmp_path, answers)
    await failure(f"unix:{tmp_path}/nobody.sock")
    assert capfd.readouterr() == ("", "")


async def test_a_bug_of_the_receiver_is_no_fault_of_the_server(tmp_path: Path) -> None:
    def publish(_switch: object) -> None:
        raise KeyError("a bug")

    async with FakeServer(good_answers()).listen(tmp_path / "db.sock") as remote:
        source = ovsdb.OvsdbSource(remote, publish, lambda _: None)
        with pytest.raises(KeyError):
            await asyncio.wait_for(source.run(), 5)


async def test_a_bug_of_ours_is_no_fault_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ovsdb_session, "said", None)  # not callable: a TypeError in our own code
    async with FakeServer(good_answers(monitor=Failure("x"))).listen(tmp_path / "s") as remote:
        with pytest.raises(TypeError):
            await asyncio.wait_for(Observer(remote).source.run(), 5)


def test_can_send_nothing_that_writes(tmp_path: Path) -> None:
    import ovs.jsonrpc  # noqa: PLC0415 (for this one message)

    told, tell = os.pipe()
    session = Session(str(tmp_path / "db.sock"), "unix:db.sock", told)
    for method in ("transact", "lock", "steal", "convert", "monitor_cancel"):
        with pytest.raises(ValueError, match="allow-list"):
            session.send(ovs.jsonrpc.Message.create_request(method, ["Open_vSwitch"]))
    os.close(told)
    os.close(tell)


@pytest.mark.parametrize(
    "remote",
    [
        "",
        "unix:",
        "unix:" + "x" * 108,
        "unix:a\0b",
        "tcp:127.0.0.1",
        "tcp::6640",
        "tcp:host:0",
        "tcp:host:65536",
        "tcp:host:http",
        "tcp:" + "x" * 64 + ":6640",
        "ssl:127.0.0.1:6640",
        "ptcp:6640",
        "punix:db.sock",
        "/var/run/openvswitch/db.sock",
    ],
)
def test_refuses_other_remotes_when_it_is_made(remote: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Observer(remote)


def test_reads_the_address_out_of_a_remote() -> None:
    assert parse_remote("unix:/run/openvswitch/db.sock") == "/run/openvswitch/db.sock"
    assert parse_remote("tcp:127.0.0.1:6640") == ("127.0.0.1", 6640)
    assert parse_remote("tcp:[::1]:6640") == ("::1", 6640)


async def test_good_contents_follow_a_bad_attempt(tmp_path: Path) -> None:
    server = FakeServer(good_answers(monitor=Close()))
    async with server.listen(tmp_path / "db.sock") as remote:
        observer = Observer(remote)
        with pytest.raises(SourceError):
            await observer.source.run()
        server.answers = good_answers(monitor=CONTENTS)
        async with observer.running():
            switch = await observer.until(lambda _: True)
    assert switch.bridges[0].ports[0].interfaces[0].ofport == 5


async def test_a_process_that_stops_while_the_server_is_absent_stops() -> None:
    """Whenever the cancellation comes: it must not be lost in the clearing up of an attempt."""

    def ignore(_said: object) -> None:
        """Nobody looks."""

    for number in range(200):
        source = ovsdb.OvsdbSource("unix:/nonexistent/db.sock", ignore, ignore)
        task = asyncio.create_task(keep_running(source.run, ignore, Backoff()))
        await asyncio.sleep(number * 1e-5)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=10)
        assert done, f"still trying after cancellation {number}"
