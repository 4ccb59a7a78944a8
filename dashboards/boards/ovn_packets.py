"""Of OVN: the stages and rules that packets meet, and where they are lost."""

from dashboards import panels as p
from dashboards.frame import to
from dashboards.promql import FLEET, by, increase, joined, level, rate

NODE = to("node", node="${__value.raw}")
INSTANCE = to("instances", node="${__data.fields.instance}")
OF_TABLE, LOSS = "ovs_flow_table_dropped_packets_total", 'kind="lost"'
RULE = "acl, name, action, direction, security_group_rule_id"
COOKIE = "cookie, pipeline, logical_table"
OF_RULE = (
    f"* on (cluster, {COOKIE}) group_left ({RULE})"
    f" max by (cluster, {COOKIE}, {RULE}) ({level('ovn_acl_info', of=FLEET)})"
)
USE = by(COOKIE, rate("ovn_acl_packets_total"))
NAMED_USE = f"""
{USE} {OF_RULE}
or {USE} unless on (cluster, {COOKIE}) {level("ovn_acl_info", of=FLEET)}""".strip()
RULE_COLUMNS = (
    p.Column("acl", "ACL"),
    p.Column("name", "Name"),
    p.Column("action", "Action"),
    p.Column("direction", "Direction"),
    p.Column("security_group_rule_id", "Rule of a security group"),
)


def by_stage(prefix: str) -> str:
    """Add up packets that met logical flows of all switches, or of all routers."""
    each = rate("ovn_logical_flow_packets_total", f'stage=~"{prefix}.+"')
    return f"sum by (cluster, pipeline, stage) ({each})"


def lost_in(matcher: str) -> str:
    """Return what is lost most in tables whose names are like this."""
    info = level("ovs_flow_table_info", matcher)
    each = joined(rate(OF_TABLE, LOSS), "bridge, table", "name", info)
    grown = f"increase({level(OF_TABLE, LOSS)}[$__range] @ end())"
    return f"{each} and topk(10, {joined(grown, 'bridge, table', 'name', info)})"


PACKETS = (
    p.graph(
        "Stages of switches",
        "Packets that met a logical flow in each stage of logical switches. Where one stage of a"
        " pipeline has fewer than the one before it, packets end there.",
        p.PACKETS,
        (by_stage("ls_"), "{{pipeline}} {{stage}}"),
    ).span(p.HALF),
    p.graph(
        "Stages of routers",
        "Packets that met a logical flow in each stage of logical routers.",
        p.PACKETS,
        (by_stage("lr_"), "{{pipeline}} {{stage}}"),
    ).span(p.HALF),
    p.table(
        "Rules (ACLs) by use",
        "How often each ACL was evaluated to a result: of a connection only in the direction that"
        " it began in. Names need an agent beside the databases; without it there is a cookie.",
        f"topk(100, {NAMED_USE})",
        p.Column("instance", "Node", link=NODE),
        *RULE_COLUMNS,
        p.Column("cookie", "Cookie"),
        p.Column("Value", "Packets", unit=p.PACKETS),
        sort="Packets",
    ),
    p.table(
        "Rules (ACLs) that nobody used",
        "ACLs that no packet met in the time shown on the chosen nodes, of those that have flows"
        " there. Open connections keep a rule unused: choose a long time.",
        f"sum by (cluster, {RULE}) ({increase('ovn_acl_packets_total')} {OF_RULE}) == 0",
        *RULE_COLUMNS,
    ),
)

LOST = (
    p.graph(
        "Refused by port security",
        "Packets with an address that is not the port's, by stage and node.",
        p.PACKETS,
        (lost_in('name=~".*port_sec.*"'), "{{instance}} {{name}}"),
        bounds=p.LOSS,
    ),
    p.graph(
        "Refused by rules (ACLs)",
        "Packets that the security groups of a port do not allow. The stage of a router may share"
        " the table.",
        p.PACKETS,
        (lost_in('name=~".*acl.*"'), "{{instance}} {{name}}"),
        bounds=p.LOSS,
    ),
    p.graph(
        "Lost in other stages",
        "Packets that nobody has, by stage and node: no such address, no route, no neighbour.",
        p.PACKETS,
        (lost_in('name!~".*(acl|port_sec).*"'), "{{instance}} {{name}}"),
        bounds=p.LOSS,
    ),
    p.table(
        "Whose packets are lost",
        "By logical port, which is Neutron's port. from_instance: it sent them; to_instance: they"
        " were bound for it.",
        joined(
            rate("ovs_interface_flow_dropped_packets_total"),
            "bridge, interface",
            "iface_id",
            level("ovs_interface_info"),
        )
        + " > 0",
        p.Column("instance", "Node", link=NODE),
        p.Column("interface", "Interface", link=INSTANCE),
        p.Column("iface_id", "Logical port"),
        p.Column("direction", "Direction"),
        p.Column("Value", "Packets", unit=p.PACKETS, bounds=p.LOSS),
        sort="Packets",
    ),
)
