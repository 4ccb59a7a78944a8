"""Alerts of OVN: nodes that are no longer told what changes, and a northd that tells nobody."""

from dashboards.rules_source.text import Alert, Group

GROUP = Group(
    "dataplane-ovn-alerts",
    """
OVN: packets go on by the flows that are there, so these come before anybody complains. The lag
counts only when a node also has not moved for ten minutes: behind is who stands still.
""",
    (
        Alert(
            "DataplaneOvnControllerGone",
            "critical",
            'instance_source:dataplane_agent_source_up:configured{source="ovn_controller"} == 0',
            "{{ $labels.instance }}: ovn-controller does not answer",
            """
            ovn-controller on {{ $labels.instance }} does not answer on its control socket. Flows
            that are there stay; instances that start get none, and DHCP, DNS, ARP for unknown
            addresses and what ACLs reject get no answer, because it gives them. Look first whether
            it runs and at the end of its log.
            """,
            "5m",
        ),
        Alert(
            "DataplaneOvnControllerDisconnected",
            "critical",
            "instance:ovn_controller_southbound_database_connected:min5m == 0",
            "{{ $labels.instance }}: ovn-controller has no Southbound",
            """
            ovn-controller on {{ $labels.instance }} was without its Southbound at least once in
            each five minutes of the last ten: it takes in no change. A server that hangs looks
            connected for seconds of each try. Look first whether all nodes have it, which is the
            Southbound, or this one.
            """,
            "10m",
        ),
        Alert(
            "DataplaneOvnConfigLag",
            "warning",
            """
instance:ovn_controller_nb_cfg:lag > 0
and on (job, instance)
max by (job, instance) (changes(ovn_controller_nb_cfg{JOB}[10m])) == 0
""",
            "{{ $labels.instance }}: {{ $value }} generations behind OVN's configuration",
            """
            {{ $labels.instance }} is {{ $value }} generations of OVN's configuration behind the
            Southbound and has not installed a new one for ten minutes: what was changed since is
            not in force there. Look first whether ovn-controller is connected, and at the time of
            its main loop (ovn_controller_stopwatch_95th_percentile_seconds).
            """,
            "5m",
        ),
        Alert(
            "DataplaneOvnNorthdLag",
            "critical",
            """
ovn_nb_nb_cfg{JOB} - on (job, instance) ovn_nb_sb_cfg{JOB} > 0
and on (job, instance)
changes(ovn_nb_sb_cfg{JOB}[10m]) == 0
""",
            "ovn-northd is {{ $value }} generations behind the Northbound",
            """
            ovn-northd has not written {{ $value }} generations of the Northbound's configuration to
            the Southbound, and has written none for ten minutes (seen by {{ $labels.instance }}):
            no change of any network reaches any node. Look first whether a northd is active and
            whether both databases have a leader.
            """,
            "2m",
        ),
    ),
)
