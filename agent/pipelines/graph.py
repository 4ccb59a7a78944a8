"""Where packets can go: tables, groups and action sets as nodes, and what can be reached how.

A node has *rows*: of a table its flows (one for all that do the same), of a group its buckets, of
an action set what it may hold. A packet takes one row of a node, and all that stands in the row,
beside each other: ``output:1,resubmit(,20)`` is ``(DELIVERY, 20)``.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from agent.model.flow import OWN_TABLE, Effect, Group

DELIVERY = -1
"""The node where a packet has arrived."""
OUTPUT = -2
"""An output in an action set, among the numbers of groups there."""

ActionSet = frozenset[int]
"""What the action set may hold: ``OUTPUT`` and groups, by number."""
Node = int | tuple[int, int] | tuple[int, ActionSet]
"""A table, or of a table one of the groups that its flows use, or an action set at its end.

Groups are told apart by table because a bucket may resubmit to the table it was called from.
"""
Row = tuple[Node, ...]
OnlyLogs = Callable[[int, Effect], bool]

T = TypeVar("T")

_NOTHING: ActionSet = frozenset()


@dataclass(frozen=True, slots=True)
class Graph:
    """The nodes of a bridge; of a table one row for each of its effects, in their order.

    And a last one for the packets that match nothing, where that is not the end of them.
    """

    rows: Mapping[Node, tuple[Row, ...]]

    def open_nodes(self) -> frozenset[Node]:
        """Nodes from which a delivery can be reached: the least fixed point."""
        sources: dict[Node, set[Node]] = {}
        for node, rows in self.rows.items():
            for row in rows:
                for unit in row:
                    sources.setdefault(unit, set()).add(node)
        return _closure([DELIVERY], lambda node: sources.get(node, ()))

    def reach(self, seeds: Iterable[Node], through: frozenset[Node]) -> frozenset[Node]:
        """Everything that can be reached from nodes, themselves among it, by open nodes only."""
        return _closure(seeds, lambda node: self._targets(node, through))

    def alone(self, seeds: Iterable[Node], through: frozenset[Node]) -> frozenset[Node]:
        """What can be reached on a way where the packet is never copied."""
        return _closure(seeds, lambda node: self._split(node, through)[0])

    def beside(self, nodes: Iterable[Node], through: frozenset[Node]) -> frozenset[Node]:
        """What rows of these nodes send a packet to while another live branch has it too."""
        return frozenset(unit for node in nodes for unit in self._split(node, through)[1])

    def _targets(self, node: Node, through: frozenset[Node]) -> set[Node]:
        return {unit for row in self.rows.get(node, ()) for unit in row if unit in through}

    def _split(self, node: Node, through: frozenset[Node]) -> tuple[set[Node], set[Node]]:
        """Targets that a row has as its only live branch, and those beside another one.

        Branches into closed nodes are left out: nothing is booked there.
        """
        alone: set[Node] = set()
        beside: set[Node] = set()
        for row in self.rows.get(node, ()):
            live = [unit for unit in row if unit in through]
            (alone if len(live) == 1 else beside).update(live)
        return alone, beside


def build(
    effects: Mapping[int, tuple[Effect, ...]],
    groups: Mapping[int, Group] | None,
    only_logs: OnlyLogs,
    can_miss: Callable[[int], bool],
) -> Graph:
    """Draw the graph of a bridge.

    A packet that matches nothing ends the pipeline, and Open vSwitch then executes its action set
    (``xlate_actions`` in ofproto/ofproto-dpif-xlate.c), where OpenFlow would drop the packet.

    Args:
        effects: The distinct effects of each table.
        groups: As ``Judge.judge`` takes them.
        only_logs: ``Pipeline.only_logs``.
        can_miss: Whether a packet may match no flow of a table.
    """
    incoming = incoming_sets(effects, groups or {})
    rows: dict[Node, tuple[Row, ...]] = {
        table: tuple(_row(table, effect, incoming.get(table, _NOTHING), only_logs) for effect in of)
        for table, of in effects.items()
    }
    for table, held in incoming.items():
        if can_miss(table):
            rows[table] = (*rows.get(table, ()), ((table, held),))
    waiting = [unit for of in rows.values() for row in of for unit in row]
    while waiting:
        node = waiting.pop()
        if isinstance(node, int) or node in rows:
            continue
        rows[node] = _inner_rows(node[0], node[1], groups or {}, only_logs)
        waiting += [unit for row in rows[node] for unit in row]
    return Graph(rows)


def incoming_sets(
    effects: Mapping[int, tuple[Effect, ...]], groups: Mapping[int, Group]
) -> dict[int, ActionSet]:
    """Say what the action set may hold when a packet comes into a table: the least fixed point.

    resubmit and ct take the set along as it was when the flow began; goto_table as clear_actions
    and write_actions, which come before it, leave it.

    Returns:
        Only tables where it may hold something.
    """
    found: dict[int, ActionSet] = {}
    if not any(written(effect) for of in effects.values() for effect in of):
        return found
    called = {
        group: _closure([group], lambda one: _called(groups.get(one)))
        for group in {group for of in effects.values() for effect in of for group in effect.groups}
    }
    waiting = set(effects)
    while waiting:
        table = waiting.pop()
        held = found.get(table, _NOTHING)
        for effect in effects.get(table, ()):
            for target, taken in _taken(table, effect, held, groups, called):
                before = found.get(target, _NOTHING)
                if not taken <= before:
                    found[target] = before | taken
                    waiting.add(target)
    return found


def written(effect: Effect) -> ActionSet:
    """What write_actions puts into the action set."""
    return frozenset((*effect.writes_groups, *((OUTPUT,) if effect.writes_output else ())))


def _leaves(effect: Effect, held: ActionSet) -> ActionSet:
    """The action set after a flow's clear_actions and write_actions."""
    return (_NOTHING if effect.clears else held) | written(effect)


def _taken(
    table: int,
    effect: Effect,
    held: ActionSet,
    groups: Mapping[int, Group],
    called: Mapping[int, frozenset[int]],
) -> Iterable[tuple[int, ActionSet]]:
    """Yield the tables that an effect continues to, with the action set that goes along."""
    if effect.conjunction:
        return
    if effect.goes_to is not None:
        yield effect.goes_to, _leaves(effect, held)
    for target in _resubmits(effect):
        yield _resolve(table, target), held
    for group in effect.groups:
        for one in called[group]:
            for bucket in groups[one].buckets if one in groups else ():
                for target in bucket.tables:
                    yield _resolve(table, target), held


def _resubmits(effect: Effect) -> tuple[int, ...]:
    """Where it continues but by goto_table, which comes last and may name one of them again."""
    if effect.goes_to is None:
        return effect.tables
    last = len(effect.tables) - 1 - effect.tables[::-1].index(effect.goes_to)
    return effect.tables[:last] + effect.tables[last + 1 :]


def _called(group: Group | None) -> Iterable[int]:
    return [inner for bucket in group.buckets for inner in bucket.groups] if group else ()


def _row(table: int, effect: Effect, held: ActionSet, only_logs: OnlyLogs) -> Row:
    """What an effect does with a packet, all beside each other."""
    if effect.conjunction:
        return ()
    units: list[Node] = []
    if effect.delivers:
        units.append(DELIVERY)
    if effect.punts and not only_logs(table, effect):
        units.append(DELIVERY)
    units += [(table, group) for group in effect.groups]
    units += [_resolve(table, target) for target in effect.tables]
    if effect.goes_to is None and (left := _leaves(effect, held)):
        units.append((table, left))
    return tuple(units)


def _inner_rows(
    table: int, what: int | ActionSet, groups: Mapping[int, Group], only_logs: OnlyLogs
) -> tuple[Row, ...]:
    """Rows of a group, or of an action set at the end of the pipeline."""
    if not isinstance(what, int):
        return tuple((DELIVERY,) if item == OUTPUT else ((table, item),) for item in what)
    group = groups.get(what)
    if group is None:
        return ((DELIVERY,),)
    rows = tuple(_row(table, bucket, _NOTHING, only_logs) for bucket in group.buckets)
    return (tuple(unit for row in rows for unit in row),) if group.sends_copies else rows


def _resolve(table: int, target: int) -> int:
    return table if target == OWN_TABLE else target


def _closure(seeds: Iterable[T], successors: Callable[[T], Iterable[T]]) -> frozenset[T]:
    found = set(seeds)
    waiting = list(found)
    while waiting:
        new = set(successors(waiting.pop())) - found
        found |= new
        waiting += new
    return frozenset(found)
