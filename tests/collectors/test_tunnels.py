"""Tunnels of the switch and of the kernel: which are shown, with which ends, and how they are."""

from collections.abc import Mapping
from typing import Any

import pytest

from agent.collectors import tunnel
from agent.collectors.tunnel import COLLECTOR
from agent.families import Sample
from agent.model.link import Link, LinkPatterns, Tunnel
from agent.model.namespace import Namespace
from agent.model.node import Known, Node
from agent.model.switch import TUNNEL_TYPES, Bfd, Bridge, Interface, Port, Switch
from tests.collectors.links import AGENT, link, namespaces, node, page
from tests.page import Series, of

ENDPOINT = "dataplane_tunnel_endpoint_info"
EXTERNAL = Tunnel("vxlan", dst_port=4789, external=True)
VXLAN = Tunnel("vxlan", local_ip="172.16.0.31", key="267", dst_port=8472)


def with_switch(*interfaces: Interface, live: bool = True) -> Node:
    ports = tuple(Port(each.name, (each,)) for each in interfaces)
    return Node(AGENT, switch=Known("switch", Switch(bridges=(Bridge("br0", ports=ports),)), live))


def of_database(*interfaces: Interface, live: bool = True) -> dict[str, Any]:
    """Return values by family; the last one of each."""
    items = list(tunnel.from_database(with_switch(*interfaces, live=live)))
    samples = [item for item in items if isinstance(item, Sample) and item.value is not None]
    return {item.family.name: item.value for item in samples}


def of_kernel(known: Mapping[str, Namespace], **facts: Any) -> Series:
    return page(COLLECTOR, node(known, switch=Switch(), **facts))


def endpoints(found: Series) -> list[dict[str, str]]:
    return [dict(labels) for name, labels in found if name == ENDPOINT]


def test_the_options_of_a_tunnel_that_name_its_key_are_found_in_either_form() -> None:
    def key_of(options: dict[str, str]) -> str:
        items = tunnel.from_database(with_switch(Interface("gre0", type="gre", options=options)))
        (only,) = [item for item in items if isinstance(item, Sample) and item.value is not None]
        return only.labels.partition('key="')[2].partition('"')[0]

    assert key_of({"key": "5"}) == "5"
    assert key_of({"out_key": "6", "in_key": "flow"}) == "6"
    assert key_of({"in_key": "flow"}) == "flow"
    assert key_of({}) == ""


@pytest.mark.parametrize("kind", sorted(TUNNEL_TYPES))
def test_every_type_of_tunnel_of_the_switch_is_an_endpoint(kind: str) -> None:
    interface = Interface("tun0", type=kind, options={"remote_ip": "192.0.2.1", "dst_port": "7471"})
    assert of_database(interface) == {ENDPOINT: 1}


@pytest.mark.parametrize("kind", ["system", "internal", "patch", "dpdk"])
def test_what_is_no_tunnel_has_no_endpoint_and_no_egress(kind: str) -> None:
    assert of_database(Interface("port0", type=kind, egress_carrier=True)) == {}


@pytest.mark.parametrize(
    ("state", "code"), [("admin_down", 0), ("down", 1), ("init", 2), ("up", 3), ("sideways", None)]
)
def test_states_of_bfd_have_the_codes_of_the_protocol(state: str, code: int | None) -> None:
    found = of_database(Interface("eth0", bfd=Bfd(state, state, forwarding=True, flap_count=7)))
    assert found.get("ovs_interface_bfd_state") == code
    assert found.get("ovs_interface_bfd_remote_state") == code
    assert found["ovs_interface_bfd_forwarding"] is True
    assert found["ovs_interface_bfd_flaps_total"] == 7


def test_an_interface_without_bfd_and_cfm_has_no_series_of_them() -> None:
    assert of_database(Interface("eth0")) == {}
    assert of_database(Interface("eth0", bfd=Bfd())) == {}


def test_flaps_are_counted_only_while_the_database_is_followed() -> None:
    interface = Interface("eth0", bfd=Bfd("up", "up", forwarding=True, flap_count=7))
    assert "ovs_interface_bfd_flaps_total" not in of_database(interface, live=False)
    assert of_database(interface, live=False)["ovs_interface_bfd_state"] == 3


@pytest.mark.parametrize("value", [True, False])
def test_cfm_and_the_egress_are_shown_as_they_are(*, value: bool) -> None:
    interface = Interface("vx", type="vxlan", cfm_fault=value, egress_carrier=value)
    found = of_database(interface)
    assert found["ovs_interface_cfm_fault"] is value
    assert found["ovs_tunnel_egress_carrier"] is value


def test_a_kernel_tunnel_shows_its_ends_and_the_linux_bridge_that_it_serves() -> None:
    bridge = link(2, "brq0", "bridge")
    bond = link(3, "bond0", "bond")
    known = namespaces(
        host=(
            bridge,
            bond,
            link(4, "vxlan-267", "vxlan", tunnel=VXLAN, master=2),
            link(5, "gre1", "gre", tunnel=Tunnel("gre", remote_ip="192.0.2.9"), master=3),
        ),
        router=(link(4, "vxlan-267", "vxlan", tunnel=VXLAN),),
    )
    assert endpoints(of_kernel(known)) == [
        {
            "implementation": "linux",
            "device": "vxlan-267",
            "bridge": "brq0",
            "tunnel_type": "vxlan",
            "local_ip": "172.16.0.31",
            "key": "267",
            "dst_port": "8472",
        },
        {
            "implementation": "linux",
            "device": "gre1",
            "tunnel_type": "gre",
            "remote_ip": "192.0.2.9",
        },
        {
            "netns": "router",
            "implementation": "linux",
            "device": "vxlan-267",
            "tunnel_type": "vxlan",
            "local_ip": "172.16.0.31",
            "key": "267",
            "dst_port": "8472",
        },
    ]


OF_THE_SWITCH = (
    link(9, "vxlan_sys_4789", "vxlan", tunnel=EXTERNAL, master=2),
    link(9, "any-name", "vxlan", tunnel=EXTERNAL, master=2),
    link(9, "genev_sys_6081", "geneve", tunnel=Tunnel("geneve", external=True)),
    link(9, "gre_sys", "gretap", tunnel=Tunnel("gretap", external=True)),
    link(9, "ip6erspan_sys", "ip6erspan", tunnel=Tunnel("ip6erspan", external=True)),
    link(9, "gretap0", "gretap", tunnel=Tunnel("gretap")),
)


@pytest.mark.parametrize("netns", ["host", "router"])
@pytest.mark.parametrize("each", OF_THE_SWITCH, ids=lambda each: each.name)
def test_devices_that_carry_the_switchs_tunnels_or_none_are_no_endpoints(
    each: Link, netns: str
) -> None:
    known = namespaces(**{netns: (link(2, "ovs-system", "openvswitch"), each)})
    assert endpoints(of_kernel(known)) == []


def test_an_external_device_of_another_owner_is_shown_without_a_key() -> None:
    each = Tunnel("vxlan", key="0", dst_port=8472, external=True)
    (only,) = endpoints(of_kernel(namespaces(host=(link(2, "cilium", "vxlan", tunnel=each),))))
    assert (only["device"], only["dst_port"], only.get("key")) == ("cilium", "8472", None)


def test_a_kernel_tunnel_that_is_a_port_of_the_switch_is_shown_as_the_kernels() -> None:
    """Somebody made the device and added it: the switch knows no ends of it."""
    known = namespaces(
        host=(
            link(2, "ovs-system", "openvswitch"),
            link(3, "vx", "vxlan", tunnel=VXLAN, master=2),
        )
    )
    (only,) = endpoints(of_kernel(known))
    assert (only["device"], only["key"], only.get("bridge")) == ("vx", "267", None)


def test_remote_ends_are_counted_by_device() -> None:
    vtep = (link(4, "vx", "vxlan", tunnel=VXLAN),)
    known = namespaces(host=vtep, router=vtep)
    remotes = {(4, "192.0.2.1"): 3, (4, "192.0.2.2"): 1, (99, "192.0.2.3"): 7}
    known[""] = Namespace("", known[""].links, remotes=remotes)
    known["router"] = Namespace("router", known["router"].links, remotes={(4, "192.0.2.1"): 5})
    found = of_kernel(known)
    family = "linux_vxlan_remote_entries"
    assert of(found, family) == [3, 1, 5]
    assert of(found, family, netns="router", device="vx", remote_ip="192.0.2.1") == [5]


def test_remote_ends_that_are_too_many_to_know_are_absent() -> None:
    known = {"": Namespace("", {4: link(4, "vx", "vxlan", tunnel=VXLAN)}, remotes=None)}
    assert {name for name, _ in of_kernel(known)} == {ENDPOINT}


def test_a_tunnel_that_a_pattern_hides_has_no_endpoint_and_no_remote_ends() -> None:
    known = {
        "": Namespace("", {4: link(4, "vx", "vxlan", tunnel=VXLAN)}, remotes={(4, "192.0.2.1"): 3})
    }
    assert of_kernel(known, link_patterns=LinkPatterns(exclude=("vx",))) == {}
