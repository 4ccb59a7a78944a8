"""ovn-controller: whether it is connected, how far it is behind, and what it is busy with.

When it is gone or stuck, packets go on by the flows of yesterday: nothing else on the node shows
that instances started since then have none.
"""

from collections import Counter as Multiset
from collections.abc import Iterator

from agent.collectors.base import Collector
from agent.families import Counter, Gauge, Output
from agent.model.node import Node
from agent.model.ovn import NO_RELEASE
from agent.model.switch import Bridge, Interface, Switch

ENGINE_NODE = ("engine_node",)
STOPWATCH = ("stopwatch",)

BUILD = Gauge(
    "ovn_controller_build_info",
    "Versions of ovn-controller and of the Open vSwitch it is built with, always 1 [version].",
    labels=("version", "ovs_lib_version"),
)
START = Gauge(
    "ovn_controller_start_time_seconds",
    "Unix time at which ovn-controller started [process of the control socket's peer].",
)
CONNECTED = Gauge(
    "ovn_controller_southbound_database_connected",
    "Whether ovn-controller is connected to the Southbound, 1 or 0 [connection-status].",
)
COVERAGE = Counter(
    "ovn_controller_coverage_events_total",
    "Events of ovn-controller; drop events exist from 0, others from their first [coverage/show].",
    labels=("event",),
)
MEMORY = Gauge(
    "ovn_controller_memory_usage",
    "What ovn-controller holds, counts of unlike things that must not be added up [memory/show].",
    labels=("facility",),
)
CACHE_ENABLED = Gauge(
    "ovn_controller_lflow_cache_enabled",
    "Whether translations of logical flows are cached, 1 or 0 [lflow-cache/show-stats].",
)
CACHE_ENTRIES = Gauge(
    "ovn_controller_lflow_cache_entries",
    "Translations of logical flows in the cache [lflow-cache/show-stats].",
    labels=("cache",),
)
CACHE_MEMORY = Gauge(
    "ovn_controller_lflow_cache_memory_bytes",
    "Memory of the cache of logical flows [lflow-cache/show-stats Mem usage].",
)
CACHE_TRIMS = Counter(
    "ovn_controller_lflow_cache_trims_total",
    "How often the cache of logical flows was trimmed [lflow-cache/show-stats trim count].",
)
RECOMPUTE = Counter(
    "ovn_controller_engine_recompute_total",
    "How often a node of the incremental engine was computed from nothing [inc-engine/show-stats].",
    labels=ENGINE_NODE,
)
COMPUTE = Counter(
    "ovn_controller_engine_compute_total",
    "How often a node of the incremental engine took only what changed [inc-engine/show-stats].",
    labels=ENGINE_NODE,
)
CANCEL = Counter(
    "ovn_controller_engine_cancel_total",
    "How often a node of the incremental engine gave up (abort before 24.09) "
    "[inc-engine/show-stats].",
    labels=ENGINE_NODE,
)
SAMPLES = Counter(
    "ovn_controller_stopwatch_samples_total",
    "How often a part of ovn-controller's main loop was timed [stopwatch/show].",
    labels=STOPWATCH,
)
MAXIMUM = Gauge(
    "ovn_controller_stopwatch_maximum_seconds",
    "The longest that a part of the main loop ever took [stopwatch/show].",
    labels=STOPWATCH,
)
PERCENTILE = Gauge(
    "ovn_controller_stopwatch_95th_percentile_seconds",
    "What 95 % of the last runs of a part of the main loop stayed below [stopwatch/show].",
    labels=STOPWATCH,
)
AVERAGE = Gauge(
    "ovn_controller_stopwatch_short_term_average_seconds",
    "Moving average of the last runs of a part of the main loop [stopwatch/show].",
    labels=STOPWATCH,
)
BINDINGS = ("container", "localport", "vif", "virtual")
"""Types that a node counts from 0; others are rare."""
BOUND = Gauge(
    "ovn_controller_local_bindings",
    "Logical ports that ovn-controller has an interface for here, by type; whether they are bound "
    "here, or still elsewhere, is in ovn_port_binding_info [debug/dump-local-bindings].",
    labels=("type",),
)
ENCAP_IP = Gauge(
    "ovn_controller_encap_ip",
    "Address of this node's end of tunnels, always 1 [Open_vSwitch external_ids:ovn-encap-ip].",
    labels=("ipaddress",),
)
ENCAP_TYPE = Gauge(
    "ovn_controller_encap_type",
    "Kind of tunnels of this node, always 1 [Open_vSwitch external_ids:ovn-encap-type].",
    labels=("type",),
)
MAPPING = Gauge(
    "ovn_controller_bridge_mappings",
    "Bridge of a physical network, NETWORK:BRIDGE, always 1 "
    "[Open_vSwitch external_ids:ovn-bridge-mappings].",
    labels=("mapping",),
)
REMOTE = Gauge(
    "ovn_controller_sb_connection_method",
    "Where ovn-controller looks for the Southbound, always 1 "
    "[Open_vSwitch external_ids:ovn-remote].",
    labels=("connection_method",),
)
MONITOR_ALL = Gauge(
    "ovn_controller_monitor_all",
    "Whether ovn-controller follows the whole Southbound, 1 or 0 "
    "[Open_vSwitch external_ids:ovn-monitor-all].",
)
NB_CFG = Gauge(
    "ovn_controller_nb_cfg",
    "Generation of OVN's configuration whose flows this node has installed, to be compared with "
    "ovn_sb_nb_cfg [Bridge external_ids:ovn-nb-cfg].",
)
NB_CFG_TIMESTAMP = Gauge(
    "ovn_controller_nb_cfg_timestamp_seconds",
    "Unix time since when that generation is installed [Bridge external_ids:ovn-nb-cfg-ts].",
)
LOCALNET = Gauge(
    "ovn_localnet_port_info",
    "Which physical network a patch port of the integration bridge leads to, always 1; join on "
    "(instance, interface) [Interface options:peer, ovn-bridge-mappings].",
    labels=("interface", "logical_port", "provider_bridge", "physical_network"),
)


def from_release(node: Node) -> Output:
    """Yield the release, which stays known when ovn-controller ends: its flows stay too."""
    release = node.ovn_release.require()
    if release != NO_RELEASE:
        yield BUILD(1, release.ovn, release.ovs_library or "")


def from_process(node: Node) -> Output:
    """Yield what ovn-controller says of itself."""
    controller = node.ovn_controller.require()
    yield START(controller.start_time_seconds)
    yield CONNECTED(controller.southbound_connected)
    for event, count in controller.coverage.items():
        yield COVERAGE(count, event)
    for facility, count in controller.memory.items():
        yield MEMORY(count, facility)
    cache = controller.lflow_cache
    if cache is not None:
        yield CACHE_ENABLED(cache.enabled)
        yield CACHE_MEMORY(cache.memory_bytes)
        yield CACHE_TRIMS(cache.trims)
        for kind, count in cache.entries.items():
            yield CACHE_ENTRIES(count, kind)
    for name, node_of in (controller.engine or {}).items():
        yield RECOMPUTE(node_of.recomputes, name)
        yield COMPUTE(node_of.computes, name)
        yield CANCEL(node_of.cancels, name)


def from_loop(node: Node) -> Output:
    """Yield how long the parts of the main loop take, and what is bound."""
    controller = node.ovn_controller.require()
    for name, watch in (controller.stopwatches or {}).items():
        yield SAMPLES(watch.samples, name)
        if watch.samples:  # without any, all times are 0, and nobody measured that
            yield MAXIMUM(watch.maximum, name)
            yield PERCENTILE(watch.percentile_95, name)
            yield AVERAGE(watch.short_term_average, name)
    if controller.bindings is not None:
        types = Multiset(
            kind if (kind := binding.type.lower()) in BINDINGS else "other"
            for binding in controller.bindings
            if binding.type and binding.interface
        )
        for kind in BINDINGS:
            yield BOUND(types[kind], kind)
        if types["other"]:
            yield BOUND(types["other"], "other")


def from_database(node: Node) -> Output:
    """Yield what the node's own database says to ovn-controller, and what it has made of it."""
    switch = node.switch.require()
    settings = switch.ovn
    if settings is None:
        return
    for address in settings.encap_ips:
        yield ENCAP_IP(1, address)
    for kind in settings.encap_types:
        yield ENCAP_TYPE(1, kind)
    for network, name in settings.bridge_mappings.items():
        yield MAPPING(1, f"{network}:{name}")
    if settings.remote:
        yield REMOTE(1, settings.remote)
    yield MONITOR_ALL(settings.monitor_all)
    for bridge in switch.bridges:
        if bridge.name == settings.bridge and node.switch.live:
            yield NB_CFG(bridge.ovn_nb_cfg)
            yield NB_CFG_TIMESTAMP(bridge.ovn_nb_cfg_timestamp_seconds)
    for interface, logical_port, provider, network in localnets(switch):
        yield LOCALNET(1, interface.name, logical_port, provider.name, network)


def localnets(switch: Switch) -> Iterator[tuple[Interface, str, Bridge, str]]:
    """Yield patch ports to physical networks: interface, logical port, its bridge, the network.

    ovn-controller calls both ends by the logical port: patch-br-int-to-provnet-… and
    patch-provnet-…-to-br-int (controller/patch.c).
    """
    settings = switch.ovn
    if settings is None:
        return
    bridges = Multiset(settings.bridge_mappings.values())
    networks = {
        bridge: network
        for network, bridge in settings.bridge_mappings.items()
        if bridges[bridge] == 1  # else nobody can tell which of them it is
    }
    far = {
        interface.name: bridge
        for bridge, _, interface in switch.interfaces()
        if interface.type == "patch"
    }
    prefix, suffix = f"patch-{settings.bridge}-to-", f"-to-{settings.bridge}"
    for bridge, _, interface in switch.interfaces():
        peer = interface.options.get("peer", "")
        name = interface.name.removeprefix(prefix)
        if (
            bridge.name == settings.bridge
            and name != interface.name
            and peer == f"patch-{name}{suffix}"
            and peer in far
            and (network := networks.get(far[peer].name))
        ):
            yield interface, name, far[peer], network


COLLECTOR = Collector(
    "ovn_controller",
    (
        BUILD, START, CONNECTED, COVERAGE, MEMORY, CACHE_ENABLED, CACHE_ENTRIES, CACHE_MEMORY,
        CACHE_TRIMS, RECOMPUTE, COMPUTE, CANCEL, SAMPLES, MAXIMUM, PERCENTILE, AVERAGE, BOUND,
        ENCAP_IP, ENCAP_TYPE, MAPPING, REMOTE, MONITOR_ALL, NB_CFG, NB_CFG_TIMESTAMP, LOCALNET,
    ),
    (from_release, from_process, from_loop, from_database),
    reads=("ovn_controller",),
    detail=(MEMORY, PERCENTILE, AVERAGE, MAXIMUM, SAMPLES),
)  # fmt: skip
