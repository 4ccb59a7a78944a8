"""Neutron's bridges by their flows, as its Open vSwitch agent installs them."""

import pytest

from agent.model.flow import KINDS
from tests.pipelines.written import judge, kinds, tables

PATCH = frozenset({9})

FIREWALL = """
table=0,priority=65535,dl_vlan=4095 actions=drop
table=0,priority=2,in_port=7 actions=drop
table=0,priority=0 actions=resubmit(,58)
table=23,priority=0 actions=drop
table=24,priority=0 actions=drop
table=58,priority=0 actions=resubmit(,60)
table=60,priority=100,in_port=4 actions=load:0x4->NXM_NX_REG5[],resubmit(,71)
table=60,priority=90,dl_vlan=2 actions=load:0x5->NXM_NX_REG5[],strip_vlan,resubmit(,81)
table=60,priority=3 actions=NORMAL
table=71,priority=65,ip,reg5=4,in_port=4 actions=ct(table=72,zone=NXM_NX_REG6[0..15])
table=71,priority=10,reg5=4,in_port=4 actions=ct_clear,resubmit(,93)
table=71,priority=10,reg5=6 actions=ct_clear,resubmit(,93)
table=71,priority=0 actions=drop
table=72,priority=74,ct_state=+new-est,reg5=4 actions=resubmit(,73)
table=72,priority=40,ct_state=+est,ip,reg5=4 actions=ct(commit,exec(load:0x1->NXM_NX_CT_MARK[]))
table=73,priority=80,reg5=4 actions=ct(commit),resubmit(,91)
table=81,priority=90,ct_state=-trk,ip,reg5=5 actions=ct(table=82,zone=NXM_NX_REG6[0..15])
table=81,priority=1,in_port=4 actions=drop
table=82,priority=75,ct_state=+new-est,reg5=5 actions=ct(commit),output:5,resubmit(,92)
table=82,priority=50,ct_mark=0x1,reg5=5 actions=resubmit(,93)
table=91,priority=1 actions=resubmit(,94)
table=92,priority=0 actions=drop
table=93,priority=0 actions=drop
table=94,priority=1 actions=NORMAL
"""
LOGGING = """
table=91,priority=70,reg5=4 actions=resubmit(,94),CONTROLLER:65535
table=92,priority=70,reg5=5 actions=CONTROLLER:65535
table=93,priority=53,reg5=4 actions=CONTROLLER:65535
table=94,priority=2 actions=drop
"""
HYBRID = """
table=0,priority=10,arp,in_port=4 actions=resubmit(,24)
table=0,priority=9,in_port=4 actions=resubmit(,25)
table=0,priority=0 actions=resubmit(,59)
table=23,priority=0 actions=drop
table=24,priority=2,arp,in_port=4,arp_spa=10.0.0.4 actions=resubmit(,25)
table=24,priority=0 actions=drop
table=25,priority=2,in_port=4,dl_src=fa:16:3e:00:00:04 actions=resubmit(,59)
table=59,priority=0 actions=resubmit(,60)
table=60,priority=3 actions=NORMAL
"""
TUNNEL = """
table=0,priority=1,in_port=9 actions=resubmit(,2)
table=0,priority=1,in_port=2 actions=resubmit(,4)
table=0,priority=0 actions=drop
table=2,priority=0,dl_dst=00:00:00:00:00:00/01:00:00:00:00:00 actions=resubmit(,20)
table=2,priority=0,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00 actions=resubmit(,22)
table=4,priority=1,tun_id=0xef actions=mod_vlan_vid:2,resubmit(,10)
table=4,priority=0 actions=drop
table=10,priority=1 actions=learn(table=20,output:NXM_OF_IN_PORT[]),output:9
table=20,priority=0 actions=resubmit(,22)
table=22,priority=1,dl_vlan=2 actions=strip_vlan,output:2
table=22,priority=0 actions=drop
"""
PROVIDER = """
table=0,priority=4,in_port=9,dl_vlan=4 actions=strip_vlan,NORMAL
table=0,priority=2,in_port=9 actions=drop
table=0,priority=0 actions=NORMAL
"""
DISTRIBUTED_TUNNEL = (
    TUNNEL.replace("in_port=9 actions=resubmit(,2)", "in_port=9 actions=goto_table:1")
    + """
table=1,priority=2,dl_dst=fa:16:3e:00:00:01 actions=drop
table=1,priority=0 actions=goto_table:2
table=9,priority=0 actions=goto_table:10
"""
)
DISTRIBUTED_PROVIDER = """
table=0,priority=2,in_port=9 actions=goto_table:1
table=0,priority=1 actions=goto_table:3
table=1,priority=0 actions=goto_table:2
table=2,priority=4,in_port=9,dl_vlan=4 actions=strip_vlan,NORMAL
table=2,priority=2,in_port=9 actions=drop
table=3,priority=2,dl_src=fa:16:3f:00:00:01 actions=output:9
table=3,priority=1 actions=NORMAL
"""


BRIDGES = {
    "firewall": FIREWALL,
    "logging": FIREWALL + LOGGING,
    "hybrid": HYBRID,
    "tunnel": TUNNEL,
    "provider": PROVIDER,
    "distributed tunnel": DISTRIBUTED_TUNNEL,
    "distributed provider": DISTRIBUTED_PROVIDER,
}


def owners(bridge: str) -> dict[str, tuple[int, str] | None]:
    """Whose packets each lost flow loses, by its table and match."""
    fate, read = judge(bridge, patch_ports=PATCH), tables(bridge)
    return {
        f"{table} {flow.match}": fate.owners.get(table, {}).get(index)
        for table, flows in read.items()
        for index, flow in enumerate(flows)
        if KINDS[fate.kinds[table][index]] == "lost"
    }


@pytest.mark.parametrize("bridge", BRIDGES)
def test_each_of_its_bridges_is_known_by_what_it_does(bridge: str) -> None:
    assert judge(BRIDGES[bridge], patch_ports=PATCH).pipeline == "neutron"


@pytest.mark.parametrize(
    "bridge",
    [
        "table=0,priority=0 actions=NORMAL",
        "table=0,priority=0 actions=NORMAL\ntable=0,priority=2,in_port=8 actions=drop",
        "table=0 actions=resubmit(,23)\ntable=23 actions=NORMAL\ntable=24 actions=drop",
        "table=0 actions=resubmit(,2)\ntable=2 actions=resubmit(,20)\ntable=20 actions=output:1",
        "",
    ],
)
def test_other_bridges_are_not_its(bridge: str) -> None:
    assert judge(bridge, patch_ports=PATCH).pipeline == ""


def test_tables_have_the_names_of_their_bridge() -> None:
    names = {name: judge(bridge, patch_ports=PATCH).names for name, bridge in BRIDGES.items()}
    assert names["firewall"][93] == "dropped_traffic"
    assert names["hybrid"][2] == "dvr_to_src_mac_physical"
    assert names["tunnel"][2] == "patch_lv_to_tun"
    assert names["distributed provider"][2] == "local_vlan_translation"


def test_the_packet_rate_limit_moved_when_bandwidth_took_its_place() -> None:
    new, old = (judge(bridge).names for bridge in (FIREWALL, HYBRID))
    assert (new[58], new[59]) == ("packet_rate_limit", "bandwidth_rate_limit")
    assert (old.get(58), old[59]) == (None, "packet_rate_limit")


def test_the_sender_loses_before_and_the_receiver_after_the_turn() -> None:
    assert owners(FIREWALL) == {
        "0 dl_vlan=4095": None,
        "0 in_port=7": (7, "from_instance"),
        "71 reg5=4,in_port=4": (4, "from_instance"),
        "71 reg5=6": (6, "from_instance"),
        "71 ": None,
        "72 ct_state=+est,ip,reg5=4": (4, "from_instance"),
        "81 in_port=4": None,
        "82 ct_mark=0x1,reg5=5": (5, "to_instance"),
    }


def test_without_the_firewall_only_spoofing_is_seen() -> None:
    assert owners(HYBRID) == {"24 ": None}


def test_nobody_has_a_port_on_the_bridges_between() -> None:
    assert judge(TUNNEL + "table=4,priority=2,in_port=2 actions=drop").owners == {}


def test_accepted_packets_are_copied_only_to_be_logged() -> None:
    assert kinds(FIREWALL)[-3:] == ["closed", "closed", "open"]


def test_to_log_a_dropped_packet_does_not_save_it() -> None:
    logged = kinds(FIREWALL + LOGGING)
    assert logged[: len(kinds(FIREWALL))] == kinds(FIREWALL)
    assert logged[-4:] == ["open", "closed", "closed", "lost"]


def test_another_controller_answers() -> None:
    dhcp = """
    table=60,priority=101,udp,tp_src=68,tp_dst=67 actions=resubmit(,77)
    table=77,priority=100,udp,in_port=4 actions=CONTROLLER:0
    table=77,priority=0 actions=drop
    """
    assert kinds(FIREWALL + dhcp)[-3:] == ["open", "open", "lost"]


def test_what_flooding_brings_to_the_tunnel_bridge_is_no_loss() -> None:
    """By the patch port, and out of tunnels for networks that are not on the node."""
    assert kinds(TUNNEL, patch_ports=PATCH) == [
        *("open", "open", "lost", "open", "open", "open", "copy", "open", "open", "open", "patch")
    ]
    known = TUNNEL + "table=4,priority=2,tun_id=0x5 actions=drop"
    assert kinds(known, patch_ports=PATCH)[-1] == "lost"


def test_what_flooding_brings_to_a_provider_bridge_is_patch() -> None:
    assert kinds(PROVIDER, patch_ports=PATCH) == ["open", "patch", "open"]
    assert kinds(DISTRIBUTED_PROVIDER, patch_ports=PATCH)[4] == "patch"
