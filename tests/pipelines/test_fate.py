"""Every clause of the definition, one by one."""

import pytest

from tests.pipelines.written import group, judge, kinds

PATCH = frozenset({9})


@pytest.mark.parametrize(
    "actions",
    [
        "output:2",
        "NORMAL",
        "FLOOD",
        "ALL",
        "LOCAL",
        "IN_PORT",
        "output:NXM_NX_REG1[]",
        "CONTROLLER",
    ],
)
def test_what_sends_a_packet_anywhere_is_open(actions: str) -> None:
    assert kinds(f"table=0 actions={actions}") == ["open"]


@pytest.mark.parametrize(
    "actions", ["drop", "ct(commit)", "learn(table=20,output:NXM_OF_IN_PORT[])", "sample(a=1)"]
)
def test_what_sends_it_nowhere_is_lost(actions: str) -> None:
    assert kinds(f"table=0 actions={actions}") == ["lost"]


@pytest.mark.parametrize(
    "actions", ["resubmit(,5)", "goto_table:5", "ct(table=5,zone=1)", "clone(resubmit(,5))"]
)
def test_to_continue_is_as_good_as_the_table_it_leads_to(actions: str) -> None:
    assert kinds(f"table=0 actions={actions}\ntable=5 actions=output:1") == ["open", "open"]
    assert kinds(f"table=0 actions={actions}\ntable=5 actions=drop") == ["lost", "closed"]


def test_a_table_without_flows_is_closed() -> None:
    assert kinds("table=0 actions=resubmit(,5)") == ["lost"]


def test_a_loop_is_no_way_out() -> None:
    assert kinds(
        """
        table=0,priority=2 actions=resubmit(,5)
        table=0,priority=1 actions=output:1
        table=5 actions=resubmit(,6)
        table=6 actions=resubmit(,5)
        """
    ) == ["lost", "open", "closed", "closed"]


def test_resubmit_without_a_table_means_the_own_one() -> None:
    assert kinds("table=0,priority=2 actions=resubmit(9,)\ntable=0 actions=output:1") == [
        "open",
        "open",
    ]
    assert kinds("table=0,priority=2 actions=resubmit:9\ntable=0 actions=drop")[0] == "lost"


def test_a_packet_is_booked_where_it_leaves_the_open_tables() -> None:
    assert kinds(
        """
        table=0 actions=resubmit(,71)
        table=71,priority=2 actions=output:1
        table=71,priority=1,in_port=4 actions=resubmit(,93)
        table=93 actions=drop
        """
    ) == ["open", "open", "lost", "closed"]


def test_a_bridge_that_delivers_nothing_loses_in_its_first_table() -> None:
    assert kinds("table=0 actions=resubmit(,1)\ntable=1 actions=resubmit(,2)") == ["lost", "closed"]


def test_a_clause_of_a_conjunction_is_neither_and_opens_nothing() -> None:
    assert kinds("table=0 actions=resubmit(,5)\ntable=5 actions=conjunction(1,1/2)") == [
        "lost",
        "conjunction",
    ]


def test_the_copy_of_a_delivered_packet_is_not_lost() -> None:
    assert kinds(
        """
        table=0 actions=output:1,resubmit(,5)
        table=5,priority=2 actions=output:2
        table=5,priority=1 actions=drop
        """
    ) == ["open", "open", "copy"]


def test_the_copy_of_a_delivered_packet_in_a_closed_table_is_not_even_booked() -> None:
    assert kinds("table=0 actions=output:1,resubmit(,5)\ntable=5 actions=drop") == [
        "open",
        "closed",
    ]


def test_two_live_branches_are_copies_of_each_other() -> None:
    assert kinds(
        """
        table=0 actions=resubmit(,10),resubmit(,20)
        table=10,priority=2 actions=output:1
        table=10,priority=1 actions=drop
        table=20,priority=2 actions=output:1
        table=20,priority=1 actions=drop
        """
    ) == ["open", "open", "copy", "open", "copy"]


def test_a_branch_into_a_closed_table_makes_no_copy() -> None:
    assert kinds(
        """
        table=0 actions=resubmit(,10),resubmit(,20)
        table=10,priority=2 actions=output:1
        table=10,priority=1 actions=drop
        table=20 actions=drop
        """
    ) == ["open", "open", "lost", "closed"]


def test_the_same_table_twice_is_two_branches() -> None:
    assert kinds(
        """
        table=0 actions=resubmit(,10),resubmit(,10)
        table=10,priority=2 actions=output:1
        table=10,priority=1 actions=drop
        """
    ) == ["open", "open", "copy"]


def test_everything_reached_from_copies_is_a_copy() -> None:
    assert (
        kinds(
            """
        table=0 actions=output:1,resubmit(,5)
        table=5 actions=resubmit(,6)
        table=6,priority=2 actions=output:2
        table=6,priority=1 actions=drop
        """
        )[-1]
        == "copy"
    )


def test_a_table_that_copies_can_reach_is_one_of_copies_whatever_else_reaches_it() -> None:
    assert (
        kinds(
            """
        table=0,priority=2 actions=output:1,resubmit(,5)
        table=0,priority=1 actions=resubmit(,5)
        table=5,priority=2 actions=output:2
        table=5,priority=1 actions=drop
        """
        )[-1]
        == "copy"
    )


def test_a_copy_that_no_packet_can_cause_makes_no_copies() -> None:
    assert (
        kinds(
            """
        table=0 actions=resubmit(,5)
        table=4 actions=output:1,resubmit(,5)
        table=5,priority=2 actions=output:2
        table=5,priority=1 actions=drop
        """
        )[-1]
        == "lost"
    )


def test_what_a_controller_has_too_is_a_copy() -> None:
    assert (
        kinds(
            """
        table=0 actions=CONTROLLER,resubmit(,5)
        table=5,priority=2 actions=output:2
        table=5,priority=1 actions=drop
        """
        )[-1]
        == "copy"
    )


def test_what_only_a_patch_port_brings_is_patch() -> None:
    assert kinds(
        """
        table=0,priority=3,in_port=9 actions=resubmit(,5)
        table=0,priority=2,in_port=9 actions=drop
        table=0,priority=2,in_port=8 actions=drop
        table=0,priority=1 actions=resubmit(,6)
        table=5,priority=2 actions=resubmit(,6)
        table=5,priority=1 actions=drop
        table=6,priority=2 actions=output:2
        table=6,priority=1 actions=drop
        """,
        patch_ports=PATCH,
    ) == ["open", "patch", "lost", "open", "open", "patch", "open", "lost"]


def test_copy_comes_before_patch() -> None:
    assert (
        kinds(
            """
        table=0,in_port=9 actions=output:1,resubmit(,5)
        table=5,priority=2 actions=output:2
        table=5,priority=1 actions=drop
        """,
            patch_ports=PATCH,
        )[-1]
        == "copy"
    )


def test_a_group_delivers_unless_it_is_proven_to_deliver_nothing() -> None:
    bridge = "table=0 actions=group:1"
    assert kinds(bridge, None) == ["open"]
    assert kinds(bridge, {}) == ["open"]
    assert kinds(bridge, {1: group(1)}) == ["lost"]
    assert kinds(bridge, {1: group(1, "drop", "ct(commit)")}) == ["lost"]
    assert kinds(bridge, {1: group(1, "drop", "output:1")}) == ["open"]


def test_groups_call_groups_and_tables() -> None:
    bridge = "table=0 actions=group:1\ntable=5 actions=output:1"
    chain = {1: group(1, "group:2"), 2: group(2, "resubmit(,5)")}
    assert kinds(bridge, chain) == ["open", "open"]
    assert kinds(bridge, {1: group(1, "group:2"), 2: group(2, "group:1")}) == ["lost", "open"]
    assert kinds(bridge, {1: group(1, "group:2")})[0] == "open"


def test_a_long_chain_of_groups_costs_no_more_than_its_length() -> None:
    groups = {n: group(n, f"group:{n + 1}", f"group:{n + 1}") for n in range(1, 3000)}
    groups[3000] = group(3000, "drop")
    assert kinds("table=0 actions=group:1", groups) == ["lost"]


def test_a_bucket_resubmits_to_the_table_its_group_was_called_from() -> None:
    bridge = "table=0,priority=2 actions=group:1\ntable=0,priority=1 actions={}"
    own = {1: group(1, "resubmit(,)")}
    assert kinds(bridge.format("output:1"), own) == ["open", "open"]
    assert kinds(bridge.format("drop"), own) == ["lost", "lost"]


@pytest.mark.parametrize(("sends_copies", "kind"), [(True, "copy"), (False, "lost")])
def test_buckets_are_beside_each_other_only_in_a_group_of_type_all(
    sends_copies: bool,  # noqa: FBT001  # a parameter of the test
    kind: str,
) -> None:
    groups = {1: group(1, "output:1", "resubmit(,5)", sends_copies=sends_copies)}
    assert kinds(
        """
        table=0 actions=group:1
        table=5,priority=2 actions=output:2
        table=5,priority=1 actions=drop
        """,
        groups,
    ) == ["open", "open", kind]


def test_an_action_set_is_executed_where_the_pipeline_ends() -> None:
    assert kinds("table=0 actions=write_actions(output:1)") == ["open"]
    assert kinds(
        "table=0 actions=write_actions(output:1),goto_table:5\ntable=5 actions=ct(commit)"
    ) == ["open", "open"]


def test_an_action_set_is_executed_where_nothing_matches() -> None:
    write = "table=0 actions=write_actions(output:1),goto_table:5"
    assert kinds(write) == ["open"]
    assert kinds(f"{write}\ntable=5,priority=2,ip actions=clear_actions") == ["open", "lost"]
    assert kinds(f"{write}\ntable=5,priority=0 actions=clear_actions") == ["lost", "closed"]
    assert kinds("table=0 actions=goto_table:5\ntable=5,ip actions=drop") == ["lost", "closed"]


def test_clear_actions_comes_before_write_actions() -> None:
    bridge = "table=0 actions=write_actions(output:1),goto_table:5\ntable=5 actions={}"
    assert kinds(bridge.format("clear_actions")) == ["lost", "closed"]
    assert kinds(bridge.format("clear_actions,write_actions(output:2)")) == ["open", "open"]


def test_goto_takes_along_what_the_flow_wrote_and_resubmit_what_it_found() -> None:
    bridge = "table=0 actions=write_actions(output:1),{}clear_actions\ntable=5 actions=drop"
    assert kinds("table=0 actions=resubmit(,5),write_actions(output:1)\ntable=5 actions=drop") == [
        "open",
        "closed",
    ]
    assert kinds(
        """
        table=0 actions=write_actions(output:1),goto_table:5
        table=5 actions=resubmit(,6),clear_actions
        table=6 actions=drop
        """
    ) == ["open", "open", "open"]
    assert kinds(bridge.format("goto_table:5,")) == ["open", "open"]


def test_an_action_set_goes_through_a_group_that_resubmits() -> None:
    assert kinds(
        """
        table=0 actions=write_actions(output:1),goto_table:5
        table=5 actions=group:1,clear_actions
        table=6 actions=drop
        """,
        {1: group(1, "group:2"), 2: group(2, "resubmit(,6)")},
    ) == ["open", "open", "open"]


def test_a_group_in_an_action_set_is_a_group() -> None:
    bridge = "table=0 actions=write_actions(group:1)"
    assert kinds(bridge, None) == ["open"]
    assert kinds(bridge, {1: group(1, "drop")}) == ["lost"]
    assert kinds(bridge + "\ntable=5 actions=output:1", {1: group(1, "resubmit(,5)")})[0] == "open"


def test_an_action_set_delivers_beside_what_the_flow_sends_on() -> None:
    assert (
        kinds(
            """
        table=0 actions=resubmit(,5),write_actions(output:1)
        table=5,priority=2 actions=output:2
        table=5,priority=1 actions=drop
        """
        )[-1]
        == "copy"
    )


def test_a_lost_packet_of_an_unknown_pipeline_belongs_to_the_port_it_came_in_by() -> None:
    fate = judge(
        """
        table=0,in_port=4 actions=drop
        table=0,reg5=4 actions=drop
        table=0,in_port=9 actions=drop
        """
    )
    assert fate.owners == {0: {0: (4, "from_instance"), 2: (9, "from_instance")}}
    assert (fate.pipeline, fate.names) == ("", {})


def test_a_patch_port_is_nobody() -> None:
    bridge = "table=0 actions=resubmit(,5)\ntable=5,in_port=9 actions=drop\ntable=5 actions=NORMAL"
    assert judge(bridge, patch_ports=PATCH).owners == {}
