"""Tables, ports and meters of a bridge as OpenFlow tells them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

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
class MeterStats:
    """A meter's statistics. Counts are packets and bytes.

    Attributes:
        meter_id: Its number.
        packets: Packets that went to the meter; ``None`` when not known.
        octets: Their bytes.
        band_packets: Of each band in order: packets that were beyond its rate.
        band_octets: Their bytes.
    """

    meter_id: int
    packets: int | None
    octets: int | None
    band_packets: tuple[int | None, ...] = ()
    band_octets: tuple[int | None, ...] = ()


@dataclass(frozen=True, slots=True)
class BridgeReading:
    """What goes with every scrape of a bridge.

    Attributes:
        bridge: Its name.
        echo_seconds: Round trip of an OpenFlow ECHO: latency of ovs-vswitchd's main loop.
        tables: By table id; only tables that have a flow or a lookup.
        ports: Statistics by port number.
        port_names: Port descriptions' names by port number, cut at 15 bytes by OpenFlow.
        meters: Statistics of its meters.
    """

    bridge: str
    echo_seconds: float
    tables: tuple[TableStats, ...]
    ports: Mapping[int, PortStats]
    port_names: Mapping[int, str]
    meters: tuple[MeterStats, ...] = ()
