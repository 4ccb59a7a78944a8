"""Switches faults of a running demo on and off, over a socket: ``python -m lab.switchboard``.

```sh
python -m lab.switchboard SOCKET            # what there is, and what is on
python -m lab.switchboard SOCKET spoof on
python -m lab.switchboard SOCKET spoof off
```
"""

import socket
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

from lab.compute import ComputeNode
from lab.faults import FAULTS
from lab.part import Part
from lab.process import LabError

COMMAND_BYTES, ANSWER_BYTES = 256, 1 << 16
ANSWER_SECONDS = 60.0


class Switchboard(Part):
    """Takes commands for a node; at the end every fault is switched off.

    Args:
        node: Where things go wrong.
        path: Of the socket.
    """

    def __init__(self, node: ComputeNode, path: Path) -> None:
        super().__init__()
        self.path = path
        self._node = node
        self._on: dict[str, ExitStack] = {}

    def _build(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, name="lab-faults", daemon=True)
        self._stack.callback(self.path.unlink, missing_ok=True)
        self._stack.callback(self._end)
        self._thread.start()

    def _end(self) -> None:
        # A close alone would not wake the thread.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for name in list(self._on):
            self._on.pop(name).close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(self._obey(connection.recv(COMMAND_BYTES).decode()).encode())

    def _obey(self, command: str) -> str:
        match command.split():
            case []:
                return self._list()
            case [name, "on" | "off" as state] if name in FAULTS:
                try:
                    return self._turn(name, on=state == "on")
                except (LabError, OSError) as error:
                    return f"{name}: {error}\n"
        return f"no such command: {command!r}\n{self._list()}"

    def _turn(self, name: str, *, on: bool) -> str:
        if on and name not in self._on:
            stack = ExitStack()
            stack.enter_context(FAULTS[name].on(self._node))
            self._on[name] = stack
        elif not on and name in self._on:
            self._on.pop(name).close()
        return f"{name} is {'on' if name in self._on else 'off'}: {FAULTS[name].what}\n"

    def _list(self) -> str:
        return "".join(
            f"{name:12}{'on ' if name in self._on else 'off'}  {fault.what}\n"
            for name, fault in FAULTS.items()
        )


def ask(path: Path, command: str) -> str:
    """Send a command to a demo and return its answer.

    Raises:
        OSError: If there is none.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(str(path))
        connection.sendall(command.encode() or b" ")
        answer = b""
        while piece := connection.recv(ANSWER_BYTES):
            answer += piece
    return answer.decode()


def main() -> int:
    """Be the command."""
    if len(sys.argv) not in (2, 4):
        print(__doc__)
        return 2
    try:
        print(ask(Path(sys.argv[1]), " ".join(sys.argv[2:])), end="")
    except OSError as error:
        print(f"{sys.argv[1]}: {error.strerror}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
