import pytest

from agent.errors import ParseError
from agent.wire.openflow.actions import action_kind, iter_actions, iter_instructions
from tests.wire.openflow import recorded

KINDS = {
    "drop": "drop",
    "output:one": "output",
    "NORMAL": "normal",
    "FLOOD": "output",
    "ALL": "output",
    "LOCAL": "output",
    "IN_PORT": "output",
    "CONTROLLER:128": "controller",
    "controller(max_len=64,id=5)": "controller",
    "controller(userdata=00.01.02,pause)": "controller",
    "resubmit(,71)": "resubmit",
    "resubmit:two": "resubmit",
    "resubmit(one,2)": "resubmit",
    "resubmit(,2,ct)": "resubmit",
    "load:0x5->NXM_NX_REG0[],resubmit(,71)": "resubmit",
    "ct(table=72,zone=NXM_NX_REG6[0..15])": "ct",
    "ct(commit,zone=5,exec(load:0x1->NXM_NX_CT_MARK[]))": "ct",
    "ct(commit),output:one,resubmit(,92)": "output",
    "ct(commit),resubmit(,91)": "resubmit",
    "goto_table:5": "resubmit",
    "output:one,goto_table:5": "output",
    "learn(table=20,hard_timeout=300,priority=1,NXM_OF_VLAN_TCI[0..11],"
    "NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:OXM_OF_IN_PORT[]),output:two": "output",
    "learn(table=20,hard_timeout=300,priority=1,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],"
    "load:0x1->NXM_NX_REG0[0])": "drop",
    "group:1": "group",
    "write_actions(output:one)": "output",
    "write_actions(group:1,output:one)": "group",
    "write_actions(output:one),goto_table:5": "output",
    "conjunction(16,1/2)": "conjunction",
    "load:0x1->NXM_NX_REG0[],push_vlan:0x8100,set_field:0x5->metadata": "drop",
    "clone(output:one)": "output",
    "clone(clone(resubmit(,3)),load:0x1->NXM_NX_REG0[])": "resubmit",
    "output:NXM_NX_REG0[]": "output",
    "output(port=one,max_len=100)": "output",
    "bundle(eth_src,0,hrw,ofport,members:one,two)": "output",
    "note:00.01.00.00.00.00": "drop",
    "sample(probability=1000,collector_set_id=1,obs_domain_id=2,obs_point_id=3)": "drop",
    "meter:1,output:two": "output",
    "clear_actions": "drop",
    "exit": "drop",
    "dec_ttl,output:two,NORMAL": "output",
    "pop_vlan,NORMAL": "normal",
    "controller(userdata=00),resubmit(,44)": "resubmit",
    "output:NXM_NX_REG15[0..15],group:1": "output",
    "ct(commit,table=3),CONTROLLER:65535": "ct",
    "ct_clear,ct(commit),CONTROLLER:65535": "controller",
    "check_pkt_larger(100)->NXM_NX_REG0[0],resubmit(,5)": "resubmit",
    "write_metadata:0x5,goto_table:6": "resubmit",
    "fin_timeout(idle_timeout=5),output:one": "output",
}


@pytest.mark.parametrize("version", recorded.VERSIONS)
def test_names_the_action_that_decides(version: str) -> None:
    lines = recorded.printed(recorded.text(f"br-actions-flows-{version}"))
    entries = recorded.flows("br-actions", version)
    found = {
        line.actions: action_kind(entry.instructions)
        for line, entry in zip(lines, entries, strict=True)
    }
    assert found == KINDS


@pytest.mark.parametrize("bridge", ["br-int", "br-tun", "br-provider"])
def test_neutrons_drops_are_drops_and_nothing_else_is(bridge: str) -> None:
    lines = recorded.printed(recorded.text(f"{bridge}-flows-of13"))
    for line, entry in zip(lines, recorded.flows(bridge, "of13"), strict=True):
        assert (action_kind(entry.instructions) == "drop") == (line.actions == "drop")


APPLY = "0004 {:04x} 00000000"


@pytest.mark.parametrize(
    "action",
    [
        "ffff 0010 00002320 00fe 000000000000",  # a Nicira action of some later release
        "ffff 0010 00abcdef 0001 000000000000",  # somebody else's
        "0063 0008 00000000",  # a standard one of some later version
    ],
)
def test_an_unknown_action_is_other(action: str) -> None:
    data = bytes.fromhex(action)
    assert action_kind(bytes.fromhex(APPLY.format(8 + len(data))) + data) == "other"


def test_an_unknown_instruction_is_other() -> None:
    assert action_kind(bytes.fromhex("ffff 0008 00abcdef")) == "other"


def test_output_to_no_port_is_a_drop() -> None:
    assert action_kind(bytes.fromhex("0004001800000000 00000010ffffffff0000000000000000")) == "drop"


def test_clones_within_clones_cost_no_stack() -> None:
    action = b""
    for _ in range(4000):
        length = len(action) + 16
        action = bytes.fromhex(f"ffff{length:04x}00002320002a000000000000") + action
    assert action_kind(bytes.fromhex(APPLY.format(8 + len(action))) + action) == "drop"


def test_walks_actions_with_vendor_and_body() -> None:
    data = bytes.fromhex("ffff001000002320000efff848000000 00000010000000050000000000000000")
    resubmit, output = iter_actions(data)
    assert (resubmit.type, resubmit.vendor, bytes(resubmit.body)[2]) == (14, 0x2320, 72)
    assert (output.type, output.vendor, bytes(output.body)[:4].hex()) == (0, 0, "00000005")


@pytest.mark.parametrize(
    "data",
    [
        "0004",
        "00040004",
        "0004000c00000000",
        "0004001000000000",
        "0004001000000000ffff000800002320",
    ],
)
def test_refuses_instructions_that_cannot_be(data: str) -> None:
    with pytest.raises(ParseError):
        action_kind(bytes.fromhex(data))


def test_walks_instructions() -> None:
    assert [(k, bytes(b)) for k, b in iter_instructions(bytes.fromhex("0001000848000000"))] == [
        (1, b"\x48\0\0\0")
    ]
