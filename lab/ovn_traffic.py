"""Traffic for the OVN cloud: each kind has a fate that is known, and can be counted to the packet.

```python
with OvnCloud() as cloud:
    sent = KINDS["refused by a rule, through the tunnel"](cloud, 7)
    print(sent.delivered)  # 0; on compute2, neutron_pg_drop has counted 7
```

A cloud without traffic counts nothing. What switches and ports count in other tables than the
one that decides follows from OVN's pipeline; a packet for another chassis is sent into the tunnel
by one flow, and then the same packet also meets the drop at the end of the local table.
"""

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count as numbers
from socket import inet_ntoa
from typing import NamedTuple

from lab import frames
from lab.frames import BROADCAST, Host
from lab.ovn import Guest, OvnCloud
from lab.station import BURST, BURST_PAUSE_SECONDS

ALLOWED_PORT, REFUSED_PORT = 22, 5000
EPHEMERAL_PORTS = range(20000, 60000)
STRANGER = Host("fa:16:3e:00:00:99", "192.0.2.99")
NOBODY, EVERYBODY = "0.0.0.0", "255.255.255.255"  # noqa: S104 - what DHCP says without an address
DHCP_CLIENT, DHCP_SERVER = 68, 67
BOOT_REQUEST, BOOT_REPLY = 1, 2
BOOTP = struct.Struct("!BBBBIHH4s4s4s4s6s10x192x")
DHCP_MESSAGE = bytes.fromhex("63825363 3501")
"""The magic cookie, and the option of one byte with the kind of message: OVN writes it first."""
DHCP_AT = 14 + 20 + 8
DISCOVER, OFFER = 1, 2

_calls = numbers(1)


@dataclass(frozen=True, slots=True)
class Sent:
    """What a guest sent: no two frames of a cloud's life are equal.

    Attributes:
        sender: Who sent it.
        receiver: Whom it was for.
        frames: In order.
    """

    sender: Guest
    receiver: Guest
    frames: tuple[bytes, ...]

    @property
    def delivered(self) -> int:
        """How many of them the receiver has received, of the last thousand that reached it."""
        return _found(self.frames, self.receiver)

    @property
    def answered(self) -> int:
        """To how many the sender has received the answer; only pings are answered."""
        answers = (frames.answer(frame, self.receiver.hosts) for frame in self.frames)
        return _found(tuple(answer for answer in answers if answer), self.sender)

    @property
    def offers(self) -> tuple[str, ...]:
        """The addresses that the sender was offered by DHCP, once for each of the frames."""
        asked = {BOOTP.unpack_from(frame, DHCP_AT)[4] for frame in self.frames}
        return tuple(
            inet_ntoa(fields[8])
            for frame in tuple(self.sender.received)
            if len(frame) > DHCP_AT + BOOTP.size
            for fields in (BOOTP.unpack_from(frame, DHCP_AT),)
            if fields[0] == BOOT_REPLY and fields[4] in asked
            if frame[DHCP_AT + BOOTP.size :].startswith(DHCP_MESSAGE + bytes([OFFER]))
        )


def ping(sender: Guest, receiver: Guest, count: int = 1) -> Sent:
    """One guest pings another: one connection, as conntrack sees it."""
    call = next(_calls) & 0xFFFF
    return _send(
        sender,
        receiver,
        [
            frames.echo(sender.host, receiver.host, identifier=call, sequence=n)
            for n in _up_to(count)
        ],
    )


def ssh(sender: Guest, receiver: Guest, count: int = 1) -> Sent:
    """One guest opens connections to another's port 22, which does not answer."""
    return _call(sender, receiver, ALLOWED_PORT, count)


def tcp(sender: Guest, receiver: Guest, count: int = 1) -> Sent:
    """The same, to a port that no rule names."""
    return _call(sender, receiver, REFUSED_PORT, count)


def udp(sender: Guest, receiver: Guest, count: int = 1) -> Sent:
    """One guest sends another UDP, to a port that no rule names, each from a port of its own."""
    ends = sender.host, receiver.host
    each = (frames.udp(*ends, _port(), REFUSED_PORT, b"dataplane") for _ in _up_to(count))
    return _send(sender, receiver, list(each))


def spoofed_ip(sender: Guest, receiver: Guest, count: int = 1) -> Sent:
    """A guest uses an IPv4 address that is not its own."""
    return _spoofed(sender, receiver, sender.host._replace(ip=STRANGER.ip), count)


def spoofed_mac(sender: Guest, receiver: Guest, count: int = 1) -> Sent:
    """A guest uses a MAC address that is not its own."""
    return _spoofed(sender, receiver, sender.host._replace(mac=STRANGER.mac), count)


def discover(sender: Guest, _: Guest | None = None, count: int = 1) -> Sent:
    """A guest looks for a DHCP server, which is OVN: see ``offers``. Nobody else receives it."""
    mac = sender.host.mac
    ends = Host(mac, NOBODY), Host(BROADCAST, EVERYBODY)
    sent = []
    for _number in _up_to(count):
        fixed = (BOOT_REQUEST, 1, 6, 0, next(_calls), 0, 0, *[bytes(4)] * 4, frames.mac_bytes(mac))
        message = BOOTP.pack(*fixed) + DHCP_MESSAGE + bytes([DISCOVER, 0xFF])
        sent.append(frames.udp(*ends, DHCP_CLIENT, DHCP_SERVER, message))
    return _send(sender, sender, sent)


class Kind(NamedTuple):
    """A kind of traffic between two guests.

    Attributes:
        arrives: Whether it is delivered.
    """

    send: Callable[[Guest, Guest, int], Sent]
    sender: str
    receiver: str
    arrives: bool

    def __call__(self, cloud: OvnCloud, count: int = 1) -> Sent:
        """Send so many packets of it."""
        return self.send(cloud.guests[self.sender], cloud.guests[self.receiver], count)


KINDS = {
    "ping": Kind(ping, "instance01", "instance02", arrives=True),
    "ping through the tunnel": Kind(ping, "instance01", "instance03", arrives=True),
    "ssh": Kind(ssh, "stranger01", "instance01", arrives=True),
    "ssh through the tunnel": Kind(ssh, "stranger01", "instance03", arrives=True),
    "within a group": Kind(udp, "instance01", "instance02", arrives=True),
    "refused by a rule": Kind(udp, "stranger01", "instance01", arrives=False),
    "refused by a rule, through the tunnel": Kind(tcp, "stranger01", "instance03", arrives=False),
    "another's IP address": Kind(spoofed_ip, "instance01", "instance02", arrives=False),
    "another's MAC address": Kind(spoofed_mac, "instance01", "instance02", arrives=False),
}


def _call(sender: Guest, receiver: Guest, port: int, count: int) -> Sent:
    ends = sender.host, receiver.host
    each = (frames.tcp(*ends, _port(), port) for _ in _up_to(count))
    return _send(sender, receiver, list(each))


def _spoofed(sender: Guest, receiver: Guest, liar: Host, count: int) -> Sent:
    call = next(_calls) & 0xFFFF
    each = (frames.echo(liar, receiver.host, identifier=call, sequence=n) for n in _up_to(count))
    return _send(sender, receiver, list(each))


def _send(sender: Guest, receiver: Guest, sent: list[bytes]) -> Sent:
    for number, frame in enumerate(sent, 1):
        sender.send(frame)
        if number % BURST == 0:
            time.sleep(BURST_PAUSE_SECONDS)
    return Sent(sender, receiver, tuple(sent))


def _up_to(count: int) -> range:
    return range(1, count + 1)


def _port() -> int:
    return EPHEMERAL_PORTS[next(_calls) % len(EPHEMERAL_PORTS)]


def _found(wanted: tuple[bytes, ...], station: Guest) -> int:
    here = set(wanted)
    return sum(frame in here for frame in tuple(station.received))
