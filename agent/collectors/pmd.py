"""The userspace datapath's threads: which cache answered, and how busy they are.

A poll-mode thread always shows 100 % CPU; only its own split of busy and idle cycles tells
whether it is full, and its cache hits tell why.
"""

from agent.collectors.base import Collector
from agent.families import Counter, Output
from agent.model.node import Node

PACKETS = Counter(
    "ovs_pmd_packets_total",
    "Packets by how a thread classified them [dpif-netdev/pmd-stats-show, pmd-perf-show].",
    labels=("numa", "cpu", "result"),
)
CYCLES = Counter(
    "ovs_pmd_cycles_total",
    "CPU cycles of a thread with and without packets, not in 4.0 [dpif-netdev/pmd-stats-show].",
    labels=("numa", "cpu", "state"),
)


def collect(node: Node) -> Output:
    """Yield packets and cycles of each thread.

    4.0 prints all cycles together and a rounded share of busy ones: no counter comes of that.
    """
    for pmd in node.pmds.require():
        yield PACKETS(pmd.phwol_hit, pmd.numa, pmd.cpu, "phwol_hit")
        yield PACKETS(pmd.simple_match_hit, pmd.numa, pmd.cpu, "simple_match_hit")
        yield PACKETS(pmd.emc_hit, pmd.numa, pmd.cpu, "emc_hit")
        yield PACKETS(pmd.smc_hit, pmd.numa, pmd.cpu, "smc_hit")
        yield PACKETS(pmd.megaflow_hit, pmd.numa, pmd.cpu, "megaflow_hit")
        yield PACKETS(pmd.upcall_success, pmd.numa, pmd.cpu, "upcall_success")
        yield PACKETS(pmd.upcall_failed, pmd.numa, pmd.cpu, "upcall_failed")
        yield CYCLES(pmd.busy_cycles, pmd.numa, pmd.cpu, "busy")
        yield CYCLES(pmd.idle_cycles, pmd.numa, pmd.cpu, "idle")


COLLECTOR = Collector("pmd", (PACKETS, CYCLES), (collect,), reads=("unixctl",))
