"""A machine of its own, as far as the network goes: links, and names for network namespaces.

```python
with Host() as host:
    host.add_namespace("qrouter-703db450")
    host.run("ip", "link", "add", "rfp", "type", "veth", "peer", "fpr", netns="qrouter-703db450")
    print(host.run("ip", "netns", "list"))
```
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from lab import namespace
from lab.part import Part
from lab.process import NAMESPACES, Daemon, LabError, run, wait_until

T = TypeVar("T")

HOLDER = f"""
mount --make-slave {NAMESPACES} &&
mount -t tmpfs -o size=4m,mode=755 lab {NAMESPACES} &&
exec sleep infinity
"""
"""What keeps the mount namespace: nothing that is mounted in it comes out, and what is unmounted
outside goes in it as well, so that a host pins no namespace of anybody else.

``unshare --propagation private`` would say so of the whole tree at once, and fails where / is no
mount point (a chroot). /run/netns is one: ip-netns(8) sees to that.
"""

FEW_WORDS = {
    "accept_ra": "0",
    "router_solicitations": "0",
    "accept_dad": "0",
    "mldv1_unsolicited_report_interval": "1",
    "mldv2_unsolicited_report_interval": "1",
}
"""IPv6 of a namespace inside: link-local addresses come by themselves and are there at once; what
the kernel sends about them is sent within milliseconds, and then it is quiet."""


class Host(Part):
    """A network namespace, and a mount namespace in which /run/netns is empty and private.

    ``ip netns add`` inside makes namespaces that only this host has. None of them outlives
    ``stop``, nor the process that made the host.

    Attributes:
        name: Of its network namespace, as everybody sees it.
        directory: Private, for files.
    """

    def __init__(self) -> None:
        super().__init__()
        self.name = ""
        self.directory = Path()
        self._holder: Daemon | None = None

    @property
    def holder(self) -> Daemon:
        """The process that keeps the namespaces.

        Raises:
            LabError: If the host was never started.
        """
        if self._holder is None:
            raise LabError("the host was never started")
        return self._holder

    @property
    def enter(self) -> list[str]:
        """The command that runs another one on this host.

        Entering a mount namespace leaves a chroot: --root goes back into it.
        """
        return ["nsenter", f"--target={self.holder.pid}", "--net", "--mount", "--root", "--wd"]

    def run(self, *argv: str, netns: str = "", stdin: str | None = None) -> str:
        """Run a command on the host, or in one of its namespaces.

        Args:
            argv: Command and arguments. ``ip -n`` and ``ip netns exec`` fail in a chroot.
            netns: Name of the namespace; empty for the host's own.
            stdin: What the command reads.

        Raises:
            LabError: If it fails.
        """
        inner = ["nsenter", f"--net={NAMESPACES / netns}"] if netns else []
        return run(*self.enter, *inner, *argv, stdin=stdin)

    def path(self, netns: str = "") -> str:
        """Return what has the namespace for a name outside: for lab.namespace, and ``ip … netns``.

        Args:
            netns: Its name inside; empty for the host's own.
        """
        root = Path("/proc", str(self.holder.pid), "root")
        return str(root / NAMESPACES.relative_to("/") / netns if netns else NAMESPACES / self.name)

    def inside(self, work: Callable[[], T], netns: str = "") -> T:
        """Do something in the host's own namespace or another, in a thread that ends right after.

        Only the network is the host's: its files are those outside.
        """
        return namespace.inside(self.path(netns), work)

    def add_namespace(self, netns: str) -> None:
        """Make a namespace as neutron does: ``lo`` is up, IPv6 is on."""
        self.run("ip", "netns", "add", netns)
        settings = {f"ipv6/conf/default/{key}": value for key, value in FEW_WORDS.items()}
        self.inside(lambda: _write(settings), netns)
        self.run("ip", "link", "set", "lo", "up", netns=netns)

    def delete_namespace(self, netns: str) -> None:
        """Delete a namespace with the devices in it."""
        self.run("ip", "netns", "delete", netns)

    def outside(self) -> str:
        """Make a namespace that is not on this host, for the far ends of its wires.

        Returns:
            Its name; ``lab.process.run`` takes it. It goes with the host.
        """
        name, directory = namespace.create()
        self._stack.callback(namespace.delete, name, directory)
        return name

    def _build(self) -> None:
        self.name, self.directory = namespace.create()
        self._stack.callback(namespace.delete, self.name, self.directory)
        unshare = ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c", HOLDER]
        self._holder = Daemon(unshare, self.directory / "holder.log", netns=self.name)
        self._stack.callback(self._holder.kill)
        wait_until(self._is_held, what="a mount namespace")

    def _is_held(self) -> bool:
        self.holder.require_alive()
        return Path("/proc", str(self.holder.pid), "comm").read_text() == "sleep\n"


def _write(settings: Mapping[str, str]) -> None:
    for setting, value in settings.items():
        switch = Path("/proc/sys/net", setting)
        if switch.exists():  # a kernel without IPv6
            switch.write_text(value)
