import pytest

from agent.errors import ParseError
from agent.model.bridge import LOCAL
from agent.model.flow import OWN_TABLE, Effect
from agent.wire.openflow.effects import read_bucket, read_instructions
from tests.wire.openflow import executed, recorded

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
NOTHING = Effect()
DELIVERS = Effect("output", delivers=True)
PUNTS = Effect("controller", punts=True, userdata=(b"",))
EFFECTS: dict[str, tuple[Effect, int | None]] = {
    "drop": (NOTHING, None),
    "TABLE": (Effect("resubmit", tables=(0,)), None),
    "bundle(eth_src,0,hrw,ofport,members:)": (NOTHING, None),
    "bundle(eth_src,0,hrw,ofport,members:NORMAL)": (Effect("normal", delivers=True), None),
    "bundle(eth_src,0,hrw,ofport,members:ANY,1)": (DELIVERS, 1),
    "bundle(eth_src,0,active_backup,ofport,members:1,LOCAL,3)": (DELIVERS, None),
    "bundle(eth_src,0,hrw,ofport,members:1,1)": (DELIVERS, 1),
    "bundle_load(eth_src,0,hrw,ofport,NXM_NX_REG0[0..15],members:1,2)": (NOTHING, None),
    "output:1,output:1": (DELIVERS, 1),
    "output:1,output:2": (DELIVERS, None),
    "output:2,NORMAL": (DELIVERS, 2),
    "LOCAL": (DELIVERS, LOCAL),
    "IN_PORT": (DELIVERS, None),
    "output:1,FLOOD": (DELIVERS, 1),
    "output(port=1,max_len=100)": (DELIVERS, 1),
    "output(port=LOCAL,max_len=100)": (DELIVERS, LOCAL),
    "output(port=IN_PORT,max_len=100)": (DELIVERS, None),
    "set_queue:5,output:1,pop_queue": (DELIVERS, 1),  # enqueue:1:5, as it is on the wire
    "output:NXM_NX_XXREG0[0..15]": (DELIVERS, None),
    "output:OXM_OF_PKT_REG0[0..15]": (DELIVERS, None),
    "output:NXOXM_NSH_SPI[0..15]": (DELIVERS, None),  # does not fit into the older form
    "output:NXM_NX_TUN_METADATA0[0..15],output:3": (DELIVERS, 3),
    "meter:1": (NOTHING, None),
    "controller(meter_id=1)": (PUNTS, None),
    "controller(reason=no_match,max_len=5,id=3)": (PUNTS, None),
    "controller(reason=invalid_ttl,max_len=7,id=5,userdata=01.02.03.04.05,pause,meter_id=1)": (
        Effect("controller", punts=True, userdata=(bytes(range(1, 6)),)),
        None,
    ),
    "controller(userdata=01.02.03.04.05.06.07.08.09.0a.0b.0c),CONTROLLER:10,"
    "controller(userdata=ff),controller(id=2)": (
        Effect("controller", punts=True, userdata=(bytes(range(1, 13)), b"", b"\xff", b"")),
        None,
    ),
    "controller(pause),resubmit(,8)": (
        Effect("resubmit", punts=True, userdata=(b"",), tables=(8,)),
        None,
    ),
    "clone(drop)": (NOTHING, None),
    "resubmit(,2),clone(resubmit(,3),clone(output:1,resubmit(,4)),resubmit(,5),"
    "controller(userdata=07)),resubmit(,6),CONTROLLER:65535": (
        Effect("output", delivers=True, punts=True, userdata=(b"\7", b""), tables=(2, 3, 4, 5, 6)),
        1,
    ),
    "clone(output:2),output:1": (DELIVERS, None),
    "clone(group:2),group:1": (Effect("group", groups=(2, 1)), None),
    "ct_clear,ct(commit,exec(set_field:0x1->ct_mark,nat))": (Effect("ct"), None),
    "ct(commit,table=4,nat(src=1.1.1.1))": (Effect("ct", tables=(4,)), None),
    "ct(commit,force,table=4,exec(move:NXM_NX_REG0[]->NXM_NX_CT_MARK[])),resubmit(,9)": (
        Effect("resubmit", tables=(4, 9)),
        None,
    ),
    "ct(commit),ct(table=7,zone=NXM_NX_REG0[0..15]),ct(table=8)": (
        Effect("ct", tables=(7, 8)),
        None,
    ),
    "resubmit:1": (Effect("resubmit", tables=(OWN_TABLE,)), None),
    "resubmit(2,3)": (Effect("resubmit", tables=(3,)), None),
    "resubmit(,3),resubmit(,3)": (Effect("resubmit", tables=(3, 3)), None),
    "resubmit(,5,ct)": (Effect("resubmit", tables=(5,)), None),
    "learn(table=1,delete_learned,cookie=0x1,limit=3,result_dst=NXM_NX_REG0[0],"
    "NXM_OF_ETH_SRC[],output:NXM_NX_REG0[])": (NOTHING, None),
    "learn(table=1,NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])": (NOTHING, None),
    "multipath(eth_src,50,modulo_n,1,0,NXM_NX_REG0[0..7])": (NOTHING, None),
    "sample(probability=3,collector_set_id=1,obs_domain_id=0,obs_point_id=0)": (NOTHING, None),
    "sample(probability=3,collector_set_id=1,obs_domain_id=0,obs_point_id=0,sampling_port=1)": (
        NOTHING,
        None,
    ),
    "sample(probability=3,collector_set_id=1,obs_domain_id=0,obs_point_id=0,sampling_port=1,"
    "egress)": (NOTHING, None),
    "encap(nsh(md_type=1)),output:1": (DELIVERS, 1),
    "decap(),delete_field:tun_metadata0,push:NXM_NX_REG0[],pop:NXM_NX_REG1[],"
    "move:NXM_NX_REG0[]->NXM_NX_REG1[],set_field:0x5->tun_id,dec_ttl(1,2)": (NOTHING, None),
    "check_pkt_larger(1500)->NXM_NX_REG0[0]": (NOTHING, None),
    "note:01.02.00.00.00.00,exit": (NOTHING, None),
    "write_metadata:0x5": (NOTHING, None),
    "clear_actions,write_actions(output:1),write_metadata:0x1,goto_table:9": (
        Effect("output", tables=(9,), goes_to=9, writes_output=True, clears=True),
        1,
    ),
    "meter:1,output:1,resubmit(,8),clear_actions,write_actions(group:1,output:2),goto_table:3": (
        Effect("output", delivers=True, tables=(8, 3), goes_to=3, writes_groups=(1,), clears=True),
        1,
    ),
    "output:2,write_actions(output:2)": (Effect("output", delivers=True, writes_output=True), 2),
    "output:2,write_actions(output:3)": (
        Effect("output", delivers=True, writes_output=True),
        None,
    ),
    "conjunction(1,1/2),conjunction(2,2/3)": (Effect("conjunction", conjunction=True), None),
    "conjunction(1,1/2),note:01.00.00.00.00.00": (Effect("conjunction", conjunction=True), None),
}
WRITES = Effect("output", writes_output=True)
SETS: dict[str, tuple[Effect, int | None]] = {
    "output:1": (WRITES, 1),
    "output:1,output:2": (WRITES, 2),
    "output:1,group:1": (Effect("group", writes_groups=(1,)), None),
    "group:1,group:2": (Effect("group", writes_groups=(2,)), None),
    "group:1,CONTROLLER:10": (Effect("group", writes_groups=(1,)), None),
    "resubmit(,5),output:1": (WRITES, 1),
    "output:1,resubmit(,5)": (WRITES, 1),
    "resubmit(,5)": (Effect("resubmit", tables=(5,)), None),
    "resubmit(,5),resubmit(,6)": (Effect("resubmit", tables=(6,)), None),
    "resubmit:1": (Effect("resubmit", tables=(OWN_TABLE,)), None),
    "resubmit(,5),ct(table=4)": (Effect("resubmit", tables=(5,)), None),
    "ct_clear,resubmit(,5)": (Effect("resubmit", tables=(5,)), None),
    "ct(table=4)": (Effect("ct", tables=(4,)), None),
    "ct(commit)": (Effect("ct"), None),
    "ct_clear,ct(table=4)": (NOTHING, None),
    "ct(table=4),ct_clear": (NOTHING, None),
    "CONTROLLER:10": (PUNTS, None),
    "CONTROLLER:10,output:1": (WRITES, 1),
    "output:1,CONTROLLER:10": (PUNTS, None),
    "TABLE": (Effect("resubmit", tables=(0,)), None),
    "NORMAL": (Effect("normal", writes_output=True), None),
    "set_queue:3,output:1": (WRITES, 1),
    "set_field:0x1->reg3": (NOTHING, None),
}


@pytest.mark.parametrize("version", recorded.VERSIONS)
def test_names_the_action_that_decides(version: str) -> None:
    lines = recorded.printed(recorded.text(f"br-actions-flows-{version}"))
    entries = recorded.flows("br-actions", version)
    found = {
        line.actions: read_instructions(entry.instructions)[0].action
        for line, entry in zip(lines, entries, strict=True)
    }
    assert found == KINDS


@pytest.mark.parametrize("version", recorded.VERSIONS)
def test_reads_what_each_form_of_an_action_does(version: str) -> None:
    lines = recorded.printed(recorded.text(f"br-effects-flows-{version}"))
    entries = recorded.flows("br-effects", version)
    found = {
        line.actions: read_instructions(entry.instructions)
        for line, entry in zip(lines, entries, strict=True)
    }
    sets = {f"write_actions({actions})": effect for actions, effect in SETS.items()}
    assert found == EFFECTS | sets


def test_an_action_set_ends_in_what_the_switch_executes() -> None:
    switch = {line.actions: line.in_action_set for line in executed.read() if line.in_action_set}
    ours = {actions: executed.outcome(effect) for actions, (effect, _output) in SETS.items()}
    assert ours | {"drop": "nothing"} == switch


@pytest.mark.parametrize("bridge", ["br-int", "br-tun", "br-provider"])
def test_neutrons_drops_are_drops_and_nothing_else_is(bridge: str) -> None:
    lines = recorded.printed(recorded.text(f"{bridge}-flows-of13"))
    for line, entry in zip(lines, recorded.flows(bridge, "of13"), strict=True):
        effect, output = read_instructions(entry.instructions)
        assert (effect == NOTHING) == (line.actions == "drop")
        assert output is None or line.actions != "drop"


@pytest.mark.parametrize("bridge", recorded.FLOW_BRIDGES)
def test_equal_instructions_have_equal_effects_that_can_be_interned(bridge: str) -> None:
    interned: dict[tuple[Effect, int | None], bytes] = {}
    for version in recorded.VERSIONS:
        for entry in recorded.flows(bridge, version):
            interned.setdefault(read_instructions(entry.instructions), entry.instructions)
    for effect, instructions in interned.items():
        assert read_instructions(instructions) == effect


APPLY = "0004 {:04x} 00000000"
WRITE = "0003 {:04x} 00000000"
UNKNOWN = {
    "ffff 0010 00002320 00fe 000000000000": "a Nicira action of some later release",
    "ffff 0010 00abcdef 0001 000000000000": "somebody else's",
    "0063 0008 00000000": "a standard one of some later version",
}


def _within(instruction: str, actions: bytes) -> bytes:
    return bytes.fromhex(instruction.format(8 + len(actions))) + actions


@pytest.mark.parametrize("action", UNKNOWN, ids=UNKNOWN.values())
@pytest.mark.parametrize("instruction", [APPLY, WRITE], ids=["list", "set"])
def test_an_unknown_action_is_other_and_may_deliver(instruction: str, action: str) -> None:
    effect, output = read_instructions(_within(instruction, bytes.fromhex(action)))
    assert (effect.action, effect.delivers, output) == ("other", True, None)
    assert read_bucket(bytes.fromhex(action)) == Effect("other", delivers=True)


def test_an_unknown_action_delivers_beside_one_that_is_known() -> None:
    actions = bytes.fromhex("0063000800000000 ffff001000002320000efff848000000")
    effect = Effect("resubmit", delivers=True, tables=(72,))
    assert read_instructions(_within(APPLY, actions)) == (effect, None)
    assert read_bucket(actions) == effect


def test_an_unknown_instruction_is_other_and_may_deliver() -> None:
    effect, _output = read_instructions(bytes.fromhex("ffff 0008 00abcdef"))
    assert effect == Effect("other", delivers=True)


def test_output_to_no_port_is_a_drop() -> None:
    instructions = bytes.fromhex("0004001800000000 00000010ffffffff0000000000000000")
    assert read_instructions(instructions) == (NOTHING, None)


@pytest.mark.parametrize("port", [0xFFFA, 0xFFFB, 0xFFFD, 0xFFFF])
def test_only_ports_get_packets_cut(port: int) -> None:
    action = bytes.fromhex(f"ffff 0010 00002320 0027 {port:04x} 00000064")
    assert read_instructions(_within(APPLY, action)) == (NOTHING, None)


@pytest.mark.parametrize(
    ("port", "output"),
    [(0xFFFFFF00, 0xFFFFFF00), (0xFFFFFF01, None), (0xFFFFFFFE, LOCAL), (0xFFFFFFFC, None)],
)
def test_a_port_is_named_only_if_it_is_one(port: int, output: int | None) -> None:
    action = bytes.fromhex(f"0000 0010 {port:08x} 0000 000000000000")
    assert read_instructions(_within(APPLY, action)) == (DELIVERS, output)


def test_clones_within_clones_cost_no_stack_and_keep_their_order() -> None:
    resubmit = "ffff 0010 00002320 000e fff8 {:02x} 000000"
    action = bytes.fromhex(resubmit.format(1))
    depth = 4000
    for _ in range(depth):
        length = len(action) + 16
        action = bytes.fromhex(f"ffff{length:04x}00002320002a000000000000") + action
    actions = action + bytes.fromhex(resubmit.format(2))
    effect, _output = read_instructions(_within(APPLY, actions))
    assert effect == Effect("resubmit", tables=(1, 2))


@pytest.mark.parametrize(
    "action",
    [
        "ffff 0008 00002320",  # no subtype
        "ffff 0010 00002320 000c 000000000000",  # bundle without a count
        "ffff 0020 00002320 000c 0000 0000 0000 00000002 0001 0000 00000000 00000000",  # a member
        "ffff 0010 00002320 0023 000000000000",  # ct without a table
        "ffff 0018 00002320 0025 000000000000 0003 0003 00000000",  # a property of 3 bytes
        "ffff 0018 00002320 0025 000000000000 0003 000c 00000000",  # one behind the end
        "ffff 0018 00002320 002a 000000000000 0000 0010 00000001",  # a clone of half an action
    ],
)
def test_refuses_actions_that_do_not_say_what_they_must(action: str) -> None:
    with pytest.raises(ParseError):
        read_instructions(_within(APPLY, bytes.fromhex(action)))


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
        read_instructions(bytes.fromhex(data))


INSTRUCTIONS = sorted({entry.instructions for entry in recorded.flows("br-effects", "of14")})
