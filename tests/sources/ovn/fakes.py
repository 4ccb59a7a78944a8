"""A server that speaks monitor_cond and answers from a table, with rows of a small Southbound."""

import asyncio
import json
from typing import Any

from tests.sources.ovn.servers import schema_of
from tests.sources.ovsdb.peers import Close, Failure, FakeServer, Silence

SCHEMA = schema_of("OVN_Southbound")
SERVER_SCHEMA: dict[str, Any] = {
    "name": "_Server",
    "version": "1.2.0",
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
UUIDS = [f"00000000-0000-4000-8000-{number:012}" for number in range(10)]
SERVED = {
    "Database": {
        UUIDS[0]: {"initial": {"name": "OVN_Southbound", "model": "standalone", "connected": True}}
    }
}
ROWS: dict[str, Any] = {
    "SB_Global": {UUIDS[1]: {"initial": {"nb_cfg": 3}}},
    "Datapath_Binding": {
        UUIDS[2]: {"initial": {"tunnel_key": 5, "external_ids": ["map", [["name", "net"]]]}}
    },
    "Port_Binding": {
        UUIDS[3]: {
            "initial": {"logical_port": "p", "datapath": ["uuid", UUIDS[2]], "tunnel_key": 1}
        }
    },
}
QUESTIONS = {"_Server": "served", "rows": "rows", "flows": "flows"}


def answers(**others: Any) -> dict[str, Any]:
    """What a server says to each question."""
    return {
        "server_schema": SERVER_SCHEMA,
        "served": SERVED,
        "get_schema": SCHEMA,
        "rows": ROWS,
        "flows": {},
        "change": {},
        "echo": [],
        **others,
    }


class FakeSouthbound(FakeServer):
    """Answers each question; ``update`` says something unasked."""

    def update(self, contents: object, monitor: object = "rows") -> None:
        self.push({"method": "update2", "params": [monitor, contents], "id": None})

    def _answer(self, message: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        match message:
            case {"method": "get_schema", "params": ["_Server"]}:
                question = "server_schema"
            case {"method": "monitor_cond", "params": [_, monitor, _]}:
                question = QUESTIONS[monitor]
            case {"method": "monitor_cond_change"}:
                question = "change"
            case {"method": str(question)}:
                pass
            case _:
                return
        if question == "rows":
            self.monitored.set()
        answer = self.answers[question]
        reply = {"id": message["id"], "result": answer, "error": None}
        if isinstance(answer, Silence):
            return
        if isinstance(answer, Close):
            writer.write(answer.data)
            writer.close()
        elif isinstance(answer, bytes):
            writer.write(answer.replace(b"ID", json.dumps(message["id"]).encode()))
        elif isinstance(answer, Failure):
            writer.write(json.dumps(reply | {"result": None, "error": answer.error}).encode())
        else:
            writer.write(json.dumps(reply).encode())
