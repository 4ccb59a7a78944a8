"""Pages as Prometheus reads them: prometheus_client's two parsers are the oracle."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.exposition.text import Format, negotiate, number
from agent.families import Counter, Gauge, Sample, Summary, Value
from tests.page import block, families, rendered, series

G = Gauge("g", "G [test].", ("a", "b"))
C = Counter("c_total", 'C, 100\\% of "it"\nin two lines [test].', ("a",))
S = Summary("s", "S [test].", ("a",))
FORMS = pytest.mark.parametrize("form", list(Format))

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_2_OLD = (
    "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
PROMETHEUS_PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,"
    "application/openmetrics-text;version=1.0.0;q=0.8,"
    "application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_TEXT_FIRST = (
    "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1"
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (PROMETHEUS_2, Format.OPENMETRICS),
        (PROMETHEUS_2_OLD, Format.OPENMETRICS),
        (PROMETHEUS_3, Format.OPENMETRICS),
        (PROMETHEUS_PROTOBUF, Format.OPENMETRICS),
        (PROMETHEUS_TEXT_FIRST, Format.TEXT),
        (BROWSER, Format.TEXT),
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        ("text/plain", Format.TEXT),
        ("application/openmetrics-text", Format.OPENMETRICS),
        ("APPLICATION/OpenMetrics-Text; Version=1.0.0", Format.OPENMETRICS),
        ("application/openmetrics-text;version=2.0.0", Format.TEXT),
        ("application/openmetrics-text;q=0", Format.TEXT),
        ("application/openmetrics-text;q=0,text/plain;q=0", Format.TEXT),
        ("application/openmetrics-text;q=nan", Format.TEXT),
        ("application/openmetrics-text;q=high", Format.TEXT),
        ("application/json", Format.TEXT),
        (";;;,,=,q=,", Format.TEXT),
    ],
)
def test_openmetrics_only_where_it_is_wanted_by_name(accept: str, form: Format) -> None:
    assert negotiate(accept) is form


@given(st.text())
def test_any_accept_header_gets_a_format(accept: str) -> None:
    assert negotiate(accept) in Format


@FORMS
def test_a_page_reads_back_as_it_was_said(form: Format) -> None:
    up = True
    said = [G(1, "x", "y"), C(2, "x"), *S.both(0.5, 3, "x"), G(up, "t", ""), G(-1.5, "", "")]
    page = rendered(said, form)
    assert series(page, form) == {
        ("g", frozenset({("a", "x"), ("b", "y")})): 1,
        ("g", frozenset({("a", "t")})): 1,
        ("g", frozenset()): -1.5,
        ("c_total", frozenset({("a", "x")})): 2,
        ("s_sum", frozenset({("a", "x")})): 0.5,
        ("s_count", frozenset({("a", "x")})): 3,
    }


@FORMS
def test_types_and_help_texts_read_back(form: Format) -> None:
    page = rendered([G(1, "x", "y"), C(2, "x"), *S.both(0.5, 3, "x")], form)
    read = {each.name: (each.type, each.documentation) for each in families(page, form)}
    assert read == {
        "g": ("gauge", "G [test]."),
        "c": ("counter", C.help),
        "s": ("summary", "S [test]."),
    }


def test_only_openmetrics_ends_in_eof_and_names_a_counter_without_total() -> None:
    openmetrics = rendered([C(2, "x")], Format.OPENMETRICS)
    assert openmetrics.endswith(b'c_total{a="x"} 2\n# EOF\n')
    assert b"# TYPE c counter\n" in openmetrics
    text = rendered([C(2, "x")], Format.TEXT)
    assert text.endswith(b'c_total{a="x"} 2\n')
    assert b"# TYPE c_total counter\n" in text


def test_an_empty_page_is_valid_in_both() -> None:
    assert rendered([], Format.TEXT) == b""
    assert rendered([], Format.OPENMETRICS) == b"# EOF\n"


@FORMS
def test_samples_of_a_family_that_come_apart_stand_together(form: Format) -> None:
    page = rendered([G(1, "x", ""), C(2, "x"), block(G, [(G.text("y", ""), 3)]), C(4, "y")], form)
    assert page.count(b"# TYPE") == 2
    assert len(series(page, form)) == 4


@FORMS
def test_a_family_without_a_known_value_is_not_on_the_page(form: Format) -> None:
    page = rendered([G(None, "x", "y"), block(C, []), G(None, "z", "")], form)
    assert families(page, form) == []


ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]))


@FORMS
@given(value=ANY_TEXT, other=ANY_TEXT)
def test_any_label_value_reads_back_letter_by_letter(form: Format, value: str, other: str) -> None:
    page = rendered([G(7, value, other), C(8, value)], form)
    labels = {(name, each) for name, each in (("a", value), ("b", other)) if each}
    assert series(page, form) == {
        ("g", frozenset(labels)): 7,
        ("c_total", frozenset({("a", value)} if value else set())): 8,
    }


@FORMS
@given(value=st.text(alphabet=st.characters(categories=["Cs", "Cc", "Lu"])))
def test_half_a_surrogate_pair_does_not_break_the_page(form: Format, value: str) -> None:
    page = rendered([G(7, value, ""), C(8, "sound")], form)
    assert len(series(page, form)) == 2


NUMBERS = st.one_of(st.integers(-(1 << 64), 1 << 64), st.floats(), st.booleans())


@FORMS
@given(value=NUMBERS)
def test_any_number_reads_back_exactly(form: Format, value: Value) -> None:
    (read,) = series(rendered([G(value, "x", "")], form), form).values()
    if isinstance(value, float) and math.isnan(value):
        assert math.isnan(read)
    else:
        assert read == value  # integers beyond 2**53 too


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (True, "1"),
        (False, "0"),
        (0, "0"),
        ((1 << 64) - 1, "18446744073709551615"),
        (0.1, "0.1"),
        (1e-9, "1e-09"),
        (1e300, "1e+300"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
        (float("nan"), "NaN"),
    ],
)
def test_numbers_are_written_as_every_reader_knows_them(value: Value, written: str) -> None:
    assert number(value) == written


@FORMS
@given(value=ANY_TEXT)
def test_blocks_and_samples_render_the_same_bytes(form: Format, value: str) -> None:
    lines = rendered([block(G, [(G.text(value, "y"), 1)])], form)
    assert lines == rendered([Sample(G, G.text(value, "y"), 1)], form)
