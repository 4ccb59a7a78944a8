"""Whoever sits at the other end of a port: guests behind taps, the world behind the wires."""

import os
import time
from collections import deque

from lab import frames
from lab.frames import Host
from lab.reactor import Reactor

FRAME_BYTES = 65536
KEPT_FRAMES = 1000
BURST = 32
"""Frames sent in one go: the receiving socket of the switch holds a few hundred."""
BURST_PAUSE_SECONDS = 0.002


class Station:
    """One end of a cable: sends frames, keeps what it receives, answers ARP and ping.

    Args:
        reactor: Reads for it.
        descriptor: A tap or a packet socket; closed by the reactor.
        hosts: Addresses it answers for. The first is its own.

    Attributes:
        received: The last frames it received, oldest first.
        received_frames: How many it received in all.
    """

    def __init__(self, reactor: Reactor, descriptor: int, hosts: tuple[Host, ...]) -> None:
        self.hosts = hosts
        self.received: deque[bytes] = deque(maxlen=KEPT_FRAMES)
        self.received_frames = 0
        self._descriptor = descriptor
        reactor.watch(descriptor, self._on_readable)

    @property
    def host(self) -> Host:
        """Its own addresses."""
        return self.hosts[0]

    def send(self, frame: bytes, count: int = 1) -> None:
        """Send a frame ``count`` times, slowly enough that the switch receives each.

        Raises:
            OSError: If the device is down or gone.
        """
        for number in range(1, count + 1):
            self._write(frame)
            if number % BURST == 0:
                self._pause()

    def on_frame(self, frame: bytes) -> None:
        """Answer a frame, if one of the hosts is asked."""
        if reply := frames.answer(frame, self.hosts):
            self.send(reply)

    def _write(self, frame: bytes) -> None:
        os.write(self._descriptor, frame)

    def _pause(self) -> None:
        time.sleep(BURST_PAUSE_SECONDS)

    def _on_readable(self) -> None:
        try:
            self._take(os.read(self._descriptor, FRAME_BYTES))
        except OSError:  # the device is down: nothing to read and nobody to answer
            return

    def _take(self, frame: bytes) -> None:
        self.received_frames += 1
        self.received.append(frame)
        self.on_frame(frame)


class Vtep(Station):
    """The world behind a wire, with a VXLAN endpoint: hosts here and hosts behind the tunnel.

    Args:
        reactor: Reads for it.
        descriptor: A packet socket on the wire.
        hosts: On the wire itself; the first is the endpoint.
        peer: The switch's endpoint. Its MAC address is learned from what it sends.
        vni: The network that both ends carry.
        remote: Hosts of that network behind this endpoint.
    """

    def __init__(
        self,
        reactor: Reactor,
        descriptor: int,
        hosts: tuple[Host, ...],
        peer: Host,
        vni: int,
        remote: tuple[Host, ...],
    ) -> None:
        self.peer = peer
        self.vni = vni
        self.remote = remote
        super().__init__(reactor, descriptor, hosts)

    def send_through(self, frame: bytes, count: int = 1) -> None:
        """Send a frame of the network through the tunnel."""
        self.send(frames.vxlan(self.host, self.peer, self.vni, frame), count)

    def on_frame(self, frame: bytes) -> None:
        """Answer for the hosts on the wire, and for those behind the tunnel."""
        inner = frames.vxlan_payload(frame, self.host.ip)
        if inner is None:
            super().on_frame(frame)
        elif reply := frames.answer(inner, self.remote):
            self.send_through(reply)
