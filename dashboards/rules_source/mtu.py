"""MTU of what goes through tunnels, against what carries it: where both are known."""

from dashboards.rules_source.text import Recording, fit

LOCAL = "instance_local_ip:netns_network_mtu_bytes:min"
UNDERLAY = "instance:dataplane_underlay_mtu_bytes:min"
OVERLAY = "instance:dataplane_overlay_mtu_bytes:max"

PORTS = """
ovs_interface_info{JOB, tag!=""}
and on (instance, tag)
label_replace(
  ovs_flow_info{JOB, match=~"dl_vlan=[0-9]+"}
  and on (instance, bridge, table) ovs_flow_table_info{JOB, name="flood_to_tun"},
  "tag", "$1", "match", "dl_vlan=([0-9]+)"
)
or
ovs_interface_info{JOB, iface_id!=""}
and on (job, iface_id)
label_replace(
  ovn_port_binding_info{JOB, type="vif"}
  unless on (job, datapath) ovn_port_binding_info{JOB, type="localnet"},
  "iface_id", "$1", "logical_port", "(.+)"
)
"""
"""Ports of networks that go through tunnels: by neutron's flows, or by the Southbound's ports."""

RECORDINGS = (
    Recording(
        LOCAL,
        """
min by (job, instance, local_ip) (
  netns_network_mtu_bytes{JOB, netns=""}
  * on (job, instance, device) group_right ()
  label_replace(
    netns_address_info{JOB, netns=""}, "local_ip", "$1", "address", "(.+)/[0-9]+"
  )
)
""",
    ),
    Recording(
        UNDERLAY,
        f"""
min by (job, instance) (
  {LOCAL}
  and on (job, instance, local_ip) (
    dataplane_tunnel_endpoint_info{{JOB, implementation="ovs", local_ip!=""}}
    or label_replace(ovn_controller_encap_ip{{JOB}}, "local_ip", "$1", "ipaddress", "(.+)")
  )
)
""",
    ),
    Recording(
        OVERLAY,
        fit(
            """
max by (job, instance) (
  ovs_interface_mtu_bytes{JOB, type="system"}
  and on (job, instance, interface) (
    <ports>
  )
)
""",
            ports=PORTS,
        ),
    ),
)
"""MTU of the device that has an address, of the one that has a tunnel's end, of overlay ports."""

BRIDGED = """
max by (job, instance, device) (
  (
    netns_network_mtu_bytes{JOB, netns=""}
    * on (job, instance, device) group_left (master)
      netns_network_info{JOB, netns="", kind!="vxlan", master!=""}
  )
  - on (job, instance, master) group_left ()
  min by (job, instance, master) (
    netns_network_mtu_bytes{JOB, netns=""}
    * on (job, instance, device) group_left (master)
      netns_network_info{JOB, netns="", kind="vxlan", master!=""}
  )
) > 0
"""
"""A member of a Linux bridge above the vxlan device beside it, which has taken off the header."""
VXLAN = f"""
max by (job, instance, device) (
  (
    netns_network_mtu_bytes{{JOB, netns=""}}
    * on (job, instance, device) group_left (local_ip)
      dataplane_tunnel_endpoint_info{{
        JOB, implementation="linux", netns="", tunnel_type="vxlan", local_ip!=""
      }}
  )
  + 50
  - on (job, instance, local_ip) group_left ()
  {LOCAL}
) > 0
"""
HEADERS = {"geneve": 58, "vxlan": 50, "gre": 42}
"""Over IPv4, with the inner Ethernet header: OVN's geneve has 8 bytes of options, gre a key."""


def _switch(tunnel_type: str, header: int) -> str:
    return f"""
{OVERLAY} - {UNDERLAY} + {header} > 0
and on (instance)
dataplane_tunnel_endpoint_info{{JOB, implementation="ovs", tunnel_type="{tunnel_type}"}}
"""


TOO_LARGE = "\nor\n".join(
    part.strip() for part in (BRIDGED, VXLAN, *(_switch(*each) for each in HEADERS.items()))
)
"""By how many bytes; the largest header that a node has counts."""
