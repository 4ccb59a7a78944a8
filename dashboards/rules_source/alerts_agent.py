"""Alerts of the agent: what it cannot see, it says."""

from dashboards.rules_source.text import Alert, Group, once

GROUP = Group(
    "dataplane-agent-alerts",
    """
The agent: a node that is not seen has no alerts of its own, and absent series read as good news.
""",
    (
        Alert(
            "DataplaneAgentMissing",
            "warning",
            once("up{JOB} == 0"),
            "{{ $labels.instance }}: the agent does not answer job {{ $labels.job }}",
            """
            Prometheus has not got a page of job {{ $labels.job }} from dataplane-agent on {{
            $labels.instance }} for ten minutes. What that job scrapes is not watched; forwarding
            does not depend on the agent. Look first whether the node is up, then at systemctl
            status dataplane-agent.
            """,
            "10m",
        ),
        Alert(
            "DataplaneAgentMissing",
            "critical",
            "absent(up{JOB})",
            "Prometheus has no dataplane-agent at all",
            """
            Prometheus has no target with JOB: nothing of any node's network is watched. Look first
            whether its configuration has the job by that name, and what its service discovery
            finds.
            """,
            "10m",
        ),
        Alert(
            "DataplaneSourceDown",
            "warning",
            'instance_source:dataplane_agent_source_up:configured{source!="ovn_controller"} == 0',
            "{{ $labels.instance }}: source {{ $labels.source }} is down",
            """
            The agent on {{ $labels.instance }} does not get from {{ $labels.source }} what it
            should; series of it are absent. Look first at the reason on the agent's /status, or at
            dataplane_agent_source_failures_total: absent, refused, denied, timeout, broken or
            malformed.
            """,
            "10m",
        ),
        Alert(
            "DataplaneSourceThrottled",
            "info",
            once("rate(dataplane_agent_source_throttled_total{JOB}[RATE]) > 0", "source"),
            "{{ $labels.instance }}: source {{ $labels.source }} is read less often than asked",
            """
            For half an hour the agent on {{ $labels.instance }} has left out readings of {{
            $labels.source }} to spare it, {{ $value | humanize }} a second: the counters of these
            scrapes are absent, not wrong. Look first at
            dataplane_agent_source_min_interval_seconds, and scrape flows at that distance in a job
            of their own.
            """,
            "30m",
        ),
        Alert(
            "DataplaneScrapeNearDeadline",
            "info",
            "instance:dataplane_agent_scrape_duration:ratio > 0.75",
            """
            {{ $labels.instance }}: a scrape takes {{ $value | humanizePercentage }} of its deadline
            """,
            """
            Scrapes of {{ $labels.instance }} by job {{ $labels.job }} take {{ $value |
            humanizePercentage }} of the DEADLINE s after which the agent answers without what is
            late. Look first at which source it
            waits for (dataplane_agent_source_read_seconds) and at the largest collectors
            (dataplane_agent_series).
            """,
            "15m",
        ),
        Alert(
            "DataplaneScrapeDeadlineExceeded",
            "warning",
            once(
                "increase(dataplane_agent_scrape_deadline_exceeded_total{JOB}[15m]) > 3", "source"
            ),
            "{{ $labels.instance }}: scrapes are answered without {{ $labels.source }}",
            """
            In fifteen minutes {{ $value | humanize }} scrapes of {{ $labels.instance }} were
            answered without {{ $labels.source }}, because it was late; its series were absent in
            them. Look first whether the peer is slow (ovs_vswitchd_echo_seconds) or the node has no
            CPU left.
            """,
            "5m",
        ),
        Alert(
            "DataplaneSeriesSuppressed",
            "info",
            """
(
  dataplane_agent_series{JOB, collector!="flow"}
  + dataplane_agent_series_suppressed{JOB, collector!="flow"}
)
/ (dataplane_agent_series_limit{JOB, collector!="flow"} > 0)
> 0.9
""",
            """
            {{ $labels.instance }}: collector {{ $labels.collector }} is at {{ $value |
            humanizePercentage }} of its series limit
            """,
            """
            Collector {{ $labels.collector }} of the agent on {{ $labels.instance }} has {{ $value |
            humanizePercentage }} of the series that limits.series allows; above 100 % it leaves out
            whole families, detail first. Look first at what grew, then raise the limit or leave
            devices out.
            """,
            "15m",
        ),
    ),
)
