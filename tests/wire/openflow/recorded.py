"""Recorded answers and the text that ovs-ofctl printed for the same switch."""

import re
from pathlib import Path
from typing import NamedTuple

from agent.wire.openflow import messages as of
from tests.wire.openflow.flow_stats import CountedFlow, iter_flow_stats

FIXTURES = Path(__file__).parent / "fixtures"
VERSIONS = {"of13": of.Version.OF13, "of14": of.Version.OF14}
FLOW_BRIDGES = ("br-int", "br-tun", "br-provider", "br-mgmt", "br-ovn", "br-fields", "br-actions")

_LINE = re.compile(
    r" cookie=(?P<cookie>0x[0-9a-f]+), duration=[0-9.]+s, table=(?P<table>\d+), "
    r"n_packets=(?P<packets>\d+), n_bytes=(?P<bytes>\d+), "
    r"(?:(?:idle_timeout|hard_timeout|importance)=\d+, )*"
    r"(?:(?:send_flow_rem|check_overlap|reset_counts|no_packet_counts|no_byte_counts) )*"
    r"(?P<rest>(?:.*? )?)actions=(?P<actions>.*)"
)


class Printed(NamedTuple):
    """A line of ``ovs-ofctl dump-flows``."""

    table_id: int
    priority: int
    cookie: int
    packets: int
    octets: int
    match: str
    actions: str


def message(name: str) -> bytes:
    return (FIXTURES / f"{name}-3.1.0.bin").read_bytes()


def text(name: str) -> str:
    return (FIXTURES / f"{name}-3.1.0.txt").read_text(encoding="utf-8")


def bodies(name: str, kind: of.Multipart) -> list[bytes]:
    """Put a recorded answer together as the agent does."""
    data = message(name)
    assembler = of.Assembler(kind, len(data))
    while data:
        length = of.parse_header(data).length
        done = assembler.add(data[:length])
        data = data[length:]
        assert done == (not data)
    return assembler.bodies


def flows(bridge: str, version: str) -> list[CountedFlow]:
    return list(iter_flow_stats(bodies(f"{bridge}-flows-{version}", of.Multipart.FLOW)))


def port_names(bridge: str, version: str) -> dict[int, str]:
    name = f"{bridge}-port-desc-{version}"
    return of.parse_port_desc(VERSIONS[version], bodies(name, of.Multipart.PORT_DESC))


def printed(dump: str) -> list[Printed]:
    """Read the output of dump-flows. The priority 32768 is not printed."""
    return [_line(line) for line in dump.splitlines() if line.startswith(" cookie=")]


def _line(line: str) -> Printed:
    found = _LINE.fullmatch(line)
    assert found, line
    rest = found["rest"].strip()
    priority = re.match(r"priority=(\d+),?", rest)
    return Printed(
        int(found["table"]),
        int(priority[1]) if priority else 32768,
        int(found["cookie"], 16),
        int(found["packets"]),
        int(found["bytes"]),
        rest[priority.end() :] if priority else rest,
        found["actions"],
    )
