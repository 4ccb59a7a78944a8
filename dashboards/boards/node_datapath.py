"""Of a node: what its datapaths know and what that costs, and where packets are lost."""

from dashboards import panels as p
from dashboards.frame import to
from dashboards.promql import busiest, by, level, rate

NAME, LOSS = "{{datapath}}", 'kind="lost"'
HITS, MISSED = (rate(f"ovs_datapath_lookup_{what}_total") for what in ("hits", "missed"))
LOOKUPS = f"({HITS} + {MISSED} > 0)"
BY_CACHE, ALL = (by(labels, rate("ovs_pmd_packets_total")) for labels in ("result", ""))
CYCLES, BUSY_CYCLES = (
    by("numa, cpu", rate("ovs_pmd_cycles_total", *matchers)) for matchers in ((), ('state="busy"',))
)

DATAPATH = (
    p.graph(
        "Lookups",
        "Packets that the datapath knew, and packets that it had to send up to ovs-vswitchd.",
        p.PACKETS,
        (HITS, f"{NAME} known"),
        (MISSED, f"{NAME} sent up"),
    ),
    p.share(
        "Packets that the datapath knew",
        "Packets that matched a flow of the datapath. What is missing to 100 % went up to"
        " ovs-vswitchd, which costs very much more.",
        (f"{HITS} / {LOOKUPS}", NAME),
    ),
    p.graph(
        "Lost on the way up to ovs-vswitchd",
        "Packets dropped because the queue to ovs-vswitchd was full; no interface counts them.",
        p.PACKETS,
        (rate("ovs_datapath_lookup_lost_total"), NAME),
        bounds=p.LOSS,
    ),
    p.share(
        "Mask cache hits",
        "Of the kernel's datapath: packets whose mask came from the cache, so that only one mask"
        " was tried. Few of them with many masks for each packet cost CPU time.",
        (f"{rate('ovs_datapath_mask_cache_hits_total')} / {LOOKUPS}", NAME),
    ),
    p.graph(
        "Masks tried for each packet",
        "Of the kernel's datapath: how many masks were tried on average until one had a flow for"
        " the packet, and how many there are, which is the worst case.",
        p.COUNT,
        (f"{rate('ovs_datapath_masks_hit_total')} / {LOOKUPS}", f"{NAME} tried"),
        (level("ovs_datapath_masks"), f"{NAME} there are"),
    ),
    p.stacked(
        p.share(
            "How the userspace datapath knew packets",
            "By which cache: exact matches (emc), signatures (smc), the flow table (megaflow); or"
            " not at all (upcall). The first is the cheapest. All threads together.",
            (f"{BY_CACHE} / on (cluster, instance) group_left () ({ALL} > 0)", "{{result}}"),
        )
    ),
    p.share(
        "Datapath flows against the limit",
        "Flows of the datapath, of as many as ovs-vswitchd allows at present. Beyond it no new ones"
        " are installed, and all their packets go up.",
        (f"{level('ovs_upcall_flows')} / ({level('ovs_upcall_flow_limit')} > 0)", NAME),
        bounds=p.FULL,
    ),
    p.graph(
        "A revalidator's pass over all flows",
        "Duration of the last pass. ovs-vswitchd lowers its limit of flows when one takes longer"
        " than 1.3 s, and divides it above 2 s.",
        p.SECONDS,
        (level("ovs_upcall_dump_duration_seconds"), NAME),
        bounds=((1.3, p.WARN), (2, p.BAD)),
    ),
    p.share(
        "Tracked connections against the limit",
        "Connections that a datapath tracks, of as many as it may. Of a full table new connections"
        " are dropped.",
        (f"{level('ovs_conntrack_entries')} / ({level('ovs_conntrack_entries_limit')} > 0)", NAME),
        bounds=p.FULL,
    ),
    p.share(
        "Busy threads of DPDK",
        "Cycles that a thread spent on packets, of all its cycles. At 100 % it drops.",
        (f"{BUSY_CYCLES} / ({CYCLES} > 0)", "numa {{numa}} cpu {{cpu}}"),
        bounds=p.FULL,
    ),
    p.graph(
        "Flows in hardware",
        "Datapath flows that the network card handles by itself.",
        p.COUNT,
        (level("ovs_datapath_offloaded_flows"), NAME),
    ),
    p.graph(
        "Sent up to ovs-vswitchd, by interface",
        "From which interfaces packets went up, and those that could not. From Linux 6.3 on.",
        p.PACKETS,
        (busiest(10, "ovs_interface_upcall_packets_total"), "{{interface}}"),
        (f"{rate('ovs_interface_upcall_errors_total')} > 0", "{{interface}} lost"),
    ),
)

LOST = (
    p.leading(
        p.graph(
            "Lost by flows",
            "Packets that flows delivered nowhere, by bridge. Which flows and whose packets is on"
            " the boards of flows and of instances.",
            p.PACKETS,
            (by("bridge", rate("ovs_flow_table_dropped_packets_total", LOSS)), "{{bridge}}"),
            bounds=p.LOSS,
        ),
        Flows=to("flows", node="${node}"),
        Instances=to("instances", node="${node}"),
    ),
    p.graph(
        "Received by the switch and dropped (rx)",
        "Packets that devices of the switch received and dropped: those that dropped most.",
        p.PACKETS,
        (busiest(10, "ovs_interface_rx_dropped_total"), "{{interface}}"),
        bounds=p.LOSS,
    ),
    p.graph(
        "Not sent by the switch but dropped (tx)",
        "Packets that devices of the switch should have sent and dropped: those that dropped most."
        " Of a tap: a guest that does not read.",
        p.PACKETS,
        (busiest(10, "ovs_interface_tx_dropped_total"), "{{interface}}"),
        bounds=p.LOSS,
    ),
    p.graph(
        "Drops that Open vSwitch counts itself",
        "By reason, as coverage/show has them. drop_action_of_pipeline: what a flow dropped, lost"
        " or not.",
        p.EVENTS,
        (rate("ovs_coverage_events_total", 'event=~".*drop.*"') + " > 0", "{{event}}"),
    ),
    p.graph(
        "Errors of devices",
        "Packets with errors, received (rx) and to be sent (tx), of those with most.",
        p.PACKETS,
        (busiest(5, "ovs_interface_rx_errors_total"), "{{interface}} rx"),
        (busiest(5, "ovs_interface_tx_errors_total"), "{{interface}} tx"),
        bounds=p.LOSS,
    ),
    p.graph(
        "Learned addresses that were thrown out or moved",
        "Thrown out: the table of a bridge is full, and it floods. Moved: one address at two ports,"
        " which may be a loop.",
        p.EVENTS,
        (rate("ovs_bridge_fdb_evicted_total"), "{{bridge}} thrown out"),
        (rate("ovs_bridge_fdb_moved_total"), "{{bridge}} moved"),
        bounds=((1, p.WARN),),
    ),
)
