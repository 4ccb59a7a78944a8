"""What the parsers of all texts share."""

from agent.errors import ParseError

MAX_DIGITS = 20
"""Decimal digits of 2**64 - 1: the widest counter that Open vSwitch prints."""
MAX_NUMBER = (1 << 64) - 1


def number(text: str, what: str) -> int:
    """Read an unsigned decimal number of at most 64 bits.

    Args:
        text: The digits and nothing else.
        what: Which number it is, for the error.

    Raises:
        ParseError: If it is not a number or does not fit into 64 bits.
    """
    if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS:
        value = int(text)
        if value <= MAX_NUMBER:
            return value
    raise ParseError(f"{what}: {text[:40]!r} is not a number of 64 bits")


def first_word(text: str) -> str:
    """Return what stands before the first space, ``""`` for a blank text."""
    return text.split(maxsplit=1)[0] if text.strip() else ""


def fields(text: str, what: str) -> dict[str, int]:
    """Read the numbers of ``hit:30 missed:39 lost:0``; words without a number are passed over.

    A field is taken when its value begins with a digit and holds only digits; ``hit/pkt:1.25``
    and ``hit-rate:46.21%`` are averages that nobody needs and are left out.

    Raises:
        ParseError: If a value is neither a number nor one of those averages.
    """
    found = {}
    for word in text.split():
        name, colon, value = word.partition(":")
        if colon and name not in {"hit/pkt", "hit-rate"}:
            found[name] = number(value, f"{what} {name}")
    return found
