"""The text of flows against the ovs-ofctl of this machine, for flows nobody thought of."""

import socket

import pytest

from agent.wire.openflow import messages as of
from agent.wire.openflow.match import format_match
from agent.wire.openflow.text import unambiguous
from lab.node import Node
from tests.wire.openflow.flow_generator import Generator
from tests.wire.openflow.recorded import printed

SEED, FLOWS = 31, 500
TABLES = 200
PORTS = {
    "tap1": "dummy",
    "patch-br-int-to-one": "patch",
    "patch-br-int-to-two": "patch",
    "plain7": "dummy",
}
OPTIONS = (
    "{class=0x102,type=0x80,len=4}->tun_metadata0,{class=0x102,type=0x81,len=8}->tun_metadata1,"
    "{class=0x103,type=0,len=12}->tun_metadata2,{class=0x103,type=1,len=124}->tun_metadata63"
)
VERSIONS = {"OpenFlow13": of.Version.OF13, "OpenFlow14": of.Version.OF14}


class Client:
    """Asks one question at a time, and blocks."""

    def __init__(self, path: str, version: of.Version) -> None:
        self._version = version
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        self._socket.connect(path)
        self._socket.sendall(of.hello((version,), 1))
        assert of.negotiate(self._message(), (version,)) is version

    def close(self) -> None:
        self._socket.close()

    def ask(self, kind: of.Multipart, body: bytes = b"") -> list[bytes]:
        self._socket.sendall(of.multipart_request(self._version, kind, 2, body))
        assembler = of.Assembler(kind, 1 << 24)
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


def _add_bridge(node: Node) -> None:
    commands = ["add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev"]
    commands += ["fail_mode=secure", f"protocols=OpenFlow10,{','.join(VERSIONS)}"]
    for number, (name, kind) in enumerate(PORTS.items(), start=1):
        commands += ["--", "add-port", "br0", name, "--", "set", "Interface", name]
        commands += [f"type={kind}", f"ofport_request={number}"]
        commands += [f"options:peer=peer{number}"] if kind == "patch" else []
    node.vsctl(*commands)
    node.ofctl("add-tlv-map", "br0", OPTIONS)
    generator = Generator(SEED)
    flows = [generator.flow(index % TABLES) for index in range(FLOWS)]
    node.ofctl("-O", "OpenFlow14", "add-flows", "br0", "-", stdin="\n".join(flows))


@pytest.mark.node
def test_flow_text_matches_ofctl(node: Node) -> None:
    _add_bridge(node)
    for name, version in VERSIONS.items():
        client = Client(str(node.rundir / "br0.mgmt"), version)
        try:
            ports = of.parse_port_desc(version, client.ask(of.Multipart.PORT_DESC))
            names = unambiguous(ports)
            bodies = client.ask(of.Multipart.FLOW, of.flow_request_body())
        finally:
            client.close()
        ours = [
            (entry.table_id, entry.priority, entry.cookie, format_match(entry.match, names))
            for entry in of.iter_flow_stats(bodies)
        ]
        dump = node.ofctl("-O", name, "--names", "dump-flows", "br0")
        theirs = [(line.table_id, line.priority, line.cookie, line.match) for line in printed(dump)]
        assert len(theirs) > FLOWS * 0.9  # some are generated twice
        assert ours == theirs
