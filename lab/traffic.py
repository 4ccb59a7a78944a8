"""Traffic for the recorded node: each kind makes known flows of the recording count.

```python
with ComputeNode() as node:
    traffic.spoofed(node, TAP_SSH, 7)  # table 71, priority 10 … actions=ct_clear,resubmit(,93)
    with traffic.Steady(node):  # one of every kind, several times a second
        time.sleep(60)
```
"""

import contextlib
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from lab import frames
from lab.compute import MANAGEMENT, REMOTE_INSTANCE, ComputeNode
from lab.frames import Host
from lab.process import LabError
from lab.station import Vtep
from lab.steady import steadily

TAP_SSH = "tap648437e1-0d"
"""instance02: network behind the tunnel, SSH and ping allowed in."""
TAP_AMPHORA = "tap13abc033-93"
"""The load balancer's management port: SSH, 9443 and ping allowed in."""
TAP_VIP = "tap9113df4c-ca"
"""The load balancer's port on the network behind the tunnel: nothing allowed in."""
STRANGER = Host("00:15:5d:bf:ba:99", "192.0.2.99")

Kind = Callable[[ComputeNode, int], None]


def arp_out(node: ComputeNode, count: int = 1) -> None:
    """instance02 asks for its neighbour: 60 → 71 (95, arp) → 94, through the tunnel and back.

    The very first packet into the tunnel is also flooded by br-provider, which has not learned the
    peer's MAC address yet.
    """
    guest = node.guests[TAP_SSH]
    guest.send(frames.arp_request(guest.host, REMOTE_INSTANCE.ip), count)


def ping_out(node: ComputeNode, count: int = 1) -> None:
    """The amphora pings its manager: 71 (65, ip) → 72 (+new) → 73 → 91 → 94, answered."""
    guest = node.guests[TAP_AMPHORA]
    guest.send(frames.echo(guest.host, MANAGEMENT), count)


def ping_through_tunnel(node: ComputeNode, count: int = 1) -> None:
    """instance03 pings instance02: br-tun 4 → 10, br-int 60 → 81 → 82 (icmp), answered."""
    ping = frames.echo(REMOTE_INSTANCE, node.guests[TAP_SSH].host)
    vtep(node).send_through(ping, count)


def api_calls(node: ComputeNode, count: int = 1, first_port: int = 40000) -> None:
    """The manager calls the amphora: 82 (+new, tp_dst=9443) delivers, and 92 drops the copy."""
    amphora = node.guests[TAP_AMPHORA].host
    for port in range(first_port, first_port + count):
        node.wires["eth3"].send(frames.tcp(MANAGEMENT, amphora, port, 9443))


def refused(node: ComputeNode, count: int = 1, first_port: int = 50000) -> None:
    """instance03 calls the virtual IP's port, which nothing allows: 82 (40, -est) → 93, lost."""
    for port in range(first_port, first_port + count):
        vtep(node).send_through(frames.tcp(REMOTE_INSTANCE, node.guests[TAP_VIP].host, port, 80))


def dhcp(node: ComputeNode, count: int = 1) -> None:
    """The amphora looks for a DHCP server: 71 (80, nw_src=0.0.0.0) → 73 (80) → 94."""
    guest = node.guests[TAP_AMPHORA]
    guest.send(frames.dhcp_discover(guest.host.mac), count)


def spoofed(node: ComputeNode, count: int = 1, tap: str = TAP_SSH) -> None:
    """An instance uses an address that is not its own: 71 (priority 10) → 93, lost."""
    guest = node.guests[tap]
    liar = Host(guest.host.mac, STRANGER.ip)
    guest.send(frames.echo(liar, REMOTE_INSTANCE), count)


def invalid(node: ComputeNode, count: int = 1) -> None:
    """instance02 opens and resets in one segment: 72 (+inv+trk) → 93, lost."""
    guest = node.guests[TAP_SSH]
    flags = frames.SYN | frames.RST
    guest.send(frames.tcp(guest.host, REMOTE_INSTANCE, 22, 60000, flags), count)


def multicast_on_wire(node: ComputeNode, count: int = 1) -> None:
    """A stranger shouts on the provider network: br-int floods it.

    The copies end at the patch ports: br-mgmt (priority 2), br-tun table 22 (priority 0).
    """
    node.wires["eth2"].send(frames.arp_request(STRANGER, "192.0.2.1"), count)


def tagged_on_wire(node: ComputeNode, count: int = 1) -> None:
    """The same on VLAN 100 of the provider network: br-int 0 (dl_vlan=100)."""
    frame = frames.tagged(frames.arp_request(STRANGER, "192.0.2.1"), 100)
    node.wires["eth2"].send(frame, count)


ALLOWED: tuple[Kind, ...] = (arp_out, ping_out, ping_through_tunnel, api_calls, dhcp)
DROPPED: tuple[Kind, ...] = (spoofed, refused, invalid)
FLOODED: tuple[Kind, ...] = (multicast_on_wire, tagged_on_wire)
KINDS = (*ALLOWED, *DROPPED, *FLOODED)


def vtep(node: ComputeNode) -> Vtep:
    """Return the far end of the provider network, which holds the peer of the tunnel.

    Raises:
        LabError: If the recording put no tunnel there.
    """
    wire = node.wires["eth2"]
    if not isinstance(wire, Vtep):
        raise LabError("no tunnel endpoint on eth2")
    return wire


class Steady:
    """Sends every kind in turn, evenly, until it is stopped.

    Args:
        node: Where.
        packets_per_second: Of all kinds together, answers not counted.
        kinds: What to send.
    """

    def __init__(
        self,
        node: ComputeNode,
        packets_per_second: float = 50.0,
        kinds: Sequence[Kind] = KINDS,
    ) -> None:
        self.sent = 0
        self._node = node
        self._kinds = kinds
        self._doing = steadily(self._send, packets_per_second)

    def __enter__(self) -> Self:
        self._doing.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._doing.__exit__(kind, error, trace)

    def _send(self) -> None:
        # A device that is down for a while takes nothing; the rest goes on.
        with contextlib.suppress(OSError):
            self._kinds[self.sent % len(self._kinds)](self._node, 1)
        self.sent += 1
