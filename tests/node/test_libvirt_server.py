"""The lab's libvirtd without machines says to the real virsh what was put in, and errs as told."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from lab import libvirt_faults as faults
from lab.libvirt_domains import PAUSED, SHUTOFF, UNKNOWN, Domain, Interface, many
from lab.libvirt_rpc import Procedure
from lab.libvirt_server import LibvirtServer
from lab.process import wait_until
from tests.conftest import require_parts

STATS = Procedure.CONNECT_GET_ALL_DOMAIN_STATS

Virsh = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LibvirtServer]:
    require_parts("virsh")
    with LibvirtServer(tmp_path / "libvirt-sock", many(2, 2)) as server:
        yield server


@pytest.fixture
def virsh(server: LibvirtServer) -> Virsh:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["virsh", "-r", "-c", server.uri, *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

    return run


def test_virsh_lists_domains_that_run_and_that_do_not(server: LibvirtServer, virsh: Virsh) -> None:
    first, second = server.domains
    off = Domain("instance-off", UUID(int=7), state=SHUTOFF)
    server.domains = (first, replace(second, state=PAUSED), off)
    rows = [line.split(maxsplit=2) for line in virsh("list", "--all").stdout.splitlines()[2:-1]]
    assert rows == [
        ["1", first.name, "running"],
        ["2", second.name, "paused"],
        ["-", "instance-off", "shut off"],
    ]
    assert server.opened == [1]
    assert server.connections_ever == 1


def test_virsh_prints_the_xml_and_its_interfaces(server: LibvirtServer, virsh: Virsh) -> None:
    domain = server.domains[0]
    table = virsh("domiflist", domain.name).stdout
    for interface in domain.interfaces:
        assert f"{interface.device}   bridge   br-int   virtio   {interface.mac}" in table
    server.domains = (replace(domain, xml="<domain type='kvm'><name>ж</name></domain>"),)
    assert virsh("dumpxml", domain.name).stdout.strip() == server.domains[0].xml


def test_virsh_reads_the_counters_and_none_that_is_not_known(
    server: LibvirtServer, virsh: Virsh
) -> None:
    tap = Interface("tap1", counters=(1, 2, 3, UNKNOWN, 5, 6, 2**64 - 1, 8))
    server.domains = (Domain("vm", UUID(int=1), 4, interfaces=(Interface(None), tap)),)
    said = virsh("domstats", "vm").stdout.split()[2:]
    assert said == [
        *("state.state=1", "state.reason=1", "net.count=2", "net.1.name=tap1"),
        *("net.1.rx.bytes=1", "net.1.rx.pkts=2", "net.1.rx.errs=3"),
        *("net.1.tx.bytes=5", "net.1.tx.pkts=6", "net.1.tx.errs=18446744073709551615"),
        "net.1.tx.drop=8",
    ]
    assert server.calls[STATS] == 1


def test_virsh_is_told_what_happens(server: LibvirtServer) -> None:
    domain = server.domains[0]
    listener = subprocess.Popen(
        ["virsh", "-r", "-c", server.uri, "event", "--all", "--loop", "--timeout", "20"],
        stdout=subprocess.PIPE,
        text=True,
    )
    with listener:
        # virsh registers for one kind after the other, and for this one after the others
        wait_until(
            lambda: server.metadata_changed(domain, 2, "http://nova"), what="virsh to listen"
        )
        server.rebooted(domain)
        server.lifecycle(domain, 2, 1)
        server.device_added(domain, "net2")
        server.device_removed(domain, "net1")
        server.agent_lifecycle(domain, 1, 1)
        server.migration_iteration(domain, 3)
        server.drop()  # virsh ends
        said = listener.communicate(timeout=20)[0]
    name = f"for domain '{domain.name}'"
    for line in (
        f"event 'reboot' {name}",
        f"event 'metadata-change' {name}: type element, uri http://nova",
        f"event 'lifecycle' {name}: Started Migrated",
        f"event 'device-added' {name}: net2",
        f"event 'device-removed' {name}: net1",
        f"event 'agent-lifecycle' {name}: state: 'connected' reason: 'domain started'",
        f"event 'migration-iteration' {name}: iteration: '3'",
    ):
        assert line in said


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (faults.fails(88, "access denied"), "access denied"),
        (faults.closes, "End of file while reading data"),
        (faults.half_then_closes, "End of file while reading data"),
        (faults.GARBAGE["random bytes"], "received from server too large"),
        (faults.GARBAGE["a payload without its last word"], "Unable to decode message payload"),
        (faults.GARBAGE["another serial"], "no call waiting for reply"),
    ],
    ids=["error", "closes", "half", "random", "cut", "serial"],
)
def test_virsh_complains_of_each_fault(
    server: LibvirtServer, virsh: Virsh, answer: faults.Answer, complaint: str
) -> None:
    server.answers[STATS] = answer
    ended = virsh("domstats")
    assert ended.returncode == 1
    assert complaint in ended.stderr
    del server.answers[STATS]
    assert virsh("domstats").returncode == 0


def test_virsh_gives_a_server_up_that_stopped_answering(
    server: LibvirtServer, virsh: Virsh
) -> None:
    server.answers[STATS] = faults.half_then_stalls
    ended = virsh("-k1", "-K1", "domstats")
    assert "keepalive timeout" in ended.stderr


def test_a_late_answer_does_not_keep_pings_waiting(server: LibvirtServer, virsh: Virsh) -> None:
    server.answers[STATS] = faults.late(3)
    assert virsh("-k1", "-K1", "domstats").returncode == 0
    assert server.pings >= 2


def test_what_else_is_asked_is_not_supported(virsh: Virsh) -> None:
    assert "not supported by the connection driver" in virsh("net-list").stderr


def test_a_restart_serves_again(server: LibvirtServer, virsh: Virsh) -> None:
    server.refuses = True
    assert virsh("list").returncode != 0  # it complains, or dies of SIGPIPE
    server.refuses = False
    server.stop()
    assert "No such file or directory" in virsh("list").stderr
    assert not server.connections
    server.start()
    assert virsh("list").returncode == 0
