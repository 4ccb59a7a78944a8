"""A cloud on OVN out of real parts, with the network that was recorded.

```python
with OvnCloud() as cloud:
    ping(cloud.guests["instance01"], cloud.guests["instance03"], 10)  # lab.ovn_traffic
    print(cloud.chassis[0].controller_appctl("coverage/show"))
```
"""

import re
from functools import partial
from itertools import permutations

from lab import namespace
from lab.frames import Host as Party
from lab.ovn_central import Keys, OvnCentral
from lab.ovn_chassis import (
    CONTROL,
    INTEGRATION_BRIDGE,
    NETWORK_BITS,
    WIRES,
    Chassis,
    Place,
)
from lab.ovn_document import Document
from lab.ovn_neutron import METADATA, Additions, Instance
from lab.ovn_router import Router
from lab.ovn_underlay import Underlay
from lab.part import Part
from lab.process import NAMESPACES, run, wait_until
from lab.reactor import Reactor
from lab.station import Station

CENTRAL = "10.0.0.11"
PLACES = (
    Place("compute1", Party("00:15:5d:bf:ba:31", "172.16.0.31"), "10.0.0.31"),
    Place("compute2", Party("00:15:5d:bf:ba:32", "172.16.0.32"), "10.0.0.32"),
)
GROUP = "dcf5b841-bca6-4d31-98b5-1e41d4bf4472"
"""The document's security group to which a user has added ping and SSH from everywhere."""
STRANGERS = "20a04bf0-dc15-4813-941c-3bba803605e8"
"""Another one, with the rules it came with: its members may send anything, and get nothing but
from each other. Members of one group may reach each other on every port, so what is to be refused
comes from here."""
INSTANCES = (
    Instance("instance01", 0, "192.168.101.11", GROUP),
    Instance("instance02", 0, "192.168.101.12", GROUP),
    Instance("stranger01", 0, "192.168.101.13", STRANGERS),
    Instance("instance03", 1, "192.168.101.21", GROUP),
    Instance("instance04", 1, "192.168.101.22", GROUP),
    Instance("stranger02", 1, "192.168.101.23", STRANGERS),
    Instance("appliance01", 0),
    Instance("appliance02", 1),
)
METADATA_IPV6 = "fe80::a9fe:a9fe/128"


class Guest(Station):
    """An instance, from inside.

    Attributes:
        instance: What Neutron and Nova know of it.
    """

    def __init__(self, reactor: Reactor, descriptor: int, instance: Instance) -> None:
        self.instance = instance
        super().__init__(reactor, descriptor, (instance.party,))


class OvnCloud(Part):
    """Databases, ovn-northd and two compute nodes with a tunnel between them.

    Args:
        tls: Have the Southbound listen for TLS as well, with these.

    Attributes:
        document: What was recorded.
        additions: What is Northbound beside it.
        underlay: What the hosts are plugged into.
        central: Databases and ovn-northd.
        chassis: The compute nodes.
        guests: By the instance's name.
    """

    central: OvnCentral
    chassis: tuple[Chassis, ...]

    def __init__(self, tls: Keys | None = None) -> None:
        super().__init__()
        self._tls = tls
        self.document = Document()
        hosts = [place.hostname for place in PLACES]
        self.additions = Additions(self.document, INSTANCES, GROUP, hosts)
        self.guests: dict[str, Guest] = {}
        self.underlay = Underlay(*WIRES.values())

    @property
    def metadata_netns(self) -> str:
        """Name of the namespace of the metadata port, on each chassis."""
        return self.document.metadata_port["device_id"]

    def add_router(self) -> None:
        """Give the network a way out on either chassis; they watch each other by BFD.

        ovn-controller switches BFD on for tunnels between such chassis, and off for all others,
        whoever has switched it on. For half a minute the way out announces its address on the
        provider network.
        """
        names = [chassis.place.system_id for chassis in self.chassis]
        router = Router(self.document, self.additions.provider_switch, names)
        self.central.nbctl(*router.commands)
        self.central.sync()
        wait_until(self.has_bfd, what="BFD between the chassis")

    def has_bfd(self) -> bool:
        """Return whether every tunnel is up, as BFD sees it."""
        tunnels = permutations(self.chassis, 2)
        return all(re.search(r"\bstate=up", a.bfd_status(b)) for a, b in tunnels)

    def _build(self) -> None:
        self._stack.enter_context(self.underlay)
        self._add_central()
        self.chassis = tuple(
            self._stack.enter_context(
                Chassis(place, self.underlay, self.central.southbound_tcp, self.document.switch)
            )
            for place in PLACES
        )
        self._reactor = Reactor("ovn-guests")
        self._stack.callback(self._reactor.close)
        for number in range(len(self.chassis)):
            self._plug(number)
        self.underlay.wait()
        self._settle()

    def _add_central(self) -> None:
        self.central = self._stack.enter_context(OvnCentral(CENTRAL, self._tls))
        self.underlay.connect(str(NAMESPACES / self.central.name), "eth1", CONTROL)
        address = ("address", "add", f"{CENTRAL}/{NETWORK_BITS}", "dev", "eth1")
        run("ip", *address, netns=self.central.name)
        self.central.nbctl(*self.additions.commands)

    def _plug(self, number: int) -> None:
        """Do what Nova does for its instances and the metadata agent for its port."""
        chassis = self.chassis[number]
        commands: list[str] = []
        for instance in INSTANCES:
            if instance.place == number:
                self._add_guest(chassis, instance)
                commands += _port_commands(
                    instance.tap,
                    {
                        "attached-mac": instance.party.mac,
                        "iface-id": instance.port,
                        "iface-status": "active",
                        "vm-uuid": instance.server,
                    },
                )
        tap = self._add_metadata(chassis)
        commands += _port_commands(tap, {"iface-id": self.document.metadata_port["id"]})
        chassis.switch.vsctl(*commands)

    def _add_guest(self, chassis: Chassis, instance: Instance) -> None:
        descriptor = namespace.open_tap(chassis.name, instance.tap)
        mac = instance.party.mac.replace("fa:", "fe:", 1)  # libvirt's own, of the host's side
        setting = ("mtu", self.document.network["mtu"], "address", mac, "up")
        chassis.run("ip", "link", "set", instance.tap, *setting)
        self.guests[instance.name] = Guest(self._reactor, descriptor, instance)

    def _add_metadata(self, chassis: Chassis) -> str:
        netns, port = self.metadata_netns, self.document.metadata_port
        here, there = (f"tap{port['network_id'][:10]}{end}" for end in "01")
        chassis.add_namespace(netns)
        far = ("name", there, "netns", chassis.path(netns))
        run("ip", "link", "add", here, "type", "veth", "peer", *far, netns=chassis.name)
        chassis.run("ip", "link", "set", here, "up")
        chassis.run("ip", "link", "set", there, "address", port["mac_address"], "up", netns=netns)
        for address in (self.document.metadata_cidr, METADATA, METADATA_IPV6):
            chassis.run("ip", "address", "add", address, "dev", there, netns=netns)
        return here

    def _settle(self) -> None:
        """Return when every port is up, the tunnel is there, and the flows for all of it."""
        ports = (guest.instance.port for guest in self.guests.values())
        self.central.nbctl(
            *(w for p in ports for w in ("--", "wait-until", "Logical_Switch_Port", p, "up=true"))
        )
        for chassis, other in permutations(self.chassis, 2):
            chassis.meet(other)
            wait_until(partial(chassis.has_tunnel, other), what="a tunnel")
        self.central.sync()


def _port_commands(device: str, external_ids: dict[str, str]) -> list[str]:
    ids = (f'external_ids:{key}="{value}"' for key, value in external_ids.items())
    return [
        *("--", "add-port", INTEGRATION_BRIDGE, device),
        *("--", "set", "Interface", device, *ids),
    ]
