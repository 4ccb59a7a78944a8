"""Domains of the lab: as recorded, with traffic, alone on the machine, and nothing left over."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

import lab
from lab import frames, namespace, traffic
from lab.compute import ComputeNode, neutron_port
from lab.domain_xml import FREE_SLOTS, domain_xml, interface_xml
from lab.host import Host
from lab.hypervisor import Hypervisor
from lab.instance import Instance
from lab.linux_bridge import LinuxBridgeNode
from lab.process import NAMESPACES, LabError, run, wait_until
from lab.recorded import Link, parse_domain_macs, parse_domains, parse_links
from lab.station import Station
from tests.node.test_hosts import CHROOT

TAP, SECOND_TAP = "tap00000001-00", "tap00000002-00"
MAC, SECOND_MAC = "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"
NAME = "instance-00000001"

pytestmark = pytest.mark.usefixtures("libvirt_installed")


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as host:
        yield host


@pytest.fixture
def hypervisor(host: Host) -> Iterator[Hypervisor]:
    """A hypervisor for this test, with a domain that runs."""
    with Hypervisor(host.name) as hypervisor:
        start(hypervisor, NAME, TAP, MAC)
        yield hypervisor


def start(hypervisor: Hypervisor, name: str, tap: str, mac: str) -> None:
    hypervisor.define(domain_xml(name, str(uuid4()), [interface_xml(tap, mac)]))
    hypervisor.start_domain(name)


def devices(host: Host) -> set[str]:
    return set(parse_links(host.run("ip", "address"))) - {"lo"}


def state(hypervisor: Hypervisor, name: str = NAME) -> str:
    return hypervisor.virsh("domstate", name).strip()


# -- as recorded -----------------------------------------------------------------------------------


@pytest.fixture(params=["Open vSwitch", "Linux bridge"])
def recorded(request: pytest.FixtureRequest) -> ComputeNode | LinuxBridgeNode:
    fixtures = {
        "Open vSwitch": "compute_node_with_domains",
        "Linux bridge": "linux_bridge_with_domains",
    }
    node = request.getfixturevalue(fixtures[request.param])
    assert isinstance(node, ComputeNode | LinuxBridgeNode)
    return node


def test_the_documents_of_domains_were_read_completely(
    compute_node_with_domains: ComputeNode, linux_bridge_with_domains: LinuxBridgeNode
) -> None:
    assert known(compute_node_with_domains.instance) == (
        "instance-00000007",
        "3cf00c5f-e813-4789-a4bc-114bf24bb2b0",
        "amphora-d22c0427-7b81-485e-939b-0a5eb9f33d4b",
        {"tap13abc033-93": ["10.0.0.205"], "tap9113df4c-ca": ["192.168.101.149", "192.168.101.67"]},
    )
    assert known(linux_bridge_with_domains.instance) == (
        "instance-0000000f",
        "c6a81e18-1a6f-46f6-a8bd-23677e3f0970",
        "amphora-4e50fb92-e0b8-4042-a8a5-60415cbe7328",
        {"tap9d34b34b-3f": ["10.0.0.202"], "tap26632aea-3c": ["192.168.101.69", "192.168.101.219"]},
    )


def known(instance: Instance) -> tuple[str, str, str, dict[str, list[str]]]:
    addresses = {tap: [host.ip for host in port.hosts] for tap, port in instance.ports.items()}
    assert (instance.flavor, instance.project) == ("amphora", "bccf406c045d401b91ba5c7552a124ae")
    return instance.domain, instance.identity, instance.name, addresses


def test_domains_are_those_of_the_document(recorded: ComputeNode | LinuxBridgeNode) -> None:
    hypervisor, instance = recorded.hypervisor, recorded.instance
    assert parse_domains(hypervisor.virsh("list")) == [instance.domain]
    assert hypervisor.virsh("domuuid", instance.domain).strip() == instance.identity
    assert state(hypervisor, instance.domain) == "running"


def test_interfaces_are_those_of_the_document_to_the_letter(
    recorded: ComputeNode | LinuxBridgeNode,
) -> None:
    """But for the places on the PCI bus, of another machine type, and for the boot code."""
    instance = recorded.instance
    real = recorded.hypervisor.virsh("dumpxml", instance.domain)
    assert interfaces(real) == interfaces(instance.interfaces)
    assert len(interfaces(real)) == 2


def interfaces(xml: str) -> list[list[str]]:
    return [
        [line.strip() for line in element.splitlines() if not re.match(r" *<(address|rom) ", line)]
        for element in re.findall(r"<interface.*?</interface>", xml, re.DOTALL)
    ]


def test_taps_have_the_addresses_mtu_and_options_of_the_document(
    recorded: ComputeNode | LinuxBridgeNode,
) -> None:
    links = parse_links(recorded.run("ip", "-details", "link", "show"))
    wanted = links_of(recorded)
    for tap in recorded.instance.ports:
        real, link = links[tap], wanted[tap]
        assert (real.mac, real.mtu, real.kind) == (link.mac, link.mtu, link.kind)
        assert real.options == link.options == "type tap pi off vnet_hdr on persist off"
        assert real.flags >= {"UP", "LOWER_UP"}


def links_of(node: ComputeNode | LinuxBridgeNode) -> dict[str, Link]:
    if isinstance(node, LinuxBridgeNode):
        return node.links
    return parse_links(node.recording.text("ip-d-link.txt"))


def test_libvirt_plugs_taps_into_the_bridges_of_the_document(
    linux_bridge_with_domains: LinuxBridgeNode,
) -> None:
    node = linux_bridge_with_domains
    real = parse_links(node.run("ip", "-details", "link", "show"))
    for tap in node.instance.ports:
        assert real[tap].master == node.links[tap].master
        assert real[tap].port_state == node.links[tap].port_state == "forwarding"


def test_metadata_is_what_nova_writes(recorded: ComputeNode | LinuxBridgeNode) -> None:
    instance = recorded.instance
    uri = "http://openstack.org/xmlns/libvirt/nova/1.1"
    written = recorded.hypervisor.virsh("metadata", instance.domain, uri)
    assert f"<name>{instance.name}</name>" in written
    assert f'<flavor name="{instance.flavor}">' in written
    assert f'<project uuid="{instance.project}">' in written
    assert re.findall(r'<port uuid="(.*?)">', written) == [
        neutron_port(tap) for tap in parse_domain_macs(instance.interfaces)
    ]


def test_ports_of_the_switch_name_the_domain(compute_node_with_domains: ComputeNode) -> None:
    node = compute_node_with_domains
    for tap in node.instance.ports:
        ids = node.vsctl("get", "Interface", tap, "external_ids")
        assert f'vm-uuid="{node.instance.identity}"' in ids
        assert f'attached-mac="{node.guests[tap].host.mac}"' in ids
        assert f'iface-id="{neutron_port(tap)}"' in ids


# -- traffic ---------------------------------------------------------------------------------------


def packets_and_bytes(node: ComputeNode | LinuxBridgeNode, tap: str) -> dict[str, int]:
    counted = node.hypervisor.domifstat(node.instance.domain, tap)
    return {way: counted[way] for way in ("tx_packets", "tx_bytes", "rx_packets", "rx_bytes")}


def test_what_a_guest_sends_and_gets_is_counted_frame_by_frame(
    own_compute_node_with_domains: ComputeNode,
) -> None:
    node, tap = own_compute_node_with_domains, traffic.TAP_AMPHORA
    guest = node.guests[tap]
    assert set(packets_and_bytes(node, tap).values()) == {0}
    traffic.spoofed(node, 1000, tap)
    traffic.ping_out(node, 100)
    wait_until(lambda: guest.received_frames == 100, what="a hundred answers")
    size = len(frames.echo(guest.host, guest.host))
    assert packets_and_bytes(node, tap) == {
        "tx_packets": 1100,
        "tx_bytes": 1100 * size,
        "rx_packets": 100,
        "rx_bytes": 100 * size,
    }
    assert set(packets_and_bytes(node, traffic.TAP_VIP).values()) == {0}
    lost = [f.packets for f in node.flows("br-int") if (f.table, f.match) == (93, "")]
    assert lost == [1000]


def test_guests_answer_through_their_domain(own_compute_node_with_domains: ComputeNode) -> None:
    node = own_compute_node_with_domains
    asked, asker = node.guests[traffic.TAP_AMPHORA], node.wires["eth3"]
    asker.send(frames.echo(asker.host, asked.host), 100)
    wait_until(lambda: asker.received_frames == 100, what="a hundred answers")
    assert asked.received[0] == frames.echo(asker.host, asked.host)
    counted = packets_and_bytes(node, traffic.TAP_AMPHORA)
    assert counted["tx_packets"] == counted["rx_packets"] == 100


def test_long_and_short_frames_pass_as_they_are(
    own_compute_node_with_domains: ComputeNode,
) -> None:
    node = own_compute_node_with_domains
    guest, outside = node.guests[traffic.TAP_AMPHORA], node.wires["eth3"]
    pings = [frames.echo(guest.host, outside.host, data=bytes(size)) for size in (0, 1, 1000, 1472)]
    for ping in pings * 10:
        guest.send(ping)
    wait_until(lambda: guest.received_frames == 40, what="forty answers")
    assert list(outside.received) == pings * 10
    assert [len(frame) for frame in guest.received] == [len(ping) for ping in pings * 10]


def test_each_kind_of_traffic_comes_through(own_compute_node_with_domains: ComputeNode) -> None:
    node = own_compute_node_with_domains
    for kind in traffic.KINDS:
        kind(node, 2)
    amphora = f'in_port="{traffic.TAP_AMPHORA}",dl_src={node.guests[traffic.TAP_AMPHORA].host.mac}'
    expected = {
        (71, f"ip,reg5=0x5,{amphora},nw_src=10.0.0.205"): 2,
        (71, f"udp,reg5=0x5,{amphora},nw_src=0.0.0.0,tp_src=68,tp_dst=67"): 2,
        (82, "ct_state=+new-est,tcp,reg5=0x5,tp_dst=9443"): 2,
        (82, "ct_state=-est,reg5=0x6"): 2,
        (71, 'reg5=0x4,in_port="tap648437e1-0d"'): 2,
    }

    def counted() -> bool:
        real = {(f.table, f.match): f.packets for f in node.flows("br-int")}
        return {key: real[key] for key in expected} == expected

    wait_until(counted, what="two packets of each kind")


@pytest.mark.parametrize("tap", ["tap9d34b34b-3f", "tap26632aea-3c"])
def test_instances_on_linux_bridges_are_reached(
    linux_bridge_with_domains: LinuxBridgeNode, tap: str
) -> None:
    node = linux_bridge_with_domains
    guest = node.guests[tap]
    end = {"tap9d34b34b-3f": node.gateway, "tap26632aea-3c": node.remote}[tap]
    before, counted = packets_and_bytes(node, tap), guest.received_frames + end.received_frames
    guest.send(frames.echo(guest.host, end.host), 10)
    end.send(frames.echo(end.host, guest.host), 10)
    wait_until(
        lambda: guest.received_frames + end.received_frames == counted + 40,
        what="twenty pings and twenty answers",
    )
    now = packets_and_bytes(node, tap)
    size = len(frames.echo(guest.host, end.host))
    assert {way: now[way] - before[way] for way in now} == {
        "tx_packets": 20,
        "tx_bytes": 20 * size,
        "rx_packets": 20,
        "rx_bytes": 20 * size,
    }


def test_an_instance_that_was_started_again_is_reached(
    own_compute_node_with_domains: ComputeNode,
) -> None:
    node, tap = own_compute_node_with_domains, traffic.TAP_AMPHORA
    guest, number = node.guests[tap], node.vsctl("get", "Interface", tap, "ofport")
    node.stop_instance()
    assert tap not in parse_links(node.run("ip", "address"))
    assert tap not in node.vsctl("list-ports", "br-int").split()
    wait_until(lambda: refuses(guest), what="the guest to be gone")
    node.start_instance()
    assert node.vsctl("get", "Interface", tap, "ofport") == number
    traffic.ping_out(node, 10)
    wait_until(lambda: node.guests[tap].received_frames == 10, what="ten answers")
    assert packets_and_bytes(node, tap)["tx_packets"] == 10


def refuses(guest: Station) -> bool:
    try:
        guest.send(frames.arp_request(guest.host, "10.0.0.1"))
    except OSError:
        return True
    return False


# -- what domains go through -----------------------------------------------------------------------


def test_interfaces_come_and_go_while_a_domain_runs(hypervisor: Hypervisor, host: Host) -> None:
    interface = interface_xml(SECOND_TAP, SECOND_MAC, mtu=1450)
    for _ in range(2):
        hypervisor.attach(NAME, interface)
        link = parse_links(host.run("ip", "address"))[SECOND_TAP]
        assert (link.mac, link.mtu) == ("fe:16:3e:00:00:02", 1450)
        assert SECOND_TAP in hypervisor.virsh("domiflist", NAME)
        hypervisor.detach(NAME, interface)
        wait_until(lambda: devices(host) == {TAP}, what="the tap to go")
        assert SECOND_TAP not in hypervisor.virsh("domiflist", NAME)


def test_a_domain_has_free_slots(hypervisor: Hypervisor, host: Host) -> None:
    for number in range(FREE_SLOTS):
        hypervisor.attach(NAME, interface_xml(f"tap{number}", f"fa:16:3e:00:01:0{number}"))
    assert len(devices(host)) == 1 + FREE_SLOTS


def test_a_domain_is_renamed_while_it_is_shut_off(hypervisor: Hypervisor, host: Host) -> None:
    hypervisor.destroy_domain(NAME)
    assert (state(hypervisor), devices(host)) == ("shut off", set())
    hypervisor.virsh("domrename", NAME, "instance-00000002")
    hypervisor.start_domain("instance-00000002")
    assert parse_domains(hypervisor.virsh("list", "--all")) == ["instance-00000002"]
    assert devices(host) == {TAP}


def test_a_tap_goes_from_one_domain_to_another(hypervisor: Hypervisor, host: Host) -> None:
    hypervisor.destroy_domain(NAME)
    start(hypervisor, "instance-00000002", TAP, SECOND_MAC)
    assert parse_links(host.run("ip", "address"))[TAP].mac == "fe:16:3e:00:00:02"


def test_a_name_may_have_what_xml_escapes(hypervisor: Hypervisor) -> None:
    start(hypervisor, "<&'>", SECOND_TAP, SECOND_MAC)
    assert state(hypervisor, "<&'>") == "running"


# -- libvirtd --------------------------------------------------------------------------------------


def test_domains_outlive_their_libvirtd(hypervisor: Hypervisor, host: Host) -> None:
    killed = hypervisor.libvirtd.pid
    hypervisor.kill_libvirtd()
    with pytest.raises(LabError):
        hypervisor.virsh("list")
    assert devices(host) == {TAP}
    hypervisor.start_libvirtd()
    assert hypervisor.libvirtd.pid != killed
    assert parse_domains(hypervisor.virsh("list")) == [NAME]
    assert hypervisor.domifstat(NAME, TAP)["tx_packets"] == 0
    hypervisor.destroy_domain(NAME)
    assert (state(hypervisor), devices(host)) == ("shut off", set())


def test_its_libvirtd_is_the_process_that_it_names(hypervisor: Hypervisor) -> None:
    assert Path("/proc", str(hypervisor.libvirtd.pid), "comm").read_text() == "libvirtd\n"
    hypervisor.libvirtd.stop()
    assert not hypervisor.libvirtd.alive


def test_a_paused_libvirtd_does_not_answer_until_it_is_resumed(hypervisor: Hypervisor) -> None:
    hypervisor.pause()
    command = ["virsh", "--connect", hypervisor.uri, "list"]
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(command, capture_output=True, timeout=1, check=False)
    hypervisor.resume()
    assert state(hypervisor) == "running"


def test_a_libvirtd_that_is_paused_is_stopped_all_the_same(host: Host) -> None:
    with Hypervisor(host.name) as hypervisor:
        hypervisor.pause()
    assert not hypervisor.libvirtd.alive


def test_the_address_for_reading_changes_nothing(hypervisor: Hypervisor) -> None:
    def ask(*words: str) -> "subprocess.CompletedProcess[str]":
        command = ["virsh", "--connect", hypervisor.uri, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert ask("domstate", NAME).stdout.strip() == "running"
    assert "read only" in ask("destroy", NAME).stderr
    assert state(hypervisor) == "running"


# -- alone, and nothing left behind ----------------------------------------------------------------


def mounts() -> list[str]:
    return sorted(Path("/proc/self/mountinfo").read_text().splitlines())


def processes_in(pidns: str) -> list[int]:
    """Return the processes of a namespace that is named as /proc/<pid>/ns names it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str((process / "ns/pid").readlink()) == pidns:
                found.append(int(process.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


def pidns_of(hypervisor: Hypervisor) -> str:
    return str(Path("/proc", str(hypervisor.libvirtd.pid), "ns/pid").readlink())


def test_hypervisors_do_not_see_each_other(hypervisor: Hypervisor, host: Host) -> None:
    with Hypervisor(host.name) as other:
        assert other.virsh("list", "--all").strip() == ""
        start(other, NAME, SECOND_TAP, SECOND_MAC)  # the same name, and nobody minds
    assert state(hypervisor) == "running"
    assert devices(host) == {TAP}


def test_nothing_of_a_hypervisor_is_seen_outside(host: Host) -> None:
    """Neither mounts, nor files where libvirt has its own."""
    own = [Path(name) for name in ("/run/libvirt", "/var/lib/libvirt/qemu", "/run/libvirtd.pid")]
    files = [sorted(each.rglob("*")) for each in own]
    before = mounts()
    with Hypervisor(host.name) as hypervisor:
        start(hypervisor, NAME, TAP, MAC)
        assert mounts() == before
        assert [sorted(each.rglob("*")) for each in own] == files
    assert mounts() == before


def test_nothing_is_left_of_a_stopped_hypervisor(host: Host) -> None:
    hypervisor = Hypervisor(host.name)
    hypervisor.start()
    start(hypervisor, NAME, TAP, MAC)
    pidns, directory = pidns_of(hypervisor), hypervisor.directory
    assert len(processes_in(pidns)) == 3  # the first, libvirtd and QEMU
    hypervisor.stop()
    hypervisor.stop()
    assert processes_in(pidns) == []
    assert not directory.exists()
    wait_until(lambda: devices(host) == set(), what="the tap to go")


def test_nothing_is_left_of_a_stopped_node_with_domains() -> None:
    node = ComputeNode(wait_for_status=False, domains=True)
    node.start()
    pidns, directory = pidns_of(node.hypervisor), node.hypervisor.directory
    node.stop()
    assert processes_in(pidns) == []
    assert not directory.exists()
    assert not node.rundir.exists()
    assert not (NAMESPACES / node.name).exists()


IN_CHROOT = f"""
from pathlib import Path
from lab.domain_xml import domain_xml, interface_xml
from lab.host import Host
from lab.hypervisor import Hypervisor
def mounts():
    return sorted(Path("/proc/self/mountinfo").read_text().splitlines())
with Host() as host:
    before = mounts()
    with Hypervisor(host.name) as hypervisor:
        hypervisor.define(domain_xml("{NAME}", "{uuid4()}", [interface_xml("{TAP}", "{MAC}")]))
        hypervisor.start_domain("{NAME}")
        print(hypervisor.virsh("domstate", "{NAME}").strip(), mounts() == before)
"""


def test_a_hypervisor_runs_in_a_chroot_and_mounts_nothing_where_mounts_are_shared(
    tmp_path: Path,
) -> None:
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group"):  # libvirtd looks up whom QEMU is to run as
        shutil.copy(Path("/etc", name), tmp_path / "etc")
    project = Path(lab.__file__).parents[1]
    program: tuple[str, ...] = ("env", f"--chdir={project}", sys.executable, "-c", IN_CHROOT)
    if any(line.split()[4] == "/" for line in mounts()):
        places = (str(tmp_path), str(project), sys.prefix)
        shared = ("unshare", "--mount", "--propagation=shared")
        program = (*shared, "sh", "-c", CHROOT, "sh", *places, *program)
    assert run(*program).split() == ["running", "True"]


PROGRAM = f"""
import os, time
from lab.domain_xml import domain_xml, interface_xml
from lab.host import Host
from lab.hypervisor import Hypervisor
with Host() as host, Hypervisor(host.name) as hypervisor:
    hypervisor.define(domain_xml("{NAME}", "{uuid4()}", [interface_xml("{TAP}", "{MAC}")]))
    hypervisor.start_domain("{NAME}")
    pidns = os.readlink(f"/proc/{{hypervisor.libvirtd.pid}}/ns/pid")
    print(host.name, hypervisor.directory, pidns, flush=True)
    time.sleep(60)
"""


def test_nothing_runs_on_when_the_lab_is_killed() -> None:
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as lab:
        assert lab.stdout is not None
        name, directory, pidns = lab.stdout.readline().decode().split()
        assert len(processes_in(pidns)) == 3
        lab.send_signal(signal.SIGKILL)
        lab.wait(20)
    wait_until(lambda: processes_in(pidns) == [], what="all processes to end")
    namespace.sweep()  # as the next lab that starts does
    assert not Path(directory).exists()
    assert not (NAMESPACES / name).exists()
    mine = f"dpa-{lab.pid}-"
    assert [path for path in namespace.DIRECTORIES.iterdir() if path.name.startswith(mine)] == []
