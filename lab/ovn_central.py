"""OVN's central parts: the two databases and ovn-northd, in a network namespace of their own.

```python
with OvnCentral() as central:
    central.nbctl("ls-add", "network")
    print(central.sbctl("lflow-list"))
```
"""

import signal
from dataclasses import dataclass
from pathlib import Path

from lab import namespace
from lab.part import Part
from lab.process import Daemon, LabError, run, wait_until

SCHEMAS = Path("/usr/share/ovn")
DIRECTORIES = ("OVN_RUNDIR", "OVN_DBDIR", "OVN_LOGDIR", "OVN_SYSCONFDIR")
SOUTHBOUND_PORT, SOUTHBOUND_TLS_PORT = 6642, 6643
EVERYWHERE = "0.0.0.0"  # noqa: S104 - in a namespace that only the lab's wires lead to


@dataclass(frozen=True, slots=True)
class Keys:
    """Files for TLS, in PEM: a private key, its certificate and who signed those of the others."""

    key: Path
    certificate: Path
    authority: Path


class OvnCentral(Part):
    """Northbound and Southbound database, and ovn-northd between them.

    Its run directory looks like /var/run/ovn: ``ovnnb_db.sock``, ``ovnsb_db.sock``, control
    sockets, pid files.

    Args:
        address: At which others find the Southbound. It listens on every address that the
            namespace has or is given.
        tls: Have the Southbound listen for TLS as well, with these.

    Attributes:
        name: Of the network namespace.
        rundir: The run directory, with databases and logs in it.
    """

    def __init__(self, address: str = "127.0.0.1", tls: Keys | None = None) -> None:
        super().__init__()
        self.address = address
        self.name = ""
        self.rundir = Path()
        self._tls = tls
        self._daemons: dict[str, Daemon] = {}

    # -- where the databases are ---------------------------------------------------------------

    @property
    def northbound_unix(self) -> str:
        """The Northbound's remote, for who is on this machine."""
        return f"unix:{self.rundir}/ovnnb_db.sock"

    @property
    def southbound_unix(self) -> str:
        """The Southbound's remote, for who is on this machine."""
        return f"unix:{self.rundir}/ovnsb_db.sock"

    @property
    def southbound_tcp(self) -> str:
        """The Southbound's remote, for who has a wire to it."""
        return f"tcp:{self.address}:{SOUTHBOUND_PORT}"

    @property
    def southbound_tls(self) -> str:
        """The same over TLS; only where keys were given."""
        return f"ssl:{self.address}:{SOUTHBOUND_TLS_PORT}"

    # -- the daemons, one by one, for tests of what becomes of their loss ----------------------

    @property
    def northbound(self) -> Daemon:
        """The Northbound's ovsdb-server that was started last."""
        return self._started("nb")

    @property
    def southbound(self) -> Daemon:
        """The Southbound's ovsdb-server that was started last."""
        return self._started("sb")

    @property
    def northd(self) -> Daemon:
        """The ovn-northd that was started last."""
        return self._started("northd")

    def start_northbound(self) -> None:
        """Start the Northbound's ovsdb-server on its database."""
        self._start_database("nb")

    def start_southbound(self) -> None:
        """Start the Southbound's ovsdb-server on its database."""
        remotes = [f"--remote=ptcp:{SOUTHBOUND_PORT}:{EVERYWHERE}"]
        if self._tls is not None:
            remotes += [
                f"--remote=pssl:{SOUTHBOUND_TLS_PORT}:{EVERYWHERE}",
                f"--private-key={self._tls.key}",
                f"--certificate={self._tls.certificate}",
                f"--ca-cert={self._tls.authority}",
            ]
        self._start_database("sb", *remotes)

    def start_northd(self) -> None:
        """Start ovn-northd between the two."""
        remotes = (f"--ovnnb-db={self.northbound_unix}", f"--ovnsb-db={self.southbound_unix}")
        self._start("northd", "ovn-northd", *remotes)

    def kill_northbound(self) -> None:
        """SIGKILL the Northbound's ovsdb-server: its sockets stay behind as dead files."""
        self.northbound.kill()

    def kill_southbound(self) -> None:
        """SIGKILL the Southbound's ovsdb-server: its sockets stay behind as dead files."""
        self.southbound.kill()

    def kill_northd(self) -> None:
        """SIGKILL ovn-northd: what is written Northbound is not followed."""
        self.northd.kill()

    def pause_northbound(self) -> None:
        """SIGSTOP the Northbound's ovsdb-server: its sockets take connections, nothing answers."""
        self.northbound.send(signal.SIGSTOP)

    def pause_southbound(self) -> None:
        """SIGSTOP the Southbound's ovsdb-server: its sockets take connections, nothing answers."""
        self.southbound.send(signal.SIGSTOP)

    def resume_northbound(self) -> None:
        """SIGCONT the Northbound's ovsdb-server."""
        self.northbound.send(signal.SIGCONT)

    def resume_southbound(self) -> None:
        """SIGCONT the Southbound's ovsdb-server."""
        self.southbound.send(signal.SIGCONT)

    # -- the commands of an operator -----------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        """What makes the commands of OVN speak to these parts."""
        return dict.fromkeys((*DIRECTORIES, "OVS_RUNDIR", "OVS_LOGDIR"), str(self.rundir)) | {
            "OVN_NB_DB": self.northbound_unix,
            "OVN_SB_DB": self.southbound_unix,
        }

    def nbctl(self, *arguments: str) -> str:
        """Run ovn-nbctl."""
        return self.run("ovn-nbctl", "--timeout=30", *arguments)

    def sbctl(self, *arguments: str) -> str:
        """Run ovn-sbctl."""
        return self.run("ovn-sbctl", "--timeout=30", *arguments)

    def northd_appctl(self, *arguments: str) -> str:
        """Run ovn-appctl against ovn-northd."""
        return self.run("ovn-appctl", "--timeout=30", "-t", str(self._ctl("northd")), *arguments)

    def cookies(self, row: str) -> list[str]:
        """Return the cookies of the flows on br-int that ovn-northd makes of a Northbound row.

        A logical flow names the row by the first eight digits of its UUID, and an OpenFlow flow
        the logical flow by the same of its own.

        Args:
            row: UUID of an ACL, a logical router policy, …
        """
        made_of_it = ("find", "Logical_Flow", f"external_ids:stage-hint={row[:8]}")
        uuids = self.sbctl("--bare", "--columns=_uuid", *made_of_it).split()
        return [f"0x{int(uuid[:8], 16):x}" for uuid in uuids]

    def sync(self) -> None:
        """Return when every chassis has the flows for all that was written Northbound."""
        self.nbctl("--wait=hv", "sync")

    def run(self, *argv: str) -> str:
        """Run any command in the namespace and environment."""
        return run(*argv, env=self.environment, netns=self.name)

    # -- within ---------------------------------------------------------------------------------

    def _build(self) -> None:
        self.name, self.rundir = namespace.create()
        self._stack.callback(namespace.delete, self.name, self.rundir)
        self._stack.callback(self._end_daemons)
        for kind in ("nb", "sb"):
            self.run(
                "ovsdb-tool", "create", self._file(kind), str(SCHEMAS / f"ovn-{kind}.ovsschema")
            )
        self.start_northbound()
        self.start_southbound()
        self.nbctl("init")
        self.sbctl("init")
        self.start_northd()

    def _file(self, kind: str) -> str:
        return str(self.rundir / f"ovn{kind}_db.db")

    def _start_database(self, kind: str, *remotes: str) -> None:
        local = f"--remote=punix:{self.rundir}/ovn{kind}_db.sock"
        control = f"--unixctl={self._ctl(kind)}"
        self._start(kind, "ovsdb-server", local, control, *remotes, self._file(kind))

    def _start(self, kind: str, program: str, *arguments: str) -> None:
        files = (
            f"--pidfile={self.rundir}/{_base(kind)}.pid",
            f"--log-file={self.rundir}/{_base(kind)}.log",
            "-vconsole:off",
        )
        output = self.rundir / f"{_base(kind)}.out"
        command = [program, *files, *arguments]
        self._daemons[kind] = Daemon(command, output, self.environment, self.name)
        wait_until(lambda: self._answers(kind), what=f"{program} to answer")

    def _answers(self, kind: str) -> bool:
        self._daemons[kind].require_alive()
        try:
            return bool(
                self.run("ovn-appctl", "--timeout=5", "-t", str(self._ctl(kind)), "version")
            )
        except LabError:
            return False

    def _ctl(self, kind: str) -> Path:
        """The control socket: of the databases' by name, as OVN starts them."""
        pid = f".{self.northd.pid}" if kind == "northd" else ""
        return self.rundir / f"{_base(kind)}{pid}.ctl"

    def _started(self, kind: str) -> Daemon:
        if kind not in self._daemons:
            raise LabError("OVN's central parts were never started")
        return self._daemons[kind]

    def _end_daemons(self) -> None:
        for kind in ("northd", "sb", "nb"):
            if kind in self._daemons:
                self._daemons[kind].stop()


def _base(kind: str) -> str:
    return "ovn-northd" if kind == "northd" else f"ovn{kind}_db"
