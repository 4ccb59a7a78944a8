import pytest

from agent.wire.openflow.match import format_match, match_scope
from agent.wire.openflow.text import unambiguous
from tests.wire.openflow import recorded


@pytest.mark.parametrize("version", recorded.VERSIONS)
@pytest.mark.parametrize("bridge", recorded.FLOW_BRIDGES)
def test_writes_every_recorded_flow_as_ofctl_does(bridge: str, version: str) -> None:
    names = unambiguous(recorded.port_names(bridge, version))
    ours = [
        (e.table_id, e.priority, e.cookie, e.packets, e.octets, format_match(e.match, names))
        for e in recorded.flows(bridge, version)
    ]
    theirs = [line[:6] for line in recorded.printed(recorded.text(f"{bridge}-flows-{version}"))]
    assert len(ours) >= 3
    assert ours == theirs


def test_a_match_of_everything_is_empty() -> None:
    assert format_match(b"", {}) == ""


@pytest.mark.parametrize(
    ("match", "text"),
    [
        ("80005a02 0005", "oxm(0x8000,45)=0x5"),
        ("80005b04 0005 00ff", "oxm(0x8000,45)=0x5/0xff"),
        ("ffff5a06 00abcdef 0007", "oxm(0xffff,45,0xabcdef)=0x7"),
        ("80000002 0005", "oxm(0x8000,0)=0x5"),
        ("80000a02 0800 80005a02 0005", "ip,oxm(0x8000,45)=0x5"),
        ("80000a02 0800 80000a02 86dd", "ip,oxm(0x8000,5)=0x86dd"),
        ("80005a00", "oxm(0x8000,45)=0x0"),
    ],
)
def test_never_drops_a_field_it_does_not_know(match: str, text: str) -> None:
    assert format_match(bytes.fromhex(match), {}) == text


@pytest.mark.parametrize(
    ("match", "text"),
    [
        ("80010008 0000000100000002", "reg0=0x1,reg1=0x2"),
        ("80010110 0000000000000002 00000000000000ff", "reg1=0x2/0xff"),
        ("0001de10 00000001 00000002 00000003 00000004", "reg0=0x1,reg1=0x2,reg2=0x3,reg3=0x4"),
        ("ffff2208 00002320 00000010", "reg16=0x10"),
        ("00000802 0000", "vlan_tci=0x0000"),
        ("00000904 1064 1fff", "dl_vlan=100"),
        ("00000904 0000 1fff", "vlan_tci=0x0000/0x1fff"),
        ("00000a01 b8", "nw_tos=184"),
        ("80000004 ffffff05", "in_port=65285"),
        ("80000004 fffffffd", "in_port=CONTROLLER"),
    ],
)
def test_reads_what_other_releases_and_controllers_send(match: str, text: str) -> None:
    assert format_match(bytes.fromhex(match), {}) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("eth0", "eth0"),
        ("tap13abc033-93", '"tap13abc033-93"'),
        ("0a", '"0a"'),
        ('a"b\\c', r'"a\"b\\c"'),
        ("a\tb\x01", r'"a\tb\u0001"'),
        ("ü1", '"ü1"'),
    ],
)
def test_quotes_port_names_as_ofctl_does(name: str, text: str) -> None:
    assert format_match(bytes.fromhex("8000000400000005"), {5: name}) == f"in_port={text}"


def test_a_name_that_two_ports_share_is_written_as_number() -> None:
    names = {1: "patch-br-int-to", 2: "patch-br-int-to", 3: "other"}
    assert format_match(bytes.fromhex("8000000400000002"), unambiguous(names)) == "in_port=2"
    assert format_match(bytes.fromhex("8000000400000003"), unambiguous(names)) == "in_port=other"


def test_finds_the_in_port_only_where_it_is_exact() -> None:
    assert match_scope(bytes.fromhex("80000a020800 80000004fffffffe")).in_port == 0xFFFFFFFE
    assert match_scope(bytes.fromhex("80000108 00000005 0000000f")).in_port is None
    assert match_scope(bytes.fromhex("80000a020800")).in_port is None


def test_keys_of_one_flow_stay_and_keys_of_two_differ() -> None:
    entries = recorded.flows("br-int", "of13")
    assert len({entry.key for entry in entries}) == len(entries)
    # Other OpenFlow version, other moment (durations, counters), same flows:
    assert {e.key for e in entries} == {e.key for e in recorded.flows("br-int", "of14")}
