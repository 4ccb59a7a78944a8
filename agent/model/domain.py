"""Domains as libvirt describes them, who they belong to, and what their interfaces count."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FIELDS = (
    *("receive_bytes", "receive_packets", "receive_errors", "receive_drops"),
    *("transmit_bytes", "transmit_packets", "transmit_errors", "transmit_drops"),
)
"""What is counted of an interface, seen from the instance; columns of ``DomainCounters``."""

ShownInterfaces = Literal["always", "auto", "never"]
"""Which interfaces of domains have counters: all, those that Open vSwitch does not count, none."""

INACTIVE = frozenset({0, 5})
"""States without devices on the node: virDomainState NOSTATE, SHUTOFF.

One whose guest has crashed (6) is kept with all its devices where on_crash says ``preserve``; one
whose QEMU has crashed is shut off (VIR_DOMAIN_SHUTOFF_CRASHED in libvirt-domain.h).
"""


@dataclass(frozen=True, slots=True)
class Owner:
    """What Nova wrote into a domain's metadata. ``None`` is what it did not write.

    Attributes:
        instance_name: nova:name.
        flavor_name: nova:flavor's name.
        project_id: nova:project's uuid.
        project_name: Its text.
        user_id: nova:user's uuid.
        user_name: Its text.
        ports: uuids of nova:port: the Neutron ports, in releases since Wallaby.
    """

    instance_name: str | None = None
    flavor_name: str | None = None
    project_id: str | None = None
    project_name: str | None = None
    user_id: str | None = None
    user_name: str | None = None
    ports: tuple[str, ...] = ()

    def without_names(self) -> "Owner":
        """Return what remains when nobody is to be named: the ids."""
        return Owner(project_id=self.project_id, user_id=self.user_id, ports=self.ports)


@dataclass(frozen=True, slots=True)
class DomainInterface:
    """One ``<interface>`` of a domain. ``None`` is what its kind does not have.

    Attributes:
        type: ethernet, bridge, network, vhostuser, hostdev, direct, vdpa, …
        mac: The instance's own address, in lower case.
        target_device: Device on the node; none for hostdev, and for vhostuser only where libvirt
            knows what Open vSwitch calls it.
        model: virtio, e1000, …
        source_bridge: Bridge that it is plugged into, also of a network that libvirt resolved.
        socket_path: Of vhostuser: the socket that it shares with the switch.
        iface_id: The Neutron port, from its virtualport's interfaceid.
    """

    type: str
    mac: str | None = None
    target_device: str | None = None
    model: str | None = None
    source_bridge: str | None = None
    socket_path: str | None = None
    iface_id: str | None = None


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain, active or not.

    Attributes:
        uuid: Lower case; Nova gives a domain the instance's own.
        name: libvirt's: instance-00000007.
        state: virDomainState: 0 no state, 1 running, 2 blocked, 3 paused, 4 shutting down,
            5 shut off, 6 crashed, 7 suspended by its guest.
        interfaces: In the order of its XML.
        owner: ``None`` for a domain that Nova did not make.
    """

    uuid: str
    name: str
    state: int
    interfaces: tuple[DomainInterface, ...] = ()
    owner: Owner | None = None

    @property
    def active(self) -> bool:
        """Whether its devices are on the node: it runs, is paused, or comes or goes."""
        return self.state not in INACTIVE


Domains = Mapping[str, Domain]
"""By uuid."""


@dataclass(frozen=True, slots=True, eq=False)
class DomainCounters:
    """What libvirt counted of all interfaces that have a device, read together.

    Attributes:
        interfaces: (domain's name, device) of each row, none twice; the same object while they
            are the same.
        numbers: A row for each interface, a column for each of ``FIELDS``; all-ones is not known.
    """

    interfaces: tuple[tuple[str, str], ...]
    numbers: NDArray[np.uint64]
