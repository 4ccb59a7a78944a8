"""The process as systemd and an operator see it: start, ready, watchdog, signals, exit codes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import bcrypt
import pytest

from agent import __version__
from lab.agent import PROGRAM, Agent
from lab.compute import ComputeNode
from lab.node import Node
from lab.process import free_port, wait_until
from lab.prometheus import Job, Prometheus
from lab.wide import WideNode
from tests.e2e.page import Page, labels_of, parse
from tests.exposition.pki import Pki

OPEN_VSWITCH = ("openflow", "ovsdb", "unixctl")

pytestmark = [pytest.mark.e2e]

END_SECONDS = 2.0


def command(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PROGRAM), *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_says_its_version() -> None:
    assert command("--version").stdout == f"dataplane-agent {__version__}\n"


def test_python_m_agent_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agent", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"dataplane-agent {__version__}\n"


def test_lists_what_it_can_emit() -> None:
    assert "| datapath | ovs_datapath_lookup_lost_total | counter |" in command("metrics").stdout
    listed = json.loads(command("metrics", "--format=json").stdout)
    assert {"name", "type", "labels", "help", "collector"} <= set(listed[0])


def test_every_configuration_problem_is_told_at_once_and_nothing_is_opened(
    tmp_path: Path,
) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("ovs: {rundirr: /x}\nscrape: {share_seconds: 9}\nnonsense: 1\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        done = command(
            f"--config.file={file}",
            f"--web.listen-address=127.0.0.1:{taken.getsockname()[1]}",
            "--web.max-requests=-1",
            DATAPLANE_AGENT_FLOWS__MODE="most",
            DATAPLANE_AGENT_FLOW__MODE="all",
        )
    assert done.returncode == 2
    for path in (
        "ovs.rundirr",
        "scrape.share_seconds",
        "nonsense",
        "web.max_requests",
        "flows.mode",
        "DATAPLANE_AGENT_FLOW__MODE",
    ):
        assert f"configuration: {path}" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_flag_is_a_configuration_problem() -> None:
    assert command("--ovs.rundirr=/x").returncode == 2
    assert command("--format=json").returncode == 2


def test_a_bad_web_configuration_is_a_configuration_problem(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text("tls_server_config: {cert_file: nowhere.pem}\nusers: {}\n")
    for name in ("check", "run"):
        done = command(name, f"--web.config.file={file}", "--web.listen-address=127.0.0.1:0")
        assert done.returncode == 2, done
        assert "users: unknown key" in done.stderr
        assert "Traceback" not in done.stderr


def test_an_address_that_is_taken_ends_it_with_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = command(f"--web.listen-address=127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 1
    assert "cannot start" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path_factory.mktemp("n") / "notify"))
        listener.settimeout(10)
        yield listener


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_tells_systemd_what_it_does_and_ends_in_time(
    systemd: socket.socket, tmp_path: Path, number: signal.Signals
) -> None:
    port = free_port()
    env = {
        **os.environ,
        "NOTIFY_SOCKET": str(systemd.getsockname()),
        "WATCHDOG_USEC": "400000",
    }
    with subprocess.Popen(
        [str(PROGRAM), f"--ovs.rundir={tmp_path}", f"--web.listen-address=127.0.0.1:{port}"],
        env=env,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert systemd.recv(100) == b"READY=1"
        socket.create_connection(("127.0.0.1", port)).close()
        assert systemd.recv(100) == b"WATCHDOG=1"
        assert systemd.recv(100) == b"WATCHDOG=1"
        asked = time.monotonic()
        process.send_signal(number)
        while (said := systemd.recv(100)) == b"WATCHDOG=1":
            pass
        assert said == b"STOPPING=1"
        _, log = process.communicate(timeout=20)
        assert time.monotonic() - asked < END_SECONDS
    assert process.returncode == 0
    assert "Traceback" not in log
    start = log.split("event=ready")[0].splitlines()
    assert len(start) < 20


def up_of(page: Page) -> dict[str, float]:
    return {labels["source"]: value for labels, value in page["dataplane_agent_source_up"]}


@pytest.mark.node
def test_starts_without_open_vswitch_and_finds_it_when_it_appears(
    node: Node, tmp_path: Path
) -> None:
    node.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
    rundir = tmp_path / "run"
    with Agent(rundir) as agent:
        page = parse(agent.metrics())
        assert {up_of(page)[source] for source in OPEN_VSWITCH} == {0}
        absent = [
            labels["source"]
            for labels, value in page["dataplane_agent_source_failures_total"]
            if labels["reason"] == "absent" and value
        ]
        assert sorted(absent) == ["openflow", "ovsdb", "unixctl"]
        assert not any(name.startswith("ovs_") for name in page)
        rundir.symlink_to(node.rundir)
        wait_until(
            lambda: {up_of(parse(agent.metrics()))[source] for source in OPEN_VSWITCH} == {1},
            timeout=20,
            what="all sources of Open vSwitch to be up",
        )
        assert ("br0",) in labels_of(parse(agent.metrics()), "ovs_bridge_info", "bridge")
    for source in OPEN_VSWITCH:
        assert agent.log.count(f'"source down" source={source} ') == 1, agent.log
        assert agent.log.count(f'"source up" source={source}\n') == 1, agent.log


@pytest.mark.node
def test_check_says_what_is_missing(compute_node: ComputeNode, tmp_path: Path) -> None:
    good = command("check", f"--ovs.rundir={compute_node.rundir}")
    assert (good.returncode, good.stderr) == (0, "")
    said = good.stdout.splitlines()
    assert said[0] == "configuration: good"
    assert said[1].startswith("rights: uid 0, ")
    assert said[2:] == sorted(said[2:])
    assert {f"{source}: good" for source in (*OPEN_VSWITCH, "rtnetlink")} <= set(said)
    bad = command("check", f"--ovs.rundir={tmp_path}")
    assert (bad.returncode, bad.stderr) == (1, "")
    for line in (
        "openflow: down",
        f"ovsdb: absent: unix:{tmp_path}/db.sock: No such file or directory",
        f"unixctl: absent: {tmp_path}: no control socket of ovs-vswitchd",
        "is the service running",
    ):
        assert line in bad.stdout, bad.stdout


@pytest.mark.node
def test_once_prints_one_page(compute_node: ComputeNode) -> None:
    done = command("once", f"--ovs.rundir={compute_node.rundir}", "--log.format=json")
    assert done.returncode == 0
    assert 'ovs_bridge_info{bridge="br-int"' in done.stdout
    assert "ovs_flow_packets_total{" in done.stdout
    assert all(json.loads(line)["level"] == "info" for line in done.stderr.splitlines())


@pytest.mark.node
def test_collectors_are_switched_by_flags(compute_node: ComputeNode) -> None:
    rundir = f"--ovs.rundir={compute_node.rundir}"
    only = command("once", rundir, "--collector.disable-defaults", "--collector.tunnel").stdout
    assert "dataplane_tunnel_endpoint_info{" in only
    assert "ovs_bridge_info" not in only
    without = command("once", rundir, "--no-collector.tunnel").stdout
    assert "dataplane_tunnel_endpoint_info" not in without
    assert "ovs_bridge_info{" in without


@pytest.mark.node
@pytest.mark.usefixtures("prometheus_installed")
def test_prometheus_scrapes_with_tls_and_a_user(compute_node: ComputeNode, tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    root = pki.authority()
    server, client = pki.leaf(root, "IP:127.0.0.1"), pki.leaf(root)
    password = "correct horse"  # noqa: S105 - of this test
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    web = tmp_path / "web.yaml"
    tls = {
        "cert_file": str(server.cert),
        "key_file": str(server.key),
        "client_auth_type": "RequireAndVerifyClientCert",
        "client_ca_file": str(root.cert),
    }
    web.write_text(
        json.dumps({"tls_server_config": tls, "basic_auth_users": {"prometheus": hashed}})
    )
    subprocess.run(["promtool", "check", "web-config", str(web)], check=True, capture_output=True)
    arguments = (f"--web.config.file={web}",)
    with Agent(compute_node.rundir, *arguments, wait_ready=False) as agent:
        target = f"127.0.0.1:{agent.port}"
        trusted = {
            "ca_file": str(root.cert),
            "cert_file": str(client.cert),
            "key_file": str(client.key),
        }
        job = Job([target], "right", scheme="https", tls=trusted)
        jobs = (
            replace(job, basic_auth=("prometheus", password)),
            replace(job, name="wrong password", basic_auth=("prometheus", "guess")),
            replace(
                job,
                name="no certificate",
                tls={"ca_file": str(root.cert)},
                basic_auth=("prometheus", password),
            ),
        )
        with Prometheus(*jobs) as prometheus:

            def have_tried() -> bool:
                known = [t["health"] for t in prometheus.targets()]
                return len(known) == len(jobs) and "unknown" not in known

            wait_until(have_tried, timeout=30, what="every job to have tried")
            health = {t["labels"]["job"]: t["health"] for t in prometheus.targets()}
            errors = {t["labels"]["job"]: t["lastError"] for t in prometheus.targets()}
    assert health == {"right": "up", "wrong password": "down", "no certificate": "down"}, errors
    assert "401" in errors["wrong password"]
    assert "Traceback" not in agent.log
    assert password not in agent.log


@pytest.mark.node
@pytest.mark.usefixtures("open_vswitch")
def test_two_thousand_interfaces_have_their_series() -> None:
    with WideNode(2000) as node, Agent(node.rundir) as agent:
        agent.get()
        page = parse(agent.metrics())
    assert len(page["ovs_interface_info"]) == 2000
    assert len(page["ovs_interface_rx_packets_total"]) == 2000
