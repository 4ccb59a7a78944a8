"""The lab's cloud on OVN is the recorded one, carries what it should, and leaves nothing behind."""

import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from lab import frames, namespace
from lab.ovn import PLACES, OvnCloud
from lab.ovn_central import Keys, OvnCentral
from lab.ovn_chassis import TUNNEL_BRIDGE, Chassis
from lab.ovn_document import OF_NORTHD, UNSET, Document, Row, parse_rows
from lab.ovn_traffic import KINDS, Kind, discover, ping
from lab.process import NAMESPACES, LabError, wait_until
from lab.recorded import Interface, parse_addresses, parse_flows, parse_show
from tests.exposition.pki import Pki

PACKETS = 40
METADATA = "169.254.169.254"


# -- it is what was recorded -----------------------------------------------------------------------


def test_the_document_itself_was_read_completely() -> None:
    document = Document()
    assert Counter(row.table for row in document.northbound) == {
        "Logical_Switch": 1,
        "Logical_Switch_Port": 1,
        "ACL": 12,
    }
    assert {group: len(rules) for group, rules in document.security_groups.items()} == {
        "20a04bf0-dc15-4813-941c-3bba803605e8": 4,
        "a1b42dfb-939f-49e6-bcd3-493e2e3edbc0": 4,
        "dcf5b841-bca6-4d31-98b5-1e41d4bf4472": 4,
    }
    assert document.network["id"] == "f5e24ee8-2bcb-43a4-91d5-0abad0c58197"
    assert document.subnet["cidr"] == "192.168.101.0/24"
    assert document.metadata_cidr == "192.168.101.1/24"
    assert document.metadata_port["device_id"] == f"ovnmeta-{document.network['id']}"
    assert document.provider_port == "provnet-ed5b0e1e-fa10-4dd3-ac28-afec8481da62"
    assert set(document.switch.bridges) == {"br-int", "br-provider", "br-mgmt"}


def test_the_northbound_is_that_of_the_document_and_what_was_added(ovn_cloud: OvnCloud) -> None:
    """Row by row with their UUIDs, and every column that this OVN has, to the letter."""
    document, added = ovn_cloud.document, ovn_cloud.additions
    for table in ("Logical_Switch", "Logical_Switch_Port", "ACL"):
        real = {r.uuid: r for r in parse_rows(table, ovn_cloud.central.nbctl("list", table))}
        recorded = {row.uuid: row for row in document.northbound if row.table == table}
        assert real.keys() == recorded.keys() | {r.uuid for r in added.rows if r.table == table}
        for uuid, row in recorded.items():
            columns = dict(real[uuid].columns)
            if table == "Logical_Switch":
                ports = {port.uuid for port in added.ports}
                left = [port for port in words(columns["ports"]) if port not in ports]
                columns["ports"] = f"[{', '.join(left)}]"
            assert columns.keys() <= row.columns.keys()
            assert columns == {name: row.columns[name] for name in columns}
            # what a later OVN has more was never written there
            assert all(row.columns[name] in UNSET for name in row.columns.keys() - columns.keys())


def words(printed: str) -> list[str]:
    return printed.strip("[]").split(", ")


def test_what_was_added_is_there_as_it_was_written(ovn_cloud: OvnCloud) -> None:
    for row in ovn_cloud.additions.rows:
        (real,) = parse_rows(row.table, ovn_cloud.central.nbctl("list", row.table, row.uuid))
        written = {c: v for c, v in row.columns.items() if c not in OF_NORTHD and v not in UNSET}
        assert {c: members(real.columns[c]) for c in written} == {
            c: members(v) for c, v in written.items()
        }


def members(printed: str) -> frozenset[str]:
    """Return the parts of a value, whatever their order and their quotes."""
    return frozenset(re.findall(r'[^\s,="\[\]{}]+', printed))


def test_bridges_and_ports_are_those_of_the_document(ovn_cloud: OvnCloud) -> None:
    recorded = ovn_cloud.document.switch.bridges
    for number, chassis in enumerate(ovn_cloud.chassis):
        real = parse_show(chassis.switch.vsctl("show")).bridges
        assert real.keys() == {*recorded, TUNNEL_BRIDGE}
        for name, bridge in recorded.items():
            assert (real[name].fail_mode, real[name].datapath_type) == (bridge.fail_mode, "netdev")
        guests = [g.instance.tap for g in ovn_cloud.guests.values() if g.instance.place == number]
        tap = f"tap{ovn_cloud.document.network['id'][:10]}0"
        assert real["br-provider"].interfaces == recorded["br-provider"].interfaces
        assert real["br-mgmt"].interfaces == recorded["br-mgmt"].interfaces
        peer = ovn_cloud.chassis[1 - number]
        tunnel = real["br-int"].interfaces.pop(chassis.tunnel(peer))
        assert (tunnel.type, f'remote_ip="{peer.place.tunnel.ip}"' in tunnel.options) == (
            "geneve",
            True,
        )
        assert real["br-int"].interfaces == recorded["br-int"].interfaces | {
            name: Interface(name) for name in (*guests, tap)
        }


def test_both_chassis_are_registered(ovn_cloud: OvnCloud) -> None:
    rows = parse_rows("Chassis", ovn_cloud.central.sbctl("list", "Chassis"))
    assert {(row.columns["name"].strip('"'), row.columns["hostname"]) for row in rows} == {
        (place.system_id, place.hostname) for place in PLACES
    }
    encaps = parse_rows("Encap", ovn_cloud.central.sbctl("list", "Encap"))
    assert {(row.columns["type"], row.columns["ip"].strip('"')) for row in encaps} == {
        ("geneve", place.tunnel.ip) for place in PLACES
    }
    for chassis in ovn_cloud.chassis:
        assert chassis.controller_appctl("connection-status").strip() == "connected"


def test_taps_carry_what_nova_writes_and_ovn_adds(ovn_cloud: OvnCloud) -> None:
    for guest in ovn_cloud.guests.values():
        vsctl = ovn_cloud.chassis[guest.instance.place].switch.vsctl
        ids = vsctl("get", "Interface", guest.instance.tap, "external_ids")
        assert guest.instance.tap == f"tap{guest.instance.port[:11]}"
        assert f'iface-id="{guest.instance.port}"' in ids
        assert f'attached-mac="{guest.instance.party.mac}"' in ids
        assert f'vm-uuid="{guest.instance.server}"' in ids
        assert "iface-status=active" in ids
        assert 'ovn-installed="true"' in ids


def test_ports_are_bound_where_their_instances_run(ovn_cloud: OvnCloud) -> None:
    for guest in ovn_cloud.guests.values():
        find = ("--bare", "--columns=chassis", "find", "Port_Binding")
        bound = ovn_cloud.central.sbctl(*find, f"logical_port={guest.instance.port}").strip()
        name = ovn_cloud.central.sbctl("get", "Chassis", bound, "name").strip().strip('"')
        assert name == ovn_cloud.chassis[guest.instance.place].place.system_id


# -- it carries what is allowed, and nothing else --------------------------------------------------


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_traffic_arrives_where_it_is_allowed_and_only_there(
    ovn_cloud: OvnCloud, kind: Kind
) -> None:
    sent = kind(ovn_cloud, PACKETS)
    # What comes last by the same way shows that the rest has come, or will never.
    last = ping(sent.sender, sent.receiver)
    wait_until(lambda: last.answered == 1, what="the answer to a ping")
    assert sent.delivered == (PACKETS if kind.arrives else 0)


@pytest.mark.parametrize("name", ["ping", "ping through the tunnel"])
def test_pings_are_answered(ovn_cloud: OvnCloud, name: str) -> None:
    sent = KINDS[name](ovn_cloud, PACKETS)
    wait_until(lambda: sent.answered == PACKETS, what="answers to pings")


@pytest.mark.parametrize("name", ["refused by a rule", "refused by a rule, through the tunnel"])
def test_what_no_rule_allows_meets_the_drop_group_packet_by_packet(
    ovn_cloud: OvnCloud, name: str
) -> None:
    refused = ovn_cloud.additions.drop_rules["to-lport"]
    receiver = ovn_cloud.guests[KINDS[name].receiver]
    chassis = ovn_cloud.chassis[receiver.instance.place]
    before = counted(ovn_cloud, chassis, refused)
    KINDS[name](ovn_cloud, PACKETS)
    wait_until(
        lambda: counted(ovn_cloud, chassis, refused) == before + PACKETS, what="refused packets"
    )


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("ping through the tunnel", "icmp"),
        ("ssh through the tunnel", "ssh"),
        ("within a group", "633a039c-a369-4cae-b6ce-bc96e0596136"),
    ],
)
def test_what_is_allowed_meets_its_rule_packet_by_packet(
    ovn_cloud: OvnCloud, name: str, rule: str
) -> None:
    """A ping's answer belongs to the connection, and is no rule's any more."""
    rows = {row.uuid: row for row in ovn_cloud.document.northbound}
    row = ovn_cloud.additions.users_rules.get(rule) or rows[rule]
    receiver = ovn_cloud.guests[KINDS[name].receiver]
    chassis = ovn_cloud.chassis[receiver.instance.place]
    before = counted(ovn_cloud, chassis, row)
    KINDS[name](ovn_cloud, PACKETS)
    wait_until(lambda: counted(ovn_cloud, chassis, row) == before + PACKETS, what="packets")


def counted(cloud: OvnCloud, chassis: Chassis, rule: Row) -> int:
    cookies = cloud.central.cookies(rule.uuid)
    assert cookies
    return sum(f.packets for f in chassis.switch.flows("br-int") if f.cookie in cookies)


@pytest.mark.parametrize("name", ["another's IP address", "another's MAC address"])
def test_what_is_spoofed_is_dropped_by_port_security_packet_by_packet(
    ovn_cloud: OvnCloud, name: str
) -> None:
    chassis = ovn_cloud.chassis[0]
    before = dropped_by_port_security(chassis)
    KINDS[name](ovn_cloud, PACKETS)
    wait_until(
        lambda: dropped_by_port_security(chassis) == before + PACKETS, what="spoofed packets"
    )


def dropped_by_port_security(chassis: Chassis) -> int:
    """Table 9 is ls_in_apply_port_sec."""
    flows = chassis.switch.flows("br-int")
    return sum(f.packets for f in flows if (f.table, f.actions) == (9, "drop"))


@pytest.mark.parametrize("name", ["instance01", "instance03", "stranger02"])
def test_ovn_answers_dhcp(ovn_cloud: OvnCloud, name: str) -> None:
    guest = ovn_cloud.guests[name]
    sent = discover(guest, count=5)
    wait_until(lambda: len(sent.offers) == 5, what="five offers")
    assert set(sent.offers) == {guest.instance.ip}


def test_each_chassis_answers_for_the_metadata_service(ovn_cloud: OvnCloud) -> None:
    netns, port = ovn_cloud.metadata_netns, ovn_cloud.document.metadata_port
    device = f"tap{port['network_id'][:10]}1"
    assert not (NAMESPACES / netns).exists()
    for chassis in ovn_cloud.chassis:
        assert netns in chassis.run("ip", "netns", "list").split()
        addresses = parse_addresses(chassis.run("ip", "address", netns=netns))[device]
        assert {f"{METADATA}/32", "192.168.101.1/24"} <= {each.address for each in addresses}
    service = frames.Host(port["mac_address"], METADATA)
    for name in ("instance01", "instance03"):
        guest = ovn_cloud.guests[name]
        guest.send(frames.echo(guest.host, service))
        answer = frames.answer(frames.echo(guest.host, service), (service,))
        assert answer is not None
        wait_until(partial(has_received_payload, ovn_cloud, name, answer), what="its answer")


def has_received_payload(cloud: OvnCloud, name: str, answer: bytes) -> bool:
    """The kernel's IP header is another one than the lab's."""
    received = tuple(cloud.guests[name].received)
    return any(f[26:] == answer[26:] for f in received if f[23:24] == bytes([frames.ICMP]))


def test_a_cloud_without_traffic_is_quiet(ovn_cloud: OvnCloud) -> None:
    def readings() -> list[tuple[str, int]]:
        for chassis in ovn_cloud.chassis:
            chassis.switch.appctl("revalidator/wait")
        return [
            (flow.text, flow.packets)
            for chassis in ovn_cloud.chassis
            for bridge in ("br-int", "br-provider", "br-mgmt", TUNNEL_BRIDGE)
            for flow in parse_flows(chassis.switch.ofctl("--names", "dump-flows", bridge))
        ]

    before = readings()
    time.sleep(1)  # the promise is about time passing
    assert readings() == before


# -- it can be broken, and comes back --------------------------------------------------------------


def test_bfd_is_ovn_controllers_to_switch(own_ovn_cloud: OvnCloud) -> None:
    one, other = own_ovn_cloud.chassis
    tunnel = one.tunnel(other)
    own = one.switch.vsctl("get", "Interface", tunnel, "bfd")
    assert "enable" not in own
    one.switch.vsctl("set", "Interface", tunnel, "bfd:enable=true")

    def is_off() -> bool:
        return "enable" not in one.switch.vsctl("get", "Interface", tunnel, "bfd")

    wait_until(is_off, what="ovn-controller to switch BFD off")
    own_ovn_cloud.add_router()
    assert own_ovn_cloud.has_bfd()
    one.unplug("eth0")
    wait_until(lambda: not own_ovn_cloud.has_bfd(), timeout=20, what="BFD to notice")
    one.plug("eth0")
    wait_until(own_ovn_cloud.has_bfd, timeout=20, what="BFD to come back")


def status(chassis: Chassis) -> str:
    return chassis.controller_appctl("connection-status").strip()


def test_a_killed_southbound_comes_back_and_is_found(own_ovn_cloud: OvnCloud) -> None:
    central, (one, other) = own_ovn_cloud.central, own_ovn_cloud.chassis
    central.kill_southbound()
    wait_until(lambda: status(one) == status(other) == "not connected", what="the loss")
    sent = KINDS["ping through the tunnel"](own_ovn_cloud, PACKETS)
    wait_until(lambda: sent.answered == PACKETS, what="what flows know without a database")
    central.start_southbound()
    wait_until(lambda: status(one) == status(other) == "connected", timeout=30, what="connections")
    central.sync()


def test_paused_databases_do_not_answer_until_they_are_resumed(own_ovn_cloud: OvnCloud) -> None:
    central = own_ovn_cloud.central
    central.pause_southbound()
    with pytest.raises(LabError):
        central.sbctl("--timeout=1", "show")
    assert "neutron" in central.nbctl("ls-list")
    central.resume_southbound()
    assert "compute1" in central.sbctl("show")
    central.pause_northbound()
    with pytest.raises(LabError):
        central.nbctl("--timeout=1", "show")
    central.resume_northbound()
    central.sync()


def test_a_killed_northd_and_northbound_come_back(own_ovn_cloud: OvnCloud) -> None:
    central = own_ovn_cloud.central
    central.kill_northd()
    central.kill_northbound()
    central.start_northbound()
    central.nbctl("ls-add", "late")
    assert "late" not in central.sbctl("list", "Datapath_Binding")
    central.start_northd()
    central.sync()
    assert "late" in central.sbctl("list", "Datapath_Binding")


def test_a_killed_controller_leaves_its_flows_and_comes_back(own_ovn_cloud: OvnCloud) -> None:
    chassis = own_ovn_cloud.chassis[0]
    dead = chassis.controller_ctl
    chassis.kill_controller()
    assert dead.exists()  # a SIGKILL leaves its socket
    sent = KINDS["ping"](own_ovn_cloud, PACKETS)
    wait_until(lambda: sent.answered == PACKETS, what="answers without ovn-controller")
    chassis.start_controller()
    assert chassis.controller_ctl != dead
    own_ovn_cloud.central.sync()
    sent = KINDS["ping through the tunnel"](own_ovn_cloud, PACKETS)
    wait_until(lambda: sent.answered == PACKETS, what="answers")


def test_a_paused_controller_does_not_answer_until_it_is_resumed(own_ovn_cloud: OvnCloud) -> None:
    chassis = own_ovn_cloud.chassis[0]
    chassis.pause_controller()
    with pytest.raises(LabError):
        own_ovn_cloud.central.nbctl("--timeout=1", "--wait=hv", "sync")
    chassis.resume_controller()
    chassis.recompute()
    own_ovn_cloud.central.sync()


def test_a_killed_switch_comes_back_with_flows_and_tunnel(own_ovn_cloud: OvnCloud) -> None:
    chassis = own_ovn_cloud.chassis[0]
    chassis.switch.kill_vswitchd()
    chassis.start_switch()

    def answers() -> bool:
        sent = KINDS["ping through the tunnel"](own_ovn_cloud)
        with suppress(LabError):
            wait_until(lambda: sent.answered == 1, timeout=0.2)
        return sent.answered == 1

    wait_until(answers, timeout=30, what="an answer through the tunnel")


@pytest.mark.usefixtures("ovn_installed")
def test_the_southbound_listens_for_tls_where_keys_are_given(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    authority = pki.authority()
    server, client = pki.leaf(authority, "IP:127.0.0.1"), pki.leaf(authority)
    keys = Keys(server.key, server.cert, authority.cert)
    with OvnCentral(tls=keys) as central:
        files = [f"--private-key={client.key}", f"--certificate={client.cert}"]
        files += [f"--ca-cert={authority.cert}"]
        assert (
            "SB_Global"
            in central.run(
                "ovn-sbctl", f"--db={central.southbound_tls}", *files, "list", "SB_Global"
            )
            or central.run("ovn-sbctl", f"--db={central.southbound_tls}", *files, "show") == ""
        )


# -- it leaves nothing behind ----------------------------------------------------------------------


@pytest.fixture
def stopped_cloud(ovn_installed: None) -> Iterator[OvnCloud]:  # noqa: ARG001 - needed, not used
    cloud = OvnCloud()
    yield cloud
    cloud.stop()


def test_nothing_is_left_of_a_stopped_cloud(stopped_cloud: OvnCloud) -> None:
    stopped_cloud.start()
    directories = [
        stopped_cloud.central.rundir,
        *(each.directory for each in stopped_cloud.chassis),
        *(each.switch.rundir for each in stopped_cloud.chassis),
    ]
    names = {
        stopped_cloud.central.name,
        stopped_cloud.underlay.name,
        *(each.name for each in stopped_cloud.chassis),
    }
    pids = {pid for directory in directories for pid in processes_of(directory)}
    # two databases and ovn-northd; on each chassis its switch and ovn-controller
    assert len(pids) == 3 + 2 * (2 + 1)
    stopped_cloud.stop()
    stopped_cloud.stop()
    assert not any(Path("/proc", str(pid)).exists() for pid in pids)
    assert not any(directory.exists() for directory in directories)
    assert names.isdisjoint(path.name for path in NAMESPACES.iterdir())
    assert len(names) == 4


def processes_of(directory: Path) -> list[int]:
    """Return the processes that name a directory, or one in it, in their environment."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = environ.read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        if f"_RUNDIR={directory}".encode() in variables:
            found.append(int(environ.parent.name))
    return found


def test_a_cloud_writes_only_into_its_own_directories(ovn_cloud: OvnCloud) -> None:
    daemons = [ovn_cloud.central.northbound, ovn_cloud.central.southbound, ovn_cloud.central.northd]
    for chassis in ovn_cloud.chassis:
        daemons += [chassis.controller, chassis.switch.ovsdb, chassis.switch.vswitchd]
    own = str(namespace.DIRECTORIES / "dpa-")
    for daemon in daemons:
        for descriptor in Path("/proc", str(daemon.pid), "fd").iterdir():
            target = str(descriptor.readlink())
            if target.startswith("/") and not target.endswith(" (deleted)"):
                assert target.startswith((own, "/dev/", "/proc/"))
