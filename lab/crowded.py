"""A compute node as busy as large ones are: flows, ports, namespaces and instances at once.

Open vSwitch is real and has flows in neutron's shape; namespaces and their links are real; the
instances are those of a libvirtd that has no machines (``lab.libvirt_server``), each with two taps
on br-int. Of the tunnels, physical cards and Linux bridges of a real node it has none.
"""

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lab.libvirt_domains import many
from lab.libvirt_server import CALLS_SUFFIX
from lab.many_links import ManyLinks
from lab.part import Part
from lab.process import Daemon, wait_until
from lab.shapes import ShapedNode
from lab.visits import Visitor
from lab.wide import dummy_name

TAPS = 2
"""Of each instance."""
LINKS = 4
"""Of each namespace, beside ``lo``: about what a router has."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything.

    Attributes:
        flows: Of br-int.
        interfaces: Of br-int, those of instances among them.
        instances: With two of these each.
        namespaces: With four links each.
        shape: Of the flows: which of ``lab.shapes.SHAPES``.
    """

    flows: int
    interfaces: int
    instances: int
    namespaces: int
    shape: str = "neutron"


class CrowdedNode(Part):
    """It runs from ``start`` to ``stop``; packets move when ``work`` is called.

    Args:
        size: How much of everything.

    Attributes:
        host: Whose network it is.
        switch: Its Open vSwitch.
    """

    host: ManyLinks
    switch: ShapedNode
    _visitor: Visitor
    _visits: list[bytes]

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size

    @property
    def rundir(self) -> Path:
        """Where the switch has its sockets."""
        return self.switch.rundir

    @property
    def settings(self) -> Mapping[str, str]:
        """What an agent has to be told, as environment: where libvirt is."""
        return {"DATAPLANE_AGENT_LIBVIRT__URI": f"qemu:///system?socket={self._socket}"}

    def work(self) -> None:
        """A tenth of the flows counts, and every link of the namespaces."""
        self._visitor.visit(self._visits)
        self.host.send()

    @property
    def _socket(self) -> Path:
        return self.host.directory / "libvirt-sock"

    def _build(self) -> None:
        size, stack = self.size, self._stack
        self.host = stack.enter_context(ManyLinks(size.namespaces, LINKS))
        taps = [tap.device for domain in many(size.instances, TAPS) for tap in domain.interfaces]
        others = [dummy_name(number) for number in range(len(taps), size.interfaces)]
        names = [*filter(None, taps), *others]
        self.switch = ShapedNode(size.shape, size.flows, names, self.host.name)
        stack.enter_context(self.switch)
        self.switch.load()
        self._start_libvirt(stack)
        self._visitor = Visitor(self.switch.mgmt)
        stack.callback(self._visitor.close)
        self._visits = self._visitor.prepare(0.1)

    def _start_libvirt(self, stack: ExitStack) -> None:
        argv = (sys.executable, "-m", "lab.libvirt_server", str(self._socket))
        numbers = (str(self.size.instances), str(TAPS))
        server = Daemon((*argv, *numbers), self.host.directory / "libvirt.log")
        stack.callback(server.stop)

        def listens() -> bool:
            server.require_alive()
            return Path(f"{self._socket}{CALLS_SUFFIX}").exists()

        wait_until(listens, what="libvirt's server to listen")
