"""Alerts of packets lost: which layer, against what is usual there, and whose fault it can be."""

from dashboards.rules_source.drops import (
    CARD_DROPS,
    CARD_ERRORS,
    CARD_PACKETS,
    DROPPED,
    TAP_DROPS,
    TAP_PACKETS,
)
from dashboards.rules_source.text import Alert, Group

LOST_UPCALLS = "instance_datapath:ovs_datapath_upcall_lost:ratio_rate5m"


def _upcalls_lost(severity: str, share: str, hold: str) -> Alert:
    return Alert(
        "DataplaneUpcallsLost",
        severity,
        f"""
{LOST_UPCALLS} > {share}
and on (job, instance, datapath)
rate(ovs_datapath_lookup_lost_total{{JOB}}[RATE]) > 1
""",
        """
        {{ $labels.instance }}: {{ $value | humanizePercentage }} of new flows' packets are lost on
        their way to ovs-vswitchd
        """,
        """
        Of the packets that {{ $labels.datapath }} on {{ $labels.instance }} sends up to
        ovs-vswitchd, {{ $value | humanizePercentage }} are dropped because its queues are full: new
        connections fail or are slow, established ones go on. First see who sends up so much
        (ovs_interface_upcall_packets_total by interface), then whether ovs-vswitchd is slow
        (ovs_vswitchd_echo_seconds).
        """,
        hold,
        {"layer": "upcall"},
    )


GROUP = Group(
    "dataplane-drops-alerts",
    """
Lost packets. What a node always loses is no news: growth is measured against its own day. A card
that drops pages; a tap whose guest does not read is a ticket for whoever owns the guest.
""",
    (
        Alert(
            "DataplaneDroppedPacketGrowth",
            "warning",
            f"""
(
  {DROPPED}{{layer!="meter"}} > 10
  > on (job, instance, layer, direction)
  3 * instance_layer:dataplane_dropped_packets:quantile1d
)
unless on (instance) time() - process_start_time_seconds{{JOB}} < 900
""",
            """
            {{ $labels.instance }}: layer {{ $labels.layer }} loses {{ $value | humanize }}
            packets/s{{ with $labels.direction }} ({{ . }}){{ end }}, more than three times what is
            usual
            """,
            """
            Layer {{ $labels.layer }} of {{ $labels.instance }} loses {{ $value | humanize }}
            packets/s{{ with $labels.direction }}, direction {{ . }}{{ end }}. For nine tenths of
            its last day it lost at most a third of that. rx and tx are the switch's (what an
            instance sends is rx), of layers namespace and qdisc the device's own. Look first at
            what of the layer drops: the runbook has a query for each.
            """,
            "10m",
        ),
        _upcalls_lost("warning", "0.01", "10m"),
        _upcalls_lost("critical", "0.1", "5m"),
        Alert(
            "DataplaneNicDrops",
            "critical",
            f"""
{CARD_DROPS} > 10
and
{CARD_DROPS} / ({CARD_DROPS} + {CARD_PACKETS}) > 0.001
""",
            """
            {{ $labels.instance }}: network card {{ $labels.interface }} drops {{ $value | humanize
            }} packets/s ({{ $labels.direction }})
            """,
            """
            Network card {{ $labels.interface }} of {{ $labels.instance }} drops {{ $value |
            humanize }} packets/s, direction {{ $labels.direction }}, more than one in a thousand.
            Everybody on the node is hit. Look first at its rings and queues (ethtool -S) and at the
            CPUs that serve it, or with DPDK at the busy share of the threads that poll it.
            """,
            "5m",
            {"layer": "nic"},
        ),
        Alert(
            "DataplaneNicErrors",
            "warning",
            f"""
{CARD_ERRORS} > 1
and
{CARD_ERRORS} / ({CARD_ERRORS} + {CARD_PACKETS}) > 0.0001
""",
            """
            {{ $labels.instance }}: network card {{ $labels.interface }} has {{ $value | humanize }}
            errors/s ({{ $labels.direction }})
            """,
            """
            Network card {{ $labels.interface }} of {{ $labels.instance }} has {{ $value | humanize
            }} errors/s, direction {{ $labels.direction }}, more than one in ten thousand packets.
            Look first at ovs_interface_rx_crc_errors_total: with bad checksums it is the cable, the
            optics or the other end's port.
            """,
            "15m",
            {"layer": "nic"},
        ),
        Alert(
            "DataplaneGuestNotReading",
            "info",
            f"""
(
  {TAP_DROPS}{{direction="tx"}} > 10
  and
  {TAP_DROPS}{{direction="tx"}}
    / ({TAP_DROPS}{{direction="tx"}} + {TAP_PACKETS}{{direction="tx"}}) > 0.01
)
* on (job, instance, interface)
  group_left (domain, iface_id, instance_id, instance_name, project_name)
  dataplane_instance_interface_info{{JOB}}
""",
            """
            {{ $labels.instance }}: the guest behind {{ $labels.interface }} does not read {{ $value
            | humanize }} packets/s
            """,
            """
            {{ $value | humanize }} packets/s bound for instance {{ with $labels.instance_name }}{{
            . }}{{ else }}{{ $labels.instance_id }}{{ end }}{{ with $labels.project_name }} of
            project {{ . }}{{ end }} are dropped at its tap {{ $labels.interface }} on {{
            $labels.instance }}, more than one in a hundred, because the guest does not take them.
            Nothing of the cloud is broken. Look first at the guest's CPUs and its number of queues.
            """,
            "15m",
            {"layer": "tap"},
        ),
    ),
)
