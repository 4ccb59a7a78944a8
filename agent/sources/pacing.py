"""How much of ovs-vswitchd's time reading flows may take, and in which portions.

ovs-vswitchd answers in its main thread, and away from everything else until an answer is encoded.
What that costs was measured on 3.1 with 100,000 flows of 200 bytes in one table, random
cookies, in CPU time of the main thread: 0.15 to 0.18 s for all at once, and for each question with
a cookie mask 14 ms more, for the scan of the table that finds its flows. The longest answer is that
scan and its part of the encoding:

====== ============== ================
pieces longest answer all together
====== ============== ================
1      160 ms         0.15 to 0.18 s
8      34 ms          0.27 s
16     24 ms          0.36 to 0.42 s
32     19 ms          0.62 s
64     17 ms          1.0 s
256    15 ms          3.7 s
====== ============== ================
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WINDOW_SECONDS = 60.0
"""What was not used in this time may be used at once."""
MAX_PAUSE_SECONDS = 0.25
"""A pause that follows from a slow answer is no longer, so that a reading ends."""
PIECE_FLOWS = 1024
"""A table of so many flows is one answer, of 2 ms."""
MAX_BITS = 4
"""16 pieces: more would shorten the longest answer of 100,000 flows by 9 of 24 ms at the very most,
and cost 0.2 s and more each time; see above."""
SAMPLE = 4096
SERVES = 2.0
"""A division serves while its largest piece is at most that many times an even one."""
WORTH = 0.75
"""A split that leaves more than this of the largest piece is not worth scanning twice as often:
neutron gives all flows of a table one cookie."""
COOKIE_BITS = 64

QUESTION_SECONDS, OCTET_SECONDS, SCANNED_FLOW_SECONDS = 2e-4, 1e-7, 1.4e-6
"""Ten times what a question, a byte of its answer, and a flow that is looked at for its cookie were
measured to cost ovs-vswitchd."""

Cookies = NDArray[np.uint64]
Piece = tuple[int, int]
"""Value and mask of a cookie: the flows whose cookie has this value under this mask."""


class Budget:
    """A share of a peer's time, kept on average.

    A bucket and not a fixed distance between readings: with two Prometheus servers at close
    phases, a distance would starve the second for ever. What a reading costs is known when it is
    over, so that it may leave a debt; there is no other before the debt is repaid.

    Args:
        duty: The share, above 0 and at most 1.
        window_seconds: Time whose share may be saved up.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        duty: float,
        window_seconds: float = WINDOW_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._duty = duty
        self._clock = clock
        self._capacity_seconds = duty * window_seconds
        self._balance_seconds = self._capacity_seconds
        self._at = clock()
        self._cost_seconds: float | None = None

    def allows(self) -> bool:
        """Whether the peer may be read now."""
        return self._balance() > 0

    def spend(self, seconds: float, *, complete: bool = True) -> None:
        """Note how long the peer was busy with us.

        Args:
            seconds: Until all answers were there, together.
            complete: Whether that was a whole reading, which tells what the next will cost.
        """
        self._balance_seconds = self._balance() - seconds
        if complete:
            self._cost_seconds = seconds

    @property
    def min_interval_seconds(self) -> float | None:
        """Distance at which every reading would be allowed; ``None`` before the first."""
        return None if self._cost_seconds is None else self._cost_seconds / self._duty

    def _balance(self) -> float:
        now = self._clock()
        earned = self._duty * (now - self._at)
        self._at = now
        self._balance_seconds = min(self._capacity_seconds, self._balance_seconds + earned)
        return self._balance_seconds


def cost_seconds(waited_seconds: float, octets: int, scanned_flows: int) -> float:
    """Return what an answer cost ovs-vswitchd's main thread, at most.

    The time that was waited for it, but no more than an answer of that size can cost on a slow
    machine: a small question to a switch that is busy with others waits long and costs nothing.

    Args:
        waited_seconds: From the question to the last part.
        octets: Size of the answer.
        scanned_flows: Flows of the table, if they were asked for by cookie.
    """
    possible = QUESTION_SECONDS + octets * OCTET_SECONDS + scanned_flows * SCANNED_FLOW_SECONDS
    return min(waited_seconds, possible)


@dataclass(frozen=True, slots=True)
class Pacer:
    """The pause after an answer, and when not to ask at all.

    Attributes:
        least_pause_seconds: The shortest pause.
        busy_echo_seconds: A peer that takes longer for an ECHO has other work.
    """

    least_pause_seconds: float
    busy_echo_seconds: float

    def pause_seconds(self, answer_seconds: float) -> float:
        """Return the pause after an answer that took so long: at most half of the time is ours.

        Never left out: ovs-vswitchd takes up to 50 messages of a connection before it turns to
        other work (``ofconn_run`` in ofproto/connmgr.c), and who asks again at once is taken
        again. Measured with questions of 30 ms: 0.4 s away without a pause, 0.04 s with 2 ms.
        """
        return max(self.least_pause_seconds, min(answer_seconds, MAX_PAUSE_SECONDS))

    def busy(self, echo_seconds: float) -> bool:
        """Whether the peer is too slow now to be asked for flows."""
        return echo_seconds > self.busy_echo_seconds


class Splitter:
    """Divides the tables of a bridge by bits of their flows' cookies, so that no answer is long.

    A table keeps its division while it serves: with another one its answer would come in another
    order, and everything in it would have to be found again.
    """

    def __init__(self) -> None:
        self._bits: dict[int, tuple[int, ...]] = {}

    def pieces(self, table_id: int, flows: int, cookies: Cookies | None) -> list[Piece]:
        """Divide a table.

        Args:
            table_id: Its number.
            flows: How many it has now.
            cookies: Of its flows when it was last read, in any order; ``None`` when it never was:
                then by the lowest bits, which differ where cookies are random (OVN's).

        Returns:
            Pieces that every possible cookie belongs to exactly one of; ``(0, 0)`` is all flows.
        """
        count = min(MAX_BITS, (max(flows - 1, 0) // PIECE_FLOWS).bit_length())
        before = self._bits.get(table_id)
        if cookies is None or not len(cookies) or not count:
            bits = tuple(range(count))
        else:
            sample = cookies[:: -(-len(cookies) // SAMPLE)]
            keeps = before is not None and _serves(sample, before, count)
            bits = before if before is not None and keeps else _even_bits(sample, count)
        self._bits[table_id] = bits
        return _pieces(bits)


def _pieces(bits: tuple[int, ...]) -> list[Piece]:
    mask = sum(1 << bit for bit in bits)
    return [
        (sum(1 << bit for place, bit in enumerate(bits) if number >> place & 1), mask)
        for number in range(1 << len(bits))
    ]


def _serves(cookies: Cookies, bits: tuple[int, ...], count: int) -> bool:
    """Whether bits chosen before still divide about as well as so many bits could."""
    if not bits or not count - 1 <= len(bits) <= count + 1:
        return False
    piece = np.zeros(len(cookies), np.int64)
    for bit in bits:
        piece = 2 * piece + (cookies >> np.uint64(bit) & np.uint64(1)).astype(np.int64)
    return bool(np.bincount(piece).max() <= max(1.0, SERVES * len(cookies) / (1 << len(bits))))


def _even_bits(cookies: Cookies, most: int) -> tuple[int, ...]:
    """Choose one by one the bit that leaves the smallest largest piece, while that is worth it."""
    differ = int(np.bitwise_or.reduce(cookies ^ cookies[0]))
    values = {
        bit: (cookies >> np.uint64(bit) & np.uint64(1)).astype(np.int64)
        for bit in range(COOKIE_BITS)
        if differ >> bit & 1
    }
    piece = np.zeros(len(cookies), np.int64)
    largest = len(cookies)
    chosen: list[int] = []
    while values and len(chosen) < most:
        sizes = {bit: int(np.bincount(2 * piece + value).max()) for bit, value in values.items()}
        best = min(sizes, key=sizes.__getitem__)
        if sizes[best] > WORTH * largest:
            break
        largest = sizes[best]
        piece = 2 * piece + values.pop(best)
        chosen.append(best)
    return tuple(chosen)
