"""The recorded compute node of an OpenStack cloud, built again on real Open vSwitch.

Bridges, ports, tags, patch ports, tunnel, flows, controllers and manager are those of
``nodes/lb_ovs``: what the commands printed on that node. Instances are taps with a guest behind
each, or domains where that is wanted; the physical networks are veths with a station at the far
end. What a recording cannot hold (the datapath, which is the userspace one here, and the ports'
UUIDs) is made up, the same way each time.
"""

import re
import uuid
from dataclasses import dataclass
from pathlib import Path

from lab import namespace
from lab.controller import Controller
from lab.frames import Host
from lab.hypervisor import Hypervisor
from lab.instance import Port, read_instance
from lab.node import Node
from lab.process import Daemon, wait_until
from lab.reactor import Reactor
from lab.recorded import (
    NODES,
    Bridge,
    Flow,
    Interface,
    parse_domain_macs,
    parse_flows,
    parse_links,
    parse_servers,
    parse_show,
)
from lab.station import Station, Vtep

PORT_NAMES = uuid.UUID("698493db-95ef-4c31-b419-56b3d4096f2b")
"""Namespace for the UUIDs of Neutron ports, of which the recording has the first 11 characters."""

TUNNEL_BRIDGE, TUNNEL_PORT = "br-provider", "vxlan-ac10000b"
TUNNEL_NETWORK_BITS = 24
CONTROLLER = "127.0.0.1", 6633
VNI = 0xEF
GATEWAY = Host("00:15:5d:bf:ba:01", "172.16.0.1")
MANAGEMENT = Host("00:15:5d:bf:ba:02", "10.0.0.1")
VTEP_MAC = "00:15:5d:bf:ba:11"
REMOTE_INSTANCE = Host("fa:16:3e:fd:d9:1a", "192.168.101.9")
"""instance03 of the recording, on another compute node."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A directory of ``nodes/``, read."""

    directory: Path

    def text(self, name: str) -> str:
        """Return one recorded output."""
        return (self.directory / name).read_text(encoding="utf-8")

    def flows(self, bridge: str) -> list[Flow]:
        """Return the recorded flows of a bridge, with their recorded counters."""
        return parse_flows(self.text(f"dump-flows-{bridge}.txt"))


class ComputeNode(Node):
    """A node that equals a recorded one.

    Args:
        recording: Which one.
        wait_for_status: Return from ``start`` only when the database says that controllers and
            manager are connected, which ovs-vswitchd writes there every 5 seconds.
        domains: Have libvirt run what the recorded ``virsh list`` shows: the two taps of the load
            balancer are then those of a domain, and their guests send and receive through it.

    Attributes:
        recording: What it was built from.
        switch: The recorded ``ovs-vsctl show``.
        instance: The load balancer's.
        guests: The guest behind each tap, by the tap's name.
        wires: The far end of each physical device: ``eth2`` (provider network, with the peer of
            the tunnel) and ``eth3`` (management network).
        hypervisor: Runs the instance; only where domains were asked for.
    """

    hypervisor: Hypervisor
    _reactor: Reactor

    def __init__(
        self,
        recording: Recording | None = None,
        *,
        wait_for_status: bool = True,
        domains: bool = False,
    ) -> None:
        super().__init__()
        self._wait_for_status = wait_for_status
        self._domains = domains
        self.recording = recording or Recording(NODES / "lb_ovs")
        self.switch = parse_show(self.recording.text("vsctl-show.txt"))
        self.guests: dict[str, Station] = {}
        self.wires: dict[str, Station] = {}
        taps = parse_domain_macs(self.recording.text("virsh-interfaces.xml"))
        ports = {tap: Port(neutron_port(tap), self._hosts(tap)) for tap in taps}
        self.instance = read_instance(self.recording.directory, ports)
        self._links = parse_links(self.recording.text("ip-d-link.txt"))
        self._manager: Daemon | None = None

    def start_ovsdb(self) -> None:
        """Start ovsdb-server, and again the client that its manager row waits for."""
        super().start_ovsdb()
        if self._manager is not None:
            self._connect_manager()

    def load_flows(self) -> None:
        """Install what a restarted switch has forgotten: flows, and the tunnel peer's MAC address.

        Without the address the switch would ask for it on the wire and lose its first packet.
        """
        for bridge in self.switch.bridges:
            lines = "\n".join(flow.text for flow in self.recording.flows(bridge))
            self.ofctl("add-flows", bridge, "-", stdin=lines)
        self.appctl("tnl/neigh/set", TUNNEL_BRIDGE, self._tunnel_ip("remote_ip"), VTEP_MAC)

    def start_controller(self) -> None:
        """Have the OpenFlow controller listen that every bridge looks for."""
        self._controllers = Reactor(f"{self.name}-controller")
        Controller(self._controllers, self.name, CONTROLLER)

    def kill_controller(self) -> None:
        """End it, with all its connections."""
        self._controllers.close()

    def stop_instance(self) -> None:
        """Destroy the instance's domain and take its ports off the switch, as Nova does."""
        self.hypervisor.destroy_domain(self.instance.domain)
        ports = [word for tap in self.instance.ports for word in ("--", "del-port", tap)]
        self.vsctl(*ports)

    def start_instance(self) -> None:
        """Start it again, with new taps, new ports of the old numbers and new guests."""
        self._start_domain()
        commands: list[str] = []
        for bridge in self.switch.bridges.values():
            for tap in bridge.interfaces.keys() & self.instance.ports.keys():
                commands += self._port_commands(bridge.name, bridge.interfaces[tap])
        self.vsctl(*commands)

    # -- from here on in the order of building -------------------------------------------------

    def _build(self) -> None:
        super()._build()
        self._reactor = Reactor(f"{self.name}-stations")
        self._stack.callback(self._reactor.close)
        if self._domains:
            self._add_domain()
        self._add_devices()
        self._stack.callback(self.kill_controller)
        self.start_controller()
        self._add_bridges()
        self._raise_bridges()
        self.load_flows()
        self._stack.callback(self._disconnect_manager)
        self._connect_manager()
        if self._wait_for_status:
            wait_until(self._is_connected, what="controllers and manager to be connected")

    def _add_domain(self) -> None:
        self.hypervisor = self._stack.enter_context(Hypervisor(self.name))
        self.instance.define(self.hypervisor)
        self._start_domain()

    def _start_domain(self) -> None:
        self.guests.update(self.instance.start(self.hypervisor, self._reactor))

    def _add_devices(self) -> None:
        plugged = self.instance.ports if self._domains else ()  # these libvirt makes
        for interface in self._interfaces():
            if interface.error or interface.name not in self._links:
                continue
            if interface.type == "system":
                self._add_wire(interface.name)
            elif not interface.type and interface.name not in plugged:
                self._add_guest(interface.name)

    def _add_guest(self, tap: str) -> None:
        descriptor = namespace.open_tap(self.name, tap)
        self._raise(tap)
        self.guests[tap] = Station(self._reactor, descriptor, self._hosts(tap))

    def _hosts(self, tap: str) -> tuple[Host, ...]:
        mac, addresses = self.addresses(tap)
        return tuple(Host(mac, address) for address in addresses)

    def _add_wire(self, device: str) -> None:
        far = f"{device}-wire"
        veth = ("type", "veth", "peer", "name", far)
        self.run("ip", "link", "add", device, *veth)
        self.run("ip", "link", "set", far, "up")
        self._raise(device)
        descriptor = namespace.open_device(self.name, far)
        if device in self.switch.bridges[TUNNEL_BRIDGE].interfaces:
            peer = Host(self._links[TUNNEL_BRIDGE].mac, self._tunnel_ip("local_ip"))
            vtep = Host(VTEP_MAC, self._tunnel_ip("remote_ip"))
            hosts = (vtep, GATEWAY)
            remote = (REMOTE_INSTANCE,)
            self.wires[device] = Vtep(self._reactor, descriptor, hosts, peer, VNI, remote)
        else:
            self.wires[device] = Station(self._reactor, descriptor, (MANAGEMENT,))

    def _raise(self, device: str) -> None:
        link = self._links[device]
        self.run("ip", "link", "set", device, "mtu", str(link.mtu), "address", link.mac, "up")

    def _add_bridges(self) -> None:
        """Write the rows of the recording, no more: two bridges there have no row for their port.

        ``ovs-vsctl add-br`` would make one.
        """
        commands: list[str] = []
        for bridge in self.switch.bridges.values():
            commands += self._bridge_commands(bridge)
            for interface in bridge.interfaces.values():
                commands += self._port_commands(bridge.name, interface)
        for target in self.switch.managers:
            commands += ["--", "set-manager", target]
        self.vsctl(*commands)

    def _bridge_commands(self, bridge: Bridge) -> list[str]:
        identity = f"@{bridge.name}"
        commands = [
            *("--", f"--id={identity}", "create", "Bridge", f"name={bridge.name}"),
            *(f"fail_mode={bridge.fail_mode}", "datapath_type=netdev"),
            *("protocols=OpenFlow10,OpenFlow13,OpenFlow14",),
            f'other_config:hwaddr="{self._links[bridge.name].mac}"',
            *("--", "add", "Open_vSwitch", ".", "bridges", identity),
        ]
        for number, target in enumerate(bridge.controllers):
            controller = f"{identity}-controller{number}"
            commands += [
                *("--", f"--id={controller}", "create", "Controller", f'target="{target}"'),
                # in-band control would add hidden flows and probe for the controller's address
                "connection_mode=out-of-band",
                *("--", "add", "Bridge", bridge.name, "controller", controller),
            ]
        return commands

    def _port_commands(self, bridge: str, interface: Interface) -> list[str]:
        name = f'name="{interface.name}"'
        tag = [] if interface.tag is None else [f"tag={interface.tag}"]
        columns = [f"type={interface.type}"] if interface.type else []
        columns += [f"options={interface.options}"] if interface.options else []
        return [
            *("--", f"--id=@i-{interface.name}", "create", "Interface", name, *columns),
            *self._port_number(interface.name),
            *self._external_ids(interface.name),
            *("--", f"--id=@p-{interface.name}", "create", "Port", name, *tag),
            f"interfaces=@i-{interface.name}",
            *("--", "add", "Bridge", bridge, "ports", f"@p-{interface.name}"),
        ]

    def _port_number(self, interface: str) -> list[str]:
        """Ask for the number that the recorded flows load into reg5 for this port."""
        loaded = re.search(
            rf'in_port="{interface}" actions=load:(0x\w+)->NXM_NX_REG5', self._int_flows
        )
        listed = re.search(rf"port (\d+): {interface} ", self.recording.text("list-tunnels.txt"))
        number = int(loaded[1], 16) if loaded else int(listed[1]) if listed else None
        return [] if number is None else [f"ofport_request={number}"]

    def _external_ids(self, interface: str) -> list[str]:
        """Return what nova writes on a tap; on other ports nothing."""
        if not interface.startswith("tap"):
            return []
        mac, addresses = self.addresses(interface)
        servers = parse_servers(self.recording.text("server-list.txt"))
        ids = {
            "iface-id": neutron_port(interface),
            "iface-status": "active",
            "attached-mac": mac,
            "vm-uuid": next((servers[ip] for ip in addresses if ip in servers), ""),
        }
        return [f'external_ids:{key}="{value}"' for key, value in ids.items() if value]

    def addresses(self, tap: str) -> tuple[str, list[str]]:
        """Return MAC and IPv4 addresses of an instance's port, from the anti-spoofing flows.

        Returns:
            An empty MAC and no addresses for a port that the flows do not know.
        """
        pattern = rf'arp,reg5=\w+,in_port="{tap}",dl_src=([0-9a-f:]+),arp_spa=([0-9.]+)'
        found = re.findall(pattern, self._int_flows)
        domain_macs = parse_domain_macs(self.recording.text("virsh-interfaces.xml"))
        mac = domain_macs.get(tap) or next((mac for mac, _ in found), "")
        return mac, [address for _, address in found]

    def _raise_bridges(self) -> None:
        for bridge in self.switch.bridges:
            self._raise(bridge)
        local = f"{self._tunnel_ip('local_ip')}/{TUNNEL_NETWORK_BITS}"
        self.run("ip", "address", "add", local, "dev", TUNNEL_BRIDGE)

    def _connect_manager(self) -> None:
        target = next(iter(self.switch.managers)).removeprefix("p")  # ptcp:6640:127.0.0.1
        kind, port, address = target.split(":")
        monitor = ("monitor", f"{kind}:{address}:{port}", "Open_vSwitch", "Bridge", "name")
        log = self.rundir / "manager.out"
        self._disconnect_manager()
        self._manager = Daemon(["ovsdb-client", *monitor], log, self.environment, self.name)

    def _disconnect_manager(self) -> None:
        if self._manager is not None:
            self._manager.stop()

    def _is_connected(self) -> bool:
        shown = parse_show(self.vsctl("show"))
        controllers = [state for b in shown.bridges.values() for state in b.controllers.values()]
        return all(controllers) and all(shown.managers.values())

    def _interfaces(self) -> list[Interface]:
        return [i for bridge in self.switch.bridges.values() for i in bridge.interfaces.values()]

    def _tunnel_ip(self, option: str) -> str:
        tunnel = next(i for i in self._interfaces() if i.name == TUNNEL_PORT)
        found = re.search(rf'{option}="([^"]+)"', tunnel.options)
        return found[1] if found else ""

    @property
    def _int_flows(self) -> str:
        return self.recording.text("dump-flows-br-int.txt")


def neutron_port(tap: str) -> str:
    """Return the UUID of the Neutron port behind a tap: its first 11 characters name the tap."""
    return tap.removeprefix("tap") + str(uuid.uuid5(PORT_NAMES, tap))[11:]
