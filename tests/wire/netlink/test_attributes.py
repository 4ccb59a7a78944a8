"""Attributes are read as they were written, and refused when cut short."""

import ipaddress
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ParseError
from agent.wire.netlink import attributes as module
from agent.wire.netlink.attributes import (
    ATTRIBUTE,
    attribute,
    attributes,
    first,
    ip_address,
    ip_text,
    selected,
    text,
)

NESTED, NET_BYTEORDER = 0x8000, 0x4000
ALL = frozenset(range(1 << 14))
VALUES = st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=40), max_size=12)

Read = Callable[[bytes], object]
READERS: tuple[Read, ...] = (
    attributes,
    lambda data: selected(data, ALL),
    lambda data: first(data, 0x3FFF),
)


@given(VALUES)
def test_reads_what_was_written(values: dict[int, bytes]) -> None:
    data = b"".join(attribute(kind, value) for kind, value in values.items())
    assert attributes(data) == values
    assert attributes(b"head" + data, 4) == values
    for kind, value in values.items():
        assert first(data, kind) == value
        assert selected(data, frozenset((kind,))) == {kind: value}


def test_flags_are_no_part_of_a_type() -> None:
    data = attribute(5 | NESTED, b"a") + attribute(6 | NET_BYTEORDER, b"b")
    assert attributes(data) == selected(data, ALL) == {5: b"a", 6: b"b"}
    assert first(data, 5) == b"a"


def test_of_a_type_that_is_there_twice_the_last_is_taken() -> None:
    data = attribute(5, b"a") + attribute(5, b"b")
    assert attributes(data) == selected(data, ALL) == {5: b"b"}
    assert first(data, 5) == b"a"


def test_what_is_not_there_is_none() -> None:
    assert first(attribute(5, b"a"), 6) is None
    assert selected(attribute(5, b"a"), frozenset((6,))) == {}


def test_the_last_may_lack_its_padding() -> None:
    assert attributes(attribute(5, b"abcde")[:-3]) == {5: b"abcde"}


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "data",
    [
        ATTRIBUTE.pack(3, 5),
        ATTRIBUTE.pack(0, 5) + bytes(4),
        ATTRIBUTE.pack(9, 5) + bytes(4),
        attribute(1, b"a") + ATTRIBUTE.pack(0xFFFF, 5) + bytes(4),
    ],
)
def test_an_attribute_cut_short_is_refused(read: Read, data: bytes) -> None:
    with pytest.raises(ParseError):
        read(data)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("u8", "=B"),
        ("u16", "=H"),
        ("u32", "=I"),
        ("u64", "=Q"),
        ("big_u16", ">H"),
        ("big_u32", ">I"),
    ],
)
def test_numbers(name: str, form: str) -> None:
    read = getattr(module, name)
    size = struct.calcsize(form)
    number = int.from_bytes(bytes(range(1, size + 1)), "big")
    assert read(struct.pack(form, number)) == number
    assert read(struct.pack(form, number) + b"more") == number
    assert read(None) is None
    with pytest.raises(ParseError):
        read(bytes(size - 1))


def test_texts_end_at_their_nul() -> None:
    assert (text(b"eth0\0rest"), text(b"eth0"), text(b""), text(None)) == ("eth0", "eth0", "", None)
    assert text(b"a\xffb\0") == "a\\xffb"


@given(st.ip_addresses())
def test_ip_addresses_are_read_back(address: ipaddress.IPv4Address) -> None:
    assert ipaddress.ip_address(ip_text(address.packed)) == address


def test_an_address_of_zeros_is_none() -> None:
    assert [ip_address(it) for it in (bytes(4), bytes(16), b"", None)] == [None] * 4
    assert ip_address(bytes((10, 0, 0, 1))) == "10.0.0.1"
    assert ip_text(bytes(16)) == "::"


@pytest.mark.parametrize("length", [0, 3, 5, 15, 17])
def test_an_ip_address_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ParseError):
        ip_text(b"\1" * length)
