"""An agent on a host that is watched from inside; see lab/observer.py."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from lab.host import Host
from lab.observer import Seen
from lab.part import Part
from lab.process import LabError

ROOT = Path(__file__).parents[1]


class Observed(Part):
    """Runs from ``start`` to ``stop``.

    Args:
        host: Where.
        scrape_seconds: Pause between the scrapes that it makes of itself; 0 for none.
        env: Settings.
    """

    def __init__(
        self, host: Host, scrape_seconds: float = 0.0, env: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self._host = host
        self._scrape_seconds = scrape_seconds
        self._env = env
        self._process: subprocess.Popen[str] | None = None

    def report(self) -> dict[str, Any]:
        """Return resources, the worst lags since the last report, and events."""
        return cast("dict[str, Any]", self._ask("report"))

    def seen(self) -> list[Seen]:
        """Return (monotonic seconds, + or -, namespace, device) since the last call."""
        return [cast("Seen", tuple(each)) for each in self._ask("seen")]

    def page(self) -> str:
        """Return a page."""
        return cast("str", self._ask("page"))

    def _ask(self, question: str) -> Any:
        if self._process is None or not self._process.stdin or not self._process.stdout:
            raise LabError("the agent was never started")
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise LabError(f"the agent ended with {self._process.wait()}")
        return json.loads(line)

    def _build(self) -> None:
        environment = {
            **os.environ,
            "DATAPLANE_AGENT_OVS__RUNDIR": str(self._host.directory),
            **(self._env or {}),
        }
        command = [sys.executable, "-m", "lab.observer", str(self._scrape_seconds)]
        self._process = subprocess.Popen(
            [*self._host.enter, "setpriv", "--pdeathsig", "KILL", "--", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=ROOT,
            text=True,
        )
        self._stack.callback(self._end, self._process)

    def _end(self, process: "subprocess.Popen[str]") -> None:
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()
