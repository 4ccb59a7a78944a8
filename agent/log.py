"""Logs: logfmt or JSON on stderr, one line an event, keys instead of prose."""

import contextlib
import logging
import sys
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import Processor

UNPRINTABLE = {
    code: f"\\u{code:04x}"
    for code in (*range(32), *range(127, 160), 0x2028, 0x2029)
    if chr(code) != "\n"
}
"""Control characters, as JSON writes them; the line feed is LogfmtRenderer's own affair."""


def configure(level: str, form: Literal["logfmt", "json"]) -> None:
    """Send every log line, the libraries' too, to stderr in one form.

    Args:
        level: debug, info, warning or error.
        form: logfmt for people and journald, json for collectors.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.processors.LogfmtRenderer(
            key_order=["ts", "level", "event"], drop_missing=True, bool_as_flag=False
        )
    )
    if form == "logfmt":
        renderer = _printable(renderer)
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", Forgiving(sys.stderr))),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[_strip, renderer])
    )
    root = logging.getLogger()
    root.handlers = [handler]
    # Libraries speak of their own affairs: nothing below a warning unless a person debugs.
    root.setLevel(number if number <= logging.DEBUG else max(number, logging.WARNING))


class Forgiving:
    """A stream for structlog: a line that cannot be written is lost, and nothing else.

    The reader of a pipe goes away, a disk is full: the standard library's handlers shrug at that,
    structlog raises, and the agent would end over a line of its log.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write, or not."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        """Flush, or not."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def _printable(renderer: Processor) -> Processor:
    """Keep what peers say from moving a terminal's cursor or ending a line for some reader."""

    def render(logger: object, name: str, event: structlog.typing.EventDict) -> Any:
        texts = {
            key: value
            if value is None or isinstance(value, bool)
            else str(value).translate(UNPRINTABLE)
            for key, value in event.items()
        }
        return renderer(logger, name, texts)

    return render


def _strip(
    _logger: object, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Drop what ProcessorFormatter adds for its own use."""
    return structlog.stdlib.ProcessorFormatter.remove_processors_meta(None, "", event)


def get(name: str) -> structlog.typing.FilteringBoundLogger:
    """Return a logger; its name is not on the line, the fixed event text is searched for."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(name)
    return logger
