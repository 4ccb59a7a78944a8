"""What ovn-controller's texts say, in each release that was recorded."""

import re
from pathlib import Path

import pytest

from agent.errors import ParseError
from agent.model.ovn import EngineNode, LflowCache, LocalBinding, Release, Stopwatch
from agent.wire.unixctl.commands import parse_list_commands
from agent.wire.unixctl.coverage import parse_coverage_show
from agent.wire.unixctl.memory import parse_memory_show
from agent.wire.unixctl.ovn import (
    DROP_COUNTERS,
    parse_connection_status,
    parse_lflow_cache,
    parse_version,
)
from agent.wire.unixctl.ovn_bindings import parse_local_bindings
from agent.wire.unixctl.ovn_engine import parse_engine_stats, parse_stopwatches

FIXTURES = Path(__file__).parent / "fixtures"
RELEASES = {
    "22.03.8": "3.0.7",
    "23.03.1": "3.1.0",
    "24.03.9": "3.3.8",
    "25.03.0": "3.5.0",
    "26.03.1": "3.7.1",
    "26.09.0": "4.0.0",
}
"""Of OVN, with the Open vSwitch that each is built with."""
RUNTIME_DATA = {
    "22.03.8": EngineNode(8, 3, 3),
    "23.03.1": EngineNode(6, 3, 2),
    "24.03.9": EngineNode(7, 5, 0),
    "25.03.0": EngineNode(6, 6, 1),
    "26.03.1": EngineNode(7, 4, 1),
    "26.09.0": EngineNode(8, 5, 1),
}
"""How often the node that looks for local ports recomputed, computed and gave up."""
MAIN_LOOP = {"flow-generation", "flow-installation", "pinctrl-run", "patch-run", "bfd-run"}

of_each_release = pytest.mark.parametrize("release", RELEASES)


def text(name: str) -> str:
    return (FIXTURES / f"{name}.txt").read_text(encoding="utf-8")


@of_each_release
def test_release_and_library_are_told_and_the_schema_is_not(release: str) -> None:
    assert parse_version(text(f"version-ovn-{release}")) == Release(release, RELEASES[release])


def test_schema_is_read_where_it_is_printed() -> None:
    printed = "ovn-controller 24.03.6-rc1\nOpen vSwitch Library 3.3.4\nSB DB Schema 20.33.0\n"
    assert parse_version(printed) == Release("24.03.6-rc1", "3.3.4")


def test_release_alone_is_a_version() -> None:
    assert parse_version("ovn-controller 23.03.1") == Release("23.03.1")


@pytest.mark.parametrize(
    "printed",
    [
        "ovs-vswitchd (Open vSwitch) 3.1.0\n",
        "ovn-northd 23.03.1\n",
        "ovn-controller \n",
        'ovn-controller 1"} 1\n',
        f"ovn-controller {'1' * 100}\n",
        "",
    ],
)
def test_version_of_something_else_is_refused(printed: str) -> None:
    with pytest.raises(ParseError):
        parse_version(printed)


@of_each_release
def test_connection_is_there(release: str) -> None:
    assert parse_connection_status(text(f"connection-status-{release}")) is True


def test_connection_that_is_lost_is_no_failure_to_read() -> None:
    assert parse_connection_status(text("connection-status-off-23.03.1")) is False


def test_part_of_a_connection_status_is_none() -> None:
    with pytest.raises(ParseError):
        parse_connection_status("connect")


@pytest.mark.parametrize(
    ("release", "expressions", "matches", "kibibytes"),
    [
        ("22.03.8", 130, 163, 415),
        ("23.03.1", 86, 183, 316),
        ("24.03.9", 98, 199, 442),
        ("25.03.0", 85, 214, 326),
        ("26.03.1", 99, 239, 417),
        ("26.09.0", 103, 234, 460),
    ],
)
def test_cache_has_two_kinds_of_entries(
    release: str, expressions: int, matches: int, kibibytes: int
) -> None:
    assert parse_lflow_cache(text(f"lflow-cache-show-stats-{release}")) == LflowCache(
        enabled=True,
        entries={"cache-expr": expressions, "cache-matches": matches},
        memory_bytes=kibibytes * 1024,
        high_watermark=expressions + matches,
        trims=1,
    )


def test_cache_that_is_switched_off_is_empty() -> None:
    off = parse_lflow_cache(text("lflow-cache-show-stats-off-23.03.1"))
    assert (off.enabled, off.memory_bytes, sum(off.entries.values())) == (False, 0, 0)


def test_cache_of_21_03_has_a_third_kind_and_neither_watermark_nor_trims() -> None:
    assert parse_lflow_cache(text("lflow-cache-show-stats-21.03.0")) == LflowCache(
        enabled=True,
        entries={"cache-conj-id": 4, "cache-expr": 71, "cache-matches": 160},
        memory_bytes=211 * 1024,
    )


@of_each_release
def test_engine_tells_of_each_node(release: str) -> None:
    printed = text(f"inc-engine-show-stats-{release}")
    nodes = parse_engine_stats(printed)
    assert len(nodes) == printed.count("Node: ")
    assert nodes["runtime_data"] == RUNTIME_DATA[release]


def test_abort_was_renamed_to_cancel() -> None:
    assert "- abort:" in text("inc-engine-show-stats-24.03.9")
    assert "- cancel:" in text("inc-engine-show-stats-25.03.0")


def test_node_of_which_a_number_is_not_printed_is_left_out() -> None:
    assert parse_engine_stats("Node: a\n- recompute: 1\n- compute: 2\n") == {}


@of_each_release
def test_stopwatches_tell_how_long_the_main_loop_takes(release: str) -> None:
    printed = text(f"stopwatch-show-{release}")
    stopwatches = parse_stopwatches(printed)
    assert len(stopwatches) == len(set(re.findall("Statistics for '(.*)'", printed)))
    assert set(stopwatches) >= MAIN_LOOP
    for name in ("flow-generation", "flow-installation"):
        found = stopwatches[name]
        assert found.samples > 0
        assert 0 <= found.minimum <= found.percentile_95 <= found.maximum < 1
        assert found.long_term_average <= found.maximum


def test_of_stopwatches_of_one_name_the_one_that_ran_counts() -> None:
    assert parse_stopwatches(text("stopwatch-show-26.03.1"))["engine_noop_handler"].samples == 13


def test_times_are_in_seconds() -> None:
    assert parse_stopwatches(text("stopwatch-show-23.03.1"))["flow-installation"] == Stopwatch(
        samples=69,
        maximum=0.002,
        minimum=0.0,
        percentile_95=0.001136442,
        short_term_average=0.0,
        long_term_average=0.000031123,
    )


@pytest.mark.parametrize(("unit", "seconds"), [("msec", 2.5), ("usec", 0.0025), ("nsec", 2.5e-6)])
def test_each_unit_of_a_stopwatch_is_known(unit: str, seconds: float) -> None:
    printed = "Statistics for 'a'\n  Total samples: 1\n" + "".join(
        f"  {label}: 2500{fraction} {unit}\n"
        for label, fraction in {
            "Maximum": "",
            "Minimum": "",
            "95th percentile": ".000000",
            "Short term average": ".000000",
            "Long term average": ".000000",
        }.items()
    )
    found = parse_stopwatches(printed)["a"]
    assert (found.maximum, found.long_term_average) == (seconds, seconds)


@pytest.mark.parametrize(
    "value", ["6", "6 sec", "-6 msec", "nan msec", "inf msec", "1e3 msec", f"{'9' * 21} msec", ""]
)
def test_time_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ParseError):
        parse_stopwatches(f"Statistics for 'a'\n  Maximum: {value}\n")


@pytest.mark.parametrize("value", ["-1", "0x10", "18446744073709551616", ""])
def test_count_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ParseError):
        parse_stopwatches(f"Statistics for 'a'\n  Total samples: {value}\n")
    with pytest.raises(ParseError):
        parse_engine_stats(f"Node: a\n- recompute: {value}\n")
    with pytest.raises(ParseError):
        parse_lflow_cache(f"Enabled: true\ncache-expr      : {value}\n")


def test_before_the_first_run_there_is_nothing_to_tell() -> None:
    assert parse_engine_stats("") == {}
    assert parse_stopwatches("") == {}
    assert parse_local_bindings("Local bindings:\n") == ()


@of_each_release
def test_ports_of_instances_are_bound_with_their_interfaces(release: str) -> None:
    assert parse_local_bindings(text(f"dump-local-bindings-{release}")) == tuple(
        LocalBinding(f"lsp-{name}", name, "vif") for name in ("p1", "p11", "p12", "p2")
    )


@pytest.mark.parametrize("release", ["23.03.1", "26.09.0"])
def test_other_kinds_of_ports_are_told_apart(release: str) -> None:
    assert parse_local_bindings(text(f"dump-local-bindings-kinds-{release}")) == (
        LocalBinding("lsp-meta", "meta", "localport"),
        LocalBinding("lsp-nobody", "nobody"),
        LocalBinding("lsp-p1", "p1", "vif"),
        LocalBinding("lsp-sub", "p1", "CONTAINER", "lsp-p1"),
        LocalBinding("lsp-p11", "p11", "vif"),
        LocalBinding("lsp-p12", "p12", "vif"),
        LocalBinding("lsp-p2", "p2", "vif"),
    )


def test_port_whose_interface_is_gone_and_children_without_a_parent() -> None:
    assert parse_local_bindings(text("dump-local-bindings-gone-21.06.0")) == (
        LocalBinding("lsp-p1", None, "vif"),
        LocalBinding("lsp-p2"),
        LocalBinding("lsp-sub1", None, "CONTAINER", "lsp-p2"),
        LocalBinding("lsp-sub2", None, "VIRTUAL", "lsp-p2"),
    )


def test_localport_of_21_06_is_no_child_of_itself() -> None:
    printed = (
        "Local bindings:\nname: [m], OVS interface name : [tap], num binding lports : [1]\n"
        "no primary lport\nchild lport[1] : [m], type : [LOCALPORT]\n"
    )
    assert parse_local_bindings(printed) == (LocalBinding("m", "tap", "localport"),)


def test_names_may_hold_brackets_and_spaces() -> None:
    printed = (
        "Local bindings:\nname: [a [b] c], OVS interface name : [tap 1], num binding lports : [1]\n"
        "primary lport : [a [b] c]\n"
    )
    assert parse_local_bindings(printed) == (LocalBinding("a [b] c", "tap 1", "vif"),)


@of_each_release
def test_texts_that_both_daemons_have_are_read_alike(release: str) -> None:
    events = parse_coverage_show(text(f"coverage-show-ovn-{release}"))
    assert events["lflow_run"] > 0
    assert events["pinctrl_total_pin_pkts"] > 0
    memory = parse_memory_show(text(f"memory-show-ovn-{release}"))
    cache = parse_lflow_cache(text(f"lflow-cache-show-stats-{release}"))
    assert memory["lflow-cache-size-KB"] * 1024 == cache.memory_bytes
    assert {
        "connection-status",
        "coverage/read-counter",
        "debug/dump-local-bindings",
        "inc-engine/show-stats",
        "lflow-cache/show-stats",
        "stopwatch/show",
        "version",
    } <= parse_list_commands(text(f"list-commands-ovn-{release}"))


def test_each_drop_counter_is_named_once() -> None:
    assert len(set(DROP_COUNTERS)) == len(DROP_COUNTERS)
