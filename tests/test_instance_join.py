"""Whose a device is: what Open vSwitch, libvirt and the kernel say, joined."""

from dataclasses import replace

from agent.model.domain import Domain, DomainInterface, Owner
from agent.model.instance import InstanceInterface, join
from agent.model.link import Link
from agent.model.namespace import HOST, Namespace
from agent.model.switch import Bridge, Interface, Port, Switch

RUNNING, SHUT_OFF, CRASHED = 1, 5, 6
A, B = "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"
MAC, OTHER_MAC = "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"
TAP = DomainInterface("ethernet", MAC, "tap1", "virtio")


def domain(uuid: str, *plugs: DomainInterface, state: int = RUNNING) -> Domain:
    return Domain(uuid, f"instance-{uuid[:1]}", state, plugs, Owner(f"name of {uuid[:1]}"))


def switch(*interfaces: Interface, tag: int | None = 7) -> Switch:
    ports = tuple(Port(each.name, (each,), tag) for each in interfaces)
    return Switch(bridges=(Bridge("br-int", ports=ports),))


def plugged(name: str, uuid: str | None, mac: str = MAC, **others: object) -> Interface:
    """Return an interface as os-vif describes it."""
    ids = Interface(name, iface_id=f"port of {mac}", vm_uuid=uuid, attached_mac=mac)
    return replace(ids, **others)  # type: ignore[arg-type] # fields of Interface


def joined(
    of: Switch | None, *domains: Domain, host: Namespace | None = None
) -> dict[str, InstanceInterface]:
    return dict(join(of, {each.uuid: each for each in domains}, host))


def test_one_row_leads_from_the_tap_to_port_and_instance() -> None:
    (row,) = joined(switch(plugged("tap1", A)), domain(A, TAP)).values()
    assert (row.name, row.bridge, row.tag) == ("tap1", "br-int", 7)
    assert (row.iface_id, row.attached_mac) == (f"port of {MAC}", MAC)
    assert (row.domain_name, row.instance_id, row.instance_name) == ("instance-a", A, "name of a")


def test_without_libvirt_the_switch_alone_tells_the_instance() -> None:
    rows = join(switch(plugged("tap1", A)), None, None)
    row = rows["tap1"]
    assert (row.instance_id, row.domain_name, row.instance_name) == (A, None, None)
    assert row.iface_id == f"port of {MAC}"


def test_without_open_vswitch_libvirt_alone_tells_it() -> None:
    on_bridge = replace(TAP, type="bridge", source_bridge="brq1", iface_id="port")
    row = join(None, {A: domain(A, on_bridge)}, None)["tap1"]
    assert (row.bridge, row.iface_id, row.attached_mac) == ("brq1", "port", MAC)
    assert row.instance_id == A


def test_ports_of_routers_and_dhcp_servers_are_nobodys() -> None:
    of_neutron = switch(plugged("qr-1", None), plugged("tap2", None))
    assert joined(of_neutron, domain(A, TAP)).keys() == {"tap1"}


def test_the_kernel_says_which_linux_bridge_a_tap_is_in_now() -> None:
    links = {2: Link(2, "brq2", "bridge"), 3: Link(3, "tap1", "tun", master=2)}
    told = replace(TAP, type="bridge", source_bridge="brq1")
    assert joined(None, domain(A, told), host=Namespace(HOST, links))["tap1"].bridge == "brq2"
    in_ovs = {2: Link(2, "ovs-system", "openvswitch"), 3: Link(3, "tap1", "tun", master=2)}
    assert joined(None, domain(A, told), host=Namespace(HOST, in_ovs))["tap1"].bridge == "brq1"


def test_a_tap_name_that_is_used_again_belongs_to_who_runs_with_it() -> None:
    before, now = domain(A, TAP, state=SHUT_OFF), domain(B, TAP)
    for claimed in (A, B, None):  # external_ids may be of the instance before
        row = joined(switch(plugged("tap1", claimed)), before, now)["tap1"]
        assert row.domain_name == "instance-b", claimed
    assert joined(None, before, now)["tap1"].domain_name == "instance-b"


def test_of_two_that_run_with_one_device_the_switch_tells_the_right_one() -> None:
    for uuid in (A, B):
        row = joined(switch(plugged("tap1", uuid)), domain(A, TAP), domain(B, TAP))["tap1"]
        assert row.instance_id == uuid
    other = replace(TAP, mac=OTHER_MAC)
    row = joined(switch(plugged("tap1", None, OTHER_MAC)), domain(A, TAP), domain(B, other))["tap1"]
    assert row.instance_id == B


def test_an_instance_that_is_shut_off_is_still_named_where_its_port_is_left_behind() -> None:
    row = joined(switch(plugged("tap1", A)), domain(A, TAP, state=SHUT_OFF))["tap1"]
    assert (row.domain_name, row.plug) == ("instance-a", None)
    assert not joined(None, domain(A, TAP, state=SHUT_OFF)), "its device is not on the node"


def test_both_ends_of_a_hybrid_plug_are_the_instances() -> None:
    hybrid = replace(TAP, type="bridge", source_bridge="qbr1")
    rows = joined(switch(plugged("qvo1", A)), domain(A, hybrid))
    assert rows.keys() == {"qvo1", "tap1"}
    assert {row.domain_name for row in rows.values()} == {"instance-a"}
    assert {row.iface_id for row in rows.values()} == {f"port of {MAC}"}
    assert (rows["qvo1"].bridge, rows["tap1"].bridge) == ("br-int", "qbr1")
    assert (rows["qvo1"].tag, rows["tap1"].tag) == (7, None)


def test_vhostuser_is_joined_by_its_socket_whoever_made_it() -> None:
    client = plugged(
        "vhu1", None, OTHER_MAC, type="dpdkvhostuserclient",
        options={"vhost-server-path": "/run/vhost/some.sock"},
    )  # fmt: skip
    server = plugged("vhu2", None, OTHER_MAC, type="dpdkvhostuser")
    rows = joined(
        switch(client, server),
        domain(A, DomainInterface("vhostuser", MAC, socket_path="/run/vhost/some.sock")),
        domain(B, DomainInterface("vhostuser", MAC, socket_path="/run/openvswitch/vhu2")),
    )
    assert {name: row.instance_id for name, row in rows.items()} == {"vhu1": A, "vhu2": B}


def test_what_has_no_device_is_joined_by_instance_and_address() -> None:
    """vhostuser elsewhere, and the representor of an SR-IOV function that is offloaded."""
    for kind in ("vhostuser", "hostdev"):
        plug = DomainInterface(kind, MAC, socket_path="/elsewhere" if kind == "vhostuser" else None)
        rows = joined(
            switch(plugged("rep1", A), plugged("rep2", B), plugged("rep3", A, OTHER_MAC)),
            domain(A, plug),
        )
        assert rows["rep1"].plug is plug
        assert (rows["rep2"].plug, rows["rep2"].domain) == (None, None), "another instance's"
        assert rows["rep3"].plug is None
        assert rows["rep3"].domain_name == "instance-a"


def test_an_interface_without_a_device_has_no_row_of_its_own() -> None:
    assert not joined(None, domain(A, DomainInterface("hostdev", MAC)))


def test_there_is_one_row_for_each_device_whatever_is_said_twice() -> None:
    twice = (TAP, replace(TAP, mac=OTHER_MAC))
    rows = joined(switch(plugged("tap1", A), plugged("tap1", B)), domain(A, *twice), domain(B, TAP))
    assert list(rows) == ["tap1"]
    assert rows["tap1"].attached_mac == MAC


def test_two_ports_with_one_address_are_told_apart_by_their_neutron_ports() -> None:
    """On two networks of Neutron one MAC address may be there twice."""
    plugs = [replace(TAP, target_device=f"tap{n}", type="bridge", iface_id=f"p{n}") for n in (1, 2)]
    both = (plugged(f"qvo{n}", A, iface_id=f"p{n}") for n in (2, 1))
    rows = joined(switch(*both), domain(A, *plugs))
    ports = {name: row.iface_id for name, row in rows.items()}
    assert ports == {"qvo1": "p1", "qvo2": "p2", "tap1": "p1", "tap2": "p2"}
    assert rows["qvo2"].plug is plugs[1]


def test_a_guest_that_has_crashed_still_has_its_devices() -> None:
    row = joined(None, domain(A, TAP, state=CRASHED))["tap1"]
    assert row.instance_id == A
