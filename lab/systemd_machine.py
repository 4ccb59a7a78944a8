"""A virtual machine whose first process is systemd, for units as they are on a node.

```python
with SystemdMachine() as machine:
    machine.run("systemctl start openvswitch-switch.service")
    print(machine.run("systemctl show --property=MainPID openvswitch-switch.service"))
```
"""

import itertools
import shlex
import socket
import subprocess
from pathlib import Path

from lab import namespace
from lab.machine import BOOT_SECONDS, EXCHANGE, PATH, Machine
from lab.process import LabError, wait_until

UNITS, GENERATORS = Path("/run/systemd/system"), Path("/lib/systemd/system-generators")
WANTS = " ".join(f"{base}/systemd/system/sysinit.target.wants/*" for base in ("/lib", "/etc"))
TARGET = "lab.target"
LINE = "commands"
"""The socket of the machine's second serial line, which tells it the names of scripts to run."""
COMMAND_SECONDS = 240.0
TAIL = 3000

# Nothing that a node has besides: no udev, no D-Bus, no login. systemctl as root needs none.
LAB_UNITS = {
    TARGET: """\
[Unit]
DefaultDependencies=no
Requires=lab.service
AllowIsolate=yes
""",
    "lab.service": f"""\
[Unit]
DefaultDependencies=no
Wants=systemd-journald.service
After=systemd-journald.service
[Service]
ExecStart=/bin/busybox sh {EXCHANGE}/serve
Environment=PATH={PATH}
StandardOutput=null
StandardError=null
OOMScoreAdjust=-1000
""",
    # What units wait for without saying so; here it is reached by naming it.
    "sysinit.target": "[Unit]\nDefaultDependencies=no\n",
    # Directories in /run, and nothing cleared: /tmp may have a hundred thousand files of the outer
    # machine.
    "systemd-tmpfiles-setup.service": """\
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=systemd-tmpfiles --create --exclude-prefix=/dev --exclude-prefix=/tmp
""",
    "network.target": "[Unit]\nDefaultDependencies=no\n",
}

SERVE = f"""\
# Runs in the machine: the scripts whose names come over the second serial line, one by one.
exec </dev/ttyS1
stty -echo
touch {EXCHANGE}/serves
while read -r name; do
    /bin/sh {EXCHANGE}/$name >{EXCHANGE}/$name.output 2>&1
    echo $? >{EXCHANGE}/$name.part
    mv {EXCHANGE}/$name.part {EXCHANGE}/$name.returncode
done
"""

START = """\
# Runs in the machine, before systemd takes its place.
{temporary}
mkdir -p {units} {masked}
for each in {generators}/*; do
    ln -s /dev/null {masked}/${{each##*/}}
done
# what an ordinary machine does at its start, but for the journal: udev alone takes 10 s
for each in {wants}; do
    [ "${{each##*/}}" = systemd-journald.service ] || ln -sf /dev/null {units}/${{each##*/}}
done
cp --remove-destination {exchange}/units/* {units}
# as systemd does where / has no sign of a container, which images of Debian may bring along
mount --make-rshared /
touch {exchange}/started
exec env -i PATH={path} \\
    /lib/systemd/systemd --unit={target} --show-status=0 --log-target=journal-or-kmsg
"""


class SystemdMachine(Machine):
    """Boots systemd and runs shell scripts in it, one after the other, as root.

    The files are those of the machine that runs the lab: its units, its programs. What is written
    is forgotten, but for ``exchange``.
    """

    def __init__(self) -> None:
        super().__init__(())
        self._line: socket.socket | None = None
        self._numbers = itertools.count(1)

    def run(self, script: str) -> str:
        """Run a shell script and return what it printed, standard error with it.

        Raises:
            LabError: If its exit code is not 0, or it does not end in four minutes.
        """
        done = self.attempt(script)
        if done.returncode:
            raise LabError(f"{script.strip()[:300]}: {done.returncode}\n{done.stdout[-TAIL:]}")
        return done.stdout

    def attempt(self, script: str) -> "subprocess.CompletedProcess[str]":
        """Run a shell script and return its exit code and what it printed.

        Raises:
            LabError: If it does not end in four minutes, or the machine did not survive it.
        """
        if self._line is None:
            raise LabError("the machine was never started")
        name = f"script{next(self._numbers)}"
        (self.exchange / name).write_text(script, encoding="utf-8")
        self._line.sendall(f"{name}\n".encode())
        returncode = self.exchange / f"{name}.returncode"

        def ended() -> bool:
            return returncode.exists() or not self.alive

        wait_until(ended, COMMAND_SECONDS, f"the machine to run: {script.strip()[:300]}")
        if not returncode.exists():
            raise LabError(f"the machine ended:\n{self.console[-TAIL:]}")
        output = (self.exchange / f"{name}.output").read_text(errors="replace")
        return subprocess.CompletedProcess([script], int(returncode.read_text()), output)

    def _build(self) -> None:
        units = self.exchange / "units"
        units.mkdir()
        for name, text in LAB_UNITS.items():
            (units / name).write_text(text, encoding="utf-8")
        (self.exchange / "serve").write_text(SERVE, encoding="utf-8")
        super()._build()
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._stack.callback(self._line.close)
        self._line.connect(str(self.exchange / LINE))
        # what comes over a line that nobody has opened yet is lost
        serves = self.exchange / "serves"
        wait_until(serves.exists, BOOT_SECONDS, "systemd to start the lab's service")

    def _arguments(self, kernel: Path) -> list[str]:
        chardev = f"socket,id={LINE},path={self.exchange / LINE},server=on,wait=off"
        return [
            *super()._arguments(kernel),
            *("-chardev", chardev, "-serial", f"chardev:{LINE}"),
        ]

    def _start_script(self) -> str:
        # as in other machines: temporary files of the outer one are none of its business
        beneath = self._directory.resolve().is_relative_to(namespace.DIRECTORIES)
        return START.format(
            temporary="" if beneath else f"mount -t tmpfs tmp {namespace.DIRECTORIES}",
            units=UNITS,
            masked=UNITS.with_name("system-generators"),
            generators=GENERATORS,
            wants=WANTS,
            exchange=EXCHANGE,
            path=shlex.quote(PATH),
            target=TARGET,
        )
