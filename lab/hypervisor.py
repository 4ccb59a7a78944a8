"""A hypervisor: real libvirtd and real QEMU, beside whatever the machine has of them.

```python
with Host() as host, Hypervisor(host.name) as hypervisor:
    hypervisor.define(domain_xml("instance-00000001", identity))
    hypervisor.start_domain("instance-00000001")
    print(hypervisor.virsh("list"))
```
"""

import atexit
import os
import signal
from contextlib import suppress
from functools import cache
from pathlib import Path
from uuid import uuid4

from lab.namespace import delete_directory, make_directory
from lab.part import Part
from lab.process import Daemon, LabError, run, wait_until

HOLDER = """
set -e
mount --make-rslave / 2>/dev/null || nsenter --mount=/proc/self/ns/mnt mount --make-rslave /
umount --lazy --recursive /sys || true
mkdir -p /sys
mount -t sysfs lab /sys
mount -t proc lab /proc
for each in /run /etc/libvirt /var/lib/libvirt /var/log/libvirt; do
    mkdir -p $each
    mount -t tmpfs -o size=64m,mode=755 lab $each
done
mkdir -p /var/cache/libvirt
mount --bind "$2" /var/cache/libvirt
cp "$1/qemu.conf" /etc/libvirt
exec env --ignore-signal=CHLD sleep infinity
"""
"""What keeps the namespaces of mounts and processes, so that domains outlive their libvirtd.

Nothing that is mounted in it comes out. In a chroot / is no mount point, but who enters a mount
namespace comes to stand where it begins, and there it is one. With /run the machine's D-Bus is
gone, and with /sys its cgroups: libvirtd would make itself known to the one and tidy up the other.

It is the first process of its namespace: when it ends, so does every other, also a QEMU that has
made itself a daemon. It is the parent of those, and leaves it to the kernel to bury them; a domain
whose process is not buried counts as running.
"""

QEMU_CONF = """\
security_driver = "none"
namespaces = []
cgroup_controllers = []
hugetlbfs_mount = []
user = "root"
group = "root"
stdio_handler = "file"
"""
LIBVIRTD_CONF = """\
unix_sock_dir = "{directory}"
auth_unix_ro = "none"
auth_unix_rw = "none"
host_uuid = "{identity}"
"""
"""libvirtd knows by ``host_uuid`` that a domain would migrate to the same host, and refuses."""
ENGLISH = {"LC_ALL": "C"}


class Hypervisor(Part):
    """libvirtd as a compute node runs it, with domains that QEMU emulates.

    It is alone: it sees only its own domains, files and processes. Neither libvirtd nor a domain
    outlives ``stop``, nor the process that made it.

    Args:
        netns: Name of the network namespace that has the domains' devices.

    Attributes:
        directory: Private, with libvirtd's sockets, configuration and log in it.
    """

    def __init__(self, netns: str) -> None:
        super().__init__()
        self.directory = Path()
        self._netns = netns
        self._holder: Daemon | None = None
        self._libvirtd: Daemon | None = None

    @property
    def run_directory(self) -> Path:
        """What is /run for its domains: no other hypervisor's have the same."""
        return Path("/proc", str(_started(self._holder).pid), "root/run")

    @property
    def uri(self) -> str:
        """What connects to libvirtd's read-only socket."""
        return self._uri("libvirt-sock-ro")

    # -- libvirtd, for tests of what the agent makes of its loss -------------------------------

    @property
    def libvirtd(self) -> Daemon:
        """The libvirtd that was started last."""
        return _started(self._libvirtd)

    def start_libvirtd(self) -> None:
        """Start libvirtd and wait until it answers; it knows the domains that run already."""
        holder = _started(self._holder).pid
        files = (
            f"--config={self.directory}/libvirtd.conf",
            f"--pid-file={self.directory}/libvirtd.pid",
        )
        # entering a mount namespace leaves a chroot: --root goes back into it
        enter = ("nsenter", f"--target={holder}", "--mount", "--root", "--wd")
        self._libvirtd = Daemon(
            [*enter, "libvirtd", *files],
            self.directory / "libvirtd.log",
            netns=self._netns,
            pidns=Path("/proc", str(holder), "ns/pid_for_children"),
        )
        wait_until(self._answers, timeout=30, what="libvirtd to answer")

    def kill_libvirtd(self) -> None:
        """SIGKILL libvirtd: its sockets stay behind as dead files, its domains go on."""
        self.libvirtd.kill()

    def pause(self) -> None:
        """SIGSTOP libvirtd: its sockets take connections and do not answer. Domains go on."""
        self.libvirtd.send(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT libvirtd."""
        self.libvirtd.send(signal.SIGCONT)

    # -- the commands of an operator -----------------------------------------------------------

    def virsh(self, *arguments: str, stdin: str | None = None) -> str:
        """Run virsh on the socket that may change things; it reads files as ``/dev/stdin``."""
        uri = self._uri("libvirt-sock")
        return run("virsh", "--quiet", "--connect", uri, *arguments, env=ENGLISH, stdin=stdin)

    def define(self, xml: str) -> None:
        """Make a domain, or change the one that has this name and UUID."""
        self.virsh("define", "/dev/stdin", stdin=xml)

    def start_domain(self, domain: str) -> None:
        """Start a domain that is defined; its devices are there on return."""
        self.virsh("start", domain)

    def destroy_domain(self, domain: str) -> None:
        """End a domain at once, as a power cut does; it stays defined, its devices are gone."""
        self.virsh("destroy", domain)

    def attach(self, domain: str, interface: str) -> None:
        """Plug an interface into a running domain, given its XML."""
        self.virsh("attach-device", domain, "/dev/stdin", "--live", stdin=interface)

    def detach(self, domain: str, interface: str) -> None:
        """Unplug an interface from a running domain, given the XML that it was plugged with."""
        self.virsh("detach-device", domain, "/dev/stdin", "--live", stdin=interface)

    def migrate(self, domain: str, to: "Hypervisor", *options: str) -> None:
        """Move a running domain as Nova does: this libvirtd tells the other what to do.

        When it returns the domain runs there. Here it is shut off, or gone if it was not defined.

        Args:
            domain: Its name.
            to: Where to, one domain at a time; on another ``Host``, where the taps' names are free.
                All goes through UNIX sockets: the two need no network.
            options: More of ``virsh migrate``, such as ``--undefinesource`` and ``--persistent``.

        Raises:
            LabError: If it is refused or cancelled. The domain goes on here.
        """
        # with "qemu:" alone libvirt takes it for its own address, whatever the socket
        address = f"qemu+unix:///system?socket={to.directory}/libvirt-sock"
        way = ("--desturi", address, "--migrateuri", f"unix://{to.directory}/migration")
        self.virsh("migrate", "--live", "--p2p", *options, domain, *way)

    def domifstat(self, domain: str, device: str) -> dict[str, int]:
        """Return what libvirt counts of a device, seen from the domain.

        Returns:
            Values by ``rx_bytes``, ``rx_packets``, ``rx_errs``, ``rx_drop``, ``tx_bytes``, ….
        """
        lines = self.virsh("domifstat", domain, device).splitlines()
        return {name: int(value) for _, name, value in map(str.split, filter(None, lines))}

    # -- within ---------------------------------------------------------------------------------

    def _build(self) -> None:
        self.directory = make_directory()
        self._stack.callback(delete_directory, self.directory)
        (self.directory / "qemu.conf").write_text(QEMU_CONF)
        conf = LIBVIRTD_CONF.format(directory=self.directory, identity=uuid4())
        (self.directory / "libvirtd.conf").write_text(conf)
        unshare = ("unshare", "--mount", "--propagation=unchanged", "--pid", "--fork")
        script = ("sh", "-c", HOLDER, "holder", str(self.directory), str(shared_cache()))
        log = self.directory / "holder.log"
        self._holder = Daemon([*unshare, "--kill-child", *script], log, netns=self._netns)
        self._stack.callback(self._end)
        wait_until(self._is_held, what="namespaces for libvirtd")
        self.start_libvirtd()

    def _is_held(self) -> bool:
        _started(self._holder).require_alive()
        first = self._first()
        with suppress(FileNotFoundError):  # it ended at once: the log says why
            return bool(first) and Path("/proc", str(first), "comm").read_text() == "sleep\n"
        return False

    def _first(self) -> int:
        """Return the first process of the namespace, the holder's only child; 0 for none."""
        holder = _started(self._holder)
        if not holder.alive:
            return 0
        children = Path("/proc", str(holder.pid), "task", str(holder.pid), "children").read_text()
        return int(children or 0)

    def _answers(self) -> bool:
        self.libvirtd.require_alive()
        try:
            self.virsh("list")
        except LabError:
            return False
        return True

    def _uri(self, socket: str) -> str:
        return f"qemu:///system?socket={self.directory}/{socket}"

    def _end(self) -> None:
        if self._libvirtd is not None:
            self._libvirtd.kill()
        if first := self._first():
            os.kill(first, signal.SIGKILL)
        # it waits for the first process, which waits for all the others
        _started(self._holder).stop()


@cache
def shared_cache() -> Path:
    """Return a directory for what libvirtd found out about QEMU, which takes it a while.

    It belongs to all hypervisors of this process and goes with it.
    """
    directory = make_directory()
    atexit.register(delete_directory, directory)
    return directory


def _started(daemon: Daemon | None) -> Daemon:
    if daemon is None:
        raise LabError("the hypervisor was never started")
    return daemon
