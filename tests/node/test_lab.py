"""The lab builds what was recorded, and leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import namespace, traffic
from lab.compute import ComputeNode, neutron_port
from lab.node import Node
from lab.process import NAMESPACES, LabError, wait_until
from lab.prometheus import Job, Prometheus
from lab.recorded import Flow, Switch, parse_show
from lab.wide import WideNode

BRIDGES = ("br-int", "br-tun", "br-provider", "br-mgmt")
TAPS = ("tap648437e1-0d", "tap13abc033-93", "tap9113df4c-ca")


@pytest.fixture(scope="module")
def shown(compute_node: ComputeNode) -> Switch:
    return parse_show(compute_node.vsctl("show"))


def test_bridges_are_those_of_the_document(compute_node: ComputeNode, shown: Switch) -> None:
    assert set(shown.bridges) == set(compute_node.switch.bridges) == set(BRIDGES)
    for bridge in shown.bridges.values():
        assert bridge.fail_mode == "secure"
        assert bridge.datapath_type == "netdev"  # recorded: system, the kernel's


@pytest.mark.parametrize("bridge", BRIDGES)
def test_ports_tags_types_peers_options_and_errors_are_those_of_the_document(
    compute_node: ComputeNode, shown: Switch, bridge: str
) -> None:
    recorded = compute_node.switch.bridges[bridge].interfaces
    assert shown.bridges[bridge].interfaces == recorded


def test_the_document_itself_was_read_completely(compute_node: ComputeNode) -> None:
    interfaces = [i for b in compute_node.switch.bridges.values() for i in b.interfaces.values()]
    assert len(interfaces) == 16
    assert {i.name for i in interfaces if i.error} == {"tap0ab9a23c-99", "tap635485ff-6c"}
    assert sum(i.type == "patch" for i in interfaces) == 6
    assert {i.name: i.tag for i in interfaces if i.tag} == {
        "tap9113df4c-ca": 2,
        "tap0ab9a23c-99": 1,
        "tap13abc033-93": 4,
        "tap635485ff-6c": 3,
        "tap648437e1-0d": 2,
    }
    flows = {b: compute_node.recording.flows(b) for b in BRIDGES}
    assert {b: len(f) for b, f in flows.items()} == {
        "br-int": 183,
        "br-tun": 13,
        "br-provider": 4,
        "br-mgmt": 3,
    }


def test_controllers_and_manager_are_connected(shown: Switch) -> None:
    assert shown.managers == {"ptcp:6640:127.0.0.1": True}
    for bridge in shown.bridges.values():
        assert bridge.controllers == {"tcp:127.0.0.1:6633": True}


@pytest.mark.parametrize("bridge", BRIDGES)
def test_flows_are_those_of_the_document_to_the_letter(
    compute_node: ComputeNode, bridge: str
) -> None:
    """Without normalising anything; flows that a flow learned are the switch's own."""
    recorded = {flow.text for flow in compute_node.recording.flows(bridge)}
    real = compute_node.flows(bridge)
    assert {flow.text for flow in real if not is_learned(flow)} == recorded


def is_learned(flow: Flow) -> bool:
    return flow.table == 20 and flow.priority == 1


def test_port_numbers_are_those_that_the_flows_load(compute_node: ComputeNode) -> None:
    numbers = [compute_node.vsctl("get", "Interface", tap, "ofport").strip() for tap in TAPS]
    assert numbers == ["4", "5", "6"]


def test_taps_carry_what_nova_writes(compute_node: ComputeNode) -> None:
    for tap in TAPS:
        ids = compute_node.vsctl("get", "Interface", tap, "external_ids")
        assert f'iface-id="{neutron_port(tap)}"' in ids
        assert neutron_port(tap).startswith(tap.removeprefix("tap"))
        assert f'attached-mac="{compute_node.guests[tap].host.mac}"' in ids
        assert "iface-status=active" in ids
        assert re.search(r'vm-uuid="[0-9a-f-]{36}"', ids)


def test_local_ports_without_a_row_exist_all_the_same(compute_node: ComputeNode) -> None:
    assert "br-mgmt" not in compute_node.vsctl("list-ifaces", "br-mgmt").split()
    assert "LOCAL(br-mgmt)" in compute_node.ofctl("show", "br-mgmt")


def test_devices_have_the_addresses_and_mtu_of_the_document(compute_node: ComputeNode) -> None:
    links = compute_node.run("ip", "-details", "link", "show")
    assert re.search(r"tap648437e1-0d: .* mtu 1450 .*\n +link/ether fe:16:3e:61:21:c6", links)
    assert re.search(r"eth2@.*: .* mtu 1500 .*\n +link/ether 00:15:5d:bf:ba:58", links)


def test_a_switch_without_traffic_is_quiet(own_compute_node: ComputeNode) -> None:
    time.sleep(1)  # the promise is about time passing
    assert "hit:0 missed:0 lost:0" in own_compute_node.appctl("dpctl/show")


def test_a_spoofed_source_is_lost_in_table_71_packet_by_packet(
    own_compute_node: ComputeNode,
) -> None:
    traffic.spoofed(own_compute_node, 1000)
    drop = 'reg5=0x4,in_port="tap648437e1-0d"'

    def arrived() -> bool:
        return packets(own_compute_node, 93, "") == 1000

    wait_until(arrived, what="1000 packets in table 93")
    assert packets(own_compute_node, 71, drop) == 1000


def packets(node: ComputeNode, table: int, match: str, bridge: str = "br-int") -> int:
    found = [f for f in node.flows(bridge) if (f.table, f.match) == (table, match)]
    assert len(found) == 1
    return found[0].packets


def test_guests_and_the_world_answer_each_other(own_compute_node: ComputeNode) -> None:
    guest = own_compute_node.guests[traffic.TAP_AMPHORA]
    traffic.ping_out(own_compute_node, 3)
    wait_until(lambda: guest.received_frames == 3, what="three answers to pings")
    remote = traffic.vtep(own_compute_node)
    traffic.ping_through_tunnel(own_compute_node, 3)
    wait_until(lambda: remote.received_frames == 3, what="three answers through the tunnel")


def test_each_kind_of_traffic_reaches_its_flow(own_compute_node: ComputeNode) -> None:
    for kind in traffic.KINDS:
        kind(own_compute_node, 2)
    ssh, amphora = (
        f'in_port="{tap}",dl_src={own_compute_node.guests[tap].host.mac}'
        for tap in (traffic.TAP_SSH, traffic.TAP_AMPHORA)
    )
    keys = [
        (71, f"arp,reg5=0x4,{ssh},arp_spa=192.168.101.85"),
        (71, f"ip,reg5=0x5,{amphora},nw_src=10.0.0.205"),
        (82, "ct_state=+new-est,tcp,reg5=0x5,tp_dst=9443"),
        (71, f"udp,reg5=0x5,{amphora},nw_src=0.0.0.0,tp_src=68,tp_dst=67"),
        (71, 'reg5=0x4,in_port="tap648437e1-0d"'),
        (82, "ct_state=-est,reg5=0x6"),
        (72, "ct_state=+inv+trk"),
        (0, 'in_port="int-br-provider",dl_vlan=100'),
    ]
    expected = dict.fromkeys(keys, 2)

    def counted() -> bool:
        real = {(f.table, f.match): f.packets for f in own_compute_node.flows("br-int")}
        return {key: real[key] for key in expected} == expected

    wait_until(counted, what="two packets of each kind")


def test_a_killed_vswitchd_comes_back_with_the_flows(own_compute_node: ComputeNode) -> None:
    dead = own_compute_node.ctl
    own_compute_node.kill_vswitchd()
    assert dead.exists()  # a SIGKILL leaves its socket
    own_compute_node.start_vswitchd()
    own_compute_node.load_flows()
    assert own_compute_node.ctl != dead
    assert len(own_compute_node.flows("br-int")) == 183


def test_a_killed_ovsdb_comes_back(own_compute_node: ComputeNode) -> None:
    own_compute_node.kill_ovsdb()
    own_compute_node.start_ovsdb()
    assert set(own_compute_node.vsctl("list-br").split()) == set(BRIDGES)


def test_a_paused_vswitchd_does_not_answer_until_it_is_resumed(node: Node) -> None:
    node.pause_vswitchd()
    with pytest.raises(LabError):
        node.run("ovs-appctl", "--timeout=1", "-t", str(node.ctl), "version")
    node.resume_vswitchd()
    assert "Open vSwitch" in node.appctl("version")


def test_a_wide_node_has_its_interfaces(wide_node: WideNode) -> None:
    ports = wide_node.vsctl("list-ports", "br-int").split()
    assert sorted(ports) == sorted(wide_node.interfaces)
    assert wide_node.ofctl("show", "br-int").count("(tap") == len(wide_node.interfaces)


@pytest.mark.usefixtures("open_vswitch")
def test_nothing_is_left_of_a_stopped_node() -> None:
    node = ComputeNode(wait_for_status=False)
    node.start()
    # The third has been started, and may not yet be the program that it is to become.
    wait_until(lambda: len(processes_in(node.rundir)) == 3, what="three processes")
    pids = processes_in(node.rundir)
    node.stop()
    node.stop()
    assert not node.rundir.exists()
    assert not (NAMESPACES / node.name).exists()
    assert not any(Path("/proc", str(pid)).exists() for pid in pids)


class CannotBuildError(Exception):
    pass


class HalfBuilt(Node):
    def _build(self) -> None:
        super()._build()
        raise CannotBuildError


@pytest.mark.usefixtures("open_vswitch")
def test_nothing_is_left_of_a_node_that_failed_half_way() -> None:
    node = HalfBuilt()
    with pytest.raises(CannotBuildError):
        node.start()
    assert not node.rundir.exists()
    assert not (NAMESPACES / node.name).exists()
    assert processes_in(node.rundir) == []


def processes_in(directory: Path) -> list[int]:
    """Return the processes that name a directory in their environment."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = environ.read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        if f"OVS_RUNDIR={directory}\0".encode() in variables:
            found.append(int(environ.parent.name))
    return found


PROGRAM = """
import sys, time
from lab.node import Node
from lab.process import end_on_signals
end_on_signals()
with Node() as node:
    print(node.name, node.rundir, flush=True)
    time.sleep(60)
"""


@pytest.mark.usefixtures("open_vswitch")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_runs_on_when_the_lab_gets(number: signal.Signals) -> None:
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as lab:
        assert lab.stdout is not None
        name, rundir = lab.stdout.readline().decode().split()
        lab.send_signal(number)
        lab.wait(20)
    wait_until(lambda: not processes_in(Path(rundir)), what="its processes to end")
    if number == signal.SIGKILL:
        namespace.sweep()  # as the next lab that starts does
    assert not Path(rundir).exists()
    assert not (NAMESPACES / name).exists()


@pytest.mark.usefixtures("prometheus_installed")
def test_prometheus_scrapes_and_answers() -> None:
    with Prometheus() as scraped, Prometheus(Job([f"127.0.0.1:{scraped.port}"])) as prometheus:
        wait_until(lambda: [s.value for s in prometheus.query("up")] == [1.0], what="a scrape")
        raw = prometheus.query('up{job="dataplane-agent"}[1m]')
        assert raw[0].labels["instance"] == f"127.0.0.1:{scraped.port}"
        now = time.time()
        assert prometheus.query_range("up", now - 1, now + 1)[0].value == 1.0
        assert [target["health"] for target in prometheus.targets()] == ["up"]


@pytest.mark.usefixtures("open_vswitch", "libvirt_installed", "prometheus_installed")
@pytest.mark.parametrize("number", [None, signal.SIGINT])
def test_a_demo_ends_well_and_leaves_nothing(
    number: signal.Signals | None,
) -> None:
    env = {**os.environ, "DEMO_SECONDS": "3" if number is None else "60"}
    with subprocess.Popen(
        [sys.executable, "-m", "lab.demo"], stdout=subprocess.PIPE, env=env, text=True
    ) as demo:
        assert demo.stdout is not None
        said = ""
        for line in demo.stdout:
            said += line
            if number is not None and "Ctrl-C ends it" in line:
                demo.send_signal(number)
        assert demo.wait(20) == 0, said
    assert re.search(r"agent +http://127\.0\.0\.1:\d+/metrics", said)
    assert number is not None or re.search(r"[1-9]\d+ series, [1-9]", said), said
    assert list(NAMESPACES.glob(f"dpa-{demo.pid}-*")) == []
    assert list(namespace.DIRECTORIES.glob(f"dpa-{demo.pid}-*")) == []
