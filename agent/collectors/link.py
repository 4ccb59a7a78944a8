"""Links of namespaces and of the host's virtual network: state and counters.

A router's, a DHCP server's or a Linux bridge's packets die where no switch counts them. rx and tx
are each device's own: what an instance sends is rx of its tap, and what a router sends to it is tx
of the router's qr-, as ``ip -s link`` shows them there.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.collectors.base import Collector
from agent.collectors.shown_links import Shown, name_of, shown_links
from agent.columns import Column
from agent.families import Block, Counter, Family, Gauge, Output, escape
from agent.model.link import FIELDS, Link, LinkCounters
from agent.model.namespace import Namespace
from agent.model.node import Node

DEVICE = ("netns", "device")

INFO = Gauge(
    "netns_network_info",
    "A link's kind, master, address and VLAN, always 1; join on (instance, netns, device) "
    "[ip -d link].",
    labels=(*DEVICE, "kind", "master", "mac", "vlan"),
)
UP = Gauge("netns_network_up", "Whether a link is switched on, 1 or 0 [ip link UP].", labels=DEVICE)
CARRIER = Gauge(
    "netns_network_carrier",
    "Whether a link is switched on and has a carrier, 1 or 0 [ip link LOWER_UP].",
    labels=DEVICE,
)
MTU = Gauge("netns_network_mtu_bytes", "Largest payload of a link [ip link mtu].", labels=DEVICE)
CARRIER_CHANGES = Counter(
    "netns_network_carrier_changes_total",
    "How often a link's carrier came or went [IFLA_CARRIER_CHANGES].",
    labels=DEVICE,
)


def _counter(name: str, what: str, field: str) -> Counter:
    return Counter(
        f"netns_network_{name}_total",
        f"{what}, in the device's own sense as ip -s link shows them [RTM_GETSTATS {field}].",
        labels=DEVICE,
    )


COUNTERS = {
    "rx_packets": _counter("rx_packets", "Packets received", "rx_packets"),
    "tx_packets": _counter("tx_packets", "Packets sent", "tx_packets"),
    "rx_bytes": _counter("rx_bytes", "Bytes received", "rx_bytes"),
    "tx_bytes": _counter("tx_bytes", "Bytes sent", "tx_bytes"),
    "rx_dropped": _counter("rx_dropped", "Received packets dropped", "rx_dropped"),
    "tx_dropped": _counter("tx_dropped", "Packets to send dropped", "tx_dropped"),
    "rx_errors": _counter("rx_errors", "Receive errors", "rx_errors"),
    "tx_errors": _counter("tx_errors", "Transmit errors", "tx_errors"),
}
"""By the column of ``LinkCounters.numbers``."""


def lower_up(link: Link) -> bool | None:
    """Whether packets can go: a device that is switched off may keep the carrier that it had."""
    return None if link.carrier is None else link.carrier and link.up


LEVELS: dict[Family, Callable[[Link], int | None]] = {
    UP: lambda link: link.up,
    CARRIER: lower_up,
    MTU: lambda link: link.mtu_bytes,
    CARRIER_CHANGES: lambda link: link.carrier_changes,
}
"""What a link says of itself, by family."""

Key = tuple[str, int]
"""Name of the namespace and index of the link."""


class Row(NamedTuple):
    """What is written of a link, kept while it stays as it is.

    Attributes:
        link: The link.
        master: Name of its master.
        label: Label text of everything that is counted of it.
        lines: Its line in INFO and each of LEVELS; empty where it has none.
    """

    link: Link
    master: str
    label: bytes
    lines: tuple[bytes, ...]


class Rows:
    """What is written of all links that are shown."""

    def __init__(self) -> None:
        self._made_of: Mapping[str, Shown] | None = None
        self._rows: Mapping[Key, Row] = {}
        self._blocks: tuple[Block, ...] = ()

    def of(self, shown: Mapping[str, Shown]) -> Mapping[Key, Row]:
        """Return the rows; the same object while the same is shown."""
        if shown is not self._made_of:
            self._made_of = shown
            self._rows = dict(self._follow(shown))
            columns = zip(*(row.lines for row in self._rows.values()), strict=True)
            self._blocks = tuple(
                Block(family, b"".join(lines), len(lines) - lines.count(b""))
                for family, lines in zip((INFO, *LEVELS), columns, strict=False)
            )
        return self._rows

    def blocks(self, shown: Mapping[str, Shown]) -> tuple[Block, ...]:
        """Return INFO and LEVELS of all links, in this order; nothing without links."""
        self.of(shown)
        return self._blocks

    def _follow(self, shown: Mapping[str, Shown]) -> Iterator[tuple[Key, Row]]:
        for netns, each in shown.items():
            # Between two events a name may stand at two links: the newer has the higher index.
            named = {link.name: link for _, link in sorted(each.links.items())}
            for link in named.values():
                key = netns, link.index
                old, master = self._rows.get(key), name_of(each.namespace.links, link.master)
                if old is None or old.link is not link or old.master != master:
                    label = old.label if old and old.link.name == link.name else None
                    old = write(netns, link, master, label)
                yield key, old


def write(netns: str, link: Link, master: str, label: bytes | None) -> Row:
    """Write what a link says of itself; ``label`` where it is already known."""
    label = label or UP.text(netns, link.name).encode("utf-8", "replace")
    about = {
        "kind": link.kind or "",
        "master": master,
        "mac": link.mac or "",
        "vlan": "" if link.vlan_id is None else str(link.vlan_id),
    }
    text = "".join([f',{name}="{escape(value)}"' for name, value in about.items() if value])
    info = b"%b%b%b} 1\n" % (INFO.name.encode(), label[:-1], text.encode("utf-8", "replace"))
    levels = [
        b"" if value is None else b"%b%b %d\n" % (family.name.encode(), label, value)
        for family, value_of in LEVELS.items()
        for value in (value_of(link),)
    ]
    return Row(link, master, label, (info, *levels))


class Columns:
    """The counters of all links that are shown, kept while these are the same."""

    def __init__(self) -> None:
        self._made_of: tuple[object, object] | None = None
        self._labels: list[bytes] = []
        self._places: NDArray[np.intp] = np.zeros(0, np.intp)
        self._columns: dict[str, Column] = {}

    def blocks(
        self,
        rows: Mapping[Key, Row],
        counters: LinkCounters,
        namespaces: Mapping[str, Namespace],
    ) -> Iterator[Block]:
        """Yield the counters; a link that one side does not know has none."""
        last = self._made_of
        if last is None or last[0] is not rows or last[1] is not counters.links:
            self._made_of = rows, counters.links
            self._follow(rows, counters, namespaces)
        # A copy: what is shown is compared with the next reading, whoever owns the array.
        numbers = counters.numbers[self._places].T
        for field, column in self._columns.items():
            yield column.block(np.ascontiguousarray(numbers[FIELDS.index(field)]))

    def _follow(
        self,
        rows: Mapping[Key, Row],
        counters: LinkCounters,
        namespaces: Mapping[str, Namespace],
    ) -> None:
        others = {
            name
            for name, key in counters.keys.items()
            if name in namespaces and not namespaces[name].is_of(key)
        }
        places = {
            row.label: place
            for place, key in enumerate(counters.links)
            if (row := rows.get(key)) is not None and key[0] not in others
        }
        self._places = np.fromiter(places.values(), np.intp, len(places))
        labels = list(places)
        if labels != self._labels or not self._columns:
            self._labels = labels
            self._columns = {name: Column(family, labels) for name, family in COUNTERS.items()}


_rows, _columns = Rows(), Columns()


def state(node: Node) -> Output:
    """Yield what each link says of itself."""
    for block in _rows.blocks(shown_links(node)):
        # A counter is shown only while it moves; state outlives its subscription for a while.
        if block.family is not CARRIER_CHANGES or node.namespaces.live:
            yield block


def counters(node: Node) -> Output:
    """Yield the counters of each link."""
    rows = _rows.of(shown_links(node))
    yield from _columns.blocks(rows, node.link_counters.require(), node.namespaces.require())


COLLECTOR = Collector(
    "link",
    (INFO, *LEVELS, *COUNTERS.values()),
    (state, counters),
    reads=("links",),
    detail=(CARRIER_CHANGES, MTU, INFO, CARRIER),
    follows=("rtnetlink",),
)
