"""The OVSDB source against a real ovsdb-server and a real ovs-vswitchd."""

import asyncio
import contextlib
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from agent.errors import Reason, SourceError
from agent.model.ovn import LocalSettings
from agent.model.switch import Bfd, Bridge, Controller, Interface, Manager, Port, Switch
from lab import namespace
from lab.node import Node
from lab.process import Daemon, run
from tests.sources.ovsdb.peers import Observer, OvsdbServer, descriptors, ovsdb_server

pytestmark = pytest.mark.node
MANY = 2000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OvsdbServer]:
    with ovsdb_server(tmp_path) as server:
        server.vsctl("init")
        yield server


@contextlib.contextmanager
def vswitchd(server: OvsdbServer) -> Iterator[None]:
    """A real ovs-vswitchd with the userspace datapath in a network namespace of its own."""
    netns, directory = namespace.create()
    command = [
        *("ovs-vswitchd", server.remote, "--disable-system", "-vconsole:off"),
        f"--unixctl={server.directory / 'vswitchd.ctl'}",
    ]
    env = {"OVS_RUNDIR": str(server.directory)}
    process = Daemon(command, directory / "vswitchd.log", env, netns)
    try:
        yield
    finally:
        process.stop()
        namespace.delete(netns, directory)


def interface(switch: Switch, name: str) -> Interface | None:
    return next(
        (
            found
            for bridge in switch.bridges
            for port in bridge.ports
            for found in port.interfaces
            if found.name == name
        ),
        None,
    )


def has_resets(name: str, resets: int, switch: Switch) -> bool:
    found = interface(switch, name)
    return found is not None and found.link_resets == resets


def names(switch: Switch) -> list[str]:
    return [port.name for bridge in switch.bridges for port in bridge.ports]


async def test_every_field_is_what_the_database_says(server: OvsdbServer) -> None:
    server.vsctl(
        *("--", "add-br", "br-int", "--", "set", "bridge", "br-int", "fail_mode=secure"),
        *("datapath_type=netdev", "datapath_id=0000123456789abc"),
        *("--", "add-port", "br-int", "tap1", "tag=7", "vlan_mode=access"),
        *("--", "set", "interface", "tap1", "ofport=5", "mtu=1450", "link_speed=10000000000"),
        *("link_resets=3", "admin_state=up", "link_state=down", 'mac_in_use="fa:16:3e:00:00:01"'),
        *("status:driver_name=tun", "external_ids:iface-id=port-1", "external_ids:vm-uuid=vm-1"),
        *('external_ids:attached-mac="fa:16:3e:00:00:02"', "external_ids:vm-id=vm-old"),
        *("--", "add-port", "br-int", "vxlan0", "--", "set", "interface", "vxlan0", "type=vxlan"),
        *("options:remote_ip=192.0.2.1", "options:psk=secret", "options:key=flow", "ofport=-1"),
        *("status:tunnel_egress_iface=eth0", "status:tunnel_egress_iface_carrier=down"),
        *("bfd_status:state=up", "bfd_status:remote_state=down", "bfd_status:forwarding=false"),
        *("bfd_status:flap_count=3", "cfm_fault=true"),
        'error="could not open network device vxlan0"',
        *("external_ids:vm-id=vm-2",),
        *("--", "add-bond", "br-int", "bond0", "eth2", "eth1"),
        *("--", "set-controller", "br-int", "tcp:127.0.0.1:6633"),
        *("--", "set", "controller", "br-int", "is_connected=true", "role=master"),
        *("--", "set-manager", "ptcp:6640:127.0.0.1"),
        *("--", "set", "Open_vSwitch", ".", "external_ids:system-id=node-1", "ovs_version=3.1.0"),
        *("db_version=8.3.1", "dpdk_version=none", "system_type=debian", "system_version=12"),
        *("external_ids:hostname=node",),
    )
    observer = Observer(server.remote)
    async with observer.running():
        # ovsdb-server itself writes is_connected of a manager, when it looks.
        switch = await observer.until(lambda _: True)
    ports = (
        Port("bond0", (Interface("eth1"), Interface("eth2"))),
        Port("br-int", (Interface("br-int", type="internal"),)),
        Port(
            "tap1",
            (
                Interface(
                    name="tap1",
                    type="system",
                    ofport=5,
                    mac="fa:16:3e:00:00:01",
                    admin_state=True,
                    link_state=False,
                    mtu_bytes=1450,
                    link_speed_bits_per_second=10_000_000_000,
                    link_resets=3,
                    driver="tun",
                    iface_id="port-1",
                    vm_uuid="vm-1",
                    attached_mac="fa:16:3e:00:00:02",
                ),
            ),
            tag=7,
            vlan_mode="access",
        ),
        Port(
            "vxlan0",
            (
                Interface(
                    name="vxlan0",
                    type="vxlan",
                    error="could not open network device vxlan0",
                    vm_uuid="vm-2",
                    options={"remote_ip": "192.0.2.1", "key": "flow"},
                    egress_carrier=False,
                    bfd=Bfd("up", "down", forwarding=False, flap_count=3),
                    cfm_fault=True,
                ),
            ),
        ),
    )
    controller = Controller("tcp:127.0.0.1:6633", connected=True, role="master")
    bridge = Bridge("br-int", "netdev", "0000123456789abc", "secure", ports, (controller,))
    assert switch == Switch(
        ovs_version="3.1.0",
        db_version="8.3.1",
        dpdk_version="none",
        system_id="node-1",
        system_type="debian",
        system_version="12",
        managers=(Manager("ptcp:6640:127.0.0.1", connected=False),),
        bridges=(bridge,),
    )


async def test_sees_what_a_real_vswitchd_writes(server: OvsdbServer) -> None:
    observer = Observer(server.remote)
    with vswitchd(server):
        async with observer.running():
            await asyncio.to_thread(
                server.vsctl,
                *("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=netdev"),
                *("--", "add-port", "br-int", "gone"),
                wait=True,
            )
            switch = await observer.until(
                lambda now: (
                    (local := interface(now, "br-int")) is not None
                    and local.mac is not None
                    and (gone := interface(now, "gone")) is not None
                    and gone.error is not None
                )
            )
            local, gone = interface(switch, "br-int"), interface(switch, "gone")
            assert local is not None
            assert gone is not None
            assert (local.type, local.ofport, local.driver) == ("internal", 65534, "tun")
            assert (local.mtu_bytes, local.admin_state, local.error) == (1500, False, None)
            assert gone.ofport is None
            assert "gone" in (gone.error or "")
            assert switch.bridges[0].datapath_id is not None
            assert switch.dpdk_version == "none"


@contextlib.contextmanager
def connected_switches() -> Iterator[tuple[Node, Node]]:
    """Two switches on two nodes with a wire in between."""
    with Node() as here, Node() as there:
        ends = ("type", "veth", "peer", "name", "wire", "netns", there.name)
        run("ip", "link", "add", "wire", "netns", here.name, *ends)
        for node, address in ((here, "192.0.2.1"), (there, "192.0.2.2")):
            run("ip", "link", "set", "wire", "up", netns=node.name)
            run("ip", "address", "add", f"{address}/24", "dev", "wire", netns=node.name)
            node.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
        yield here, there


def watch(node: Node, name: str, maintenance_point: int) -> None:
    """Switch BFD and CFM on, at ten packets a second."""
    node.vsctl(
        *("set", "interface", name, "bfd:enable=true", "bfd:min_rx=100", "bfd:min_tx=100"),
        *(f"cfm_mpid={maintenance_point}", "other_config:cfm_interval=100"),
    )


async def test_bfd_and_cfm_come_up_and_go_down_with_the_peer() -> None:
    with connected_switches() as (here, there):
        for number, node in enumerate((here, there), 1):
            await asyncio.to_thread(node.vsctl, "add-port", "br0", "wire")
            await asyncio.to_thread(watch, node, "wire", number)
        observer = Observer(f"unix:{here.rundir}/db.sock")

        def says(switch: Switch, state: str, *, alive: bool) -> bool:
            wire = interface(switch, "wire")
            return (
                wire is not None
                and wire.bfd is not None
                and (wire.bfd.state, wire.bfd.forwarding) == (state, alive)
                and wire.cfm_fault is not alive
            )

        async with observer.running():
            up = await observer.until(partial(says, state="up", alive=True))
            there.pause_vswitchd()
            down = await observer.until(partial(says, state="down", alive=False))
            there.resume_vswitchd()
            await observer.until(partial(says, state="up", alive=True))
            await asyncio.to_thread(
                here.vsctl,
                *("set", "interface", "wire", "bfd:enable=false"),
                *("--", "clear", "interface", "wire", "cfm_mpid"),
            )
            await observer.until(lambda now: getattr(interface(now, "wire"), "bfd", 0) is None)
            await observer.until(
                lambda now: getattr(interface(now, "wire"), "cfm_fault", 0) is None
            )
    assert 0 < flap_count(up) < flap_count(down)


def flap_count(switch: Switch) -> int:
    wire = interface(switch, "wire")
    assert wire is not None
    assert wire.bfd is not None
    return wire.bfd.flap_count or 0


async def test_the_egress_of_a_tunnel_is_known_while_there_is_a_route() -> None:
    def carrier(switch: Switch) -> bool | None:
        return getattr(interface(switch, "vx"), "egress_carrier", None)

    with connected_switches() as (here, there):
        observer = Observer(f"unix:{here.rundir}/db.sock")
        async with observer.running():
            await asyncio.to_thread(
                here.vsctl,
                *("add-port", "br0", "vx", "--", "set", "interface", "vx", "type=vxlan"),
                "options:remote_ip=192.0.2.2",
            )
            await observer.until(lambda now: carrier(now) is True)
            await asyncio.to_thread(run, "ip", "link", "set", "wire", "down", netns=there.name)
            await observer.until(lambda now: carrier(now) is False)
            await asyncio.to_thread(run, "ip", "link", "set", "wire", "down", netns=here.name)
            await observer.until(lambda now: carrier(now) is None)


async def test_publishes_every_change(server: OvsdbServer) -> None:
    observer = Observer(server.remote)
    async with observer.running():
        await observer.until(lambda switch: switch == Switch())

        async def change(*command: str) -> None:
            await asyncio.to_thread(server.vsctl, *command)

        await change("add-br", "br-int")
        await observer.until(lambda switch: names(switch) == ["br-int"])
        await change("add-port", "br-int", "tap1")
        await observer.until(lambda switch: names(switch) == ["br-int", "tap1"])
        await change("set", "port", "tap1", "tag=9")
        await observer.until(lambda switch: switch.bridges[0].ports[1].tag == 9)
        await change("set", "port", "tap1", "tag=10")
        await observer.until(lambda switch: switch.bridges[0].ports[1].tag == 10)
        await change("clear", "port", "tap1", "tag")
        await observer.until(lambda switch: switch.bridges[0].ports[1].tag is None)
        await change("set", "interface", "tap1", "external_ids:iface-id=a", "external_ids:x=y")
        await observer.until(lambda now: getattr(interface(now, "tap1"), "iface_id", None) == "a")
        await change("set", "interface", "tap1", "external_ids:iface-id=b")
        await observer.until(lambda now: getattr(interface(now, "tap1"), "iface_id", None) == "b")
        await change("remove", "interface", "tap1", "external_ids", "iface-id")
        await observer.until(lambda now: getattr(interface(now, "tap1"), "iface_id", 0) is None)
        await change("set-controller", "br-int", "tcp:127.0.0.1:6633")
        await observer.until(lambda switch: len(switch.bridges[0].controllers) == 1)
        await change("set", "Open_vSwitch", ".", "external_ids:system-id=node-1")
        await observer.until(lambda switch: switch.system_id == "node-1")
        await change("del-port", "tap1")
        await observer.until(lambda switch: names(switch) == ["br-int"])
        await change("del-br", "br-int")
        await observer.until(lambda switch: not switch.bridges)
    assert observer.events["interface_added"] == 2
    assert observer.events["interface_removed"] == 2
    assert observer.events["interface_changed"] == 3
    assert observer.events["port_changed"] == 3
    assert observer.events["bridge_added"] == observer.events["bridge_removed"] == 1
    assert observer.events["controller_added"] == observer.events["controller_removed"] == 1
    tables = {name.rpartition("_")[0] for name in observer.events}
    assert tables <= {"open_vswitch", "bridge", "controller", "port", "interface"}


async def test_one_transaction_is_one_publication(server: OvsdbServer) -> None:
    observer = Observer(server.remote)
    async with observer.running():
        await observer.until(lambda switch: switch == Switch())
        await asyncio.to_thread(
            server.vsctl,
            "add-br",
            "br-int",
            *(
                word
                for number in range(100)
                for word in ("--", "add-port", "br-int", f"tap{number}")
            ),
        )
        await observer.until(lambda switch: len(names(switch)) == 101)
    assert len(observer.switches) == 2


async def test_comes_back_with_the_server(server: OvsdbServer) -> None:
    server.vsctl("add-br", "br-int")
    observer = Observer(server.remote)
    async with observer.running() as task:
        await observer.until(lambda switch: names(switch) == ["br-int"])
        server.kill()
        await asyncio.wait([task], timeout=5)
        error = task.exception()
    assert isinstance(error, SourceError)
    assert error.reason is Reason.BROKEN
    with pytest.raises(SourceError) as caught:
        await observer.source.run()
    assert caught.value.reason is Reason.REFUSED
    server.socket.unlink()
    with pytest.raises(SourceError) as caught:
        await observer.source.run()
    assert caught.value.reason is Reason.ABSENT
    server.start()
    async with observer.running():
        await observer.until(lambda switch: names(switch) == ["br-int"])
        await asyncio.to_thread(server.vsctl, "add-port", "br-int", "tap1")
        await observer.until(lambda switch: names(switch) == ["br-int", "tap1"])


async def test_a_stopped_server_is_noticed(server: OvsdbServer) -> None:
    observer = Observer(server.remote)
    async with observer.running() as task:
        await observer.until(lambda _: True)
        server.signal(signal.SIGSTOP)
        started = time.monotonic()
        await asyncio.wait([task], timeout=15)
        error = task.exception()
        print(f"\nnoticed after {time.monotonic() - started:.1f} s")  # noqa: T201 (a measurement)
    assert isinstance(error, SourceError)
    assert error.reason is Reason.TIMEOUT
    # Its backlog still accepts connections; nobody answers.
    with pytest.raises(SourceError) as caught:
        await asyncio.wait_for(observer.source.run(), 15)
    assert caught.value.reason is Reason.TIMEOUT
    server.signal(signal.SIGCONT)
    async with observer.running():
        await observer.until(lambda _: True)


async def test_connecting_often_costs_neither_threads_nor_descriptors(server: OvsdbServer) -> None:
    observer = Observer(server.remote)

    async def connect() -> None:
        async with observer.running():
            await observer.until(lambda _: True)

    await connect()
    threads, before = threading.active_count(), descriptors()
    for _ in range(20):
        await connect()
    await asyncio.sleep(0.05)  # the last thread has said that it ends
    assert threading.active_count() <= threads
    assert descriptors() <= before


def thread_cost() -> tuple[float, int]:
    """CPU seconds of the source's thread so far, and how often it slept (proc(5))."""
    thread = next(thread for thread in threading.enumerate() if thread.name == "ovsdb")
    directory = Path(f"/proc/self/task/{thread.native_id}")
    nanoseconds = int((directory / "schedstat").read_text().split()[0])
    status = (directory / "status").read_text()
    sleeps = int(status.split("voluntary_ctxt_switches:")[1].split()[0])
    return nanoseconds / 1e9, sleeps


def fill(server: OvsdbServer, count: int) -> None:
    """Add a bridge with many ports in one transaction, as vswitchd and neutron would fill them."""
    operations: list[object] = ["Open_vSwitch"]
    for number in range(count):
        ids = [
            ["iface-id", f"8f7a4c3e-0000-4000-8000-{number:012}"],
            ["iface-status", "active"],
            ["attached-mac", f"fa:16:3e:00:{number >> 8:02x}:{number & 255:02x}"],
            ["vm-uuid", f"1f7a4c3e-0000-4000-8000-{number:012}"],
        ]
        row = {
            "name": f"tap{number}",
            "ofport": number + 1,
            "mac_in_use": f"fe:16:3e:00:{number >> 8:02x}:{number & 255:02x}",
            "admin_state": "up",
            "link_state": "up",
            "mtu": 1450,
            "link_speed": 10_000_000,
            "link_resets": 1,
            "external_ids": ["map", ids],
            "status": ["map", [["driver_name", "tun"], ["driver_version", "1.6"]]],
        }
        operations.append(
            {"op": "insert", "table": "Interface", "uuid-name": f"i{number}", "row": row}
        )
        port = {"name": f"tap{number}", "interfaces": ["named-uuid", f"i{number}"], "tag": 1}
        operations.append({"op": "insert", "table": "Port", "uuid-name": f"p{number}", "row": port})
    ports = ["set", [["named-uuid", f"p{number}"] for number in range(count)]]
    operations.append(
        {
            "op": "insert",
            "table": "Bridge",
            "uuid-name": "b",
            "row": {"name": "br-int", "ports": ports},
        }
    )
    operations.append(
        {
            "op": "update",
            "table": "Open_vSwitch",
            "where": [],
            "row": {"bridges": ["named-uuid", "b"]},
        }
    )
    with contextlib.closing(Client(server)) as client:  # too long for a command line
        client.write({"method": "transact", "params": operations, "id": 1})
        assert '"error":null' in client.read()


class Client:
    """Says what ovs-vsctl cannot, without the cost of a process."""

    def __init__(self, server: OvsdbServer) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(server.socket))

    def write(self, message: dict[str, object]) -> None:
        self._socket.sendall(json.dumps(message).encode())

    def read(self) -> str:
        text = ""
        while not text.endswith("}"):
            text += self._socket.recv(1 << 20).decode()
        return text

    def close(self) -> None:
        self._socket.close()


async def test_is_fast_with_many_interfaces(server: OvsdbServer) -> None:
    """The promise is that only what changed is made again; the times are for the reader."""
    await asyncio.to_thread(fill, server, MANY)
    observer = Observer(server.remote)
    started = time.monotonic()
    async with observer.running():
        switch = await observer.until(lambda now: len(names(now)) == MANY)
        first = time.monotonic() - started
        first_cpu, _ = thread_cost()
        seconds, rounds = 0.0, 20
        before, _ = thread_cost()
        with contextlib.closing(Client(server)) as client:
            for number in range(rounds):
                row = {"link_resets": number + 100}
                where = [["name", "==", f"tap{number}"]]
                update = {"op": "update", "table": "Interface", "where": where, "row": row}
                request = {"method": "transact", "params": ["Open_vSwitch", update], "id": number}
                begun = time.monotonic()
                client.write(request)
                changed = await observer.until(partial(has_resets, f"tap{number}", number + 100))
                seconds += time.monotonic() - begun
        after, _ = thread_cost()
    print(  # noqa: T201 (a measurement)
        f"\n{MANY} interfaces: first Switch {first * 1000:.0f} ms (thread {first_cpu * 1000:.0f} "
        f"ms CPU), a change {seconds / rounds * 1000:.1f} ms from the transaction to publish "
        f"(thread {(after - before) / rounds * 1000:.2f} ms CPU)"
    )
    old = {port.name: port for port in switch.bridges[0].ports}
    again = [port for port in changed.bridges[0].ports if port is not old[port.name]]
    assert sorted(port.name for port in again) == sorted(f"tap{number}" for number in range(rounds))


async def test_sleeps_when_nothing_happens(server: OvsdbServer) -> None:
    await asyncio.to_thread(fill, server, 500)
    observer = Observer(server.remote)
    async with observer.running():
        await observer.until(lambda now: len(names(now)) == 500)
        await asyncio.sleep(0.2)
        cpu, sleeps = thread_cost()
        await asyncio.sleep(11)
        cpu_after, sleeps_after = thread_cost()
    print(  # noqa: T201 (a measurement)
        f"\nidle for 11 s: {(cpu_after - cpu) * 1000:.2f} ms CPU, {sleeps_after - sleeps} wake-ups"
    )
    # Two probes and their answers.
    assert sleeps_after - sleeps <= 8
    assert (cpu_after - cpu) / 11 < 0.001


async def test_what_ovn_controller_is_told_and_has_done_is_known(server: OvsdbServer) -> None:
    server.vsctl(
        *("--", "add-br", "br-ovn", "--", "set", "bridge", "br-ovn"),
        *("external_ids:ovn-nb-cfg=41", "external_ids:ovn-nb-cfg-ts=1716000050250"),
        *("--", "set", "Open_vSwitch", ".", "external_ids:system-id=node-1"),
        *("external_ids:ovn-remote=tcp:10.0.0.1:6642", "external_ids:ovn-encap-type=vxlan"),
        'external_ids:ovn-encap-ip="10.0.0.31, fd00::31"',
        # of this chassis alone, which goes first
        *("external_ids:ovn-encap-type-node-1=geneve", "external_ids:ovn-encap-type-node-2=stt"),
        *("external_ids:ovn-bridge=br-ovn", "external_ids:ovn-monitor-all=true"),
        'external_ids:ovn-bridge-mappings="physnet1:br-ex, physnet2:br-x,broken,:br-y"',
    )
    observer = Observer(server.remote)
    async with observer.running():
        switch = await observer.until(lambda it: bool(it.bridges and it.bridges[0].ovn_nb_cfg))
        assert switch.ovn == LocalSettings(
            encap_ips=("10.0.0.31", "fd00::31"),
            encap_types=("geneve",),
            bridge_mappings={"physnet1": "br-ex", "physnet2": "br-x"},
            remote="tcp:10.0.0.1:6642",
            bridge="br-ovn",
            monitor_all=True,
        )
        (bridge,) = switch.bridges
        assert bridge.ovn_nb_cfg == 41
        assert bridge.ovn_nb_cfg_timestamp_seconds == 1716000050.25
        server.vsctl("set", "bridge", "br-ovn", "external_ids:ovn-nb-cfg=-1")
        await observer.until(lambda it: it.bridges[0].ovn_nb_cfg is None)
        server.vsctl(
            *("remove", "Open_vSwitch", ".", "external_ids", "ovn-remote", "--"),
            *("remove", "Open_vSwitch", ".", "external_ids", "ovn-encap-ip"),
        )
        await observer.until(lambda it: it.ovn is None)
