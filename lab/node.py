"""A node: real ovsdb-server and ovs-vswitchd in a network namespace and a directory of their own.

```python
with Node() as node:
    node.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
    print(node.appctl("dpctl/show"))
```
"""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lab import namespace
from lab.part import Part
from lab.process import Daemon, LabError, enter, run, wait_until
from lab.recorded import Flow, parse_flows

T = TypeVar("T")

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
SYSTEM_ID = "698493db-95ef-4c31-b419-56b3d4096f2b"
SYSTEM_TYPE, SYSTEM_VERSION = "debian", "12"


class Node(Part):
    """Open vSwitch as a compute node runs it, beside any other on the machine.

    Its run directory looks like /var/run/openvswitch: ``db.sock``, ``ovs-vswitchd.<pid>.ctl``,
    ``<bridge>.mgmt``, pid files. Bridges need ``datapath_type=netdev``; ports of type ``dummy``
    need no device. Nothing of it outlives ``stop``, nor the process that made it.

    Args:
        netns: Name of a network namespace to run in, which is not the node's to delete; ``None``
            makes one.

    Attributes:
        name: Of the network namespace.
        rundir: The run directory, with database and logs in it.
    """

    def __init__(self, netns: str | None = None) -> None:
        super().__init__()
        self._netns = netns
        self.name = ""
        self.rundir = Path()
        self._ovsdb: Daemon | None = None
        self._vswitchd: Daemon | None = None

    # -- the daemons, one by one, for tests of what the agent makes of their loss --------------

    def start_ovsdb(self) -> None:
        """Start ovsdb-server on the node's database."""
        remotes = (
            f"--remote=punix:{self.rundir}/db.sock",
            "--remote=db:Open_vSwitch,Open_vSwitch,manager_options",
        )
        self._ovsdb = self._daemon("ovsdb-server", *remotes, str(self.rundir / "conf.db"))
        self._wait_for_ctl(self._ovsdb)

    def start_vswitchd(self) -> None:
        """Start ovs-vswitchd and wait until it has made what the database asks for.

        ``--disable-system`` keeps it away from the kernel datapath of the machine, which it would
        otherwise tidy up as its own.
        """
        database = f"unix:{self.rundir}/db.sock"
        self._vswitchd = self._daemon(
            "ovs-vswitchd", database, "--enable-dummy", "--disable-system"
        )
        self._wait_for_ctl(self._vswitchd)
        self.vsctl("--timeout=30", "init")

    def kill_ovsdb(self) -> None:
        """SIGKILL ovsdb-server: its sockets stay behind as dead files."""
        self.ovsdb.kill()

    def kill_vswitchd(self) -> None:
        """SIGKILL ovs-vswitchd: its sockets stay behind as dead files, its flows are gone."""
        self.vswitchd.kill()

    def pause_vswitchd(self) -> None:
        """SIGSTOP ovs-vswitchd: its sockets take connections and do not answer."""
        self.vswitchd.send(signal.SIGSTOP)

    def resume_vswitchd(self) -> None:
        """SIGCONT ovs-vswitchd."""
        self.vswitchd.send(signal.SIGCONT)

    @property
    def ovsdb(self) -> Daemon:
        """The ovsdb-server that was started last."""
        return _started(self._ovsdb)

    @property
    def vswitchd(self) -> Daemon:
        """The ovs-vswitchd that was started last."""
        return _started(self._vswitchd)

    # -- the commands of an operator -----------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        """What makes the commands of Open vSwitch speak to this node."""
        names = ("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR")
        return dict.fromkeys(names, str(self.rundir))

    def vsctl(self, *arguments: str) -> str:
        """Run ovs-vsctl; without ``--no-wait`` it returns when ovs-vswitchd has followed."""
        database = f"--db=unix:{self.rundir}/db.sock"
        return self.run("ovs-vsctl", database, "--timeout=60", *arguments)

    def ofctl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run ovs-ofctl; bridges by name."""
        return self.run("ovs-ofctl", *arguments, stdin=stdin)

    def appctl(self, *arguments: str) -> str:
        """Run ovs-appctl against ovs-vswitchd, by its control socket."""
        return self.run("ovs-appctl", "--timeout=30", "-t", str(self.ctl), *arguments)

    def run(self, *argv: str, stdin: str | None = None) -> str:
        """Run any command in the node's namespace and environment."""
        return run(*argv, env=self.environment, netns=self.name, stdin=stdin)

    @property
    def ctl(self) -> Path:
        """The control socket of ovs-vswitchd."""
        return self.rundir / f"ovs-vswitchd.{self.vswitchd.pid}.ctl"

    @property
    def enter(self) -> list[str]:
        """The command that runs another one in the node's namespace."""
        return enter(self.name)

    def inside(self, work: Callable[[], T]) -> T:
        """Do something in the node's namespace, in a thread that ends right after."""
        return namespace.inside(self.name, work)

    def flows(self, bridge: str) -> list[Flow]:
        """Return a bridge's flows with counters that include every packet handled so far.

        The revalidators push the counters of the datapath up twice a second; this waits for it.
        """
        self.appctl("revalidator/wait")
        return parse_flows(self.ofctl("--names", "dump-flows", bridge))

    # -- within ---------------------------------------------------------------------------------

    def _build(self) -> None:
        self._settle()
        self._stack.callback(self._end_daemons)
        run("ovsdb-tool", "create", str(self.rundir / "conf.db"), str(SCHEMA))
        self.start_ovsdb()
        self.vsctl("--no-wait", "init")
        self._introduce()
        self.start_vswitchd()

    def _settle(self) -> None:
        if self._netns is None:
            self.name, self.rundir = namespace.create()
            self._stack.callback(namespace.delete, self.name, self.rundir)
        else:
            self.name, self.rundir = self._netns, namespace.make_directory()
            self._stack.callback(namespace.delete_directory, self.rundir)

    def _introduce(self) -> None:
        version = run("ovs-vswitchd", "--version").split("\n", 1)[0].rpartition(" ")[2]
        columns = (
            f"ovs_version={version}",
            f"external_ids:system-id={SYSTEM_ID}",
            f"external_ids:hostname={self.name}",
            f"system_type={SYSTEM_TYPE}",
            f"system_version={SYSTEM_VERSION}",
        )
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".", *columns)

    def _daemon(self, program: str, *arguments: str) -> Daemon:
        files = ("--pidfile", f"--log-file={self.rundir}/{program}.log", "-vconsole:off")
        output = self.rundir / f"{program}.out"
        return Daemon([program, *files, *arguments], output, self.environment, self.name)

    def _wait_for_ctl(self, daemon: Daemon) -> None:
        ctl = self.rundir / f"{daemon.name}.{daemon.pid}.ctl"

        def answers() -> bool:
            daemon.require_alive()
            if not ctl.exists():
                return False
            try:
                return bool(self.run("ovs-appctl", "--timeout=5", "-t", str(ctl), "version"))
            except LabError:
                return False

        wait_until(answers, what=f"{daemon.name} to answer")

    def _end_daemons(self) -> None:
        for daemon in (self._vswitchd, self._ovsdb):
            if daemon is not None:
                daemon.stop()


def _started(daemon: Daemon | None) -> Daemon:
    if daemon is None:
        raise LabError("the node was never started")
    return daemon
