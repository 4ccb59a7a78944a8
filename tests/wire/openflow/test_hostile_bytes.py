"""Whatever a peer sends, ParseError is the worst that happens."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import ParseError
from agent.wire.openflow import messages as of
from agent.wire.openflow.actions import action_kind
from agent.wire.openflow.match import format_match, iter_oxm, match_in_port
from tests.wire.openflow import recorded

Parser = Callable[[bytes], object]


def _read_flows(body: bytes) -> None:
    for entry in of.iter_flow_stats([body]):
        assert (entry.table_id, entry.priority, entry.cookie) >= (0, 0, 0)
        format_match(entry.match, {1: "a", 2: "b-1"})
        match_in_port(entry.match)
        action_kind(entry.instructions)


def _body(name: str, kind: of.Multipart) -> bytes:
    return recorded.bodies(name, kind)[0]


V13, V14 = of.Version.OF13, of.Version.OF14
PARSERS: dict[str, tuple[bytes, Parser]] = {
    "flows": (_body("br-int-flows-of13", of.Multipart.FLOW)[:1200], _read_flows),
    "fields": (_body("br-fields-flows-of14", of.Multipart.FLOW)[:1200], _read_flows),
    "actions": (_body("br-actions-flows-of14", of.Multipart.FLOW)[:1200], _read_flows),
    "ports of 1.3": (
        _body("br-fields-port-desc-of13", of.Multipart.PORT_DESC),
        lambda body: of.parse_port_desc(V13, [body]),
    ),
    "ports of 1.4": (
        _body("br-fields-port-desc-of14", of.Multipart.PORT_DESC),
        lambda body: of.parse_port_desc(V14, [body]),
    ),
    "statistics of 1.3": (
        _body("br-actions-port-stats-of13", of.Multipart.PORT_STATS),
        lambda body: of.parse_port_stats(V13, [body]),
    ),
    "statistics of 1.4": (
        _body("br-actions-port-stats-of14", of.Multipart.PORT_STATS),
        lambda body: of.parse_port_stats(V14, [body]),
    ),
    "tables": (
        _body("br-actions-tables-of13", of.Multipart.TABLE)[:240],
        lambda body: of.parse_table_stats([body]),
    ),
    "hello": (
        recorded.message("hello-10-13-14"),
        lambda message: of.negotiate(message, (V13, V14)),
    ),
    "error": (
        recorded.message("error-bad-multipart-of13"),
        lambda message: str(of.parse_error(message)),
    ),
    "parts": (
        recorded.message("br-fields-port-desc-of13"),
        lambda message: of.Assembler(of.Multipart.PORT_DESC, 1 << 16).add(message),
    ),
    "what may be sent": (of.echo_request(V13, 1), of.is_allowed),
}


def _survives(parser: Parser, data: bytes) -> None:
    try:
        parser(data)
    except ParseError as error:
        assert str(error)  # noqa: PT017 - any other exception fails the test by itself


@pytest.mark.parametrize("name", PARSERS)
def test_survives_every_truncation(name: str) -> None:
    data, parser = PARSERS[name]
    for end in range(len(data)):
        _survives(parser, data[:end])


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_survives_mutation(name: str, data: st.DataObject) -> None:
    original, parser = PARSERS[name]
    mutated = bytearray(original)
    positions = st.integers(0, len(original) - 1)
    for at, value in data.draw(st.lists(st.tuples(positions, st.integers(0, 255)), max_size=8)):
        mutated[at] = value
    _survives(parser, bytes(mutated))


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=100, deadline=None)
@given(garbage=st.binary(max_size=400))
def test_survives_garbage(name: str, garbage: bytes) -> None:
    _survives(PARSERS[name][1], garbage)


@settings(max_examples=300, deadline=None)
@given(garbage=st.binary(max_size=200))
def test_survives_garbage_as_match_and_as_instructions(garbage: bytes) -> None:
    _survives(lambda data: format_match(data, {}), garbage)
    _survives(action_kind, garbage)


@pytest.mark.parametrize("length", [0, 8, 55])
def test_an_entry_that_is_too_short_ends_the_reading(length: int) -> None:
    entry = bytearray(_body("br-int-flows-of13", of.Multipart.FLOW)[:200])
    entry[:2] = length.to_bytes(2, "big")
    with pytest.raises(ParseError):
        list(of.iter_flow_stats([bytes(entry)]))


def test_a_match_that_is_cut_inside_a_field_is_refused() -> None:
    match = recorded.flows("br-fields", "of13")[0].match
    ends = {0}
    for oxm in iter_oxm(match):
        header = match[max(ends) : max(ends) + 4]
        ends.add(max(ends) + 4 + header[3])
        assert oxm.size_bytes > 0
    for end in set(range(len(match))) - ends:
        with pytest.raises(ParseError):
            format_match(match[:end], {})


def test_instructions_that_are_cut_are_refused() -> None:
    for entry in recorded.flows("br-actions", "of14"):
        for end in range(1, len(entry.instructions)):
            if end % 8:
                with pytest.raises(ParseError):
                    action_kind(entry.instructions[:end])


def test_a_cut_answer_is_refused_and_not_read_short() -> None:
    body = _body("br-int-flows-of13", of.Multipart.FLOW)
    whole = list(of.iter_flow_stats([body]))
    with pytest.raises(ParseError):
        list(of.iter_flow_stats([body[:-8]]))
    with pytest.raises(ParseError):
        list(of.iter_flow_stats([body + bytes(8)]))
    assert len(whole) > 100
