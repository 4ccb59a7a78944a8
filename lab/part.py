"""What every part of a lab has in common: it is built, and nothing of it stays."""

import atexit
from abc import ABC, abstractmethod
from contextlib import ExitStack
from types import TracebackType
from typing import Self


class Part(ABC):
    """Something that runs from ``start`` to ``stop``, or inside ``with``.

    ``_build`` makes things one after the other and pushes onto ``_stack`` how each is undone.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()

    @abstractmethod
    def _build(self) -> None:
        """Make it; what was made when an exception comes is undone."""

    def start(self) -> None:
        """Build it. On a failure, and when the process ends, nothing is left behind."""
        atexit.register(self.stop)
        self._stack.callback(atexit.unregister, self.stop)
        try:
            self._build()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Undo all of it, the last thing first. Safe to call twice."""
        self._stack.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
