"""Processes of a lab. Each ends with the lab, whatever ends the lab."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TypeVar

from lab.setns import CLONE_NEWPID, setns

T = TypeVar("T")

NAMESPACES = Path("/run/netns")
POLL_SECONDS = 0.02
COMMAND_SECONDS = 60.0

_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lab-spawner")
"""The parent-death signal watches the *thread* that forked, not its process. All daemons are
forked by this one, which lives exactly as long as the lab's process."""


class LabError(RuntimeError):
    """A part of the lab did not do what it was asked to."""


class Daemon:
    """A process that runs until it is stopped, and that dies with the lab even if that is killed.

    Args:
        argv: Command and arguments.
        log: File that takes its standard output and error.
        env: Variables on top of the lab's own.
        netns: Name of the network namespace to run in; ``None`` for the lab's own.
        pidns: File of the namespace of processes to be born in; ``None`` for the lab's own.

    Attributes:
        pid: Its process id; ``nsenter`` and ``setpriv`` replace themselves, so it is the
            daemon's own. It is that of the lab's namespace, whatever the daemon takes it for.
    """

    def __init__(
        self,
        argv: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
        netns: str | None = None,
        pidns: Path | None = None,
    ) -> None:
        command = [*enter(netns), "setpriv", "--pdeathsig", "KILL", "--", *argv]
        with log.open("ab") as sink:

            def spawn() -> "subprocess.Popen[bytes]":
                # a session of its own: Ctrl-C reaches the lab, and the lab stops things in order
                with _children_in(pidns):
                    return subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=sink,
                        stderr=subprocess.STDOUT,
                        env={**os.environ, **(env or {})},
                        start_new_session=True,
                    )

            self._process = _spawner.submit(spawn).result()
        self.pid = self._process.pid
        self.name = Path(argv[0]).name
        self.log = log

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """Its exit code, negative for a signal; ``None`` while it runs."""
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        if self.alive:
            self._process.send_signal(number)

    def stop(self, timeout: float = 5.0) -> int:
        """End it with SIGTERM, after ``timeout`` seconds with SIGKILL; return its exit code."""
        self.send(signal.SIGTERM)
        self.send(signal.SIGCONT)  # a paused process takes no SIGTERM
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End it with SIGKILL and return its exit code."""
        self.send(signal.SIGKILL)
        return self._process.wait()

    def require_alive(self) -> None:
        """Say what it printed last, if it is gone.

        Raises:
            LabError: If it no longer runs.
        """
        if not self.alive:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise LabError(f"{self.name} ended with {self.returncode}:\n{tail}")


@contextmanager
def _children_in(pidns: Path | None) -> Iterator[None]:
    """Have this thread's children born in a namespace of processes.

    ``nsenter --pid`` would be their parent instead, and take the signals that are meant for them.
    """
    if pidns is None:
        yield
        return
    setns(pidns, CLONE_NEWPID)
    try:
        yield
    finally:
        setns(Path("/proc/self/ns/pid"), CLONE_NEWPID)


def run(
    *argv: str,
    env: Mapping[str, str] | None = None,
    netns: str | None = None,
    stdin: str | None = None,
) -> str:
    """Run a command to its end and return its standard output.

    Raises:
        LabError: If it fails or takes more than a minute; with what it said.
    """
    try:
        done = subprocess.run(
            [*enter(netns), *argv],
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **(env or {})},
            timeout=COMMAND_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"{argv[0]} did not end in {COMMAND_SECONDS:.0f} s") from None
    if done.returncode:
        raise LabError(f"{' '.join(argv)[:300]}: {done.stderr.strip()}")
    return done.stdout


def enter(netns: str | None) -> list[str]:
    """Return the command that runs another one in a namespace; none for the lab's own."""
    # "ip netns exec" would also remount /sys, which fails where / is no mount point (a chroot)
    return ["nsenter", f"--net={NAMESPACES / netns}"] if netns else []


def wait_until(
    predicate: Callable[[], T],
    timeout: float = 30.0,
    what: str = "condition",
    poll_seconds: float = POLL_SECONDS,
) -> T:
    """Ask again and again until the answer is true, and return it.

    Raises:
        LabError: If it is not true after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while not (answer := predicate()):
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {timeout:g} s")
        time.sleep(poll_seconds)
    return answer


def free_port(preferred: int = 0) -> int:
    """Return a TCP port of 127.0.0.1 that is free: the preferred one or the next above it.

    Without a preference the kernel picks.

    Raises:
        LabError: If 100 ports from the preferred one on are taken.
    """
    for port in range(preferred, preferred + 100) if preferred else [0]:
        with socket.socket() as probe:
            # as servers do: a port that only old connections linger on is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise LabError(f"no free port from {preferred} on")


def missing_parts(*commands: str) -> list[str]:
    """Return what is not there of what a lab needs, in words for a person."""
    missing = [command for command in commands if not shutil.which(command)]
    if os.geteuid() != 0:
        missing.append("root")
    if not Path("/dev/net/tun").exists():
        missing.append("/dev/net/tun")
    return missing


def end_on_signals() -> None:
    """Turn SIGTERM and SIGHUP into an ordinary exit, so that the lab is taken down in order.

    And SIGINT into KeyboardInterrupt, also where a shell that started this in its background has
    switched it off.
    """

    def end(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    signal.signal(signal.SIGINT, signal.default_int_handler)
