"""What can go wrong on the recorded compute node, to be switched on and off.

```python
with ComputeNode() as node, FAULTS["spoof"].on(node):
    ...  # instance02 sends 200 packets a second with an address that is not its own
```
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from itertools import count

from lab import frames, traffic
from lab.compute import TUNNEL_BRIDGE, ComputeNode
from lab.frames import Host
from lab.process import LabError

PACKETS_PER_SECOND = 200.0
MANY_PORTS = range(20_000, 60_000)
LOW_FLOW_LIMIT, LOW_CONNECTIONS = 10, 64
CALM_FLOW_LIMIT, CALM_CONNECTIONS = 200_000, 3_000_000
RESTARTS, SEEN_SECONDS = 4, 5.0
"""A start that no scrape has seen is not counted."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        what: For a person.
        on: Switches it on, and off at the end.
    """

    what: str
    on: Callable[[ComputeNode], AbstractContextManager[None]]


@contextmanager
def _refused(node: ComputeNode) -> Iterator[None]:
    """A peer calls a port that no rule of the security group allows."""
    with traffic.Steady(node, PACKETS_PER_SECOND, (traffic.refused,)):
        yield


@contextmanager
def _spoofed(node: ComputeNode) -> Iterator[None]:
    """An instance sends with an address that is not its own."""
    with traffic.Steady(node, PACKETS_PER_SECOND, (traffic.spoofed,)):
        yield


@contextmanager
def _tunnel_unplugged(node: ComputeNode) -> Iterator[None]:
    """The device that tunnels leave by loses its link."""
    (device,) = (
        name for name in node.switch.bridges[TUNNEL_BRIDGE].interfaces if name in node.wires
    )
    node.run("ip", "link", "set", f"{device}-wire", "down")
    try:
        yield
    finally:
        node.run("ip", "link", "set", f"{device}-wire", "up")


@contextmanager
def _flow_limit(node: ComputeNode) -> Iterator[None]:
    """The datapath may hold few flows, and a scan wants one for each of its packets."""
    setting = ("set", "Open_vSwitch", ".")
    node.vsctl(*setting, f"other_config:flow-limit={LOW_FLOW_LIMIT}")
    try:
        with traffic.Steady(node, PACKETS_PER_SECOND, (_scan(),)):
            yield
    finally:
        node.vsctl(*setting, f"other_config:flow-limit={CALM_FLOW_LIMIT}")


@contextmanager
def _conntrack(node: ComputeNode) -> Iterator[None]:
    """Connection tracking may hold few connections, and there are always new ones."""
    node.appctl("dpctl/ct-set-maxconns", str(LOW_CONNECTIONS))
    try:
        with traffic.Steady(node, PACKETS_PER_SECOND, (_calls(),)):
            yield
    finally:
        node.appctl("dpctl/ct-set-maxconns", str(CALM_CONNECTIONS))


@contextmanager
def _controller(node: ComputeNode) -> Iterator[None]:
    """The OpenFlow controller ends."""
    node.kill_controller()
    try:
        yield
    finally:
        node.start_controller()


@contextmanager
def _stopped(node: ComputeNode) -> Iterator[None]:
    """ovs-vswitchd stands still: its sockets take connections and do not answer."""
    node.pause_vswitchd()
    try:
        yield
    finally:
        node.resume_vswitchd()


@contextmanager
def _restarting(node: ComputeNode) -> Iterator[None]:
    """ovs-vswitchd dies and is started again, and again after it was seen."""
    for _ in range(RESTARTS):
        time.sleep(SEEN_SECONDS)
        node.kill_vswitchd()
        node.start_vswitchd()
        with suppress(LabError):  # a bridge that is not there yet
            node.load_flows()
    yield


def _scan() -> traffic.Kind:
    """instance02 asks for one address after the other: each is a flow of the datapath."""
    numbers = count()

    def kind(node: ComputeNode, packets: int = 1) -> None:
        guest = node.guests[traffic.TAP_SSH]
        for _ in range(packets):
            number = next(numbers) % 60_000
            address = f"192.168.{100 + number // 250 % 100}.{1 + number % 250}"
            guest.send(frames.echo(guest.host, Host("fa:16:3e:fd:d9:1a", address)))

    return kind


def _calls() -> traffic.Kind:
    """The manager calls the amphora from one port after the other."""
    ports = count()

    def kind(node: ComputeNode, packets: int = 1) -> None:
        for _ in range(packets):
            port = MANY_PORTS[next(ports) % len(MANY_PORTS)]
            traffic.api_calls(node, 1, port)

    return kind


FAULTS = {
    "refuse": Fault("refused by a security group", _refused),
    "spoof": Fault("another's address, refused by port security", _spoofed),
    "unplug": Fault("no link for tunnels", _tunnel_unplugged),
    "flow-limit": Fault("the datapath's flow limit exhausted", _flow_limit),
    "conntrack": Fault("connection tracking full", _conntrack),
    "controller": Fault("the controller gone", _controller),
    "stop": Fault("ovs-vswitchd stands still", _stopped),
    "restart": Fault("ovs-vswitchd restarts again and again", _restarting),
}
