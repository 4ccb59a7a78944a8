"""Wheel and sdist: what is in them, what they say of themselves, and that they install."""

import email
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.metadata import Metadata

from agent import __version__
from lab.agent import Agent
from lab.node import Node
from lab.process import run, wait_until
from tests.packages.builds import ROOT, Builds, command, pinned, pipx
from tests.packages.conftest import Dists

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NAME = f"dataplane_agent-{__version__}"
INFO = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt", "licenses/LICENSE"}
BESIDE = {
    *("CHANGELOG.md", "LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml"),
    *("setup.cfg", "requirements.lock", "requirements-libvirt.lock", "requirements-mqtt.lock"),
}
WATCHED = ("ovsdb", "openflow", "unixctl")


def package_files() -> set[str]:
    """What git has of the package, and what it does not have yet but would not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "agent"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {line for line in listed.stdout.splitlines() if (ROOT / line).exists()}


def content_of(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def metadata_of(wheel: Path) -> bytes:
    return content_of(wheel)[f"{NAME}.dist-info/METADATA"]


def assert_it_works(program: Path, switch: Node) -> None:
    """The installed command says its version, what it can reach, and what a switch is like."""
    assert command(program, "--version", cwd=Path("/")) == f"dataplane-agent {__version__}\n"
    checked = run(*switch.enter, str(program), "check", f"--ovs.rundir={switch.rundir}")
    assert {"configuration: good", *(f"{each}: good" for each in WATCHED)} <= set(
        checked.splitlines()
    )
    with Agent(switch.rundir, host=switch, program=(str(program),)) as agent:
        wait_until(
            lambda: 'ovs_bridge_ports{bridge="br0"}' in agent.metrics(),
            timeout=60,
            what="the bridge",
        )
    assert agent.daemon.returncode == 0
    assert "Traceback" not in agent.log


def test_the_same_files_give_the_same_bytes(dists: Dists, tmp_path: Path) -> None:
    command("deploy/dist.sh", tmp_path)
    for each in (dists.sdist, dists.wheel):
        assert (tmp_path / each.name).read_bytes() == each.read_bytes(), each.name


def test_the_wheel_holds_the_package_and_nothing_else(dists: Dists) -> None:
    info = {f"{NAME}.dist-info/{name}" for name in INFO}
    content = content_of(dists.wheel)
    assert set(content) == package_files() | info
    assert {"agent/py.typed", "agent/events/event.schema.json"} <= set(content)
    assert content[f"{NAME}.dist-info/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    commands = content[f"{NAME}.dist-info/entry_points.txt"].decode().split()
    assert commands == ["[console_scripts]", "dataplane-agent", "=", "agent.cli:main"]


def test_the_sdist_holds_what_the_wheel_is_built_from_and_nothing_else(dists: Dists) -> None:
    with tarfile.open(dists.sdist) as archive:
        files = {member.name for member in archive if not member.isdir()}
    names = {name.removeprefix(f"{NAME}/") for name in files}
    told = {name for name in names if not name.startswith("dataplane_agent.egg-info/")}
    assert told == package_files() | BESIDE


def test_the_wheel_of_the_sdist_is_the_wheel_of_the_tree(dists: Dists, tmp_path: Path) -> None:
    # deploy/dist.sh has built the wheel from the sdist; this one is of the files.
    source = tmp_path / "source"
    for name in (*package_files(), *(BESIDE - {"PKG-INFO", "setup.cfg"})):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation")
    command(*build, f"--outdir={tmp_path}", source, cwd=tmp_path)
    (direct,) = tmp_path.glob("*.whl")
    assert content_of(direct) == content_of(dists.wheel)


def test_the_wheel_is_as_small_as_documented(
    dists: Dists, documented: Callable[[str], float]
) -> None:
    assert dists.wheel.stat().st_size / 1e6 == pytest.approx(documented("wheel"), rel=0.1)


def test_its_metadata_is_valid_and_complete(dists: Dists) -> None:
    raw = metadata_of(dists.wheel)
    metadata = Metadata.from_email(raw, validate=True)
    assert (metadata.name, str(metadata.version)) == ("dataplane-agent", __version__)
    assert metadata.license_expression == "Apache-2.0"
    assert metadata.license_files == ["LICENSE"]
    assert str(metadata.requires_python) == ">=3.11"
    assert set(metadata.provides_extra or ()) == {"libvirt", "mqtt"}
    assert metadata.description_content_type == "text/markdown"
    # a message's payload is decoded where the metadata is; both are what an index shows
    assert metadata.description == (ROOT / "README.md").read_text()
    assert email.message_from_bytes(raw).get_all("Classifier")


@pytest.mark.parametrize("lock", ["", "-libvirt", "-mqtt"])
def test_the_locks_have_a_version_that_the_metadata_allows(dists: Dists, lock: str) -> None:
    extra = {"extra": lock.removeprefix("-")}
    wanted = [
        requirement
        for requirement in Metadata.from_email(metadata_of(dists.wheel)).requires_dist or ()
        if (requirement.marker is None) == (lock == "")
        and (requirement.marker is None or requirement.marker.evaluate(extra))
    ]
    assert wanted
    versions = pinned(lock)
    for requirement in wanted:
        assert requirement.specifier.contains(versions[requirement.name.lower()]), requirement


@pytest.fixture
def pip_program(builds: Builds, dists: Dists) -> Path:
    assert dists.wheel.exists()
    return builds.of("pip_program")


@pytest.fixture
def pipx_program(builds: Builds, dists: Dists) -> Path:
    assert dists.wheel.exists()
    return builds.of("pipx_program")


@pytest.mark.node
def test_the_wheel_runs_from_an_environment_of_the_locks(pip_program: Path, switch: Node) -> None:
    assert_it_works(pip_program, switch)


@pytest.mark.node
def test_pipx_installs_it_and_takes_it_away(pipx_program: Path, switch: Node) -> None:
    assert_it_works(pipx_program, switch)
    command("pipx", "uninstall", "dataplane-agent", **pipx(pipx_program.parents[1]))
    assert list(pipx_program.parent.iterdir()) == []
