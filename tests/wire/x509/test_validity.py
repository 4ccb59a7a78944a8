"""When certificates are valid, in both ways to write a time."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.errors import ParseError
from agent.wire.x509 import parse_validity

FIXTURES = Path(__file__).parent / "fixtures"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("until-2026", datetime(2026, 1, 2, tzinfo=UTC)),
        ("until-2051", datetime(2051, 1, 1, tzinfo=UTC)),
    ],
)
def test_knows_the_first_and_the_last_moment(name: str, end: datetime) -> None:
    assert parse_validity((FIXTURES / f"{name}.der").read_bytes()) == (BEGIN, end)


def test_two_digits_are_a_year_between_1950_and_2049() -> None:
    certificate = (FIXTURES / "until-2026.der").read_bytes()
    for digits, year in ((b"49", 2049), (b"50", 1950), (b"99", 1999)):
        changed = certificate.replace(b"260102000000Z", digits + b"0102000000Z")
        assert parse_validity(changed).not_after.year == year


@pytest.mark.parametrize(
    "time", [b"269902000000Z", b"260102000000+", b"2601020000 0Z", b"\xff60102000000Z"]
)
def test_refuses_a_time_that_is_none(time: bytes) -> None:
    certificate = (FIXTURES / "until-2026.der").read_bytes()
    with pytest.raises(ParseError):
        parse_validity(certificate.replace(b"260102000000Z", time))


@pytest.mark.parametrize(
    "data", [b"", b"0", b"\x30\x84\xff\xff\xff\xff", b"\x30\x89" + b"\xff" * 9]
)
def test_refuses_what_is_no_certificate(data: bytes) -> None:
    with pytest.raises(ParseError):
        parse_validity(data)
