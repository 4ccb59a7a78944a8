"""Ledgers of what flows count for besides table and interface: OVN's stages and ACLs."""

from collections.abc import Mapping
from itertools import islice
from types import MappingProxyType

import numpy as np

from agent.model.flow import Account, Counts, Fate, Stage

MAX_GONE = 10_000
"""Accounts remembered that have no flows now, the oldest forgotten first: ovn-controller deletes
and adds flows when it starts, and a counter must not begin again because of that."""
_LOW_HALF = np.uint64(0xFFFFFFFF)


class AccountLedger:
    """The ledgers of one bridge by account. A new one shows 0 once, as ``BridgeLedger`` says."""

    def __init__(self) -> None:
        self._packets: dict[Account, int] = {}
        self._present: frozenset[Account] = frozenset()
        self._new: set[Account] = set()
        self._fate = Fate()

    def begin(self, fate: Fate) -> None:
        """Take the judgement over the reading that is booked next."""
        self._new.clear()
        if fate is self._fate:
            return
        self._fate = fate
        self._present = frozenset(row for each in fate.accounts.values() for row in each.rows)
        for row in self._present:
            if row in self._packets:
                self._packets[row] = self._packets.pop(row)  # the last that is forgotten
            else:
                self._packets[row] = 0
                self._new.add(row)
        gone = [row for row in self._packets if row not in self._present and not _stays(row)]
        for row in islice(gone, max(0, len(gone) - MAX_GONE)):
            del self._packets[row]

    def add(self, table_id: int, growth: Counts) -> None:
        """Book what the flows of a table grew by, in their order."""
        accounts = self._fate.accounts.get(table_id)
        if accounts is None:
            return
        of_flows = growth[accounts.flows]
        grown = np.flatnonzero(of_flows)
        if not len(grown):
            return
        # In halves of 32 bits: a sum of uint64 would wrap without a word.
        size = len(accounts.rows)
        low, high = np.zeros(size, np.uint64), np.zeros(size, np.uint64)
        np.add.at(low, accounts.row_of[grown], of_flows[grown] & _LOW_HALF)
        np.add.at(high, accounts.row_of[grown], of_flows[grown] >> np.uint64(32))
        for place in np.flatnonzero(low | high).tolist():
            self._packets[accounts.rows[place]] += int(low[place]) + (int(high[place]) << 32)

    def told(self, *, new_are_zero: bool) -> Mapping[Account, int]:
        """Return what they say; later readings do not change it.

        Args:
            new_are_zero: Whether accounts that came with this reading show 0.
        """
        return MappingProxyType(
            {
                row: 0 if new_are_zero and row in self._new else packets
                for row, packets in self._packets.items()
                if row in self._present or _stays(row)
            }
        )


def _stays(row: Account) -> bool:
    """Whether it is shown without flows too: there are few of them, and they are sums over many."""
    return isinstance(row, Stage) and row.datapath is None
