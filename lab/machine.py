"""A virtual machine that runs Debian's kernel on this machine's own files.

The kernel datapath, geneve and connection tracking live in kernel modules, and whoever runs the
lab may have a kernel without them, or one that must not be touched. Debian's kernel in QEMU has
them all. The machine sees every file of this one, at the same place; what it writes stays in its
memory, but for one directory, ``exchange``, which is really this machine's.

```python
with Machine(["modprobe", "openvswitch"]) as machine:
    wait_until(lambda: not machine.alive, timeout=60)
    print(machine.output)
```

It boots without udev or systemd, in 3 s where processors are emulated in software.
"""

import os
import platform
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab import initramfs, namespace
from lab.part import Part
from lab.process import Daemon, LabError, wait_until

QEMU = "qemu-system-x86_64"
EXCHANGE = Path("/run/exchange")
"""Where the machine sees the directory that both sides write to."""
KERNELS, MODULES = Path("/boot"), Path("/lib/modules")
NEEDED_MODULES = ("net/openvswitch/openvswitch.ko", "net/9p/9pnet_virtio.ko")
MARK = "lab.machine"
"""On the kernel's command line; the dot keeps it from becoming a variable of its first process."""

MEMORY = "2G"
BOOT_SECONDS = 120.0
HARDWARE_BOOT_SECONDS = 15.0
"""With hardware virtualization the first command runs after a second or two. Nested inside another
hypervisor it may hang in the first instructions, and software emulation has to take over."""
CONSOLE_TAIL = 2000

ACCELERATORS = {
    "kvm": ("-accel", "kvm", "-cpu", "host", "-smp", "2"),
    # The oldest processor that numpy runs on: each feature more costs emulation time. An AMD one,
    # which the kernel does not protect from what only Intel's had; rdrand fills the random pool.
    "tcg": (
        *("-accel", "tcg"),
        *("-cpu", "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+rdrand"),
        # a second one makes the first wait for it: a third slower, at half as much work again
        *("-smp", "1"),
    ),
}
KERNEL_ARGUMENTS = (
    "console=ttyS0",
    "quiet",
    "panic=-1",  # a panic ends QEMU, which gets -no-reboot
    "mitigations=off",
    "rcupdate.rcu_expedited=1",  # namespaces and links go without waiting for quiet processors
    MARK,
)
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

START = """\
# Runs in the machine, as the first process.
{temporary}
cd {directory}
touch {exchange}/started
env -i {environment} {command} >{exchange}/output 2>&1 </dev/null
echo $? >{exchange}/returncode
exec busybox poweroff -f
"""


class Machine(Part):
    """A machine that boots, runs one command as root, and is gone.

    It ends with the command, with ``stop``, or with the process that started it.

    Args:
        command: What it runs.
        directory: Where.
        environment: Variables on top of ``PATH``, ``HOME`` and a UTF-8 locale.

    Attributes:
        exchange: The directory that the machine sees as ``EXCHANGE``. It may be filled before
            ``start``.
        accelerator: ``"kvm"`` or ``"tcg"``, after ``start``.
    """

    def __init__(
        self,
        command: Sequence[str],
        directory: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._command = command
        self._directory = directory or Path.cwd()
        self._environment = {
            "PATH": PATH,
            "HOME": "/root",
            "LANG": "C.UTF-8",
            **(environment or {}),
        }
        self._qemu: Daemon | None = None
        self.accelerator = ""
        self.exchange = namespace.make_directory()
        self._stack.callback(namespace.delete_directory, self.exchange)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._qemu is not None and self._qemu.alive

    @property
    def returncode(self) -> int | None:
        """The command's exit code; ``None`` while it runs and if the machine did not survive it."""
        text = self._text("returncode")
        return int(text) if text.endswith("\n") else None

    @property
    def output(self) -> str:
        """What the command printed so far."""
        return self._text("output")

    @property
    def console(self) -> str:
        """What QEMU and the kernel had to say."""
        return self._text("qemu") + self._text("console")

    def _text(self, name: str) -> str:
        path = self.exchange / name
        return path.read_text(errors="replace") if path.exists() else ""

    def _build(self) -> None:
        if lacking := missing():
            raise LabError(f"missing: {', '.join(lacking)}")
        kernel = kernels()[-1]
        read_only = f"/usr\n{self._directory.resolve()}\n"
        (self.exchange / "read-only").write_text(read_only, encoding="utf-8")
        (self.exchange / "initramfs").write_bytes(initramfs.pack(_release(kernel)))
        (self.exchange / "start").write_text(self._start_script(), encoding="utf-8")
        self._stack.callback(self._end)
        hardware = os.access("/dev/kvm", os.R_OK | os.W_OK)
        if not (hardware and self._boots(kernel, "kvm", HARDWARE_BOOT_SECONDS)):
            self._boot(kernel, "tcg", BOOT_SECONDS)

    def _boots(self, kernel: Path, accelerator: str, seconds: float) -> bool:
        try:
            self._boot(kernel, accelerator, seconds)
        except LabError:
            self._end()
            (self.exchange / "qemu").unlink()  # what it said would mislead whom the next one fails
            return False
        return True

    def _boot(self, kernel: Path, accelerator: str, seconds: float) -> None:
        argv = [QEMU, *ACCELERATORS[accelerator], *self._arguments(kernel)]
        qemu = self._qemu = Daemon(argv, self.exchange / "qemu")
        started = self.exchange / "started"

        def decided() -> bool:
            return started.exists() or not qemu.alive

        try:
            wait_until(decided, seconds, "the machine to run its first command")
            qemu.require_alive()
        except LabError as error:
            raise LabError(f"{error}\n{self._text('console')[-CONSOLE_TAIL:]}") from None
        self.accelerator = accelerator

    def _arguments(self, kernel: Path) -> list[str]:
        return [
            *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
            *("-machine", "q35", "-m", MEMORY),
            *("-serial", f"file:{self.exchange}/console"),
            *("-kernel", str(kernel), "-initrd", str(self.exchange / "initramfs")),
            *("-append", " ".join(KERNEL_ARGUMENTS)),
            # one number for each file, although below / there are several file systems
            *_shared("root", Path("/"), "readonly=on,multidevs=remap"),
            *_shared("exchange", self.exchange, "multidevs=remap"),
        ]

    def _start_script(self) -> str:
        environment = [f"{name}={value}" for name, value in self._environment.items()]
        # temporary files of this machine are none of its business, unless it works among them
        beneath = self._directory.resolve().is_relative_to(namespace.DIRECTORIES)
        return START.format(
            temporary="" if beneath else f"mount -t tmpfs tmp {namespace.DIRECTORIES}",
            directory=shlex.quote(str(self._directory)),
            environment=shlex.join(environment),
            command=shlex.join(self._command),
            exchange=EXCHANGE,
        )

    def _end(self) -> None:
        if self._qemu is not None:
            self._qemu.stop()


def _shared(tag: str, path: Path, options: str) -> tuple[str, ...]:
    quoted = str(path).replace(",", ",,")
    return (
        *("-fsdev", f"local,id={tag},path={quoted},security_model=none,{options}"),
        *("-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"),
    )


def inside() -> bool:
    """Return whether this process runs in such a machine: its kernel may be used as one likes."""
    return MARK in Path("/proc/cmdline").read_text(encoding="utf-8").split()


def missing() -> list[str]:
    """Return what is not there of what it takes to start a machine, in words for a person."""
    lacking = [each for each in (QEMU, "busybox", "modprobe", "setpriv") if not shutil.which(each)]
    if not kernels():
        lacking.append("Debian's kernel in /boot (linux-image-amd64)")
    if platform.machine() != "x86_64":
        lacking.append("an x86-64 processor")
    if os.geteuid() != 0:
        lacking.append("root")
    return lacking


def kernels() -> list[Path]:
    """Return the kernels of ``/boot`` that have the modules, the newest last."""
    usable = [path for path in KERNELS.glob("vmlinuz-*") if _has_modules(_release(path))]
    return sorted(usable, key=_version)


def _release(kernel: Path) -> str:
    return kernel.name.removeprefix("vmlinuz-")


def _has_modules(release: str) -> bool:
    return all((MODULES / release / "kernel" / module).exists() for module in NEEDED_MODULES)


def _version(kernel: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", kernel.name)]
