"""Which flows have series: by mode, size and rule, never by value."""

from collections.abc import Mapping, Sequence

from agent.model.flow import Flow, TableFlows
from agent.sections import Flows
from agent.sources.selection import Places, selected

BACK_BELOW = 0.8
"""``flows.mode=auto`` shows all of a bridge's flows again below this share of max_per_bridge."""


class Selection:
    """Decides for one bridge; an answer is the same object until flows or names change.

    Args:
        bridge: Its name.
        settings: The rules.
    """

    def __init__(self, bridge: str, settings: Flows) -> None:
        self._bridge = bridge
        self._settings = settings
        self._above = False
        self._names: Mapping[int, str] = {}
        self._chosen: dict[int, tuple[tuple[Flow, ...], Places]] = {}

    def of(
        self, tables: Sequence[TableFlows], interfaces: Mapping[int, str]
    ) -> tuple[dict[int, Places | None], int]:
        """Choose.

        Args:
            tables: The bridge's flows.
            interfaces: Interface names by OpenFlow port number, for the rules that name one.

        Returns:
            ``FlowReading.shown`` and ``left_out``.
        """
        flows = sum(len(table.flows) for table in tables)
        if self._shows_all(flows):
            self._chosen.clear()
            return {table.table_id: None for table in tables}, 0
        if interfaces != self._names:
            self._names = interfaces
            self._chosen.clear()
        there = {table.table_id for table in tables}
        self._chosen = {table: known for table, known in self._chosen.items() if table in there}
        shown: dict[int, Places | None] = {}
        for table in tables:
            places = self._choose(table)
            if len(places):
                shown[table.table_id] = places
        return shown, flows - sum(len(each) for each in shown.values() if each is not None)

    def _shows_all(self, flows: int) -> bool:
        """Decide by mode and size, with a hysteresis so that series do not flap."""
        mode, limit = self._settings.mode, self._settings.max_per_bridge
        if mode != "auto":
            return mode == "all"
        self._above = flows > limit * (BACK_BELOW if self._above else 1.0)
        return not self._above

    def _choose(self, table: TableFlows) -> Places:
        known = self._chosen.get(table.table_id)
        if known is not None and known[0] is table.flows:
            return known[1]
        places = selected(table.flows, self._settings.select, self._bridge, self._names)
        self._chosen[table.table_id] = table.flows, places
        return places
