"""How long ovs-vswitchd's main loop keeps others waiting, asked about once a millisecond.

Three connections ask side by side, each again a millisecond after its answer:

- echo: an OpenFlow ECHO there and back;
- flow-mod: a flow added to or deleted from a table that nothing uses, and a barrier;
- packet-in: a packet sent to the controller itself, until it is there.

A process of its own, without garbage collection, so that what it measures is the switch:

```python
with Probe(node.rundir / "br-int.mgmt") as probe:
    time.sleep(3)
print(probe.waits["echo"].worst_seconds)
```
"""

import gc
import json
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from lab import frames, openflow
from lab.frames import Host
from lab.openflow import Connection
from lab.process import LabError

PERIOD_SECONDS = 0.001
UNUSED_TABLE = 200
SENDER, RECEIVER = Host("02:00:00:00:00:03", "192.0.2.3"), Host("02:00:00:00:00:04", "192.0.2.4")
KINDS = ("echo", "flow-mod", "packet-in")


class Waits(NamedTuple):
    """What one connection saw.

    Attributes:
        asked: Questions asked.
        worst_seconds: The longest wait for an answer.
        p99_seconds: What 99 of 100 questions a millisecond apart would have waited at most; a
            long wait counts for each that it kept from being asked.
    """

    asked: int
    worst_seconds: float
    p99_seconds: float


class Probe:
    """Asks from ``start`` to ``stop``.

    Args:
        path: The ``.mgmt`` socket of a bridge.

    Attributes:
        waits: What it saw, by KINDS; empty until it has stopped.
    """

    def __init__(self, path: Path) -> None:
        self.waits: dict[str, Waits] = {}
        self._path = path
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lab.probe", str(self._path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._process.stdout is None or self._process.stdout.readline() != "asking\n":
            raise LabError("the probe does not ask")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is None:
            return
        said, _ = self._process.communicate(timeout=30)  # its input ends, and so does it
        if self._process.returncode == 0:
            self.waits = {name: Waits(*values) for name, values in json.loads(said).items()}
        elif error is None:
            raise LabError(f"the probe ended with {self._process.returncode}")


class _Asker:
    """One connection that asks one thing again and again.

    Attributes:
        due: When to ask next; ``None`` while an answer is awaited.
        waited: Seconds of every wait so far.
    """

    def __init__(
        self,
        path: Path,
        questions: Sequence[bytes],
        answer: int,
        prepare: Callable[[Connection], object] = lambda _: None,
    ) -> None:
        self.connection = Connection(path)
        prepare(self.connection)
        self.due: float | None = 0.0
        self.waited: list[float] = []
        self._questions = cycle(questions)
        self._answer = answer
        self._asked = 0.0

    def ask(self) -> None:
        self.due = None
        question = next(self._questions)
        self._asked = time.perf_counter()
        self.connection.socket.sendall(question)

    def answered(self) -> None:
        now = time.perf_counter()
        self.connection.read()
        while (message := self.connection.parsed()) is not None:
            if message.kind == self._answer:
                self.waited.append(now - self._asked)
                self.due = now + PERIOD_SECONDS

    def waits(self) -> Waits:
        every = sorted(_as_if_asked_on(self.waited))
        return Waits(len(self.waited), every[-1], every[len(every) * 99 // 100])


def _as_if_asked_on(waited: list[float]) -> Iterator[float]:
    for seconds in waited:
        rest = seconds
        while rest > 0:
            yield rest
            rest -= PERIOD_SECONDS


def _askers(path: Path) -> list[_Asker]:
    barrier = openflow.message(openflow.BARRIER_REQUEST)
    changes = [
        openflow.message(openflow.FLOW_MOD, openflow.flow_mod(command, UNUSED_TABLE, 1)) + barrier
        for command in (openflow.FLOW_ADD, openflow.FLOW_DELETE_STRICT)
    ]
    packet = frames.udp(SENDER, RECEIVER, 1, 1, b"")
    to_us = openflow.packet_out(openflow.output(openflow.IN_PORT_CONTROLLER), packet)

    def take_packets(connection: Connection) -> None:
        connection.send(openflow.SET_CONFIG, struct.pack("!HH", 0, 0xFFFF))
        connection.barrier()

    return [
        _Asker(path, [openflow.message(openflow.ECHO_REQUEST)], openflow.ECHO_REPLY),
        _Asker(path, changes, openflow.BARRIER_REPLY),
        _Asker(
            path, [openflow.message(openflow.PACKET_OUT, to_us)], openflow.PACKET_IN, take_packets
        ),
    ]


def _ask_until_input_ends(askers: list[_Asker]) -> None:
    by_number = {asker.connection.socket.fileno(): asker for asker in askers}
    end = sys.stdin.fileno()
    while True:
        now = time.perf_counter()
        for asker in askers:
            if asker.due is not None and asker.due <= now:
                asker.ask()
        dues = [asker.due for asker in askers if asker.due is not None]
        timeout = max(0.0, min(dues) - time.perf_counter()) if dues else None
        readable, _, _ = select.select([*by_number, end], [], [], timeout)
        for each in readable:
            if each == end:
                return
            by_number[each].answered()


def put_ahead(pid: int, priority: int) -> None:
    """Let all threads of a process run before everything else of the machine.

    What a busy machine does to the switch or to the probe would look like what the switch does.
    Without the permission they wait for their turn, and the noise is in the measurement.
    """
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            os.sched_setscheduler(int(task.name), os.SCHED_FIFO, os.sched_param(priority))


def main(path: str) -> None:
    """Ask until standard input ends, then print what was seen as JSON."""
    askers = _askers(Path(path))
    gc.collect()
    gc.disable()
    put_ahead(os.getpid(), 2)
    print("asking", flush=True)
    _ask_until_input_ends(askers)
    print(json.dumps({name: asker.waits() for name, asker in zip(KINDS, askers, strict=True)}))


if __name__ == "__main__":
    main(sys.argv[1])
