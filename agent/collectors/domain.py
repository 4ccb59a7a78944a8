"""Instances as libvirt knows them: state, owner, interfaces and what these count.

receive and transmit are the instance's own, whatever the kind of interface: what it sends is
transmit here, and rx of its tap and of its port on the switch. A drop on receive is a guest that
does not read.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from agent.collectors.base import Collector
from agent.collectors.instance import joined
from agent.collectors.interface import openflow_name
from agent.collectors.shown_links import devices_of
from agent.columns import Column, fixed
from agent.families import Block, Counter, Gauge, Output, render_labels
from agent.model.bridge import BridgeReading, PortStats
from agent.model.domain import FIELDS, Domain, DomainCounters, DomainInterface, Domains
from agent.model.instance import VHOSTUSER
from agent.model.namespace import HOST
from agent.model.node import Node
from agent.model.switch import Interface

INTERFACE = ("domain", "target_device")

STATE = Gauge(
    "libvirt_domain_state",
    "A domain's state: 0 no state, 1 running, 2 blocked, 3 paused, 4 shutting down, 5 shut off, "
    "6 crashed, 7 suspended by its guest [virDomainState].",
    labels=("domain",),
)
OPENSTACK = Gauge(
    "libvirt_domain_openstack_info",
    "What Nova wrote of a domain, always 1; join on (instance, domain) [domain XML metadata].",
    labels=(
        "domain", "instance_id", "instance_name", "flavor_name", "project_id", "project_name",
        "user_id", "user_name",
    ),
)  # fmt: skip
META = Gauge(
    "libvirt_domain_interface_meta",
    "An interface of a domain, always 1, with the Neutron port as virtual_interface; join on "
    "(instance, domain, mac), or where target_device is not empty on (instance, domain, "
    "target_device) [domain XML interface].",
    labels=(
        "domain", "mac", "target_device", "type", "model", "source_bridge", "virtual_interface",
    ),
)  # fmt: skip


def _counter(field: str, what: str, origin: str) -> Counter:
    return Counter(
        f"libvirt_domain_interface_stats_{field}_total",
        f"{what}, seen from the instance [virsh domifstat {origin}].",
        labels=INTERFACE,
    )


COUNTERS = {
    "receive_bytes": _counter("receive_bytes", "Bytes received", "rx_bytes"),
    "receive_packets": _counter("receive_packets", "Packets received", "rx_packets"),
    "receive_errors": _counter("receive_errors", "Receive errors", "rx_errs"),
    "receive_drops": _counter("receive_drops", "Packets to an instance dropped", "rx_drop"),
    "transmit_bytes": _counter("transmit_bytes", "Bytes sent", "tx_bytes"),
    "transmit_packets": _counter("transmit_packets", "Packets sent", "tx_packets"),
    "transmit_errors": _counter("transmit_errors", "Transmit errors", "tx_errs"),
    "transmit_drops": _counter("transmit_drops", "Packets of an instance dropped", "tx_drop"),
}
"""By the column of ``DomainCounters.numbers``."""
OF_PORT = {
    "receive_bytes": "tx_bytes",
    "receive_packets": "tx_packets",
    "receive_errors": "tx_errors",
    "receive_drops": "tx_dropped",
    "transmit_bytes": "rx_bytes",
    "transmit_packets": "rx_packets",
    "transmit_errors": "rx_errors",
    "transmit_drops": "rx_dropped",
}
"""The switch's port statistics, turned: what it sends, the instance receives."""

Key = tuple[str, str]
"""Name of a domain and device of its interface."""
ETHERNET, MACVTAPS = "ethernet", frozenset({"macvtap", "macvlan"})
"""Type of an interface whose link may be of one of these kinds without libvirt minding it."""
OTHER_WAY = [*range(len(FIELDS) // 2, len(FIELDS)), *range(len(FIELDS) // 2)]
"""``FIELDS`` with what is received and what is sent in each other's place."""


class Described:
    """What the domains say of themselves, written anew only when they have changed."""

    def __init__(self) -> None:
        self._made_of: Domains | None = None
        self._blocks: tuple[Block, ...] = ()

    def blocks(self, domains: Domains) -> tuple[Block, ...]:
        """Return STATE, OPENSTACK and META."""
        if domains is not self._made_of:
            self._made_of = domains
            named = _named(domains)
            self._blocks = (
                fixed(STATE, ((domain.state, (domain.name,)) for domain in named)),
                fixed(OPENSTACK, ((1, labels) for labels in map(_openstack, named) if labels)),
                fixed(META, ((1, labels) for domain in named for labels in _meta(domain))),
            )
        return self._blocks


def _named(domains: Domains) -> list[Domain]:
    """Return one domain for each name, A to Z: a name may be in use again before it is free."""
    found: dict[str, Domain] = {}
    for domain in sorted(domains.values(), key=lambda one: (one.name, not one.active, one.uuid)):
        found.setdefault(domain.name, domain)
    return list(found.values())


def _openstack(domain: Domain) -> tuple[str, ...]:
    owner = domain.owner
    if owner is None:
        return ()
    told = (
        owner.instance_name, owner.flavor_name, owner.project_id, owner.project_name,
        owner.user_id, owner.user_name,
    )  # fmt: skip
    return domain.name, domain.uuid, *(text or "" for text in told)


def _meta(domain: Domain) -> Iterator[tuple[str, ...]]:
    """Yield one row for each MAC address: SR-IOV has nothing else; with two, one has a device.

    A device that stands there twice, as it can in a domain that is only defined, is the first's.
    """
    rows: dict[str, DomainInterface] = {}
    for plug in domain.interfaces:
        if plug.mac and (plug.mac not in rows or not rows[plug.mac].target_device):
            rows[plug.mac] = plug
    devices: set[str] = set()
    for mac, plug in rows.items():
        device = plug.target_device if plug.target_device not in devices else None
        devices.add(device or "")
        yield (
            domain.name, mac, device or "", plug.type, plug.model or "",
            plug.source_bridge or "", plug.iface_id or "",
        )  # fmt: skip


class Turned:
    """Interfaces that libvirt counts the other way round, looked up only when something changed.

    It turns the counters of every interface but those of type direct. A macvtap that somebody else
    has made is of type ethernet to libvirt, and its own sense is the instance's already.

    What was known of an interface holds until something else is: its link and its domain may be
    gone before its last numbers are shown, and a moment in the other sense would be a spike.
    """

    def __init__(self) -> None:
        self._made_of: tuple[object, ...] = (None, None, None)
        self._turned: Mapping[Key, bool | None] = {}

    def of(self, node: Node, keys: tuple[Key, ...]) -> Mapping[Key, bool | None]:
        """Say of each (domain, device) whether it is one; ``None`` while nobody can know."""
        domains, host = node.domains.value, (node.namespaces.value or {}).get(HOST)
        made_of = keys, domains, host.links if host else None
        if any(now is not last for now, last in zip(made_of, self._made_of, strict=True)):
            self._made_of = made_of
            types = {
                (domain.name, plug.target_device or ""): plug.type
                for domain in _named(domains or {})
                for plug in domain.interfaces
            }
            kinds = {link.name: link.kind for link in host.links.values()} if host else None
            self._turned = {key: self._one(key, types.get(key), kinds) for key in keys}
        return self._turned

    def _one(
        self, key: Key, plug_type: str | None, kinds: Mapping[str, str | None] | None
    ) -> bool | None:
        known, device = self._turned.get(key), key[1]
        if plug_type not in (ETHERNET, None):
            return False
        if kinds is None:
            return known
        if device not in kinds:  # it has just gone or come, or is in another namespace
            return known or False
        if kinds[device] not in MACVTAPS:
            return False
        return known if plug_type is None else True


class Columns:
    """The counters of all interfaces, kept while these are the same."""

    def __init__(self) -> None:
        self._made_of: tuple[object, ...] | None = None
        self._places = np.zeros(0, np.intp)
        self._turned = np.zeros(0, np.intp)
        self._columns: dict[str, Column] = {}

    def blocks(
        self,
        counters: DomainCounters,
        hidden: frozenset[str],
        turned: Mapping[Key, bool | None],
    ) -> Iterator[Block]:
        """Yield the counters of every interface whose device is not hidden.

        Args:
            counters: The reading.
            hidden: Devices that are left out.
            turned: Whether receive and transmit change places, by (domain, device); those of which
                that is not known have no series.
        """
        made_of = counters.interfaces, hidden, turned
        if made_of != self._made_of:
            self._made_of = made_of
            shown = [
                (place, key)
                for place, key in enumerate(counters.interfaces)
                if key[1] not in hidden and turned[key] is not None
            ]
            rows = [row for row, (_, key) in enumerate(shown) if turned[key]]
            labels = [render_labels(INTERFACE, key).encode("utf-8", "replace") for _, key in shown]
            self._places = np.array([place for place, _ in shown], np.intp)
            self._turned = np.array(rows, np.intp)
            self._columns = {name: Column(family, labels) for name, family in COUNTERS.items()}
        numbers = counters.numbers[self._places]
        numbers[self._turned] = numbers[self._turned][:, OTHER_WAY]
        for field, column in self._columns.items():
            yield column.block(np.ascontiguousarray(numbers[:, FIELDS.index(field)]))


_described, _turned, _columns = Described(), Turned(), Columns()


def state(node: Node) -> Output:
    """Yield what each domain says of itself."""
    yield from _described.blocks(node.domains.require())


def counters(node: Node) -> Output:
    """Yield what libvirt counted of each interface with a device."""
    if node.domain_interfaces == "never":
        return
    hidden = devices_of(node.switch.value) if node.domain_interfaces == "auto" else frozenset()
    read = node.domain_counters.require()
    yield from _columns.blocks(read, hidden, _turned.of(node, read.interfaces))


def sockets(node: Node) -> Output:
    """Yield the counters of vhostuser interfaces, which are those of the switch's port.

    libvirt would start ovs-vsctl for each of them (virNetDevOpenvswitchInterfaceStats), so the
    agent does not ask it for these.
    """
    node.domains.require()
    plugs = [
        row for row in joined(node) if row.interface and row.plug and row.plug.type == VHOSTUSER
    ]
    if not plugs or node.domain_interfaces != "always":
        return
    bridges = node.bridges.require()
    # A domain that has just started may be in a reading that began before it was known.
    read = node.domain_counters.value
    counted = set(read.interfaces) if read else set()
    for row in plugs:
        stats = _port(bridges.get(row.bridge or ""), row.interface)
        if stats and row.domain and (row.domain.name, row.name) not in counted:
            for field, family in COUNTERS.items():
                yield family(getattr(stats, OF_PORT[field]), row.domain.name, row.name)


def _port(reading: BridgeReading | None, interface: Interface | None) -> PortStats | None:
    """Return what the switch counts of an interface, if its number has not changed hands."""
    if reading is None or interface is None or interface.openflow_port is None:
        return None
    number = interface.openflow_port
    named = reading.port_names.get(number) == openflow_name(interface.name)
    return reading.ports.get(number) if named else None


COLLECTOR = Collector(
    "domain",
    (STATE, OPENSTACK, META, *COUNTERS.values()),
    (state, counters, sockets),
    reads=("libvirt", "openflow"),
    detail=(META, OPENSTACK),
    follows=("libvirt", "rtnetlink"),
)
