"""Packets lost and packets carried, by layer.

Directions are the switch's: what an instance sends is rx, as it is in ``ovs_interface_*``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dashboards.rules_source.layers import RECORD as LAYER
from dashboards.rules_source.text import Group, Recording

DROPPED = "instance_layer:dataplane_dropped_packets:rate5m"
PACKETS = "instance_layer:dataplane_traffic_packets:rate5m"
BYTES = "instance_layer:dataplane_traffic_bytes:rate5m"

COUNTED_ELSEWHERE = "drop_action_of_pipeline|datapath_drop_upcall_error|datapath_drop_meter"
"""Coverage events of drops that a layer of their own has: lost_by_fate, upcall and meter."""
DIRECTIONS = ("rx", "tx")
INSTANCE_SENDS = {"rx": "transmit", "tx": "receive"}
"""libvirt's word for a direction of the switch."""


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter that Open vSwitch, the kernel and libvirt have for one device.

    Attributes:
        name: In Open vSwitch's and the kernel's families, between direction and ``_total``.
        libvirt: The same in libvirt's.
        more: By direction, another family of Open vSwitch's that belongs to it.
    """

    name: str
    libvirt: str
    more: Mapping[str, str] = field(default_factory=dict)


PACKETS_OF = Counter("packets", "packets")
BYTES_OF = Counter("bytes", "bytes")
DROPS_OF = Counter("dropped", "drops", {"rx": "ovs_interface_rx_missed_errors_total"})
"""What a card had no room for (missed) is no part of its rx_dropped (struct rtnl_link_stats64)."""
ERRORS_OF = Counter("errors", "errors")


def by_device(counter: Counter, direction: str, by: str = "layer", layer: str = "") -> str:
    """Add up a counter of devices, each from whoever counts it.

    Args:
        counter: Which.
        direction: rx or tx, the switch's.
        by: What is added up by, besides job and instance: layer or interface.
        layer: Only devices of this one.
    """
    switch = f"ovs_interface_{direction}_{counter.name}_total"
    rates = f'rate({switch}{{JOB, type!~"patch|internal"}}[RATE])'
    if direction in counter.more:
        more = f'rate({counter.more[direction]}{{JOB, type!~"patch|internal"}}[RATE])'
        rates = f'(\n    {rates}\n    or label_replace({more}, "counter", "2", "", "")\n  )'
    only = f', layer="{layer}"' if layer else ""
    join = "* on (job, instance, interface) group_left (layer)\n    " + LAYER
    word = INSTANCE_SENDS[direction]
    return f"""
sum by (job, instance, {by}) (
  {rates}
  {join}{{counted_by="ovs"{only}}}
  or
  label_replace(
    rate(netns_network_{direction}_{counter.name}_total{{JOB, netns=""}}[RATE]),
    "interface", "$1", "device", "(.+)"
  )
  {join}{{counted_by="link"{only}}}
  or
  label_replace(
    rate(libvirt_domain_interface_stats_{word}_{counter.libvirt}_total{{JOB}}[RATE]),
    "interface", "$1", "target_device", "(.+)"
  )
  {join}{{counted_by="libvirt"{only}}}
)
"""


def _dropped(layer: str, direction: str, expr: str) -> Recording:
    labels = {"layer": layer, "direction": direction}
    return Recording(DROPPED, expr, {name: value for name, value in labels.items() if value})


def _sum(*rates: str) -> str:
    """Add up families of which each may be absent; a label keeps their series apart."""
    first, *others = rates
    parts = [first, *(f'label_replace({each}, "counter", "{n}", "", "")'
                      for n, each in enumerate(others, 2))]  # fmt: skip
    return "sum by (job, instance) (\n  " + "\n  or ".join(parts) + "\n)"


OF_TABLES = """
sum by (job, instance) (rate(ovs_flow_table_dropped_packets_total{JOB, kind="lost"}[RATE]))
""".strip()
OF_INTERFACES = "rate(ovs_interface_flow_dropped_packets_total{JOB}[RATE])"
LOST_BY_FATE = f"""
sum by (job, instance, direction) ({OF_INTERFACES})
or
clamp_min(
  {OF_TABLES}
  - (
    sum by (job, instance) ({OF_INTERFACES})
    or
    0 * {OF_TABLES}
  ),
  0
)
"""
"""What belongs to an interface has a direction; the rest, of flows of several ports, has none."""

DROPS: tuple[Recording, ...] = (
    *(_dropped("", direction, by_device(DROPS_OF, direction)) for direction in DIRECTIONS),
    Recording(DROPPED, LOST_BY_FATE, {"layer": "lost_by_fate"}),
    _dropped(
        "upcall", "", "sum by (job, instance) (rate(ovs_datapath_lookup_lost_total{JOB}[RATE]))"
    ),
    _dropped(
        "datapath",
        "",
        f"""
sum by (job, instance) (
  rate(
    ovs_coverage_events_total{{
      JOB, event=~"(drop_action|datapath_drop)_.+", event!~"{COUNTED_ELSEWHERE}"
    }}[RATE]
  )
)
""",
    ),
    _dropped(
        "meter", "", "sum by (job, instance) (rate(ovs_meter_dropped_packets_total{JOB}[RATE]))"
    ),
    *(
        _dropped(
            "namespace",
            direction,
            f"""
sum by (job, instance) (rate(netns_network_{direction}_dropped_total{{JOB, netns!=""}}[RATE]))
""",
        )
        for direction in DIRECTIONS
    ),
    *(
        _dropped(
            "qdisc",
            direction,
            f"""
sum by (job, instance) (rate(netns_qdisc_dropped_total{{JOB, kind{matcher}}}[RATE]))
""",
        )
        for direction, matcher in (("rx", '=~"ingress|clsact"'), ("tx", '!~"ingress|clsact"'))
    ),
    _dropped(
        "conntrack",
        "",
        _sum(
            "rate(netns_conntrack_drop_total{JOB}[RATE])",
            "rate(netns_conntrack_insert_failed_total{JOB}[RATE])",
            "rate(netns_conntrack_early_drop_total{JOB}[RATE])",
        ),
    ),
)

TRAFFIC: tuple[Recording, ...] = tuple(
    Recording(record, by_device(counter, direction), {"direction": direction})
    for record, counter in ((PACKETS, PACKETS_OF), (BYTES, BYTES_OF))
    for direction in DIRECTIONS
)

CARD_DROPS = "instance_interface:dataplane_nic_dropped_packets:rate5m"
CARD_ERRORS = "instance_interface:dataplane_nic_errors:rate5m"
CARD_PACKETS = "instance_interface:dataplane_nic_packets:rate5m"
TAP_DROPS = "instance_interface:dataplane_tap_dropped_packets:rate5m"
TAP_PACKETS = "instance_interface:dataplane_tap_packets:rate5m"


def _of_interfaces(record: str, counter: Counter, layer: str, only: str = "") -> list[Recording]:
    return [
        Recording(
            record,
            by_device(counter, direction, "interface", layer).strip() + only,
            {"direction": direction},
        )
        for direction in DIRECTIONS
    ]


DEVICES: tuple[Recording, ...] = (
    *_of_interfaces(CARD_DROPS, DROPS_OF, "nic"),
    *_of_interfaces(CARD_ERRORS, ERRORS_OF, "nic"),
    *_of_interfaces(CARD_PACKETS, PACKETS_OF, "nic"),
    *_of_interfaces(TAP_DROPS, DROPS_OF, "tap", "\n> 0"),
    *(
        Recording(
            TAP_PACKETS,
            by_device(PACKETS_OF, direction, "interface", "tap").strip()
            + "\nand on (job, instance, interface) "
            + f'{TAP_DROPS}{{direction="{direction}"}}',
            {"direction": direction},
        )
        for direction in DIRECTIONS
    ),
)
"""Cards one by one, and of the many taps only those that drop."""

NODE_AND_FLEET = Group(
    "dataplane-fleet-drops",
    """
Nodes and the fleet: what a page of many nodes adds up, once. meter and qdisc are in the sums: both
may be meant to drop.
""",
    (
        Recording(
            "instance:dataplane_dropped_packets:rate5m",
            f"sum by (job, instance) ({DROPPED})",
        ),
        Recording(
            "instance_layer:dataplane_dropped_packets:ratio_rate5m",
            f"{DROPPED}\n/ on (job, instance, layer, direction)\n({DROPPED} + {PACKETS} > 0)",
        ),
        Recording(
            "job_layer:dataplane_dropped_packets:rate5m",
            f"sum by (job, layer, direction) ({DROPPED})",
        ),
        Recording(
            "job_layer:dataplane_traffic_packets:rate5m",
            f"sum by (job, layer, direction) ({PACKETS})",
        ),
        Recording(
            "job_layer:dataplane_traffic_bytes:rate5m",
            f"sum by (job, layer, direction) ({BYTES})",
        ),
        Recording(
            "job:dataplane_dropped_packets:rate5m",
            f"sum by (job) ({DROPPED})",
        ),
    ),
)
