"""Lines of logical flows are kept, and are at each moment those that would be written anew."""

import random
from collections import Counter as Multiset

import pytest

from agent.collectors import ovn_lines
from agent.collectors.ovn_database import ACL, LOGICAL_FLOW
from agent.collectors.ovn_lines import FlowLines
from agent.families import Gauge
from agent.model.ovn import Acl, LogicalFlow, short
from agent.model.ovn_stages import ACL_PRIORITIES, ACL_STAGES

STAGES = ("ls_in_acl", "ls_out_acl_eval", "ls_in_pre_acl", 'a "stage"', None)


def some_flow(chance: random.Random) -> LogicalFlow:
    return LogicalFlow(
        f"{chance.randrange(12):#x}",
        chance.choice(["ingress", "egress"]),
        chance.randrange(2),
        chance.choice([0, 999, 1000, 2002, 33767, 33768, 65532]),
        chance.choice(STAGES),
        chance.choice([None, "aaaaaaaa", "bbbbbbbb", "cccccccc"]),
    )


def some_acl(chance: random.Random) -> Acl:
    digits = chance.choice("abde") * 8
    uuid = f"{digits}-0000-4000-8000-{chance.randrange(10**12):012}"
    name = chance.choice([None, 'quoted "name"\n'])
    return Acl(uuid, "to-lport", "drop", 1001, name, chance.choice([None, "rule"]))


def written(family: Gauge, *labels: str) -> str:
    return f"{family.name}{family.text(*labels)} 1"


def anew(flows: list[LogicalFlow], acls: list[Acl]) -> tuple[set[str], set[str], int]:
    """What the series are, written without remembering anything."""
    keys = Multiset((flow.cookie, flow.pipeline, flow.table_id) for flow in flows)
    hints = Multiset(short(acl.uuid) for acl in acls)
    by_hint = {short(acl.uuid): acl for acl in acls}
    info, evaluations = set(), set()
    for flow in flows:
        if keys[flow.cookie, flow.pipeline, flow.table_id] > 1:
            continue
        key = flow.cookie, flow.pipeline, str(flow.table_id)
        info.add(written(LOGICAL_FLOW, *key, flow.stage or "", str(flow.priority)))
        evaluates = flow.priority in ACL_PRIORITIES and ACL_STAGES.fullmatch(flow.stage or "")
        if flow.hint is None or not evaluates or hints[flow.hint] > 1:
            continue
        described = ("", "", "", "", "")
        if acl := by_hint.get(flow.hint):
            rule = acl.security_group_rule_id or ""
            described = (acl.name or "", acl.direction, acl.action, str(acl.priority), rule)
        evaluations.add(written(ACL, *key, flow.hint, *described))
    alone = sum(1 for flow in flows if keys[flow.cookie, flow.pipeline, flow.table_id] == 1)
    return info, evaluations, len(flows) - alone


def shown(lines: FlowLines) -> tuple[set[str], set[str], int]:
    info, acl = lines.blocks
    texts = [block.lines.decode().splitlines() for block in (info, acl)]
    assert [len(text) for text in texts] == [info.series, acl.series]
    return set(texts[0]), set(texts[1]), lines.left_out


@pytest.mark.parametrize("seed", range(20))
def test_they_are_at_each_moment_what_would_be_written_anew(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test that can be repeated
    lines = FlowLines(LOGICAL_FLOW, ACL)
    flows: list[LogicalFlow] = []
    acls: list[Acl] = []
    for _ in range(60):
        chance.shuffle(flows)
        del flows[: chance.randrange(3)]
        flows += [some_flow(chance) for _ in range(chance.randrange(4))]
        if chance.random() < 0.3:
            acls = [some_acl(chance) for _ in range(chance.randrange(4))]
        lines.update(tuple(flows), tuple(acls))
        assert shown(lines) == anew(flows, acls)


def test_what_did_not_change_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = FlowLines(LOGICAL_FLOW, ACL)
    first = LogicalFlow("0x1", "ingress", 8, 2002, "ls_in_acl", "aaaaaaaa")
    acls = (Acl("aaaaaaaa-0000-4000-8000-000000000000", "from-lport", "allow", 1002),)
    flows = (first,)
    lines.update(flows, acls)
    before = lines.blocks
    lines.update(flows, acls)
    assert lines.blocks is before
    new: list[LogicalFlow] = []
    write = lines._write
    monkeypatch.setattr(lines, "_write", lambda flow: new.append(flow) or write(flow))
    second = LogicalFlow("0x2", "ingress", 8, 2002, "ls_in_acl", "aaaaaaaa")
    lines.update((first, second), acls)
    assert new == [second]


def test_names_that_a_server_makes_up_are_not_remembered_for_ever() -> None:
    lines = FlowLines(LOGICAL_FLOW, ACL)
    for number in range(5):
        some = 500 * number
        flows = tuple(
            LogicalFlow(f"{n:#x}", "ingress", 0, 0, f"stage {n}") for n in range(some, some + 500)
        )
        lines.update(flows, ())
        assert len(lines._places) <= ovn_lines.MOST_PLACES + 1
        assert len(lines._known) == lines.blocks[0].series == 500
