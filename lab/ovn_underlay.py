"""The networks that the hosts of a cloud are plugged into: switches and wires, by the kernel."""

from pathlib import Path

from lab import namespace
from lab.part import Part
from lab.process import run, wait_until
from lab.recorded import parse_links


class Underlay(Part):
    """A network namespace with a Linux bridge for each network.

    Args:
        networks: Their names, at most ten characters each.

    Attributes:
        name: Of the network namespace.
    """

    def __init__(self, *networks: str) -> None:
        super().__init__()
        self.name = ""
        self._networks = networks
        self._plugs: list[str] = []
        self._directory = Path()

    def connect(self, netns: str, device: str, network: str) -> str:
        """Make a device in somebody's namespace that is plugged into a network.

        Args:
            netns: The namespace, by a name or path that ``lab.process.run`` takes.
            device: Name of the device there. It is up.
            network: One of those the underlay was made with.

        Returns:
            The name of its plug, for ``pull`` and ``put_back``.
        """
        plug = f"plug{len(self._plugs)}"
        self._plugs.append(plug)
        far = ("name", device, "netns", netns)
        self._ip("link", "add", plug, "master", network, "type", "veth", "peer", *far)
        self._ip("link", "set", plug, "up")
        run("ip", "link", "set", device, "up", netns=netns)
        return plug

    def wait(self) -> None:
        """Return when every plug forwards: the kernel takes its time to notice a carrier."""
        wait_until(self._is_forwarding, what="the underlay to forward")

    def pull(self, plug: str) -> None:
        """Pull a plug out: what is at the other end of its cable has no carrier."""
        self._ip("link", "set", plug, "down")

    def put_back(self, plug: str) -> None:
        """Put it back."""
        self._ip("link", "set", plug, "up")

    def _build(self) -> None:
        self.name, self._directory = namespace.create()
        self._stack.callback(namespace.delete, self.name, self._directory)
        for network in self._networks:
            quiet = ("stp_state", "0", "forward_delay", "0", "mcast_snooping", "0")
            self._ip("link", "add", network, "type", "bridge", *quiet)
            self._ip("link", "set", network, "up")

    def _is_forwarding(self) -> bool:
        links = parse_links(self._ip("-details", "link", "show"))
        return all(links[plug].port_state == "forwarding" for plug in self._plugs)

    def _ip(self, *words: str) -> str:
        return run("ip", *words, netns=self.name)
