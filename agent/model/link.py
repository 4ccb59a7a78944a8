"""Links of the kernel: what ``ip -d link`` shows, and what they count."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The two ends of a kernel tunnel device. ``None`` is what the device does not set.

    Attributes:
        tunnel_type: The link's kind: vxlan, geneve, gretap, …
        local_ip: Address that it sends from.
        remote_ip: Address that it sends to; a multicast group for a vxlan that floods to one.
        key: VNI or key, decimal.
        dst_port: UDP port.
        external: Each packet brings its own ends with it (``external`` in ``ip -d link``): the
            device of Open vSwitch's tunnels, or of eBPF.
    """

    tunnel_type: str
    local_ip: str | None = None
    remote_ip: str | None = None
    key: str | None = None
    dst_port: int | None = None
    external: bool = False


@dataclass(frozen=True, slots=True)
class LinuxBridge:
    """The state of a Linux bridge: ``bridge stp_state … vlan_filtering …`` of ``ip -d link``."""

    stp: bool | None = None
    vlan_filtering: bool | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """One network device of a namespace.

    Attributes:
        index: Its number, unique in its namespace, not used again soon.
        name: IFLA_IFNAME.
        kind: IFLA_INFO_KIND: veth, bridge, vxlan, tun, openvswitch, …; ``None`` for hardware.
        mac: Link-layer address as ``ip`` prints it; ``None`` for devices without one.
        mtu_bytes: Largest payload.
        up: IFF_UP: switched on.
        carrier: Whether there is a link; ``None`` where the kernel does not say.
        master: Index of the device that it is a member of.
        carrier_changes: How often the link came and went.
        vlan_id: Of a device of kind vlan.
        tunnel: Of a tunnel device.
        bridge: Of a device of kind bridge.
        bridge_port_state: Of a member of a bridge: BR_STATE_DISABLED 0, LISTENING 1, LEARNING 2,
            FORWARDING 3, BLOCKING 4 (linux/if_bridge.h).
    """

    index: int
    name: str
    kind: str | None = None
    mac: str | None = None
    mtu_bytes: int | None = None
    up: bool = False
    carrier: bool | None = None
    master: int | None = None
    carrier_changes: int | None = None
    vlan_id: int | None = None
    tunnel: Tunnel | None = None
    bridge: LinuxBridge | None = None
    bridge_port_state: int | None = None


@dataclass(frozen=True, slots=True)
class LinkPatterns:
    """Shell patterns of devices' names that change which links are shown.

    Attributes:
        include: Devices of the host's own namespace to show besides those that the rules choose.
        exclude: Devices not to show, in every namespace.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a link.

    Attributes:
        index: The link's.
        address: With its prefix, as ``ip address`` prints it: ``192.168.74.104/32``.
        family: inet or inet6.
        scope: global, site, link, host, nowhere, or the number as text.
    """

    index: int
    address: str
    family: str
    scope: str


FIELDS = (
    "rx_packets", "tx_packets", "rx_bytes", "tx_bytes",
    "rx_errors", "tx_errors", "rx_dropped", "tx_dropped", "rx_missed_errors",
)  # fmt: skip
"""Columns of ``LinkCounters.numbers``."""


@dataclass(frozen=True, slots=True, eq=False)
class LinkCounters:
    """64-bit statistics of all links of all namespaces, read for one scrape.

    Attributes:
        links: Of each row the namespace (``""`` for the host's own) and the link's index. The
            same object as in the reading before while the same links are there.
        numbers: Of each row the columns ``FIELDS``; all-ones is not known.
        keys: Of the namespaces that were read, by name; see ``Namespace.key``.
    """

    links: tuple[tuple[str, int], ...]
    numbers: Numbers
    keys: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Qdisc:
    """A queueing discipline at the root of a link, or at its ingress.

    Attributes:
        netns: Its namespace, ``""`` for the host's own.
        index: Its link.
        kind: fq_codel, htb, ingress, clsact, …
        dropped: Packets that it dropped since the agent first saw it (a ledger: the kernel's own
            number has 32 bits).
        key: Of the namespace that was read; see ``Namespace.key``.
    """

    netns: str
    index: int
    kind: str
    dropped: int
    key: tuple[int, ...] = field(default=(), compare=False)
