"""XML that is broken, cut, too much or meant to harm: ParseError or an answer, and soon."""

import gc
import re
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import ParseError
from agent.wire.domain_xml import (
    MAX_DEPTH,
    MAX_XML_CHARACTERS,
    NOVA,
    Description,
    parse_domain_xml,
)

FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("*.xml"))
TEXTS = [path.read_text(encoding="utf-8") for path in FIXTURES]
PEAK_BYTES, PEAK_BYTES_PER_BYTE = 1 << 17, 100
"""As in tests/wire/test_fuzz.py."""
SECRET = "hunter2"  # noqa: S105 (looked for where it must not be)


def survives(text: str) -> None:
    """Parse or refuse, and look at the error's text and at what is known."""
    try:
        found = parse_domain_xml(text)
    except ParseError as error:
        said = str(error)
    else:
        assert all(len(told) <= 1024 for told in texts(found))
        " ".join(texts(found)).encode()
        return
    assert re.fullmatch(r"[ -~]{1,80}", said)
    assert SECRET not in said


def texts(found: Description) -> list[str]:
    owner = found.owner
    return [
        text
        for each in found.interfaces
        for text in (each.type, each.mac, each.target_device, each.model, each.iface_id)
        if text is not None
    ] + ([] if owner is None else [owner.instance_name or "", *owner.ports])


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_a_domain_cut_anywhere_is_refused(path: Path) -> None:
    text = path.read_text(encoding="utf-8").rstrip()
    for end in range(0, len(text), 1 + len(text) // 400):
        with pytest.raises(ParseError):
            parse_domain_xml(text[:end])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: no element found"),
        ("\n", "line 2: no element found"),
        ("what is this", "line 1: syntax error"),
        ("<domain>\n<name>a</nome>\n</domain>", "line 2: mismatched tag"),
        ("<domain/><domain/>", "line 1: junk after document element"),
        ("<domain a='1' a='2'/>", "line 1: duplicate attribute"),
        ("<domain>&hunter2;</domain>", "line 1: undefined entity"),
        ("<domain>\0</domain>", "line 1: not well-formed (invalid token)"),
        ("<domain>\x1b</domain>", "line 1: not well-formed (invalid token)"),
        ("<domain>\uffff</domain>", "line 1: not well-formed (invalid token)"),
        ("<domain>&#xd800;</domain>", "line 1: reference to invalid character number"),
        ("<domain>\ud800</domain>", "it has half of a surrogate pair"),
        ("<network><name>hunter2</name></network>", "its root is not a domain"),
        ("<domains><domain/></domains>", "its root is not a domain"),
        ("<x:domain xmlns:x='y'/>", "its root is not a domain"),
        ("<domain>" + " " * MAX_XML_CHARACTERS, f"longer than {MAX_XML_CHARACTERS} characters"),
        ("<a>" * 100_000, "its root is not a domain"),
        ("<domain>" * 100_000, f"nested deeper than {MAX_DEPTH} elements"),
        ("<domain>" * 257 + "</domain>" * 257, f"nested deeper than {MAX_DEPTH} elements"),
    ],
)
def test_the_error_is_one_line_that_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_domain_xml(text)
    assert str(caught.value) == says
    assert caught.value.__cause__ is None


def test_as_deep_as_libvirt_itself_reads_is_read() -> None:
    assert parse_domain_xml("<domain>" * MAX_DEPTH + "</domain>" * MAX_DEPTH).owner is None


LAUGHS = "".join(f"<!ENTITY l{n + 1} '{f'&l{n};' * 10}'>" for n in range(9))


@pytest.mark.parametrize(
    "text",
    [
        "<!DOCTYPE domain><domain/>",
        f"<!DOCTYPE d [<!ENTITY l0 'ha'>{LAUGHS}]><domain><name>&l9;</name></domain>",
        "<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/hostname'>]><domain>&x;</domain>",
        "<!DOCTYPE d SYSTEM 'http://192.0.2.1/d.dtd'><domain/>",
        "<!DOCTYPE d [<!ENTITY % x SYSTEM 'http://192.0.2.1/d.dtd'> %x;]><domain/>",
        f"<!DOCTYPE d [<!ENTITY a '{'a' * 9000}'>]><domain>{'&a;' * 90_000}</domain>",
        "<?xml version='1.0'?>\n<!-- -->\n<!DOCTYPE d [<!ATTLIST domain type CDATA 'x'>]><domain/>",
    ],
)
def test_a_document_type_is_refused_before_anything_is_expanded(text: str) -> None:
    start = time.process_time()
    with pytest.raises(ParseError, match=r"^it has a document type$"):
        parse_domain_xml(text)
    assert time.process_time() - start < 0.1


@pytest.mark.parametrize("text", ["<!doctype d><domain/>", "<! DOCTYPE d><domain/>", "<!DOC"])
def test_what_looks_like_a_document_type_is_none(text: str) -> None:
    with pytest.raises(ParseError, match="line 1: "):
        parse_domain_xml(text)


def filled(unit: str | Callable[[int], str], head: str = "", tail: str = "") -> str:
    """Repeat until a text is as long as it may be; a function is given a number that is new."""
    room = MAX_XML_CHARACTERS - len(head) - len(tail)
    if isinstance(unit, str):
        return head + unit * (room // len(unit)) + tail
    return head + "".join(unit(number) for number in range(room // len(unit(1 << 19)))) + tail


IN_DEVICES = "<domain><devices>", "</devices></domain>"
IN_INTERFACE = "<domain><devices><interface type='a'>", "</interface></devices></domain>"
IN_METADATA = "<domain><metadata>", "</metadata></domain>"
IN_NOVA = f"<domain><metadata><instance xmlns='{NOVA}'>", "</instance></metadata></domain>"
IN_NAME = f"{IN_NOVA[0]}<name>", f"</name>{IN_NOVA[1]}"
HALF = "u" * (MAX_XML_CHARACTERS // 2)
PREFIXES = "".join(f" xmlns:p{number:x}=''" for number in range(30_000))

BOMBS: dict[str, str] = {
    "elements in elements": filled("<a>", "<domain>"),
    "elements beside elements": filled("<a/>", "<domain>", "</domain>"),
    "elements of many names": filled(lambda n: f"<a{n:x}/>", "<domain>", "</domain>"),
    "elements in devices": filled("<a/>", *IN_DEVICES),
    "elements in an interface": filled("<mac/>", *IN_INTERFACE),
    "interfaces without a type": filled("<interface/>", *IN_DEVICES),
    "elements in metadata": filled("<a/>", *IN_METADATA),
    "elements of Nova": filled("<a/>", *IN_NOVA),
    "instances of Nova": filled("<n:instance/>", f"<domain xmlns:n='{NOVA}'><metadata>"),
    "names of Nova": filled("<name>a</name>", *IN_NOVA),
    "ports without a uuid": filled("<port/>", f"{IN_NOVA[0]}<ports>", f"</ports>{IN_NOVA[1]}"),
    "attributes": filled(lambda n: f" a{n:x}=''", "<domain", "/>"),
    "attributes of Nova": filled(lambda n: f" a{n:x}=''", "<domain><metadata><a", "/>"),
    "prefixes": filled(lambda n: f" xmlns:a{n:x}=''", "<domain", "><metadata/></domain>"),
    "prefixes that many look for": filled("<a:b/>", f"<domain{PREFIXES}><metadata>"),
    "one long attribute": filled("x", "<domain a='", "'/>"),
    "one long attribute of many characters": filled("\N{GRINNING FACE}", "<domain a='", "'/>"),
    "one long name": filled("x", "<domain><", "/></domain>"),
    "a long namespace of many elements": filled("<n:a/>", f"<domain xmlns:n='{HALF}'><metadata>"),
    "a long prefix": filled("<a/>", f"<domain><metadata><{HALF}:a>"),
    "elements in a long name": filled("<a/>", f"<domain><{HALF}>"),
    "one long text": filled("x", *IN_NAME),
    "a text of lines": filled("x\n", *IN_NAME),
    "a text of wide lines": filled("\N{GRINNING FACE}\n", *IN_NAME),
    "a text of spaces": filled(" \n", *IN_NAME),
    "a text of references": filled("&lt;", *IN_NAME),
    "a text in pieces": filled("x<a/>", *IN_NAME),
    "comments": filled("<!---->", *IN_NAME),
    "one long comment": filled("-x", "<domain><!--"),
    "instructions": filled("<?a?>", *IN_NAME),
    "sections": filled("<![CDATA[x]]>", *IN_NAME),
    "an open section": filled("]", "<domain><![CDATA["),
    "an open tag": filled("<", "<domain><a "),
    "an open reference": filled("x", "<domain>&"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_little_memory_and_time(name: str) -> None:
    text = BOMBS[name]
    assert MAX_XML_CHARACTERS // 2 < len(text) <= MAX_XML_CHARACTERS
    start = time.process_time()
    survives(text)
    assert time.process_time() - start < 3
    tracemalloc.start()
    with suppress(ParseError):
        parse_domain_xml(text)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= PEAK_BYTES + PEAK_BYTES_PER_BYTE * len(text.encode())


def test_nothing_is_left_behind_for_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        for text in (*TEXTS, "<domain>" * 1000, "<a/>"):
            with suppress(ParseError):
                parse_domain_xml(text)
        assert gc.collect() == 0
    finally:
        gc.enable()


@given(
    number=st.integers(0, len(TEXTS) - 1),
    at=st.integers(min_value=0),
    length=st.integers(0, 40),
    put=st.text(max_size=20),
)
def test_a_changed_domain_is_answered_or_refused(
    number: int, at: int, length: int, put: str
) -> None:
    text = TEXTS[number]
    at %= len(text)
    survives(text[:at] + put + text[at + length :])


_NAMES = st.sampled_from(
    [
        "devices",
        "interface",
        "metadata",
        "instance",
        "owner",
        "user",
        "name",
        "n:name",
        "n:instance",
    ]
)
_ATTRIBUTES = st.dictionaries(
    st.sampled_from(["type", "dev", "uuid", "xmlns", "xmlns:n", "address"]),
    st.sampled_from(["", "a", "unix", NOVA, "fa:16:3e:00:00:01", "\N{SNOWMAN}"]),
)


def written(name: str, attributes: dict[str, str], inside: list[str]) -> str:
    told = "".join(f" {key}='{value}'" for key, value in attributes.items())
    return f"<{name}{told}>{''.join(inside)}</{name}>"


_TREES = st.recursive(
    st.sampled_from(["", "text", " ", "<!-- -->"]),
    lambda inner: st.builds(written, _NAMES, _ATTRIBUTES, st.lists(inner, max_size=4)),
    max_leaves=20,
)


@settings(max_examples=200)
@given(inside=st.lists(_TREES, max_size=4))
def test_elements_in_any_place_are_answered(inside: list[str]) -> None:
    text = written("domain", {}, inside)
    assert all(len(each) <= 1024 for each in texts(parse_domain_xml(text)))


@given(text=st.text())
def test_any_text_is_answered_or_refused(text: str) -> None:
    survives(text)
    survives(f"<domain>{text}</domain>")


@given(name=st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=1000))
def test_any_name_is_told_as_it_is(name: str) -> None:
    escaped = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    owner = parse_domain_xml(f"{IN_NAME[0]}{escaped}{IN_NAME[1]}").owner
    assert owner is not None
    assert owner.instance_name == (name.strip() or None)
