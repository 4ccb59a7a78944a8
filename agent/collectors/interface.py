"""Interfaces of the switch: state, counters, and devices that could not be opened.

rx and tx are the switch's: what an instance sends is rx here. Internal ports of the kernel
datapath are the exception: since Linux 4.3 the kernel, and with it OpenFlow, counts them as the
host does, to which what the switch sends is rx. An interface whose device is missing keeps its
row and its flows, so the switch looks complete while the instance is cut off.
"""

from collections.abc import Iterator

import numpy as np

from agent.collectors.base import Collector
from agent.families import Counter, Gauge, Output, Sample
from agent.model.bridge import LOCAL, BridgeReading, PortStats
from agent.model.kernel_datapath import Vport
from agent.model.link import FIELDS
from agent.model.namespace import HOST
from agent.model.node import Node
from agent.model.switch import Bridge, Interface

INTERFACE = ("bridge", "port", "interface", "type")
OPENFLOW_NAME_BYTES = 15
"""A port description holds a name of 16 bytes with its end (OFP_MAX_PORT_NAME_LEN)."""
VIRTUAL_DRIVERS = frozenset({"", "bridge", "dummy", "openvswitch", "tun", "veth", "vxlan"})
"""status:driver_name of devices that have no wire; no driver name means no device."""
KERNEL_DATAPATH = "system@ovs-system"
"""The one that all bridges with datapath_type system share."""
VPORT_KINDS = {"system": "netdev", "internal": "internal"}
"""Interface types whose port in the kernel is theirs alone; tunnels of one kind share one."""
RX_MISSED_AT = FIELDS.index("rx_missed_errors")
UNKNOWN = np.uint64(0xFFFF_FFFF_FFFF_FFFF)

INFO = Gauge(
    "ovs_interface_info",
    "An interface's settings and owner, always 1; join on (instance, interface) [Interface, Port].",
    labels=(
        "bridge", "port", "interface", "type", "tag", "vlan_mode", "ofport", "mac", "iface_id",
        "vm_uuid",
    ),
)  # fmt: skip
ADMIN = Gauge(
    "ovs_interface_admin_state",
    "Whether an interface is switched on, 1 or 0 [Interface.admin_state].",
    labels=INTERFACE,
)
LINK = Gauge(
    "ovs_interface_link_state",
    "Whether an interface has a link, 1 or 0 [Interface.link_state].",
    labels=INTERFACE,
)
MTU = Gauge("ovs_interface_mtu_bytes", "Largest payload [Interface.mtu].", labels=INTERFACE)
SPEED = Gauge(
    "ovs_interface_link_speed_bytes_per_second",
    "Negotiated speed [Interface.link_speed].",
    labels=INTERFACE,
)
RESETS = Counter(
    "ovs_interface_link_resets_total",
    "Changes of the link state [Interface.link_resets].",
    labels=INTERFACE,
)
OPEN_ERROR = Gauge(
    "ovs_interface_open_error",
    "1 while a device cannot be opened; the text is on /status [Interface.error].",
    labels=("bridge", "port", "interface"),
)


def _counter(name: str, what: str, origin: str) -> Counter:
    return Counter(f"ovs_interface_{name}_total", f"{what} [{origin}].", labels=INTERFACE)


def _every(name: str, what: str) -> Counter:
    return _counter(name, what, f"ovs-dpctl show -s, else port statistics {name}")


EVERY_PORT = {
    "rx_packets": _every("rx_packets", "Packets that the switch received"),
    "tx_packets": _every("tx_packets", "Packets that the switch sent"),
    "rx_bytes": _every("rx_bytes", "Bytes that the switch received"),
    "tx_bytes": _every("tx_bytes", "Bytes that the switch sent"),
    "rx_dropped": _every("rx_dropped", "Received packets dropped by the device"),
    "tx_dropped": _every("tx_dropped", "Packets to send dropped by the device"),
    "rx_errors": _every("rx_errors", "Receive errors of the device"),
    "tx_errors": _every("tx_errors", "Transmit errors of the device"),
}
PHYSICAL_PORT = {
    "rx_crc_errors": _counter(
        "rx_crc_errors", "Frames with a bad checksum", "port statistics rx_crc_err"
    ),
    "rx_frame_errors": _counter(
        "rx_frame_errors", "Frames with bad alignment", "port statistics rx_frame_err"
    ),
    "rx_over_errors": _counter(
        "rx_over_errors", "Frames that overran the device", "port statistics rx_over_err"
    ),
    "collisions": _counter("collisions", "Collisions", "port statistics collisions"),
}
RX_MISSED = _counter(
    "rx_missed_errors", "Packets that a network card had no room for", "ip -s link missed"
)
UPCALLS = _counter(
    "upcall_packets", "Packets sent up to ovs-vswitchd", "OVS_VPORT_ATTR_UPCALL_STATS"
)
UPCALL_ERRORS = _counter(
    "upcall_errors",
    "Packets that could not be sent up to ovs-vswitchd",
    "OVS_VPORT_ATTR_UPCALL_STATS",
)
CUSTOM = Counter(
    "ovs_interface_custom_statistic_total",
    "A device's own statistic, off by default [port statistics, custom].",
    labels=(*INTERFACE, "statistic"),
)


def from_database(node: Node) -> Output:
    """Yield settings and state of every interface."""
    known = node.switch
    for bridge, port, interface in known.require().interfaces():
        labels = (bridge.name, port.name, interface.name, interface.type)
        yield INFO(
            1,
            *labels,
            _text(port.tag),
            _text(port.vlan_mode),
            _text(interface.ofport),
            _text(interface.mac),
            _text(interface.iface_id),
            _text(interface.vm_uuid),
        )
        yield ADMIN(interface.admin_state, *labels)
        yield LINK(interface.link_state, *labels)
        yield MTU(interface.mtu_bytes, *labels)
        speed = interface.link_speed_bits_per_second
        yield SPEED(None if speed is None else speed / 8, *labels)
        # A counter is shown only while it moves; state outlives its subscription for a while.
        yield RESETS(interface.link_resets if known.live else None, *labels)
        if interface.error:
            yield OPEN_ERROR(1, bridge.name, port.name, interface.name)


def from_kernel(node: Node) -> Output:
    """Yield what the kernel datapath counts, also while ovs-vswitchd does not answer."""
    node.switch.require()
    for bridge, port, interface, vport in kernel_ports(node):
        labels = (bridge.name, port, interface.name, interface.type)
        yield from _counters(vport.stats, labels)
        yield UPCALLS(vport.upcall_packets, *labels)
        yield UPCALL_ERRORS(vport.upcall_errors, *labels)


def from_openflow(node: Node) -> Output:
    """Yield the counters of every other port; the database tells its names, which OpenFlow cuts."""
    switch = node.switch.require()
    interfaces = {
        (bridge.name, interface.openflow_port): (port.name, interface)
        for bridge, port, interface in switch.interfaces()
        if interface.ofport is not None
    }
    counted = {(bridge.name, interface.name) for bridge, _, interface, _ in kernel_ports(node)}
    for reading in node.bridges.require().values():
        for stats in reading.ports.values():
            port, interface = interfaces.get(
                (reading.bridge, stats.number), ("", synthesised_local(reading, stats.number))
            )
            # A port number is used again: between the database's event and this reading the
            # number may have changed hands, and then the name in the description differs.
            described = reading.port_names.get(stats.number)
            if interface is None or described != openflow_name(interface.name):
                continue
            labels = (reading.bridge, port or interface.name, interface.name, interface.type)
            if (reading.bridge, interface.name) not in counted:
                yield from _counters(stats, labels)
            if is_physical(interface):
                for field, family in PHYSICAL_PORT.items():
                    yield family(getattr(stats, field), *labels)
            for statistic, value in stats.custom.items():
                yield CUSTOM(value, *labels, statistic)


def from_links(node: Node) -> Output:
    """Yield what network cards had no room for, which neither datapath nor OpenFlow tells."""
    physical = {
        interface.name: (bridge.name, port.name, interface.name, interface.type)
        for bridge, port, interface in node.switch.require().interfaces()
        if is_physical(interface)
    }
    host = node.namespaces.require().get(HOST)
    counters = node.link_counters.require()
    labels = {
        (HOST, link.index): physical[link.name]
        for link in (host.links.values() if host else ())
        if link.name in physical
    }
    for row, link_of in enumerate(counters.links):
        if link_of in labels:
            missed = counters.numbers[row, RX_MISSED_AT]
            yield RX_MISSED(None if missed == UNKNOWN else int(missed), *labels[link_of])


def kernel_ports(node: Node) -> Iterator[tuple[Bridge, str, Interface, Vport]]:
    """Yield bridge, port's name and interface of what has a port of its own in the kernel.

    Nothing when the kernel's datapath is not known; the switch must be.
    """
    vports = {
        vport.name: vport
        for each in node.kernel_datapaths.value or ()
        if each.datapath.name == KERNEL_DATAPATH
        for vport in each.vports
    }
    for bridge in node.switch.require().bridges if vports else ():
        if bridge.datapath_type != "system":
            continue
        for port, interface in _members(bridge):
            vport = vports.get(interface.name)
            if vport is not None and VPORT_KINDS.get(interface.type) == vport.kind:
                yield bridge, port, interface, vport


def _members(bridge: Bridge) -> Iterator[tuple[str, Interface]]:
    """Yield the interfaces that OpenFlow has, with that of a bridge without a row of its name."""
    local = False
    for port in bridge.ports:
        for interface in port.interfaces:
            local |= interface.name == bridge.name
            if interface.ofport is not None:
                yield port.name, interface
    if not local:
        yield bridge.name, Interface(name=bridge.name, type="internal")


def _counters(stats: PortStats, labels: tuple[str, str, str, str]) -> Output:
    first = EVERY_PORT["rx_packets"](stats.rx_packets, *labels)
    for field, family in EVERY_PORT.items():
        yield Sample(family, first.labels, getattr(stats, field))


def _text(value: int | str | None) -> str:
    return "" if value is None else str(value)


def openflow_name(name: str) -> str:
    """Cut a name as a port description does: by bytes, also within a character."""
    return name.encode("utf-8", "backslashreplace")[:OPENFLOW_NAME_BYTES].decode(
        "utf-8", "backslashreplace"
    )


def synthesised_local(reading: BridgeReading, number: int) -> Interface | None:
    """Describe the port that ovs-vswitchd makes for a bridge without a Port row of its name.

    Returns:
        The internal interface, or ``None`` for any other port number.
    """
    return Interface(name=reading.bridge, type="internal") if number == LOCAL else None


def is_physical(interface: Interface) -> bool:
    """Whether a wire can have crc errors and collisions here."""
    if interface.type == "dpdk":
        return True
    return interface.type == "system" and (interface.driver or "") not in VIRTUAL_DRIVERS


COLLECTOR = Collector(
    "interface",
    (
        INFO, ADMIN, LINK, MTU, SPEED, RESETS, OPEN_ERROR,
        *EVERY_PORT.values(), *PHYSICAL_PORT.values(), RX_MISSED, UPCALLS, UPCALL_ERRORS, CUSTOM,
    ),
    (from_database, from_kernel, from_openflow, from_links),
    reads=("links", "openflow", "ovs_genl"),
    detail=(CUSTOM,),
    follows=("rtnetlink",),
)  # fmt: skip
