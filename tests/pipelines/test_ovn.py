"""OVN's integration bridge: recorded, and the tables of other releases."""

from pathlib import Path

import pytest

from agent.model.flow import KINDS
from tests.pipelines.written import Tables, counted, judge, kinds

RECORDED = (Path(__file__).parent / "fixtures" / "ovn-23.03.txt").read_text(encoding="utf-8")
PROVIDER_PATCH = frozenset({3})

SMALL = """
table=0,priority=100,in_port=1 actions=load:0x1->OXM_OF_METADATA[],resubmit(,8)
table=8,priority=50,metadata=0x1 actions=resubmit(,9)
table=9,priority=100,metadata=0x1,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00 actions=resubmit(,37)
table=9,priority=50,reg14=0x1,metadata=0x1 actions=drop
table=9,priority=50,reg14=0x2,metadata=0x1 actions=drop
table=9,priority=40,reg14=0x1,metadata=0x1,reg15=0x2 actions=drop
table=9,priority=30,metadata=0x1 actions=drop
table=37,priority=0 actions=resubmit(,38)
table=38,priority=100,reg15=0x8000,metadata=0x1 actions=resubmit(,39),resubmit(,39)
table=38,priority=100,reg15=0x1,metadata=0x1 actions=resubmit(,39)
table=39,priority=100,reg10=0/0x1,reg14=0x1,reg15=0x1,metadata=0x1 actions=drop
table=39,priority=0 actions=load:0->NXM_NX_REG0[],resubmit(,40)
table=40,priority=50,reg15=0x1,metadata=0x1 actions=drop
table=40,priority=10,metadata=0x1 actions=resubmit(,64)
table=64,priority=0 actions=resubmit(,65)
table=65,priority=100,reg15=0x1,metadata=0x1 actions=output:11
table=65,priority=100,reg15=0x2,metadata=0x1 actions=output:12
table=65,priority=100,reg15=0x3,metadata=0x1 actions=output:3
"""
LOG = "controller(userdata=00.00.00.07.00.00.00.00.01.06.64.65.6e.79)"
PUT_ARP = "controller(userdata=00.00.00.01.00.00.00.00)"


def recorded() -> tuple[Tables, dict[int, list[int]]]:
    flows: Tables = {}
    packets: dict[int, list[int]] = {}
    for line in RECORDED.splitlines():
        flow, count = counted(line)
        flows[flow.table_id] = (*flows.get(flow.table_id, ()), flow)
        packets.setdefault(flow.table_id, []).append(count)
    return flows, packets


def test_a_recorded_node_loses_what_was_dropped_and_nothing_that_was_delivered() -> None:
    flows, packets = recorded()
    fate = judge(flows, {}, PROVIDER_PATCH)
    booked = {
        (KINDS[code], fate.names.get(table, str(table)), flows[table][index].match): (
            packets[table][index],
            fate.owners.get(table, {}).get(index),
        )
        for table, codes in fate.kinds.items()
        for index, code in enumerate(codes.tolist())
        if KINDS[code] in ("lost", "copy", "patch") and packets[table][index]
    }
    assert fate.pipeline == "ovn"
    assert booked == {
        ("lost", "chk_in_port_sec", "reg14=0x1,metadata=0x1"): (8, (1, "from_instance")),
        ("lost", "46", "udp,reg0=0x200/0x200,reg15=0x1,metadata=0x1"): (3, (1, "to_instance")),
        ("lost", "46", "ip,reg0=0x200/0x200,reg15=0x2,metadata=0x2"): (7, (12, "to_instance")),
        ("copy", "11", "arp,metadata=0x3"): (15, None),
        ("copy", "check_loopback", "reg10=0/0x1,reg14=0x1,reg15=0x1,metadata=0x1"): (10, None),
        ("copy", "check_loopback", "reg10=0/0x1,reg14=0x2,reg15=0x2,metadata=0x1"): (5, None),
    }


def test_a_recorded_node_has_the_names_of_its_release() -> None:
    fate = judge(recorded()[0], {}, PROVIDER_PATCH)
    present = {table: name for table, name in fate.names.items() if table in fate.kinds}
    assert present == {
        0: "phy_to_log",
        8: "log_ingress_pipeline",
        37: "output_large_pkt_detect",
        38: "output_large_pkt_process",
        39: "remote_output",
        40: "local_output",
        41: "check_loopback",
        42: "log_egress_pipeline",
        64: "save_inport",
        65: "log_to_phy",
        66: "mac_binding",
        67: "mac_lookup",
        68: "chk_lb_hairpin",
        70: "ct_snat_hairpin",
        73: "chk_in_port_sec",
        74: "chk_in_port_sec_nd",
        75: "chk_out_port_sec",
    }


def test_helpers_that_are_called_and_come_back_lose_nothing() -> None:
    kinds_of = judge(recorded()[0], {}, PROVIDER_PATCH).kinds
    assert {KINDS[code] for table in (66, 67, 68, 70) for code in kinds_of[table]} == {"closed"}


def test_ports_are_those_that_the_last_table_sends_to() -> None:
    fate = judge(SMALL, patch_ports=PROVIDER_PATCH)
    assert fate.owners == {
        9: {1: (11, "from_instance"), 2: (12, "from_instance"), 3: (12, "to_instance")},
        40: {0: (11, "to_instance")},
    }


def test_a_drop_in_the_egress_pipeline_is_lost_although_copies_go_through_it() -> None:
    assert kinds(SMALL)[12] == "lost"
    only_copies = SMALL.replace(
        "table=38,priority=100,reg15=0x1,metadata=0x1 actions=resubmit(,39)\n", ""
    )
    assert kinds(only_copies)[11] == "copy"


def test_the_loopback_check_drops_copies() -> None:
    assert kinds(SMALL)[10] == "copy"


def test_what_must_stay_on_the_node_is_kept_from_the_provider_network() -> None:
    local = "priority=160,reg10=0x10/0x10,reg15=0x3,metadata=0x1 actions=drop"
    assert kinds(f"{SMALL}table=39,{local}")[-1] == "copy"
    assert kinds(f"{SMALL}table=40,{local}")[-1] == "lost"


def test_equal_ports_elsewhere_are_no_loopback_check() -> None:
    elsewhere = SMALL + "table=9,priority=60,reg14=0x1,reg15=0x1,metadata=0x1 actions=drop"
    assert kinds(elsewhere)[-1] == "lost"


ROUTER = (
    SMALL
    + """
table=8,priority=50,reg14=0x1,metadata=0x3,dl_dst=fa:16:3e:00:00:99 actions=resubmit(,9)
table=9,priority=90,metadata=0x3 actions=resubmit(,40)
table=40,priority=90,metadata=0x3 actions=resubmit(,64)
"""
)


@pytest.mark.parametrize(
    ("match", "kind"),
    [
        ("arp,metadata=0x3", "copy"),
        ("icmp6,metadata=0x3,nw_ttl=255,icmp_type=135,icmp_code=0", "copy"),
        ("metadata=0x3,dl_dst=ff:ff:ff:ff:ff:ff", "copy"),
        ("ip,metadata=0x3,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,nw_dst=224.0.0.0/4", "copy"),
        ("ip,metadata=0x3,nw_dst=224.0.0.0/4", "copy"),
        ("ipv6,metadata=0x3,ipv6_dst=ff00::/8", "copy"),
        ("arp,metadata=0x1", "lost"),
        ("arp,reg14=0x1,metadata=0x1", "lost"),
        # of an address that another chassis answers for
        ("arp,reg14=0x1,metadata=0x3,arp_tpa=203.0.113.5,arp_op=1", "copy"),
        ("ip,metadata=0x3,nw_src=0.0.0.0/8", "copy"),  # DHCP, before anybody has an address
        ("ip,metadata=0x1,nw_src=0.0.0.0/8", "lost"),
        ("ip,metadata=0x3,nw_src=10.0.0.0/8", "lost"),
        ("metadata=0x3,dl_dst=fa:16:3e:00:00:01", "lost"),
        ("metadata=0x3,dl_src=01:00:00:00:00:00/01:00:00:00:00:00", "lost"),
        ("ip,metadata=0x3,nw_dst=10.0.0.254", "lost"),
        ("ip,metadata=0x3,nw_src=224.0.0.0/4", "lost"),
        ("icmp,metadata=0x3,icmp_type=13", "lost"),
        ("ip,metadata=0x3,nw_ttl=1", "lost"),
        ("metadata=0x3", "lost"),
    ],
)
def test_a_router_drops_copies_of_what_its_switches_flood(match: str, kind: str) -> None:
    assert kinds(f"{ROUTER}table=9,priority=95,{match} actions=drop")[-1] == kind


def test_floods_of_a_provider_network_that_are_somebodys_elsewhere_are_copies() -> None:
    """ls_in_external_port drops them where they come in, by the localnet port."""
    localnet = "table=9,priority=95,arp,reg14=0x3,metadata=0x1,arp_op=1 actions=drop"
    assert kinds(SMALL + localnet, patch_ports=PROVIDER_PATCH)[-1] == "copy"
    assert kinds(SMALL + localnet.replace("reg14=0x3", "reg14=0x1"))[-1] == "lost"
    unicast = localnet.replace("arp,", "ip,").replace(",arp_op=1", "")
    assert kinds(SMALL + unicast, patch_ports=PROVIDER_PATCH)[-1] == "lost"


def test_a_port_that_is_migrating_here_loses_nothing_that_its_old_chassis_delivers() -> None:
    """activation-strategy=rarp: until its first packet the port gets nothing, and all is sent."""
    waiting = "table=65,priority=1000,reg15=0x1,metadata=0x1 actions=drop"
    assert kinds(SMALL + waiting)[-1] == "copy"
    assert kinds(SMALL + waiting.replace("reg15=0x1", "reg15=0x9"))[-1] == "lost"


def test_a_switch_without_a_port_of_an_instance_here_is_no_router() -> None:
    """A gateway node has the provider network's switch, with a localnet port and a router's."""
    switch = """
table=8,priority=50,metadata=0x5 actions=resubmit(,9)
table=9,priority=80,ip,metadata=0x5,nw_dst=224.0.0.0/4 actions=drop
"""
    assert kinds(SMALL + switch)[-1] == "lost"


def test_what_a_provider_bridge_floods_into_the_patch_port_is_no_loss() -> None:
    default = SMALL + "table=0,priority=0 actions=drop"
    assert kinds(default, patch_ports=PROVIDER_PATCH)[-1] == "copy"
    assert kinds(default)[-1] == "lost", "nobody floods to a bridge of its own"


@pytest.mark.parametrize(
    ("actions", "kind"),
    [
        (LOG, "lost"),
        (f"{LOG},resubmit(,9)", "open"),
        (PUT_ARP, "open"),
        (f"{LOG},{PUT_ARP}", "open"),
        ("CONTROLLER", "open"),
        ("controller(userdata=00.00)", "open"),
    ],
)
def test_to_log_a_dropped_packet_does_not_save_it(actions: str, kind: str) -> None:
    assert kinds(SMALL + f"table=8,priority=99,metadata=0x1 actions={actions}")[-1] == kind


RELEASES = {
    "20.03": ({32: 33}, 34, 40, 64, {32: "remote_output"}),
    "22.03": ({37: 38}, 39, 40, 64, {37: "remote_output"}),
    "23.03": (
        {37: 39, 38: 39, 39: 40},
        41,
        42,
        64,
        {37: "output_large_pkt_detect", 38: "output_large_pkt_process", 39: "remote_output"},
    ),
    "23.06": (
        {37: 38, 38: 40, 39: 40, 40: 41},
        42,
        43,
        64,
        {38: "output_large_pkt_detect", 39: "output_large_pkt_process", 40: "remote_output"},
    ),
    "26.03": (
        {42: 44, 43: 44, 44: 45, 45: 46},
        47,
        48,
        64,
        {
            42: "output_large_pkt_detect",
            43: "output_large_pkt_process",
            44: "remote_output",
            45: "remote_vtep_output",
        },
    ),
    "after 26.03": (
        {52: 54, 53: 54, 54: 55, 55: 56},
        57,
        62,
        88,
        {
            52: "output_large_pkt_detect",
            53: "output_large_pkt_process",
            54: "remote_output",
            55: "remote_vtep_output",
        },
    ),
}


@pytest.mark.parametrize("release", RELEASES)
def test_tables_are_found_where_the_release_has_them(release: str) -> None:
    output, check_loopback, egress, save_inport, named = RELEASES[release]
    lines = [
        "table=0,priority=100,in_port=1 actions=load:0x1->OXM_OF_METADATA[],resubmit(,8)",
        f"table=8,priority=50,metadata=0x1 actions=resubmit(,{min(output)})",
        f"table={egress},priority=0,metadata=0x1 actions=resubmit(,{egress + 1})",
        f"table={check_loopback},priority=0 actions=resubmit(,{egress})",
        f"table={save_inport},priority=0 actions=resubmit(,{save_inport + 1})",
        *(f"table={table},priority=0 actions=resubmit(,{to})" for table, to in output.items()),
    ]
    names = judge("\n".join(lines)).names
    assert {table: name for table, name in names.items() if 8 < table < save_inport} == named | {
        check_loopback - 1: "local_output",
        check_loopback: "check_loopback",
        egress: "log_egress_pipeline",
    }
    assert (names[save_inport + 1], names[save_inport + 2]) == ("log_to_phy", "mac_binding")


def test_what_is_not_sure_has_no_name() -> None:
    names = judge(SMALL.replace("table=64,priority=0", "table=64,priority=1")).names
    assert names == {0: "phy_to_log", 8: "log_ingress_pipeline"}


def test_other_bridges_are_not_its() -> None:
    assert judge("table=0 actions=resubmit(,8)\ntable=8 actions=NORMAL").pipeline == ""
    assert judge("table=0 actions=resubmit(,9)\ntable=9,metadata=1 actions=NORMAL").pipeline == ""
