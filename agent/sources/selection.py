"""Which flows the rules of ``flows.select`` name."""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase, translate
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from agent.flow_rules import Rule
from agent.model.flow import Flow

Places = NDArray[np.int64]
"""Indexes of flows, ascending."""
NOWHERE = -1
"""Instead of the in_port of a flow that names none."""


def selected(
    flows: Sequence[Flow],
    rules: Sequence[Rule],
    bridge: str,
    interface_names: Mapping[int, str],
) -> Places:
    """Return the places of the flows that any rule names.

    Rules for other bridges and tables cost nothing. Of 100,000 flows, a rule with numbers costs
    0.2 ms of CPU and one with a pattern on the match some 6 ms, both a little more the first time.

    Args:
        flows: Of one table, or a part of them.
        rules: A flow is named by a rule when it has all that the rule gives.
        bridge: The flows' bridge.
        interface_names: By OpenFlow port number.
    """
    columns = _Columns(flows, interface_names)
    chosen = np.zeros(len(flows), np.bool_)
    for rule in rules if flows else ():
        if rule.bridge in (None, bridge) and rule.table in (None, flows[0].table_id):
            places = np.flatnonzero(columns.have_numbers(rule) & ~chosen)
            chosen[places if rule.match is None else columns.match(places, rule.match)] = True
    return np.flatnonzero(chosen)


class _Columns:
    """What rules compare, each column made when the first rule needs it."""

    def __init__(self, flows: Sequence[Flow], interface_names: Mapping[int, str]) -> None:
        self._flows = flows
        self._interface_names = interface_names

    def have_numbers(self, rule: Rule) -> NDArray[np.bool_]:
        have = np.ones(len(self._flows), np.bool_)
        if rule.priority is not None:
            have &= self._priorities == rule.priority
        if rule.cookie is not None:
            value, mask = map(np.uint64, rule.cookie)
            have &= self._cookies & mask == value & mask
        if rule.interface is not None:
            named = self._interface_names.items()
            ports = [number for number, name in named if fnmatchcase(name, rule.interface)]
            have &= np.isin(self._in_ports, ports)
        return have

    def match(self, places: Places, pattern: str) -> list[int]:
        """Return the places of texts that a shell pattern fits."""
        texts = self._texts
        # A text without the pattern's longest literal cannot fit; that is 15 times as fast.
        literal = max(re.split(r"[*?]", pattern.partition("[")[0]), key=len)
        fits = re.compile(translate(pattern)).match
        return [at for at in places.tolist() if literal in texts[at] and fits(texts[at])]

    @cached_property
    def _texts(self) -> list[str]:
        return [flow.match for flow in self._flows]

    @cached_property
    def _priorities(self) -> NDArray[np.int64]:
        return np.array([flow.priority for flow in self._flows], np.int64)

    @cached_property
    def _cookies(self) -> NDArray[np.uint64]:
        return np.array([flow.cookie for flow in self._flows], np.uint64)

    @cached_property
    def _in_ports(self) -> NDArray[np.int64]:
        ports = (flow.scope.in_port for flow in self._flows)
        return np.array([NOWHERE if port is None else port for port in ports], np.int64)
