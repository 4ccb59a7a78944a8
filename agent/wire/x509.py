"""When a certificate is valid: Python's ssl tells it of a peer's, and only if it verifies."""

from datetime import UTC, datetime
from typing import NamedTuple

from agent.errors import ParseError

_INTEGER, _SEQUENCE, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x02, 0x30, 0x17, 0x18, 0xA0
_HEADER_BYTES, _LONG, _MOST_LENGTH_BYTES = 2, 0x80, 4
_TWO_DIGITS_FROM = 1950
"""A year of two digits is in the hundred years from here (RFC 5280, section 4.1.2.5.1)."""


class Validity(NamedTuple):
    """The first and the last moment."""

    not_before: datetime
    not_after: datetime


def parse_validity(der: bytes) -> Validity:
    """Return when a certificate is valid (RFC 5280, section 4.1).

    A sample of the input, shortened::

        30 82 01 7f                 Certificate
          30 82 01 25               tbsCertificate
            a0 03 02 01 02          version
            02 14 5a …              serialNumber
            30 0a …                 signature
            30 11 …                 issuer
            30 1e                   validity
              17 0d "260101000000Z" notBefore
              18 0f "20510101000000Z" notAfter

    Raises:
        ParseError: If it is no certificate.
    """
    certificate, _ = _take(der, _SEQUENCE)
    rest, _ = _take(certificate, _SEQUENCE)
    if rest[:1] == bytes((_VERSION,)):
        _, rest = _take(rest, _VERSION)
    for kind in (_INTEGER, _SEQUENCE, _SEQUENCE):
        _, rest = _take(rest, kind)
    validity, _ = _take(rest, _SEQUENCE)
    not_before, rest = _time(validity)
    not_after, _ = _time(rest)
    return Validity(not_before, not_after)


def _take(data: bytes, kind: int) -> tuple[bytes, bytes]:
    """Split the contents of the first element from what follows it."""
    if len(data) < _HEADER_BYTES or data[0] != kind:
        raise ParseError("not a certificate")
    length, start = data[1], _HEADER_BYTES
    if length & _LONG:
        start += length & ~_LONG
        if start > _HEADER_BYTES + _MOST_LENGTH_BYTES:
            raise ParseError("not a certificate: too long")
        length = int.from_bytes(data[_HEADER_BYTES:start], "big")
    if len(data) < start + length:
        raise ParseError("not a whole certificate")
    return data[start : start + length], data[start + length :]


def _time(data: bytes) -> tuple[datetime, bytes]:
    """Read ``260101000000Z`` or ``20260101000000Z``; DER allows no other form."""
    kind = _GENERALIZED_TIME if data[:1] == bytes((_GENERALIZED_TIME,)) else _UTC_TIME
    raw, rest = _take(data, kind)
    text = raw.decode("ascii", "replace")
    if kind == _UTC_TIME:
        century = _TWO_DIGITS_FROM // 100 + (text[:2] < str(_TWO_DIGITS_FROM % 100))
        text = f"{century}{text}"
    if not (text[:-1].isdecimal() and text.isascii() and text.endswith("Z")):
        raise ParseError("a certificate with a time that is none")
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC), rest
    except ValueError as error:
        raise ParseError("a certificate with a time that is none") from error
