"""One node with a bit of everything: a compute node of Neutron, and beside it a bridge on DPDK.

Bridges, ports, tags, open errors, the tunnel, the kernel datapath and the flows are those of a
real node with Open vSwitch 3.3.1; what that node did not show (port counters, threads, a bond)
has numbers that are all different, so that no two can be mixed up unnoticed.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from agent.errors import Reason
from agent.model.bridge import (
    LOCAL,
    LOCAL_IN_DATABASE,
    BridgeReading,
    MeterStats,
    PortStats,
    TableStats,
)
from agent.model.datapath import (
    Bond,
    BondMember,
    Conntrack,
    Datapath,
    Fdb,
    Pmd,
    Upcalls,
    Vswitchd,
)
from agent.model.flow import (
    KINDS,
    UNKNOWN,
    Effect,
    Fate,
    Flow,
    FlowReading,
    Scope,
    TableFlows,
    Totals,
)
from agent.model.kernel_datapath import KernelDatapath, Vport, ZoneLimit
from agent.model.namespace import HOST, ConntrackTable
from agent.model.node import AgentFacts, CollectorFacts, Known, MqttFacts, Node, SourceFacts
from agent.model.switch import Bfd, Bridge, Controller, Interface, Manager, Port, Switch
from tests.collectors import sample_domains, sample_links, sample_ovn

CONTROLLERS = (Controller("tcp:127.0.0.1:6633", connected=True, role="master"),)
NO_DEVICE = "could not open network device {} (No such device)"


def tap(name: str, number: int, tag: int, mtu: int, tail: str) -> Port:
    """Return an instance's port; its device's address differs from its own in the first byte."""
    interface = Interface(
        name,
        ofport=number,
        mac=f"fe:16:3e:{tail}",
        admin_state=True,
        link_state=True,
        mtu_bytes=mtu,
        link_speed_bits_per_second=10_000_000,
        link_resets=1,
        driver="tun",
        iface_id=f"{name.removeprefix('tap')}00-4000-8000-00000000000{number}",
        vm_uuid=f"3cf00c5f-e813-4789-a4bc-00000000000{number}",
        attached_mac=f"fa:16:3e:{tail}",
    )
    return Port(name, (interface,), tag=tag)


def without_device(name: str, tag: int) -> Port:
    """Return a port whose tap is gone."""
    return Port(name, (Interface(name, error=NO_DEVICE.format(name)),), tag=tag)


def patch(name: str, number: int, peer: str) -> Port:
    """Return a patch port."""
    return Port(name, (Interface(name, type="patch", ofport=number, options={"peer": peer}),))


def wire(name: str, number: int, mac: str) -> Port:
    """Return a port with a network card."""
    interface = Interface(
        name,
        ofport=number,
        mac=mac,
        admin_state=True,
        link_state=True,
        mtu_bytes=1500,
        link_speed_bits_per_second=10_000_000_000,
        link_resets=2,
        driver="hv_netvsc",
    )
    return Port(name, (interface,))


def local(name: str, mac: str, mtu: int) -> Port:
    """Return a bridge's own port."""
    interface = Interface(
        name,
        type="internal",
        ofport=LOCAL_IN_DATABASE,
        mac=mac,
        admin_state=False,
        link_state=False,
        mtu_bytes=mtu,
        link_resets=0,
        driver="openvswitch",
    )
    return Port(name, (interface,))


VXLAN = Port(
    "vxlan-ac10000b",
    (
        Interface(
            "vxlan-ac10000b",
            type="vxlan",
            ofport=2,
            mac="aa:55:8e:fa:64:bb",
            admin_state=True,
            link_state=True,
            options={
                "in_key": "flow",
                "local_ip": "172.16.0.31",
                "out_key": "flow",
                "remote_ip": "172.16.0.11",
            },
            egress_carrier=True,
            bfd=Bfd("init", "down", forwarding=False, flap_count=4),
        ),
    ),
)
BOND = Port(
    "bond0",
    (
        Interface("dpdk0", type="dpdk", ofport=1, admin_state=True, link_state=True),
        Interface(
            "dpdk1", type="dpdk", ofport=2, admin_state=True, link_state=False, cfm_fault=True
        ),
    ),
    vlan_mode="trunk",
)

SWITCH = Switch(
    ovs_version="3.3.1",
    db_version="8.5.0",
    system_id="698493db-95ef-4c31-b419-56b3d4096f2b",
    system_type="ubuntu",
    system_version="24.04",
    managers=(Manager("ptcp:6640:127.0.0.1", connected=True),),
    bridges=(
        Bridge("br-dpdk", datapath_type="netdev", ports=(BOND,)),
        sample_ovn.OUTSIDE,
        Bridge(
            "br-int",
            datapath_id="000042f08b66da47",
            fail_mode="secure",
            controllers=CONTROLLERS,
            ports=(
                local("br-int", "42:f0:8b:66:da:47", 1450),
                patch("int-br-mgmt", 2, "phy-br-mgmt"),
                patch("int-br-provider", 1, "phy-br-provider"),
                patch("patch-tun", 3, "patch-int"),
                without_device("tap0ab9a23c-99", 1),
                tap("tap13abc033-93", 5, 4, 1500, "6d:9f:87"),
                without_device("tap635485ff-6c", 3),
                tap("tap648437e1-0d", 4, 2, 1450, "61:21:c6"),
                tap("tap9113df4c-ca", 6, 2, 1450, "9c:98:af"),
            ),
        ),
        Bridge(
            "br-mgmt",
            datapath_id="000000155dbfba59",
            fail_mode="secure",
            controllers=CONTROLLERS,
            ports=(wire("eth3", 1, "00:15:5d:bf:ba:59"), patch("phy-br-mgmt", 2, "int-br-mgmt")),
        ),
        sample_ovn.INSIDE,
        Bridge(
            "br-provider",
            datapath_id="000000155dbfba58",
            fail_mode="secure",
            controllers=CONTROLLERS,
            ports=(
                wire("eth2", 1, "00:15:5d:bf:ba:58"),
                patch("phy-br-provider", 2, "int-br-provider"),
            ),
        ),
        Bridge(
            "br-tun",
            datapath_id="0000b2861672d543",
            fail_mode="secure",
            controllers=(Controller("tcp:127.0.0.1:6633", connected=False, role="slave"),),
            ports=(
                local("br-tun", "b2:86:16:72:d5:43", 1500),
                patch("patch-int", 1, "patch-tun"),
                VXLAN,
            ),
        ),
    ),
    ovn=sample_ovn.SETTINGS,
)


def counted(number: int, seed: int) -> PortStats:
    """Return statistics with all twelve counters, all different."""
    return PortStats(
        number,
        rx_packets=seed,
        tx_packets=seed + 1,
        rx_bytes=seed + 2,
        tx_bytes=seed + 3,
        rx_dropped=seed + 4,
        tx_dropped=seed + 5,
        rx_errors=seed + 6,
        tx_errors=seed + 7,
        rx_frame_errors=seed + 8,
        rx_over_errors=seed + 9,
        rx_crc_errors=seed + 10,
        collisions=seed + 11,
    )


def virtual(number: int, packets: int) -> PortStats:
    """Return statistics of a port without a device: packets and bytes only."""
    return PortStats(
        number,
        rx_packets=packets,
        tx_packets=packets + 1,
        rx_bytes=60 * packets,
        tx_bytes=61 * packets,
    )


BRIDGES = {
    "br-dpdk": BridgeReading(
        "br-dpdk",
        0.000_5,
        (TableStats(0, 1, 96, 96),),
        {
            1: replace(counted(1, 7000), custom={"rx_q0_errors": 7, "ovs_tx_retries": 0}),
            2: counted(2, 7100),
            LOCAL: virtual(LOCAL, 7200),
        },
        {1: "dpdk0", 2: "dpdk1", LOCAL: "br-dpdk"},
    ),
    "br-int": BridgeReading(
        "br-int",
        0.001_25,
        (
            TableStats(0, 7, 1661, 1661),
            TableStats(60, 8, 1259, 1259),
            TableStats(71, 46, 402, 402),
            TableStats(72, 31, 337, 332),
        ),
        {
            1: virtual(1, 430),
            2: virtual(2, 712),
            3: virtual(3, 117),
            4: counted(4, 1400),
            5: counted(5, 1500),
            6: counted(6, 1600),
            LOCAL: counted(LOCAL, 1900),
        },
        {
            1: "int-br-provider",
            2: "int-br-mgmt",
            3: "patch-tun",
            4: "tap648437e1-0d",
            5: "tap13abc033-93",
            6: "tap9113df4c-ca",
            LOCAL: "br-int",
        },
    ),
    "br-mgmt": BridgeReading(
        "br-mgmt",
        0.001,
        (TableStats(0, 3, 1549, 1549),),
        {1: counted(1, 2100), 2: virtual(2, 837), LOCAL: counted(LOCAL, 2900)},
        {1: "eth3", 2: "phy-br-mgmt", LOCAL: "br-mgmt"},
    ),
    "br-provider": BridgeReading(
        "br-provider",
        0.000_75,
        (TableStats(0, 4, 865, 865),),
        {1: counted(1, 3100), 2: virtual(2, 435), LOCAL: counted(LOCAL, 3900)},
        {1: "eth2", 2: "phy-br-provider", LOCAL: "br-provider"},
    ),
    "br-tun": BridgeReading(
        "br-tun",
        0.002,
        (TableStats(0, 3, 970, 970), TableStats(22, 2, 736, 736)),
        {1: virtual(1, 853), 2: virtual(2, 117), LOCAL: counted(LOCAL, 4900)},
        {1: "patch-int", 2: "vxlan-ac10000b", LOCAL: "br-tun"},
        meters=(
            MeterStats(7, 5000, 640000, (12, 3), (1536, 384)),
            MeterStats(8, None, 100, (None,), (None,)),
            MeterStats(0xFFFFFFFE, 40, 2400, (1,), (60,)),
        ),
    ),
}

LONG_MATCH = "tcp6," + ",".join(
    [
        *(f"reg{n}=0x{0xABCD0000 + n:x}/0xffff00{n:02x}" for n in range(16)),
        'in_port="tap648437e1-0d"',
        "ipv6_src=fe80::f816:3eff:fe61:21c6",
        "ipv6_dst=2001:db8:0:1::/64",
        "tp_src=0x400/0xfc00",
        "tp_dst=9443",
    ]
)
"""Longer than 512 characters: neutron does not write such a flow, a tenant's rules may."""

BR_INT = 0x50EBD87957CF5C44
RESUBMIT, CT, OUTPUT = (
    Effect("resubmit", tables=(58,)),
    Effect("ct", tables=(72,)),
    Effect("output", delivers=True),
)
DROP, NORMAL, CLAUSE = (
    Effect(),
    Effect("normal", delivers=True),
    Effect("conjunction", conjunction=True),
)


def flow(
    table: int,
    priority: int,
    match: str,
    effect: Effect,
    in_port: int | None = None,
    cookie: int = BR_INT,
) -> Flow:
    return Flow(table, priority, match, cookie, Scope(in_port), effect)


def table(*counted: tuple[Flow, int | None, int | None]) -> TableFlows:
    """Make a table of flows with packets and bytes, ``None`` where the switch does not say."""
    flows = tuple(flow for flow, _packets, _octets in counted)
    packets, octets = (
        np.array([UNKNOWN if row[at] is None else row[at] for row in counted], np.uint64)
        for at in (1, 2)
    )
    return TableFlows(flows[0].table_id, flows, packets, octets)


INT_TABLES = (
    table(
        (flow(0, 65535, "dl_vlan=4095", DROP), 0, 0),
        (flow(0, 3, 'in_port="int-br-provider",dl_vlan=100', RESUBMIT, 1), 9, 666),
        (flow(0, 2, 'in_port="int-br-mgmt"', DROP, 2), 400, 72560),
        (flow(0, 0, "", RESUBMIT), 519, 77937),
    ),
    table((flow(60, 100, 'in_port="tap648437e1-0d"', RESUBMIT, 4), 134, 13702)),
    table(
        (
            flow(
                71,
                65,
                'ip,reg5=0x5,in_port="tap13abc033-93",dl_src=fa:16:3e:6d:9f:87,nw_src=10.0.0.205',
                CT,
                5,
            ),
            216,
            46166,
        ),
        (flow(71, 64, LONG_MATCH, CT, 4), 64, 6400),
    ),
    table((flow(81, 100, "arp,reg5=0x4", OUTPUT), 2, 84)),
    table(
        (
            flow(82, 70, "ct_state=+est-rel-rpl,ip,reg6=0x2,nw_src=192.168.101.149", CLAUSE),
            None,
            None,
        )
    ),
    table((flow(93, 0, "", DROP), 19, 1554)),
)
BR_TUN = 0x43978A274AB5E8E0
TUN_TABLES = (
    table((flow(0, 1, 'in_port="vxlan-ac10000b"', RESUBMIT, 2, BR_TUN), 117, 14457)),
    table((flow(4, 1, "tun_id=0xef", RESUBMIT, None, BR_TUN), 117, 14457)),
    table((flow(22, 0, "", DROP, None, BR_TUN), 726, 117826)),
    table((flow(60, 1, "in_port=LOCAL", NORMAL, LOCAL, 0), 3, 180)),
)


def kinds(**of_table: list[str]) -> dict[int, NDArray[np.uint8]]:
    """Make codes of kinds: ``kinds(t0=["lost", "open"])``."""
    return {
        int(name[1:]): np.array([KINDS.index(kind) for kind in each], np.uint8)
        for name, each in of_table.items()
    }


INT_FATE = Fate(
    kinds=kinds(
        t0=["lost", "open", "patch", "open"],
        t60=["open"],
        t71=["open", "open"],
        t81=["open"],
        t82=["conjunction"],
        t93=["closed"],
    ),
    names={0: "local_switching", 71: "base_egress", 93: "dropped_traffic"},
    pipeline="neutron",
)
INT_TOTALS = Totals(
    dropped={(0, "lost"): 0, (0, "copy"): 0, (0, "patch"): 402, (71, "lost"): 14},
    interfaces={("tap648437e1-0d", "from_instance"): 6, ("tap13abc033-93", "to_instance"): 0},
    unattributed={0: 0, 71: 3},
    changes={"added": 7, "removed": 2, "modified": 0},
)
FLOWS = {
    "br-int": FlowReading(
        "br-int", INT_TABLES, INT_FATE, INT_TOTALS, {each.table_id: None for each in INT_TABLES}
    ),
    "br-mgmt": FlowReading("br-mgmt", left_out=3),
    sample_ovn.BRIDGE: FlowReading(
        sample_ovn.BRIDGE, fate=sample_ovn.FATE, totals=sample_ovn.TOTALS
    ),
    "br-tun": FlowReading("br-tun", TUN_TABLES, shown={each.table_id: None for each in TUN_TABLES}),
}

KERNEL = Datapath(
    "system@ovs-system",
    hits=1830,
    missed=401,
    lost=0,
    flows=2,
    masks=2,
    masks_hit=5341,
    mask_cache_hits=1031,
    mask_cache_size_entries=256,
    ports=11,
)
USERSPACE = Datapath(
    "netdev@ovs-netdev", hits=9300, missed=31, lost=1, flows=6, ports=3, offloaded_flows=4
)


def vport(number: int, name: str, kind: str, seed: int, upcalls: int | None = None) -> Vport:
    """Return a port of the kernel datapath; it has the eight counters that all ports have."""
    stats = replace(
        counted(number, seed),
        rx_frame_errors=None,
        rx_over_errors=None,
        rx_crc_errors=None,
        collisions=None,
    )
    return Vport(name, kind, stats, upcalls, None if upcalls is None else upcalls // 10)


# Read a moment after ovs-vswitchd was. eth2 and eth3 came into it after its ports were listed:
# they are left to OpenFlow.
KERNEL_DATAPATH = KernelDatapath(
    replace(KERNEL, hits=1835, missed=402, masks_hit=5361, mask_cache_hits=1033),
    (
        vport(0, "ovs-system", "internal", 10_000),
        vport(1, "br-int", "internal", 11_000),
        vport(2, "vxlan_sys_4789", "netdev", 12_000),
        vport(3, "br-tun", "internal", 13_000),
        vport(4, "tap648437e1-0d", "netdev", 14_000, 140),
        vport(5, "tap13abc033-93", "netdev", 15_000, 150),
        vport(6, "tap9113df4c-ca", "netdev", 16_000),
        vport(7, "br-mgmt", "internal", 17_000),
    ),
    (ZoneLimit(4, 500, 30), ZoneLimit(17, 1000, 999)),
)
CONNTRACK_TABLES = (
    ConntrackTable(HOST, 61, 262_144, 1, 2, 3, 4),
    ConntrackTable(sample_links.FIP, 0, 262_144),
    ConntrackTable(sample_links.QROUTER, 62, 262_144, 5, 0, 7, 8),
)

UNIXCTL = SourceFacts(
    "unixctl",
    configured=True,
    up=False,
    last_success_seconds=1_716_000_100.5,
    read_seconds=0.25,
    reads=20,
    failures={**dict.fromkeys(Reason, 0), Reason.TIMEOUT: 3},
    events={},
    deadline_exceeded=2,
    throttled=4,
    min_interval_seconds=22.5,
)
OVSDB = SourceFacts(
    "ovsdb",
    configured=True,
    up=True,
    last_success_seconds=1_716_000_123.25,
    read_seconds=0.0,
    reads=0,
    failures=dict.fromkeys(Reason, 0),
    events={"connected": 1, "update": 17},
    deadline_exceeded=0,
)
NEVER = SourceFacts(
    "openflow",
    configured=False,
    up=False,
    last_success_seconds=None,
    read_seconds=0.0,
    reads=0,
    failures=dict.fromkeys(Reason, 0),
    events={},
    deadline_exceeded=0,
)

AGENT = AgentFacts(
    version="0.1.0",
    config_hash="0123456789ab",
    sources=(NEVER, OVSDB, UNIXCTL),
    collectors=(
        CollectorFacts("bond", True, 0.000_25, 5, 250_000, 0),  # noqa: FBT003 - rows of a table
        CollectorFacts("flow", False, 0.002, 0, 250_000, 9),  # noqa: FBT003 - the same
    ),
    http_requests={("/metrics", "200"): 41, ("other", "404"): 2},
    mqtt=MqttFacts(connected=True, queue_length=3, events_dropped=7),
)


def node() -> Node:
    """Return the node, everything known and fresh."""
    return Node(
        agent=AGENT,
        switch=Known("switch", SWITCH),
        bridges=Known("bridges", BRIDGES),
        flows=Known("flows", FLOWS),
        vswitchd=Known(
            "vswitchd",
            Vswitchd(
                1_716_000_000.5,
                coverage={
                    "bridge_reconfigure": 12,
                    "datapath_drop_upcall_error": 0,
                    "drop_action_of_pipeline": 19,
                },
                memory={"handlers": 1, "ports": 21, "revalidators": 1, "rules": 214},
            ),
        ),
        datapaths=Known("datapaths", (USERSPACE, KERNEL)),
        upcalls=Known(
            "upcalls",
            (
                Upcalls("netdev@ovs-netdev", 6, 10_000, 0.001),
                Upcalls("system@ovs-system", 2, 200_000, 0.002, offloaded_flows=1),
            ),
        ),
        pmds=Known(
            "pmds",
            (
                Pmd("0", "3", 8000, 0, 1300, 30, 1, 123_456_789_012, 987_654_321_098),
                Pmd("", "main", 0, 0, 0, 0, 0),
                Pmd("1", "5", megaflow_hit=5, used_cycles=77, phwol_hit=2, simple_match_hit=4),
            ),
        ),
        fdbs=Known(
            "fdbs",
            (Fdb("br-int", 7, 21, 0, 1), Fdb("br-mgmt", 3), Fdb("br-provider", 4, 5, 6, 7)),
        ),
        bonds=Known(
            "bonds",
            (
                Bond(
                    "bond0",
                    "balance-tcp",
                    "negotiated",
                    (
                        BondMember("dpdk0", enabled=True, active=True, lacp_current=True),
                        BondMember("dpdk1", enabled=False, active=False),
                    ),
                ),
            ),
        ),
        conntracks=Known("conntracks", (Conntrack("netdev@ovs-netdev", 42, 3_000_000),)),
        namespaces=Known("namespaces", sample_links.NAMESPACES),
        link_counters=Known("link counters", sample_links.LINK_COUNTERS),
        qdiscs=Known("qdiscs", sample_links.QDISCS),
        conntrack_tables=Known("conntrack tables", CONNTRACK_TABLES),
        conntrack_zones=Known("conntrack zones", {17: 20, 0: 11, 4: 30}),
        kernel_datapaths=Known("kernel datapaths", (KERNEL_DATAPATH,)),
        domains=Known("domains", sample_domains.DOMAINS),
        domain_counters=Known("domain counters", sample_domains.COUNTERS),
        ovn_controller=Known("ovn-controller", sample_ovn.CONTROLLER),
        ovn_release=Known("OVN's release", sample_ovn.RELEASE),
        northbound=Known("Northbound", sample_ovn.NORTHBOUND),
        southbound=Known("Southbound", sample_ovn.SOUTHBOUND),
    )
