"""The switch as its database describes it: ovs-vswitchd.conf.db(5)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from agent.model.bridge import LOCAL, LOCAL_IN_DATABASE
from agent.model.ovn import LocalSettings

TUNNEL_TYPES = frozenset(
    {
        "bareudp", "erspan", "geneve", "gre", "gtpu", "ip6erspan", "ip6gre", "lisp", "srv6",
        "stt", "vxlan",
    }
)  # fmt: skip
"""Interface.type values of tunnels, ovs-vswitchd.conf.db(5) of 2.13 to 4.0."""


@dataclass(frozen=True, slots=True)
class Bfd:
    """A session of bidirectional forwarding detection: Interface.bfd_status, RFC 5880.

    Attributes:
        state: admin_down, down, init or up.
        remote_state: What the other end last said of its own.
        forwarding: Whether the interface may carry traffic, as this end sees it.
        flap_count: How often ``forwarding`` changed since the session began.
    """

    state: str | None = None
    remote_state: str | None = None
    forwarding: bool | None = None
    flap_count: int | None = None


@dataclass(frozen=True, slots=True)
class Interface:
    """One row of the Interface table.

    Attributes:
        name: Interface.name.
        type: Interface.type; ``system`` where the database has the empty string (they mean the
            same).
        ofport: OpenFlow port number; ``None`` when it has none (yet), or the device could not be
            opened (-1 in the database).
        mac: mac_in_use.
        admin_state: True when up.
        link_state: True when up.
        mtu_bytes: mtu.
        link_speed_bits_per_second: link_speed.
        link_resets: link_resets: how often link_state changed.
        error: Interface.error, why the device could not be opened.
        driver: status:driver_name, for example ``tun``, ``veth``, ``ixgbe``.
        iface_id: external_ids:iface-id, the Neutron port.
        vm_uuid: external_ids:vm-uuid (Nova also writes vm-id in old releases).
        attached_mac: external_ids:attached-mac, the instance's own address.
        options: Only the options that describe an endpoint (remote_ip, local_ip, key, in_key,
            out_key, dst_port, peer, vhost-server-path); the others may hold secrets such as
            IPsec's psk.
        egress_carrier: status:tunnel_egress_iface_carrier, True when the device that a tunnel's
            packets leave by has a link.
        bfd: ``None`` where BFD is not switched on.
        cfm_fault: Whether connectivity fault management misses somebody; ``None`` where it is not
            switched on.
    """

    name: str
    type: str = "system"
    ofport: int | None = None
    mac: str | None = None
    admin_state: bool | None = None
    link_state: bool | None = None
    mtu_bytes: int | None = None
    link_speed_bits_per_second: int | None = None
    link_resets: int | None = None
    error: str | None = None
    driver: str | None = None
    iface_id: str | None = None
    vm_uuid: str | None = None
    attached_mac: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    egress_carrier: bool | None = None
    bfd: Bfd | None = None
    cfm_fault: bool | None = None

    @property
    def openflow_port(self) -> int | None:
        """Its number on OpenFlow's wire, which differs from ``ofport`` for LOCAL only."""
        return LOCAL if self.ofport == LOCAL_IN_DATABASE else self.ofport


@dataclass(frozen=True, slots=True)
class Port:
    """One row of the Port table.

    Attributes:
        name: Port.name.
        interfaces: One; two or more make a bond.
        tag: Access VLAN, or the native one.
        vlan_mode: access, trunk, native-tagged, native-untagged, dot1q-tunnel; ``None`` unset.
    """

    name: str
    interfaces: tuple[Interface, ...] = ()
    tag: int | None = None
    vlan_mode: str | None = None


@dataclass(frozen=True, slots=True)
class Controller:
    """One row of the Controller table. ``role`` is other, slave or master; ``None`` before."""

    target: str
    connected: bool | None = None
    role: str | None = None


@dataclass(frozen=True, slots=True)
class Manager:
    """One row of the Manager table."""

    target: str
    connected: bool | None = None


@dataclass(frozen=True, slots=True)
class Bridge:
    """One row of the Bridge table.

    Attributes:
        name: Bridge.name.
        datapath_type: ``system`` where the database has the empty string.
        datapath_id: 16 hex digits.
        fail_mode: standalone or secure; ``None`` unset.
        ports: Sorted.
        controllers: Sorted.
        ovn_nb_cfg: external_ids:ovn-nb-cfg: the generation of OVN's configuration whose flows are
            installed, as ovn-controller says from 20.12 or so.
        ovn_nb_cfg_timestamp_seconds: external_ids:ovn-nb-cfg-ts: since when, Unix time.
    """

    name: str
    datapath_type: str = "system"
    datapath_id: str | None = None
    fail_mode: str | None = None
    ports: tuple[Port, ...] = ()
    controllers: tuple[Controller, ...] = ()
    ovn_nb_cfg: int | None = None
    ovn_nb_cfg_timestamp_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Switch:
    """The one row of the Open_vSwitch table and all below it, sorted by name.

    ``ovn`` is what it says to ovn-controller; ``None`` where it says nothing.
    """

    ovs_version: str | None = None
    db_version: str | None = None
    dpdk_version: str | None = None
    system_id: str | None = None
    system_type: str | None = None
    system_version: str | None = None
    managers: tuple[Manager, ...] = ()
    bridges: tuple[Bridge, ...] = ()
    ovn: LocalSettings | None = None

    def interfaces(self) -> Iterator[tuple[Bridge, Port, Interface]]:
        """Yield every interface with the port and the bridge it belongs to."""
        for bridge in self.bridges:
            for port in bridge.ports:
                for interface in port.interfaces:
                    yield bridge, port, interface

    def ports(self, bridge: str) -> dict[int, Interface]:
        """Return a bridge's interfaces by OpenFlow port number, those that have one."""
        return {
            interface.openflow_port: interface
            for owner, _, interface in self.interfaces()
            if owner.name == bridge and interface.openflow_port is not None
        }


@dataclass(frozen=True, slots=True)
class VswitchdProcess:
    """The ovs-vswitchd that made the newest control socket, ``<rundir>/ovs-vswitchd.<pid>.ctl``.

    Attributes:
        pid: As it stands in the socket's name: of the process's own pid namespace; ``None`` where
            the name has another form.
        socket: Inode and modification time (ns) of the socket, which another process makes anew.
    """

    pid: int | None
    socket: tuple[int, int]
