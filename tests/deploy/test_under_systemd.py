"""The unit under a real systemd, in a virtual machine, beside Open vSwitch and libvirt of Debian.

The tests of this file are one story: each begins where the one before ended, for every start of the
agent costs 10 s on an emulated processor.
"""

import os
from collections.abc import Iterator

import pytest

from lab import machine
from lab.systemd_machine import SystemdMachine
from tests.conftest import require_parts
from tests.deploy.installed import CONFIG, Installed, are_up
from tests.e2e.page import Page, labels_of, value_of

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(900)]

OF_EVERYBODY = ("libvirt", "openflow", "ovs_genl", "ovsdb", "rtnetlink", "unixctl")
SERIES = {
    "netns_conntrack_entries",
    "netns_conntrack_insert_failed_total",
    "netns_network_up",
    "ovs_bridge_info",
    "ovs_coverage_events_total",
    "ovs_datapath_masks",
    "ovs_flow_packets_total",
    "ovs_vswitchd_start_time_seconds",
}
"""At least one of each of these sources, and connection tracking."""
ZONES = "netns_conntrack_zone_entries"
FAILURES = "dataplane_agent_source_failures_total"
CAPABILITIES = {1: "DAC_OVERRIDE", 12: "NET_ADMIN", 19: "SYS_PTRACE", 21: "SYS_ADMIN"}
"""By number (linux/capability.h)."""
OF_THE_UNIT = {"DAC_OVERRIDE", "NET_ADMIN", "SYS_ADMIN"}
OWN_OR_OF_THE_KERNEL = {
    *("/dev/hugepages", "/dev/mqueue", "/dev/pts", "/proc"),
    *("/tmp", "/var/tmp"),  # noqa: S108 - which PrivateTmp gives to the unit alone
}
"""What is mounted where the agent can write, as far as the kernel's own rules let it."""
MANAGEMENT = "192.0.2.10"
NODE = """\
set -e
modprobe --all openvswitch nf_conntrack_netlink veth
# polkit is asked over D-Bus whether somebody may look at libvirt
systemctl start dbus.service polkit.service libvirtd.service openvswitch-switch.service
ovs-vsctl add-br br0 -- add-port br0 port0 -- set Interface port0 type=internal
ip link add veth0 type veth peer name veth1
"""
LINK = """\
set -e
ip netns add blue
cat >/run/systemd/system/holder.service <<END
[Service]
ExecStart=unshare --net sleep infinity
END
systemctl start holder.service
holder=$(systemctl show --value --property=MainPID holder.service)
until [ "$(readlink /proc/$holder/ns/net)" != "$(readlink /proc/1/ns/net)" ]; do sleep 0.1; done
ln -s /proc/$holder/ns/net /run/netns/linked
"""


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    """Open vSwitch and libvirt run, the agent is installed and not started."""
    require_parts("systemd-sysusers", "systemctl", "ovs-vswitchd", "ip", "libvirtd", "dbus-daemon")
    if lacking := machine.missing():
        reason = f"missing: {', '.join(lacking)} (make setup, as root)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with SystemdMachine() as running:
        running.run(NODE)
        yield Installed(running)


def capabilities(status: dict[str, str], which: str) -> set[str]:
    """Return the names in one of a process's sets: CapEff, CapBnd and the like."""
    bits = int(status[which], 16)
    return {CAPABILITIES.get(bit, str(bit)) for bit in range(64) if bits >> bit & 1}


def require_sandbox(installed: Installed, rights: set[str]) -> dict[str, str]:
    """Look whether the process is confined and has just these rights; return its status."""
    status = installed.status()
    uid = installed.machine.run("id -u dataplane-agent").strip()
    assert uid != "0"
    assert status["Uid"].split() == [uid] * 4
    for which in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert capabilities(status, which) == rights, which
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"  # SECCOMP_MODE_FILTER
    return status


def test_the_unit_is_ready_and_has_series_of_every_source(installed: Installed) -> None:
    installed.systemctl("start")
    assert installed.ask("ActiveState") == "active"
    page = installed.wait_for_page(are_up("conntrack", *OF_EVERYBODY), "all sources")
    assert {ZONES, *SERIES} <= set(page)


def test_the_unit_has_three_capabilities_and_is_confined(installed: Installed) -> None:
    require_sandbox(installed, OF_THE_UNIT)


def test_nothing_of_the_node_can_be_written_where_it_runs(installed: Installed) -> None:
    mounts = installed.machine.run(f"cat /proc/{installed.pid}/mountinfo").splitlines()
    writable = {line.split()[4] for line in mounts if "rw" in line.split()[5].split(",")}
    assert writable <= OWN_OR_OF_THE_KERNEL


def test_the_first_namespaces_made_while_it_runs_are_entered_but_for_links(
    installed: Installed,
) -> None:
    def entered(page: Page) -> bool:
        names = labels_of(page, "netns_info", "netns")
        return bool(names) and value_of(page, FAILURES, source="netns", reason="denied") > 0

    installed.machine.run(LINK)
    page = installed.wait_for_page(entered, "one to be entered, and the other to be denied")
    assert labels_of(page, "netns_info", "netns") == {("blue",)}


def test_after_a_hangup_it_is_started_again_and_takes_up_what_has_changed(
    installed: Installed,
) -> None:
    installed.machine.run(f"ip address add {MANAGEMENT}/32 dev lo")
    installed.listen_on(MANAGEMENT)
    installed.choose("full")
    pid = installed.pid
    installed.systemctl("kill", "--kill-who=main", "--signal=HUP")
    installed.wait_until_restarted(pid)
    page = installed.wait_for_page(are_up("conntrack", "netns", *OF_EVERYBODY), "all sources")
    assert {ZONES, *SERIES} <= set(page)


def test_it_listens_on_the_management_address_and_on_no_other(installed: Installed) -> None:
    listening = installed.machine.run(f"ss -Hltnp | grep pid={installed.pid},").splitlines()
    assert [line.split()[3] for line in listening] == [f"{MANAGEMENT}:10978"]


def test_full_has_four_capabilities_and_enters_links_as_well(installed: Installed) -> None:
    require_sandbox(installed, {*OF_THE_UNIT, "SYS_PTRACE"})
    page = installed.wait_for_page(are_up("netns"), "the namespaces")
    assert labels_of(page, "netns_info", "netns") == {("blue",), ("linked",)}


def test_a_killed_agent_is_started_again(installed: Installed) -> None:
    installed.open_sockets()
    installed.choose("least")
    pid, restarts = installed.pid, int(installed.ask("NRestarts"))
    installed.systemctl("kill", "--kill-who=main", "--signal=KILL")
    installed.wait_until_restarted(pid)
    assert int(installed.ask("NRestarts")) == restarts + 1


def test_least_reads_the_switch_by_its_group_alone(installed: Installed) -> None:
    status = require_sandbox(installed, set())
    group = installed.machine.run("getent group openvswitch").split(":")[2]
    assert group in status["Groups"].split()
    page = installed.wait_for_page(are_up(*OF_EVERYBODY), "the switch, datapaths and links")
    assert set(page) >= SERIES


def test_least_enters_no_namespace_and_misses_none(installed: Installed) -> None:
    page = installed.wait_for_page(are_up("netns", "rtnetlink"), "links")
    assert "netns_info" not in page


def test_least_is_denied_the_connections_by_zone(installed: Installed) -> None:
    page = installed.wait_for_page(lambda page: FAILURES in page, "a page")
    assert not are_up("conntrack")(page)
    assert value_of(page, FAILURES, source="conntrack", reason="denied") > 0
    assert ZONES not in page


def test_an_agent_that_hangs_is_ended_by_the_watchdog_and_started_again(
    installed: Installed,
) -> None:
    pid, restarts = installed.pid, int(installed.ask("NRestarts"))
    installed.systemctl("kill", "--kill-who=main", "--signal=STOP")
    installed.wait_until_restarted(pid)
    assert "Watchdog timeout" in installed.journal
    assert "Fatal Python error: Aborted" in installed.journal  # and where each thread was
    assert int(installed.ask("NRestarts")) == restarts + 1


def test_it_stops_when_it_is_told_to(installed: Installed) -> None:
    installed.systemctl("stop")
    assert installed.ask("Result") == "success"  # neither timeout nor signal
    assert installed.ask("ExecMainStatus") == "0"
    assert "event=stopped" in installed.journal


def test_a_configuration_that_cannot_be_used_is_not_tried_again(installed: Installed) -> None:
    installed.machine.run(f"echo 'webb: {{}}' >{CONFIG}")
    assert installed.machine.attempt("systemctl start dataplane-agent.service").returncode != 0
    assert installed.ask("ExecMainStatus") == "2"
    assert installed.ask("SubState") == "failed"  # and not auto-restart
    assert "webb: no such setting" in installed.journal
