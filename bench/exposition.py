"""Rendering a page: ours against prometheus_client's, side by side in one run.

The same families, the same label values, the same numbers: packets and bytes of N flows, as one
scrape shows them after another. prometheus_client is used as its documentation says, with a
custom collector and generate_latest. All numbers move between two scrapes: the worst for ours,
which writes only lines whose number has moved.

    PYTHONPATH=. .venv/bin/python bench/exposition.py [flows]
"""

import sys
import time
from collections.abc import Iterator

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily

from agent.collectors import flow
from agent.exposition import text
from agent.families import Block
from agent.model.flow import Counts, Effect, Flow, FlowReading, TableFlows
from agent.model.node import AgentFacts, Known, Node

ROUNDS = 5
CLAIM = 10
TABLE = 82


def make_flows(size: int) -> tuple[Flow, ...]:
    """Make flows in the shape of neutron's firewall."""
    return tuple(
        Flow(
            table_id=TABLE,
            priority=77,
            match=f"ct_state=+est-rel-rpl,tcp,reg5={n:#x},tp_dst={n % 65536}",
            cookie=0x50EBD87957CF5C44,
            effect=Effect("output", delivers=True),
        )
        for n in range(size)
    )


def numbers(size: int, growth: int) -> tuple[Counts, Counts]:
    """Return packets and bytes of each flow."""
    packets = np.arange(size, dtype=np.uint64)
    return packets + np.uint64(growth), packets * np.uint64(64) + np.uint64(growth)


def ours(flows: tuple[Flow, ...], growth: int) -> list[bytes]:
    """Collect and render as a scrape does."""
    table = TableFlows(TABLE, flows, *numbers(len(flows), growth))
    reading = FlowReading("br-int", (table,), shown={TABLE: None})
    node = Node(agent=AgentFacts("0", "0"), flows=Known("flows", {"br-int": reading}))
    blocks = [each for each in flow.collect(node) if isinstance(each, Block)]
    return text.render([b for b in blocks if b.family is not flow.INFO], text.Format.TEXT)


class Peer:
    """The same by prometheus_client."""

    def __init__(self, flows: tuple[Flow, ...]) -> None:
        self.flows = flows
        self.growth = 0

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield packets and bytes."""
        packets = CounterMetricFamily("ovs_flow_packets", "Packets.", labels=flow.FLOW)
        octets = CounterMetricFamily("ovs_flow_bytes", "Bytes.", labels=flow.FLOW)
        for n, each in enumerate(self.flows):
            labels = ["br-int", str(each.table_id), str(each.priority), each.match]
            packets.add_metric(labels, n + self.growth)
            octets.add_metric(labels, 64 * n + self.growth)
        yield packets
        yield octets


def main(size: int = 100_000) -> int:
    """Measure and print; the exit status says whether ours is at least ten times as fast."""
    flows = make_flows(size)
    registry, peer = CollectorRegistry(), Peer(flows)
    registry.register(peer)
    ours(flows, 0)
    ratios = []
    for round_ in range(1, ROUNDS + 1):
        began = time.process_time()
        page = ours(flows, round_)
        middle = time.process_time()
        peer.growth = round_
        other = generate_latest(registry)
        end = time.process_time()
        ratios.append((end - middle) / (middle - began))
        print(
            f"{size} flows: ours {middle - began:.3f} s CPU, {sum(map(len, page)) >> 10} KiB;"
            f" prometheus_client {end - middle:.3f} s, {len(other) >> 10} KiB;"
            f" ratio {ratios[-1]:.1f}"
        )
    median = sorted(ratios)[ROUNDS // 2]
    holds = median >= CLAIM
    print(f"claim: {CLAIM} times as fast; median {median:.1f}: {'holds' if holds else 'FAILS'}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(*(int(argument) for argument in sys.argv[1:])))
