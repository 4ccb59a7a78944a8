"""Where the flows of an answer stood in the one before.

Answers keep their order while a table does not change; a flow that comes or goes shifts the rest,
a table of the switch that grows is dealt out anew. So runs of equal entries are compared as a
whole, a gap is looked over a few entries ahead, and when that does not help, by all entries.
"""

from collections.abc import Generator

import numpy as np

from agent.wire.openflow.entries import WORD, Answer, Entries, Places, masked

LOOK_AHEAD = 8
PATIENCE = 64
"""Entries in a row that were not found nearby; then all are indexed."""
STEPS = 2048
"""Runs and entries compared in one go, some ten milliseconds; then whoever waits has its turn."""
FIRST_RUN, LONGEST_RUN = 64, 1 << 13


def align(answer: Answer, known: Entries) -> Generator[None, None, tuple[Places, Places]]:
    """Find the entries of an answer among those of the one before.

    Yields:
        Whenever others should have their turn.

    Returns:
        Where each entry begins in the answer, and the end; the index of each among the known
        ones, -1 for an entry that is not one of them. No index stands twice.

    Raises:
        ParseError: If the answer is not a sequence of entries.
    """
    return (yield from _Aligning(answer, known).run())


class _Aligning:
    def __init__(self, answer: Answer, known: Entries) -> None:
        self._answer, self._known = answer, known
        self._octets = known.words.tobytes()
        self._index: dict[bytes, int] | None = None
        self._starts: list[int] = []
        self._before: list[int] = []
        self._missed: dict[int, bytes] = {}

    def run(self) -> Generator[None, None, tuple[Places, Places]]:
        start, place, missed_in_a_row, try_run = 0, 0, 0, True
        end, steps = len(self._answer.words), 0
        while start < end:
            steps += 1
            if steps % STEPS == 0:
                yield
            if try_run and (run := self._run(start, place)):
                starts = self._known.starts[place : place + run + 1]
                starts = (starts + (start - starts[0])).tolist()
                start = starts.pop()
                self._starts += starts
                self._before += range(place, place + run)
                place += run
                continue
            octets = self._answer.entry(start)
            found = self._find(octets, place)
            self._starts.append(start)
            self._before.append(found)
            start += len(octets) // WORD
            # In a table that was dealt out anew, what follows is seldom what followed before.
            try_run = found == place or (found >= 0 and self._index is None)
            if found >= 0:
                place, missed_in_a_row = found + 1, 0
                continue
            self._missed[len(self._before) - 1] = octets
            missed_in_a_row += 1
            if self._index is None and missed_in_a_row > PATIENCE:
                self._index = self._indexed(range(len(self._known)))
        return np.array([*self._starts, end], np.int64), self._resolve()

    def _run(self, start: int, place: int) -> int:
        """Return how many entries from there on are the known ones from this place on."""
        known, total, size = self._known, 0, FIRST_RUN
        while True:
            first = place + total
            begin = known.starts[first]
            room = len(self._answer.words) - start + known.starts[place]
            last = min(first + size, len(known))
            if known.starts[last] > room:
                last = int(np.searchsorted(known.starts, room, "right")) - 1
            if last <= first:
                return total
            at = start + int(begin - known.starts[place])
            expected = known.words[begin : known.starts[last]]
            starts = known.starts[first:last] - begin
            differs = masked(self._answer.words[at : at + len(expected)], starts) != expected
            if differs.any():
                return total + int(np.searchsorted(starts, differs.argmax(), "right")) - 1
            total += last - first
            size = min(2 * size, LONGEST_RUN)

    def _find(self, octets: bytes, place: int) -> int:
        if self._index is not None:
            return self._index.get(octets, -1)
        starts = self._known.starts
        for index in range(place, min(place + LOOK_AHEAD, len(self._known))):
            if self._octets[starts[index] * WORD : starts[index + 1] * WORD] == octets:
                return index
        return -1

    def _indexed(self, places: range | list[int]) -> dict[bytes, int]:
        starts, octets = (self._known.starts * WORD).tolist(), self._octets
        return {octets[starts[i] : starts[i + 1]]: i for i in places}

    def _resolve(self) -> Places:
        """Look up what was not found nearby, and give no known entry to two."""
        before = np.array(self._before, np.int64)
        if self._missed:
            used = np.zeros(len(self._known) + 1, bool)
            used[before] = True  # -1 is the one place more
            index = self._indexed(np.flatnonzero(~used[:-1]).tolist())
            for at, octets in self._missed.items():
                before[at] = index.pop(octets, -1)
        _places, firsts = np.unique(before, return_index=True)
        twice = np.ones(len(before), bool)
        twice[firsts] = False
        before[twice] = -1
        return before
