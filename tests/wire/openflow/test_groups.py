import re

import pytest

from agent.errors import ParseError
from agent.model.flow import OWN_TABLE, Effect, Group
from agent.wire.openflow import messages as of
from tests.wire.openflow import executed, recorded

OUTPUT = Effect("output", delivers=True)
NOTHING = Effect()
GROUPS = {
    101: Group(101, sends_copies=True, buckets=(OUTPUT, OUTPUT, Effect("resubmit", tables=(5,)))),
    102: Group(102, sends_copies=False, buckets=(OUTPUT, Effect("ct", tables=(4,)))),
    103: Group(103, sends_copies=False, buckets=(Effect("resubmit", tables=(4,)), NOTHING)),
    104: Group(104, sends_copies=False, buckets=(Effect("group", groups=(101,)),)),
    105: Group(105, sends_copies=False, buckets=(OUTPUT, Effect("resubmit", tables=(7,)))),
    106: Group(106, sends_copies=True, buckets=()),
    0xFFFFFF00: Group(0xFFFFFF00, sends_copies=True, buckets=(OUTPUT,)),
}
BUCKETS = {
    "output:1,output:2": OUTPUT,
    "output:1,group:1": Effect("group", groups=(1,)),
    "group:1,group:2": Effect("group", groups=(2,)),
    "resubmit(,5),resubmit(,6)": Effect("resubmit", tables=(6,)),
    "resubmit:1": Effect("resubmit", tables=(OWN_TABLE,)),
    "ct(table=4),ct_clear": NOTHING,
    "output:1,CONTROLLER:10": Effect("controller", punts=True, userdata=(b"",)),
    "TABLE": Effect("resubmit", tables=(0,)),
    "NORMAL": Effect("normal", delivers=True),
    "controller(userdata=01)": NOTHING,
    "controller(userdata=01),output:1": OUTPUT,
    "clone(output:1)": NOTHING,
    "output:NXM_NX_REG0[]": NOTHING,
    "bundle(eth_src,0,hrw,ofport,members:1)": NOTHING,
}


def _bodies(version: str) -> list[bytes]:
    return recorded.bodies(f"br-effects-groups-{version}", of.Multipart.GROUP_DESC)


@pytest.mark.parametrize("version", recorded.VERSIONS)
def test_reads_the_groups_that_ofctl_prints(version: str) -> None:
    groups = of.parse_group_desc(_bodies(version))
    printed = re.findall(
        r"group_id=(\d+),type=(\w+)(.*)", recorded.text(f"br-effects-groups-{version}")
    )
    assert {
        int(number): (kind == "all", rest.count("bucket=")) for number, kind, rest in printed
    } == {number: (group.sends_copies, len(group.buckets)) for number, group in groups.items()}
    assert {number: groups[number] for number in GROUPS} == GROUPS


@pytest.mark.parametrize("version", recorded.VERSIONS)
def test_a_bucket_ends_in_what_the_switch_executes(version: str) -> None:
    groups = of.parse_group_desc(_bodies(version))
    ours: dict[str, Effect] = {}
    for number, line in enumerate(executed.read(), start=1):
        (ours[line.actions],) = groups[number].buckets
        assert executed.outcome(ours[line.actions]) == line.in_bucket, line.actions
    assert ours.items() >= BUCKETS.items()


def test_a_bridge_without_groups_has_none() -> None:
    assert of.parse_group_desc([b""]) == {}


ONE = "0028 00 00 00000001 0020 0000 ffffffff ffffffff 00000000 0000 0010 00000001 0000000000000000"


def test_reads_the_sample() -> None:
    groups = of.parse_group_desc([bytes.fromhex(ONE)])
    assert groups == {1: Group(1, sends_copies=True, buckets=(OUTPUT,))}


@pytest.mark.parametrize(
    ("at", "value"), [(0, 0), (0, 7), (0, 41), (8, 0), (8, 15), (8, 31), (8, 33)]
)
def test_refuses_an_impossible_length(at: int, value: int) -> None:
    body = bytearray.fromhex(ONE)
    body[at : at + 2] = value.to_bytes(2, "big")
    with pytest.raises(ParseError):
        of.parse_group_desc([bytes(body)])


@pytest.mark.parametrize("end", [1, 7, 8, 12, 24, 39])
def test_refuses_a_group_that_is_cut(end: int) -> None:
    with pytest.raises(ParseError):
        of.parse_group_desc([bytes.fromhex(ONE)[:end]])
