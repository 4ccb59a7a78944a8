"""The agent installed in a machine that systemd runs, as the package installs it."""

import sysconfig
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lab.process import LabError, wait_until
from lab.systemd_machine import SystemdMachine
from tests.deploy.units import DEPLOY, PROGRAM, UNIT
from tests.e2e.page import Page, parse

PROJECT = Path(__file__).parents[2]
PACKAGES = sysconfig.get_path("purelib")
DROP_INS = f"/etc/systemd/system/{UNIT}.d"
CONFIG = "/etc/dataplane-agent/config.yml"
OF_SWITCH = ("ovsdb-server", "ovs-vswitchd")
WAIT_SECONDS = 400.0
"""For a start or a page: the processor is emulated, and importing the agent takes 10 s alone."""

POLL_SECONDS = 2.0
"""Asking takes the only processor from what is waited for."""

PATIENT = """\
# An emulated processor is 15 times slower.
[Service]
TimeoutStartSec=200
TimeoutStopSec=20
Environment=DATAPLANE_AGENT_SCRAPE__DEADLINE_SECONDS=60
Environment=DATAPLANE_AGENT_TIMEOUTS__NETLINK_SECONDS=50
Environment=DATAPLANE_AGENT_TIMEOUTS__UNIXCTL_SECONDS=50
# what alone needs CAP_NET_ADMIN on this kernel
Environment=DATAPLANE_AGENT_COLLECTORS__CONNTRACK_ZONE=true
"""

INSTALL = f"""\
set -e
systemd-sysusers {DEPLOY}/dataplane-agent.sysusers
install -D -m 644 {DEPLOY}/{UNIT} -t /etc/systemd/system
install -D -m 644 {DEPLOY}/dataplane-agent.default /etc/default/dataplane-agent
install -D -m 644 {DEPLOY}/config.yml -t /etc/dataplane-agent
mkdir -p {DROP_INS}
cat >{DROP_INS}/patient.conf <<'END'
{PATIENT}END

# what the package brings, out of what this project has: nothing of it may be below /home or /root
cd {PROGRAM.parents[1]} 2>/dev/null || mkdir -p {PROGRAM.parents[1]} && cd {PROGRAM.parents[1]}
site=lib/$(python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')/site-packages
mkdir -p bin packages source $site
mount -o bind {PACKAGES} packages
mount -o bind {PROJECT} source
printf '%s\\n' $PWD/source $PWD/packages >$site/lab.pth
ln -s "$(command -v python3)" bin/python
printf 'home = /usr/bin\\ninclude-system-site-packages = false\\n' >pyvenv.cfg
cat >{PROGRAM} <<END
#!$PWD/bin/python
import sys
from agent.cli import main
sys.exit(main())
END
chmod 755 {PROGRAM}
"""


class Installed:
    """The service in its machine.

    Args:
        machine: Running, with nothing of the agent in it yet.
    """

    def __init__(self, machine: SystemdMachine) -> None:
        self.machine = machine
        self.address = "127.0.0.1"
        machine.run(INSTALL)

    def listen_on(self, address: str) -> None:
        """Have the next start listen on one address, as config.yml proposes it."""
        line = f'  listen_address: ["{address}:10978"]'
        edit = f"sed -i 's/^  # listen_address: .*/{line}/' {CONFIG}"
        self.machine.run(f"{edit} && grep --fixed-strings --line-regexp '{line}' {CONFIG}")
        self.address = address

    def choose(self, profile: str) -> None:
        """Have the next start use a drop-in."""
        self.machine.run(
            f"cp {DEPLOY}/{profile}.conf {DROP_INS}/profile.conf && systemctl daemon-reload"
        )

    def open_sockets(self) -> None:
        """Start Open vSwitch anew, with sockets that its group may connect to."""
        copies = "".join(
            f"install -D {DEPLOY}/openvswitch-group.conf -t /etc/systemd/system/{name}.service.d\n"
            for name in OF_SWITCH
        )
        units = " ".join(OF_SWITCH)
        self.machine.run(f"set -e\n{copies}systemctl daemon-reload\nsystemctl restart {units}")

    def systemctl(self, *arguments: str) -> str:
        """Run systemctl on the unit; ``start`` returns when the agent is ready."""
        return self.machine.run(f"systemctl {' '.join(arguments)} {UNIT}")

    def ask(self, name: str) -> str:
        """Return what systemd knows of the unit."""
        return self.systemctl("show", "--value", f"--property={name}").strip()

    @property
    def pid(self) -> int:
        """The process that systemd takes for the agent; 0 for none."""
        return int(self.ask("MainPID"))

    @property
    def journal(self) -> str:
        """What systemd and the agent said."""
        return self.machine.run(f"journalctl --no-pager --quiet --unit={UNIT}")

    def status(self) -> dict[str, str]:
        """Return what the kernel says of the process: /proc/PID/status."""
        lines = self.machine.run(f"cat /proc/{self.pid}/status").splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def wait_until_restarted(self, pid: int) -> None:
        """Wait until another process is ready in the place of one."""

        def ready() -> bool:
            words = self.systemctl("show", "--property=MainPID,SubState").split()
            return "SubState=running" in words and f"MainPID={pid}" not in words

        self._wait(ready, "the agent to be started again")

    def wait_for_page(self, wanted: Callable[[Page], bool], what: str) -> Page:
        """Scrape until a page has what is wanted, and return it."""

        def page() -> Page | None:
            found = self._page()
            return found if wanted(found) else None

        found = self._wait(page, what)
        assert found is not None
        return found

    def _page(self) -> Page:
        done = self.machine.attempt(f"busybox wget -qO- http://{self.address}:10978/metrics")
        lines = [line for line in done.stdout.splitlines() if line and line[0] != "#"]
        if done.returncode:
            return {}
        return parse(
            {series: float(value) for series, _, value in (x.rpartition(" ") for x in lines)}
        )

    def _wait(self, predicate: Callable[[], Page | bool | None], what: str) -> Page | None:
        try:
            found = wait_until(predicate, WAIT_SECONDS, what, POLL_SECONDS)
        except LabError as error:
            raise LabError(f"{error}\n{self.journal[-4000:]}") from None
        return found if isinstance(found, dict) else None


def is_up(source: str, page: Page) -> bool:
    """Whether a page says so of a source."""
    return ({"source": source}, 1.0) in page.get("dataplane_agent_source_up", [])


def are_up(*sources: str) -> Callable[[Page], bool]:
    """Return whether all of them are, for ``wait_for_page``."""
    return lambda page: all(map(partial(is_up, page=page), sources))
