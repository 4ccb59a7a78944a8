"""Truncated, mutated and malicious texts: ParseError or an answer, and soon."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ParseError
from agent.wire.unixctl.bond import parse_bond_show, parse_lacp_show
from agent.wire.unixctl.commands import parse_list_commands
from agent.wire.unixctl.coverage import parse_coverage_show, parse_read_counter
from agent.wire.unixctl.dpctl import parse_count, parse_dpctl_show, parse_offload_stats_show
from agent.wire.unixctl.fdb import parse_fdb_stats_show
from agent.wire.unixctl.memory import parse_memory_show
from agent.wire.unixctl.ovn import parse_connection_status, parse_lflow_cache, parse_version
from agent.wire.unixctl.ovn_bindings import parse_local_bindings
from agent.wire.unixctl.ovn_engine import parse_engine_stats, parse_stopwatches
from agent.wire.unixctl.pmd import parse_pmd_show
from agent.wire.unixctl.upcall import parse_upcall_show

Parser = Callable[[str], object]

PARSERS: dict[str, Parser] = {
    "bond-show": parse_bond_show,
    "connection-status": parse_connection_status,
    "coverage-read-counter": parse_read_counter,
    "coverage-show": parse_coverage_show,
    "ct-get": parse_count,
    "dpctl-show": parse_dpctl_show,
    "dump-local-bindings": parse_local_bindings,
    "fdb-stats-show": parse_fdb_stats_show,
    "inc-engine-show-stats": parse_engine_stats,
    "lacp-show": parse_lacp_show,
    "lflow-cache-show-stats": parse_lflow_cache,
    "list-commands": parse_list_commands,
    "memory-show": parse_memory_show,
    "offload-stats-show": parse_offload_stats_show,
    "pmd": parse_pmd_show,
    "stopwatch-show": parse_stopwatches,
    "upcall-show": parse_upcall_show,
    "version-ovn": parse_version,
}
FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("*.txt"))
TEXTS = [path.read_text(encoding="utf-8") for path in FIXTURES]


def parser_of(path: Path) -> Parser:
    return next(parse for name, parse in PARSERS.items() if path.name.startswith(name))


def parse_or_refuse(parse: Parser, text: str) -> None:
    with suppress(ParseError):
        parse(text)


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_a_text_cut_anywhere_is_answered_or_refused(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for end in range(0, len(text), 1 + len(text) // 400):
        parse_or_refuse(parser_of(path), text[:end])


@given(
    number=st.integers(0, len(FIXTURES) - 1),
    at=st.integers(min_value=0),
    cut=st.integers(0, 12),
    put=st.text(max_size=12),
)
def test_a_changed_text_is_answered_or_refused(number: int, at: int, cut: int, put: str) -> None:
    text = TEXTS[number]
    at %= len(text) + 1
    parse_or_refuse(parser_of(FIXTURES[number]), text[:at] + put + text[at + cut :])


@given(name=st.sampled_from(sorted(PARSERS)), text=st.text())
def test_any_text_is_answered_or_refused(name: str, text: str) -> None:
    parse_or_refuse(PARSERS[name], text)


@pytest.mark.parametrize(
    "parse",
    [
        parse_bond_show,
        parse_connection_status,
        parse_coverage_show,
        parse_dpctl_show,
        parse_engine_stats,
        parse_fdb_stats_show,
        parse_lacp_show,
        parse_lflow_cache,
        parse_list_commands,
        parse_local_bindings,
        parse_memory_show,
        parse_offload_stats_show,
        parse_pmd_show,
        parse_stopwatches,
        parse_upcall_show,
        parse_version,
    ],
)
def test_text_of_another_command_is_refused(parse: Parser) -> None:
    with pytest.raises(ParseError):
        parse("what is this\nno such thing\n")


@pytest.mark.parametrize(
    ("parse", "head", "unit"),
    [
        (parse_upcall_show, "netdev@a:\n  flows : ", "(current "),
        (parse_bond_show, "---- b ----\n", "member a: enabled\n"),
        (parse_bond_show, "", "---- b ----\n"),
        (parse_lacp_show, "---- b ----\n", "member: a: "),
        (parse_memory_show, "", "a b c "),
        (parse_memory_show, "", "a:1 "),
        (parse_coverage_show, "Event coverage\n", "/sec   "),
        (parse_coverage_show, "Event coverage\na ", "/sec   total: "),
        (parse_dpctl_show, "netdev@a:\n  lookups:", " hit:1"),
        (parse_dpctl_show, "", "netdev@a:\n"),
        (parse_offload_stats_show, "HW Offload stats:\n", " Total  "),
        (parse_pmd_show, "", "main thread:\n"),
        (parse_version, "ovn-controller 1", "1"),
        (parse_version, "ovn-controller 1\n", "Open vSwitch Library 1\n"),
        (parse_lflow_cache, "Enabled: true\n", "cache-a:1\n"),
        (parse_engine_stats, "", "Node: a\n"),
        (parse_engine_stats, "Node: ", "Node: a"),
        (parse_engine_stats, "Node: a\n", "- compute: 1\n"),
        (parse_stopwatches, "Statistics for '", "' for '"),
        (parse_stopwatches, "Statistics for 'a'\n", "  Maximum: 1 msec\n"),
        (parse_local_bindings, "Local bindings:\n", "name: [a\n"),
        (parse_local_bindings, "Local bindings:\nname: [", "], OVS interface name : ["),
        (parse_local_bindings, "Local bindings:\nname: [a]\n", "child lport[1] : [b]\n"),
    ],
)
def test_time_grows_no_faster_than_the_text(parse: Parser, head: str, unit: str) -> None:
    """A square of a million characters would take minutes, a multiple takes about a second."""
    text = head + unit * (1_000_000 // len(unit))
    start = time.process_time()
    parse_or_refuse(parse, text)
    assert time.process_time() - start < 10
