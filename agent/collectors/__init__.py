"""All collectors, A to Z. A new metric is one file beside this one and one line in this list."""

from agent.collectors import (
    agent,
    bond,
    bridge,
    conntrack,
    coverage,
    datapath,
    drop,
    flow,
    interface,
    memory,
    meter,
    pmd,
    switch,
    table,
    tunnel,
    upcall,
)
from agent.collectors.base import Collector

COLLECTORS: tuple[Collector, ...] = (
    agent.COLLECTOR,
    bond.COLLECTOR,
    bridge.COLLECTOR,
    conntrack.COLLECTOR,
    coverage.COLLECTOR,
    datapath.COLLECTOR,
    drop.COLLECTOR,
    flow.COLLECTOR,
    interface.COLLECTOR,
    memory.COLLECTOR,
    meter.COLLECTOR,
    pmd.COLLECTOR,
    switch.COLLECTOR,
    table.COLLECTOR,
    tunnel.COLLECTOR,
    upcall.COLLECTOR,
)

NAMES: tuple[str, ...] = tuple(collector.name for collector in COLLECTORS)
