"""Meters: what policing by flows takes away.

Packets beyond the rate of a meter's band are dropped, and no flow or interface counts them.
"""

from agent.collectors.base import Collector
from agent.families import Counter, Output
from agent.model.node import Node

METER = ("bridge", "meter", "band")
OWN = {0xFFFFFFFD: "slowpath", 0xFFFFFFFE: "controller"}
"""Meters that limit ovs-vswitchd's own work, by the names of ovs-ofctl (OpenFlow 1.3, 7.3.4.4)."""

PACKETS = Counter(
    "ovs_meter_packets_total",
    "Packets that flows sent through a meter [meter statistics packet_in_count].",
    labels=METER,
)
BYTES = Counter(
    "ovs_meter_bytes_total",
    "Bytes of the packets that flows sent through a meter [meter statistics byte_in_count].",
    labels=METER,
)
DROPPED = Counter(
    "ovs_meter_dropped_packets_total",
    "Packets beyond the rate of a meter's band; bands count from 0 "
    "[meter statistics packet_band_count].",
    labels=METER,
)


def collect(node: Node) -> Output:
    """Yield the meters of each bridge; packets and bytes are of the meter as a whole."""
    for bridge in node.bridges.require().values():
        for meter in bridge.meters:
            labels = (bridge.bridge, OWN.get(meter.meter_id, str(meter.meter_id)))
            yield PACKETS(meter.packets, *labels, "")
            yield BYTES(meter.octets, *labels, "")
            for band, packets in enumerate(meter.band_packets):
                yield DROPPED(packets, *labels, str(band))


COLLECTOR = Collector("meter", (PACKETS, BYTES, DROPPED), (collect,), reads=("openflow",))
