"""A node with many interfaces and no traffic, for what costs grow with."""

import uuid

from lab.compute import PORT_NAMES
from lab.node import Node

BRIDGE = "br-int"


class WideNode(Node):
    """One bridge with interfaces of type dummy that look like instances' ports.

    Args:
        interfaces: How many; 2,000 take a few seconds.
    """

    def __init__(self, interfaces: int) -> None:
        super().__init__()
        self.interfaces = [dummy_name(number) for number in range(interfaces)]

    def _build(self) -> None:
        super()._build()
        add_dummies(self, self.interfaces)


def dummy_name(number: int) -> str:
    """Return the name of the n-th interface, of the length of a tap's name."""
    return f"tap{number:08x}-00"


def add_dummies(node: Node, interfaces: list[str], bridge: str = BRIDGE) -> None:
    """Add a bridge with these interfaces in one transaction, as neutron and nova write them."""
    commands = [
        *("--id=@b", "create", "Bridge", f"name={bridge}", "datapath_type=netdev"),
        *("fail_mode=secure", f"ports={','.join(f'@p{n}' for n in range(len(interfaces)))}"),
        *("--", "add", "Open_vSwitch", ".", "bridges", "@b"),
    ]
    for number, interface in enumerate(interfaces):
        mac = f"fa:16:3e:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
        commands += [
            *("--", f"--id=@i{number}", "create", "Interface", f'name="{interface}"'),
            "type=dummy",
            f'external_ids:iface-id="{uuid.uuid5(PORT_NAMES, interface)}"',
            f'external_ids:attached-mac="{mac}"',
            "external_ids:iface-status=active",
            *("--", f"--id=@p{number}", "create", "Port", f'name="{interface}"'),
            *(f"tag={number % 4094 + 1}", f"interfaces=@i{number}"),
        ]
    node.vsctl(*commands)
