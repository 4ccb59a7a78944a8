"""Recording rules of what is not drops: caches, flows, tunnels, connections, OVN, the agent."""

from dashboards.rules_source.drops import DROPPED, NODE_AND_FLEET
from dashboards.rules_source.drops import GROUPS as OF_DEVICES
from dashboards.rules_source.layers import GROUP as LAYERS
from dashboards.rules_source.layers import RECORD as LAYER
from dashboards.rules_source.layers import TUNNEL_TYPES
from dashboards.rules_source.mtu import RECORDINGS as MTU
from dashboards.rules_source.settings import Settings
from dashboards.rules_source.text import Group, Recording, fit, once, page

ABOUT = "Recording rules: what the dashboards draw of many nodes, and what the alerts compare."

LOOKUPS = "instance_datapath:ovs_datapath_lookups:rate5m"
DOWN = "instance_interface:dataplane_tunnel_down:state"

DATAPATH = Group(
    "dataplane-datapath",
    """
The datapath: how often it knows what to do with a packet by itself, at what cost, and how close the
flow table is to its limit. A ratio is absent while no packet comes, never 0 or NaN.
""",
    (
        Recording(
            LOOKUPS,
            "rate(ovs_datapath_lookup_hits_total{JOB}[RATE])"
            "\n+ rate(ovs_datapath_lookup_missed_total{JOB}[RATE])",
        ),
        Recording(
            "instance_datapath:ovs_datapath_upcalls:rate5m",
            "rate(ovs_datapath_lookup_missed_total{JOB}[RATE])",
        ),
        Recording(
            "instance_datapath:ovs_datapath_hit:ratio_rate5m",
            f"rate(ovs_datapath_lookup_hits_total{{JOB}}[RATE])\n/ ({LOOKUPS} > 0)",
        ),
        Recording(
            "instance_datapath:ovs_datapath_mask_cache_hit:ratio_rate5m",
            f"rate(ovs_datapath_mask_cache_hits_total{{JOB}}[RATE])\n/ ({LOOKUPS} > 0)",
        ),
        Recording(
            "instance_datapath:ovs_datapath_masks_per_packet:ratio_rate5m",
            f"rate(ovs_datapath_masks_hit_total{{JOB}}[RATE])\n/ ({LOOKUPS} > 0)",
        ),
        Recording(
            "instance_datapath:ovs_datapath_upcall_lost:ratio_rate5m",
            """
clamp_max(
  rate(ovs_datapath_lookup_lost_total{JOB}[RATE])
  / (rate(ovs_datapath_lookup_missed_total{JOB}[RATE]) > 0),
  1
)
""",
        ),
        Recording(
            "instance:ovs_pmd_hit:ratio_rate5m",
            """
sum by (job, instance) (rate(ovs_pmd_packets_total{JOB, result=~".+_hit"}[RATE]))
/ (sum by (job, instance) (rate(ovs_pmd_packets_total{JOB}[RATE])) > 0)
""",
        ),
        Recording(
            "instance_cpu:ovs_pmd_busy:ratio_rate5m",
            """
sum by (job, instance, numa, cpu) (rate(ovs_pmd_cycles_total{JOB, state="busy"}[RATE]))
/ (sum by (job, instance, numa, cpu) (rate(ovs_pmd_cycles_total{JOB}[RATE])) > 0)
""",
        ),
        Recording(
            "instance_datapath:ovs_upcall_flows:ratio",
            "ovs_upcall_flows{JOB} / (ovs_upcall_flow_limit{JOB} > 0)",
        ),
        Recording(
            "instance:ovs_vswitchd_echo_seconds:max",
            "max by (job, instance) (ovs_vswitchd_echo_seconds{JOB})",
        ),
        Recording(
            "instance:ovs_bridge_flows:sum",
            "sum by (job, instance) (ovs_bridge_flows{JOB})",
        ),
        Recording(
            "instance_change:ovs_flow_changes:rate5m",
            "sum by (job, instance, change) (rate(ovs_flow_changes_total{JOB}[RATE]))",
        ),
    ),
)

CACHE = "instance_cache:dataplane_cache_hit:ratio_rate5m"

CACHES = Group(
    "dataplane-caches",
    """
Caches under one name, for what is said of all of them: the datapath's table of flows, the kernel's
cache of masks in front of it, and the caches of the userspace datapath's threads together.
""",
    tuple(
        Recording(CACHE, expr, {"cache": cache})
        for cache, expr in (
            ("flows", "instance_datapath:ovs_datapath_hit:ratio_rate5m"),
            ("masks", "instance_datapath:ovs_datapath_mask_cache_hit:ratio_rate5m"),
            ("pmd", "instance:ovs_pmd_hit:ratio_rate5m"),
        )
    ),
)


def _of_the_day(record: str, what: str, quantile: str) -> Recording:
    day = f"{what}[1d:5m] offset 1h"
    return Recording(
        record,
        f"""
quantile_over_time({quantile}, {day})
and count_over_time({day}) >= 72
""",
    )


DAY = Group(
    "dataplane-day",
    """
What is usual for a node: its own last day, but for the hour before now, which may be the fault.
Nothing is usual before six hours of it are known. Every second minute, because it reads a day.
""",
    (
        _of_the_day("instance_layer:dataplane_dropped_packets:quantile1d", DROPPED, "0.9"),
        _of_the_day("instance_cache:dataplane_cache_hit:median1d", CACHE, "0.5"),
    ),
    interval="2m",
)

TUNNELS = Group(
    "dataplane-tunnels",
    """
Tunnels: one row for each that is down by BFD (down or init) or CFM, by the carrier of the device
that its packets leave by, or by its own link; then how many a node has, and who of the peers is
down for how many nodes. MTU of overlay ports and of the device that has the tunnels' local address:
there only with --collector.address, and where it is known which ports are overlay.
""",
    (
        Recording(
            DOWN,
            f"""
(
  group by (job, instance, interface) (
    ovs_interface_bfd_state{{JOB}} == 1 or ovs_interface_bfd_state{{JOB}} == 2
  )
  or
  group by (job, instance, interface) (ovs_tunnel_egress_carrier{{JOB}} == 0)
  or
  group by (job, instance, interface) (
    ovs_interface_link_state{{JOB, type=~"{TUNNEL_TYPES}"}} == 0
  )
  or
  group by (job, instance, interface) (ovs_interface_cfm_fault{{JOB}} == 1)
)
and on (job, instance, interface) {LAYER}{{layer="tunnel", counted_by="ovs"}}
""",
        ),
        Recording(
            "instance:dataplane_tunnel_endpoints:count",
            "count by (job, instance) (dataplane_tunnel_endpoint_info{JOB})",
        ),
        Recording(
            "instance:dataplane_tunnel_down:count",
            f"""
count by (job, instance) ({DOWN})
or 0 * instance:dataplane_tunnel_endpoints:count
""",
        ),
        Recording(
            "job_remote:dataplane_tunnel_endpoints:count",
            """
count by (job, remote_ip) (
  group by (job, instance, remote_ip) (dataplane_tunnel_endpoint_info{JOB, remote_ip!=""})
)
""",
        ),
        Recording(
            "job_remote:dataplane_tunnel_down:count",
            f"""
count by (job, remote_ip) (
  group by (job, instance, remote_ip) (
    label_replace(
      dataplane_tunnel_endpoint_info{{JOB, implementation="ovs", remote_ip!=""}},
      "interface", "$1", "device", "(.+)"
    )
    and on (job, instance, interface) {DOWN}
  )
)
or 0 * job_remote:dataplane_tunnel_endpoints:count
""",
        ),
        *MTU,
    ),
)

CONNECTIONS = Group(
    "dataplane-conntrack",
    """
Connection tracking: how full each table is. A limit of 0 is none. The host's own table (no netns)
is also that of the kernel's datapath.
""",
    (
        Recording(
            "instance_netns:netns_conntrack_entries:ratio",
            "netns_conntrack_entries{JOB} / (netns_conntrack_entries_limit{JOB} > 0)",
        ),
        Recording(
            "instance_datapath:ovs_conntrack_entries:ratio",
            "ovs_conntrack_entries{JOB} / (ovs_conntrack_entries_limit{JOB} > 0)",
        ),
        Recording(
            "instance_datapath_zone:ovs_conntrack_zone_entries:ratio",
            "ovs_conntrack_zone_entries{JOB} / (ovs_conntrack_zone_entries_limit{JOB} > 0)",
        ),
        Recording(
            "instance:dataplane_conntrack_entries:max_ratio",
            """
max by (job, instance) (
  instance_netns:netns_conntrack_entries:ratio
  or instance_datapath:ovs_conntrack_entries:ratio
  or instance_datapath_zone:ovs_conntrack_zone_entries:ratio
)
""",
        ),
    ),
)

OVN = Group(
    "dataplane-ovn",
    """
OVN: whether a node is told what changes, and how far behind it is. A Southbound that hangs looks
connected for seconds of each try, so the worst of five minutes counts. The lag is in generations
of the configuration; it needs an agent of the same job beside the databases.
""",
    (
        Recording(
            "instance:ovn_controller_southbound_database_connected:min5m",
            """
min by (job, instance) (
  min_over_time(ovn_controller_southbound_database_connected{JOB}[5m])
)
""",
        ),
        Recording(
            "instance:ovn_controller_nb_cfg:lag",
            """
clamp_min(
  max by (job) (ovn_sb_nb_cfg{JOB})
  - on (job) group_right () max by (job, instance) (ovn_controller_nb_cfg{JOB}),
  0
)
""",
        ),
        Recording(
            "instance:ovn_controller_engine_recompute:rate5m",
            "sum by (job, instance) (rate(ovn_controller_engine_recompute_total{JOB}[RATE]))",
        ),
    ),
)


def _agents(how: str) -> str:
    """Count agents, each in one job; 0 in one that only has what another has as well."""
    agents = """
<how> by (job) (
  <up>
)
or 0 * <how> by (job) (up{JOB})
"""
    return fit(agents, how=how, up=once("up{JOB}"))


AGENT = Group(
    "dataplane-agent",
    """
The agent: which of the sources that a node should have are there, how much it leaves out, and how
close a scrape is to its deadline. Where a job of its own (NAME-flows) scrapes flows, both jobs show
the same agent: it is counted in the other one.
""",
    (
        Recording(
            "instance_source:dataplane_agent_source_up:configured",
            once(
                """
dataplane_agent_source_up{JOB}
and on (job, instance, source) dataplane_agent_source_configured{JOB} == 1
""",
                "source",
            ),
        ),
        Recording(
            "instance:dataplane_agent_source_up:ratio",
            "avg by (job, instance) (instance_source:dataplane_agent_source_up:configured)",
        ),
        Recording(
            "instance:dataplane_agent_sources_down:count",
            """
count by (job, instance) (instance_source:dataplane_agent_source_up:configured == 0)
or 0 * instance:dataplane_agent_source_up:ratio
""",
        ),
        Recording(
            "job_source:dataplane_agent_source_down:count",
            """
count by (job, source) (instance_source:dataplane_agent_source_up:configured == 0)
or 0 * count by (job, source) (instance_source:dataplane_agent_source_up:configured)
""",
        ),
        Recording(
            "instance:dataplane_agent_series:sum",
            "sum by (job, instance) (dataplane_agent_series{JOB})",
        ),
        Recording(
            "instance:dataplane_agent_scrape_duration:ratio",
            "scrape_duration_seconds{JOB} / DEADLINE",
        ),
        Recording("job:dataplane_agents:count", _agents("count")),
        Recording("job:dataplane_agents_up:sum", _agents("sum")),
    ),
)

GROUPS = (
    LAYERS,
    *OF_DEVICES,
    NODE_AND_FLEET,
    DATAPATH,
    CACHES,
    TUNNELS,
    CONNECTIONS,
    OVN,
    AGENT,
    DAY,
)


def recording(settings: Settings) -> str:
    """Write recording.yaml."""
    return page(GROUPS, settings, ABOUT)
