"""The recorded compute node of neutron's Linux bridge agent, built again on this kernel.

Bridges, members, taps and the tunnel are those of ``nodes/lb_linuxbridge``, with their addresses,
sizes and options. Its hardware (eth0, eth3) are veths whose far ends are on no node. Taps are open
descriptors of the lab, or a domain's where that is wanted. The recording shows no forwarding table:
what l2population writes there is made up.
"""

from lab import namespace
from lab.compute import Recording, neutron_port
from lab.frames import Host as Party
from lab.host import Host
from lab.hypervisor import Hypervisor
from lab.instance import Port, read_instance
from lab.process import NAMESPACES, run, wait_until
from lab.reactor import Reactor
from lab.recorded import NODES, Link, parse_addresses, parse_domain_macs, parse_links
from lab.station import Station

TUNNEL = "vxlan-267"
NETWORK_BITS = 24
PEER, SILENT_PEER = "172.16.0.11", "172.16.0.32"
"""The other compute nodes of the tunnel's network. Nobody is at home in the second one."""
PEER_MACS = {PEER: "00:15:5d:bf:ba:11", SILENT_PEER: "00:15:5d:bf:ba:32"}
REMOTE_INSTANCE = Party("fa:16:3e:fd:d9:1a", "192.168.101.9")
GATEWAY = Party("00:15:5d:bf:ba:02", "10.0.0.1")
BRIDGE_OPTIONS = (
    *("forward_delay", "hello_time", "max_age", "ageing_time", "stp_state", "priority"),
    "mcast_snooping",
)
"""Of what is printed of a bridge, what is set. Not vlan_filtering, which is off by itself: a kernel
without it prints it all the same, and refuses to set it."""


class LinuxBridgeNode(Host):
    """A node that equals the recorded one.

    Args:
        domains: Have libvirt run what the recorded ``virsh list`` shows: it makes the taps of the
            load balancer and plugs them into their bridges, and their guests send and receive
            through the domain.

    Attributes:
        links: The recorded ``ip -d link show``.
        instance: The load balancer's.
        hypervisor: Runs the instance; only where domains were asked for.
        guests: The instance's port behind each tap, by the tap's name.
        gateway: At the far end of eth3.
        remote: An instance at the far end of the tunnel, on the node ``PEER``.
    """

    gateway: Station
    remote: Station
    hypervisor: Hypervisor
    _reactor: Reactor

    def __init__(self, *, domains: bool = False) -> None:
        super().__init__()
        self._domains = domains
        self._recording = Recording(NODES / "lb_linuxbridge")
        self.links = parse_links(self._recording.text("ip-d-link.txt"))
        self.guests: dict[str, Station] = {}
        taps = parse_domain_macs(self._recording.text("virsh-interfaces.xml"))
        ports = {tap: Port(neutron_port(tap), self.parties(tap)) for tap in taps}
        self.instance = read_instance(self._recording.directory, ports)
        self._world = ""

    @property
    def underlay(self) -> Link:
        """The device that carries the tunnel."""
        return self.links[self.links[TUNNEL].option("dev")]

    def parties(self, tap: str) -> tuple[Party, ...]:
        """Return MAC and IPv4 addresses of the instance behind a tap."""
        mac = parse_domain_macs(self._recording.text("virsh-interfaces.xml"))[tap]
        found = []
        for name in ("guest-ip-addr.txt", "guest-ip-addr-amphora-haproxy.txt"):
            text = self._recording.text(name)
            for device, addresses in parse_addresses(text).items():
                if parse_links(text)[device].mac == mac:
                    found += [a.address.split("/")[0] for a in addresses if a.family == "inet"]
        return tuple(Party(mac, address) for address in found)

    def unplug(self, device: str) -> None:
        """Take the cable out of the hardware: it has no carrier."""
        run("ip", "link", "set", f"{device}-wire", "down", netns=self._world)

    def plug(self, device: str) -> None:
        """Put the cable back."""
        run("ip", "link", "set", f"{device}-wire", "up", netns=self._world)

    def stop_instance(self) -> None:
        """Destroy the instance's domain."""
        self.hypervisor.destroy_domain(self.instance.domain)

    def start_instance(self) -> None:
        """Start it again, with new taps and new guests."""
        self.guests.update(self.instance.start(self.hypervisor, self._reactor))

    def _build(self) -> None:
        super()._build()
        self._reactor = Reactor(f"{self.name}-stations")
        self._stack.callback(self._reactor.close)
        self._world = self.outside()
        plugged = self.instance.ports if self._domains else ()  # these libvirt makes
        links = [link for link in self.links.values() if link.name not in plugged]
        for link in links:
            self._add(link)
            self.run("ip", "link", "set", link.name, "mtu", str(link.mtu), "address", link.mac)
        for link in links:
            if link.master:
                self.run("ip", "link", "set", link.name, "master", link.master)
        for link in links:
            self.run("ip", "link", "set", link.name, "up")
        if self._domains:
            self._add_domain()
        self._add_peers()
        self._add_world()
        # the kernel takes its time to tell a bridge that a member has a carrier
        wait_until(self._is_forwarding, what="the ports of the document to forward")

    def _is_forwarding(self) -> bool:
        real = parse_links(self.run("ip", "-details", "link", "show"))
        return all(real[link.name].port_state == link.port_state for link in self.links.values())

    def _add(self, link: Link) -> None:
        add = ("ip", "link", "add", link.name, "type")
        if link.kind == "bridge":
            # printed and taken in hundredths of a second
            options = (word for name in BRIDGE_OPTIONS for word in (name, link.option(name)))
            self.run(*add, "bridge", *options)
        elif link.kind == "vxlan":
            self.run(*add, "vxlan", *link.options.split())
        elif link.kind == "tun":
            descriptor = namespace.open_tap(self.name, link.name)
            self.guests[link.name] = Station(self._reactor, descriptor, self.parties(link.name))
        else:
            far = ("name", f"{link.name}-wire", "netns", str(NAMESPACES / self._world))
            run(*add, "veth", "peer", *far, netns=self.name)
            run("ip", "link", "set", f"{link.name}-wire", "up", netns=self._world)

    def _add_domain(self) -> None:
        self.hypervisor = self._stack.enter_context(Hypervisor(self.name))
        self.instance.define(self.hypervisor)
        self.start_instance()

    def _add_peers(self) -> None:
        local = f"{self.links[TUNNEL].option('local')}/{NETWORK_BITS}"
        self.run("ip", "address", "add", local, "dev", self.underlay.name)
        for ip, mac in PEER_MACS.items():
            neighbour = ("dev", self.underlay.name, "lladdr", mac, "nud", "permanent")
            self.run("ip", "neighbour", "add", ip, *neighbour)
            self._forward("00:00:00:00:00:00", ip)  # what is for all, or for nobody known
        self._forward(REMOTE_INSTANCE.mac, PEER)

    def _forward(self, mac: str, peer: str) -> None:
        self.run("bridge", "fdb", "append", mac, "dev", TUNNEL, "dst", peer)

    def _add_world(self) -> None:
        """Make the peer's end of the tunnel, by the kernel, and the stations."""
        tunnel, wire = self.links[TUNNEL], f"{self.underlay.name}-wire"
        local = tunnel.option("local")
        ends = ("local", PEER, "remote", local, "dev", wire, "dstport", tunnel.option("dstport"))
        neighbour = ("lladdr", self.underlay.mac, "nud", "permanent")
        for words in (
            ("link", "set", wire, "address", PEER_MACS[PEER]),
            ("address", "add", f"{PEER}/{NETWORK_BITS}", "dev", wire),
            ("neighbour", "add", local, "dev", wire, *neighbour),
            ("link", "add", TUNNEL, "type", "vxlan", "id", tunnel.option("id"), *ends),
            ("link", "set", TUNNEL, "up"),
        ):
            run("ip", *words, netns=self._world)
        through = namespace.open_device(self._world, TUNNEL)
        self.remote = Station(self._reactor, through, (REMOTE_INSTANCE,))
        (wired,) = (link.name for link in self.links.values() if not link.kind and link.master)
        at_wire = namespace.open_device(self._world, f"{wired}-wire")
        self.gateway = Station(self._reactor, at_wire, (GATEWAY,))
