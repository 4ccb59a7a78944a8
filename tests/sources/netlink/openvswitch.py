"""A kernel with openvswitch.ko at the other end of a netlink socket, which has what a test says.

It answers as Linux 6.1 does; what it holds are recorded messages, or any bytes.
"""

import errno
import os
import struct
from pathlib import Path
from typing import Any, cast

from agent.sources.ovs_genl_kernel import GenericSocket, Kernel
from agent.wire.netlink.allowed import GENL_CTRL
from agent.wire.netlink.attributes import attribute
from agent.wire.netlink.header import DONE, ERROR, HEADER, LENGTH, Flag, Message, messages
from tests.clock import Clock
from tests.wire.netlink.recorded import FIXTURES as WIRE_FIXTURES

FIXTURES = Path(__file__).parent / "fixtures"
NUMBERS = {"nlctrl": 16, "ovs_datapath": 32, "ovs_vport": 33, "ovs_ct_limit": 37}
INDEX = 2
"""Of the datapath in the fixtures."""


def payloads(path: Path) -> list[bytes]:
    """Return what is behind the headers of recorded messages, without the end of a dump."""
    return [each.payload for each in messages(path.read_bytes()) if each.type != DONE]


def family(name: str, number: int) -> bytes:
    """Return what the controller says of a family."""
    named = attribute(2, name.encode() + b"\0") + attribute(1, struct.pack("=H", number))
    return b"\1\2\0\0" + named


class OpenVSwitch:
    """What the kernel has, to be changed by the test.

    Attributes:
        numbers: Families by name; without those of Open vSwitch its module is not loaded.
        datapaths: Payloads.
        vports: Payloads by the index of their datapath.
        limits: Payload.
        silent: Give no answer at all.
        asked: Everything that was asked, with the family's number as the type.
        opened: Sockets so far.
    """

    def __init__(self) -> None:
        self.numbers = dict(NUMBERS)
        self.datapaths = payloads(FIXTURES / "datapaths-6.1.bin")
        self.vports = {INDEX: payloads(WIRE_FIXTURES / "vports-6.1.bin")}
        (self.limits,) = payloads(FIXTURES / "zone-limits-6.1.bin")
        self.silent = False
        self.asked: list[Message] = []
        self.opened = 0

    def kernel(self, clock: Clock | None = None, timeout_seconds: float = 5.0) -> Kernel:
        """Return the agent's side of it."""
        return Kernel(timeout_seconds, clock or Clock(), self.connect)

    def connect(self, timeout_seconds: float) -> GenericSocket:
        """Open a socket of the agent's that ends here."""
        self.opened += 1
        made = GenericSocket(timeout_seconds)
        made._socket.close()
        made._socket = cast(Any, _Wire(self, made._port_id))
        return made

    def unload(self) -> None:
        """Remove the module."""
        self.numbers = {"nlctrl": GENL_CTRL}

    def load(self, first: int) -> None:
        """Load the module; its families have the next free numbers."""
        self.numbers = {"nlctrl": GENL_CTRL, "ovs_datapath": first, "ovs_vport": first + 1}
        self.numbers["ovs_ct_limit"] = first + 5

    def lists(self) -> int:
        """Return how often the families were listed."""
        return sum(each.type == GENL_CTRL for each in self.asked)

    def answers(self, question: Message) -> list[bytes]:
        """Return the payloads of an answer.

        Raises:
            OSError: As the kernel does.
        """
        named = {number: name for name, number in self.numbers.items()}.get(question.type)
        match named:
            case "nlctrl":
                return [family(name, number) for name, number in self.numbers.items()]
            case "ovs_datapath":
                return self.datapaths
            case "ovs_vport":
                (index,) = struct.unpack_from("=i", question.payload, 4)
                if index not in self.vports:
                    raise OSError(errno.ENODEV, "no such datapath")
                return self.vports[index]
            case "ovs_ct_limit":
                if question.flags & Flag.DUMP:
                    raise OSError(errno.EOPNOTSUPP, "no list")
                return [self.limits]
            case _:
                raise OSError(errno.ENOENT, "no such family")


class _Wire:
    """A socket whose other end is an OpenVSwitch."""

    def __init__(self, kernel: OpenVSwitch, port_id: int) -> None:
        self._kernel = kernel
        self._port_id = port_id
        self._waiting: list[bytes] = []

    def sendto(self, data: bytes, _address: tuple[int, int]) -> int:
        (question,) = messages(data)
        self._kernel.asked.append(question)
        if self._kernel.silent:
            return len(data)
        try:
            found = self._kernel.answers(question)
        except OSError as error:
            self._put(question, ERROR, 0, struct.pack("=i", -(error.errno or 0)))
            return len(data)
        multi = Flag.MULTI if question.flags & Flag.DUMP else 0
        for payload in found:
            self._put(question, question.type, multi, payload)
        if multi:
            self._put(question, DONE, multi, bytes(4))
        return len(data)

    def _put(self, question: Message, kind: int, flags: int, payload: bytes) -> None:
        head = HEADER.pack(LENGTH + len(payload), kind, flags, question.sequence, self._port_id)
        self._waiting.append(head + payload)

    def recvfrom(self, _size: int) -> tuple[bytes, tuple[int, int]]:
        if not self._waiting:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return self._waiting.pop(0), (0, 0)

    def recv(self, _size: int, _flags: int = 0) -> bytes:
        return self.recvfrom(_size)[0]

    def close(self) -> None:
        self._waiting.clear()
