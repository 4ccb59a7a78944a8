"""Datapath lookups, masks and the mask cache.

A packet is looked up in the datapath's flow table. A *hit* stays in the fast path, a *miss* goes
up to ovs-vswitchd, a *lost* packet was dropped because the upcall queue was full: loss that no
interface counter shows. The kernel's datapath is asked itself, so its numbers go on while
ovs-vswitchd hangs.
"""

from collections.abc import Iterator
from dataclasses import replace

from agent.collectors.base import Collector
from agent.families import Counter, Gauge, Output
from agent.model.datapath import Datapath
from agent.model.node import Node

DATAPATH = ("datapath",)

HITS = Counter(
    "ovs_datapath_lookup_hits_total",
    "Packets that matched a datapath flow [ovs-dpctl show, dpctl/show lookups hit].",
    labels=DATAPATH,
)
MISSED = Counter(
    "ovs_datapath_lookup_missed_total",
    "Packets sent up to ovs-vswitchd [ovs-dpctl show, dpctl/show lookups missed].",
    labels=DATAPATH,
)
LOST = Counter(
    "ovs_datapath_lookup_lost_total",
    "Packets dropped on their way up to ovs-vswitchd [ovs-dpctl show, dpctl/show lookups lost].",
    labels=DATAPATH,
)
FLOWS = Gauge(
    "ovs_datapath_flows",
    "Installed datapath flows [ovs-dpctl show, dpctl/show flows].",
    labels=DATAPATH,
)
MASKS = Gauge(
    "ovs_datapath_masks",
    "Distinct masks [ovs-dpctl show, dpctl/show masks total].",
    labels=DATAPATH,
)
PORTS = Gauge(
    "ovs_datapath_ports", "Ports of a datapath [ovs-dpctl show, dpctl/show port].", labels=DATAPATH
)
MASKS_HIT = Counter(
    "ovs_datapath_masks_hit_total",
    "Masks visited for all packets together [ovs-dpctl show, dpctl/show masks hit].",
    labels=DATAPATH,
)
CACHE_HITS = Counter(
    "ovs_datapath_mask_cache_hits_total",
    "Packets whose mask came from the cache [ovs-dpctl show, dpctl/show cache hit].",
    labels=DATAPATH,
)
CACHE_SIZE = Gauge(
    "ovs_datapath_mask_cache_size_entries",
    "Size of the mask cache [ovs-dpctl show, dpctl/show caches masks-cache].",
    labels=DATAPATH,
)
OFFLOADED = Gauge(
    "ovs_datapath_offloaded_flows",
    "Datapath flows in hardware [dpctl/offload-stats-show].",
    labels=DATAPATH,
)


def collect(node: Node) -> Output:
    """Yield the lookups of each datapath; masks only where the datapath has them."""
    for datapath in datapaths(node):
        yield HITS(datapath.hits, datapath.name)
        yield MISSED(datapath.missed, datapath.name)
        yield LOST(datapath.lost, datapath.name)
        yield FLOWS(datapath.flows, datapath.name)
        yield MASKS(datapath.masks, datapath.name)
        yield PORTS(datapath.ports, datapath.name)
        yield MASKS_HIT(datapath.masks_hit, datapath.name)
        yield CACHE_HITS(datapath.mask_cache_hits, datapath.name)
        yield CACHE_SIZE(datapath.mask_cache_size_entries, datapath.name)
        yield OFFLOADED(datapath.offloaded_flows, datapath.name)


def datapaths(node: Node) -> Iterator[Datapath]:
    """Yield each datapath once: those of the kernel as it tells them, others as ovs-vswitchd does.

    Only ovs-vswitchd knows which flows are in hardware.

    Raises:
        UnknownFactError: If neither knows one.
    """
    kernel = {each.datapath.name: each.datapath for each in node.kernel_datapaths.value or ()}
    told = node.datapaths.value if kernel else node.datapaths.require()
    for datapath in told or ():
        own = kernel.pop(datapath.name, None)
        if own is None:
            yield datapath
        else:
            yield replace(own, offloaded_flows=datapath.offloaded_flows)
    yield from kernel.values()


COLLECTOR = Collector(
    "datapath",
    (HITS, MISSED, LOST, FLOWS, MASKS, PORTS, MASKS_HIT, CACHE_HITS, CACHE_SIZE, OFFLOADED),
    (collect,),
    reads=("ovs_genl", "unixctl"),
)
