"""The rules of flows.select name the flows that have everything a rule gives."""

import time
from fnmatch import fnmatchcase

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.flow_rules import Rule
from agent.model.bridge import LOCAL
from agent.model.flow import Flow, Scope, TableFlows
from agent.sections import Flows
from agent.sources.selection import selected
from agent.sources.shown import Selection

NAMES = {1: "tap0", 2: "tap1", 3: "vxlan-1", LOCAL: "br-int"}


def flow(
    priority: int = 1, match: str = "", cookie: int = 0, in_port: int | None = None, table: int = 0
) -> Flow:
    return Flow(table, priority, match, cookie, Scope(in_port))


FLOWS = (
    flow(0),
    flow(1, "arp,in_port=tap0", 0x10, 1),
    flow(2, "ip,in_port=tap1,nw_src=10.0.0.1", 0x1F, 2),
    flow(2, "ip,in_port=LOCAL", 0xFFFFFFFFFFFFFFFF, LOCAL),
    flow(3, "IP,in_port=9", 0x2F, 9),
)


@pytest.mark.parametrize(
    ("rule", "places"),
    [
        (Rule(bridge="br-int"), [0, 1, 2, 3, 4]),
        (Rule(bridge="br-*"), []),
        (Rule(bridge="br-int", table=1), []),
        (Rule(table=0, priority=2), [2, 3]),
        (Rule(cookie=0x1F), [2]),
        (Rule(cookie="0x1f/0xf0"), [1, 2]),
        (Rule(cookie="0xffffffffffffffff"), [3]),
        (Rule(cookie="0/0"), [0, 1, 2, 3, 4]),
        (Rule(match=""), [0]),
        (Rule(match="*"), [0, 1, 2, 3, 4]),
        (Rule(match="ip,*"), [2, 3]),
        (Rule(match="ip,"), []),
        (Rule(match="*10.0.0.?"), [2]),
        (Rule(match="[ai]*,*"), [1, 2, 3]),
        (Rule(match="*nw_src=10.0.0.[!2-9]"), [2]),
        (Rule(match="*10?0.0.1"), [2]),
        (Rule(interface="tap?"), [1, 2]),
        (Rule(interface="br-int"), [3]),
        (Rule(interface="*"), [1, 2, 3]),
        (Rule(interface="tap*", match="ip*"), [2]),
        (Rule(interface="tap*", priority=1, cookie="0x1f"), []),
    ],
    ids=str,
)
def test_a_flow_is_named_when_it_has_everything(rule: Rule, places: list[int]) -> None:
    assert selected(FLOWS, [rule], "br-int", NAMES).tolist() == places


def test_nothing_is_named_without_rules_and_without_flows() -> None:
    assert selected(FLOWS, [], "br-int", NAMES).tolist() == []
    assert selected([], [Rule(match="*")], "br-int", NAMES).tolist() == []


TEXT = st.text("ab*?[]!\n|", max_size=4)
MATCH = st.text("ab[\n|", max_size=4)
COOKIE = st.tuples(st.integers(0, 3), st.integers(0, 3)).map("{0[0]}/{0[1]}".format)
OPTIONS = {
    "bridge": st.sampled_from(["a", "b"]),
    "table": st.integers(0, 1),
    "priority": st.integers(0, 2),
    "cookie": COOKIE,
    "match": TEXT,
    "interface": st.sampled_from(["a", "a*", "[ab]", "?b"]),
}
SOME_RULES = st.lists(
    st.fixed_dictionaries({}, optional=OPTIONS).filter(bool).map(Rule.model_validate), max_size=6
)
SOME_FLOWS = st.lists(
    st.builds(flow, st.integers(0, 2), MATCH, st.integers(0, 3), st.none() | st.integers(1, 3)),
    max_size=20,
)


def names(rule: Rule, each: Flow, interfaces: dict[int, str]) -> bool:
    """Say the same, one flow and one rule at a time."""
    interface = None if each.scope.in_port is None else interfaces.get(each.scope.in_port)
    return (
        rule.bridge in (None, "a")
        and rule.table in (None, each.table_id)
        and rule.priority in (None, each.priority)
        and (rule.cookie is None or (each.cookie ^ rule.cookie[0]) & rule.cookie[1] == 0)
        and (rule.match is None or fnmatchcase(each.match, rule.match))
        and (
            rule.interface is None
            or (interface is not None and fnmatchcase(interface, rule.interface))
        )
    )


def test_what_was_chosen_of_a_table_that_is_gone_is_forgotten() -> None:
    selection = Selection("br-int", Flows(mode="selected", select=[Rule(priority=2)]))
    counts = np.zeros(len(FLOWS), np.uint64)
    shown, left_out = selection.of([TableFlows(0, FLOWS, counts, counts)], NAMES)
    assert (list(shown), left_out) == ([0], 3)
    assert selection.of([], NAMES) == ({}, 0)
    assert selection._chosen == {}


@given(SOME_FLOWS, SOME_RULES)
def test_any_rule_of_many_may_name_a_flow(flows: list[Flow], rules: list[Rule]) -> None:
    interfaces = {1: "a", 2: "ab"}
    expected = [
        at for at, each in enumerate(flows) if any(names(rule, each, interfaces) for rule in rules)
    ]
    assert selected(flows, rules, "a", interfaces).tolist() == expected


def test_a_large_table_that_no_rule_speaks_of_costs_nothing() -> None:
    flows = [flow(match="ip")] * 100_000
    rules = [Rule(table=1, match="*"), Rule(bridge="br-tun", match="*")] * 500
    began = time.process_time()
    for _ in range(10):
        assert not len(selected(flows, rules, "br-int", NAMES))
    assert time.process_time() - began < 0.1
