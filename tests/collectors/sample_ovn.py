"""OVN's part of the sample node: a controller, accounts of flows, and both databases."""

from agent.model.flow import AclFlow, Fate, Stage, Totals
from agent.model.ovn import (
    Acl,
    BfdSession,
    Chassis,
    DatapathBinding,
    Encap,
    EngineNode,
    LflowCache,
    LocalBinding,
    LocalSettings,
    LogicalFlow,
    Northbound,
    OvnController,
    PortBinding,
    Release,
    Southbound,
    Stopwatch,
)
from agent.model.switch import Bridge, Interface, Port

BRIDGE, PROVIDER = "br-ovn", "br-ex"
LOCALNET = "provnet-ed5b0e1e-fa10-4dd3-ac28-afec8481da62"
NETWORK = "neutron-f5e24ee8-2bcb-43a4-91d5-0abad0c58197"
METADATA_PORT = "47a2be8a-c336-42e0-a8a6-044ff5df6bf2"
INSTANCE_PORT = "9d34b34b-3f6a-4cb1-93b5-6f9a05c1f8f1"


def patch(bridge: str, name: str, peer: str) -> Bridge:
    """Return a bridge with one patch port."""
    interface = Interface(name, type="patch", ofport=1, options={"peer": peer})
    return Bridge(bridge, ports=(Port(name, (interface,)),))


OUTSIDE = patch(PROVIDER, f"patch-{LOCALNET}-to-{BRIDGE}", f"patch-{BRIDGE}-to-{LOCALNET}")
INSIDE = Bridge(
    BRIDGE,
    ports=patch(BRIDGE, f"patch-{BRIDGE}-to-{LOCALNET}", f"patch-{LOCALNET}-to-{BRIDGE}").ports,
    ovn_nb_cfg=41,
    ovn_nb_cfg_timestamp_seconds=1_716_000_050.25,
)
SETTINGS = LocalSettings(
    encap_ips=("172.16.0.11",),
    encap_types=("geneve", "vxlan"),
    bridge_mappings={"physnet1": PROVIDER, "physnet9": "br-missing"},
    remote="ssl:10.0.0.11:6642",
    bridge=BRIDGE,
)
RELEASE = Release("23.03.1", "3.1.0")
CONTROLLER = OvnController(
    start_time_seconds=1_716_000_001.5,
    southbound_connected=True,
    coverage={"lflow_run": 7, "pinctrl_drop_put_mac_binding": 0},
    memory={"lflow-cache-entries": 211},
    lflow_cache=LflowCache(
        enabled=True,
        entries={"cache-expr": 40, "cache-matches": 171},
        memory_bytes=118_784,
        high_watermark=211,
        trims=1,
    ),
    engine={"runtime_data": EngineNode(3, 40, 0), "lflow_output": EngineNode(5, 38, 1)},
    stopwatches={
        "flow-generation": Stopwatch(41, 0.012, 0.0, 0.004, 0.001, 0.002),
        "never-run": Stopwatch(0, 0.0, 0.0, 0.0, 0.0, 0.0),
    },
    bindings=(
        LocalBinding(INSTANCE_PORT, "tap9d34b34b-3f", "vif"),
        LocalBinding(METADATA_PORT, "tapf5e24ee8-20", "localport"),
        LocalBinding("not-bound", "tap0"),
    ),
)
TOTALS = Totals(
    accounts={
        Stage("ingress", "ls_in_acl"): 12,
        Stage("egress", "ls_out_acl"): 9,
        Stage("ingress", "lr_in_admission", 3): 2,
        AclFlow(0x5C253E91, "egress", 4): 7,
        AclFlow(0xA, "ingress", 8): 0,
    }
)
FATE = Fate(pipeline="ovn")
NORTHBOUND = Northbound(
    schema="7.0.0",
    nb_cfg=43,
    sb_cfg=42,
    hv_cfg=40,
    acls=(
        Acl(
            "472a9f32-7b90-4552-a846-1a7662a35dc6",
            "from-lport",
            "allow-related",
            1002,
            security_group_rule_id="f52115e6-ae60-4fd9-ab69-c856641c96cc",
        ),
        Acl("b0000000-0000-4000-8000-000000000001", "to-lport", "drop", 1001, name='a "name"'),
        Acl("b0000000-0000-4000-8000-000000000002", "to-lport", "drop", 1001),
    ),
)
SOUTHBOUND = Southbound(
    schema="20.27.0",
    nb_cfg=42,
    chassis=(
        Chassis("210309a0", "compute1", (Encap("geneve", "172.16.0.11"),), 41, 1_716_000_050.25),
        Chassis("310309a0", "compute2", (Encap("geneve", "172.16.0.12"),), 40),
    ),
    datapaths=(
        DatapathBinding(
            1, "switch", NETWORK, "selfservice", "4618aa87-cb97-4480-b7d8-9e296ed6ead4"
        ),
        DatapathBinding(3),
    ),
    bindings=(
        PortBinding(METADATA_PORT, "localport", 1, 1),
        PortBinding(INSTANCE_PORT, "vif", 1, 2, "210309a0", up=True),
    ),
    bfd=(BfdSession("lrp0", "172.16.0.1", "up", "210309a0"), BfdSession("lrp0", "172.16.0.2")),
    logical_flows=(
        LogicalFlow("0x5c253e91", "egress", 4, 2002, "ls_out_acl", "472a9f32"),
        LogicalFlow("0xa", "ingress", 8, 2001, "ls_in_acl", "c0000000"),
        LogicalFlow("0xb", "ingress", 8, 2001, "ls_in_acl", "b0000000"),  # of two ACLs
        LogicalFlow("0xc", "ingress", 8, 65532, "ls_in_acl"),
        LogicalFlow("0xd", "ingress", 4, 100, "ls_in_pre_acl", "472a9f32"),
        LogicalFlow("0xe", "ingress", 0, 50, "ls_in_check_port_sec"),
        LogicalFlow("0xe", "ingress", 0, 70, "ls_in_check_port_sec"),  # 32 bits are not enough
    ),
)
