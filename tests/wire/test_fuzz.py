"""Whatever a peer sends, ParseError is the worst that happens, in little memory and time."""

import importlib
import pkgutil
import time
import tracemalloc
from contextlib import suppress
from functools import reduce
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import agent.wire
from agent.errors import ParseError
from agent.wire.openflow import messages as of
from tests.wire import parsers
from tests.wire.parsers import APPLY, DEEPEST, PARSERS, Parser, nested_clones

PEAK_BYTES, PEAK_BYTES_PER_BYTE = 1 << 17, 100
"""What a parser may need at most: 100 bytes for each byte it is given are what Python's objects
take for the smallest records, 8 bytes a group or 16 a clone."""
BOMB_BYTES, BOMB_SECONDS = 0xFFFF, 5.0
EXAMPLES = 60
LARGEST_BYTES = 1 << 14
KNOWN = {parser.name: parser for parser in PARSERS}

Edit = tuple[str, int, bytes]


def survives(parser: Parser, data: bytes) -> None:
    """Parse or refuse, and look at the memory it took."""
    tracemalloc.start()
    try:
        parser.parse(data)
    except ParseError as error:
        assert str(error)  # noqa: PT017 - any other exception fails the test by itself
    finally:
        _now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak <= PEAK_BYTES + PEAK_BYTES_PER_BYTE * len(data), f"{peak} for {len(data)} bytes"


def edited(data: bytes, edit: Edit) -> bytes:
    """Change one place; places count from the start and wrap around."""
    kind, at, put = edit
    at %= len(data) + 1
    match kind:
        case "overwrite":
            return data[:at] + put + data[at + len(put) :]
        case "insert":
            return data[:at] + put + data[at:]
        case "cut":
            return data[:at]
        case "drop":
            return data[:at] + data[at + len(put) :]
        case "repeat":
            piece = data[at : at + 1 + len(put)] or put
            return data[:at] + piece * (LARGEST_BYTES // 4 // (len(piece) or 1)) + data[at:]
        case _:  # splice: go on with the tail of other input
            return data[:at] + put[len(put) // 2 :]


def edits(samples: tuple[bytes, ...]) -> st.SearchStrategy[list[Edit]]:
    """Draw changes, among them the numbers that lengths and counts like least."""
    numbers = (0, 1, 4, 7, 8, 0x7FFF, 0x8000, 0xFFFC, 0xFFFF)
    halves = st.sampled_from(numbers).map(lambda number: number.to_bytes(2, "big"))
    puts = st.one_of(st.binary(max_size=16), halves, st.sampled_from(samples))
    kinds = ("overwrite", "overwrite", "insert", "cut", "drop", "repeat", "splice")
    return st.lists(st.tuples(st.sampled_from(kinds), st.integers(0, 1 << 16), puts), max_size=6)


def test_no_parser_is_left_out() -> None:
    listed = Path(parsers.__file__).read_text(encoding="utf-8")
    found = [
        name
        for module in pkgutil.walk_packages(agent.wire.__path__, "agent.wire.")
        for name in vars(importlib.import_module(module.name))
        if name.startswith(("parse_", "read_"))
    ]
    assert len(found) > 20
    assert [name for name in found if name not in listed] == []


@pytest.mark.parametrize("name", KNOWN)
def test_takes_what_was_recorded(name: str) -> None:
    assert KNOWN[name].samples
    for sample in KNOWN[name].samples:
        KNOWN[name].parse(sample)


@pytest.mark.parametrize("name", KNOWN)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_survives_changed_input(name: str, data: st.DataObject) -> None:
    parser = KNOWN[name]
    sample = data.draw(st.sampled_from((*parser.samples, b"")))
    changed = reduce(edited, data.draw(edits(parser.samples)), sample)
    survives(parser, changed[:LARGEST_BYTES])


@pytest.mark.parametrize("name", KNOWN)
def test_survives_every_truncation(name: str) -> None:
    parser = KNOWN[name]
    shortest = min(parser.samples, key=len)
    for end in range(0, len(shortest), 1 + len(shortest) // 200):
        survives(parser, shortest[:end])


def _instruction(actions: bytes) -> bytes:
    return APPLY + (8 + len(actions)).to_bytes(2, "big") + bytes(4) + actions


def _many(unit: str, count: int = 0, first: str = "") -> bytes:
    """Repeat hexadecimal digits until a message is full, or so often."""
    piece, head = bytes.fromhex(unit), bytes.fromhex(first)
    return head + piece * (count or (BOMB_BYTES - 64 - len(head)) // len(piece))


def _numbered(head: str, tail: str) -> bytes:
    """Repeat, with a number of four bytes that is another each time."""
    before, after = bytes.fromhex(head), bytes.fromhex(tail)
    count = (BOMB_BYTES - 64) // (len(before) + 4 + len(after))
    return b"".join(before + number.to_bytes(4, "big") + after for number in range(count))


RESUBMIT = "ffff 0010 00002320 000e fff8 48 000000"
CUSTOM = "ffff ffff 0000aa01 00000002 0000 ffff 00000000"
BOMBS: dict[str, tuple[str, bytes]] = {
    "clones in clones": ("instructions", nested_clones(DEEPEST)),
    "clones beside clones": (
        "instructions",
        _instruction(_many("ffff 0010 00002320 002a 000000000000")),
    ),
    "clones in a bucket": ("bucket", nested_clones(DEEPEST)[8:]),
    "resubmits": ("instructions", _instruction(_many(RESUBMIT))),
    "smallest actions": ("instructions", _instruction(_many("000b 0008 00000000"))),
    "smallest instructions": ("instructions", _many("0005 0008 00000000")),
    "empty fields": ("match", _many("80005a00")),
    "empty fields that are known": ("match", _many("80000000")),
    "one octet that is unknown": ("match", _many("80005a01 ff")),
    "widest Geneve options": ("match", _many("000151f8" + 248 * "ff")),
    "smallest flows": ("flow entries", _many("0038" + 46 * "00" + "0001 0004 00000000")),
    "smallest flows of a table": (
        "flow decoder",
        _many("0038 47" + 45 * "00" + "0001 0004 00000000"),
    ),
    "smallest groups": ("groups", _numbered("0008 0000", "")),
    "smallest buckets": ("groups", _many("0010" + 14 * "00", 4000, "fa08 0000 00000001")),
    "smallest meters": ("meters", _numbered("", "0028" + 34 * "00")),
    "a meter of bands": (
        "meters",
        _many("0000000000000001" * 2, 4000, "00000001 fa28" + 34 * "00"),
    ),
    "tables": ("tables", _many("47 000000 0000001e" + "7f" * 16, 2700)),
    "ports of 1.3": ("ports of 1.3", _numbered("", 60 * "41")),
    "ports of 1.4": ("ports of 1.4", _numbered("", "0028" + 34 * "41")),
    "statistics of ports": ("port statistics of 1.3", _numbered("", 108 * "7f")),
    "custom statistics": (
        "port statistics of 1.4",
        bytes.fromhex(
            "ff10 0000 00000001" + 72 * "00" + "ffff fec0 0000aa01 00000002 0000 ffff" + 0 * "00"
        )
        + b"".join(b"\x02" + n.to_bytes(2, "big") + bytes(8) for n in range(5900)),
    ),
    "more custom statistics than there are": (
        "port statistics of 1.4",
        bytes.fromhex(
            "0068 0000 00000001" + 72 * "00" + "ffff 0018 0000aa01 00000002 0000 ffff" + 8 * "00"
        ),
    ),
    "answers": ("flows", _many("04 13 0010 00000001 0001 0001 00000000")),
    "a reply that opens and opens": ("unixctl reply", b"{" * BOMB_BYTES),
    "a reply of lists": ("unixctl reply", b'{"id":0,"result":' + b"[" * BOMB_BYTES),
    "a reply with a long number": ("unixctl reply", b'{"id":' + b"9" * BOMB_BYTES),
    "a reply of escapes": ("unixctl reply", b'{"id":0,"result":"' + b"\\" * BOMB_BYTES),
    "a reply of strings": ("unixctl reply", b'{"id":0' + b',"a":""' * (BOMB_BYTES // 7)),
    "bonds": ("bond-show", b"---- b ----\n" * (BOMB_BYTES // 12)),
    "members": ("bond-show", b"---- b ----\n" + b"member a: enabled\n" * (BOMB_BYTES // 18)),
    "datapaths": ("upcall-show", b"a@:\n" * (BOMB_BYTES // 4)),
    "threads": ("pmd", b"main thread:\n" * (BOMB_BYTES // 13)),
    "facilities": ("memory-show", b"".join(b"%x:1 " % n for n in range(9000))),
    "commands": (
        "list-commands",
        b"The available commands are:\n" + b"".join(b"%x\n" % n for n in range(13000)),
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_little_memory_and_time(name: str) -> None:
    parser, data = BOMBS[name]
    survives(KNOWN[parser], data)
    start = time.process_time()
    with suppress(ParseError):
        KNOWN[parser].parse(data)
    assert time.process_time() - start < BOMB_SECONDS


def test_clones_nest_as_deep_as_a_message_allows() -> None:
    inner = bytes.fromhex("0000 0010 00000005 ffff 000000000000")
    data = bytearray(nested_clones(DEEPEST) + inner)
    for offset in range(8, len(data) - len(inner), 16):
        data[offset + 2 : offset + 4] = (len(data) - offset).to_bytes(2, "big")
    data[2:4] = len(data).to_bytes(2, "big")
    effect, port = of.read_instructions(bytes(data))
    assert (effect.delivers, port) == (True, 5)
