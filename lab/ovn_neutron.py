"""What Neutron writes Northbound beside what was recorded, in the form of the recorded rows.

Ids and MAC addresses are made up, the same each time.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lab.frames import Host as Party
from lab.ovn_chassis import BRIDGE_MAPPINGS
from lab.ovn_document import Document, Row

MADE_UP = uuid.UUID("4618aa87-cb97-4480-b7d8-9e296ed6ead4")
DROP_GROUP = "neutron_pg_drop"
ALLOW_PRIORITY, DROP_PRIORITY = 1002, 1001
LEASE_SECONDS = 43200
USERS_RULES = {
    "icmp": "icmp4",
    "ssh": "tcp && tcp.dst == 22",
}
"""What a user adds to the security group: ping and SSH from everywhere."""
METADATA = "169.254.169.254/32"


@dataclass(frozen=True, slots=True)
class Instance:
    """A port of an instance, as Neutron and Nova know it.

    Attributes:
        name: Of the instance.
        place: Number of the chassis it runs on.
        ip: Its address; empty for one that may send from any, on the provider network.
        group: Id of its security group; empty for none.
    """

    name: str
    place: int
    ip: str = ""
    group: str = ""

    @property
    def port(self) -> str:
        """Id of its port, which is also that of the logical port and the interface's iface-id."""
        return made_up(f"port {self.name}")

    @property
    def server(self) -> str:
        """Id of the instance itself."""
        return made_up(f"server {self.name}")

    @property
    def tap(self) -> str:
        """Name of its tap device."""
        return f"tap{self.port[:11]}"

    @property
    def party(self) -> Party:
        """Its MAC address and IPv4 address."""
        mac = b"\xfa\x16\x3e" + uuid.UUID(self.port).bytes[:3]
        return Party(mac.hex(":"), self.ip or "0.0.0.0")  # noqa: S104 - no address

    @property
    def uuid(self) -> str:
        """UUID of the port's row."""
        return made_up(f"row {self.name}")


class Additions:
    """Rows that the document does not show, for these instances.

    Attributes:
        rows: All of them; each has a UUID of its own.
        ports: Rows of the ports on the document's network, which its logical switch refers to.
        provider_switch: UUID of the provider network's logical switch.
        users_rules: The ACLs a user adds, by name.
        drop_rules: The ACLs that refuse what nothing allows, by direction.
    """

    def __init__(
        self, document: Document, instances: Iterable[Instance], group: str, hosts: list[str]
    ) -> None:
        self._document = document
        self._hosts = hosts
        self._instances = tuple(instances)
        self.dhcp = self._dhcp_options()
        self.provider_switch = made_up("provider switch")
        self.users_rules = {name: _users_rule(group, name) for name in USERS_RULES}
        self.drop_rules = {direction: _drop_rule(direction) for direction in _DIRECTIONS}
        guarded = [each for each in self._instances if each.group]
        free = [each for each in self._instances if not each.group]
        self.ports = tuple(self._guarded_port(each) for each in guarded)
        self.rows = (
            self.dhcp,
            *self.users_rules.values(),
            *self.drop_rules.values(),
            *self.ports,
            *self._provider_network(free),
            _group_row(DROP_GROUP, {}, self.drop_rules.values(), guarded),
            *self._security_groups(group, guarded),
        )

    @property
    def commands(self) -> list[str]:
        """The words for ovn-nbctl that make the document's rows and these, in one transaction."""
        every = (*self._document.northbound, *self.rows)
        ports = ",".join(row.uuid for row in self.ports)
        switch = self._document.network_row.uuid
        plug = ["--", "add", "Logical_Switch", switch, "ports", ports] if ports else []
        return [word for row in every for word in row.commands] + plug

    def _dhcp_options(self) -> Row:
        subnet, network = self._document.subnet, self._document.network
        gateway, metadata = subnet["gateway_ip"], self._document.metadata_cidr.split("/")[0]
        routes = f"{METADATA},{metadata}, 0.0.0.0/0,{gateway}"
        options = {
            "classless_static_route": f"{{{routes}}}",
            "lease_time": str(LEASE_SECONDS),
            "mtu": network["mtu"],
            "router": gateway,
            "server_id": gateway,
            "server_mac": made_up_mac("dhcp"),
        }
        ids = {"neutron:revision_number": subnet["revision_number"], "subnet_id": subnet["id"]}
        columns = {
            "cidr": quoted(subnet["cidr"]),
            "external_ids": as_map(ids),
            "options": as_map(options),
        }
        return Row("DHCP_Options", made_up("dhcp"), columns)

    def _guarded_port(self, instance: Instance) -> Row:
        address = quoted(f"{instance.party.mac} {instance.ip}")
        prefix = self._document.subnet["cidr"].partition("/")[2]
        ids = {
            "neutron:cidrs": f"{instance.ip}/{prefix}",
            "neutron:network_name": f"neutron-{self._document.network['id']}",
            "neutron:security_group_ids": instance.group,
        }
        columns = {
            "addresses": f"[{address}]",
            "dhcpv4_options": self.dhcp.uuid,
            "port_security": f"[{address}]",
        }
        return self._port(instance, ids, columns)

    def _port(self, instance: Instance, ids: Mapping[str, str], columns: dict[str, str]) -> Row:
        host = self._hosts[instance.place]
        every = {
            "neutron:cidrs": "",
            "neutron:device_id": instance.server,
            "neutron:device_owner": "compute:nova",
            "neutron:host_id": host,
            "neutron:mtu": "",
            "neutron:port_capabilities": "",
            "neutron:port_name": "",
            "neutron:project_id": self._document.network["project_id"],
            "neutron:revision_number": "4",
            "neutron:security_group_ids": "",
            "neutron:subnet_pool_addr_scope4": "",
            "neutron:subnet_pool_addr_scope6": "",
            "neutron:vnic_type": "normal",
            **ids,
        }
        fixed = {
            "enabled": "true",
            "external_ids": as_map(every),
            "name": quoted(instance.port),
            "options": as_map({"requested-chassis": host}),
        }
        return Row("Logical_Switch_Port", instance.uuid, {**fixed, **columns})

    def _provider_network(self, instances: list[Instance]) -> list[Row]:
        """Make the network behind the patch ports, and ports on it that nothing guards.

        ovn-controller makes patch ports on a chassis where the network has a port. Whatever a
        guarded port's address, ovn-controller would announce it on the wire.
        """
        network, name = self._document.network_row.columns, f"neutron-{made_up('provider')}"
        ids = {
            "neutron:availability_zone_hints": "",
            "neutron:mtu": "1500",
            "neutron:network_name": "provider",
            "neutron:revision_number": "1",
        }
        localnet = {
            "addresses": "[unknown]",
            "name": self._document.provider_port,
            "options": as_map(
                {
                    "localnet_learn_fdb": "false",
                    "mcast_flood": "false",
                    "mcast_flood_reports": "true",
                    "network_name": BRIDGE_MAPPINGS.partition(":")[0],
                }
            ),
            "type": "localnet",
        }
        ports = [
            Row("Logical_Switch_Port", made_up("localnet"), localnet),
            *(
                self._port(each, {"neutron:network_name": name}, {"addresses": "[unknown]"})
                for each in instances
            ),
        ]
        switch = {
            "external_ids": as_map(ids),
            "name": name,
            "other_config": network["other_config"],
            "ports": as_set(row.uuid for row in ports),
        }
        return [*ports, Row("Logical_Switch", self.provider_switch, switch)]

    def _security_groups(self, users: str, instances: list[Instance]) -> list[Row]:
        return [
            _group_row(
                f"pg_{group.replace('-', '_')}",
                {"neutron:security_group_id": group},
                [*rules, *(self.users_rules.values() if group == users else ())],
                [each for each in instances if each.group == group],
            )
            for group, rules in self._document.security_groups.items()
        ]


_DIRECTIONS = {"from-lport": "inport", "to-lport": "outport"}


def _users_rule(group: str, name: str) -> Row:
    where = f"outport == @pg_{group.replace('-', '_')} && ip4 && ip4.src == 0.0.0.0/0"
    columns = {
        "action": "allow-related",
        "direction": "to-lport",
        "external_ids": as_map({"neutron:security_group_rule_id": made_up(f"rule {name}")}),
        "match": quoted(f"{where} && {USERS_RULES[name]}"),
        "priority": str(ALLOW_PRIORITY),
    }
    return Row("ACL", made_up(f"acl {name}"), columns)


def _drop_rule(direction: str) -> Row:
    columns = {
        "action": "drop",
        "direction": direction,
        "match": quoted(f"{_DIRECTIONS[direction]} == @{DROP_GROUP} && ip"),
        "priority": str(DROP_PRIORITY),
    }
    return Row("ACL", made_up(f"acl drop {direction}"), columns)


def _group_row(
    name: str, ids: Mapping[str, str], rules: Iterable[Row], instances: Iterable[Instance]
) -> Row:
    columns = {
        "acls": as_set(row.uuid for row in rules),
        "external_ids": as_map(ids),
        "name": name,
        "ports": as_set(each.uuid for each in instances),
    }
    return Row("Port_Group", made_up(f"group {name}"), columns)


def made_up(name: str) -> str:
    """Return the UUID of something that the document does not name."""
    return str(uuid.uuid5(MADE_UP, name))


def made_up_mac(name: str) -> str:
    """Return a MAC address that the document does not name, of those that Neutron gives."""
    return (b"\xfa\x16\x3e" + uuid.uuid5(MADE_UP, name).bytes[:3]).hex(":")


def quoted(text: str) -> str:
    """Return a text as the OVSDB commands take and print it where it is no plain word."""
    return f'"{text}"'


def as_map(entries: Mapping[str, str]) -> str:
    """Return a map in the words of the OVSDB commands."""
    return "{" + ", ".join(f'"{key}"="{value}"' for key, value in entries.items()) + "}"


def as_set(words: Iterable[str]) -> str:
    """Return a set in the words of the OVSDB commands."""
    return f"[{', '.join(words)}]"
