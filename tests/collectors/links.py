"""Small nodes out of links, for tests of what is shown of them."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from agent.collectors.base import Collector
from agent.families import Block, Sample, Suppressed
from agent.model.link import FIELDS, Link, LinkCounters
from agent.model.namespace import Namespace
from agent.model.node import AgentFacts, Known, Node
from agent.model.switch import Bridge, Interface, Port, Switch
from tests.page import Series, rendered, series

AGENT = AgentFacts("0", "0")


def namespaces(**of: Any) -> dict[str, Namespace]:
    """Return namespaces by name, ``host`` for the host's own, from sequences of links."""
    return {
        name: Namespace(name, {link.index: link for link in links})
        for name, links in (("" if name == "host" else name, links) for name, links in of.items())
    }


def node(of: Mapping[str, Namespace], **facts: Any) -> Node:
    """Return a node that knows these namespaces; ``facts`` are values of other fields."""
    known: dict[str, Any] = {
        name: value if name == "link_patterns" else Known(name, value)
        for name, value in facts.items()
    }
    return Node(AGENT, namespaces=Known("namespaces", of), **known)


def switch(*names: str) -> Switch:
    """Return a switch of one bridge with these interfaces."""
    return Switch(bridges=(Bridge("br0", ports=tuple(Port(n, (Interface(n),)) for n in names)),))


def counted(of: Mapping[str, Namespace], start: int = 0) -> LinkCounters:
    """Return counters of every link, all different, beginning at ``start``."""
    rows = tuple((name, index) for name, each in of.items() for index in each.links)
    numbers = np.arange(start, start + len(rows) * len(FIELDS), dtype=np.uint64)
    return LinkCounters(rows, numbers.reshape(len(rows), len(FIELDS)))


def link(index: int, name: str, kind: str | None = "veth", **others: Any) -> Link:
    """Return a link."""
    return Link(index, name, kind, **others)


def page(collector: Collector, of: Node) -> Series:
    """Return what a collector says of a node; a series that stands there twice fails the test."""
    return series(rendered(_items(collector, of)))


def _items(collector: Collector, of: Node) -> Iterator[Sample | Block]:
    for part in collector.collect:
        for item in part(of):
            assert not isinstance(item, Suppressed)
            yield item


def devices(page: Series, family: str) -> list[str]:
    """Return ``netns/device`` of each series of a family."""
    labels = [dict(pairs) for name, pairs in page if name == family]
    return [f"{each.get('netns', '')}/{each['device']}" for each in labels]
