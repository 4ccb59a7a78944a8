"""Flows of OVN as several releases wrote them: the same network, the same packets.

What each packet is, and what became of it, is in fixtures/README.md.
"""

import re
from collections import Counter as Multiset
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from agent.model.flow import KINDS, Account, AclFlow, Fate, Flow, Stage, TableFlows
from agent.pipelines.fate import Judge
from agent.pipelines.ledger import BridgeLedger
from tests.pipelines.written import counted

FIXTURES = Path(__file__).parent / "fixtures"
EGRESS = {
    "22.03.8": 40,
    "23.03.1": 42,
    "24.03.9": 42,
    "25.03.0": 45,
    "26.03.1": 48,
    "26.09.0": 62,
}
"""LOG_EGRESS_PIPELINE of controller/lflow.h."""
PATCH_PORTS = frozenset({3})
BY_RELEASE = pytest.mark.parametrize("release", sorted(EGRESS))
VERDICT = re.compile(r"(^|,)reg(0=0x8000/0x8000|8=0x20000/0x20000)(,|$)")
OLDEST = "22.03.8"
"""Port security is a stage there, and what no flow matches is dropped without one."""
VERDICTS = ("24.03.9", "25.03.0", "26.03.1", "26.09.0")
"""Releases whose ACLs note a verdict that the next stage carries out."""
_LOGICAL = re.compile(r"uuid=(0x[0-9a-f]+), table=(\d+) *\((\w+) *\), priority=(\d+)")


@dataclass(frozen=True)
class Recorded:
    flows: Mapping[int, tuple[Flow, ...]]
    packets: Mapping[int, list[int]]

    def judge(self, release: str | None, *, by_datapath: bool = False) -> Fate:
        return Judge(by_datapath=by_datapath).judge(self.flows, {}, PATCH_PORTS, release)

    def accounts(self, fate: Fate) -> Mapping[Account, int]:
        """What each account has, from the flows' own figures."""
        tables = [
            TableFlows(
                table, flows, np.array(self.packets[table], np.uint64), np.zeros(len(flows), "u8")
            )
            for table, flows in self.flows.items()
        ]
        ledger = BridgeLedger(from_figures=True)
        return ledger.add(tables, {}, fate, {}, restarted=False).accounts


def read(release: str) -> Recorded:
    flows: dict[int, list[Flow]] = {}
    packets: dict[int, list[int]] = {}
    for line in (FIXTURES / f"ovn-{release}-flows.txt").read_text().splitlines():
        flow, count = counted(line)
        flows.setdefault(flow.table_id, []).append(flow)
        packets.setdefault(flow.table_id, []).append(count)
    return Recorded({table: tuple(each) for table, each in flows.items()}, packets)


def logical_flows(release: str) -> dict[int, tuple[str, int, str, int]]:
    """Pipeline, number, stage and priority by cookie, as ovn-sbctl lists them."""
    found, pipeline = {}, ""
    for line in (FIXTURES / f"ovn-{release}-lflows.txt").read_text().splitlines():
        if line.startswith("Datapath: "):
            pipeline = line.rpartition(" ")[2]
        elif logical := _LOGICAL.search(line):
            cookie, table, stage, priority = logical.groups()
            found[int(cookie, 16)] = pipeline, int(table), stage, int(priority)
    return found


@BY_RELEASE
def test_every_flow_of_a_logical_flow_is_in_the_stage_that_the_southbound_names(
    release: str,
) -> None:
    fate, flows = read(release).judge(release), read(release).flows
    listed = logical_flows(release)
    staged: dict[tuple[int, int], Stage] = {}
    for table, accounts in fate.accounts.items():
        for index, place in zip(accounts.flows.tolist(), accounts.row_of.tolist(), strict=True):
            if isinstance(stage := accounts.rows[place], Stage):
                staged[table, index] = stage
    known = {
        (table, index): listed[flow.cookie]
        for table, each in flows.items()
        for index, flow in enumerate(each)
        if flow.cookie in listed
    }
    assert len(known) > 500
    assert {key: (stage.pipeline, stage.name) for key, stage in staged.items() if key in known} == {
        key: (pipeline, name) for key, (pipeline, _, name, _) in known.items()
    }


@BY_RELEASE
def test_acls_are_the_logical_flows_that_evaluate_one(release: str) -> None:
    fate = read(release).judge(release)
    accounts = {
        row for each in fate.accounts.values() for row in each.rows if isinstance(row, AclFlow)
    }
    evaluates = re.compile(r"ls_(in|out)_acl(_after_lb)?(_eval)?")
    offset = 1000
    assert accounts == {
        AclFlow(cookie, pipeline, number)
        for cookie, (pipeline, number, stage, priority) in logical_flows(release).items()
        if evaluates.fullmatch(stage) and offset < priority < 32768
    }


@BY_RELEASE
def test_the_egress_pipeline_begins_where_the_release_puts_it(release: str) -> None:
    names = read(release).judge(release).names
    first = min(table for table, name in names.items() if name.startswith("ls_out_"))
    assert first == EGRESS[release]


@BY_RELEASE
def test_lost_is_what_was_refused_and_where_with_the_port(release: str) -> None:
    recorded = read(release)
    fate = recorded.judge(release)
    acl = "ls_out_acl_eval" if release in VERDICTS else "ls_out_acl"
    lost = {
        (fate.name_of(table, index), fate.owners.get(table, {}).get(index)): packets
        for table, codes in fate.kinds.items()
        for index, code in enumerate(codes.tolist())
        if KINDS[code] == "lost" and (packets := recorded.packets[table][index])
    }
    security = {
        ("chk_in_port_sec", (1, "from_instance")): 2 + 6,
        ("chk_in_port_sec_nd", (1, "from_instance")): 7,
        ("lr_in_ip_routing", None): 11,
    }
    if release == OLDEST:
        security = {
            ("ls_in_port_sec_ip", (1, "from_instance")): 6,
            ("ls_in_port_sec_nd", (1, "from_instance")): 7,
        }
    assert lost == {
        **security,
        (acl, (1, "to_instance")): 3 + 16,
        (acl, (12, "to_instance")): 9,
        ("ls_in_l2_unknown", None): 13,
    }


@pytest.mark.parametrize("release", sorted(EGRESS.keys() - {OLDEST}))
def test_what_went_into_a_tunnel_is_not_lost_though_it_meets_a_drop(release: str) -> None:
    recorded = read(release)
    fate = recorded.judge(release)
    (table,) = (table for table, name in fate.names.items() if name == "local_output")
    (index,) = (i for i, flow in enumerate(recorded.flows[table]) if not flow.match)
    assert recorded.packets[table][index] == 14
    assert KINDS[fate.kinds[table][index]] == "copy"
    without = {
        number: tuple(one for one in flows if not (one.effect.delivers and one.effect.tables))
        for number, flows in recorded.flows.items()
    }
    alone = Judge().judge(without, {}, PATCH_PORTS, release)
    assert KINDS[alone.kinds[table][index]] == "lost"


@BY_RELEASE
def test_what_was_refused_is_booked_once(release: str) -> None:
    """The flows that drop it later have met the same packets."""
    recorded = read(release)
    fate = recorded.judge(release)
    again: Multiset[str | None] = Multiset()
    for table, flows in recorded.flows.items():
        for index, flow in enumerate(flows):
            if VERDICT.search(flow.match) and KINDS[fate.kinds[table][index]] == "closed":
                again[fate.name_of(table, index)] += recorded.packets[table][index]
    acls = {"ls_out_acl_action": 19 + 9} if release in VERDICTS else {}
    security = {} if release == OLDEST else {"ls_in_apply_port_sec": 8 + 7}
    assert +again == {**security, **acls}


@BY_RELEASE
def test_without_a_release_nothing_is_named_by_it_and_losses_are_where_they_are_dropped(
    release: str,
) -> None:
    recorded = read(release)
    fate = recorded.judge(None)
    assert fate.accounts == {}
    assert not [name for name in fate.names.values() if name.startswith(("ls_", "lr_"))]
    lost = sum(
        recorded.packets[table][index]
        for table, codes in fate.kinds.items()
        for index, code in enumerate(codes.tolist())
        if KINDS[code] == "lost"
    )
    missed = 2 + 11 if release == OLDEST else 0
    assert lost == 2 + 6 + 7 + 3 + 16 + 9 + 13 + 11 - missed


@BY_RELEASE
def test_what_is_lost_does_not_depend_on_the_release_that_somebody_says(release: str) -> None:
    """While a network is upgraded, ovn-northd and ovn-controller are of two releases."""
    recorded = read(release)
    lost = {
        said: sum(
            recorded.packets[table][index]
            for table, codes in recorded.judge(said).kinds.items()
            for index, code in enumerate(codes.tolist())
            if KINDS[code] == "lost"
        )
        for said in (*EGRESS, "24.09.0", "25.09.1", "26.10.0", "99.9.0", "26.03.90", None)
    }
    assert set(lost.values()) == {lost[release]}
    owned = [sorted(recorded.judge(said).owners) for said in (release, "99.9.0", None)]
    assert owned[0] == owned[1] == owned[2]


def test_a_release_that_is_not_known_has_numbers_for_names() -> None:
    fate = read("25.03.0").judge("99.9.0")
    stages = {row.name for each in fate.accounts.values() for row in each.rows}
    assert {"ls_in_0", "ls_out_4", "lr_in_0", "lr_out_0"} <= stages
    assert not [name for name in fate.names.values() if name.startswith(("ls_", "lr_"))]


def test_stages_add_up_what_their_flows_have() -> None:
    recorded = read("23.03.1")
    whole = recorded.accounts(recorded.judge("23.03.1"))
    listed = logical_flows("23.03.1")
    expected: dict[str, int] = {}
    for table, flows in recorded.flows.items():
        for flow, packets in zip(flows, recorded.packets[table], strict=True):
            if flow.cookie in listed:
                name = listed[flow.cookie][2]
                expected[name] = expected.get(name, 0) + packets
    stages = {row.name: packets for row, packets in whole.items() if isinstance(row, Stage)}
    assert stages == expected
    assert stages["ls_in_check_port_sec"] > stages["ls_in_acl"] > 0


def test_datapaths_can_have_stages_of_their_own() -> None:
    recorded = read("23.03.1")
    together = recorded.accounts(recorded.judge("23.03.1"))
    apart = recorded.accounts(recorded.judge("23.03.1", by_datapath=True))
    sums: dict[str, int] = {}
    for row, packets in apart.items():
        if isinstance(row, Stage):
            assert row.datapath in {1, 2, 3}
            sums[row.name] = sums.get(row.name, 0) + packets
    assert sums == {row.name: n for row, n in together.items() if isinstance(row, Stage)}


def test_judgements_change_with_the_release_alone() -> None:
    recorded, judge = read("23.03.1"), Judge()
    unnamed = judge.judge(recorded.flows, {}, PATCH_PORTS)
    named = judge.judge(recorded.flows, {}, PATCH_PORTS, "23.03.1")
    assert named is not unnamed
    assert judge.judge(recorded.flows, {}, PATCH_PORTS, "23.03.1") is named
