"""Which links have series: one rule for every collector of the kernel's devices.

In a named namespace all have. In the host's own there are thousands that others count already:
what Open vSwitch forwards between is in ``ovs_interface_*``, network cards are node_exporter's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from agent.model.link import Link, LinkPatterns, Tunnel
from agent.model.namespace import HOST, Namespace
from agent.model.node import Node
from agent.model.switch import Switch

BRIDGE, OPENVSWITCH, VETH = "bridge", "openvswitch", "veth"
"""Values of Link.kind. ``openvswitch`` is ovs-system, and the internal ports of the switch."""
SYSTEM_TUNNEL = re.compile(r"[a-z0-9]+_sys(_[0-9]+)?")
"""vxlan_sys_4789, genev_sys_6081, gre_sys, …"""

Links = Mapping[int, Link]


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What is shown of one namespace; the same object while it is the same.

    Attributes:
        namespace: The whole of it, as it is now; where links did not change it may be a new one.
        all: Every link that no pattern hides, by index.
        links: Those that nothing else counts.
        switched: Devices of Open vSwitch in the host's own namespace.
    """

    namespace: Namespace
    all: Links
    links: Links
    switched: Links = field(default_factory=dict)


class Selection:
    """Applies the rule, and only to what changed since the last time."""

    def __init__(self) -> None:
        self._made_of: tuple[object, Switch | None, LinkPatterns] | None = None
        self._shown: Mapping[str, Shown] = {}
        self._devices: frozenset[str] = frozenset()

    def of(self, node: Node) -> Mapping[str, Shown]:
        """Return what is shown by namespace; the same object while it is the same.

        Raises:
            UnknownFactError: If the namespaces are not known.
        """
        namespaces, switch, patterns = (
            node.namespaces.require(),
            node.switch.value,
            node.link_patterns,
        )
        last = self._made_of
        same_patterns = last is not None and last[2] == patterns
        if last and last[0] is namespaces and last[1] is switch and same_patterns:
            return self._shown
        keep = dict(self._shown) if same_patterns else {}
        if last is None or last[1] is not switch:
            devices = devices_of(switch)
            if devices != self._devices:
                self._devices = devices
                keep.pop(HOST, None)
        shown = {
            name: self._again(namespace, keep.get(name)) or self._apply(namespace, patterns)
            for name, namespace in namespaces.items()
        }
        if shown != self._shown:  # compares by identity
            self._shown = shown
        self._made_of = namespaces, switch, patterns
        return self._shown

    @staticmethod
    def _again(namespace: Namespace, old: Shown | None) -> Shown | None:
        """Return what was shown when the links are still the same."""
        if old is None or old.namespace is namespace:
            return old
        if old.namespace.links is not namespace.links:
            return None
        return replace(old, namespace=namespace)

    def _apply(self, namespace: Namespace, patterns: LinkPatterns) -> Shown:
        every = namespace.links
        links = {
            index: link for index, link in every.items() if not matches(link.name, patterns.exclude)
        }
        if namespace.name != HOST:
            return Shown(namespace, links, links)
        switched = {
            index: link
            for index, link in links.items()
            if belongs_to_switch(link, every, self._devices)
        }
        shown = {
            index: link
            for index, link in links.items()
            if matches(link.name, patterns.include)
            or (index not in switched and is_of_the_virtual_network(link, every))
        }
        return Shown(namespace, links, shown, switched)


def devices_of(switch: Switch | None) -> frozenset[str]:
    """Return the names of the devices that a switch is told to use."""
    found = switch.interfaces() if switch else ()
    return frozenset(interface.name for _, _, interface in found)


def is_of_the_virtual_network(link: Link, links: Links) -> bool:
    """Whether a link of the host's own namespace connects instances or routers."""
    return (
        link.kind in (BRIDGE, VETH)
        or (link.tunnel is not None and has_ends(link.tunnel))
        or kind_of(links, link.master) == BRIDGE
    )


def has_ends(tunnel: Tunnel) -> bool:
    """Whether a tunnel device leads anywhere.

    The modules of GRE, SIT and IPIP put a device without any settings (gre0, gretap0, sit0,
    tunl0) into every namespace.
    """
    return tunnel.external or any((tunnel.local_ip, tunnel.remote_ip, tunnel.key))


def belongs_to_switch(link: Link, links: Links, devices: frozenset[str]) -> bool:
    """Whether Open vSwitch counts this link.

    A userspace datapath's devices have no master. One that is a member of a Linux bridge cannot be
    opened by a kernel datapath, whatever the database wishes.
    """
    master = kind_of(links, link.master)
    return (
        master == OPENVSWITCH
        or (link.name in devices and master != BRIDGE)
        or serves_switch(link, links)
    )


def serves_switch(link: Link, links: Links) -> bool:
    """Whether a tunnel device carries the tunnels of Open vSwitch, which have their own series.

    It is a member of ovs-system; that comes a moment after its name (netdev-vport.c).
    """
    if link.tunnel is None:
        return False
    member = kind_of(links, link.master) == OPENVSWITCH
    return (member and link.tunnel.external) or SYSTEM_TUNNEL.fullmatch(link.name) is not None


def kind_of(links: Links, index: int | None) -> str | None:
    """Return the kind of a link's master; ``None`` without one."""
    master = None if index is None else links.get(index)
    return master.kind if master else None


def name_of(links: Links, index: int | None) -> str:
    """Return the name of a link's master, empty without one."""
    master = None if index is None else links.get(index)
    return master.name if master else ""


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the shell patterns matches the whole name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


_selection = Selection()


def shown_links(node: Node) -> Mapping[str, Shown]:
    """Return what is shown by namespace, ``""`` for the host's own; kept between collectors.

    Raises:
        UnknownFactError: If the namespaces are not known.
    """
    return _selection.of(node)
