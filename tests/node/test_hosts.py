"""Hosts of the lab: a network of their own, the documents' devices in it, and nothing left over."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import lab
from lab import frames, namespace
from lab.host import Host
from lab.linux_bridge import PEER, SILENT_PEER, TUNNEL, LinuxBridgeNode
from lab.node import Node
from lab.process import NAMESPACES, LabError, run, wait_until
from lab.recorded import Address, Link, parse_addresses, parse_links
from lab.routers import ControllerNode, Devices, RouterNode, Routers
from lab.station import Station

FIP = "fip-02e2d514-529e-4067-bbf4-807943ea6472"
ROUTERS = (
    "qrouter-703db450-5cd2-4f8c-a525-a0cd9f90cb3f",
    "qrouter-13fe8525-da22-42de-aeb6-84f41a3b607d",
    "qrouter-242fcb80-e9e1-410b-ba4e-7617d1c384ad",
)

pytestmark = pytest.mark.usefixtures("open_vswitch")


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as host:
        yield host


@pytest.fixture(scope="module")
def bridges() -> Iterator[LinuxBridgeNode]:
    with LinuxBridgeNode() as node:
        yield node


@pytest.fixture(scope="module")
def routers() -> Iterator[RouterNode]:
    with RouterNode() as node:
        yield node


def names() -> set[str]:
    return {path.name for path in NAMESPACES.iterdir()}


def mounts() -> set[str]:
    return set(Path("/proc/self/mountinfo").read_text().splitlines())


def connect(netns: str, peer_netns: str) -> None:
    peer = ("type", "veth", "peer", "y", "netns", peer_netns)
    run("ip", "link", "add", "x", *peer, netns=netns)


# -- a host ----------------------------------------------------------------------------------------


def test_namespaces_of_a_host_are_seen_by_nobody_else(host: Host) -> None:
    host.add_namespace("qrouter-1")
    host.add_namespace("fip-1")
    assert set(host.run("ip", "netns", "list").split()) >= {"qrouter-1", "fip-1"}
    assert {"qrouter-1", "fip-1"}.isdisjoint(names())
    with Host() as other:
        assert other.run("ip", "netns", "list") == ""


def test_a_command_runs_in_the_namespace_that_is_named(host: Host) -> None:
    host.add_namespace("qrouter-1")
    host.run("ip", "link", "add", "near", "type", "veth", "peer", "far", netns="qrouter-1")
    assert set(parse_links(host.run("ip", "address", netns="qrouter-1"))) == {"lo", "near", "far"}
    assert set(parse_links(host.run("ip", "address"))) == {"lo"}
    with pytest.raises(LabError):
        host.run("ip", "address", netns="qrouter-2")


def test_a_path_leads_into_a_namespace_from_outside(host: Host) -> None:
    host.add_namespace("qrouter-1")
    far = host.outside()
    connect(far, host.path("qrouter-1"))
    assert "y" in parse_links(host.run("ip", "address", netns="qrouter-1"))
    assert "x" in parse_links(run("ip", "address", netns=far))
    devices = host.inside(socket.if_nameindex, "qrouter-1")
    assert {name for _, name in devices} == {"lo", "y"}
    assert {name for _, name in host.inside(socket.if_nameindex)} == {"lo"}


def test_a_deleted_namespace_of_somebody_else_is_not_kept(host: Host) -> None:
    """A copy of the mounts of /run/netns would keep it: its end of a veth would stay."""
    name, directory = namespace.create()
    with Host() as younger:
        far = younger.outside()
        connect(far, name)
        namespace.delete(name, directory)
        wait_until(lambda: "x" not in parse_links(run("ip", "a", netns=far)), what="x to go")
    assert host.holder.alive


def test_nothing_is_left_of_a_stopped_host() -> None:
    mounts_before = mounts()
    far, directory = namespace.create()
    host = Host()
    host.start()
    host.add_namespace("qrouter-1")
    pid, own = host.holder.pid, host.directory
    connect(far, host.path("qrouter-1"))
    host.stop()
    host.stop()
    assert host.name not in names()
    assert not Path("/proc", str(pid)).exists()
    assert not own.exists()
    # The kernel frees a namespace that nothing holds, with the devices in it.
    wait_until(lambda: "x" not in parse_links(run("ip", "a", netns=far)), what="x to go")
    namespace.delete(far, directory)
    assert [
        each for each in mounts() - mounts_before if host.name in each or "tmpfs lab" in each
    ] == []


PROGRAM = """
import time
from lab.host import Host
with Host() as host:
    host.add_namespace("qrouter-1")
    print(host.name, host.holder.pid, flush=True)
    time.sleep(60)
"""


def test_nothing_runs_on_when_the_lab_is_killed() -> None:
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as lab:
        assert lab.stdout is not None
        name, pid = lab.stdout.readline().decode().split()
        lab.send_signal(signal.SIGKILL)
        lab.wait(20)
    wait_until(lambda: not Path("/proc", pid).exists(), what="the holder to end")
    namespace.sweep()  # as the next lab that starts does
    assert name not in names()


def test_a_switch_runs_on_a_host(host: Host) -> None:
    with Node(host.name) as node:
        node.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
        assert "br0" in parse_links(host.run("ip", "address"))
    assert not node.rundir.exists()
    assert host.name in names()


CHROOT = """
set -e
root=$1; shift
mkdir -p "$root"/proc "$root"/run "$root"/tmp "$root"/var
for name in bin sbin lib lib64; do ln -s usr/$name "$root"/$name; done
ln -s ../run "$root"/var/run
mount -t proc proc "$root"/proc
for part in /usr /dev "$1" "$2"; do mkdir -p "$root$part"; mount --rbind "$part" "$root$part"; done
shift 2
exec chroot "$root" "$@"
"""
IN_CHROOT = """
import os
from lab.host import Host
with Host() as host:
    host.add_namespace("qrouter-1")
    print(host.run("stat", "--format=%i", "/").strip() == str(os.stat("/").st_ino))
    print(host.run("ip", "netns", "list"))
    print(host.run("ip", "-brief", "link", netns="qrouter-1"))
"""


def test_a_host_runs_in_a_chroot_that_is_no_mount_point_and_stays_in_it(tmp_path: Path) -> None:
    project = Path(lab.__file__).parents[1]
    program: tuple[str, ...] = ("env", f"--chdir={project}", sys.executable, "-c", IN_CHROOT)
    if any(line.split()[4] == "/" for line in mounts()):
        places = (str(tmp_path), str(project), sys.prefix)
        program = ("unshare", "--mount", "sh", "-c", CHROOT, "sh", *places, *program)
    assert run(*program).split()[:3] == ["True", "qrouter-1", "lo"]


# -- the Linux bridge node -------------------------------------------------------------------------


def comparable(link: Link) -> tuple[object, ...]:
    """Return what of a link this kernel can show as the recorded one did."""
    kind = link.kind or "veth"  # the lab's hardware
    words = link.options if kind == "vxlan" else ""
    return (link.name, link.mac, link.mtu, link.flags, link.master, kind, words, link.port_state)


def test_links_are_those_of_the_document(bridges: LinuxBridgeNode) -> None:
    real = parse_links(bridges.run("ip", "-details", "link", "show"))
    del real["lo"]
    assert {comparable(link) for link in real.values()} == {
        comparable(link) for link in bridges.links.values()
    }
    for name in ("brqc08e7dcd-4a", "brq6d947ca8-d4"):
        for option in ("forward_delay", "stp_state", "vlan_filtering", "ageing_time"):
            assert real[name].option(option) == bridges.links[name].option(option)


def test_the_document_of_links_was_read_completely(bridges: LinuxBridgeNode) -> None:
    assert {(link.name, link.kind, link.master) for link in bridges.links.values()} == {
        ("eth0", "", ""),
        ("eth3", "", "brq6d947ca8-d4"),
        ("brqc08e7dcd-4a", "bridge", ""),
        ("brq6d947ca8-d4", "bridge", ""),
        ("tap9d34b34b-3f", "tun", "brq6d947ca8-d4"),
        ("tap26632aea-3c", "tun", "brqc08e7dcd-4a"),
        ("vxlan-267", "vxlan", "brqc08e7dcd-4a"),
    }
    assert bridges.links[TUNNEL].option("local") == "172.16.0.31"
    assert bridges.links[TUNNEL].option("dstport") == "8472"
    assert [link.name for link in bridges.links.values() if link.port_state == "forwarding"] == [
        "eth3",
        "tap9d34b34b-3f",
        "tap26632aea-3c",
        "vxlan-267",
    ]


def test_instances_have_the_addresses_of_the_document(bridges: LinuxBridgeNode) -> None:
    assert {tap: station.hosts for tap, station in bridges.guests.items()} == {
        "tap9d34b34b-3f": (frames.Host("fa:16:3e:79:bb:0b", "10.0.0.202"),),
        "tap26632aea-3c": (
            frames.Host("fa:16:3e:bb:f5:60", "192.168.101.69"),
            frames.Host("fa:16:3e:bb:f5:60", "192.168.101.219"),
        ),
    }


def test_the_tunnel_knows_its_peers(bridges: LinuxBridgeNode) -> None:
    entries = json.loads(bridges.run("bridge", "-json", "fdb", "show", "dev", TUNNEL))
    flooded = {e["dst"] for e in entries if e["mac"] == "00:00:00:00:00:00"}
    assert flooded == {PEER, SILENT_PEER}


def test_instances_answer_through_the_tunnel_and_over_the_wire() -> None:
    with LinuxBridgeNode() as node:
        for end, tap in ((node.remote, "tap26632aea-3c"), (node.gateway, "tap9d34b34b-3f")):
            guest = node.guests[tap]
            end.send(frames.echo(end.host, guest.host), 10)
            wait_until(partial(has_received, end, 10), what=f"answers from {tap}")
            assert has_received(guest, 10)


def has_received(station: Station, count: int) -> bool:
    return station.received_frames == count


# -- the router nodes ------------------------------------------------------------------------------


def shown(node: Routers, netns: str) -> dict[str, tuple[str, int, bool, frozenset[Address]]]:
    """Return the devices of a namespace as ``ip address`` shows them."""
    text = node.run("ip", "address", netns=netns)
    links, addresses = parse_links(text), parse_addresses(text)
    return {
        name: (link.mac, link.mtu, "UP" in link.flags, frozenset(addresses[name]))
        for name, link in links.items()
        if name != "lo"
    }


def wanted(devices: Devices, netns: str) -> dict[str, tuple[str, int, bool, frozenset[Address]]]:
    return {
        name: (device.link.mac, device.link.mtu, True, frozenset(device.addresses))
        for name, device in devices[netns].items()
    }


def test_namespaces_are_those_of_the_document(routers: RouterNode) -> None:
    listed = routers.run("ip", "netns", "list").splitlines()
    assert {line.split()[0] for line in listed} == {*ROUTERS, FIP}


def test_devices_and_addresses_are_those_of_the_document_before_and_after() -> None:
    with RouterNode() as node:
        for netns in (FIP, ROUTERS[2]):
            assert shown(node, netns) == wanted(node.before, netns)
        node.assign_floating_ip()
        for netns in (FIP, ROUTERS[2]):
            assert shown(node, netns) == wanted(node.after, netns)


def test_the_document_of_namespaces_was_read_completely(routers: RouterNode) -> None:
    before = {netns: set(devices) for netns, devices in routers.before.items()}
    assert before == {FIP: {"fpr-703db450-5", "fg-6e12764c-ba"}, ROUTERS[2]: {"qr-b4b97d8a-7c"}}
    after = {netns: set(devices) for netns, devices in routers.after.items()}
    assert after[FIP] - before[FIP] == {"fpr-13fe8525-d"}
    assert after[ROUTERS[2]] - before[ROUTERS[2]] == {"rfp-242fcb80-e"}
    assert [a.address for a in routers.after[ROUTERS[2]]["rfp-242fcb80-e"].addresses] == [
        "169.254.31.74/31",
        "192.168.74.104/32",
        "fe80::9f:83ff:fe86:464c/64",
    ]


def test_all_that_is_built_is_told(routers: RouterNode) -> None:
    for netns in routers.names:
        assert shown(routers, netns) == wanted(routers.devices, netns)


def test_an_instance_is_answered_by_its_router(routers: RouterNode) -> None:
    port = routers.devices[ROUTERS[1]]["qr-85285e17-5d"]
    guest = routers.guest
    received = guest.received_frames
    guest.send(frames.echo(guest.host, port.party), 10)
    wait_until(lambda: guest.received_frames == received + 10, what="ten answers")


def test_quiet_routers_count_nothing(routers: RouterNode) -> None:
    counted = [routers.counters(netns) for netns in routers.names]
    # Until the kernel has had the time to send what it would: its timers here are below 0.1 s.
    run("sleep", "0.5")
    assert [routers.counters(netns) for netns in routers.names] == counted


def test_the_controller_has_a_snat_namespace() -> None:
    with ControllerNode() as node:
        (netns,) = node.devices
        assert netns == ROUTERS[2].replace("qrouter", "snat")
        assert {name.partition("-")[0] for name in node.devices[netns]} == {"sg", "qg"}
        assert shown(node, netns) == wanted(node.devices, netns)


def test_nothing_is_left_of_a_stopped_router_node() -> None:
    node = RouterNode()
    node.start()
    rundir, mine = node.switch.rundir, f"dpa-{os.getpid()}-"
    before = names()
    node.stop()
    assert not rundir.exists()
    assert len({name for name in before - names() if name.startswith(mine)}) == 2
