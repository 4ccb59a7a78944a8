"""Alerts of the switch itself: caches, limits, the main loop, its controllers and devices."""

from dashboards.rules_source.recording import CACHE
from dashboards.rules_source.text import Alert, Group

CONNECTIONS = """
(
  last_over_time(instance_netns:netns_conntrack_entries:ratio[RATE])
  or last_over_time(instance_datapath:ovs_conntrack_entries:ratio{datapath!~"system@.+"}[RATE])
  or last_over_time(instance_datapath_zone:ovs_conntrack_zone_entries:ratio[RATE])
)
"""
"""The kernel's datapath is left out: its table is that of the host's own namespace.

The last that was read: a node whose tables fill up is busy, and a reading that is late is absent in
its scrape, from which an alert would have to last anew.
"""


def _conntrack(severity: str, share: str, hold: str) -> Alert:
    return Alert(
        "DataplaneConntrackNearlyFull",
        severity,
        f"{CONNECTIONS.strip()} > {share}",
        "{{ $labels.instance }}: a table of connections is {{ $value | humanizePercentage }} full",
        """
        The connection tracking table of {{ if $labels.zone }}zone {{ $labels.zone }} on {{
        $labels.datapath }}{{ else if $labels.datapath }}{{ $labels.datapath }}{{ else if
        $labels.netns }}namespace {{ $labels.netns }}{{ else }}the host itself, which is also the
        kernel datapath's,{{ end }} on {{ $labels.instance }} is {{ $value | humanizePercentage }}
        full. When it is full, new connections are dropped and established ones go on. Look first at
        which zone or namespace has the entries, and whether one instance opens them.
        """,
        hold,
        {"layer": "conntrack"},
    )


GROUP = Group(
    "dataplane-switch-alerts",
    """
The switch: signs that it is about to lose packets, or that it forwards by what it knew yesterday.
""",
    (
        Alert(
            "DataplaneCacheHitRateCollapse",
            "warning",
            f"""
{CACHE} < 0.95
and
1 - {CACHE} > 3 * (1 - instance_cache:dataplane_cache_hit:median1d)
and on (job, instance)
sum by (job, instance) (instance_datapath:ovs_datapath_lookups:rate5m) > 500
""",
            """
            {{ $labels.instance }}: cache {{ $labels.cache }} hits only {{ $value |
            humanizePercentage }}
            """,
            """
            Cache {{ $labels.cache }}{{ with $labels.datapath }} of {{ . }}{{ end }} on {{
            $labels.instance }} hits {{ $value | humanizePercentage }} of packets; it misses more
            than three times as often as in the middle of its last day. Packets cost more CPU, and
            misses of cache flows go up to ovs-vswitchd. Look first at flow churn
            (ovs_flow_changes_total) and at who sends many short flows, a scan for instance.
            """,
            "15m",
        ),
        Alert(
            "DataplaneFlowLimitPressure",
            "warning",
            # Passes throw out what is above the limit: a datapath at its limit can look empty.
            "max_over_time(instance_datapath:ovs_upcall_flows:ratio[RATE]) > 0.8",
            """
            {{ $labels.instance }}: {{ $labels.datapath }} holds {{ $value | humanizePercentage }}
            of the flows that it may
            """,
            """
            {{ $labels.datapath }} on {{ $labels.instance }} holds {{ $value | humanizePercentage }}
            of the flows that ovs-vswitchd allows at present, or does so again and again. At the
            limit no new flow is installed, so that each packet of a new connection goes up, and
            idle flows go after 0.1 s instead of 10 s. The limit falls by itself when a pass over
            all flows takes too long: look first at ovs_upcall_dump_duration_seconds.
            """,
            "15m",
        ),
        Alert(
            "DataplaneMainLoopSlow",
            "warning",
            "max by (job, instance) (avg_over_time(ovs_vswitchd_echo_seconds{JOB}[RATE])) > 0.5",
            "{{ $labels.instance }}: ovs-vswitchd answers after {{ $value | humanizeDuration }}",
            """
            The main loop of ovs-vswitchd on {{ $labels.instance }} took {{ $value |
            humanizeDuration }} to answer an ECHO, on average. The same thread takes in flows,
            speaks LACP and reconfigures: ports come up late and bonds can flap. Look first at what
            else asks it (ovs-ofctl dump-flows in a loop) and at flow churn. Above 0.5 s the agent
            leaves flows out of its pages.
            """,
            "10m",
        ),
        _conntrack("warning", "0.85", "15m"),
        _conntrack("critical", "0.95", "5m"),
        Alert(
            "DataplaneControllerDisconnected",
            "warning",
            """
(max by (job, instance, bridge) (ovs_controller_connected{JOB}) == 0)
* on (job, instance, bridge) group_left (fail_mode) ovs_bridge_info{JOB}
""",
            "{{ $labels.instance }}: {{ $labels.bridge }} has no controller",
            """
            No controller of {{ $labels.bridge }} on {{ $labels.instance }} is connected. Its flows
            stay as they are with fail_mode secure; this bridge has {{ with $labels.fail_mode }}{{ .
            }}{{ else }}none set, which is standalone: it becomes a learning switch without any
            flows of its controller{{ end }}. New ports get no flows. Look first whether the
            controller (neutron-openvswitch-agent) runs on the node.
            """,
            "5m",
        ),
        Alert(
            "DataplanePortOpenError",
            "warning",
            """
(max by (job, instance, bridge, interface) (ovs_interface_open_error{JOB}) == 1)
* on (job, instance, bridge, interface) group_left (iface_id, vm_uuid) ovs_interface_info{JOB}
""",
            "{{ $labels.instance }}: {{ $labels.bridge }} cannot open {{ $labels.interface }}",
            """
            Interface {{ $labels.interface }} is in the database of {{ $labels.bridge }} on {{
            $labels.instance }}, and its device cannot be opened{{ with $labels.vm_uuid }}; it is of
            instance {{ . }}{{ end }}. Whoever is behind it is cut off while the configuration looks
            complete. Look first whether the instance runs: of one that does not the row is only
            left over.
            """,
            "15m",
        ),
        Alert(
            "DataplaneVswitchdRestartLoop",
            "critical",
            """
changes(ovs_vswitchd_start_time_seconds{JOB}[1h]) >= 3
and
time() - last_over_time(ovs_vswitchd_start_time_seconds{JOB}[1h]) < 3600
""",
            "{{ $labels.instance }}: ovs-vswitchd restarted {{ $value }} times in an hour",
            """
            ovs-vswitchd on {{ $labels.instance }} was started {{ $value }} times in the last hour.
            Each time its flows are gone until the controller has sent them again; with the
            userspace datapath nothing is forwarded meanwhile. Look first at the end of its log and
            for a core dump.
            """,
            "0s",
        ),
    ),
)
