"""Open vSwitch on the kernel's datapath: in a virtual machine, never on the one that runs the lab.

```python
with KernelSwitch() as switch:
    switch.vsctl(*add_bridge("br0"), *add_tunnel("br0", "vxlan0", "vxlan", "10.0.0.1", "10.0.0.2"))
    guest = switch.connect("br0", "veth0", "192.168.0.1")
    print(switch.run("ovs-dpctl", "show"))
```
"""

import signal
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab import machine, namespace
from lab.node import Node
from lab.part import Part
from lab.process import LabError, run, wait_until

MODULES = ("openvswitch", "vport-vxlan", "vport-geneve")
TUNNELS = {"vxlan": 4789, "geneve": 6081}
"""Kinds of tunnels between the switches of a pair, with their UDP ports."""
PREFIX_BITS = 24
PASS_SECONDS = 60.0


def add_bridge(bridge: str) -> list[str]:
    """Return what ``ovs-vsctl`` takes to add a bridge that forwards in the kernel.

    Starting a process costs most where processors are emulated: several of these in one call are
    one transaction.
    """
    return ["--", "add-br", bridge, "--", "set", "Bridge", bridge, "datapath_type=system"]


def add_internal(bridge: str, port: str) -> list[str]:
    """Return what ``ovs-vsctl`` takes to add a port that is a device of the kernel's own."""
    return ["--", "add-port", bridge, port, "--", "set", "Interface", port, "type=internal"]


def add_tunnel(bridge: str, port: str, kind: str, local: str, remote: str) -> list[str]:
    """Return what ``ovs-vsctl`` takes to add a tunnel, whose key is its kind's UDP port.

    Args:
        bridge: What it connects.
        port: Its name.
        kind: One of ``TUNNELS``.
        local: IPv4 address of this end.
        remote: Of the other end.
    """
    options = {"local_ip": local, "remote_ip": remote, "key": TUNNELS[kind]}
    columns = [f"options:{name}={value}" for name, value in options.items()]
    interface = ["--", "set", "Interface", port, f"type={kind}", *columns]
    return ["--", "add-port", bridge, port, *interface]


class KernelSwitch(Node):
    """A switch whose bridges of type ``system`` forward in the kernel.

    A datapath of the kernel belongs to a network namespace. Each switch runs in one of its own, and
    so has an ``ovs-system`` of its own. Whoever is connected to it sits in a further namespace,
    whose name begins with the switch's.
    """

    def start_vswitchd(self) -> None:
        """Start ovs-vswitchd with the kernel's datapath, and wait until it has made the bridges."""
        database = f"unix:{self.rundir}/db.sock"
        self._vswitchd = self._daemon("ovs-vswitchd", database, "--enable-dummy")
        self._wait_for_ctl(self._vswitchd)
        self.vsctl("--timeout=30", "init")

    def connect(self, bridge: str, port: str, address: str) -> str:
        """Connect a namespace through a veth, as a container is; return the namespace's name.

        Args:
            bridge: Where to.
            port: Name of the switch's end; the other end is ``eth0``.
            address: IPv4 address of the other end, in a network of 24 bits.
        """
        guest = self._add_namespace(port)
        far = ("peer", "name", "eth0", "netns", guest)
        self.run("ip", "link", "add", port, "up", "type", "veth", *far)
        self.vsctl("add-port", bridge, port)
        _raise(guest, "eth0", address)
        return guest

    def move(self, port: str, address: str) -> str:
        """Move an internal port into a namespace, as neutron's routers have it; return its name."""
        guest = self._add_namespace(port)
        self.run("ip", "link", "set", port, "netns", guest)
        _raise(guest, port, address)
        return guest

    def _build(self) -> None:
        if not machine.inside():
            raise LabError("the kernel's datapath is only for a lab's virtual machine")
        run("modprobe", "--all", *MODULES)
        super()._build()

    def _end_daemons(self) -> None:
        # a datapath goes with its namespace, but a port that was moved out of it would stay
        if self._vswitchd is not None and self._vswitchd.alive:
            self._vswitchd.send(signal.SIGCONT)
            self.appctl("exit", "--cleanup")
        super()._end_daemons()

    def _add_namespace(self, port: str) -> str:
        guest = f"{self.name}-{port}"
        run("ip", "netns", "add", guest)
        self._stack.callback(run, "ip", "netns", "delete", guest)
        namespace.inside(guest, _silence_kernel)
        return guest


@dataclass(frozen=True, slots=True)
class Ends:
    """The two ends of a network that a tunnel carries.

    Attributes:
        left: Namespace behind the first switch: a veth.
        right: Namespace behind the second switch: an internal port.
        left_address: IPv4 address of ``left``.
        right_address: IPv4 address of ``right``.
    """

    left: str
    right: str
    left_address: str
    right_address: str


class KernelPair(Part):
    """Two switches with a wire between them, and a tunnel of each kind over the wire.

    Each kind has a bridge ``br-<kind>`` on both, with the tunnel ``<kind>0`` and one end of a
    network of its own: ``veth-<kind>`` leads to 10.1.<number>.1 on the left, and ``int-<kind>`` is
    10.1.<number>.2 on the right.

    Attributes:
        left: A switch, whose device ``underlay`` is 10.0.0.1.
        right: A switch, whose device ``underlay`` is 10.0.0.2.
        ends: What is behind the switches, by kind of tunnel.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left = KernelSwitch()
        self.right = KernelSwitch()
        self.ends: dict[str, Ends] = {}

    def ping(self, kind: str, count: int = 1) -> None:
        """Ping from the left end to the right end through a tunnel.

        Raises:
            LabError: If an answer is missing.
        """
        ends = self.ends[kind]
        argv = ("ping", "-q", "-c", str(count), "-i", "0.1", "-W", "5", ends.right_address)
        shown = run("busybox", *argv, netns=ends.left)
        if f" {count} packets received" not in shown:
            raise LabError(shown)

    def _build(self) -> None:
        for switch in (self.left, self.right):
            self._stack.enter_context(switch)
        far = ("peer", "name", "underlay", "netns", self.right.name)
        self.left.run("ip", "link", "add", "underlay", "type", "veth", *far)
        self._configure(self.left, "10.0.0.1", "10.0.0.2")
        self._configure(self.right, "10.0.0.2", "10.0.0.1", "int")
        for number, kind in enumerate(TUNNELS, start=1):
            near, far_end = f"10.1.{number}.1", f"10.1.{number}.2"
            left = self.left.connect(f"br-{kind}", f"veth-{kind}", near)
            right = self.right.move(f"int-{kind}", far_end)
            self.ends[kind] = Ends(left, right, near, far_end)
        for kind in TUNNELS:
            wait_until(partial(self._passes, kind), PASS_SECONDS, f"a ping through {kind}")

    def _configure(self, switch: KernelSwitch, local: str, remote: str, internal: str = "") -> None:
        _raise(switch.name, "underlay", local)
        commands: list[str] = []
        for kind in TUNNELS:
            bridge = f"br-{kind}"
            commands += add_bridge(bridge)
            commands += add_tunnel(bridge, f"{kind}0", kind, local, remote)
            commands += add_internal(bridge, f"{internal}-{kind}") if internal else []
        switch.vsctl(*commands)

    def _passes(self, kind: str) -> bool:
        try:
            self.ping(kind)
        except LabError:
            return False
        return True


def _raise(netns: str, device: str, address: str) -> None:
    commands = f"link set lo up\naddress add {address}/{PREFIX_BITS} dev {device}\n"
    run("ip", "-batch", "-", netns=netns, stdin=f"{commands}link set {device} up\n")


def _silence_kernel() -> None:
    for setting, value in namespace.SILENT.items():
        Path("/proc/sys/net", setting).write_text(value, encoding="ascii")
