"""The text of random flows here, and what ovs-ofctl prints for the same flows in a real switch."""

import json
import re
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from agent.model.flow import Flow
from agent.wire.openflow import messages as of
from agent.wire.openflow.decoder import FlowDecoder
from lab.node import Node
from tests.wire.openflow.flow_generator import Generator
from tests.wire.openflow.recorded import printed

VERSIONS = {"OpenFlow13": of.Version.OF13, "OpenFlow14": of.Version.OF14}
ANSWER_BYTES = 1 << 26
ENTRY_BYTES, OXM_MATCH, MATCH_HEADER_BYTES = 48, 1, 4
READ_SECONDS = 30.0

_UNSPEAKABLE = re.compile("[, \\t]|^.patch-")
"""Of port names: ovs-ofctl 3.1 ends a value there, quoted or not; or two ports have it."""

MARK = re.compile("#[0-9a-f]{8}$")
"""What the agent adds to the second of two flows that ovs-ofctl prints alike."""

Line = tuple[int, int, int, str]
"""Table, priority, cookie, match."""


class Bridge(NamedTuple):
    """A bridge to load flows into.

    Attributes:
        ports: Kind by name; those of one name in their first 15 bytes are printed by number.
        options: Bytes of its Geneve options by number, 256 in all at most.
    """

    name: str
    ports: dict[str, str]
    options: dict[int, int]

    def generator(self, seed: int) -> Generator:
        """Return a generator of flows for this bridge."""
        quoted = [json.dumps(name, ensure_ascii=False) for name in self.ports]
        spelled = [name for name in quoted if not _UNSPEAKABLE.search(name)]
        numbers = [str(number) for number, _name in enumerate(self.ports, start=1)]
        return Generator(f"{self.name} {seed}", [*spelled, *numbers], self.options)


BRIDGES = (
    Bridge(
        "br0",
        {
            "tap1": "dummy",
            "patch-br-int-to-one": "patch",
            "patch-br-int-to-two": "patch",
            "plain7": "dummy",
            'a"b\\c': "dummy",
            "eth0.5,6": "dummy",
            "7": "dummy",
            "LOCAL2": "dummy",
        },
        dict.fromkeys(range(64), 4),
    ),
    Bridge(
        "br1", {"tap-é": "dummy", "in port": "dummy"}, {0: 4, 1: 8, 2: 12, 7: 60, 63: 124, 9: 48}
    ),
)


class Comparison(NamedTuple):
    """What came of a comparison.

    Attributes:
        compared: Flows that both printed, in every version.
        differences: The first of those that were not printed alike.
    """

    compared: int
    differences: list[str]


def add_bridges(node: Node) -> None:
    """Make the bridges, with their ports and Geneve options."""
    for bridge in BRIDGES:
        commands = ["add-br", bridge.name, "--", "set", "Bridge", bridge.name]
        commands += ["datapath_type=netdev", "fail_mode=secure"]
        commands += [f"protocols=OpenFlow10,{','.join(VERSIONS)}"]
        for number, (port, kind) in enumerate(bridge.ports.items(), start=1):
            commands += ["--", "add-port", bridge.name, port, "--", "set", "Interface", port]
            commands += [f"type={kind}", f"ofport_request={number}"]
            commands += [f"options:peer=peer{number}"] if kind == "patch" else []
        node.vsctl(*commands)
        options = (
            f"{{class=0x102,type={number},len={size}}}->tun_metadata{number}"
            for number, size in bridge.options.items()
        )
        node.ofctl("add-tlv-map", bridge.name, ",".join(options))


def compare(node: Node, bridge: Bridge, flows: list[str]) -> Comparison:
    """Load flows and compare what is printed for them.

    Raises:
        LabError: If ovs-ofctl or the switch refuses one of them.
    """
    node.ofctl("-O", "OpenFlow14", "del-flows", bridge.name)
    node.ofctl("-O", "OpenFlow14", "add-flows", bridge.name, "-", stdin="\n".join(flows))
    compared = set()
    differences: list[str] = []
    for name, version in VERSIONS.items():
        ours = sorted(_ours(node, bridge, version))
        dump = node.ofctl("-O", name, "--names", "dump-flows", bridge.name)
        theirs = sorted((it.table_id, it.priority, it.cookie, it.match) for it in printed(dump))
        compared.add(len(theirs))
        only = sorted(set(ours) ^ set(theirs), key=lambda line: (line[2], line in theirs))
        differences += [
            f"{name} {'ovs-ofctl' if line in theirs else 'agent':9} {line}" for line in only
        ]
        if len(ours) != len(theirs):
            differences.append(f"{name}: {len(ours)} flows here, {len(theirs)} there")
    return Comparison(min(compared), differences[:20])


def printed_match(node: Node, match: bytes) -> str:
    """Return what ovs-ofctl prints for a match in flow statistics, whoever could send them."""
    oxm = struct.pack(">HH", OXM_MATCH, MATCH_HEADER_BYTES + len(match)) + match
    oxm += bytes(-len(oxm) % 8)
    entry = struct.pack(">H46x", ENTRY_BYTES + len(oxm)) + oxm
    body = struct.pack(">HH4x", of.Multipart.FLOW, 0) + entry
    length = of.HEADER_LENGTH + len(body)
    header = struct.pack(">BBHI", of.Version.OF14, of.Type.MULTIPART_REPLY, length, 1)
    (line,) = printed(node.ofctl("ofp-print", "-", stdin=(header + body).hex()))
    return line.match


def _ours(node: Node, bridge: Bridge, version: of.Version) -> Iterator[Line]:
    for flow in flows_of(node, bridge.name, version):
        yield flow.table_id, flow.priority, flow.cookie, MARK.sub("", flow.match)


def flows_of(node: Node, bridge: str, version: of.Version) -> Iterator[Flow]:
    """Read as the agent does, table by table with its decoder."""
    client = Client(str(node.rundir / f"{bridge}.mgmt"), version)
    decoder = FlowDecoder()
    try:
        decoder.prepare(of.parse_port_desc(version, client.ask(of.Multipart.PORT_DESC)))
        for stats in of.parse_table_stats(client.ask(of.Multipart.TABLE)):
            if stats.flows:
                body = of.flow_request_body(stats.table_id)
                bodies = client.ask(of.Multipart.FLOW, body)
                for table in decoder.decode(stats.table_id, bodies, 0.0, 0.0, whole=True):
                    yield from table.flows if table else ()
    finally:
        client.close()


class Client:
    """Asks one question at a time, and blocks."""

    def __init__(self, path: str, version: of.Version) -> None:
        self._version = version
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(READ_SECONDS)
        self._socket.connect(path)
        self._socket.sendall(of.hello((version,), 1))
        assert of.negotiate(self._message(), (version,)) is version

    def close(self) -> None:
        self._socket.close()

    def ask(self, kind: of.Multipart, body: bytes = b"") -> list[bytes]:
        self._socket.sendall(of.multipart_request(self._version, kind, 2, body))
        assembler = of.Assembler(kind, ANSWER_BYTES)
        while True:
            message = self._message()
            if of.parse_header(message).xid == 2 and assembler.add(message):
                return assembler.bodies

    def _message(self) -> bytes:
        header = self._exactly(of.HEADER_LENGTH)
        return header + self._exactly(of.parse_header(header).length - of.HEADER_LENGTH)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            received = self._socket.recv(count - len(data))
            assert received, "the switch closed the connection"
            data += received
        return data
