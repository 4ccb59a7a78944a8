"""One line an event, whatever stands in it."""

import asyncio
import io
import json
import logging
import re
from contextlib import redirect_stderr
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import log

Form = Literal["logfmt", "json"]
FORMS = pytest.mark.parametrize("form", ["logfmt", "json"])
PAIR = re.compile(r'([^ ="]+)=("(?:[^"\\]|\\.)*"|[^ "]*)(?: |$)')


def configured(form: Form, level: str = "info") -> io.StringIO:
    """Return the stderr that log.configure found."""
    stream = io.StringIO()
    with redirect_stderr(stream):
        log.configure(level, form)
    return stream


def lines(stream: io.StringIO) -> list[str]:
    """Return whole lines as anything reads them that knows of more than the line feed."""
    text = stream.getvalue()
    assert not text or text.endswith("\n")
    return text[:-1].splitlines() if text else []


def logfmt(line: str) -> dict[str, str]:
    """Read a line of logfmt; a key that stands there twice fails the test."""
    pairs: dict[str, str] = {}
    position = 0
    while position < len(line):
        found = PAIR.match(line, position)
        assert found, line[position:]
        key, value = found.groups()
        assert key not in pairs, key
        if value.startswith('"'):
            value = re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), value[1:-1])
        pairs[key] = value
        position = found.end()
    return pairs


def fail(text: str) -> None:
    raise ZeroDivisionError(text)


def read(form: Form, line: str) -> dict[str, str]:
    return logfmt(line) if form == "logfmt" else dict(json.loads(line))


def test_logfmt_is_time_level_event_and_keys_in_that_order() -> None:
    stream = configured("logfmt")
    log.get("x").warning("source down", source="ovsdb", reason="refused")
    (line,) = lines(stream)
    assert re.fullmatch(
        r"ts=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z level=warning "
        r'event="source down" source=ovsdb reason=refused',
        line,
    )


def test_json_has_the_same_keys() -> None:
    stream = configured("json")
    log.get("x").warning("source down", source="ovsdb", count=3, up=False, none=None)
    event = json.loads(stream.getvalue())
    assert event.pop("ts").endswith("Z")
    assert event == {
        "level": "warning",
        "event": "source down",
        "source": "ovsdb",
        "count": 3,
        "up": False,
        "none": None,
    }


def test_logfmt_writes_numbers_truth_and_nothing_plainly() -> None:
    stream = configured("logfmt")
    log.get("x").info("e", count=3, share=0.5, up=True, down=False, none=None, empty="")
    assert lines(stream)[0].endswith("count=3 share=0.5 up=true down=false none= empty=")


@FORMS
@pytest.mark.parametrize(
    ("level", "seen"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_level_is_a_threshold(form: Form, level: str, seen: list[str]) -> None:
    stream = configured(form, level)
    logger = log.get("x")
    for each in ("debug", "info", "warning", "error"):
        getattr(logger, each)("e")
    assert [read(form, line)["level"] for line in lines(stream)] == seen


def test_a_logger_made_before_the_configuration_follows_it() -> None:
    logger = log.get("x")
    stream = configured("json")
    logger.info("e")
    again = configured("json")
    logger.info("f")
    assert [json.loads(each.getvalue())["event"] for each in (stream, again)] == ["e", "f"]


@FORMS
def test_libraries_speak_in_the_same_form_from_a_warning_on(form: Form) -> None:
    stream = configured(form)
    logging.getLogger("aiohttp.server").info("chatter")
    logging.getLogger("aiohttp.server").warning("bad request from %s", "[::1]")
    (line,) = lines(stream)
    event = read(form, line)
    assert event.pop("ts").endswith("Z")
    assert event == {"level": "warning", "event": "bad request from [::1]"}


@FORMS
def test_a_person_who_debugs_hears_the_libraries_too(form: Form) -> None:
    stream = configured(form, "debug")
    logging.getLogger("aiohttp.server").debug("chatter")
    assert [read(form, line)["event"] for line in lines(stream)] == ["chatter"]


@FORMS
def test_who_wants_errors_only_hears_no_warning_of_a_library(form: Form) -> None:
    stream = configured(form, "error")
    logging.getLogger("asyncio").warning("slow")
    logging.getLogger("asyncio").error("broken")
    assert [read(form, line)["event"] for line in lines(stream)] == ["broken"]


@FORMS
def test_an_exception_is_one_line_with_its_traceback(form: Form) -> None:
    stream = configured(form)
    try:
        fail("ours\nlevel=info event=forged")
    except ZeroDivisionError:
        log.get("x").exception("collector failed", collector="flow")
    (line,) = lines(stream)
    event = read(form, line)
    assert (event["level"], event["event"], event["collector"]) == (
        "error",
        "collector failed",
        "flow",
    )
    assert "Traceback (most recent call last)" in event["exception"]
    assert "ZeroDivisionError: ours" in event["exception"]


@FORMS
def test_an_exception_of_a_library_is_one_line_with_its_traceback(form: Form) -> None:
    stream = configured(form)
    try:
        fail("theirs")
    except ZeroDivisionError:
        logging.getLogger("aiohttp.server").exception("Error handling request")
    (line,) = lines(stream)
    assert "ZeroDivisionError: theirs" in read(form, line)["exception"]


@FORMS
async def test_what_asyncio_says_of_a_forgotten_exception_is_one_line(form: Form) -> None:
    stream = configured(form)
    loop = asyncio.get_running_loop()
    loop.call_exception_handler({"message": "forgotten", "exception": ZeroDivisionError("ours")})
    (line,) = lines(stream)
    assert "ZeroDivisionError: ours" in read(form, line)["exception"]


FORGERIES = [
    "x\nlevel=error event=forged",
    'x"\nlevel=error event=forged',
    'x" level=error event="forged',
    '\\" level=error event="forged',
    "x\rlevel=error event=forged",
    "x\x85level=error",
    "x\u2028level=error",
    "x\x0blevel=error",
    "\x1b[2K\x1b[1Aforged",
    "=",
    "a=b",
    "\\",
    "tab\tevent",
]


@FORMS
@pytest.mark.parametrize("value", FORGERIES)
def test_what_a_peer_says_cannot_forge_a_line_or_a_key(form: Form, value: str) -> None:
    stream = configured(form)
    log.get("x").warning("source down", detail=value, after="sound")
    logging.getLogger("library").warning("%s", value)
    ours, theirs = lines(stream)
    assert ours.isprintable()
    assert theirs.isprintable()
    event = read(form, ours)
    assert event.keys() == {"ts", "level", "event", "detail", "after"}
    assert (event["level"], event["event"], event["after"]) == ("warning", "source down", "sound")
    assert read(form, theirs).keys() == {"ts", "level", "event"}


@FORMS
@given(value=st.text())
def test_any_text_is_one_line_and_leaves_its_neighbours_alone(form: Form, value: str) -> None:
    stream = configured(form)
    log.get("x").warning("source down", detail=value, after="sound")
    (line,) = lines(stream)
    event = read(form, line)
    assert event.keys() == {"ts", "level", "event", "detail", "after"}
    assert (event["event"], event["after"]) == ("source down", "sound")


@FORMS
@pytest.mark.parametrize("value", ['in_port="tap0",dl_vlan=1', "two\nlines and more", "C:\\ a"])
def test_a_text_reads_back(form: Form, value: str) -> None:
    stream = configured(form)
    log.get("x").warning("e", detail=value)
    assert read(form, lines(stream)[0])["detail"] == value


@FORMS
def test_a_line_that_cannot_be_written_costs_nothing_but_itself(form: Form) -> None:
    """The reader of a pipe goes away, as journald does when it restarts under load."""
    configured(form).close()
    log.get("x").warning("source down", source="ovsdb")
