"""``dpctl/show`` and the small ``dpctl`` commands beside it."""

import re
from dataclasses import replace

from agent.errors import ParseError
from agent.model.datapath import Datapath
from agent.wire.unixctl.text import fields, number

_PORT = re.compile(r"  port [0-9]+: ")
_OFFLOADS = re.compile(r"\s*Total\s+Inserted offloads:\s*(\S*)")


def parse_dpctl_show(text: str) -> tuple[Datapath, ...]:
    """Return one element a datapath, none without datapaths.

    ::

        system@ovs-system:
          lookups: hit:1830 missed:401 lost:0
          flows: 2
          masks: hit:5341 total:2 hit/pkt:2.39
          cache: hit:1031 hit-rate:46.21%
          caches:
            masks-cache: size:256
          port 0: ovs-system (internal)
          port 2: vxlan_sys_4789 (vxlan: packet_type=ptap)

    ``masks`` are the kernel's only, ``cache`` needs OVS 2.17 (and Linux 5.10). All lines before
    the ports are missing when the datapath did not answer ovs-vswitchd.

    Raises:
        ParseError: If the text names no datapath though it is not empty, or a number is none.
    """
    found: list[Datapath] = []
    ports: list[int] = []
    for line in text.split("\n"):
        if line[:1].strip() and "@" in line and line.endswith(":"):
            found.append(Datapath(line[:-1]))
            ports.append(0)
        elif _PORT.match(line):
            if ports:
                ports[-1] += 1
        elif found:
            found[-1] = _with_line(found[-1], line)
    if text.strip() and not found:
        raise ParseError(f"not an answer of dpctl/show: {text[:40]!r}")
    return tuple(replace(one, ports=n) for one, n in zip(found, ports, strict=True))


def _with_line(datapath: Datapath, line: str) -> Datapath:
    label, _, value = line.partition(":")
    match label.strip():
        case "lookups":
            seen = fields(value, "lookups")
            return replace(
                datapath, hits=seen.get("hit"), missed=seen.get("missed"), lost=seen.get("lost")
            )
        case "flows":
            return replace(datapath, flows=number(value.strip(), "flows"))
        case "masks":
            seen = fields(value, "masks")
            return replace(datapath, masks_hit=seen.get("hit"), masks=seen.get("total"))
        case "cache":
            return replace(datapath, mask_cache_hits=fields(value, "cache").get("hit"))
        case "masks-cache":
            size = fields(value, "masks-cache").get("size")
            return replace(datapath, mask_cache_size_entries=size)
        case _:
            return datapath


def parse_offload_stats_show(text: str) -> int | None:
    """Return how many flows of a datapath are in hardware, from ``dpctl/offload-stats-show``.

    ::

        HW Offload stats:
             Total                 Enqueued offloads:      0
             Total                 Inserted offloads:     12
             Total   Cumulative Average latency (us):     40
             [  0]                 Enqueued offloads:      0

    2.17 and later; 4.0 puts a line with the provider's name above each block, whose totals are
    added up. ``None`` when there is no such total. No release prints offloaded packets.

    Raises:
        ParseError: If the header line is missing or a total is no number.
    """
    header, _, lines = text.partition("\n")
    if header.strip() != "HW Offload stats:":
        raise ParseError(f"not an answer of dpctl/offload-stats-show: {header[:40]!r}")
    totals = [
        number(total[1], "Inserted offloads")
        for total in map(_OFFLOADS.fullmatch, lines.split("\n"))
        if total is not None
    ]
    return sum(totals) if totals else None


def parse_count(text: str) -> int:
    r"""Return the one number of ``dpctl/ct-get-nconns`` or ``dpctl/ct-get-maxconns``: ``"35\n"``.

    Raises:
        ParseError: If there is anything else.
    """
    return number(text.strip(), "count")
