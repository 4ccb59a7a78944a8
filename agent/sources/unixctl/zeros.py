"""Drop counters that never counted, which coverage/show does not list."""

from agent.sources.unixctl.turn import Turn
from agent.wire.unixctl.coverage import parse_read_counter


class Zeros:
    """Adds to the listed counters those that this release has and that stand at 0.

    Which those are is learned once a connection; one that has counted needs no asking.

    Args:
        names: Counters that should exist from the first reading on.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._unprobed: list[str] = []
        self._zeros: set[str] = set()

    def forget(self) -> None:
        """Begin anew: the other end may be another release now."""
        self._unprobed = list(self._names)
        self._zeros.clear()

    async def add(self, turn: Turn, coverage: dict[str, int], reserve_seconds: float = 0.0) -> None:
        """Add what is missing, asking about what is not known yet.

        Args:
            turn: The reading.
            coverage: The listed counters, which are added to.
            reserve_seconds: What must be left of the reading's time; the next one asks on.

        Raises:
            SourceError: If the daemon cannot be asked any more.
        """
        while self._unprobed and turn.remaining() > reserve_seconds:
            name = self._unprobed[-1]
            if name not in coverage:
                total = await turn.try_ask("coverage/read-counter", parse_read_counter, name)
                if total is not None:
                    self._zeros.add(name)
                    coverage[name] = total
            self._unprobed.pop()
        for name in self._zeros:
            coverage.setdefault(name, 0)
