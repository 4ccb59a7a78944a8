"""The kernel's Open vSwitch datapaths, as generic netlink tells them."""

from dataclasses import dataclass

from agent.model.bridge import PortStats
from agent.model.datapath import Datapath


@dataclass(frozen=True, slots=True)
class Vport:
    """A port of a kernel datapath.

    Attributes:
        name: Of the device; tunnels of one kind share one, such as ``vxlan_sys_4789``.
        kind: netdev, internal, gre, vxlan, geneve; the number as text for others.
        stats: Of netdev ports from the switch's side; internal ports count as the host sees
            them, in OpenFlow as well. ``number`` is the datapath's, not OpenFlow's.
        upcall_packets: Packets sent up to ovs-vswitchd; ``None`` before Linux 6.3.
        upcall_errors: Packets that could not be sent up.
    """

    name: str
    kind: str
    stats: PortStats
    upcall_packets: int | None = None
    upcall_errors: int | None = None


@dataclass(frozen=True, slots=True)
class ZoneLimit:
    """A conntrack zone with a limit of its own (``dpctl/ct-get-limits``)."""

    zone: int
    limit: int
    entries: int


@dataclass(frozen=True, slots=True)
class KernelDatapath:
    """One datapath of openvswitch.ko.

    Attributes:
        datapath: Its lookups and levels, named ``system@…`` as ``dpctl/show`` does.
        vports: All ports.
        zone_limits: Zones with a limit; ``None`` where the kernel has no such limits.
    """

    datapath: Datapath
    vports: tuple[Vport, ...] = ()
    zone_limits: tuple[ZoneLimit, ...] | None = None
