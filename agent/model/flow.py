"""Tables, ports and flows of a bridge as OpenFlow tells them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

LOCAL = 0xFFFFFFFE
"""OFPP_LOCAL, the bridge's own port, as OpenFlow 1.1 and later number it (openflow-1.1.h)."""
LOCAL_IN_DATABASE = 0xFFFE
"""The same in Interface.ofport, which has OpenFlow 1.0's 16 bits."""


@dataclass(frozen=True, slots=True)
class TableStats:
    """Table statistics; they survive the deletion of flows. Counts are packets."""

    table_id: int
    flows: int
    lookups: int
    matches: int


@dataclass(frozen=True, slots=True)
class PortStats:
    """Port statistics; ``None`` where OpenFlow says all-ones, which means not known.

    Attributes:
        number: OpenFlow port number.
        custom: Custom statistics of the device by name (DPDK, vhost, AF_XDP).
    """

    number: int
    rx_packets: int | None = None
    tx_packets: int | None = None
    rx_bytes: int | None = None
    tx_bytes: int | None = None
    rx_dropped: int | None = None
    tx_dropped: int | None = None
    rx_errors: int | None = None
    tx_errors: int | None = None
    rx_frame_errors: int | None = None
    rx_over_errors: int | None = None
    rx_crc_errors: int | None = None
    collisions: int | None = None
    custom: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BridgeReading:
    """What goes with every scrape of a bridge.

    Attributes:
        bridge: Its name.
        echo_seconds: Round trip of an OpenFlow ECHO: latency of ovs-vswitchd's main loop.
        tables: By table id; only tables that have a flow or a lookup.
        ports: Statistics by port number.
        port_names: Port descriptions' names by port number, cut at 15 bytes by OpenFlow.
    """

    bridge: str
    echo_seconds: float
    tables: tuple[TableStats, ...]
    ports: Mapping[int, PortStats]
    port_names: Mapping[int, str]


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """A flow's identity and its description; compared by identity, kept between readings.

    Attributes:
        table_id: OpenFlow table.
        priority: 0 to 65535.
        match: As ``ovs-ofctl --names dump-flows`` writes it, without the priority.
        cookie: As the controller set it.
        action: The kind of action that decides (see METRICS in docs).
        in_port: OpenFlow port number that the match names exactly; ``None`` without one.
    """

    table_id: int
    priority: int
    match: str
    cookie: int
    action: str
    in_port: int | None


class FlowCount(NamedTuple):
    """A flow with its counters at one reading; ``None`` where the switch says all-ones."""

    flow: Flow
    packets: int | None
    bytes: int | None


@dataclass(frozen=True, slots=True)
class FlowReading:
    """The flows of a bridge, read table by table, each table complete.

    Attributes:
        bridge: Its name.
        flows: Those that have series.
        left_out: How many flows have no series, by the rules of ``flows.mode``.
    """

    bridge: str
    flows: tuple[FlowCount, ...]
    left_out: int = 0
