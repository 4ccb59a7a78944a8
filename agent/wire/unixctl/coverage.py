"""``coverage/show``: events that ovs-vswitchd has counted since its start.

Nothing that never happened is listed, so a rate over the first drop would miss it. The counters
below are those that tell of lost packets or refused flows; ``coverage/read-counter`` tells which
of them a release has.
"""

import re

from agent.errors import ParseError
from agent.wire.unixctl.text import number

HEADER = "Event coverage"

_LINE = re.compile(r"([A-Za-z0-9_]+) .*/sec +total: *(\S*)")

DROP_COUNTERS: tuple[str, ...] = (
    # Translation found no way to go on: packets die by an explicit drop action with this reason.
    "drop_action_bridge_not_found",
    "drop_action_congestion",
    "drop_action_forwarding_disabled",
    "drop_action_invalid_tunnel_metadata",
    "drop_action_no_recirculation_context",
    "drop_action_of_pipeline",
    "drop_action_recirculation_conflict",
    "drop_action_recursion_too_deep",
    "drop_action_stack_too_deep",
    "drop_action_too_many_mpls_labels",
    "drop_action_too_many_resubmit",
    "drop_action_tunnel_header_build_failed",
    "drop_action_tunnel_neigh_cache_miss",
    "drop_action_tunnel_output_no_ethernet",
    "drop_action_tunnel_routing_failed",
    "drop_action_unsupported_packet_type",
    # The userspace datapath lost packets.
    "datapath_drop_hw_miss_recover",
    "datapath_drop_hw_post_process",
    "datapath_drop_invalid_bond",
    "datapath_drop_invalid_port",
    "datapath_drop_invalid_tnl_port",
    "datapath_drop_lock_error",
    "datapath_drop_meter",
    "datapath_drop_nsh_decap_error",
    "datapath_drop_recirc_error",
    "datapath_drop_rx_invalid_packet",
    "datapath_drop_sample_error",
    "datapath_drop_tunnel_pop_error",
    "datapath_drop_tunnel_push_error",
    "datapath_drop_tunnel_tso_recirc",
    "datapath_drop_upcall_error",
    "datapath_drop_userspace_action_error",
    # Devices of the userspace datapath.
    "afxdp_cq_empty",
    "afxdp_fq_full",
    "afxdp_tx_full",
    "netdev_geneve_tso_drops",
    "netdev_linux_invalid_l4_csum",
    "netdev_linux_unknown_l4_csum",
    "netdev_push_header_drops",
    "netdev_send_prepare_drops",
    "netdev_soft_seg_drops",
    "netdev_vxlan_tso_drops",
    "native_tnl_l3csum_err",
    "native_tnl_l4csum_err",
    # Its connection tracking and reassembly.
    "conntrack_full",
    "conntrack_invalid_tcp_flags",
    "conntrack_l3csum_err",
    "conntrack_l4csum_err",
    "conntrack_tcp_seq_chk_failed",
    "conntrack_zone_full",
    "ipf_l3csum_err",
    "ipf_stuck_frag_list_expired",
    "ipf_stuck_frag_list_purged",
    "miniflow_extract_ipv4_pkt_len_error",
    "miniflow_extract_ipv4_pkt_too_short",
    "miniflow_extract_ipv6_pkt_len_error",
    "miniflow_extract_ipv6_pkt_too_short",
    # The datapath refused what ovs-vswitchd asked of it.
    "dpif_execute_error",
    "dpif_flow_del_error",
    "dpif_flow_get_error",
    "dpif_flow_put_error",
    # Flows that were not installed or removed before their time.
    "upcall_flow_limit_hit",
    "upcall_flow_limit_kill",
    "upcall_ukey_contention",
    "xlate_actions_oversize",
    "xlate_actions_too_many_output",
    # Messages that were thrown away.
    "netlink_overflow",
    "packet_in_overflow",
    "rconn_discarded",
    "rconn_overflow",
)
"""In 2.13 to 4.0, though no release has them all."""


def parse_coverage_show(text: str) -> dict[str, int]:
    """Return totals by event; events that never happened are not listed.

    ::

        Event coverage, avg rate over last: 5 seconds, last minute, last hour,  hash=7c91aa8b:
        bridge_reconfigure         0.0/sec     0.000/sec        0.0000/sec   total: 60
        drop_action_of_pipeline    0.0/sec     0.000/sec        0.0000/sec   total: 26
        106 events never hit

    Each thread adds its own counts once a second, so a total is up to a second old.

    Raises:
        ParseError: If the header line is missing or a total is no number.
    """
    header, _, lines = text.partition("\n")
    if not header.startswith(HEADER):
        raise ParseError(f"not an answer of coverage/show: {header[:40]!r}")
    return {
        event[1]: number(event[2], event[1])
        for event in map(_LINE.fullmatch, lines.split("\n"))
        if event is not None
    }


def parse_read_counter(text: str) -> int:
    r"""Return the total of ``coverage/read-counter``: ``"26\n"``.

    Raises:
        ParseError: If there is anything else.
    """
    return number(text.strip(), "total")
