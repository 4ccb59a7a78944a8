"""drops: what grew, whose it is, and how it is told."""

import json
import random
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from agent import cli
from agent.drops import as_json, text
from agent.drops.choice import NothingToCompareError, choose, devices_of, without_port
from agent.drops.growth import Snapshot, compare, obstacle
from agent.drops.printable import printable
from agent.drops.report import BOOKED, Growth, Report
from agent.model.bridge import LOCAL, LOCAL_IN_DATABASE, TableStats
from agent.model.domain import Domain, DomainInterface, Owner
from agent.model.flow import KINDS, UNKNOWN, Effect, Fate, Flow, FlowReading, Scope, TableFlows
from agent.model.instance import join
from agent.model.switch import Bridge, Interface, Port, Switch
from agent.pipelines.ledger import BridgeLedger

TAP = Interface(
    "tap1",
    ofport=4,
    mac="fe:16:3e:00:00:01",
    iface_id="648437e1-0db8-4d51-8237-84c4dbd8d6e2",
    vm_uuid="2337b0eb-372c-43b8-923e-90a89337d211",
    attached_mac="fa:16:3e:00:00:01",
)
OTHER = Interface("tap2", ofport=5)
DEAD = Interface("tap3", error="could not open network device tap3 (No such device)")
LOCAL_PORT = Interface("br-int", type="internal", ofport=LOCAL_IN_DATABASE)
SWITCH = Switch(
    bridges=(
        Bridge("br-int", ports=tuple(Port(i.name, (i,)) for i in (LOCAL_PORT, TAP, OTHER, DEAD))),
        Bridge("br-tun", ports=(Port("patch-int", (Interface("patch-int", ofport=1),)),)),
    )
)
DOMAIN = Domain(
    "2337b0eb-372c-43b8-923e-90a89337d211",
    "instance-00000007",
    1,
    (DomainInterface("ethernet", "fa:16:3e:00:00:01", "tap1", "virtio"),),
    Owner("instance02", project_name="demo"),
)
INSTANCES = join(SWITCH, {DOMAIN.uuid: DOMAIN}, None)
FLOWS = (
    Flow(71, 10, 'reg5=0x4,in_port="tap1"', 0x1F, Scope(in_port=4), Effect("resubmit")),
    Flow(71, 9, "reg5=0x5", 0x1F, Scope(reg5=5), Effect("resubmit")),
    Flow(71, 8, "ct_state=+inv+trk", 0x1F, Scope(), Effect("resubmit")),
    Flow(71, 7, 'in_port="tap2"', 0x1F, Scope(in_port=5)),
    Flow(71, 0, "", 0x1F, Scope(), Effect("normal", delivers=True)),
)
FATE = Fate(
    kinds={71: np.array([KINDS.index(k) for k in ("lost", "lost", "lost", "patch", "open")])},
    owners={71: {0: (4, "from_instance"), 1: (5, "from_instance")}},
    names={71: "base_egress"},
    pipeline="neutron",
)


def table(
    packets: Iterable[int],
    before: list[int] | None = None,
    flows: tuple[Flow, ...] = FLOWS,
    octets: Iterable[int] | None = None,
) -> TableFlows:
    counts = np.array(list(packets), np.uint64)
    size = counts * np.uint64(100) if octets is None else np.array(list(octets), np.uint64)
    at = None if before is None else np.array(before, np.int64)
    return TableFlows(71, flows, counts, size, at)


def snapshot(
    seconds: float, *tables: TableFlows, fate: Fate = FATE, matches: int = 100, lookups: int = 100
) -> Snapshot:
    return Snapshot(
        seconds,
        FlowReading("br-int", tables, fate),
        (TableStats(71, len(FLOWS), lookups, matches),),
    )


def growth(
    first: TableFlows | None, second: TableFlows, only: frozenset[int] | None = None
) -> Growth:
    before = snapshot(0.0, *([] if first is None else [first]))
    return compare(before, snapshot(10.0, second), SWITCH.ports("br-int"), only, INSTANCES)


def packets(of: Growth) -> dict[str, int]:
    return {one.flow.match: one.packets for one in of.grown}


# -- growth ----------------------------------------------------------------------------------------


def test_names_what_grew_and_whose_it_is() -> None:
    found = growth(table([10, 20, 30, 40, 50]), table([17, 20, 30, 41, 90]))
    assert [(one.kind, one.packets, one.octets) for one in found.grown] == [
        ("lost", 7, 700),
        ("patch", 1, 100),
    ]
    lost, patch = found.grown
    assert (lost.interface, lost.direction, lost.table_name) == (
        TAP,
        "from_instance",
        "base_egress",
    )
    assert lost.packets_per_second == 0.7
    assert (patch.interface, patch.direction) == (OTHER, None)
    assert (found.tables, found.flows, found.seconds) == (1, 5, 10.0)
    assert found.watched == {"lost": 3, "copy": 0, "patch": 1}


def test_a_flow_that_was_not_there_counts_from_zero() -> None:
    second = table([4, 12, 20, 30, 40, 50], [-1, 0, 1, 2, 3, 4], (*FLOWS[:1], *FLOWS))
    fate = replace(FATE, kinds={71: np.insert(FATE.kinds[71], 0, KINDS.index("lost"))}, owners={})
    found = compare(snapshot(0, table([10, 20, 30, 40, 50])), snapshot(1, second, fate=fate), {})
    assert [one.packets for one in found.grown] == [4, 2]


def test_a_table_that_had_no_flows_counts_from_zero() -> None:
    assert packets(growth(None, table([1, 0, 2, 0, 9], [-1] * 5))) == {
        FLOWS[0].match: 1,
        FLOWS[2].match: 2,
    }


def test_a_flow_that_counts_less_than_before_counts_from_zero() -> None:
    found = growth(table([10, 20, 30, 40, 50]), table([3, 20, 30, 40, 50]))
    assert packets(found) == {FLOWS[0].match: 3}


def test_a_number_that_is_not_known_has_no_growth() -> None:
    unknown = int(UNKNOWN)
    assert not growth(table([unknown, 1, 1, 1, 1]), table([5, 1, 1, 1, 1])).grown
    assert not growth(table([5, 1, 1, 1, 1]), table([unknown, 1, 1, 1, 1])).grown
    second = table([6, 1, 1, 1, 1], octets=[unknown, 0, 0, 0, 0])
    [one] = growth(table([5, 1, 1, 1, 1]), second).grown
    assert (one.packets, one.octets) == (1, None)


def test_flows_that_were_reset_or_only_missing_count_as_the_ledgers_count_them() -> None:
    second = replace(
        table([12, 26, 30, 40, 50], [0, -1, 2, 3, 4]),
        restarted=(0,),
        returned={1: (20, 2000)},
    )
    found = growth(table([10, 20, 30, 40, 50]), second)
    assert {one.flow.match: (one.packets, one.octets) for one in found.grown} == {
        FLOWS[0].match: (12, 1200),
        FLOWS[1].match: (6, 600),
    }


def test_a_flow_that_was_changed_in_between_is_not_blamed_for_what_it_delivered_before() -> None:
    before = Fate(kinds={71: FATE.kinds[71].copy()})
    before.kinds[71][0] = KINDS.index("open")
    first = snapshot(0, table([0] * 5), fate=before)
    found = compare(first, snapshot(1, table([7, 2, 0, 0, 0])), {})
    assert packets(found) == {FLOWS[1].match: 2}
    assert found.changed == 7
    said = text.write(Report(BOOKED, None, (found,)))
    assert "not judged: 7 packets met flows that were changed in between\n" in said
    anew = replace(table([7, 2, 0, 0, 0]), restarted=(0,))
    assert packets(compare(first, snapshot(1, anew), {}))[FLOWS[0].match] == 7


def test_adds_up_to_what_the_ledgers_book() -> None:
    """Whatever came, went, moved, was changed or set to zero in between."""
    chance = random.Random(20)  # noqa: S311 - not cryptography
    for _ in range(200):
        old = chance.sample(range(60), chance.randint(0, 40))
        new = chance.sample(range(60), chance.randint(1, 40))
        first = _numbered(old, chance)
        stayed = tuple(at for at, n in enumerate(new) if n in old)
        second = replace(
            _numbered(new, chance),
            before=np.array([old.index(n) if n in old else -1 for n in new], np.int64),
            restarted=tuple(at for at in stayed if chance.random() < 0.1),
        )
        before, after = _judged(old, chance), _judged(new, chance)
        ledger = BridgeLedger()
        ledger.add([first] if old else [], {}, before, {}, restarted=False)
        ledger.add([second], {}, after, {}, restarted=False)
        # Nothing grows any more: a row that is new shows what was booked in it one reading later.
        still = replace(second, before=None, restarted=())
        booked = ledger.add([still], {}, after, {}, restarted=False).dropped
        found = compare(
            snapshot(0, *([first] if old else []), fate=before), snapshot(1, second, fate=after), {}
        ).grown
        for kind in BOOKED:
            assert sum(one.packets for one in found if one.kind == kind) == booked[71, kind]


def _judged(numbers: list[int], chance: random.Random) -> Fate:
    """Judge each flow by its number, but a few otherwise."""
    kinds = [(n + (chance.random() < 0.1)) % len(KINDS) for n in numbers]
    return Fate(kinds={71: np.array(kinds, np.uint8)} if numbers else {})


def _numbered(numbers: list[int], chance: random.Random) -> TableFlows:
    flows = tuple(Flow(71, 1, f"reg0={n}", 0) for n in numbers)
    return table([chance.choice([0, 3, 9, 1 << 40, int(UNKNOWN)]) for _ in numbers], None, flows)


def test_shows_only_flows_of_the_ports_that_were_asked_for_and_says_what_else_may_be_theirs() -> (
    None
):
    before, after = table([0] * 5), table([1, 2, 4, 8, 16])
    found = growth(before, after, frozenset({5}))
    assert packets(found) == {FLOWS[1].match: 2, FLOWS[3].match: 8}
    assert found.watched == {"lost": 1, "copy": 0, "patch": 1}
    assert found.shared == 4
    assert growth(before, after).shared == 0


def test_tells_what_the_judgement_does_not_see() -> None:
    first = snapshot(0, table([0] * 5), matches=100, lookups=110)
    second = snapshot(9, table([0] * 5), matches=130, lookups=143)
    totals = replace(first.reading.totals, unattributed={71: 5})
    later = replace(totals, unattributed={71: 12, 72: 0})
    first = replace(first, reading=replace(first.reading, totals=totals))
    second = replace(second, reading=replace(second.reading, totals=later))
    found = compare(first, second, {})
    assert [(one.table_id, one.table_name, one.packets) for one in found.unattributed] == [
        (71, "base_egress", 7)
    ]
    assert [(one.table_id, one.packets) for one in found.missed] == [(71, 3)]


def test_readings_that_cannot_be_compared_are_not() -> None:
    good = snapshot(0, table([0] * 5))
    good = replace(good, reading=replace(good.reading, process=7))
    assert obstacle(good, snapshot(1, table([0] * 5))) is None  # a process that is not known
    for second, reason in (
        (snapshot(1, table([0] * 5), matches=99), "started anew"),
        (replace(good, tables=()), "started anew"),
        (replace(good, reading=replace(good.reading, process=8)), "started anew"),
        (replace(good, tables=None), "table statistics"),
        (snapshot(1, table([0] * 5), fate=Fate()), "cannot be judged"),
    ):
        assert reason in (obstacle(good, second) or "")


# -- choice ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tap1", TAP.iface_id, "FA:16:3E:00:00:01", "fe:16:3e:00:00:01"])
def test_an_interface_is_known_by_its_name_its_neutron_port_and_its_addresses(name: str) -> None:
    assert choose(SWITCH, None, name) == {"br-int": frozenset({4})}


@pytest.mark.parametrize("name", [DOMAIN.uuid.upper(), "instance-00000007", "instance02"])
def test_an_instance_is_known_by_its_id_its_name_and_its_domain(name: str) -> None:
    assert choose(SWITCH, None, None, devices_of(name, INSTANCES)) == {"br-int": frozenset({4})}


def test_says_which_instances_there_are_and_which_have_nothing_here() -> None:
    with pytest.raises(NothingToCompareError) as raised:
        devices_of("instance03", INSTANCES)
    assert raised.value.lines == ("no instance instance03; there are: instance-00000007",)
    with pytest.raises(NothingToCompareError) as raised:
        choose(SWITCH, "br-tun", None, frozenset({"tap1"}))
    assert raised.value.lines == ("no interface of it on Open vSwitch; there are: tap1",)


def test_says_which_of_the_interfaces_cannot_be_watched_beside_those_that_can() -> None:
    devices = frozenset({"tap1", "tap3"})
    assert choose(SWITCH, None, None, devices) == {"br-int": frozenset({4})}
    (said,) = without_port(SWITCH, None, None, devices)
    assert said.startswith("tap3 on br-int has no OpenFlow port: could not open")
    assert without_port(SWITCH, None, "tap1") == without_port(SWITCH, None, None) == []
    assert without_port(SWITCH, "br-tun", None, devices) == []


def test_an_instance_is_watched_on_every_bridge_and_behind_a_hybrid_plug() -> None:
    hybrid = DomainInterface("bridge", "fa:16:3e:00:00:02", "tap4", "virtio", "qbr4")
    qvo = Interface("qvo4", ofport=9, vm_uuid=DOMAIN.uuid, attached_mac=hybrid.mac)
    br_ex = Bridge("br-ex", ports=(Port("qvo4", (qvo,)),))
    switch = replace(SWITCH, bridges=(*SWITCH.bridges, br_ex))
    both = replace(DOMAIN, interfaces=(*DOMAIN.interfaces, hybrid))
    devices = devices_of("instance02", join(switch, {DOMAIN.uuid: both}, None))
    assert devices == {"tap1", "tap4", "qvo4"}
    chosen = {"br-int": frozenset({4}), "br-ex": frozenset({9})}
    assert choose(switch, None, None, devices) == chosen
    assert not without_port(switch, None, None, devices)


def test_all_bridges_are_watched_unless_one_is_named() -> None:
    assert choose(SWITCH, None, None) == {"br-int": None, "br-tun": None}
    assert choose(SWITCH, "br-tun", None) == {"br-tun": None}


def test_the_port_of_the_bridge_itself_has_its_openflow_number() -> None:
    assert choose(SWITCH, "br-int", "br-int") == {"br-int": frozenset({LOCAL})}
    assert SWITCH.ports("br-int")[LOCAL] is LOCAL_PORT


@pytest.mark.parametrize(
    ("bridge", "interface", "said"),
    [
        ("br-x", None, "no bridge br-x; there are: br-int, br-tun"),
        ("br-tun", "tap1", "no interface tap1; there are: patch-int"),
        (None, "tap3", "tap3 on br-int has no OpenFlow port: could not open network device tap3"),
    ],
)
def test_says_what_there_is_instead(bridge: str | None, interface: str | None, said: str) -> None:
    with pytest.raises(NothingToCompareError) as raised:
        choose(SWITCH, bridge, interface)
    assert raised.value.lines[0].startswith(said)


def test_a_switch_without_bridges_has_nothing_to_watch() -> None:
    with pytest.raises(NothingToCompareError, match="no bridge; there are: none"):
        choose(Switch(), None, None)


# -- printing --------------------------------------------------------------------------------------


def report(
    second: TableFlows, *, all_kinds: bool = False, problems: tuple[str, ...] = ()
) -> Report:
    found = growth(table([0] * 5), second)
    return Report(BOOKED if all_kinds else BOOKED[:1], None, (found,), problems)


def test_prints_the_flows_that_lost_most_first() -> None:
    said = text.write(report(table([7, 12, 0, 3, 99])))
    assert said == (
        "5 flows in 1 table of br-int, read twice, 10.0 s apart\n"
        "\n"
        "packets  packets/s  bytes  kind  bridge  table           interface  direction\n"
        "     12        1.2   1200  lost  br-int  71 base_egress  tap2       from_instance\n"
        "    priority=9,reg5=0x5  action=resubmit  cookie=0x1f\n"
        "      7        0.7    700  lost  br-int  71 base_egress  tap1       from_instance\n"
        '    priority=10,reg5=0x4,in_port="tap1"  action=resubmit  cookie=0x1f'
        "  iface-id=648437e1-0db8-4d51-8237-84c4dbd8d6e2\n"
        "    vm-uuid=2337b0eb-372c-43b8-923e-90a89337d211  attached-mac=fa:16:3e:00:00:01"
        "  domain=instance-00000007\n"
        "    instance=instance02  project=demo\n"
        "\n"
        "lost: 19 packets, 1.9/s, in 2 flows\n"
        "copy: 0 packets, 0.0/s, in 0 flows\n"
        "patch: 3 packets, 0.3/s, in 1 flow (--all-kinds lists them)\n"
        "not judged: 0 packets matched flows that are gone or not listed\n"
        "not judged: 0 packets matched no flow of a table, not necessarily lost\n"
    )


def test_all_kinds_are_printed_on_demand() -> None:
    said = text.write(report(table([7, 0, 0, 3, 99]), all_kinds=True))
    assert 'priority=7,in_port="tap2"  action=drop' in said
    assert "--all-kinds" not in said


def test_says_so_when_nothing_grew_and_what_was_watched() -> None:
    said = text.write(report(table([0, 0, 0, 0, 99]), problems=("br-x: refused: no",)))
    assert "\nnothing grew of 3 flows of kind lost\n" in said
    assert said.endswith("\nnot compared: br-x: refused: no\n")


def test_a_long_list_is_cut_and_a_long_match_has_a_line_of_its_own() -> None:
    flows = tuple(Flow(71, n, "x" * 150, 0, Scope(), Effect()) for n in range(130))
    second = table([*range(1, 131)], [-1] * 130, flows)
    fate = Fate(kinds={71: np.full(130, KINDS.index("lost"), np.uint8)})
    found = compare(snapshot(0), snapshot(1, second, fate=fate), {})
    lines = text.write(Report(BOOKED[:1], None, (found,))).splitlines()
    assert lines[3].split()[0] == "130"
    assert lines[4] == f"    priority=129,{'x' * 150}"
    assert lines[5] == "    action=drop  cookie=0x0"
    assert "and 30 flows more with 465 packets (--json lists all)" in lines
    assert max(len(line) for line in lines if "xxx" not in line) <= 120
    assert len(json.loads(as_json.write(Report(BOOKED[:1], None, (found,))))["flows"]) == 130


def test_a_name_from_the_switch_cannot_reach_the_terminal() -> None:
    evil = "tap\x1b]0;x\x07\r\n\u202e\x9b\x7f"
    flows = (replace(FLOWS[0], match=f"in_port={evil}"), *FLOWS[1:])
    interface = replace(TAP, name=evil, vm_uuid=evil)
    second = snapshot(10, table([7, 0, 0, 0, 0], None, flows))
    found = compare(snapshot(0, table([0] * 5)), second, {4: interface})
    written = Report(BOOKED, evil, (replace(found, bridge=evil),), (evil,))
    for said in (text.write(written), as_json.write(written)):
        assert all(each.isprintable() or each in "\n\x7f" for each in said)
    assert "\x7f" not in text.write(written)
    assert "\\u001b]0;x\\u0007" in text.write(written)
    assert printable("tap1 ü") == "tap1 ü"


def test_a_slow_loss_is_not_printed_as_none() -> None:
    found = growth(table([0] * 5), table([1, 0, 0, 0, 0]))
    slow = replace(found.grown[0], packets_per_second=1 / 3600)
    assert " 0.0003 " in text.write(Report(BOOKED, None, (replace(found, grown=(slow,)),)))


def test_the_json_object_has_the_keys_that_its_documentation_names() -> None:
    said = json.loads(as_json.write(report(table([7, 0, 0, 3, 99]))))
    assert said == {
        "bridges": [
            {
                "bridge": "br-int",
                "seconds": 10.0,
                "pipeline": "neutron",
                "tables": 1,
                "flows": 5,
                "watched": {"lost": 3, "copy": 0, "patch": 1},
            }
        ],
        "flows": [
            {
                "bridge": "br-int",
                "table": 71,
                "table_name": "base_egress",
                "kind": "lost",
                "packets": 7,
                "packets_per_second": 0.7,
                "bytes": 700,
                "interface": "tap1",
                "direction": "from_instance",
                "iface_id": TAP.iface_id,
                "vm_uuid": TAP.vm_uuid,
                "attached_mac": TAP.attached_mac,
                "domain": "instance-00000007",
                "instance_id": DOMAIN.uuid,
                "instance_name": "instance02",
                "project_name": "demo",
                "priority": 10,
                "match": 'reg5=0x4,in_port="tap1"',
                "action": "resubmit",
                "cookie": "0x1f",
            }
        ],
        "totals": {
            "lost": {"flows": 1, "packets": 7, "packets_per_second": 0.7, "bytes": 700},
            "copy": {"flows": 0, "packets": 0, "packets_per_second": 0, "bytes": 0},
            "patch": {"flows": 1, "packets": 3, "packets_per_second": 0.3, "bytes": 300},
        },
        "shared_packets": None,
        "changed_packets": 0,
        "unattributed": [],
        "missed": [],
        "problems": [],
    }
    documented = as_json.__doc__ or ""
    keys = {*said, *said["bridges"][0], *said["flows"][0], *said["totals"]["lost"]}
    assert {key for key in keys if f"``{key}``" not in documented} == set()


# -- the command line ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--bridge=br-int"],
        ["run", "--interface=tap1"],
        ["once", "--json"],
        ["metrics", "--all-kinds"],
        ["--seconds=5"],
        ["drops", "--format=json"],
        ["drops", "--seconds=0.5"],
        ["drops", "--seconds=3601"],
        ["drops", "--seconds=nan"],
        ["drops", "--seconds=long"],
    ],
)
def test_options_that_do_not_belong_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "belongs to" in said or "is not 1 to 3600" in said


def test_the_help_shows_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    said = capsys.readouterr().out
    for option in ("--bridge", "--interface", "--seconds", "--all-kinds", "--json", "drops:"):
        assert option in said


def test_a_node_without_open_vswitch_has_nothing_to_watch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATAPLANE_AGENT_OVS__ENABLED", "false")
    assert cli.main(["drops"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "Open vSwitch is switched off: ovs.enabled is false\n"
