"""A router as Neutron writes it: from the document's network out to the provider network.

Its way out is on one chassis, and on the other if that one fails, which the two find out by BFD
through their tunnel. The document has no router, and the provider network has no addresses there.
"""

from collections.abc import Sequence

from lab.frames import Host as Party
from lab.ovn_document import Document, Row
from lab.ovn_neutron import as_map, as_set, made_up, made_up_mac, quoted

OUTSIDE = Party(made_up_mac("router outside"), "203.0.113.11")
OUTSIDE_GATEWAY, OUTSIDE_BITS = "203.0.113.1", 24


class Router:
    """The rows of a router.

    Args:
        document: Its network is the inner side, with the subnet's gateway as the router's address.
        provider_switch: UUID of the outer side's logical switch.
        chassis: Names of the chassis that may be the way out, the first before the others.
    """

    def __init__(self, document: Document, provider_switch: str, chassis: Sequence[str]) -> None:
        subnet = document.subnet
        bits = subnet["cidr"].partition("/")[2]
        self._switches = {"inside": document.network_row.uuid, "outside": provider_switch}
        self._addresses = {
            "inside": (made_up_mac("router inside"), f"{subnet['gateway_ip']}/{bits}"),
            "outside": (OUTSIDE.mac, f"{OUTSIDE.ip}/{OUTSIDE_BITS}"),
        }
        self._cidr = subnet["cidr"]
        self._chassis = tuple(chassis)

    @property
    def commands(self) -> list[str]:
        """The words for ovn-nbctl that make it, in one transaction."""
        commands = [word for row in self._rows() for word in row.commands]
        for side, switch in self._switches.items():
            commands += ["--", "add", "Logical_Switch", switch, "ports", _uuid(f"port {side}")]
        return commands

    def _rows(self) -> list[Row]:
        ways_out = [
            Row(
                "Gateway_Chassis",
                _uuid(f"way out {chassis}"),
                {
                    "chassis_name": quoted(chassis),
                    "name": quoted(f"{_port('outside')}_{chassis}"),
                    "priority": str(priority),
                },
            )
            for priority, chassis in enumerate(reversed(self._chassis), 1)
        ]
        route = {
            "external_ids": as_map({"neutron:is_ext_gw": "true"}),
            "ip_prefix": quoted("0.0.0.0/0"),
            "nexthop": quoted(OUTSIDE_GATEWAY),
        }
        nat = {
            "external_ip": quoted(OUTSIDE.ip),
            "logical_ip": quoted(self._cidr),
            "type": "snat",
        }
        return [
            *ways_out,
            self._router_port("inside", {}),
            self._router_port("outside", {"gateway_chassis": as_set(r.uuid for r in ways_out)}),
            self._switch_port("inside", {}),
            self._switch_port(
                "outside", {"exclude-lb-vips-from-garp": "true", "nat-addresses": "router"}
            ),
            Row("Logical_Router_Static_Route", _uuid("route"), route),
            Row("NAT", _uuid("snat"), nat),
            self._router(),
        ]

    def _router(self) -> Row:
        ids = {
            "neutron:availability_zone_hints": "",
            "neutron:revision_number": "3",
            "neutron:router_name": "router",
        }
        options = {
            "always_learn_from_arp_request": "false",
            "dynamic_neigh_routers": "true",
            "mac_binding_age_threshold": "0",
        }
        columns = {
            "enabled": "true",
            "external_ids": as_map(ids),
            "name": f"neutron-{made_up('router')}",
            "nat": as_set([_uuid("snat")]),
            "options": as_map(options),
            "ports": as_set(_uuid(f"router port {side}") for side in self._switches),
            "static_routes": as_set([_uuid("route")]),
        }
        return Row("Logical_Router", _uuid("router"), columns)

    def _router_port(self, side: str, columns: dict[str, str]) -> Row:
        mac, address = self._addresses[side]
        fixed = {"mac": quoted(mac), "name": _port(side), "networks": f"[{quoted(address)}]"}
        return Row("Logical_Router_Port", _uuid(f"router port {side}"), {**fixed, **columns})

    def _switch_port(self, side: str, options: dict[str, str]) -> Row:
        columns = {
            "addresses": "[router]",
            "enabled": "true",
            "external_ids": as_map(
                {"neutron:device_id": made_up("router"), "neutron:device_owner": _OWNERS[side]}
            ),
            "name": quoted(made_up(f"router {side}")),
            "options": as_map({"router-port": _port(side), **options}),
            "type": "router",
        }
        return Row("Logical_Switch_Port", _uuid(f"port {side}"), columns)


_OWNERS = {"inside": "network:router_interface", "outside": "network:router_gateway"}


def _port(side: str) -> str:
    return f"lrp-{made_up(f'router {side}')}"


def _uuid(name: str) -> str:
    return made_up(f"row of the router: {name}")
