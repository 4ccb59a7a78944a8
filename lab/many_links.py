"""A host with many links in many namespaces, for what costs grow with."""

import socket

from lab.host import Host

FRAME = bytes.fromhex("ffffffffffff 02000000000f 88b5") + bytes(50)
"""Broadcast of an EtherType for experiments (IEEE 802.1), which nobody answers."""


class ManyLinks(Host):
    """Namespaces named as a router's, with veth pairs in each that are up.

    Args:
        namespaces: How many.
        links: In each, an even number.
    """

    def __init__(self, namespaces: int, links: int) -> None:
        super().__init__()
        self.names = [
            f"qrouter-{number:08x}-0000-4000-8000-000000000000" for number in range(namespaces)
        ]
        self.devices = [f"qr-{number:08x}-{end}" for number in range(links // 2) for end in "ab"]
        self._senders: list[socket.socket] = []

    def send(self) -> None:
        """Send a frame through each link: packets and bytes of all move, both ways."""
        for sender in self._senders:
            for device in self.devices:
                sender.sendto(FRAME, (device, 0))

    def _build(self) -> None:
        super()._build()
        pairs = list(zip(self.devices[::2], self.devices[1::2], strict=True))
        lines = [f"netns add {name}" for name in self.names]
        lines += [
            f"link add {one} netns {name} type veth peer name {other} netns {name}"
            for name in self.names
            for one, other in pairs
        ]
        self.run("ip", "-batch", "-", stdin="\n".join(lines))
        up = "\n".join(f"link set {device} up" for device in self.devices)
        for name in self.names:
            self.inside(_silence, name)
            self.run("ip", "-batch", "-", netns=name, stdin=up)
            self._senders.append(self.inside(_sender, name))
        self._stack.callback(self._close)

    def _close(self) -> None:
        for sender in self._senders:
            sender.close()


def _sender() -> socket.socket:
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)


def _silence() -> None:
    """Keep IPv6 from sending by itself."""
    with open("/proc/sys/net/ipv6/conf/default/disable_ipv6", "w") as switch:  # noqa: PTH123 - /proc
        switch.write("1")
