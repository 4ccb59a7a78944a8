"""Counters that never go down, added up from the kernel's counters of 32 bits.

Those wrap, and begin again at 0 with what they belong to.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

K = TypeVar("K", bound=Hashable)
Figures = NDArray[np.uint32]
HALF = np.uint32(1 << 31)


def growth(now: Figures, last: Figures) -> NDArray[np.uint64]:
    """Return what each counter grew.

    One that went down wrapped if it came from the upper half of 32 bits to the lower one, which
    at the rate of these counters is the next hour and not a surprise; else it began again at 0.
    """
    wrapped_or_grown = (now >= last) | ((last >= HALF) & (now < HALF))
    # uint32 subtracts modulo 2^32, which is the growth over a wrap too
    return np.where(wrapped_or_grown, now - last, now).astype(np.uint64)


@dataclass(slots=True)
class _Account:
    last: Figures
    totals: NDArray[np.uint64]


class Ledgers(Generic[K]):
    """Ledgers of many things, each with one or more counters.

    Args:
        from_figures: Begin at the kernel's own figures instead of 0, for a process that reads
            once; a counter that began there would be a false jump in every later reading.
    """

    def __init__(self, *, from_figures: bool = False) -> None:
        self._from_figures = from_figures
        self._accounts: dict[K, _Account] = {}

    def book(self, key: K, figures: Figures) -> list[int]:
        """Take what the kernel says now.

        Args:
            key: Whose.
            figures: Of each counter (row) its parts, one a CPU (columns); parts wrap one by one.

        Returns:
            Of each counter what it grew since it was first seen.
        """
        account = self._accounts.get(key)
        if account is None or account.last.shape != figures.shape:
            begun = figures.sum(axis=1, dtype=np.uint64)
            if account is not None and len(account.totals) == len(begun):
                # other parts of the same counters: what was counted stays counted
                totals = account.totals
            else:
                totals = begun if self._from_figures else np.zeros_like(begun)
            account = self._accounts[key] = _Account(figures, totals)
        elif not np.array_equal(account.last, figures):
            account.totals = account.totals + growth(figures, account.last).sum(axis=1)
            account.last = figures
        return [int(total) for total in account.totals]

    def keep(self, lives: Callable[[K], bool]) -> None:
        """Forget those whose things are gone."""
        for key in [key for key in self._accounts if not lives(key)]:
            del self._accounts[key]

    def __len__(self) -> int:
        return len(self._accounts)
