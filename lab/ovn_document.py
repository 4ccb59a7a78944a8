"""What was recorded of an OpenStack cloud on OVN, read.

The recording is ``nodes/ovn``: a network and then its subnet are created, and after each of the
two the databases, the switch and the flows of a compute node are shown. ``before`` is with the
network alone, ``after`` is with the subnet.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from lab.compute import Recording
from lab.recorded import NODES, Switch, parse_show

UNSET = ("[]", "{}", '""', "0")
"""What ``list`` prints of a column that was never written."""
OF_NORTHD = ("up",)
"""Columns that are not the writer's to set."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of an OVN database.

    Attributes:
        columns: Values as ``ovn-nbctl list`` prints them, which is also how ``create`` takes them.
    """

    table: str
    uuid: str
    columns: Mapping[str, str]

    @property
    def commands(self) -> list[str]:
        """The words for ovn-nbctl that make it, with its UUID."""
        written = (
            f"{column}={value}"
            for column, value in self.columns.items()
            if value not in UNSET and column not in OF_NORTHD
        )
        return ["--", f"--id={self.uuid}", "create", self.table, *written]


def parse_rows(table: str, text: str) -> list[Row]:
    """Read ``ovn-nbctl list`` or ``ovn-sbctl list`` of one table.

    ```
    _uuid               : 4618aa87-cb97-4480-b7d8-9e296ed6ead4
    acls                : []
    external_ids        : {"neutron:mtu"="1442", "neutron:network_name"=selfservice}
    ```
    """
    rows = []
    for block in text.strip().split("\n\n"):
        columns = dict(re.findall(r"^(\w+) *: (.*)$", block, re.MULTILINE))
        if columns:
            rows.append(Row(table, columns.pop("_uuid"), columns))
    return rows


def parse_fields(text: str) -> dict[str, str]:
    """Read ``openstack … show``.

    ```
    | Field      | Value            |
    +------------+------------------+
    | gateway_ip | 192.168.101.254  |
    ```
    """
    return {
        name: value
        for name, value in re.findall(r"^\| (\S+) +\| (.*?) *\|$", text, re.MULTILINE)
        if name != "Field"
    }


class Document:
    """The recorded cloud.

    Attributes:
        recording: What the commands printed.
    """

    def __init__(self) -> None:
        self.recording = Recording(NODES / "ovn")

    @cached_property
    def network(self) -> Mapping[str, str]:
        """The network, as ``openstack network create`` printed it."""
        return parse_fields(self.recording.text("network-create.txt"))

    @cached_property
    def subnet(self) -> Mapping[str, str]:
        """Its subnet, as ``openstack subnet create`` printed it."""
        return parse_fields(self.recording.text("subnet-create.txt"))

    @cached_property
    def metadata_port(self) -> Mapping[str, str]:
        """The network's metadata port, as ``openstack port show`` printed it in the end."""
        return parse_fields(self.recording.text("port-show-after.txt"))

    @cached_property
    def metadata_cidr(self) -> str:
        """The metadata port's address, with the length of the subnet's prefix."""
        found = re.search(r'"neutron:cidrs"="([^"]+)"', self.metadata_row.columns["external_ids"])
        return found[1] if found else ""

    @cached_property
    def switch(self) -> Switch:
        """``ovs-vsctl show`` of the compute node."""
        return parse_show(self.recording.text("vsctl-show.txt"))

    @cached_property
    def northbound(self) -> tuple[Row, ...]:
        """All that was shown of the Northbound database, as it was in the end."""
        return tuple(self._northbound())

    @cached_property
    def network_row(self) -> Row:
        """The network's logical switch."""
        return next(row for row in self.northbound if row.table == "Logical_Switch")

    @cached_property
    def metadata_row(self) -> Row:
        """The metadata port's row."""
        return next(row for row in self.northbound if row.table == "Logical_Switch_Port")

    @cached_property
    def security_groups(self) -> Mapping[str, tuple[Row, ...]]:
        """The rules of each security group, by its id; the name of its port group says it."""
        groups: dict[str, list[Row]] = {}
        for row in self.northbound:
            found = re.search(r"port == @pg_(\w+) ", row.columns.get("match", ""))
            if found:
                groups.setdefault(found[1].replace("_", "-"), []).append(row)
        return {group: tuple(groups[group]) for group in sorted(groups)}

    @cached_property
    def provider_port(self) -> str:
        """Name of the port between the provider network and br-provider: the patch ports say it."""
        names = (name for bridge in self.switch.bridges.values() for name in bridge.interfaces)
        return next(name for name in names if "patch-br-int-to-" in name).removeprefix(
            "patch-br-int-to-"
        )

    def _northbound(self) -> Iterator[Row]:
        for table, name in (
            ("Logical_Switch", "nb-logical-switch.txt"),
            ("Logical_Switch_Port", "nb-logical-switch-port-after.txt"),
            ("ACL", "nb-acl.txt"),
        ):
            yield from parse_rows(table, self.recording.text(name))
