"""``fdb/stats-show``: the MAC learning table of a bridge, as NORMAL uses it."""

import re
from dataclasses import replace

from agent.errors import ParseError
from agent.model.datapath import Fdb
from agent.wire.unixctl.text import number

_HEADER = re.compile(r'Statistics for bridge "(.*)":')


def parse_fdb_stats_show(text: str) -> Fdb:
    """Return the counts of the bridge that the text is about; 2.11 and later.

    ::

        Statistics for bridge "br-int":
          Current/maximum MAC entries in the table: 5/8192
          Current static MAC entries in the table : 0
          Total number of learned MAC entries     : 5
          Total number of expired MAC entries     : 0
          Total number of evicted MAC entries     : 0
          Total number of port moved MAC entries  : 0

    Raises:
        ParseError: If the text does not begin so, or a number is none.
    """
    lines = text.split("\n")
    header = _HEADER.fullmatch(lines[0]) if lines else None
    if header is None:
        raise ParseError(f"not an answer of fdb/stats-show: {text[:40]!r}")
    fdb = Fdb(header[1])
    for line in lines[1:]:
        label, _, value = line.partition(":")
        fdb = _with_line(fdb, label.strip(), value.strip())
    return fdb


def _with_line(fdb: Fdb, label: str, value: str) -> Fdb:
    match label:
        case "Current/maximum MAC entries in the table":
            return replace(fdb, entries=number(value.partition("/")[0], label))
        case "Total number of expired MAC entries":
            return replace(fdb, expired=number(value, label))
        case "Total number of evicted MAC entries":
            return replace(fdb, evicted=number(value, label))
        case "Total number of port moved MAC entries":
            return replace(fdb, moved=number(value, label))
        case _:
            return fdb
