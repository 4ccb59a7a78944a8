"""migration.yaml: other exporters' names, recorded from ours while dashboards are moved.

Names are recorded only where nobody else has them now: what is called the same here is there
already. A record is a copy as of the rule's evaluation, never a rate.
"""

from collections.abc import Iterator

from dashboards.rules_source.settings import Settings
from dashboards.rules_source.text import Group, Recording, fit, once, page

ABOUT = """
Names of other exporters, for as long as old dashboards and alerts are about: load this file only
then, see docs/migration.md. Each rule copies a value once in an interval, so what is recorded is up
to an interval old, and rate() over it can be wrong by one interval's growth at the edges: look at
windows of ten intervals and more. Stop the other exporter first, or job tells them apart.
"""

INTERFACE_COUNTERS = ("packets", "bytes", "errors")
DROP_EVENTS = (
    "datapath_drop_invalid_bond", "datapath_drop_invalid_port", "datapath_drop_invalid_tnl_port",
    "datapath_drop_lock_error", "datapath_drop_meter", "datapath_drop_nsh_decap_error",
    "datapath_drop_recirc_error", "datapath_drop_rx_invalid_packet", "datapath_drop_sample_error",
    "datapath_drop_tunnel_pop_error", "datapath_drop_tunnel_push_error",
    "datapath_drop_upcall_error", "datapath_drop_userspace_action_error",
    "drop_action_bridge_not_found", "drop_action_congestion", "drop_action_forwarding_disabled",
    "drop_action_invalid_tunnel_metadata", "drop_action_no_recirculation_context",
    "drop_action_of_pipeline", "drop_action_recirculation_conflict",
    "drop_action_recursion_too_deep", "drop_action_stack_too_deep",
    "drop_action_too_many_mpls_labels", "drop_action_too_many_resubmit",
    "drop_action_unsupported_packet_type",
)  # fmt: skip
OVN_EVENTS = (
    "lflow_run", "rconn_sent", "rconn_queued", "rconn_discarded", "rconn_overflow", "vconn_open",
    "vconn_sent", "vconn_received", "stream_open", "txn_success", "txn_error", "txn_uncommitted",
    "txn_unchanged", "txn_incomplete", "txn_aborted", "txn_try_again", "pinctrl_total_pin_pkts",
    "netlink_sent", "netlink_received", "netlink_recv_jumbo", "netlink_overflow",
)  # fmt: skip
FACILITIES = ("handlers", "ports", "revalidators", "rules")
CACHES = {
    "ovs_pmd_emc_hits": "emc_hit",
    "ovs_pmd_smc_hits": "smc_hit",
    "ovs_pmd_megaflow_hits": "megaflow_hit",
    "ovs_pmd_phwol_hits": "phwol_hit",
    "ovs_pmd_simple_match_hits": "simple_match_hit",
    "ovs_pmd_lost_upcalls": "upcall_failed",
    "ovs_pmd_total_upcalls": "upcall_success|upcall_failed",
}
WITH_SYSTEM_ID = "* on (job, instance) group_left (system_id) ovs_vswitch_info{JOB}"


def _renamed(expr: str, **labels: str) -> str:
    """Give labels their old names, and leave the new ones out."""
    for old, new in labels.items():
        replaced = 'label_replace(\n  <expr>,\n  "<old>", "$1", "<new>", "(.*)"\n)'
        expr = fit(replaced, expr=expr, old=old, new=new)
    return fit(f"max without ({', '.join(labels.values())}) (\n  <expr>\n)", expr=expr)


def _split(metric: str, label: str, before: str, at: str, after: str) -> str:
    """Make two labels of one."""
    return f"""
max without ({label}) (
  label_replace(
    label_replace({metric}{{JOB}}, "{before}", "$1", "{label}", "(.+){at}.+"),
    "{after}", "$1", "{label}", ".+{at}(.+)"
  )
)
"""


def openstack_network_exporter() -> Iterator[tuple[str, str]]:
    """Yield its names that are not ours, with our expression."""
    for direction in ("rx", "tx"):
        for counter in INTERFACE_COUNTERS:
            name = f"ovs_interface_{direction}_{counter}"
            yield name, f"{name}_total{{JOB}}"
    yield (
        "ovs_interface_rx_dropped",
        "ovs_interface_rx_missed_errors_total{JOB} > 0\nor ovs_interface_rx_dropped_total{JOB}",
    )
    yield "ovs_interface_link_resets", "ovs_interface_link_resets_total{JOB}"
    yield (
        "ovs_interface_link_speed_bps",
        "8 * ovs_interface_link_speed_bytes_per_second{JOB}",
    )
    of_bridge = "* on (job, instance, bridge) group_left (datapath_type) ovs_bridge_info{JOB}"
    yield "ovs_bridge_port_count", f"ovs_bridge_ports{{JOB}}\n{of_bridge}"
    yield "ovs_bridge_flow_count", f"ovs_bridge_flows{{JOB}}\n{of_bridge}"
    yield "ovs_datapath_flows_total", _split("ovs_datapath_flows", "datapath", "type", "@", "name")
    for facility in FACILITIES:
        yield (
            f"ovs_memory_{facility}_total",
            f'max without (facility) (ovs_memory_usage{{JOB, facility="{facility}"}})',
        )
    for event in DROP_EVENTS:
        yield (
            f"ovs_coverage_{event}_total",
            f'max without (event) (ovs_coverage_events_total{{JOB, event="{event}"}})',
        )
    for name, result in CACHES.items():
        yield name, f'sum without (result) (ovs_pmd_packets_total{{JOB, result=~"{result}"}})'
    for event in OVN_EVENTS:
        yield (
            f"ovnc_{event}",
            f'max without (event) (ovn_controller_coverage_events_total{{JOB, event="{event}"}})',
        )
    yield "ovnc_encap_ip", _renamed("ovn_controller_encap_ip{JOB}", encap_ip="ipaddress")
    yield "ovnc_encap_type", _renamed("ovn_controller_encap_type{JOB}", encap_type="type")
    yield (
        "ovnc_sb_connection_method",
        _renamed(
            "ovn_controller_sb_connection_method{JOB}", sb_connection_method="connection_method"
        ),
    )
    yield "ovnc_monitor_all", "ovn_controller_monitor_all{JOB}"
    yield (
        "ovnc_bridge_mappings",
        _split("ovn_controller_bridge_mappings", "mapping", "network", ":", "bridge"),
    )


def ovs_exporter() -> Iterator[tuple[str, str]]:
    """Yield names of greenpau's, with system_id; its uuids of interfaces nobody has here."""
    up = 'max without (source) (dataplane_agent_source_up{JOB, source="ovsdb"})'
    yield "ovs_up", once(up)
    yield (
        "ovs_coverage_total",
        f"""
label_replace(ovs_coverage_events_total{{JOB}}, "component", "vswitchd-service", "", "")
{WITH_SYSTEM_ID}
""",
    )
    for old, new in (
        ("lookups_hit", "lookup_hits_total"),
        ("lookups_missed", "lookup_missed_total"),
        ("lookups_lost", "lookup_lost_total"),
        ("flows", "flows"),
        ("masks_hit", "masks_hit_total"),
        ("masks_total", "masks"),
    ):
        yield f"ovs_dp_{old}", f"ovs_datapath_{new}{{JOB}}\n{WITH_SYSTEM_ID}"
    yield (
        "ovs_dp_masks_hit_ratio",
        f"""
ovs_datapath_masks_hit_total{{JOB}}
/ on (job, instance, datapath) (
  ovs_datapath_lookup_hits_total{{JOB}} + ovs_datapath_lookup_missed_total{{JOB}} > 0
)
{WITH_SYSTEM_ID}
""",
    )


def libvirt_exporter() -> Iterator[tuple[str, str]]:
    """Yield names of inovex's that are not ours."""
    up = 'max without (source) (dataplane_agent_source_up{JOB, source="libvirt"})'
    yield "libvirt_up", once(up)
    yield "libvirt_domains", "count by (job, instance) (libvirt_domain_state{JOB})"
    yield "libvirt_domain_info_state", "libvirt_domain_state{JOB}"
    meta = 'libvirt_domain_interface_meta{JOB, target_device!=""}'
    yield (
        "libvirt_domain_interface_stats_info",
        _renamed(meta, interface_type="type", mac_address="mac", model_type="model"),
    )


def migration(settings: Settings) -> str:
    """Write migration.yaml."""
    groups = [
        Group(
            f"dataplane-migration-{name}",
            why,
            [Recording(record, expr) for record, expr in rules],
            settings.scrape_interval,
        )
        for name, why, rules in (
            (
                "openstack-network-exporter",
                """
                openstack-k8s-operators/openstack-network-exporter. Its rx_dropped is what the card
                had no room for, where there is any; coverage has a name for each event: here those
                of drops.
                """,
                openstack_network_exporter(),
            ),
            (
                "ovs-exporter",
                """
                greenpau/ovs_exporter. Its counters of interfaces have the same names as those above
                and uuids for labels, which nothing here has: ask by interface instead.
                """,
                ovs_exporter(),
            ),
            (
                "libvirt-exporter",
                """
                inovex/prometheus-libvirt-exporter. Counters of interfaces and
                libvirt_domain_openstack_info are called the same here.
                """,
                libvirt_exporter(),
            ),
        )
    ]
    return page(groups, settings, ABOUT)
