"""What the agent reads of the kernel's datapath is what ovs-dpctl shows, without ovs-vswitchd."""

import re
from collections.abc import Iterator

import pytest

from agent.model.bridge import PortStats
from agent.model.kernel_datapath import KernelDatapath
from agent.sources.ovs_genl_kernel import Kernel
from agent.wire.unixctl.dpctl import parse_dpctl_show
from lab.kernel_switch import KernelSwitch, add_bridge, add_internal, add_tunnel
from lab.process import LabError, run, wait_until
from tests.sources.netlink.rooms_of import CAP_NET_ADMIN, inside
from tests.wire.netlink.test_vports import TUNNELS, shown

PORT = re.compile(
    r'port +"?(?P<port>[^":]+)"?: rx pkts=(?P<rx_packets>\d+), bytes=(?P<rx_bytes>\d+), '
    r"drop=(?P<rx_dropped>\S+), errs=(?P<rx_errors>\S+),.*\n +tx pkts=(?P<tx_packets>\d+), "
    r"bytes=(?P<tx_bytes>\d+), drop=(?P<tx_dropped>\S+), errs=(?P<tx_errors>\S+),"
)


def read(switch: KernelSwitch, without: int | None = None) -> KernelDatapath:
    """Read in the switch's namespace, as the agent does in its own."""

    def once() -> tuple[KernelDatapath, ...] | None:
        kernel = Kernel(30.0)
        try:
            return kernel.read()
        finally:
            kernel.close()

    (only,) = inside(switch.name, once, without) or ()
    return only


def stats(of: KernelDatapath) -> dict[str, PortStats]:
    return {each.name: each.stats for each in of.vports}


@pytest.fixture(scope="module")
def switch() -> Iterator[KernelSwitch]:
    """A switch with flows that stay, counters that have counted, and nothing under way."""
    with KernelSwitch() as made:
        made.vsctl(
            *add_bridge("br0"),
            *add_internal("br0", "int0"),
            *add_tunnel("br0", "vxlan0", "vxlan", "10.9.0.1", "10.9.0.2"),
            *add_tunnel("br0", "geneve0", "geneve", "10.9.0.1", "10.9.0.2"),
        )
        made.appctl("revalidator/pause")
        made.connect("br0", "veth0", "10.0.0.1")
        made.connect("br0", "veth1", "10.0.0.2")
        assert ping(made, "10.0.0.2")
        quiet(made)
        yield made


def ping(switch: KernelSwitch, address: str) -> bool:
    """Ping from behind veth0; return whether there were answers."""
    argv = ("busybox", "ping", "-q", "-c", "4", "-i", "0.2", "-W", "1", address)
    try:
        run(*argv, netns=f"{switch.name}-veth0")
    except LabError:
        return False
    return True


def quiet(switch: KernelSwitch) -> None:
    """Wait until two readings are equal."""
    last: list[KernelDatapath] = []

    def settled() -> bool:
        last.append(read(switch))
        return len(last) > 1 and last[-1] == last[-2]

    wait_until(settled, 60.0, "a quiet datapath")


def test_lookups_flows_masks_and_caches_equal_ovs_dpctl_and_ovs_vswitchd(
    switch: KernelSwitch,
) -> None:
    before = read(switch).datapath
    (by_dpctl,) = parse_dpctl_show(switch.run("ovs-dpctl", "show"))
    (by_vswitchd,) = parse_dpctl_show(switch.appctl("dpctl/show"))
    assert read(switch).datapath == before
    assert before == by_dpctl == by_vswitchd
    assert min(before.hits or 0, before.missed or 0, before.flows or 0, before.masks or 0) > 0
    assert before.mask_cache_size_entries == 256
    assert before.ports == 7


def test_port_counters_equal_ovs_dpctl_but_for_tunnels(switch: KernelSwitch) -> None:
    found, expected = stats(read(switch)), shown(switch.run("ovs-dpctl", "show", "-s"))
    assert found.keys() == expected.keys()
    for name in found.keys() - TUNNELS:
        assert len(expected[name]) == 9
        assert {field: getattr(found[name], field) for field in expected[name]} == expected[name]
    assert (found["veth0"].rx_packets or 0) >= 4
    # Of tunnels ovs-dpctl prints zeros and question marks: packets do not pass what it opens.
    assert {len(expected[name]) for name in TUNNELS} == {5}
    assert all(found[name].tx_errors is not None for name in TUNNELS)


def test_port_counters_equal_openflow_but_for_tunnels(switch: KernelSwitch) -> None:
    found = stats(read(switch))
    compared = 0
    for port in PORT.finditer(switch.ofctl("-O", "OpenFlow13", "--names", "dump-ports", "br0")):
        fields = port.groupdict()
        name = fields.pop("port").replace("LOCAL", "br0")
        if name in found:
            counted = {field: getattr(found[name], field) for field in fields}
            assert counted == {field: int(value) for field, value in fields.items()}
            compared += 1
    assert compared == 4


def test_internal_ports_are_counted_as_the_host_sees_them(switch: KernelSwitch) -> None:
    printed = switch.run("ip", "-s", "link", "show", "dev", "br0")
    host = re.search(r"RX: .*\n +(\d+) +(\d+)(?:.*\n)+?.*TX: .*\n +(\d+) +(\d+)", printed)
    assert host
    found = stats(read(switch))["br0"]
    assert [found.rx_bytes, found.rx_packets, found.tx_bytes, found.tx_packets] == [
        int(number) for number in host.groups()
    ]


def test_reading_needs_no_right(switch: KernelSwitch) -> None:
    assert read(switch, without=CAP_NET_ADMIN) == read(switch)


def test_numbers_keep_coming_while_ovs_vswitchd_is_stopped(switch: KernelSwitch) -> None:
    before = read(switch)
    switch.pause_vswitchd()
    try:
        assert not ping(switch, "10.0.0.99")
        after = read(switch)
    finally:
        switch.resume_vswitchd()
    assert (after.datapath.missed or 0) > (before.datapath.missed or 0)
    rx_before, rx_after = (stats(each)["veth0"].rx_packets or 0 for each in (before, after))
    assert rx_after > rx_before
    quiet(switch)


def test_limits_of_zones_equal_ct_get_limits(switch: KernelSwitch) -> None:
    zones = ("zone=6,limit=7", "zone=7,limit=0")
    switch.run("ovs-dpctl", "ct-set-limits", "system@ovs-system", *zones)
    limits = read(switch).zone_limits
    printed = switch.run("ovs-dpctl", "ct-get-limits", "system@ovs-system", "zone=6")
    assert "zone=6,limit=7,count=0" in printed
    assert [(each.zone, each.limit, each.entries) for each in limits or ()] == [(6, 7, 0)]
