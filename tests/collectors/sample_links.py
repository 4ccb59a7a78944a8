"""The kernel's side of the sample node, put together from three real ones.

The host's own namespace has an Open vSwitch on the kernel datapath with its members, and Linux
bridges with a vxlan each as Neutron's other agent makes them; the named ones are of a distributed
router with a floating IP, a DHCP server, and one that nobody knows.
"""

from typing import Any

import numpy as np

from agent.model.link import (
    FIELDS,
    Address,
    Link,
    LinkCounters,
    LinuxBridge,
    Qdisc,
    Tunnel,
)
from agent.model.namespace import HOST, Namespace

FIP = "fip-02e2d514-529e-4067-bbf4-807943ea6472"
QROUTER = "qrouter-242fcb80-e9e1-410b-ba4e-7617d1c384ad"
QDHCP = "qdhcp-c08e7dcd-4acb-4cd0-ad08-ebd3b48467ee"
AMPHORA = "amphora-haproxy"
FORWARDING = 3


UP: dict[str, Any] = {"mtu_bytes": 1450, "up": True, "carrier": True, "carrier_changes": 2}


def link(index: int, name: str, kind: str | None, tail: str, **others: Any) -> Link:
    """Return a link that is up; ``others`` are fields of Link."""
    return Link(
        **{"index": index, "name": name, "kind": kind, "mac": f"fa:16:3e:{tail}", **UP, **others}
    )


OVS_SYSTEM, BRQ_VXLAN, BRQ_FLAT = 6, 9, 10
HOST_LINKS = (
    link(2, "eth0", None, "bf:ba:50", mtu_bytes=1500),
    link(4, "eth2", None, "bf:ba:58", mtu_bytes=1500, master=OVS_SYSTEM),
    link(
        5, "eth4", None, "bf:ba:60", mtu_bytes=1500, master=BRQ_FLAT, bridge_port_state=FORWARDING
    ),
    link(OVS_SYSTEM, "ovs-system", "openvswitch", "00:00:01", up=False, carrier=False),
    link(7, "br-int", "openvswitch", "66:da:47", up=False, carrier=False),
    link(
        8,
        "vxlan_sys_4789",
        "vxlan",
        "00:00:02",
        mtu_bytes=65000,
        master=OVS_SYSTEM,
        tunnel=Tunnel("vxlan", dst_port=4789, external=True),
    ),
    link(
        BRQ_VXLAN,
        "brqc08e7dcd-4a",
        "bridge",
        "a0:9b:e6",
        bridge=LinuxBridge(stp=False, vlan_filtering=False),
    ),
    link(
        BRQ_FLAT,
        "brq6d947ca8-d4",
        "bridge",
        "bf:ba:59",
        mtu_bytes=1500,
        bridge=LinuxBridge(stp=True, vlan_filtering=True),
    ),
    link(
        11,
        "tap9d34b34b-3f",
        "tun",
        "79:bb:0b",
        mtu_bytes=1500,
        master=BRQ_FLAT,
        bridge_port_state=2,
    ),
    link(12, "tap26632aea-3c", "tun", "bb:f5:60", master=BRQ_VXLAN, bridge_port_state=FORWARDING),
    link(
        13,
        "vxlan-267",
        "vxlan",
        "a0:9b:e7",
        master=BRQ_VXLAN,
        bridge_port_state=FORWARDING,
        tunnel=Tunnel("vxlan", local_ip="172.16.0.31", key="267", dst_port=8472),
    ),
    link(14, "tap648437e1-0d", "tun", "61:21:c6", master=OVS_SYSTEM),
    link(15, "gretap0", "gretap", "00:00:00", up=False, carrier=False, tunnel=Tunnel("gretap")),
    link(
        16,
        "cilium_geneve",
        "geneve",
        "00:00:03",
        mac=None,
        tunnel=Tunnel("geneve", dst_port=6081, external=True),
    ),
)
FIP_LINKS = (
    link(19, "fpr-13fe8525-d", "veth", "f5:ee:8d"),
    link(21, "fpr-703db450-5", "veth", "74:57:0d", carrier=False, carrier_changes=3),
    link(26, "fg-6e12764c-ba", "openvswitch", "d2:85:89"),
)
QROUTER_LINKS = (
    link(3, "rfp-242fcb80-e", "veth", "86:46:4c"),
    link(24, "qr-b4b97d8a-7c", "openvswitch", "ac:30:ff", mtu_bytes=65000),
)
QDHCP_LINKS = (link(3, "ns-4a1c0a2f-b8", "veth", "12:34:56"),)
AMPHORA_LINKS = (
    link(2, "eth1", None, "bb:f5:61", mtu_bytes=None, carrier=None, carrier_changes=None),
    link(3, "eth1.7", "vlan", "bb:f5:61", vlan_id=7),
)


def namespace(name: str, links: tuple[Link, ...], **others: Any) -> Namespace:
    """Return a namespace with these links; ``others`` are fields of Namespace."""
    return Namespace(name, {link.index: link for link in links}, **others)


NAMESPACES = {
    HOST: namespace(
        HOST,
        HOST_LINKS,
        addresses=(
            Address(2, "172.16.0.31/24", "inet", "global"),
            Address(BRQ_FLAT, "192.168.101.5/24", "inet", "global"),
        ),
        forwarding={5: 31, 12: 1, 13: 3},
        remotes={(13, "172.16.0.11"): 2, (13, "172.16.0.32"): 1},
    ),
    AMPHORA: namespace(AMPHORA, AMPHORA_LINKS, addresses=()),
    FIP: namespace(
        FIP,
        FIP_LINKS,
        addresses=(
            Address(21, "169.254.30.51/31", "inet", "global"),
            Address(26, "192.168.74.103/24", "inet", "global"),
            Address(26, "fe80::f816:3eff:fed2:8589/64", "inet6", "link"),
        ),
    ),
    QDHCP: namespace(QDHCP, QDHCP_LINKS, addresses=()),
    QROUTER: namespace(
        QROUTER,
        QROUTER_LINKS,
        addresses=(
            Address(3, "169.254.31.74/31", "inet", "global"),
            Address(3, "192.168.74.104/32", "inet", "global"),
        ),
    ),
}

_ROWS = tuple((name, index) for name, each in NAMESPACES.items() for index in each.links)
LINK_COUNTERS = LinkCounters(
    _ROWS,
    np.arange(1000, 1000 + len(_ROWS) * len(FIELDS), dtype=np.uint64).reshape(len(_ROWS), -1),
)
QDISCS = (
    Qdisc(HOST, 2, "mq", 1),
    Qdisc(HOST, 12, "fq_codel", 21),
    Qdisc(HOST, 12, "ingress", 0),
    Qdisc(HOST, 14, "fq_codel", 402),
    Qdisc(FIP, 21, "pfifo_fast", 7),
    Qdisc(QROUTER, 3, "htb", 0),
)
