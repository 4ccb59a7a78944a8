"""Interfaces of the switch: state, counters, and devices that could not be opened.

rx and tx are the switch's: what an instance sends is rx here. An interface whose device is
missing keeps its row and its flows, so the switch looks complete while the instance is cut off.
"""

from agent.collectors.base import Collector
from agent.families import Counter, Gauge, Output
from agent.model.bridge import LOCAL, BridgeReading, PortStats
from agent.model.node import Node
from agent.model.switch import Interface

INTERFACE = ("bridge", "port", "interface", "type")
OPENFLOW_NAME_BYTES = 15
"""A port description holds a name of 16 bytes with its end (OFP_MAX_PORT_NAME_LEN)."""
VIRTUAL_DRIVERS = frozenset({"", "bridge", "dummy", "openvswitch", "tun", "veth", "vxlan"})
"""status:driver_name of devices that have no wire; no driver name means no device."""

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


def _counter(name: str, what: str, field: str) -> Counter:
    return Counter(
        f"ovs_interface_{name}_total", f"{what} [port statistics {field}].", labels=INTERFACE
    )


EVERY_PORT = {
    "rx_packets": _counter("rx_packets", "Packets that the switch received", "rx_packets"),
    "tx_packets": _counter("tx_packets", "Packets that the switch sent", "tx_packets"),
    "rx_bytes": _counter("rx_bytes", "Bytes that the switch received", "rx_bytes"),
    "tx_bytes": _counter("tx_bytes", "Bytes that the switch sent", "tx_bytes"),
    "rx_dropped": _counter("rx_dropped", "Received packets dropped by the device", "rx_dropped"),
    "tx_dropped": _counter("tx_dropped", "Packets to send dropped by the device", "tx_dropped"),
    "rx_errors": _counter("rx_errors", "Receive errors of the device", "rx_errors"),
    "tx_errors": _counter("tx_errors", "Transmit errors of the device", "tx_errors"),
}
PHYSICAL_PORT = {
    "rx_crc_errors": _counter("rx_crc_errors", "Frames with a bad checksum", "rx_crc_err"),
    "rx_frame_errors": _counter("rx_frame_errors", "Frames with bad alignment", "rx_frame_err"),
    "rx_over_errors": _counter("rx_over_errors", "Frames that overran the device", "rx_over_err"),
    "collisions": _counter("collisions", "Collisions", "collisions"),
}
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


def from_openflow(node: Node) -> Output:
    """Yield the counters of every port; the database tells its names, which OpenFlow cuts."""
    switch = node.switch.require()
    interfaces = {
        (bridge.name, interface.openflow_port): (port.name, interface)
        for bridge, port, interface in switch.interfaces()
        if interface.ofport is not None
    }
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
            yield from _counters(
                stats, interface, (reading.bridge, port or interface.name, interface.name)
            )


def _counters(stats: PortStats, interface: Interface, names: tuple[str, str, str]) -> Output:
    labels = (*names, interface.type)
    for field, family in EVERY_PORT.items():
        yield family(getattr(stats, field), *labels)
    if is_physical(interface):
        for field, family in PHYSICAL_PORT.items():
            yield family(getattr(stats, field), *labels)
    for statistic, value in stats.custom.items():
        yield CUSTOM(value, *labels, statistic)


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
        *EVERY_PORT.values(), *PHYSICAL_PORT.values(), CUSTOM,
    ),
    (from_database, from_openflow),
    reads=("openflow",),
    detail=(CUSTOM,),
)  # fmt: skip
