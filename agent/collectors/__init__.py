"""All collectors, A to Z. A new metric is one file beside this one and one line in this list."""

from agent.collectors import (
    address,
    agent,
    bond,
    bridge,
    conntrack,
    conntrack_zone,
    coverage,
    datapath,
    domain,
    drop,
    flow,
    instance,
    interface,
    link,
    linux_bridge,
    memory,
    meter,
    namespace,
    ovn_controller,
    ovn_database,
    ovn_flow,
    pmd,
    qdisc,
    switch,
    table,
    tunnel,
    upcall,
)
from agent.collectors.base import Collector

COLLECTORS: tuple[Collector, ...] = (
    address.COLLECTOR,
    agent.COLLECTOR,
    bond.COLLECTOR,
    bridge.COLLECTOR,
    conntrack.COLLECTOR,
    conntrack_zone.COLLECTOR,
    coverage.COLLECTOR,
    datapath.COLLECTOR,
    domain.COLLECTOR,
    drop.COLLECTOR,
    flow.COLLECTOR,
    instance.COLLECTOR,
    interface.COLLECTOR,
    link.COLLECTOR,
    linux_bridge.COLLECTOR,
    memory.COLLECTOR,
    meter.COLLECTOR,
    namespace.COLLECTOR,
    ovn_controller.COLLECTOR,
    ovn_database.COLLECTOR,
    ovn_flow.COLLECTOR,
    pmd.COLLECTOR,
    qdisc.COLLECTOR,
    switch.COLLECTOR,
    table.COLLECTOR,
    tunnel.COLLECTOR,
    upcall.COLLECTOR,
)

NAMES: tuple[str, ...] = tuple(collector.name for collector in COLLECTORS)
ON_REQUEST: tuple[str, ...] = tuple(
    collector.name for collector in COLLECTORS if collector.on_request
)
"""Those that run only when they are switched on by name."""
OF_SWITCH: frozenset[str] = frozenset(
    {
        "bond", "bridge", "coverage", "datapath", "drop", "flow", "interface", "memory", "meter",
        "ovn_flow", "pmd", "switch", "table", "upcall",
    }
)  # fmt: skip
"""Those that have nothing to show on a node without Open vSwitch."""
OF_HYPERVISOR: frozenset[str] = frozenset({"domain"})
"""Those that have nothing to show on a node without libvirt."""
OF_OVN_CONTROLLER: frozenset[str] = frozenset({"ovn_controller", "ovn_flow"})
"""Those that have nothing to show where ovn-controller is not asked."""
