"""How each source is doing: what /metrics, /status and the log say about it.

One line when something goes down, one when it is back; repetition is a counter. A daemon that
dies takes every bridge with it: that is one line, not one for each.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agent import log
from agent.errors import Reason, SourceError
from agent.model.node import SourceFacts

logger = log.get(__name__)

BUDGET_ADVICE = "scrape flows less often, or raise flows.duty_cycle"
BUSY_ADVICE = "the switch is slow to answer: see ovs_vswitchd_echo_seconds"
STALE_SECONDS = 900.0
"""A part that nobody has tried to read for so long has no problem: whoever wanted it is gone."""
CALM_SECONDS = 600.0
"""Readings that were left out now and then, with others in between, are one time of throttling;
without one for so long it is over."""


@dataclass(slots=True)
class Problem:
    """Why a part of a source is down, since when (Unix seconds), and when it was last tried."""

    reason: Reason
    detail: str
    since_seconds: float
    tried_at: float


@dataclass(slots=True)
class SourceHealth:
    """The health of one source; a source with several peers (bridges) has a part for each.

    Attributes:
        name: The ``source`` label.
        configured: Whether it is expected on this node.
        subscription: Whether it is followed by events: while it is up, it is good now.
        deadline_exceeded: Scrapes that had to be answered before this source was read.
        clock: Monotonic seconds.
        on_turn: Called when it goes down or comes up, as the log tells it.
    """

    name: str
    configured: bool = True
    subscription: bool = False
    deadline_exceeded: int = 0
    clock: Callable[[], float] = time.monotonic
    on_turn: Callable[[], None] | None = None
    _late: bool = False
    _said_up: bool | None = None
    _problems: dict[str, Problem] = field(default_factory=dict)
    _notes: tuple[str, ...] = ()
    _last_success_seconds: float | None = None
    _read_seconds: float = 0.0
    _reads: int = 0
    _failures: Counter[Reason] = field(default_factory=Counter)
    _events: Counter[str] = field(default_factory=Counter)
    _throttled: int = 0
    _throttled_at: float | None = None
    _min_intervals: dict[str, float] = field(default_factory=dict)

    @property
    def up(self) -> bool:
        """Whether every part said all it was asked the last time, in time, and said anything."""
        self._forget_stale()
        return self._last_success_seconds is not None and not self._problems and not self._late

    def good(self, part: str = "", seconds: float | None = None) -> None:
        """Note that a part was read, or is connected; ``seconds`` is how long the read took."""
        self._last_success_seconds = time.time()
        self._late = False
        if seconds is not None:
            self._read_seconds += seconds
            self._reads += 1
        self.clear(part)
        if not self._problems and not self._said_up:
            self._said_up = True
            logger.info("source up", source=self.name)
            self._tell()

    def failed(self, error: SourceError, part: str = "") -> None:
        """Note that a part could not be read."""
        self._failures[error.reason] += 1
        self._late = False
        reasons = {problem.reason for problem in self._problems.values()}
        known = self._problems.get(part)
        since = known.since_seconds if known else time.time()
        self._problems[part] = Problem(error.reason, error.detail, since, self.clock())
        turned, self._said_up = self._said_up is not False, False
        if turned:
            self._tell()
        if known is None and error.reason not in reasons:
            logger.warning(
                "source down",
                source=self.name,
                reason=str(error.reason),
                detail=error.detail,
                **({"part": part} if part else {}),
            )

    def _tell(self) -> None:
        if self.on_turn is not None:
            self.on_turn()

    @property
    def told(self) -> bool | None:
        """Whether it was up when that was last told; ``None`` while there is nothing to tell."""
        return self._said_up

    @property
    def problem(self) -> tuple[Reason, str] | None:
        """Why it is down, the first of several problems, and a line for a person."""
        first = next(iter(self._problems.values()), None)
        return (first.reason, first.detail) if first else None

    @property
    def failing(self) -> frozenset[str]:
        """The parts that have a problem."""
        return frozenset(self._problems)

    def late(self) -> None:
        """Note that a scrape had to be answered before this source was read."""
        self.deadline_exceeded += 1
        self._late = True

    def throttled(
        self, min_interval_seconds: float | None, part: str = "", *, busy: bool = False
    ) -> None:
        """Note that a part was not read, to spare it: neither a success nor a failure.

        Args:
            min_interval_seconds: Distance at which every reading would be allowed; ``None`` when
                it is not known.
            part: Which.
            busy: Whether that is because the peer is slow now, and not for the sake of its time.
        """
        self._throttled += 1
        self._know(min_interval_seconds, part)
        if self._throttled_at is None:
            logger.warning(
                "source throttled",
                source=self.name,
                min_interval_seconds=self._min_interval(),
                advice=BUSY_ADVICE if busy else BUDGET_ADVICE,
                **({"part": part} if part else {}),
            )
        self._throttled_at = self.clock()

    def min_interval(self, seconds: float | None, part: str = "") -> None:
        """Note that a part could be read, and how often it can be; see ``throttled``."""
        self._know(seconds, part)
        if self._throttled_at is not None and self.clock() - self._throttled_at >= CALM_SECONDS:
            self._throttled_at = None
            logger.info(
                "source no longer throttled",
                source=self.name,
                min_interval_seconds=self._min_interval(),
            )

    def _know(self, min_interval_seconds: float | None, part: str) -> None:
        if min_interval_seconds is not None:
            self._min_intervals[part] = min_interval_seconds

    def _min_interval(self) -> float | None:
        longest = max(self._min_intervals.values(), default=None)
        return None if longest is None else round(longest, 3)

    def clear(self, part: str = "") -> None:
        """Forget a part's problem; the next good reading tells whether that was the last one."""
        self._problems.pop(part, None)

    def _forget_stale(self) -> None:
        """Forget problems of parts that a scrape wanted once and none wants any more."""
        oldest = self.clock() - STALE_SECONDS
        for part in [name for name, problem in self._problems.items() if problem.tried_at < oldest]:
            self.clear(part)

    def keep_parts(self, parts: set[str]) -> None:
        """Forget the problems and intervals of parts that are no longer there."""
        for part in [name for name in self._problems if name and name not in parts]:
            self.clear(part)
        for part in [name for name in self._min_intervals if name and name not in parts]:
            del self._min_intervals[part]

    def note(self, notes: tuple[str, ...]) -> None:
        """Keep what a good reading could not tell, for /status."""
        self._notes = notes

    def event(self, name: str) -> None:
        """Count an event of the subscription."""
        self._events[name] += 1

    def _last_success(self) -> float | None:
        if self.subscription and self.up:
            return time.time()
        return self._last_success_seconds

    def facts(self) -> SourceFacts:
        """Return what the agent's own collector shows; every reason is there from the start."""
        return SourceFacts(
            name=self.name,
            configured=self.configured,
            up=self.up,
            last_success_seconds=self._last_success(),
            read_seconds=self._read_seconds,
            reads=self._reads,
            failures={reason: self._failures[reason] for reason in Reason},
            events=dict(self._events),
            deadline_exceeded=self.deadline_exceeded,
            throttled=self._throttled,
            min_interval_seconds=self._min_interval(),
        )

    def status(self) -> dict[str, Any]:
        """Return what /status shows: state, age of the last success, problems by part."""
        now = time.time()
        last = self._last_success()
        return {
            "configured": self.configured,
            "up": self.up,
            "last_success_age_seconds": None if last is None else round(now - last, 3),
            "problems": {
                part or self.name: {
                    "reason": str(problem.reason),
                    "detail": problem.detail,
                    "age_seconds": round(now - problem.since_seconds, 3),
                }
                for part, problem in sorted(self._problems.items())
            },
            "throttled": self._throttled,
            "min_interval_seconds": self._min_interval(),
            "notes": list(self._notes),
        }
