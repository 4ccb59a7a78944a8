"""Ledgers of what flows count for besides table and interface: OVN's stages and ACLs."""

from collections.abc import Callable, Mapping
from itertools import islice
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from agent.model.flow import ABSENT, Account, Accounts, AclFlow, Counts, Fate, Stage

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
        self._last: dict[int, Accounts] = {}  # by table, of the last reading

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

    def add(self, table_id: int, growth: Counts, places: Callable[[], NDArray[np.int64]]) -> None:
        """Book what the flows of a table grew by.

        Args:
            table_id: The table.
            growth: Of each flow, in their order.
            places: Says where each stood in the last reading, or ``ABSENT``.
        """
        accounts = self._fate.accounts.get(table_id)
        before = self._last.pop(table_id, None)
        if accounts is None:
            return
        self._last[table_id] = accounts
        of_flows = growth[accounts.flows]
        grown = np.flatnonzero(of_flows)
        if before is not None and before is not accounts and len(grown):
            grown = _unchanged(accounts, before, grown, places())
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
        if not self._present:  # the bridge is not OVN's (any more), or nobody knows
            return MappingProxyType({})
        new, present = self._new if new_are_zero else frozenset(), self._present
        return MappingProxyType(
            {
                row: 0 if row in new else packets
                for row, packets in self._packets.items()
                if row in present or _stays(row)
            }
        )


def _unchanged(
    accounts: Accounts, before: Accounts, grown: NDArray[np.int64], places: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Leave out flows that have another ACL than at the last reading.

    ovn-controller gives a flow another cookie in place, and n_packets stays: which of the packets
    came before nobody can tell.
    """
    acls = {
        flow: before.rows[row]
        for flow, row in zip(before.flows.tolist(), before.row_of.tolist(), strict=True)
        if isinstance(before.rows[row], AclFlow)
    }
    kept = []
    for entry in grown.tolist():
        row, place = accounts.rows[accounts.row_of[entry]], int(places[accounts.flows[entry]])
        if not isinstance(row, AclFlow) or place == ABSENT or acls.get(place, row) == row:
            kept.append(entry)
    return np.array(kept, np.int64)


def _stays(row: Account) -> bool:
    """Whether it is shown without flows too: there are few of them, and they are sums over many."""
    return isinstance(row, Stage) and row.datapath is None
