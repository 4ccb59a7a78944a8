"""The machine is what the other tests here take it for."""

import re
from pathlib import Path

import pytest

from lab import machine
from lab.kernel_switch import TUNNELS, KernelPair
from lab.process import run


@pytest.mark.parametrize("module", ["openvswitch", "vxlan", "geneve", "bridge"])
def test_the_kernel_has_what_a_compute_node_has(module: str) -> None:
    run("modprobe", module)
    assert Path("/sys/module", module).is_dir()


def test_the_machine_knows_that_it_is_one() -> None:
    assert machine.inside()


@pytest.mark.parametrize("kind", TUNNELS)
def test_packets_pass_through_the_tunnels_of_the_kernel(
    kernel_switches: KernelPair, kind: str
) -> None:
    before = _packets(kernel_switches, kind)
    kernel_switches.ping(kind, count=5)
    assert _packets(kernel_switches, kind) >= before + 5


def _packets(pair: KernelPair, kind: str) -> int:
    """Return how many packets the left switch received from tunnels of a kind.

    The kernel counts them on the device that all tunnels of the kind share. ``ovs-dpctl -s show``
    prints 0: it asks ovs-vswitchd's side of the port, which no packet passes.
    """
    device = {"vxlan": "vxlan_sys_4789", "geneve": "genev_sys_6081"}[kind]
    shown = pair.left.run("ip", "-s", "link", "show", "dev", device)
    found = re.search(r"RX: +bytes +packets.*\n +\d+ +(\d+)", shown)
    assert found, shown
    return int(found[1])


def test_each_switch_has_a_datapath_of_its_own(kernel_switches: KernelPair) -> None:
    for switch, near in ((kernel_switches.left, "veth"), (kernel_switches.right, "int")):
        shown = switch.run("ovs-dpctl", "show")
        assert shown.startswith("system@ovs-system:\n")
        assert re.search(r"^  lookups: hit:\d+ missed:[1-9]\d* lost:0$", shown, re.MULTILINE)
        assert re.search(r"^  masks: hit:[1-9]\d* total:[1-9]\d* hit/pkt:", shown, re.MULTILINE)
        assert re.search(r"^  caches:\n    masks-cache: size:\d+$", shown, re.MULTILINE)
        ports = set(re.findall(r"^  port \d+: (\S+)", shown, re.MULTILINE))
        assert ports == {
            *("ovs-system", "vxlan_sys_4789", "genev_sys_6081"),
            *(f"br-{kind}" for kind in TUNNELS),
            *(f"{near}-{kind}" for kind in TUNNELS),
        }
