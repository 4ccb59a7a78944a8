"""Each kind of event, from what it tells of: Open vSwitch, libvirt, namespaces and sources.

As somebody hears of it who only listens to the broker.
"""

from collections.abc import Iterator
from functools import partial
from uuid import uuid4

import pytest

from lab.controller import Controller
from lab.domain_xml import domain_xml, interface_xml
from lab.host import Host
from lab.hypervisor import Hypervisor
from lab.reactor import Reactor
from tests.conftest import LIBVIRT, OPEN_VSWITCH, require_parts
from tests.e2e.event_site import DROPPED, MOSQUITTO, WAITING, EventSite

pytestmark = [pytest.mark.e2e]

DOMAIN, IDENTITY = "instance-00000001", str(uuid4())
TAP = "tap00000001-00"
AS_NOVA = ("--undefinesource", "--persistent")


@pytest.fixture(scope="module")
def site() -> Iterator[EventSite]:
    """A node, shared: what is made in it is gone at the end of each test."""
    require_parts(*OPEN_VSWITCH, *LIBVIRT, *MOSQUITTO)
    with EventSite(switch=True, domains=True) as each:
        yield each


def test_a_port_that_comes_and_goes_is_told(site: EventSite) -> None:
    port = ("p0", "--", "set", "Interface", "p0", "type=dummy", "external_ids:iface-id=n1")
    added, up = site.after(
        lambda: site.switch.vsctl("add-port", "br0", *port),
        *("interface_added", "interface_up"),
        interface="p0",
    )
    assert (added["bridge"], added["port"], added["type"]) == ("br0", "p0", "dummy")
    assert up["iface_id"] == "n1"
    site.after(lambda: site.switch.vsctl("del-port", "p0"), "interface_removed", interface="p0")


def test_a_device_that_loses_its_link_is_told(site: EventSite) -> None:
    run = site.host.run
    run("ip", "link", "add", "veth0", "type", "veth", "peer", "veth1")
    for device in ("veth0", "veth1"):
        run("ip", "link", "set", device, "up")
    site.after(
        lambda: site.switch.vsctl("add-port", "br0", "veth0"),
        *("interface_added", "interface_up"),
        interface="veth0",
    )
    (down,) = site.after(
        lambda: run("ip", "link", "set", "veth1", "down"), "interface_down", interface="veth0"
    )
    assert down["admin_up"] is True
    site.after(lambda: run("ip", "link", "set", "veth1", "up"), "interface_up", interface="veth0")
    site.switch.vsctl("del-port", "veth0")
    run("ip", "link", "delete", "veth0")


def test_a_device_that_cannot_be_opened_is_told_with_the_reason(site: EventSite) -> None:
    _, error = site.after(
        lambda: site.switch.vsctl("add-port", "br0", "nothing0"),
        *("interface_added", "interface_error"),
        interface="nothing0",
    )
    assert "No such device" in error["error"]
    site.switch.vsctl("del-port", "nothing0")


def test_a_tunnel_is_judged_by_bfd_as_soon_as_there_is_a_session(site: EventSite) -> None:
    tunnel = ("vx0", "--", "set", "Interface", "vx0", "type=vxlan", "options:remote_ip=127.0.0.9")
    _, up = site.after(
        lambda: site.switch.vsctl("add-port", "br0", *tunnel),
        *("interface_added", "tunnel_up"),
        interface="vx0",
    )
    assert (up["by"], up["remote_ip"]) == ("egress_carrier", "127.0.0.9")
    bfd = ("set", "Interface", "vx0")
    (down,) = site.after(
        lambda: site.switch.vsctl(*bfd, "bfd:enable=true"), "tunnel_down", interface="vx0"
    )
    assert (down["by"], down["bfd_state"]) == ("bfd", "down")
    site.after(lambda: site.switch.vsctl(*bfd, "bfd:enable=false"), "tunnel_up", interface="vx0")
    site.switch.vsctl("del-port", "vx0")


def test_a_controller_that_is_reached_and_lost_is_told(site: EventSite) -> None:
    reactor = Reactor("controller of events")
    try:
        Controller(reactor, site.host.name, ("127.0.0.1", 6653))
        target = "tcp:127.0.0.1:6653"
        site.after(
            lambda: site.switch.vsctl("set-controller", "br0", target),
            "controller_connected",
            bridge="br0",
            target=target,
        )
        (lost,) = site.after(reactor.close, "controller_lost", target=target)
        assert lost["configured"] is True
    finally:
        reactor.close()
        site.switch.vsctl("del-controller", "br0")


def test_a_namespace_that_comes_and_goes_is_told_with_its_role(site: EventSite) -> None:
    (added,) = site.after(
        lambda: site.host.add_namespace("qrouter-7"), "namespace_added", netns="qrouter-7"
    )
    assert (added["role"], added["id"]) == ("qrouter", "7")
    site.after(
        lambda: site.host.delete_namespace("qrouter-7"), "namespace_removed", netns="qrouter-7"
    )


def test_a_domain_that_starts_moves_and_stops_is_told_and_owns_its_interface(
    site: EventSite,
) -> None:
    here = site.hypervisor
    here.define(domain_xml(DOMAIN, IDENTITY, [interface_xml(TAP, "fa:16:3e:00:00:01")]))
    (started,) = site.after(
        lambda: here.start_domain(DOMAIN), "domain_started", instance_id=IDENTITY
    )
    assert started["domain"] == DOMAIN
    (added,) = site.after(
        lambda: site.switch.vsctl("add-port", "br0", TAP), "interface_added", interface=TAP
    )
    assert (added["domain"], added["instance_id"]) == (DOMAIN, IDENTITY)
    site.switch.vsctl("del-port", TAP)
    with Host() as elsewhere, Hypervisor(elsewhere.name) as there:
        site.after(lambda: here.migrate(DOMAIN, there, *AS_NOVA), "domain_migrated", domain=DOMAIN)
        site.after(lambda: there.migrate(DOMAIN, here, *AS_NOVA), "domain_started", domain=DOMAIN)
    site.after(lambda: here.destroy_domain(DOMAIN), "domain_stopped", domain=DOMAIN)
    here.virsh("undefine", DOMAIN)


def test_a_namespace_may_have_any_name(site: EventSite) -> None:
    for name in ("a+b#c", "$SYS", 'q"\\\u00e9\u2028 '):
        site.after(partial(site.host.add_namespace, name), "namespace_added", netns=name)
        site.after(partial(site.host.delete_namespace, name), "namespace_removed", netns=name)


def test_a_restart_of_ovs_vswitchd_is_told_and_takes_no_interface_away(site: EventSite) -> None:
    before = site.switch.vswitchd.pid
    count = len(site.events())

    def restart() -> None:
        site.switch.kill_vswitchd()
        site.switch.start_vswitchd()

    (restarted,) = site.after(restart, "vswitchd_restarted")
    assert restarted["previous_pid"] == before
    assert restarted["pid"] == site.switch.vswitchd.pid
    kinds = {event["kind"] for event in site.events()[count:]}
    assert not kinds & {"interface_added", "interface_removed"}


def test_a_database_that_goes_away_is_a_source_down_and_no_interface_removed(
    site: EventSite,
) -> None:
    count = len(site.events())
    (down,) = site.after(site.switch.kill_ovsdb, "source_down", source="ovsdb")
    assert down["reason"] in {"refused", "broken"}
    site.after(site.switch.start_ovsdb, "source_up", source="ovsdb")
    kinds = [event["kind"] for event in site.events()[count:]]
    assert "interface_removed" not in kinds
    assert "interface_added" not in kinds


def test_numbers_of_events_have_no_gap_and_are_of_one_process(site: EventSite) -> None:
    events = site.events()
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert len({event["boot"] for event in events}) == 1
    assert site.metric(DROPPED) == 0
    assert site.metric(WAITING) == 0
