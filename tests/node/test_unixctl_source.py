"""The control socket of a real ovs-vswitchd."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from agent.errors import Reason, SourceError
from agent.sources.unixctl import CommandError, Control, UnixctlReader
from lab.node import Node


@pytest.fixture(scope="module")
def switch(open_vswitch: None) -> Iterator[Node]:  # noqa: ARG001 - that it is installed
    with Node() as node:
        for bridge in ("br-int", "br-tun"):
            node.vsctl("add-br", bridge, "--", "set", "Bridge", bridge, "datapath_type=netdev")
        dummies: list[str] = []
        for number in range(1, 5):
            dummies += ["--", "set", "Interface", f"p{number}", "type=dummy"]
        node.vsctl("add-port", "br-int", "p1", *dummies[:5])
        node.vsctl("add-port", "br-int", "p2", *dummies[5:10])
        node.vsctl("add-bond", "br-tun", "bond0", "p3", "p4", *dummies[10:])
        yield node


@pytest.fixture
async def control(switch: Node) -> AsyncIterator[Control]:
    control = Control(switch.rundir)
    yield control
    control.close()


def receive(node: Node, port: str, number: int) -> None:
    packet = (
        "in_port(1),eth(src=50:54:00:00:00:05,dst=50:54:00:00:00:07),eth_type(0x0800),"
        f"ipv4(src=10.0.0.1,dst=10.0.0.2,proto=17,tos=0,ttl=64,frag=no),udp(src={number},dst=1)"
    )
    node.appctl("netdev-dummy/receive", port, packet)


async def test_reads_a_real_daemon_without_problems(switch: Node, control: Control) -> None:
    found = await UnixctlReader(control).read(["br-int", "br-tun"], bonds=True)
    assert found.problems == ()
    assert found.datapaths is not None
    (datapath,) = found.datapaths
    assert (datapath.name, datapath.masks) == ("netdev@ovs-netdev", None)
    assert datapath.ports == switch.appctl("dpctl/show").count("  port ")
    assert found.upcalls is not None
    assert found.upcalls[0].flow_limit is not None
    assert found.vswitchd.memory["ports"] > 0
    assert found.vswitchd.coverage["drop_action_of_pipeline"] >= 0
    assert found.vswitchd.coverage["drop_action_stack_too_deep"] == 0
    assert "dpif_flow_put_error" not in found.vswitchd.coverage  # 3.3 and later
    assert found.fdbs is not None
    assert [fdb.bridge for fdb in found.fdbs] == ["br-int", "br-tun"]
    assert found.bonds is not None
    assert [(bond.port, bond.mode, len(bond.members)) for bond in found.bonds] == [
        ("bond0", "active-backup", 2)
    ]
    assert found.conntracks is not None
    assert found.conntracks[0].entries == 0
    assert found.pmds is not None
    assert [pmd.cpu for pmd in found.pmds] == ["main"]


async def test_packets_appear_in_the_next_reading(switch: Node, control: Control) -> None:
    reader = UnixctlReader(control)
    before = await reader.read(["br-int"])
    for number in range(1, 11):
        await asyncio.to_thread(receive, switch, "p1", number)
    after = await reader.read(["br-int"])
    assert before.datapaths is not None
    assert after.datapaths is not None
    seen = [
        (one.hits or 0) + (one.missed or 0) for one in (before.datapaths[0], after.datapaths[0])
    ]
    assert seen[1] - seen[0] >= 10
    assert after.fdbs is not None
    assert after.fdbs[0].entries == 1
    assert control.connections == 1


async def test_start_time_is_that_of_the_process(switch: Node, control: Control) -> None:
    await control.connect(5)
    started = control.peer_start_time()
    assert started is not None
    created = (switch.rundir / f"ovs-vswitchd.{switch.vswitchd.pid}.ctl").stat().st_ctime
    assert abs(created - started) < 5


async def test_command_that_fails_leaves_the_connection(control: Control) -> None:
    with pytest.raises(CommandError, match="No such counter"):
        await control.run("coverage/read-counter", "nothing", timeout=5)
    assert "Open vSwitch" in await control.run("version", timeout=5)
    assert control.connections == 1


async def test_a_reading_after_the_first_is_short(control: Control) -> None:
    reader = UnixctlReader(control)
    await reader.read(["br-int", "br-tun"], bonds=True)
    start = time.monotonic()
    await reader.read(["br-int", "br-tun"], bonds=True)
    assert time.monotonic() - start < 1


async def test_stopped_daemon_times_out_and_is_read_again_when_it_goes_on(
    switch: Node, control: Control
) -> None:
    await control.connect(5)
    switch.pause_vswitchd()
    try:
        for _ in range(3):
            with pytest.raises(SourceError) as caught:
                await control.run("version", timeout=0.3)
            assert caught.value.reason is Reason.TIMEOUT
    finally:
        switch.resume_vswitchd()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            assert "Open vSwitch" in await control.run("version", timeout=2)
        except SourceError:
            await asyncio.sleep(0.05)
        else:
            break
    assert control.peer_start_time() is not None


@pytest.mark.usefixtures("open_vswitch")
async def test_killed_daemon_is_refused_and_its_successor_is_found_beside_the_dead_socket() -> None:
    with Node() as node:
        control = Control(node.rundir)
        try:
            await control.connect(5)
            first = control.peer_start_time()
            node.kill_vswitchd()
            with pytest.raises(SourceError) as caught:
                await control.run("version", timeout=2)
            assert caught.value.reason in {Reason.REFUSED, Reason.BROKEN}
            assert control.peer_start_time() is None
            await asyncio.to_thread(node.start_vswitchd)
            await control.connect(5)
            second = control.peer_start_time()
            assert first is not None
            assert second is not None
            assert second > first
        finally:
            control.close()
