"""``memory/show``: how many of everything ovs-vswitchd holds."""

import re

from agent.errors import ParseError
from agent.wire.unixctl.text import number

# A facility's name may hold spaces ("udpif keys"), its count never does.
_PAIR = re.compile(r"\s*([^:\s][^:]*):(\S*)")


def parse_memory_show(text: str) -> dict[str, int]:
    """Return counts of unlike things by facility.

    ::

        handlers:1 idl-cells-Open_vSwitch:793 ports:14 revalidators:1 rules:527 udpif keys:35

    Raises:
        ParseError: If the text is not empty and not a row of such pairs.
    """
    counts = {}
    at = 0
    text = text.strip()
    while at < len(text):
        pair = _PAIR.match(text, at)
        if pair is None:
            raise ParseError(f"not an answer of memory/show: {text[at : at + 40]!r}")
        counts[pair[1].strip()] = number(pair[2], pair[1])
        at = pair.end()
    return counts
