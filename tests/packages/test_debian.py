"""The Debian package: built, read by lintian, and lived with on a plain Debian of its own."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from agent import __version__
from lab.agent import Agent
from lab.node import Node
from lab.process import run, wait_until
from tests.conftest import require_parts
from tests.packages.builds import BUILD_SECONDS, EPOCH, ROOT, Builds

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SYSTEMD = ROOT / "deploy" / "systemd"
OPT, UNIT = "opt/dataplane-agent", "lib/systemd/system/dataplane-agent.service"
WANTED = "etc/systemd/system/multi-user.target.wants/dataplane-agent.service"
CONFFILES = ("etc/dataplane-agent/config.yml", "etc/default/dataplane-agent")
CAPABILITIES = "+dac_override,+sys_admin,+net_admin"
NEXT = "99.0+deb12"


@pytest.fixture
def findings(builds: Builds, deb: Path) -> str:
    """What lintian said, below its exit status."""
    assert deb.exists()
    return builds.of("findings").read_text()


class Machine:
    """A Debian with the package manager and little else, in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *argv: str) -> str:
        done = subprocess.run(
            ["chroot", str(self.root), *argv],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, deb: Path) -> None:
        """As an operator does it with a newer package: a changed file of theirs is kept."""
        shutil.copy(deb, self.root / "new.deb")
        self.run("dpkg", "--force-confold", "--install", "/new.deb")
        (self.root / "new.deb").unlink()

    def files(self) -> set[str]:
        return {
            str(path.relative_to(self.root))
            for top in ("etc", "opt", "usr", "lib", "var/lib/systemd")
            for path in (self.root / top).rglob("*")
        }


@pytest.fixture(scope="session")
def machine_root(builds: Builds, deb: Path) -> Path:
    assert deb.exists()
    return builds.of("machine_root")


@pytest.fixture(scope="module")
def bare(machine_root: Path) -> tuple[Machine, set[str]]:
    """A machine with what the package depends on, and the files it had before the package."""
    require_parts("chroot", "unshare", "setpriv")
    machine = Machine(machine_root)
    return machine, machine.files()


@pytest.fixture(scope="module")
def machine(bare: tuple[Machine, set[str]], deb: Path) -> Machine:
    """The machine with the package; the tests below go through its life in their order."""
    bare[0].install(deb)
    return bare[0]


def test_what_it_depends_on_is_exact(deb: Path) -> None:
    depends = run("dpkg-deb", "--field", str(deb), "Depends")
    assert "python3 (>= 3.11~), python3 (<< 3.12~)" in depends
    assert "libvirt0" in depends
    # a node of Linux bridges alone gets no switch by accident
    assert run("dpkg-deb", "--field", str(deb), "Recommends").strip() == ""
    assert run("dpkg-deb", "--field", str(deb), "Version").startswith(f"{__version__}+deb")


def test_its_files_are_roots_and_not_younger_than_its_date(deb: Path) -> None:
    listed = run("dpkg-deb", "--contents", str(deb)).splitlines()
    assert {line.split()[1] for line in listed} == {"root/root"}
    limit = run("date", "-u", f"--date=@{EPOCH}", "+%F").strip()
    assert {line.split()[3] for line in listed} <= {limit}
    assert not [line for line in listed if "/tests/" in line or "-packages/pip/" in line]


def test_it_is_as_small_as_documented(deb: Path, documented: Callable[[str], float]) -> None:
    assert deb.stat().st_size / 1e6 == pytest.approx(documented("Debian package"), rel=0.1)


def test_installing_brings_unit_user_settings_and_command(machine: Machine) -> None:
    for path, source in (
        (UNIT, "dataplane-agent.service"),
        ("usr/lib/sysusers.d/dataplane-agent.conf", "dataplane-agent.sysusers"),
        ("etc/default/dataplane-agent", "dataplane-agent.default"),
        ("etc/dataplane-agent/config.yml", "config.yml"),
        ("usr/share/doc/dataplane-agent/examples/least.conf", "least.conf"),
        ("usr/share/doc/dataplane-agent/examples/full.conf", "full.conf"),
    ):
        assert (machine.root / path).read_text() == (SYSTEMD / source).read_text(), path
    assert machine.run("id", "--user", "--name", "dataplane-agent") == "dataplane-agent\n"
    assert (machine.root / WANTED).is_symlink()
    assert machine.run("dpkg", "--verify", "dataplane-agent") == ""
    version = f"dataplane-agent {__version__}\n"
    assert machine.run("/usr/bin/dataplane-agent", "--version") == version
    assert "ovs_flow_packets_total" in machine.run("/usr/bin/dataplane-agent", "metrics")
    machine.run(
        *("dataplane-agent", "metrics", "--config.file=/etc/dataplane-agent/config.yml"),
    )


@pytest.mark.node
def test_as_the_units_user_with_its_capabilities_it_watches_a_switch(
    machine: Machine, node: Node, tmp_path: Path
) -> None:
    node.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
    root = machine.root
    (root / "run/openvswitch").mkdir(parents=True, exist_ok=True)
    start = tmp_path / "start"
    start.write_text(f"""\
#!/bin/sh -e
mount --rbind /proc {root}/proc
mount --bind {node.rundir} {root}/run/openvswitch
exec chroot {root} setpriv --reuid=dataplane-agent --regid=dataplane-agent --clear-groups \\
    --inh-caps=-all,{CAPABILITIES} --ambient-caps=-all,{CAPABILITIES} \\
    --bounding-set=-all,{CAPABILITIES} --no-new-privs /usr/bin/dataplane-agent "$@"
""")
    start.chmod(0o755)
    program = ("unshare", "--mount", str(start))
    with Agent(Path("/run/openvswitch"), host=node, program=program) as agent:
        wait_until(
            lambda: agent.metrics().get('ovs_bridge_ports{bridge="br0"}'),
            timeout=60,
            what="the bridge",
        )
    assert agent.daemon.returncode == 0
    assert "Traceback" not in agent.log


def test_an_upgrade_changes_the_agent_and_keeps_what_the_operator_wrote(
    machine: Machine, deb: Path, tmp_path: Path
) -> None:
    settings = machine.root / CONFFILES[0]
    settings.write_text("log: {level: debug}\n")
    (machine.root / WANTED).unlink()  # systemctl disable
    content = tmp_path / "content"
    run("dpkg-deb", "--raw-extract", str(deb), str(content))
    control = content / "DEBIAN/control"
    control.write_text(
        re.sub(r"^Version: .*", f"Version: {NEXT}", control.read_text(), flags=re.MULTILINE)
    )
    unit = content / UNIT
    unit.write_text(unit.read_text() + "# newer\n")
    (content / CONFFILES[0]).write_text("# newer\n")
    newer = tmp_path / "newer.deb"
    run("dpkg-deb", "-Znone", "--root-owner-group", "--build", str(content), str(newer))
    machine.install(newer)
    assert (
        run(
            "dpkg-query",
            f"--admindir={machine.root}/var/lib/dpkg",
            "-W",
            "-f=${Version}",
            "dataplane-agent",
        )
        == NEXT
    )
    assert (machine.root / UNIT).read_text().endswith("# newer\n")
    assert settings.read_text() == "log: {level: debug}\n"
    assert not (machine.root / WANTED).exists()


def test_removing_keeps_settings_and_nothing_else(machine: Machine) -> None:
    machine.run("dpkg", "--remove", "dataplane-agent")
    assert not (machine.root / OPT).exists()
    assert not (machine.root / UNIT).exists()
    assert not (machine.root / "usr/bin/dataplane-agent").exists()
    assert all((machine.root / path).exists() for path in CONFFILES)


def test_purging_leaves_nothing(bare: tuple[Machine, set[str]]) -> None:
    machine, before = bare
    machine.run("dpkg", "--purge", "dataplane-agent")
    left = {path for path in machine.files() - before if "__pycache__" not in path}
    # Users are not deleted: files of theirs may be anywhere.
    assert left <= {
        "etc/.pwd.lock",
        "etc/passwd-",
        "etc/group-",
        "etc/shadow-",
        "etc/gshadow-",
        "etc/shadow",
        "etc/gshadow",
        "var/lib/systemd/deb-systemd-helper-enabled",
        "var/lib/systemd/deb-systemd-helper-masked",
    }


def test_lintian_has_nothing_to_say_that_is_not_answered(findings: str) -> None:
    status, _, said = findings.partition("\n")
    assert status == "0", said
    overrides = (ROOT / "deploy/debian/dataplane-agent.lintian-overrides").read_text()
    assert "mismatched-override" not in said
    assert all(line.startswith(("#", "dataplane-agent: ")) for line in overrides.splitlines())
