"""What ovn-controller says of itself: ``version``, ``connection-status`` and its cache.

The texts are those of OVN 20.03 to 26.09.
"""

import re

from agent.errors import ParseError
from agent.model.ovn import LflowCache, Release
from agent.wire.unixctl.text import number

CONNECTION = {"connected": True, "not connected": False}
KIBIBYTE = 1024

DROP_COUNTERS: tuple[str, ...] = (
    # Packets that waited for a neighbour's address, or what instances and peers taught, was
    # thrown away: a table of controller/pinctrl.c was full.
    "pinctrl_drop_buffered_packets_map",
    "pinctrl_drop_controller_event",
    "pinctrl_drop_put_fdb",
    "pinctrl_drop_put_mac_binding",
    "pinctrl_drop_put_vport_binding",
    "pinctrl_ring_full_put_fdb",
    "pinctrl_ring_full_put_mac_binding",
    # A flow was too long for an OpenFlow message and is not installed.
    "ofctrl_msg_too_long",
    # No room: logical flows are translated again and again.
    "lflow_cache_full",
    "lflow_cache_mem_full",
    # Messages to ovs-vswitchd were thrown away.
    "rconn_discarded",
    "rconn_overflow",
)
"""In 20.03 to 26.09; the older a release, the fewer of them it has."""

_VERSION = r"([0-9][0-9A-Za-z.+~_-]{0,63})"
_RELEASE = re.compile(f"ovn-controller {_VERSION}")
_LIBRARY = re.compile(f"Open vSwitch Library {_VERSION}")


def parse_version(text: str) -> Release:
    """Return the release, and what it is built with.

    ::

        ovn-controller 23.03.1
        Open vSwitch Library 3.1.0

    Raises:
        ParseError: If the text does not begin with ovn-controller's release.
    """
    first, *lines = text.split("\n")
    release = _RELEASE.fullmatch(first.rstrip())
    if release is None:
        raise ParseError(f"not a version of ovn-controller: {first[:40]!r}")
    library = next((found[1] for line in lines if (found := _LIBRARY.fullmatch(line))), None)
    return Release(release[1], library)


def parse_connection_status(text: str) -> bool:
    r"""Return whether there is a connection to the Southbound: ``"connected\n"``.

    Raises:
        ParseError: If it is neither ``connected`` nor ``not connected``.
    """
    status = CONNECTION.get(text.strip())
    if status is None:
        raise ParseError(f"not an answer of connection-status: {text[:40]!r}")
    return status


def parse_lflow_cache(text: str) -> LflowCache:
    """Return what is in the cache, from ``lflow-cache/show-stats``; 21.03 and later.

    ::

        Enabled: true
        high-watermark  : 269
        total           : 269
        cache-expr      : 86
        cache-matches   : 183
        trim count      : 1
        Mem usage (KB)  : 316

    21.03 and 21.06 have neither high-watermark, total nor trim count. Up to 21.09 there is a
    third kind of entry, ``cache-conj-id``.

    Raises:
        ParseError: If the first line is missing or a number is none.
    """
    first, *lines = text.split("\n")
    enabled = {"Enabled: true": True, "Enabled: false": False}.get(first)
    if enabled is None:
        raise ParseError(f"not an answer of lflow-cache/show-stats: {first[:40]!r}")
    entries: dict[str, int] = {}
    others: dict[str, int] = {}
    for line in lines:
        label, colon, value = line.partition(":")
        name = label.strip()
        if colon and name.startswith("cache-"):
            entries[name] = number(value.strip(), name)
        elif colon and name in {"high-watermark", "trim count", "Mem usage (KB)"}:
            others[name] = number(value.strip(), name)
    occupied = others.get("Mem usage (KB)")
    return LflowCache(
        enabled=enabled,
        entries=entries,
        memory_bytes=None if occupied is None else occupied * KIBIBYTE,
        high_watermark=others.get("high-watermark"),
        trims=others.get("trim count"),
    )
