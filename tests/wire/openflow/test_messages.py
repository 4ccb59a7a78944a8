import struct

import pytest

from agent.errors import ParseError
from agent.wire.openflow import messages as of
from tests.wire.openflow import recorded

OURS = (of.Version.OF13, of.Version.OF14)


def _message(kind: int, body: bytes = b"", version: int = 4, xid: int = 9) -> bytes:
    return struct.pack(">BBHI", version, kind, 8 + len(body), xid) + body


def _hello(version: int, *elements: bytes) -> bytes:
    return _message(0, b"".join(elements), version)


def _bitmap(*words: int) -> bytes:
    return struct.pack(f">HH{len(words)}I", 1, 4 + 4 * len(words), *words)


# -- agreement on a version ----------------------------------------------------------------------


def test_offers_versions_in_bitmap_and_header() -> None:
    assert of.hello(OURS, 1).hex() == "0500001000000001" + "0001000800000030"


@pytest.mark.parametrize(
    ("hello", "ours", "agreed"),
    [
        (_hello(5, _bitmap(0x32)), OURS, of.Version.OF14),
        (_hello(4, _bitmap(0x12)), OURS, of.Version.OF13),
        (_hello(6, _bitmap(0x52)), OURS, of.Version.OF13),
        (_hello(1, _bitmap(0x02)), OURS, None),
        (_hello(5, _bitmap(0x20)), (of.Version.OF13,), None),
        (_hello(5), OURS, of.Version.OF14),
        (_hello(6), OURS, of.Version.OF14),
        (_hello(4), OURS, of.Version.OF13),
        (_hello(3), OURS, None),
        (_hello(1), OURS, None),
        (_hello(4, struct.pack(">HHI", 7, 5, 0), _bitmap(0x20)), OURS, of.Version.OF14),
        (_hello(5, _bitmap(0x30, 1)), OURS, of.Version.OF14),
    ],
)
def test_agrees_on_the_highest_common_version(
    hello: bytes, ours: tuple[of.Version, ...], agreed: of.Version | None
) -> None:
    assert of.negotiate(hello, ours) is agreed


def test_agrees_with_open_vswitch() -> None:
    assert of.negotiate(recorded.message("hello-10-13-14"), OURS) is of.Version.OF14
    assert of.negotiate(recorded.message("hello-10"), OURS) is None


@pytest.mark.parametrize(
    "hello",
    [
        b"",
        _message(2),
        _hello(4, struct.pack(">HH", 1, 3)),
        _hello(4, struct.pack(">HH", 1, 4)),
        _hello(4, struct.pack(">HH", 1, 8)),
        _hello(4, struct.pack(">HHH", 1, 6, 0)),
        _hello(4, _bitmap(0x10)) + b"\0",
    ],
)
def test_refuses_a_malformed_hello(hello: bytes) -> None:
    with pytest.raises(ParseError):
        of.negotiate(hello, OURS)


# -- headers, errors, ECHO -----------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", bytes(7), bytes.fromhex("0400000700000000")])
def test_refuses_a_header_that_cannot_be(data: bytes) -> None:
    with pytest.raises(ParseError):
        of.parse_header(data)


def test_an_echo_is_answered_with_its_payload() -> None:
    assert of.parse_header(of.echo_request(of.Version.OF14, 7, b"now")) == (5, 2, 11, 7)
    assert of.echo_reply(of.Version.OF14, 7, b"now") == bytes.fromhex("0503000b00000007") + b"now"


def test_names_what_the_switch_refused() -> None:
    error = of.parse_error(recorded.message("error-bad-multipart-of13"))
    assert (error.type, error.code, str(error)) == (1, 2, "BAD_REQUEST BAD_MULTIPART")
    error = of.parse_error(recorded.message("error-hello-incompatible"))
    assert str(error) == "HELLO_FAILED INCOMPATIBLE"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("00010063", "BAD_REQUEST 99"),
        ("00050001", "FLOW_MOD_FAILED 1"),
        ("00630001", "99 1"),
        ("ffff0b5c", "EXPERIMENTER 2908"),
    ],
)
def test_gives_the_numbers_of_errors_it_has_no_name_for(body: str, text: str) -> None:
    assert str(of.parse_error(_message(1, bytes.fromhex(body)))) == text


def test_refuses_an_error_without_a_code() -> None:
    with pytest.raises(ParseError):
        of.parse_error(_message(1, b"\0\1"))


# -- multipart -----------------------------------------------------------------------------------


def test_a_flow_request_asks_for_one_table_and_restricts_nothing_else() -> None:
    body = of.flow_request_body(71, cookie=0x5, cookie_mask=0xFF)
    assert body.hex() == (
        "47000000ffffffffffffffff00000000" + f"{5:016x}{0xFF:016x}" + "0001000400000000"
    )


def _part(kind: int, flags: int, body: bytes) -> bytes:
    return _message(19, struct.pack(">HHxxxx", kind, flags) + body)


def test_puts_an_answer_together_up_to_the_part_without_more() -> None:
    assembler = of.Assembler(of.Multipart.FLOW, 1000)
    assert not assembler.add(_part(1, 1, b"first"))
    assert not assembler.add(_part(1, 1, b""))
    assert assembler.add(_part(1, 0, b"last"))
    assert assembler.bodies == [b"first", b"", b"last"]


@pytest.mark.parametrize(
    "part",
    [
        _part(3, 0, b""),
        _message(19, bytes(7)),
        _message(18, bytes(8)),
        _part(1, 0, b"") + b"\0",
        _part(1, 0, bytes(90)),
    ],
)
def test_refuses_a_part_of_another_answer_or_one_too_large(part: bytes) -> None:
    with pytest.raises(ParseError):
        of.Assembler(of.Multipart.FLOW, 100).add(part)


def test_an_endless_answer_of_empty_parts_meets_the_limit() -> None:
    assembler = of.Assembler(of.Multipart.FLOW, 160)
    for _ in range(10):
        assert not assembler.add(_part(1, 1, b""))
    with pytest.raises(ParseError):
        assembler.add(_part(1, 1, b""))


def test_refuses_a_part_behind_the_last() -> None:
    assembler = of.Assembler(of.Multipart.FLOW, 1000)
    assert assembler.add(_part(1, 0, b""))
    with pytest.raises(ParseError):
        assembler.add(_part(1, 0, b""))


# -- what may be sent ----------------------------------------------------------------------------


@pytest.mark.parametrize("version", OURS)
def test_lets_every_request_of_its_own_pass(version: of.Version) -> None:
    requests = [
        of.hello(OURS, 1),
        of.echo_request(version, 2, b"x"),
        of.echo_reply(version, 2, b"x"),
        of.features_request(version, 3),
        of.multipart_request(version, of.Multipart.FLOW, 4, of.flow_request_body(7)),
        of.multipart_request(version, of.Multipart.PORT_STATS, 4, of.port_stats_request_body()),
        *(of.multipart_request(version, kind, 5) for kind in of.Multipart),
    ]
    assert all(of.is_allowed(request) for request in requests)


@pytest.mark.parametrize("kind", sorted(set(range(256)) - {0, 2, 3, 5, 18}))
def test_lets_no_other_message_pass(kind: int) -> None:
    assert not of.is_allowed(_message(kind))
    assert not of.is_allowed(_message(kind, bytes(48)))


@pytest.mark.parametrize("kind", sorted(set(range(0x10000)) - set(of.Multipart))[::0x101])
def test_lets_no_other_multipart_request_pass(kind: int) -> None:
    assert not of.is_allowed(_message(18, struct.pack(">HHxxxx", kind, 0)))


@pytest.mark.parametrize("subtype", range(64))
def test_lets_no_other_nicira_message_pass(subtype: int) -> None:
    assert not of.is_allowed(_message(4, struct.pack(">II", 0x2320, subtype)))


TABLE_FEATURES = struct.pack(">HHxxxx", 12, 0)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        bytes(7),
        _message(18, bytes(7)),
        _message(18, TABLE_FEATURES + bytes(64)),
        _message(18, struct.pack(">HHxxxx", 12, 1)),
        _message(18, struct.pack(">HHxxxx", 2, 0)),
        _message(18, struct.pack(">HHxxxx", 1, 1)),
        _message(4, struct.pack(">II", 0x2320, 25) + bytes(8)),
        _message(4, struct.pack(">II", 0x4F4E4600, 25)),
        _message(4, bytes(4)),
        _message(2) + _message(14, bytes(48)),
        _message(5, bytes(8)),
        _message(2)[:-1],
        _message(2, version=1),
        _message(18, struct.pack(">HHxxxx", 0, 0), version=6),
    ],
)
def test_lets_nothing_pass_that_could_write(message: bytes) -> None:
    assert not of.is_allowed(message)
