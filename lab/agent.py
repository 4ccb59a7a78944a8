"""The agent itself, as a process: started, asked over HTTP, stopped."""

import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Protocol, TypeVar

from lab.namespace import delete_directory, make_directory
from lab.part import Part
from lab.process import Daemon, LabError, free_port, wait_until
from lab.prometheus import DIRECT

T = TypeVar("T")


class Place(Protocol):
    """Where the agent can run: a host of the lab, or the namespace of a switch."""

    @property
    def enter(self) -> list[str]:
        """The command that runs another one there."""

    def inside(self, work: Callable[[], T]) -> T:
        """Do something in its network."""


PROGRAM = Path(sys.executable).with_name("dataplane-agent")
ANSWER_SECONDS = 30.0
READY_SECONDS = 120.0
"""On an emulated processor it takes 10 s alone, and several times that on a busy machine."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


class Agent(Part):
    """Runs from ``start`` to ``stop`` and listens on 127.0.0.1.

    Args:
        rundir: Run directory of the Open vSwitch to watch.
        arguments: More flags for it.
        env: Variables on top of the lab's own.
        port: To listen on; the next free one if it is taken. 0: any.
        wait_ready: Return from ``start`` only when /readyz says yes.
        host: To run on, in its network and with its /run/netns; ``None``: where the lab runs.
        program: The command that is the agent, up to its flags; that of the tree without it.
    """

    def __init__(
        self,
        rundir: Path,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        port: int = 0,
        wait_ready: bool = True,
        host: Place | None = None,
        program: Sequence[str] = (str(PROGRAM),),
    ) -> None:
        super().__init__()
        self.port = port
        self._rundir = rundir
        self._arguments = arguments
        self._env = env
        self._wait_ready = wait_ready
        self._host = host
        self._program = program
        self._daemon: Daemon | None = None
        self._last_log = ""

    @property
    def url(self) -> str:
        """Its address, on its host."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def daemon(self) -> Daemon:
        """Its process.

        Raises:
            LabError: If it was never started.
        """
        if self._daemon is None:
            raise LabError("the agent was never started")
        return self._daemon

    @property
    def log(self) -> str:
        """All it has written to standard error; kept after ``stop``."""
        return self.daemon.log.read_text() if self.daemon.log.exists() else self._last_log

    def _build(self) -> None:
        self.port = self._there(partial(free_port, self.port))
        directory = make_directory()
        self._stack.callback(delete_directory, directory)
        command = [
            *(self._host.enter if self._host else ()),
            *self._program,
            f"--ovs.rundir={self._rundir}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            *self._arguments,
        ]
        self._daemon = Daemon(command, directory / "agent.log", self._env)
        self._stack.callback(self._end)
        if self._wait_ready:
            wait_until(self.is_ready, READY_SECONDS, "the agent to be ready")

    def _there(self, work: Callable[[], T]) -> T:
        """Do something in the network where it runs."""
        return self._host.inside(work) if self._host else work()

    def _end(self) -> None:
        self.daemon.stop(timeout=15)
        self._last_log = self.daemon.log.read_text()

    def is_ready(self) -> bool:
        """Ask /readyz.

        Raises:
            LabError: If the process has ended, with the end of its log.
        """
        self.daemon.require_alive()
        try:
            return self.get("/readyz").status == HTTPStatus.OK
        except OSError:
            return False

    def get(self, path: str = "/metrics", headers: Mapping[str, str] | None = None) -> Answer:
        """Ask it; an answer that is an error is an answer too.

        Raises:
            OSError: If it does not listen or does not answer.
        """
        request = urllib.request.Request(self.url + path, headers=dict(headers or {}))  # noqa: S310 - http by construction
        return self._there(partial(_fetch, request))

    def metrics(self) -> dict[str, float]:
        """Scrape it: values by series, as ``name{label="value"}`` stands on the page.

        Raises:
            LabError: If there is no page but an error.
            OSError: If it does not listen or does not answer.
        """
        page = self.get()
        if page.status != HTTPStatus.OK:
            raise LabError(f"/metrics answered {page.status}: {page.text[:200]}")
        lines = (line for line in page.text.split("\n") if line and line[0] != "#")
        return {series: float(value) for series, _, value in (x.rpartition(" ") for x in lines)}


def _fetch(request: urllib.request.Request) -> Answer:
    try:
        with DIRECT.open(request, timeout=ANSWER_SECONDS) as answer:
            return _answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return _answer(error.code, error.headers, error.read())


def _answer(status: int, headers: Message, body: bytes) -> Answer:
    return Answer(status, {name.lower(): value for name, value in headers.items()}, body)
