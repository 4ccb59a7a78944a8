"""Small nodes for events: what is known before and after."""

from dataclasses import replace

from agent.events.change import Change
from agent.events.derive import Memory, Snapshot, derive
from agent.model.domain import Domain, DomainInterface, Owner
from agent.model.namespace import HOST, Namespace
from agent.model.switch import Bfd, Bridge, Controller, Interface, Port, Switch

TAP = Interface(
    "tap1",
    iface_id="648437e1-0db8-5a4f-8423-88d3c789ad6d",
    vm_uuid="2337b0eb-372c-43b8-923e-90a89337d211",
    link_state=True,
    admin_state=True,
)
VXLAN = Interface("vxlan1", "vxlan", link_state=True, options={"remote_ip": "192.0.2.2"})
INSTANCE = Domain(
    "2337b0eb-372c-43b8-923e-90a89337d211",
    "instance-00000001",
    1,
    (DomainInterface("bridge", "fa:16:3e:00:00:01", "tap1"),),
    Owner("web", project_id="p1", project_name="shop"),
)
SHUT_OFF = replace(INSTANCE, state=5)
ROUTER = Namespace("qrouter-1", key=(4, 1))
HOST_NAMESPACE = Namespace(HOST, key=(4, 0))


def switch(*interfaces: Interface, controllers: tuple[Controller, ...] = ()) -> Switch:
    """Return a switch with one bridge that has these, each in a port of its own."""
    ports = tuple(Port(interface.name, (interface,)) for interface in interfaces)
    return Switch(bridges=(Bridge("br-int", ports=ports, controllers=controllers),))


def bfd(*, forwarding: bool | None = None, state: str | None = None) -> Interface:
    """Return a tunnel that BFD watches."""
    return replace(VXLAN, bfd=Bfd(state=state, forwarding=forwarding))


def namespaces(*named: Namespace) -> dict[str, Namespace]:
    """Return these, and the host's own."""
    return {each.name: each for each in (HOST_NAMESPACE, *named)}


def changes(*snapshots: Snapshot) -> list[Change]:
    """Return what the last of them brings, after all the others."""
    memory, found = Memory(), list[Change]()
    for snapshot in snapshots:
        memory, found = derive(memory, snapshot)
    return found


def of_switch(*switches: Switch | None) -> list[Change]:
    """Return what the last of them brings; ``None`` is one that is not known."""
    return changes(*(Snapshot(switch=each) for each in switches))
