"""The judgement against packets that walk: a literal, slow model that shares no code with it."""

from collections.abc import Iterator
from functools import cache
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model.flow import KINDS, OWN_TABLE, Effect, Flow, Group, Scope
from tests.pipelines.written import judge

PATCH_PORT = 9
TABLES = range(4)
SHAPES = ("go", "go", "go", "deliver", "drop", "deliver", "mixed", "conjunction", "group", "group")
OUTPUT = "output"
MISSED = "missed"

Held = frozenset[str | int]
Branch = str | tuple[int, Held]
"""``"out"``, or into a table with an action set."""

BOOKED = {"lost", "copy", "patch"}


@st.composite
def effects(draw: st.DrawFn, table: int, *, groups: bool, writes: bool) -> Effect:
    """Mostly one thing, as real flows do; sometimes a bit of everything."""
    shape = draw(st.sampled_from(SHAPES if groups else SHAPES[:-2]))
    mixed = shape == "mixed"
    target = st.sampled_from([*TABLES, OWN_TABLE])
    some = st.lists(target, min_size=1, max_size=2 if mixed else 1)
    targets = draw(some) if shape in ("go", "mixed") else []
    later = st.sampled_from([None, *range(table + 1, TABLES.stop)])
    goes_to = draw(later) if writes else None
    named = st.lists(st.integers(1, 3), max_size=1)
    return Effect(
        "other",
        delivers=shape == "deliver" or (mixed and draw(st.booleans())),
        punts=mixed and draw(st.booleans()),
        groups=(draw(st.integers(1, 3)),) if shape == "group" else (),
        tables=(*targets, *(() if goes_to is None else (goes_to,))),
        goes_to=goes_to,
        writes_output=writes and draw(st.integers(0, 3)) == 0,
        writes_groups=tuple(draw(named)) if writes else (),
        clears=writes and draw(st.booleans()),
        conjunction=shape == "conjunction",
    )


@st.composite
def flows(draw: st.DrawFn, table: int, *, writes: bool) -> Flow:
    port = draw(st.sampled_from([PATCH_PORT, PATCH_PORT, 1, None]))
    effect = draw(effects(table, groups=True, writes=writes))
    return Flow(table, 1, draw(st.sampled_from(["", "", "ip"])), 0, Scope(in_port=port), effect)


@st.composite
def all_groups(draw: st.DrawFn) -> dict[int, Group]:
    """Groups call only those with higher numbers; one may be missing."""
    found = {}
    for number in draw(st.sets(st.integers(1, 3))):
        buckets = draw(st.lists(effects(3, groups=False, writes=False), max_size=2))
        inner = draw(st.sampled_from([(), *((n,) for n in range(number + 1, 4))]))
        found[number] = Group(
            number,
            draw(st.booleans()),
            tuple(
                Effect(one.action, one.delivers, one.punts, groups=inner, tables=one.tables)
                for one in buckets
            ),
        )
    return found


def bridges(*, writes: bool) -> st.SearchStrategy["Bridge"]:
    one = st.tuples(
        *(st.lists(flows(table, writes=writes), min_size=1, max_size=4) for table in TABLES)
    )
    return st.builds(Bridge, one, all_groups())


class Bridge:
    """A switch that is executed by hand. Choices (flows, buckets, what a set holds) are listed.

    Where a packet may match nothing, that is one more flow, which does nothing: kind ``missed``.
    """

    def __init__(self, tables: tuple[list[Flow], ...], groups: dict[int, Group]) -> None:
        self.tables = {number: tuple(flows) for number, flows in enumerate(tables) if flows}
        self.groups = groups
        self.fate = judge(self.tables, groups, frozenset({PATCH_PORT}))
        self.kind = {
            flow: KINDS[code]
            for table, codes in self.fate.kinds.items()
            for flow, code in zip(self.tables[table], codes.tolist(), strict=True)
        }
        for table, flows in self.tables.items():
            if all(flow.match for flow in flows):
                miss = Flow(table, 0, MISSED, 0)
                self.tables[table], self.kind[miss] = (*flows, miss), MISSED
        self.ways = cache(self._ways)

    def __repr__(self) -> str:
        lines = [f"{t}: {f.scope.in_port} {f.effect}" for t, of in self.tables.items() for f in of]
        return "\n".join([*lines, *map(str, self.groups.values()), str(sorted(self.kind.values()))])

    def actions(self, effect: Effect, table: int, held: Held) -> list[list[Branch]]:
        """What a list of actions does: one list of branches for each choice of buckets."""
        fixed: list[Branch] = ["out"] * (effect.delivers + effect.punts)
        targets = effect.tables[:-1] if effect.goes_to is not None else effect.tables
        fixed += [(table if target == OWN_TABLE else target, held) for target in targets]
        choices = product(*(self.group(number, table, held) for number in effect.groups))
        return [fixed + [branch for part in choice for branch in part] for choice in choices]

    def group(self, number: int, table: int, held: Held) -> list[list[Branch]]:
        if number not in self.groups:
            return [["out"]]
        group = self.groups[number]
        each = [self.actions(bucket, table, held) for bucket in group.buckets]
        if group.sends_copies:
            return [[branch for part in choice for branch in part] for choice in product(*each)]
        return [way for ways in each for way in ways] or [[]]

    def _ways(self, flow: Flow, held: Held) -> list[list[Branch]]:
        """Everything that one flow can do with a packet, by choice."""
        effect, table = flow.effect, flow.table_id
        if effect.conjunction:
            return []
        written = frozenset((*effect.writes_groups, *((OUTPUT,) if effect.writes_output else ())))
        after = (frozenset() if effect.clears else held) | written
        ways = self.actions(effect, table, held)
        if effect.goes_to is not None:
            return [[*way, (effect.goes_to, after)] for way in ways]
        endings: list[list[Branch]] = []
        for item in after:
            endings += self.group(item, table, Held()) if isinstance(item, int) else [["out"]]
        return [way + ending for way in ways for ending in endings or [[]]]

    def states(self) -> set[tuple[Flow, Held]]:
        """Every flow with every action set that a packet can come with, from any table."""
        found: set[tuple[Flow, Held]] = set()
        waiting = [(flow, Held()) for flows in self.tables.values() for flow in flows]
        while waiting:
            state = waiting.pop()
            if state in found:
                continue
            found.add(state)
            for way in self.ways(*state):
                for branch in way:
                    if not isinstance(branch, str):
                        waiting += [(flow, branch[1]) for flow in self.tables.get(branch[0], ())]
        return found

    def deliverers(self, states: set[tuple[Flow, Held]]) -> set[tuple[Flow, Held]]:
        """States, of these, from which a packet can be delivered in some number of steps."""
        found: set[tuple[Flow, Held]] = set()
        while True:
            new = {
                state
                for state in states - found
                if any(self.alive(branch, found) for way in self.ways(*state) for branch in way)
            }
            if not new:
                return found
            found |= new

    def alive(self, branch: Branch, deliverers: set[tuple[Flow, Held]]) -> bool:
        if isinstance(branch, str):
            return True
        table, held = branch
        return any((flow, held) in deliverers for flow in self.tables.get(table, ()))

    def merged(self) -> set[tuple[Flow, Held]]:
        """Every flow with everything that action sets of packets in its table may hold."""
        may_hold: dict[int, Held] = {}
        for flow, held in self.states():
            may_hold[flow.table_id] = may_hold.get(flow.table_id, Held()) | held
        return {(flow, may_hold[table]) for table, flows in self.tables.items() for flow in flows}

    def single_walks(self) -> Iterator[tuple[list[Flow], bool]]:
        """Walks from table 0 of a packet that is never copied, without loops, and their ends."""
        waiting: list[tuple[tuple[Flow, ...], Held]] = [
            ((flow,), Held()) for flow in self.tables.get(0, ())
        ]
        for _ in range(3000):
            if not waiting:
                return
            walk, held = waiting.pop()
            for way in self.ways(walk[-1], held):
                if len(way) > 1:
                    continue
                if not way or isinstance(way[0], str):
                    yield list(walk), bool(way)
                    continue
                table, taken = way[0]
                following = self.tables.get(table, ())
                if not following:
                    yield list(walk), False
                waiting += [((*walk, flow), taken) for flow in following if flow not in walk]


@given(bridges(writes=False))
@settings(max_examples=400, deadline=None)
def test_a_flow_is_open_exactly_if_one_of_its_packets_can_be_delivered(bridge: Bridge) -> None:
    delivering = {flow for flow, _held in bridge.deliverers(bridge.states())}
    for flow, kind in bridge.kind.items():
        assert (kind == "conjunction") == flow.effect.conjunction
        assert (kind == "open") == (flow in delivering)


@given(bridges(writes=True))
@settings(max_examples=400, deadline=None)
def test_with_action_sets_a_flow_is_open_if_one_of_its_packets_can_be_delivered(
    bridge: Bridge,
) -> None:
    delivering = {flow for flow, _held in bridge.deliverers(bridge.states())}
    assert {bridge.kind[flow] for flow in delivering} <= {"open", MISSED}


@given(bridges(writes=True))
@settings(max_examples=400, deadline=None)
def test_the_action_set_may_hold_what_any_packet_brings_and_no_more(bridge: Bridge) -> None:
    opened = {flow for flow, kind in bridge.kind.items() if kind == "open"}
    merged = bridge.merged()
    found: set[Flow] = set()
    while True:
        tables = {flow.table_id for flow in found}
        new = {
            flow
            for flow, held in merged
            for way in bridge.ways(flow, held)
            for branch in way
            if isinstance(branch, str) or branch[0] in tables
        }
        if new <= found:
            break
        found |= new
    assert {flow for flow in found if bridge.kind[flow] != MISSED} == opened


@given(bridges(writes=True))
@settings(max_examples=300, deadline=None)
def test_a_packet_that_is_not_copied_is_booked_at_most_once(bridge: Bridge) -> None:
    dead = not any(bridge.kind[flow] == "open" for flow in bridge.tables.get(0, ()))
    for walk, _delivered in bridge.single_walks():
        if dead and any(flow.table_id == 0 for flow in walk[1:]):
            continue  # the one exception: a bridge that delivers nothing
        assert sum(bridge.kind[flow] in BOOKED for flow in walk) <= 1


@given(bridges(writes=False))
@settings(max_examples=300, deadline=None)
def test_a_packet_that_is_not_copied_is_booked_exactly_if_it_dies(bridge: Bridge) -> None:
    dead = not any(bridge.kind[flow] == "open" for flow in bridge.tables.get(0, ()))
    for walk, delivered in bridge.single_walks():
        if dead and any(flow.table_id == 0 for flow in walk[1:]):
            continue
        if bridge.kind[walk[-1]] in ("conjunction", MISSED):
            continue  # no packet is ever there, or table statistics have it
        if any(len(bridge.ways(flow, Held())) > 1 for flow in walk):
            continue  # a group that delivers by another bucket opens the flow for all packets
        booked = sum(bridge.kind[flow] in BOOKED for flow in walk)
        assert booked == (not delivered)


@given(bridges(writes=False))
@settings(max_examples=400, deadline=None)
def test_lost_copy_and_patch_say_how_packets_can_have_come(bridge: Bridge) -> None:
    alive = bridge.deliverers(bridge.states())
    found: set[tuple[Flow, bool, bool]] = set()
    waiting = [(flow, False, flow.scope.in_port == PATCH_PORT) for flow in bridge.tables.get(0, ())]
    starts = set(waiting)
    while waiting:
        state = waiting.pop()
        if state in found:
            continue
        found.add(state)
        flow, copied, patched = state
        for way in bridge.ways(flow, Held()):
            for place, branch in enumerate(way):
                if isinstance(branch, str) or not bridge.alive(branch, alive):
                    continue
                others = way[:place] + way[place + 1 :]
                beside = any(bridge.alive(other, alive) for other in others)
                waiting += [(one, copied or beside, patched) for one in bridge.tables[branch[0]]]
    for flow, kind in bridge.kind.items():
        met = [state for state in found if state[0] is flow]
        copied = any(state[1] for state in met)
        if kind in BOOKED:
            assert (kind == "copy") == copied
        if kind == "patch":
            first = flow.table_id == 0
            assert all(state[2] for state in met if not first or state in starts)
        if kind == "lost" and met and flow.table_id != 0:
            assert not all(state[2] for state in met)
