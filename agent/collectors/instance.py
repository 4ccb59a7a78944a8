"""Whose interface is it: Open vSwitch's, Neutron's, libvirt's and Nova's names of one device.

Everything that counts packets names a tap; a person asks about an instance. One row for each device
of an instance leads from either to the other, whichever of the daemons knows it.
"""

from collections.abc import Iterator

from agent.collectors.base import Collector
from agent.columns import fixed
from agent.families import Block, Gauge, Output
from agent.model.instance import InstanceInterface, join
from agent.model.namespace import HOST
from agent.model.node import Node

INFO = Gauge(
    "dataplane_instance_interface_info",
    "Whose a device is, always 1: an interface of Open vSwitch or a tap, its bridge and Neutron "
    "port, and the instance; join on (instance, interface) [Interface, domain XML].",
    labels=(
        "interface", "bridge", "iface_id", "tag", "attached_mac", "domain", "instance_id",
        "instance_name", "project_name",
    ),
)  # fmt: skip


class Joined:
    """The join, made anew only when one of its sides has changed."""

    def __init__(self) -> None:
        self._made_of: tuple[object, ...] = ()
        self._rows: tuple[InstanceInterface, ...] = ()
        self._block = fixed(INFO, ())

    def of(self, node: Node) -> tuple[InstanceInterface, ...]:
        """Return a row for each device, A to Z; the same object while nothing has changed."""
        host = (node.namespaces.value or {}).get(HOST)
        sides = node.switch.value, node.domains.value, host.links if host else None
        if len(self._made_of) != len(sides) or any(
            now is not last for now, last in zip(sides, self._made_of, strict=True)
        ):
            self._made_of = sides
            self._rows = tuple(join(node.switch.value, node.domains.value, host).values())
            self._block = fixed(INFO, self._written())
        return self._rows

    def block(self, node: Node) -> Block:
        """Return the rows as they stand on the page."""
        self.of(node)
        return self._block

    def _written(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        for row in self._rows:
            values = (
                row.bridge, row.iface_id, row.tag, row.attached_mac, row.domain_name,
                row.instance_id, row.instance_name, row.project_name,
            )  # fmt: skip
            yield 1, (row.name, *("" if value is None else str(value) for value in values))


_joined = Joined()


def joined(node: Node) -> tuple[InstanceInterface, ...]:
    """Return a row for each device of an instance, A to Z; kept between collectors."""
    return _joined.of(node)


def collect(node: Node) -> Output:
    """Yield a row for each device; what one side does not say yet, another may."""
    if node.switch.value is None:
        node.domains.require()
    yield _joined.block(node)


COLLECTOR = Collector("instance", (INFO,), (collect,), follows=("libvirt", "rtnetlink"))
