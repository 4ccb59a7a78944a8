"""Rendering a page: ours against prometheus_client's, side by side in one run.

The same families, the same label values, the same numbers: packets and bytes of N flows, as one
scrape shows them after another. prometheus_client is used as its documentation says, with a
custom collector and generate_latest.

    PYTHONPATH=. .venv/bin/python bench/exposition.py [flows]
"""

import sys
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily

from agent.collectors import flow
from agent.exposition import text
from agent.families import Rows, Sample
from agent.model.flow import Flow, FlowCount, FlowReading
from agent.model.node import AgentFacts, Known, Node

ROUNDS = 5
CLAIM = 3


def reading(flows: int) -> tuple[Flow, ...]:
    """Flows in the shape of neutron's firewall."""
    return tuple(
        Flow(
            table_id=82,
            priority=77,
            match=f"ct_state=+est-rel-rpl,tcp,reg5={n:#x},tp_dst={n % 65536}",
            cookie=0x50EBD87957CF5C44,
            action="output",
            in_port=None,
        )
        for n in range(flows)
    )


def ours(flows: tuple[Flow, ...], growth: int) -> bytes:
    """Collect and render as a scrape does."""
    counts = tuple(FlowCount(f, n + growth, 64 * n + growth) for n, f in enumerate(flows))
    node = Node(
        agent=AgentFacts("0", "0"),
        flows=Known("flows", {"br-int": FlowReading("br-int", counts)}),
    )
    samples: list[Sample | Rows] = []
    for part in flow.COLLECTOR.collect:
        samples += [each for each in part(node) if isinstance(each, Rows)]
    return text.render([s for s in samples if s.family is not flow.INFO], text.Format.TEXT)


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
    """Measure and print; the exit status says whether ours is at least three times as fast."""
    flows = reading(size)
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
            f"{size} flows: ours {middle - began:.3f} s CPU, {len(page) >> 10} KiB;"
            f" prometheus_client {end - middle:.3f} s, {len(other) >> 10} KiB;"
            f" ratio {ratios[-1]:.1f}"
        )
    median = sorted(ratios)[ROUNDS // 2]
    holds = median >= CLAIM
    print(f"claim: {CLAIM} times as fast; median {median:.1f}: {'holds' if holds else 'FAILS'}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(*(int(argument) for argument in sys.argv[1:])))
