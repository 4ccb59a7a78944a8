"""Families make samples; label texts are escaped once and remembered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.families import (
    LABEL_TEXT_CACHE,
    Counter,
    Gauge,
    Sample,
    Summary,
    escape,
    label_text,
    render_labels,
)

G = Gauge("g", "G [test].", ("a", "b"))


def test_a_sample_has_its_labels_in_the_order_of_the_family() -> None:
    assert G(1, "x", "y") == Sample(G, '{a="x",b="y"}', 1)


def test_an_empty_label_is_left_out_and_without_labels_there_are_no_braces() -> None:
    assert G(1, "", "y").labels == '{b="y"}'
    assert G(1, "", "").labels == ""
    assert Gauge("g", "G [test].")(1).labels == ""


@pytest.mark.parametrize("values", [(), ("x",), ("x", "y", "z")])
def test_a_wrong_number_of_label_values_is_an_error(values: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="zip"):
        G(1, *values)
    with pytest.raises(ValueError, match="zip"):
        G.text(*values)


def test_texts_and_samples_write_labels_alike() -> None:
    assert G.text("x", 'y"') == G(1, "x", 'y"').labels


def test_a_summary_is_a_sum_and_a_count() -> None:
    summary = Summary("s", "S [test].", ("a",))
    assert list(summary.both(0.5, 3, "x")) == [
        Sample(summary, '{a="x"}', 0.5, "_sum"),
        Sample(summary, '{a="x"}', 3, "_count"),
    ]


def test_kinds_are_what_they_are_called() -> None:
    kinds = [make("x", "X [test].").kind for make in (Counter, Gauge, Summary)]
    assert kinds == ["counter", "gauge", "summary"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        ('in_port="tap0"', r"in_port=\"tap0\""),
        ("C:\\n", r"C:\\n"),
        ("two\nlines", r"two\nlines"),
        ('\\"\n', r"\\\"\n"),
        ("トンネル", "トンネル"),
    ],
)
def test_backslash_quote_and_newline_are_escaped_and_nothing_else(value: str, written: str) -> None:
    assert escape(value) == written


@given(st.text())
def test_an_escaped_value_is_one_line_ends_nowhere_early_and_reads_back(value: str) -> None:
    written = escape(value)
    assert "\n" not in written
    plain = written.replace("\\\\", "").replace('\\"', "").replace("\\n", "")
    assert '"' not in plain
    assert "\\" not in plain
    assert unescape(written) == value


def unescape(written: str) -> str:
    read, characters = "", iter(written)
    for character in characters:
        if character == "\\":
            escaped = next(characters)
            read += "\n" if escaped == "n" else escaped
        else:
            read += character
    return read


def test_the_memory_of_label_texts_is_bounded() -> None:
    assert label_text.cache_info().maxsize == LABEL_TEXT_CACHE


def test_a_remembered_label_text_is_the_one_that_would_be_written() -> None:
    names, values = ("a", "b"), ("x\n", '"')
    assert [label_text(names, values) for _ in range(2)] == [render_labels(names, values)] * 2
