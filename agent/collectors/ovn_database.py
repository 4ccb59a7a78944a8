"""OVN's databases: names for the numbers on the nodes, who should have tunnels, and who lags.

Shown by an agent beside the databases, once for the whole network; the nodes' own series are
joined with these in PromQL. On a compute node that asks the Southbound, its own chassis only.
"""

from collections.abc import Iterable

from agent.collectors.base import Collector
from agent.collectors.ovn_lines import KEY, FlowLines
from agent.columns import fixed
from agent.families import Block, Gauge, Output, Suppressed
from agent.model.node import Node

BFD_STATES = {"admin_down": 0, "down": 1, "init": 2, "up": 3}

SCHEMA = Gauge(
    "ovn_database_info",
    "Version of a database's schema, always 1 [get_schema].",
    labels=("database", "schema_version"),
)
NB_CFG = Gauge(
    "ovn_nb_nb_cfg",
    "Generation of the configuration that was asked for last [NB_Global nb_cfg].",
)
NB_SB_CFG = Gauge(
    "ovn_nb_sb_cfg", "Generation that northd has written to the Southbound [NB_Global sb_cfg]."
)
NB_HV_CFG = Gauge(
    "ovn_nb_hv_cfg", "Generation that every chassis has installed [NB_Global hv_cfg]."
)
SB_NB_CFG = Gauge(
    "ovn_sb_nb_cfg", "Generation that every chassis is to install [SB_Global nb_cfg]."
)
CHASSIS = Gauge(
    "ovn_chassis_info",
    "A node that runs ovn-controller, always 1; chassis is its system-id [Chassis].",
    labels=("chassis", "hostname"),
)
CHASSIS_NB_CFG = Gauge(
    "ovn_chassis_nb_cfg",
    "Generation of the configuration that a chassis has installed [Chassis_Private nb_cfg].",
    labels=("chassis",),
)
CHASSIS_TIMESTAMP = Gauge(
    "ovn_chassis_nb_cfg_timestamp_seconds",
    "Unix time at which a chassis installed that [Chassis_Private nb_cfg_timestamp].",
    labels=("chassis",),
)
TUNNEL = Gauge(
    "ovn_tunnel_expected_info",
    "An end of tunnels that every other chassis should have, always 1; join on (remote_ip) with "
    "dataplane_tunnel_endpoint_info [Encap].",
    labels=("remote_ip", "tunnel_type", "chassis"),
)
DATAPATH = Gauge(
    "ovn_datapath_info",
    "A logical switch or router, always 1; datapath is its tunnel_key, the metadata of flows; join "
    "on (datapath) [Datapath_Binding].",
    labels=("datapath", "type", "name", "network", "uuid"),
)
UP = Gauge(
    "ovn_port_binding_up",
    "Whether a logical port's flows are installed where it is bound, 1 or 0 [Port_Binding up].",
    labels=("logical_port", "type"),
)
PORT = Gauge(
    "ovn_port_binding_info",
    "A logical port, always 1; port_key is reg14 and reg15 of flows; join on (logical_port) "
    "[Port_Binding].",
    labels=("logical_port", "type", "chassis", "datapath", "port_key"),
)
BFD = Gauge(
    "ovn_bfd_state",
    "Session that a port of a router asked for: 0 admin_down, 1 down, 2 init, 3 up [BFD status].",
    labels=("logical_port", "dst_ip", "chassis"),
)
LOGICAL_FLOW = Gauge(
    "ovn_logical_flow_info",
    "A logical flow, always 1; cookie is that of its flows on every node; join on (cookie, "
    "pipeline, logical_table) [Logical_Flow].",
    labels=(*KEY, "stage", "priority"),
)
ACL = Gauge(
    "ovn_acl_info",
    "An ACL that a logical flow evaluates, always 1; acl is the first 8 digits of its UUID; join "
    "on (cookie, pipeline, logical_table) [ACL, Logical_Flow external_ids:stage-hint].",
    labels=(
        *KEY,
        *("acl", "name", "direction", "action", "priority", "security_group_rule_id"),
    ),
)


def from_northbound(node: Node) -> Output:
    """Yield how far the configuration has come."""
    northbound = node.northbound.require()
    if northbound.schema:
        yield SCHEMA(1, "OVN_Northbound", northbound.schema)
    if node.northbound.live:  # a level of which nobody knows whether it moved says nothing
        yield NB_CFG(northbound.nb_cfg)
        yield NB_SB_CFG(northbound.sb_cfg)
        yield NB_HV_CFG(northbound.hv_cfg)
    yield Suppressed(sum(northbound.left_out.values()))


def from_southbound(node: Node) -> Output:
    """Yield chassis, datapaths, ports and sessions."""
    southbound = node.southbound.require()
    if southbound.schema:
        yield SCHEMA(1, "OVN_Southbound", southbound.schema)
    live = node.southbound.live
    if live:
        yield SB_NB_CFG(southbound.nb_cfg)
    for chassis in southbound.chassis:
        yield CHASSIS(1, chassis.name, chassis.hostname or "")
        if live:
            yield CHASSIS_NB_CFG(chassis.nb_cfg, chassis.name)
            yield CHASSIS_TIMESTAMP(chassis.nb_cfg_timestamp_seconds, chassis.name)
        for encap in chassis.encaps:
            yield TUNNEL(1, encap.ip, encap.type, chassis.name)
    for one in southbound.datapaths:
        text = one.type or "", one.name or "", one.name2 or "", one.uuid or ""
        yield DATAPATH(1, str(one.tunnel_key), *text)
    for session in southbound.bfd:
        state = BFD_STATES.get(session.status or "")
        yield BFD(state, session.logical_port, session.dst_ip, session.chassis or "")
    yield from _blocks.ports(node)
    yield Suppressed(sum(southbound.left_out.values()))


def from_both(node: Node) -> Output:
    """Yield logical flows and, where the Northbound is known, what ACLs they evaluate."""
    southbound, northbound = node.southbound.value, node.northbound.value
    flows = southbound.logical_flows if southbound else None
    if flows is None:
        _blocks.flows = FlowLines(LOGICAL_FLOW, ACL)  # nothing is kept of a database that is gone
        node.southbound.require()
        return
    follows_acls = northbound is not None and northbound.schema is not None
    _blocks.flows.update(flows, northbound.acls if northbound and follows_acls else None)
    yield from _blocks.flows.blocks
    yield Suppressed(_blocks.flows.left_out)
    node.northbound.require()


class _Blocks:
    """Lines of what is large, written again only for other facts."""

    def __init__(self) -> None:
        self._bindings: object = None
        self._ports: tuple[Block, ...] = ()
        self.flows = FlowLines(LOGICAL_FLOW, ACL)

    def ports(self, node: Node) -> Iterable[Block]:
        """Return the series of port bindings."""
        bindings = node.southbound.require().bindings
        if bindings is not self._bindings:
            self._bindings = bindings
            up = [
                (int(one.up), (one.logical_port, one.type))
                for one in bindings
                if one.up is not None
            ]
            info = [
                (
                    1,
                    (
                        one.logical_port,
                        one.type,
                        one.chassis or "",
                        _number(one.datapath),
                        _number(one.tunnel_key),
                    ),
                )
                for one in bindings
            ]
            self._ports = fixed(UP, up), fixed(PORT, info)
        return self._ports


def _number(number: int | None) -> str:
    return "" if number is None else str(number)


_blocks = _Blocks()

COLLECTOR = Collector(
    "ovn_database",
    (
        SCHEMA, NB_CFG, NB_SB_CFG, NB_HV_CFG, SB_NB_CFG, CHASSIS, CHASSIS_NB_CFG,
        CHASSIS_TIMESTAMP, TUNNEL, DATAPATH, UP, PORT, BFD, LOGICAL_FLOW, ACL,
    ),
    (from_northbound, from_southbound, from_both),
    follows=("ovn_northbound", "ovn_southbound"),
    detail=(LOGICAL_FLOW, ACL, PORT, UP),
)  # fmt: skip
