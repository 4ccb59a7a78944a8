"""What following OVN's databases costs their servers, beside what others cost them, in one run.

A Southbound with 10,000 logical flows and 1,000 port bindings on 20 chassis, a Northbound with
2,000 ACLs, each on a real ovsdb-server. Clients:

- the agent, in each of its shapes: beside the Southbound with and without logical flows, on a
  compute node, beside the Northbound;
- a real ovn-controller with ovn-monitor-all, as OpenStack's installers set it up; it has no ports;
- ``ovsdb-client monitor`` of all tables, ``ovn-sbctl lflow-list`` and ``list Port_Binding``, which
  is what a script would poll.

At connect, the mean of some connects: bytes that the server sends, and its CPU time. Then what a
connected client costs: memory of the server (the mean of several clients at once), and bytes and
CPU for 1,000 port bindings that change, of which 50 are of one chassis, and 1,000 logical flows
(of the Northbound: ACLs), above what they cost without the client. CPU and memory of the agent are
those of a process that has nothing else to do, memory above the same without a source.

Claims: from a compute node the agent costs the server at most a tenth of what ovn-controller does:
CPU and bytes at connect, bytes for changes. Beside the databases it costs at most as many bytes as
one more ovn-controller does, and at most twice the CPU at connect, for logical flows in pieces.

    PYTHONPATH=. .venv/bin/python bench/ovn_databases.py
"""

import asyncio
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from agent.config import Settings
from agent.sources.ovn_databases import OvnDatabaseSource
from lab.process import Daemon, run, wait_until

FLOWS, PORTS, CHASSIS, DATAPATHS, ACLS = 10_000, 1_000, 20, 50, 2_000
CHANGED, STEP = 1_000, 100
CONNECTS, PEER_CONNECTS = 4, 2
QUIET_SECONDS = 0.2
"""Without a byte from the server, what was asked for has come."""
IDLE_SECONDS = 0.002
SCHEMAS = Path("/usr/share/ovn")
VSWITCH_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
SHAPES: dict[str, dict[str, Any]] = {
    "agent, Southbound": {"database": "OVN_Southbound"},
    "agent, without logical flows": {"database": "OVN_Southbound", "logical_flows": False},
    "agent, compute node": {"database": "OVN_Southbound", "chassis": "chassis-1"},
    "agent, Northbound": {"database": "OVN_Northbound"},
}
CONTROLLER = "ovn-controller"
CHANGES: dict[str, tuple[str, int, tuple[object, object]]] = {
    "Port_Binding": ("up", 5, (False, True)),
    "Logical_Flow": ("priority", 8, (2001, 2002)),
    "ACL": ("priority", 10, (1001, 1002)),
}
"""Column that changes, what the rows' UUIDs are made of, and its values."""
CLAIMS = (
    ("agent, compute node", 0.1, 0.1),
    ("agent, without logical flows", 1.05, 1.0),
    ("agent, Southbound", 1.05, 2.0),
)
"""At most so much of ovn-controller's bytes, at connect and for changes, and CPU at connect."""


@dataclass(slots=True)
class Cost:
    """Of one client; seconds of CPU and bytes. Of changes by what changes: ports or flows."""

    bytes: float = 0
    server_seconds: float = 0
    client_seconds: float | None = None
    first_memory: float | None = None
    server_memory: float | None = None
    client_memory: float | None = None
    changes: dict[str, tuple[float, float, float | None]] = field(default_factory=dict)


# The databases


def uuid(table: int, number: int) -> str:
    """Return the UUID of a row; spread, as real ones are."""
    digest = hashlib.md5(b"%d %d" % (table, number), usedforsecurity=False).digest()
    return str(UUID(bytes=digest))


def southbound() -> dict[str, Any]:
    """Make rows as ovn-northd writes them."""
    chassis = [uuid(1, number) for number in range(CHASSIS)]
    datapaths = [uuid(2, number) for number in range(DATAPATHS)]
    return {
        "SB_Global": {uuid(0, 0): {"nb_cfg": 1}},
        "Encap": {
            uuid(3, n): {"type": "geneve", "ip": f"192.0.2.{n}", "chassis_name": f"chassis-{n}"}
            for n in range(CHASSIS)
        },
        "Chassis": {
            it: {"name": f"chassis-{n}", "hostname": f"node-{n}", "encaps": ["uuid", uuid(3, n)]}
            for n, it in enumerate(chassis)
        },
        "Chassis_Private": {
            uuid(4, n): {"name": f"chassis-{n}", "chassis": ["uuid", it]}
            for n, it in enumerate(chassis)
        },
        "Datapath_Binding": {
            it: {
                "tunnel_key": n + 1,
                "external_ids": texts(
                    name=f"neutron-{it}", name2=f"net-{n}", **{"logical-switch": it}
                ),
            }
            for n, it in enumerate(datapaths)
        },
        "Port_Binding": {
            uuid(5, n): {
                "logical_port": uuid(6, n),
                "datapath": ["uuid", datapaths[n % DATAPATHS]],
                "chassis": ["uuid", chassis[n % CHASSIS]],
                "tunnel_key": n + 1,
                "mac": f"fa:16:3e:00:{n >> 8:02x}:{n & 255:02x} 10.0.{n >> 8}.{n & 255}",
                "external_ids": texts(**{"neutron:device_id": uuid(7, n), "neutron:cidrs": "10/8"}),
                "up": True,
            }
            for n in range(PORTS)
        },
        "Logical_Flow": {
            uuid(8, n): {
                "logical_datapath": ["uuid", datapaths[n % DATAPATHS]],
                "pipeline": "ingress" if n % 2 else "egress",
                "table_id": n % 25,
                "priority": 2002,
                "match": f"outport == @pg_{uuid(9, n % 300)} && ip4 && tcp && tcp.dst == {n}",
                "actions": "reg8[16] = 1; next;",
                "external_ids": texts(
                    source="northd.c:6789",
                    **{"stage-name": f"ls_out_stage_{n % 25}", "stage-hint": f"{n // 3:08x}"},
                ),
            }
            for n in range(FLOWS)
        },
    }


def northbound() -> dict[str, Any]:
    """Make rows as Neutron writes them."""
    acls = {
        uuid(10, n): {
            "direction": "to-lport",
            "action": "allow-related",
            "priority": 1002,
            "match": f"outport == @pg_{uuid(9, n % 300)} && ip4 && tcp && tcp.dst == {n}",
            "external_ids": texts(**{"neutron:security_group_rule_id": uuid(11, n)}),
        }
        for n in range(ACLS)
    }
    group = {"name": "pg", "acls": ["set", [["uuid", it] for it in acls]]}
    return {
        "NB_Global": {uuid(0, 0): {"nb_cfg": 1}},
        "ACL": acls,
        "Port_Group": {uuid(12, 0): group},
    }


def texts(**pairs: str) -> list[Any]:
    """Return a map in OVSDB's JSON."""
    return ["map", [list(pair) for pair in pairs.items()]]


class Server:
    """An ovsdb-server, with a relay in front of it that counts.

    Args:
        directory: For its files.
        schema: File name of the schema.
        rows: By table and UUID.

    Attributes:
        remote: Of the relay.
        sent: Bytes that the server sent to clients of the relay.
        changes: CPU seconds that ``change`` of a table costs without clients.
    """

    def __init__(self, directory: Path, schema: str, rows: dict[str, Any]) -> None:
        directory.mkdir()
        self.changes: dict[str, float] = {}
        self._turns: Counter[str] = Counter()
        self._writer: socket.socket | None = None
        self._direct, relayed = directory / "direct.sock", directory / "relay.sock"
        self.remote = f"unix:{relayed}"
        file = directory / "ovn.db"
        with file.open("wb") as db:  # ovsdb(5)
            for record in (json.loads((SCHEMAS / schema).read_text()), {"_date": 0, **rows}):
                data = json.dumps(record).encode() + b"\n"
                digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
                db.write(b"OVSDB JSON %d %s\n" % (len(data), digest.encode()) + data)
        self._argv = ("ovsdb-server", str(file), f"--remote=punix:{self._direct}")
        self._argv += (f"--unixctl={directory / 'server.ctl'}", "-vconsole:off")
        self._log = directory / "server.log"
        self._start()
        self.sent = 0
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(relayed))
        listener.listen()
        threading.Thread(target=self._relay, args=(listener,), daemon=True).start()

    def _start(self) -> None:
        self.daemon = Daemon(self._argv, self._log)
        wait_until(self._direct.exists, what="ovsdb-server to listen")

    def restart(self) -> None:
        """Begin anew: what it once needed it keeps."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self.daemon.stop()
        self._start()
        self.quiet()

    def _relay(self, listener: socket.socket) -> None:
        while True:
            client, _ = listener.accept()
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(self._direct))
            for source, sink, counts in ((client, server, False), (server, client, True)):
                threading.Thread(
                    target=self._pump, args=(source, sink), kwargs={"counts": counts}, daemon=True
                ).start()

    def _pump(self, source: socket.socket, sink: socket.socket, *, counts: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self.sent += len(data) if counts else 0
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def quiet(self) -> None:
        """Wait until the server sends nothing and does nothing."""
        while True:
            sent, used = self.sent, self.cpu_seconds
            time.sleep(QUIET_SECONDS)
            if self.sent == sent and self.cpu_seconds - used < IDLE_SECONDS:
                return

    @property
    def cpu_seconds(self) -> float:
        """Time that it ran."""
        return cpu_seconds(self.daemon.pid)

    def change(self, table: str) -> None:
        """Change 1,000 rows, 100 in a transaction."""
        column, number, values = CHANGES[table]
        value = values[self._turns[table] % 2]
        self._turns[table] += 1
        if self._writer is None:
            self._writer = socket.socket(socket.AF_UNIX)
            self._writer.connect(str(self._direct))
        database = "OVN_Northbound" if table == "ACL" else "OVN_Southbound"
        for start in range(0, CHANGED, STEP):
            operations = [
                {
                    "op": "update",
                    "table": table,
                    "where": [["_uuid", "==", ["uuid", uuid(number, n)]]],
                    "row": {column: value},
                }
                for n in range(start, start + STEP)
            ]
            request = {"method": "transact", "params": [database, *operations], "id": start}
            self._writer.sendall(json.dumps(request).encode())
            answer = b""
            while not answer.rstrip().endswith(b"}"):
                answer += self._writer.recv(1 << 16)
            assert b"constraint" not in answer, answer


def cpu_seconds(pid: int) -> float:
    """Time that a process ran, /proc/<pid>/task/<tid>/schedstat."""
    tasks = Path("/proc", str(pid), "task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    status = Path("/proc", str(pid), "status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) << 10


# The clients


class AgentClient:
    """The agent's source, in a process of its own."""

    def __init__(self, shape: str, remote: str) -> None:
        argv = [sys.executable, __file__, "--client", shape, remote]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._ask("report")

    def _ask(self, command: str) -> dict[str, float]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{command}\n".encode())
        self._process.stdin.flush()
        said: dict[str, float] = json.loads(self._process.stdout.readline())
        return said

    def connect(self) -> None:
        """Make one more connection, and wait until what was asked for is there."""
        self._ask("connect")

    def drop(self) -> None:
        """End all connections."""
        self._ask("drop")

    @property
    def cpu_seconds(self) -> float:
        """Time that it ran."""
        return self._ask("report")["cpu_seconds"]

    @property
    def memory(self) -> int:
        """Resident bytes."""
        return int(self._ask("report")["memory"])

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


async def serve_client(shape: str, remote: str) -> None:
    """Be the process of ``AgentClient``."""
    options = dict(SHAPES[shape])
    database, chassis = options.pop("database"), options.pop("chassis", None)
    settings = Settings(ovn={"databases": {"southbound": None, **options}})
    follows_flows = database == "OVN_Southbound" and chassis is None and not options
    tasks: list[asyncio.Task[None]] = []
    while command := (await asyncio.to_thread(sys.stdin.readline)).strip():
        if command == "connect":
            whole = asyncio.Event()

            def publish(known: Any, whole: asyncio.Event = whole) -> None:
                if not follows_flows or known.logical_flows is not None:
                    whole.set()

            more = {"chassis": chassis} if chassis else {}
            source = OvnDatabaseSource(remote, database, settings, publish, _ignore, **more)
            tasks.append(asyncio.create_task(source.run()))
            await whole.wait()
        elif command == "drop":
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            tasks.clear()
        report = {"cpu_seconds": time.process_time(), "memory": memory(os.getpid())}
        print(json.dumps(report), flush=True)


def _ignore(_event: str) -> None:
    """Nobody counts."""


class ProcessClient:
    """A peer that is a process for each connection."""

    def __init__(
        self, server: Server, directory: Path, argv: tuple[str, ...], env: dict[str, str]
    ) -> None:
        self._server = server
        self._directory = directory
        self._argv = argv
        self._env = env
        self._daemons: list[Daemon] = []
        self._ended_seconds = 0.0

    def connect(self) -> None:
        """Make one more connection, and wait until what was asked for is there."""
        log = self._directory / "peer.log"
        before = self._server.sent
        self._daemons.append(Daemon(self._argv, log, env=self._env))
        wait_until(lambda: self._server.sent > before + (1 << 16), what=f"{self._argv[0]} to ask")
        self._server.quiet()

    def drop(self) -> None:
        """End all connections."""
        self._ended_seconds = self.cpu_seconds
        for daemon in self._daemons:
            daemon.kill()  # not asked to: ovn-controller would take its chassis away
        self._daemons.clear()

    @property
    def cpu_seconds(self) -> float:
        """Time that it ran."""
        return self._ended_seconds + sum(cpu_seconds(daemon.pid) for daemon in self._daemons)

    @property
    def memory(self) -> int:
        """Resident bytes."""
        return sum(memory(daemon.pid) for daemon in self._daemons)


@contextmanager
def controller(server: Server, directory: Path) -> Iterator[ProcessClient]:
    """Yield an ovn-controller on a chassis of its own, with a switch's database and no switch."""
    directory.mkdir()
    database, remote = directory / "conf.db", f"unix:{directory / 'db.sock'}"
    run("ovsdb-tool", "create", str(database), str(VSWITCH_SCHEMA))
    log = directory / "ovsdb.log"
    argv = ("ovsdb-server", str(database), f"--remote=p{remote}", "--unixctl=none", "-vconsole:off")
    switch = Daemon(argv, log)
    try:
        wait_until((directory / "db.sock").exists, what="the switch's database")
        ids = {"system-id": "bench", "ovn-remote": server.remote, "ovn-encap-type": "geneve"}
        ids |= {"ovn-encap-ip": "192.0.2.200", "ovn-monitor-all": "true"}
        ids |= {"ovn-openflow-probe-interval": "0"}
        settings = [f"external-ids:{key}={json.dumps(value)}" for key, value in ids.items()]
        command = ("ovs-vsctl", f"--db={remote}", "--no-wait", "init", "--", "set", "open", ".")
        run(*command, *settings)
        env = {"OVS_RUNDIR": str(directory), "OVN_RUNDIR": str(directory)}
        env |= {"OVN_LOGDIR": str(directory)}
        client = ProcessClient(server, directory, (CONTROLLER, remote, "-vconsole:off"), env)
        client.connect()  # registers its chassis
        yield client
    finally:
        client.drop()
        switch.stop()


# Measuring


def measure(server: Server, client: AgentClient | ProcessClient, connects: int) -> Cost:
    """Measure connections, then as many that last, then one with changes."""
    client.drop()
    server.restart()
    fresh = memory(server.daemon.pid)
    client.connect()
    peak = memory(server.daemon.pid)
    client.drop()
    server.quiet()
    before, own = server.sent, client.memory
    used, client_used = server.cpu_seconds, client.cpu_seconds
    for _ in range(connects):
        client.connect()
        client.drop()
    server.quiet()
    cost = Cost(
        (server.sent - before) / connects,
        (server.cpu_seconds - used) / connects,
        (client.cpu_seconds - client_used) / connects,
        first_memory=peak - fresh,
    )
    settled = memory(server.daemon.pid)
    for _ in range(connects):
        client.connect()
    cost.server_memory = (memory(server.daemon.pid) - settled) / connects
    cost.client_memory = (client.memory - own) / connects
    client.drop()
    client.connect()
    for table in server.changes:
        server.quiet()
        before, used, client_used = server.sent, server.cpu_seconds, client.cpu_seconds
        server.change(table)
        server.quiet()
        cost.changes[table] = (
            server.sent - before,
            server.cpu_seconds - used - server.changes[table],
            client.cpu_seconds - client_used,
        )
    client.drop()
    return cost


def once(server: Server, *argv: str) -> Cost:
    """Measure a command that asks and ends."""
    server.quiet()
    before, used = server.sent, server.cpu_seconds
    for _ in range(PEER_CONNECTS):
        run(*argv)
    server.quiet()
    return Cost((server.sent - before) / PEER_CONNECTS, (server.cpu_seconds - used) / PEER_CONNECTS)


def base(server: Server, *tables: str) -> None:
    """Measure what changes cost the server itself."""
    for table in tables:
        server.change(table)  # the first writes what no later one has to
        server.quiet()
        used = server.cpu_seconds
        server.change(table)
        server.quiet()
        server.changes[table] = server.cpu_seconds - used


def show(costs: dict[str, Cost]) -> None:
    """Print the tables."""
    line("\nat connect", "KiB", "server ms", "client ms", "first KiB", "each KiB", "client KiB")
    for name, cost in costs.items():
        line(
            name,
            cell(cost.bytes, 1 / 1024),
            cell(cost.server_seconds, 1e3),
            cell(cost.client_seconds, 1e3),
            cell(cost.first_memory, 1 / 1024),
            cell(cost.server_memory, 1 / 1024),
            cell(cost.client_memory, 1 / 1024),
        )
    line("\nfor 1,000 changed rows", "KiB", "server ms", "client ms")
    for name, cost in costs.items():
        for table, (sent, seconds, client) in cost.changes.items():
            cells = (cell(sent, 1 / 1024), cell(seconds, 1e3), cell(client, 1e3))
            line(f"{name}, {table}", *cells)


def line(name: str, *cells: str) -> None:
    """Print one."""
    print(f"{name:48}" + "".join(f"{it:>12}" for it in cells))


def cell(value: float | None, factor: float) -> str:
    """Return a number, or nothing for none."""
    return "" if value is None else f"{factor * value:.1f}"


def claims(costs: dict[str, Cost]) -> bool:
    """Print the ratios to ovn-controller, and return whether the claims hold."""
    peer = costs[CONTROLLER]
    holds = True
    line("\nby ovn-controller's", "bytes", "server CPU", "claim", "claim")
    for name, most_bytes, most_seconds in CLAIMS:
        cost = costs[name]
        ratios = (cost.bytes / peer.bytes, cost.server_seconds / peer.server_seconds)
        line(name, *(f"{it:.3f}" for it in (*ratios, most_bytes, most_seconds)))
        holds &= ratios[0] <= most_bytes and ratios[1] <= most_seconds
        for table, (sent, _, _) in cost.changes.items():
            ratio = sent / peer.changes[table][0]
            line(f"{name}, {table}", f"{ratio:.3f}", "", f"{most_bytes:.3f}")
            holds &= ratio <= most_bytes
    print(f"claims: {'hold' if holds else 'FAIL'}")
    return holds


def main() -> int:
    """Measure and print; the exit status says whether the claims hold."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sb = Server(directory / "sb", "ovn-sb.ovsschema", southbound())
        stack.callback(sb.daemon.kill)
        nb = Server(directory / "nb", "ovn-nb.ovsschema", northbound())
        stack.callback(nb.daemon.kill)
        base(sb, "Port_Binding", "Logical_Flow")
        base(nb, "ACL")
        costs: dict[str, Cost] = {}
        for shape, options in SHAPES.items():
            server = nb if options["database"] == "OVN_Northbound" else sb
            client = AgentClient(shape, server.remote)
            stack.callback(client.close)
            costs[shape] = measure(server, client, CONNECTS)
        peer = stack.enter_context(controller(sb, directory / "controller"))
        costs[CONTROLLER] = measure(sb, peer, PEER_CONNECTS)
        for name, server in (("Southbound", sb), ("Northbound", nb)):
            argv = ("ovsdb-client", "monitor", server.remote, f"OVN_{name}", "ALL")
            watcher = ProcessClient(server, directory, argv, {})
            costs[f"ovsdb-client monitor, {name}"] = measure(server, watcher, 2)
        sbctl = ("ovn-sbctl", f"--db={sb.remote}")
        costs["ovn-sbctl lflow-list"] = once(sb, *sbctl, "lflow-list")
        costs["ovn-sbctl list Port_Binding"] = once(sb, *sbctl, "list", "Port_Binding")
    print(f"{FLOWS} logical flows, {PORTS} ports on {CHASSIS} chassis, {ACLS} ACLs")
    show(costs)
    return 0 if claims(costs) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        asyncio.run(serve_client(*sys.argv[2:]))
    else:
        sys.exit(main())
