"""What each command's text says, in the releases that print it differently."""

from pathlib import Path

import pytest

from agent.errors import ParseError
from agent.model.datapath import Bond, BondMember, Datapath, Fdb, Pmd, Upcalls
from agent.wire.unixctl.bond import parse_bond_show, parse_lacp_show, with_lacp
from agent.wire.unixctl.commands import parse_list_commands
from agent.wire.unixctl.coverage import DROP_COUNTERS, parse_coverage_show, parse_read_counter
from agent.wire.unixctl.dpctl import parse_count, parse_dpctl_show, parse_offload_stats_show
from agent.wire.unixctl.fdb import parse_fdb_stats_show
from agent.wire.unixctl.memory import parse_memory_show
from agent.wire.unixctl.pmd import parse_pmd_show
from agent.wire.unixctl.upcall import parse_upcall_show

FIXTURES = Path(__file__).parent / "fixtures"


def text(name: str) -> str:
    return (FIXTURES / f"{name}.txt").read_text(encoding="utf-8")


def test_kernel_datapath_has_masks_and_their_cache() -> None:
    assert parse_dpctl_show(text("dpctl-show-kernel-3.3.1")) == (
        Datapath(
            "system@ovs-system",
            hits=1830,
            missed=401,
            lost=0,
            flows=2,
            masks=2,
            masks_hit=5341,
            mask_cache_hits=1031,
            mask_cache_size_entries=256,
            ports=11,
        ),
    )


def test_kernel_datapath_of_an_ovn_node_is_read_alike() -> None:
    (datapath,) = parse_dpctl_show(text("dpctl-show-kernel-ovn-3.3.1"))
    assert (datapath.flows, datapath.masks, datapath.mask_cache_hits, datapath.ports) == (
        6,
        2,
        584,
        4,
    )


def test_old_release_has_masks_without_a_cache_and_a_port_that_failed_is_a_port() -> None:
    (datapath,) = parse_dpctl_show(text("dpctl-show-kernel-2.13.0"))
    assert (datapath.masks, datapath.masks_hit, datapath.lost) == (6, 151320, 3)
    assert datapath.mask_cache_hits is None
    assert datapath.mask_cache_size_entries is None
    assert datapath.ports == 4


def test_userspace_datapath_has_no_masks() -> None:
    (datapath,) = parse_dpctl_show(text("dpctl-show-3.1.0"))
    assert datapath.name == "netdev@ovs-netdev"
    assert datapath.masks is None
    assert datapath.masks_hit is None
    assert datapath.ports is not None
    assert datapath.ports > 10


def test_two_datapaths_keep_their_own_numbers() -> None:
    first, second = parse_dpctl_show(text("dpctl-show-two-3.1.0"))
    assert (first.name, first.hits, first.missed, first.flows) == (
        "netdev@ovs-netdev",
        120,
        52,
        0,
    )
    assert (second.name, second.hits, second.missed, second.flows, second.ports) == (
        "dummy@ovs-dummy",
        29,
        1,
        1,
        4,
    )


def test_widest_counter_and_a_datapath_without_ports() -> None:
    (datapath,) = parse_dpctl_show(text("dpctl-show-4.0.0"))
    assert datapath.hits == 2**64 - 1
    assert datapath.ports == 0


def test_datapath_that_did_not_answer_has_only_its_name_and_ports() -> None:
    assert parse_dpctl_show("netdev@ovs-netdev:\n  port 0: ovs-netdev (tap)\n") == (
        Datapath("netdev@ovs-netdev", ports=1),
    )


@pytest.mark.parametrize(
    ("name", "upcalls"),
    [
        ("upcall-show-2.13.0", Upcalls("system@ovs-system", 15, 200000, 0.002)),
        ("upcall-show-2.17.0", Upcalls("system@ovs-system", 15, 200000, 1.25, 9)),
        ("upcall-show-3.1.0", Upcalls("netdev@ovs-netdev", 35, 27000, 0.001)),
        ("upcall-show-4.0.0", Upcalls("system@ovs-system", 15, 200000, 1.25, 4)),
    ],
)
def test_upcalls_of_each_release(name: str, upcalls: Upcalls) -> None:
    (found,) = parse_upcall_show(text(name))
    assert found.datapath == upcalls.datapath
    assert found.offloaded_flows == upcalls.offloaded_flows
    if "3.1.0" not in name:
        assert found == upcalls


def test_upcalls_of_two_datapaths() -> None:
    assert parse_upcall_show(text("upcall-show-two-3.1.0")) == (
        Upcalls("netdev@ovs-netdev", 0, 35000, 0.001),
        Upcalls("dummy@ovs-dummy", 1, 10000, 0.001),
    )


def test_facility_names_may_hold_spaces() -> None:
    assert parse_memory_show(text("memory-show-2.13.0")) == {
        "handlers": 5,
        "ofconns": 2,
        "packets": 7,
        "ports": 12,
        "revalidators": 3,
        "rules": 210,
        "udpif keys": 15,
    }
    recorded = parse_memory_show(text("memory-show-3.1.0"))
    assert {"idl-cells-Open_vSwitch", "udpif keys", "ports"} <= set(recorded)


def test_coverage_lists_each_event_with_its_total() -> None:
    recorded = text("coverage-show-3.1.0")
    events = parse_coverage_show(recorded)
    assert len(events) == recorded.count("total:")
    assert events["drop_action_of_pipeline"] == 102
    assert parse_read_counter(text("coverage-read-counter-3.1.0")) == 104  # recorded later


def test_coverage_reads_long_names_and_wide_rates() -> None:
    assert parse_coverage_show(text("coverage-show-2.13.0")) == {
        "bridge_reconfigure": 4,
        "drop_action_recirculation_conflict": 2,
        "seq_change": 2**64 - 1,
    }


def test_each_drop_counter_is_named_once() -> None:
    assert len(set(DROP_COUNTERS)) == len(DROP_COUNTERS)


def test_fdb_counts_with_and_without_the_line_on_static_entries() -> None:
    assert parse_fdb_stats_show(text("fdb-stats-show-2.13.0")) == Fdb("br-int", 12, 25, 3, 1)
    fdb = parse_fdb_stats_show(text("fdb-stats-show-3.1.0"))
    assert (fdb.bridge, fdb.evicted, fdb.moved) == ("br-int", 0, 0)
    assert fdb.entries is not None
    assert fdb.entries > 0


def test_bond_of_a_release_that_says_slave() -> None:
    bonds = parse_bond_show(text("bond-show-2.13.0"))
    lacp = parse_lacp_show(text("lacp-show-2.13.0"))
    assert with_lacp(bonds, lacp) == (
        Bond(
            "bond0",
            "balance-tcp",
            "negotiated",
            (
                BondMember("eth2", enabled=True, active=True, lacp_current=True),
                BondMember("eth3", enabled=False, active=False, lacp_current=False),
            ),
        ),
    )


def test_bonds_recorded_with_a_member_down_and_a_partner_gone() -> None:
    bonds = {bond.port: bond for bond in parse_bond_show(text("bond-show-3.1.0"))}
    assert bonds["bond2"] == Bond(
        "bond2",
        "active-backup",
        "off",
        (
            BondMember("v7", enabled=True, active=True),
            BondMember("v8", enabled=False, active=False),
        ),
    )
    assert bonds["bond1"].lacp_status == "configured"
    assert [member.active for member in bonds["bond1"].members] == [False, False]
    assert parse_lacp_show(text("lacp-show-3.1.0")) == {"bond1": {"v5": False, "v6": False}}


def test_port_that_speaks_lacp_without_being_a_bond_is_left_out() -> None:
    bonds = (Bond("bond0", members=(BondMember("a"),)),)
    assert with_lacp(bonds, {"uplink": {"a": True}}) == bonds


def test_pmd_statistics_have_busy_and_idle_cycles_and_the_main_thread() -> None:
    assert parse_pmd_show(text("pmd-stats-show-3.1.0")) == (
        Pmd(
            "0",
            "1",
            emc_hit=0,
            smc_hit=0,
            megaflow_hit=29,
            upcall_success=1,
            upcall_failed=0,
            busy_cycles=29177667,
            idle_cycles=5445614824,
            used_cycles=29177667 + 5445614824,
            phwol_hit=0,
            simple_match_hit=0,
        ),
        Pmd(
            "main",
            "main",
            emc_hit=0,
            smc_hit=0,
            megaflow_hit=0,
            upcall_success=0,
            upcall_failed=0,
            phwol_hit=0,
            simple_match_hit=0,
        ),
    )


def test_both_pmd_commands_agree_on_the_packets() -> None:
    statistics, _ = parse_pmd_show(text("pmd-stats-show-3.1.0"))
    (performance,) = parse_pmd_show(text("pmd-perf-show-3.1.0"))
    for field in ("emc_hit", "smc_hit", "megaflow_hit", "upcall_success", "upcall_failed"):
        assert getattr(performance, field) == getattr(statistics, field)
    assert performance.used_cycles == 5483977641
    assert performance.busy_cycles is None
    assert performance.idle_cycles is None


def test_pmd_statistics_of_an_old_release() -> None:
    first, second, main = parse_pmd_show(text("pmd-stats-show-2.13.0"))
    assert (first.emc_hit, first.smc_hit, first.megaflow_hit) == (4000, 20, 150)
    assert (first.upcall_success, first.upcall_failed) == (28, 2)
    assert (first.busy_cycles, first.idle_cycles) == (100000, 900000)
    assert first.phwol_hit is None
    assert (second.numa, second.cpu, second.busy_cycles) == ("", "3", None)
    assert (main.numa, main.cpu, main.upcall_success) == ("main", "main", 4)


def test_pmd_performance_of_an_old_release() -> None:
    (pmd,) = parse_pmd_show(text("pmd-perf-show-2.13.0"))
    assert (pmd.emc_hit, pmd.upcall_failed, pmd.used_cycles) == (4000, 2, 25000000000)


def test_pmd_performance_of_4_0_has_the_main_thread_and_no_hits_before_the_first_packet() -> None:
    main, busy, idle = parse_pmd_show(text("pmd-perf-show-4.0.0"))
    assert (main.cpu, main.megaflow_hit, main.upcall_success, main.used_cycles) == (
        "main",
        1,
        4,
        None,
    )
    assert (busy.numa, busy.cpu, busy.phwol_hit, busy.simple_match_hit) == ("1", "20", 40, 1000)
    assert idle == Pmd("1", "21", used_cycles=154675000001)


def test_idle_thread_was_read_as_zero_not_as_unknown() -> None:
    pmd, _ = parse_pmd_show(text("pmd-stats-show-idle-3.1.0"))
    assert (pmd.emc_hit, pmd.busy_cycles, pmd.idle_cycles) == (0, 0, 2617699760)


def test_offloaded_flows_are_the_inserted_total() -> None:
    assert parse_offload_stats_show(text("offload-stats-show-3.6.3")) == 12
    assert parse_offload_stats_show(text("offload-stats-show-4.0.0")) == 12
    assert parse_offload_stats_show("HW Offload stats:\n") is None


def test_connection_counts() -> None:
    assert parse_count(text("ct-get-nconns-3.1.0")) == 0
    assert parse_count(text("ct-get-maxconns-3.1.0")) == 3000000


def test_commands_tell_which_release_has_pmd_stats_show() -> None:
    assert "dpif-netdev/pmd-stats-show" in parse_list_commands(text("list-commands-3.1.0"))
    newer = parse_list_commands(text("list-commands-4.0.0"))
    assert "dpif-netdev/pmd-stats-show" not in newer
    assert {"dpif-netdev/pmd-perf-show", "fdb/stats-show", "coverage/read-counter"} <= newer


@pytest.mark.parametrize(
    "parse", [parse_dpctl_show, parse_upcall_show, parse_bond_show, parse_pmd_show]
)
def test_empty_answer_means_that_there_is_none(parse: object) -> None:
    assert callable(parse)
    assert parse("") == ()
    assert parse(text("pmd-perf-show-no-threads-3.1.0")) == ()


def test_empty_answers_of_mappings_are_empty() -> None:
    assert parse_memory_show("") == {}
    assert parse_lacp_show("") == {}


def test_unknown_lines_are_passed_over() -> None:
    (datapath,) = parse_dpctl_show("netdev@a:\n  colour: blue\n  flows: 3\n  port 0: a (tap)\n")
    assert (datapath.flows, datapath.ports) == (3, 1)


@pytest.mark.parametrize(
    "value", ["-1", "0x10", "\u0661", "18446744073709551616", "9" * 5000, "1.5", ""]
)
def test_number_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ParseError):
        parse_dpctl_show(f"netdev@a:\n  flows: {value}\n")
    with pytest.raises(ParseError):
        parse_count(value)
    with pytest.raises(ParseError):
        parse_memory_show(f"ports:{value}")
