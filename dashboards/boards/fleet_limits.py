"""Of all nodes: traffic and caches, what is nearly full or slow, tunnels and OVN."""

from dashboards import panels as p
from dashboards.promql import recorded, worst, worst_nodes

INSTANCE, DATAPATH = "{{instance}}", "{{instance}} {{datapath}}"
TUNNELS_DOWN = "instance:dataplane_tunnel_down:count"
CONNECTED = recorded("instance:ovn_controller_southbound_database_connected:min5m")

DATAPATHS = (
    p.graph(
        "Traffic, by layer",
        "Bytes on all nodes; rx and tx are the switch's.",
        p.BYTES_A_SECOND,
        (
            f"sum by (layer, direction) ({recorded('job_layer:dataplane_traffic_bytes:rate5m')})",
            "{{layer}} {{direction}}",
        ),
    ),
    p.graph(
        "Busiest nodes",
        "Packets that datapaths looked up.",
        p.PACKETS,
        (worst("instance_datapath:ovs_datapath_lookups:rate5m"), DATAPATH),
    ),
    p.graph(
        "Sent up to ovs-vswitchd",
        "Packets that a datapath did not know, of the nodes with most.",
        p.PACKETS,
        (worst("instance_datapath:ovs_datapath_upcalls:rate5m"), DATAPATH),
    ),
    p.share(
        "Packets that the datapath knew, worst nodes",
        "The rest goes up to ovs-vswitchd.",
        (worst("instance_datapath:ovs_datapath_hit:ratio_rate5m", "bottomk"), DATAPATH),
    ),
    p.share(
        "Cache hits of the userspace datapath, worst nodes",
        "Packets that one of its caches knew.",
        (worst("instance:ovs_pmd_hit:ratio_rate5m", "bottomk"), INSTANCE),
    ),
    p.share(
        "Mask cache hits of the kernel's datapath, worst nodes",
        "Packets for which only one mask was tried.",
        (worst("instance_datapath:ovs_datapath_mask_cache_hit:ratio_rate5m", "bottomk"), DATAPATH),
    ),
)

LIMITS = (
    p.graph(
        "Latency of ovs-vswitchd's main loop",
        "Above 0.5 s an agent reads no flows.",
        p.SECONDS,
        (worst("instance:ovs_vswitchd_echo_seconds:max"), INSTANCE),
        bounds=((0.5, p.BAD),),
    ),
    p.share(
        "Datapath flows against the limit",
        "Beyond it no new ones are installed.",
        (worst("instance_datapath:ovs_upcall_flows:ratio"), DATAPATH),
        bounds=p.FULL,
    ),
    p.share(
        "Fullest tables of connections",
        "Of a full table new connections are dropped.",
        (worst("instance:dataplane_conntrack_entries:max_ratio"), INSTANCE),
        bounds=p.FULL,
    ),
    p.share(
        "Lost on the way up to ovs-vswitchd",
        "Of what was sent up, the share that was dropped because the queue was full.",
        (worst("instance_datapath:ovs_datapath_upcall_lost:ratio_rate5m"), DATAPATH),
        bounds=((0.001, p.BAD),),
    ),
    p.share(
        "Busiest threads of DPDK",
        "At 100 % a thread drops.",
        (worst("instance_cpu:ovs_pmd_busy:ratio_rate5m"), "{{instance}} cpu {{cpu}}"),
        bounds=p.FULL,
    ),
    p.graph(
        "Largest agents",
        "Series that an agent shows.",
        p.COUNT,
        (worst_nodes("instance:dataplane_agent_series:sum", "sum"), INSTANCE),
    ),
)

TUNNELS = (
    p.graph(
        "Tunnels that are down, by node",
        "Of the nodes with most.",
        p.COUNT,
        (worst(TUNNELS_DOWN), INSTANCE),
        bounds=p.ONE,
    ),
    p.graph(
        "Peers that nodes cannot reach",
        "For how many nodes the tunnel to an address is down: many are that peer's fault.",
        p.COUNT,
        (worst("job_remote:dataplane_tunnel_down:count"), "{{remote_ip}}"),
        bounds=p.ONE,
    ),
    p.graph(
        "Nodes without the Southbound",
        "ovn-controllers that lost their connection in the last five minutes.",
        p.COUNT,
        (f"sum({CONNECTED} == bool 0)", "nodes"),
        bounds=p.ONE,
    ),
    p.graph(
        "Generations that a node is behind OVN's configuration",
        "Of the nodes that are behind most.",
        p.COUNT,
        (worst("instance:ovn_controller_nb_cfg:lag"), INSTANCE),
        bounds=p.ONE,
    ),
    p.graph(
        "Recomputes of ovn-controller",
        "Parts of the engine that were computed from nothing, of the nodes with most.",
        p.EVENTS,
        (worst("instance:ovn_controller_engine_recompute:rate5m"), INSTANCE),
    ),
    p.graph(
        "Flows that are added, removed and changed",
        "On all nodes.",
        p.EVENTS,
        (
            f"sum by (change) ({recorded('instance_change:ovs_flow_changes:rate5m')})",
            "{{change}}",
        ),
    ),
)
