"""Packets lost and packets carried, by layer.

Directions are the switch's: what an instance sends is rx, as it is in ``ovs_interface_*``.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from dashboards.rules_source.layers import RECORD as LAYER
from dashboards.rules_source.text import Group, Recording, fit

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


def by_device(counter: Counter, direction: str, by: str = "layer", rows: str = LAYER) -> str:
    """Add up a counter of devices, each from whoever counts it.

    Args:
        counter: Which.
        direction: rx or tx, the switch's.
        by: What is added up by, besides job and instance: layer, interface.
        rows: Which devices: the record of all, or of some of them.
    """
    name = f"libvirt_domain_interface_stats_{INSTANCE_SENDS[direction]}_{counter.libvirt}_total"
    renamed = f"""
label_replace(
  rate({name}{{JOB}}[RATE]),
  "interface", "$1", "target_device", "(.+)"
)
"""
    libvirt = _of_rows(renamed, rows, "libvirt")
    return _added(by, *_of_switch_and_links(counter, direction, rows), libvirt)


def of_cards(counter: Counter, direction: str, by: str, rows: str) -> str:
    """Do the same for cards, which libvirt does not count."""
    return _added(by, *_of_switch_and_links(counter, direction, rows))


def _of_switch_and_links(counter: Counter, direction: str, rows: str) -> tuple[str, str]:
    only = '{JOB, type!~"patch|internal"}[RATE]'
    switch = f"rate(ovs_interface_{direction}_{counter.name}_total{only})"
    if direction in counter.more:
        more = f'label_replace(rate({counter.more[direction]}{only}), "counter", "2", "", "")'
        switch = f"(\n  {switch}\n  or {more}\n)"
    link = f"""
label_replace(
  rate(netns_network_{direction}_{counter.name}_total{{JOB, netns=""}}[RATE]),
  "interface", "$1", "device", "(.+)"
)
"""
    return _of_rows(switch, rows, "ovs"), _of_rows(link, rows, "link")


def _of_rows(rates: str, rows: str, counted_by: str) -> str:
    join = "* on (job, instance, interface) group_left (layer)"
    return f'{rates.strip()}\n{join}\n  {rows}{{counted_by="{counted_by}"}}'


def _added(by: str, *parts: str) -> str:
    return fit(
        f"""
sum by (job, instance, {by}) (
  <parts>
)
""",
        parts="\nor\n".join(parts),
    )


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

CARD_DROPS = "instance_interface:dataplane_nic_dropped_packets:rate5m"
CARD_ERRORS = "instance_interface:dataplane_nic_errors:rate5m"
CARD_PACKETS = "instance_interface:dataplane_nic_packets:rate5m"
TAP_DROPS = "instance_interface:dataplane_tap_dropped_packets:rate5m"
TAP_PACKETS = "instance_interface:dataplane_tap_packets:rate5m"
DEVICE_DROPS = "instance_interface:dataplane_dropped_packets:rate5m"
DEVICE_PACKETS = "instance_interface:dataplane_traffic_packets:rate5m"
CARDS = "instance_interface:dataplane_nic:info"
WATCHED = "instance_interface:dataplane_watched:info"


def _each_way(record: str, expr: Callable[[str], str], **labels: str) -> Iterator[Recording]:
    for direction in DIRECTIONS:
        yield Recording(record, expr(direction), {**labels, "direction": direction})


def _of_layer(record: str, layer: str, devices: str) -> Iterator[Recording]:
    """Name what is known of devices of one layer."""
    yield from _each_way(
        record,
        lambda direction: (
            "sum by (job, instance, interface)"
            f' ({devices}{{layer="{layer}", direction="{direction}"}})'
        ),
    )


DROPS_OF_DEVICES = (
    *_each_way(
        DEVICE_DROPS,
        lambda direction: by_device(DROPS_OF, direction, "interface, layer").strip() + "\n> 0",
    ),
    *_of_layer(CARD_DROPS, "nic", DEVICE_DROPS),
    *_of_layer(TAP_DROPS, "tap", DEVICE_DROPS),
)
"""Cards and taps one by one, of the many devices only those that drop."""

PACKETS_OF_DEVICES = (
    Recording(CARDS, f'{LAYER}{{layer="nic"}}'),
    Recording(
        WATCHED,
        f"""
{CARDS}
or
{LAYER}{{layer="tap"}}
and on (job, instance, interface) {DEVICE_DROPS}{{layer="tap"}}
""",
    ),
    *_each_way(
        DEVICE_PACKETS,
        lambda direction: by_device(PACKETS_OF, direction, "interface, layer", WATCHED),
    ),
    *_of_layer(CARD_PACKETS, "nic", DEVICE_PACKETS),
    *_of_layer(TAP_PACKETS, "tap", DEVICE_PACKETS),
)

EACH_MINUTE, EACH_OTHER_MINUTE = "1m", "2m"
"""What reads every device of every node is not worth more: see dashboards/rules/README.md."""

GROUPS = (
    Group(
        "dataplane-drops",
        """
Drops by layer. In a group of its own, as the next ones are: Prometheus evaluates groups beside each
other, and the rules of one after the other.
""",
        DROPS,
        EACH_MINUTE,
    ),
    Group(
        "dataplane-device-drops",
        """
Drops of cards and taps.
""",
        DROPS_OF_DEVICES,
        EACH_MINUTE,
    ),
    Group(
        "dataplane-packets",
        """
Packets by layer, and of each card and each tap that drops: what drops are a share of.
""",
        (
            *_each_way(PACKETS, lambda direction: by_device(PACKETS_OF, direction)),
            *PACKETS_OF_DEVICES,
        ),
        EACH_MINUTE,
    ),
    Group(
        "dataplane-traffic",
        """
Bytes by layer, and errors of cards.
""",
        (
            *_each_way(BYTES, lambda direction: by_device(BYTES_OF, direction)),
            *_each_way(
                CARD_ERRORS, lambda direction: of_cards(ERRORS_OF, direction, "interface", CARDS)
            ),
        ),
        EACH_OTHER_MINUTE,
    ),
)

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
            "job_layer:dataplane_traffic_bytes:rate5m",
            f"sum by (job, layer, direction) ({BYTES})",
        ),
    ),
)
