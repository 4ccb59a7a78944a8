"""Every parser of what a peer sends, each as a function of bytes, with real input to start from.

A new parser is one line of ``PARSERS``. The tests and the fuzzer of tests/soak go through the list.
"""

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from agent.errors import ParseError
from agent.wire.domain_xml import parse_domain_xml
from agent.wire.netlink.addresses import DELADDR, NEWADDR, parse_address
from agent.wire.netlink.allowed import GENL_CTRL, ROUTE
from agent.wire.netlink.allowed import is_allowed as may_be_asked
from agent.wire.netlink.attributes import attributes
from agent.wire.netlink.conntrack import (
    count_zones,
    parse_cpu_statistics,
    parse_number,
    parse_stat_file,
)
from agent.wire.netlink.families import read_families
from agent.wire.netlink.forwarding import DELNEIGH, NEWNEIGH, parse_entry
from agent.wire.netlink.header import messages, request
from agent.wire.netlink.link_stats import parse_link_stats
from agent.wire.netlink.links import DELLINK, LINKS, NEWLINK, parse_link
from agent.wire.netlink.qdiscs import parse_qdiscs
from agent.wire.netlink.vports import read_vports
from agent.wire.openflow import messages as of
from agent.wire.openflow.decoder import FlowDecoder
from agent.wire.openflow.entries import Answer
from agent.wire.openflow.match import format_match, iter_oxm, match_scope
from agent.wire.ovsdb import (
    BOOLEAN,
    INTEGER,
    REFERENCE,
    REFERENCES,
    TEXT,
    Columns,
    read_updates,
    texts,
)
from agent.wire.unixctl.bond import parse_bond_show, parse_lacp_show
from agent.wire.unixctl.commands import parse_list_commands
from agent.wire.unixctl.coverage import parse_coverage_show, parse_read_counter
from agent.wire.unixctl.dpctl import parse_count, parse_dpctl_show, parse_offload_stats_show
from agent.wire.unixctl.fdb import parse_fdb_stats_show
from agent.wire.unixctl.framing import ReplyBuffer
from agent.wire.unixctl.memory import parse_memory_show
from agent.wire.unixctl.ovn import parse_connection_status, parse_lflow_cache, parse_version
from agent.wire.unixctl.ovn_bindings import parse_local_bindings
from agent.wire.unixctl.ovn_engine import parse_engine_stats, parse_stopwatches
from agent.wire.unixctl.pmd import parse_pmd_show
from agent.wire.unixctl.upcall import parse_upcall_show
from agent.wire.x509 import parse_validity
from tests.wire.netlink.recorded import FIXTURES as NETLINK
from tests.wire.netlink.recorded import KERNELS, recorded
from tests.wire.openflow.flow_stats import CountedFlow, iter_flow_stats

DOMAINS = Path(__file__).parent / "domain" / "fixtures"
OPENFLOW = Path(__file__).parent / "openflow" / "fixtures"
GENERIC = Path(__file__).parents[1] / "sources" / "netlink" / "fixtures"
UNIXCTL = Path(__file__).parent / "unixctl" / "fixtures"
X509 = Path(__file__).parent / "x509" / "fixtures"
OVSDB = Path(__file__).parent / "ovsdb" / "fixtures"
SAMPLE_BYTES = 4080
"""Of a recorded answer no more is taken: what is behind it is more of the same."""
BODY_AT, FLOW_BYTES = 16, 56
APPLY = bytes.fromhex("0004")
V13, V14 = of.Version.OF13, of.Version.OF14
NAMES = {1: "a", 2: "b-1", 0xFFFFFFFE: "br0"}
REPLY_PIECE_BYTES = 61

CLONE = bytes.fromhex("ffff 0000 00002320 002a 000000000000")
DEEPEST = (0xFFFF - 128) // len(CLONE)
"""Clones in clones, as many as fit into a message."""


class Parser(NamedTuple):
    """A parser.

    Attributes:
        parse: Does all with its input that the agent does.
        samples: Input that it accepts.
    """

    name: str
    parse: Callable[[bytes], object]
    samples: tuple[bytes, ...]


def nested_clones(depth: int) -> bytes:
    """Return apply_actions of clone(clone(clone(…))), at most ``DEEPEST``."""
    data = b""
    for inside in range(depth, 0, -1):
        # from the outside in: the outermost holds all others
        data += CLONE[:2] + (inside * len(CLONE)).to_bytes(2, "big") + CLONE[4:]
    return APPLY + (8 + len(data)).to_bytes(2, "big") + bytes(4) + data


def _recorded(pattern: str) -> tuple[bytes, ...]:
    """Return recorded messages, of each file as many as go into a sample."""
    return tuple(
        b"".join(_messages(path.read_bytes(), SAMPLE_BYTES))
        for path in sorted(OPENFLOW.glob(f"{pattern}*.bin"))
    )


def _messages(data: bytes, limit_bytes: int) -> list[bytes]:
    found: list[bytes] = []
    while data and sum(map(len, found)) < limit_bytes:
        length = of.parse_header(data).length
        found.append(data[:length])
        data = data[length:]
    return found


def _bodies(pattern: str) -> tuple[bytes, ...]:
    """Return what is behind the multipart header of the first part."""
    return tuple(message[BODY_AT:] for data in _recorded(pattern) for message in _messages(data, 1))


def _flow_bodies(pattern: str) -> tuple[bytes, ...]:
    """Return entries, of each answer as many as go into a sample."""
    return tuple(
        b"".join(it for it in _entries_of(body, SAMPLE_BYTES)) for body in _bodies(pattern)
    )


def _entries_of(body: bytes, limit_bytes: int) -> list[bytes]:
    """Return the undecoded entries that end before the limit."""
    found: list[bytes] = []
    offset = 0
    while offset + FLOW_BYTES <= len(body):
        end = offset + int.from_bytes(body[offset : offset + 2], "big")
        if end > limit_bytes:
            break
        found.append(body[offset:end])
        offset = end
    return found


def _flows(pattern: str) -> list[CountedFlow]:
    """Return recorded flows."""
    return list(iter_flow_stats(_flow_bodies(pattern)))


def _texts(name: str, ending: bytes = b"") -> tuple[bytes, ...]:
    """Return recorded texts; of a long one what is before the last ``ending`` in a sample."""
    texts = (path.read_bytes() for path in sorted(UNIXCTL.glob(f"{name}*.txt")))
    return tuple(
        text if len(text) <= SAMPLE_BYTES else text[: text.rindex(ending, 0, SAMPLE_BYTES)]
        for text in texts
        if text
    )


def _answer(kind: of.Multipart, read: Callable[[list[bytes]], object], data: bytes) -> None:
    """Take messages as they come from a socket, put the answer together and read it."""
    assembler = of.Assembler(kind, 1 << 20)
    while data:
        length = of.parse_header(data).length
        if assembler.add(data[:length]):
            read(assembler.bodies)
        data = data[length:]


def _entries(bodies: list[bytes]) -> None:
    for entry in iter_flow_stats(bodies):
        _match(entry.match)
        of.read_instructions(entry.instructions)
        assert min(entry.table_id, entry.priority, entry.cookie) >= 0


def _match(match: bytes) -> None:
    format_match(match, NAMES).encode()  # a page is UTF-8
    match_scope(match)
    for field in iter_oxm(match):
        assert min(field.value, field.size_bytes) >= 0


def _decoder(data: bytes) -> None:
    """Decode the second half of the input after the first, as two readings of a table."""
    decoder = FlowDecoder()
    middle = data.find(_BETWEEN)
    answers = [data] if middle < 0 else [data[:middle], data[middle + len(_BETWEEN) :]]
    for turn, answer in enumerate(answers):
        decoder.prepare(NAMES)
        for table in decoder.decode(_TABLE, [answer], turn, turn + 0.5, whole=bool(turn)):
            if table is not None:
                assert len(table.flows) == len(table.packets) == len(table.octets)
        decoder.commit()
        decoder.cookies(_TABLE)


_BETWEEN = b"\xff" * 16
_TABLE = 71


def _readings() -> tuple[bytes, ...]:
    """Return recorded flows of a table, read twice: the same, with fewer, with others."""
    (body,) = _bodies("br-int-flows-of13")
    entries = [entry for entry in _entries_of(body, len(body)) if entry[2] == _TABLE]
    whole, later = b"".join(entries), b"".join(entries[1:])
    return whole, *(whole + _BETWEEN + other for other in (whole, later, entries[0]))


def _applied() -> tuple[bytes, ...]:
    """Return actions of flows that have no other instruction."""
    found = (entry.instructions for entry in _EFFECTS)
    return tuple(sorted({it[8:] for it in found if it[:4] == APPLY + len(it).to_bytes(2, "big")}))


def _reply(data: bytes) -> None:
    buffer = ReplyBuffer(1 << 20)
    for start in range(0, len(data), REPLY_PIECE_BYTES):
        buffer.feed(data[start : start + REPLY_PIECE_BYTES])


def _text(parse: Callable[[str], object], data: bytes) -> object:
    return parse(data.decode("utf-8", "replace"))


def _texts_parser(name: str, parse: Callable[[str], object], ending: bytes = b"") -> Parser:
    return Parser(name, partial(_text, parse), _texts(name, ending))


def _dumps(name: str, ending: str = "bin") -> tuple[bytes, ...]:
    return tuple((NETLINK / f"{name}-{kernel}.{ending}").read_bytes() for kernel in KERNELS)


def _payloads(name: str, *kinds: int) -> tuple[bytes, ...]:
    """Return what is behind the header of recorded netlink messages."""
    return tuple(sorted({it.payload for k in KERNELS for it in recorded(name, k, *kinds)}))


def _ovsdb(data: bytes) -> None:
    """Take a schema and then changes of rows of its table, one after the other."""
    try:
        schema, *updates = json.loads(data)
    except (ValueError, TypeError, RecursionError) as error:
        raise ParseError("not a schema with updates behind it") from error
    columns = Columns(_COLUMNS, schema)
    for update in updates:
        for kind, row in read_updates(update).values():
            values = columns.read_row({})
            values = columns.read_row(row) if kind == "insert" else values
            columns.read_changes(values, row)


_COLUMNS = {
    "chassis": REFERENCE,
    "encaps": REFERENCES,
    "external_ids": texts("name", "name2"),
    "tunnel_key": INTEGER,
    "type": TEXT,
    "up": BOOLEAN,
}
_REPLIES = (
    b'{"id":0,"result":"handlers:1 ports:3","error":null}',
    b'{"error": "\\"show\\" is no command \\u00e9\\n", "id": 17, "result": null}',
)
_ENTRIES = _flows("br-fields-flows-of14") + _flows("br-ovn-flows-of13")
_EFFECTS = _flows("br-effects-flows-of14") + _flows("br-actions-flows-of13")

PARSERS: tuple[Parser, ...] = (
    Parser("header", of.parse_header, _recorded("hello")),
    Parser("hello", lambda data: of.negotiate(data, (V13, V14)), _recorded("hello")),
    Parser("error", lambda data: str(of.parse_error(data)), _recorded("error")),
    Parser("what may be sent", of.is_allowed, (of.echo_request(V13, 1), *_recorded("hello"))),
    Parser(
        "flows", partial(_answer, of.Multipart.FLOW, _entries), _recorded("br-[!fi]*-flows-of1?-")
    ),
    Parser("flow entries", lambda data: _entries([data]), _flow_bodies("*-flows-of14-")),
    Parser("flow entry columns", lambda data: Answer(data, _TABLE).starts(), _readings()[:1]),
    Parser("flow decoder", _decoder, _readings()),
    Parser("match", _match, tuple(sorted({it.match for it in _ENTRIES} - {b""}))),
    Parser(
        "instructions",
        of.read_instructions,
        tuple(sorted({it.instructions for it in _EFFECTS} - {b""})),
    ),
    Parser("nested clones", of.read_instructions, (nested_clones(3), nested_clones(40))),
    Parser("bucket", of.read_bucket, _applied()),
    Parser("tables", lambda data: of.parse_table_stats([data]), _bodies("*-tables-of1?-")),
    Parser("ports of 1.3", lambda data: of.parse_port_desc(V13, [data]), _bodies("*-desc-of13-")),
    Parser("ports of 1.4", lambda data: of.parse_port_desc(V14, [data]), _bodies("*-desc-of14-")),
    Parser(
        "port statistics of 1.3",
        lambda data: of.parse_port_stats(V13, [data]),
        _bodies("*-port-stats-of13-"),
    ),
    Parser(
        "port statistics of 1.4",
        lambda data: of.parse_port_stats(V14, [data]),
        _bodies("*-port-stats-of14-"),
    ),
    Parser("groups", lambda data: of.parse_group_desc([data]), _bodies("*-groups-of1?-")),
    Parser("meters", lambda data: of.parse_meter_stats([data]), _bodies("*-meters-of1?-")),
    Parser(
        "netlink messages",
        lambda data: list(messages(data)),
        tuple(it.read_bytes()[:SAMPLE_BYTES] for it in sorted(NETLINK.glob("addresses-*.bin"))),
    ),
    Parser(
        "what may be asked",
        partial(may_be_asked, ROUTE),
        (request(18, LINKS, 1), request(22, b"", 1)),
    ),
    Parser("link statistics", lambda data: parse_link_stats([[data]]), _dumps("link-stats")),
    Parser("queueing disciplines", lambda data: parse_qdiscs([data]), _dumps("qdiscs")),
    Parser(
        "conntrack statistics", lambda data: parse_cpu_statistics([data]), _dumps("conntrack-cpus")
    ),
    Parser("conntrack file", parse_stat_file, _dumps("conntrack-stat", "txt")),
    Parser("conntrack number", parse_number, (b"0\n", b"262144\n")),
    Parser(
        "conntrack zones", lambda data: count_zones(data, Counter()), _dumps("conntrack-entries")
    ),
    Parser("netlink attributes", lambda data: attributes(data, 16), _payloads("links")),
    Parser("link", parse_link, (*_payloads("links"), *_payloads("events", NEWLINK, DELLINK)[-40:])),
    Parser("address", parse_address, _payloads("events", NEWADDR, DELADDR)),
    Parser("forwarding entry", parse_entry, _payloads("events", NEWNEIGH, DELNEIGH)),
    Parser(
        "families of generic netlink",
        lambda data: read_families(each for each in messages(data) if each.type == GENL_CTRL),
        ((GENERIC / "families-6.1.bin").read_bytes(),),
    ),
    Parser(
        "ports of a kernel datapath",
        lambda data: read_vports(data, 33),
        ((NETLINK / "vports-6.1.bin").read_bytes(),),
    ),
    Parser(
        "domain XML",
        partial(_text, parse_domain_xml),
        tuple(path.read_bytes() for path in sorted(DOMAINS.glob("*.xml"))),
    ),
    Parser("OVSDB rows", _ovsdb, ((OVSDB / "rows.json").read_bytes(),)),
    Parser(
        "certificate", parse_validity, tuple(it.read_bytes() for it in sorted(X509.glob("*.der")))
    ),
    Parser("unixctl reply", _reply, _REPLIES),
    _texts_parser("bond-show", parse_bond_show),
    _texts_parser("connection-status", parse_connection_status),
    _texts_parser("coverage-read-counter", parse_read_counter),
    _texts_parser("coverage-show", parse_coverage_show),
    _texts_parser("ct-get", parse_count),
    _texts_parser("dpctl-show", parse_dpctl_show),
    _texts_parser("dump-local-bindings", parse_local_bindings),
    _texts_parser("fdb-stats-show", parse_fdb_stats_show),
    _texts_parser("inc-engine-show-stats", parse_engine_stats, b"Node: "),
    _texts_parser("lacp-show", parse_lacp_show),
    _texts_parser("lflow-cache-show-stats", parse_lflow_cache),
    _texts_parser("list-commands", parse_list_commands),
    _texts_parser("memory-show", parse_memory_show),
    _texts_parser("offload-stats-show", parse_offload_stats_show),
    _texts_parser("pmd", parse_pmd_show),
    _texts_parser("stopwatch-show", parse_stopwatches, b"Statistics for "),
    _texts_parser("upcall-show", parse_upcall_show),
    _texts_parser("version-ovn", parse_version),
)
