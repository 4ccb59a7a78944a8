"""The commands of one reading, whichever daemon is read."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from agent.errors import ParseError, Reason, SourceError
from agent.sources.unixctl.control import CommandError, Control

T = TypeVar("T")

PAUSE_SECONDS = 0.002
"""Between two commands: daemons answer in their main thread and must get to their work."""


class Turn:
    """The commands of one reading: their common deadline, their pauses, their problems.

    Args:
        control: The connection.
        timeout_seconds: For all of them together.
        pause_seconds: Between two of them.
    """

    def __init__(self, control: Control, timeout_seconds: float, pause_seconds: float) -> None:
        self._control = control
        self._clock = asyncio.get_running_loop().time
        self._deadline = self._clock() + timeout_seconds
        self._pause_seconds = pause_seconds
        self._connection: int | None = None
        self.problems: list[str] = []
        """One line for each command that failed, for a person."""
        self.worst = Reason.BROKEN
        """The reason to give when nothing could be used."""

    def remaining(self) -> float:
        """Return the seconds that are left, 0 at least."""
        return max(0.0, self._deadline - self._clock())

    def has(self, method: str) -> bool:
        """Whether this release lists the command."""
        return method in self._control.commands

    async def ask(self, method: str, parse: Callable[[str], T], *arguments: str) -> T | None:
        """Run a command and parse its answer; ``None`` and a problem if one of both fails.

        Raises:
            SourceError: If the daemon cannot be asked any more.
        """
        try:
            return await self._ask(method, parse, arguments)
        except CommandError as error:
            self.problems.append(str(error))
        except ParseError as error:
            self.worst = Reason.MALFORMED
            self.problems.append(f"{method}: {error}")
        return None

    async def ask_if_listed(self, method: str, parse: Callable[[str], T]) -> T | None:
        """Run a command that some releases lack: where it is not listed, ``None`` is no problem.

        Raises:
            SourceError: If the daemon cannot be asked any more.
        """
        return await self.ask(method, parse) if self.has(method) else None

    async def try_ask(self, method: str, parse: Callable[[str], T], *arguments: str) -> T | None:
        """Run a command that is expected to fail on many daemons: the same without a problem."""
        if not self.has(method):
            return None
        try:
            return await self._ask(method, parse, arguments)
        except (CommandError, ParseError):
            return None

    async def _ask(self, method: str, parse: Callable[[str], T], arguments: tuple[str, ...]) -> T:
        if self._connection is None:
            self._connection = self._control.connections
        else:
            await asyncio.sleep(self._pause_seconds)
        text = await self._control.run(method, *arguments, timeout=self.remaining())
        if self._connection != self._control.connections:
            # Counters of two lives of the daemon do not belong into one reading.
            raise SourceError(Reason.BROKEN, f"{method}: the daemon was restarted meanwhile")
        return parse(text)
