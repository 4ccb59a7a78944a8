"""Which interface is what: an instance's, a network card, a tunnel or another port.

Every device has one row, so that drops and traffic are counted in one layer only. A row lives as
long as the window of rates after its device: what a tap counted in its last minutes is a tap's, not
a network card's.
"""

from dashboards.rules_source.text import Group, Recording

RECORD = "instance_interface:dataplane_layer:info"
TUNNEL_TYPES = "bareudp|erspan|geneve|gre|gtpu|ip6erspan|ip6gre|lisp|srv6|stt|vxlan"

SWITCH = f"""
group by (job, instance, interface) (
  last_over_time(ovs_interface_info{{JOB, type!~"patch|internal|{TUNNEL_TYPES}"}}[RATE])
)
"""
"""Devices that Open vSwitch counts; internal ports are the host's, patch ports count all twice."""
LINK = """
group by (job, instance, interface) (
  label_replace(
    last_over_time(netns_network_info{{JOB, netns="", {kinds}}}[RATE]),
    "interface", "$1", "device", "(.+)"
  )
)
"""
"""Devices that the kernel's links are counted by."""
BRIDGED = """
and on (job, instance, interface)
label_replace(
  last_over_time(linux_bridge_port_state{JOB, netns=""}[RATE]),
  "interface", "$1", "device", "(.+)"
)
"""
INSTANCES = """
and on (job, instance, interface)
last_over_time(dataplane_instance_interface_info{JOB}[RATE])
"""
CARDS = """
group by (job, instance, interface) (
  last_over_time(ovs_interface_info{JOB, type="dpdk"}[RATE])
  or last_over_time(ovs_interface_rx_crc_errors_total{JOB, type="system"}[1h])
  or last_over_time(ovs_interface_rx_missed_errors_total{JOB, type="system"}[1h])
)
"""
"""Only a device with a wire has these errors, and each comes by a way of its own."""


def _row(layer: str, counted_by: str, *parts: str) -> Recording:
    expr = "\n".join(part.strip() for part in parts)
    return Recording(RECORD, expr, {"layer": layer, "counted_by": counted_by})


def _unless(**matchers: str) -> str:
    labels = ", ".join(
        f'{name}{"=~" if "|" in value else "="}"{value}"' for name, value in matchers.items()
    )
    return f"unless on (job, instance, interface) {RECORD}{{{labels}}}"


GROUP_ROWS: tuple[Recording, ...] = (
    _row("tap", "ovs", SWITCH, INSTANCES),
    _row("nic", "ovs", CARDS, _unless(layer="tap", counted_by="ovs")),
    _row(
        "tunnel",
        "ovs",
        f"""
group by (job, instance, interface) (
  last_over_time(ovs_interface_info{{JOB, type=~"{TUNNEL_TYPES}"}}[RATE])
)
""",
    ),
    _row("port", "ovs", SWITCH, _unless(layer="tap|nic|tunnel", counted_by="ovs")),
    _row("tap", "link", LINK.format(kinds='kind!="macvtap"'), INSTANCES, _unless(counted_by="ovs")),
    _row(
        "nic",
        "link",
        LINK.format(kinds='kind=~"|bond|team"'),
        BRIDGED,
        _unless(layer="tap", counted_by="link"),
        _unless(counted_by="ovs"),
    ),
    _row(
        "tunnel",
        "link",
        """
group by (job, instance, interface) (
  label_replace(
    last_over_time(
      dataplane_tunnel_endpoint_info{JOB, implementation="linux", netns=""}[RATE]
    ),
    "interface", "$1", "device", "(.+)"
  )
)
""",
        _unless(counted_by="ovs"),
    ),
    _row(
        "port",
        "link",
        LINK.format(kinds='kind!="macvtap"'),
        BRIDGED,
        _unless(layer="tap|nic|tunnel", counted_by="link"),
        _unless(counted_by="ovs"),
    ),
    _row(
        "tap",
        "libvirt",
        """
group by (job, instance, interface) (
  label_replace(
    last_over_time(libvirt_domain_interface_meta{JOB, target_device!=""}[RATE]),
    "interface", "$1", "target_device", "(.+)"
  )
)
""",
        _unless(counted_by="ovs|link"),
    ),
)
"""In this order: each leaves out what those before it have taken."""

WHY = """
Layers: what a device is (tap: an instance's; nic: a network card; tunnel; port: any other port of a
bridge) and who counts it. Of a tap Open vSwitch, the kernel and libvirt count the same packets: one
of them is taken, the first that has it. Every second minute: what a device is hardly changes, and a
new one is told apart soon enough for a window of rates.
"""

GROUP = Group("dataplane-layers", WHY, GROUP_ROWS, interval="2m")
