"""What is given to people, built once for all tests: package files, .deb, image."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.container import Chroot, Engine, Given, Image, Podman, unpack
from lab.namespace import delete_directory, make_directory
from lab.node import Node
from lab.process import LabError, run
from tests.conftest import require_parts
from tests.packages.builds import ROOT, Builds

FIGURES = pytest.StashKey[dict[str, str]]()
"""What was measured, for the end of the tests' output."""


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if figures := config.stash.get(FIGURES, {}):
        terminalreporter.section("packages")
        for name, figure in figures.items():
            terminalreporter.write_line(f"{name}: {figure}")


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Callable[[str, str], None]:
    """Have a figure printed at the end."""
    return pytestconfig.stash.setdefault(FIGURES, {}).__setitem__


@pytest.fixture(scope="session")
def documented() -> Callable[[str], float]:
    """Look up a size in docs/packaging.md, in MB of a million bytes."""
    rows = re.findall(
        r"^\| (.+?) \| ([\d.]+) MB \|", (ROOT / "docs/packaging.md").read_text(), re.MULTILINE
    )
    return lambda name: float(dict(rows)[name])


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    """For what is large: pytest would keep it for three runs."""
    directory = make_directory()
    yield directory
    delete_directory(directory)


@pytest.fixture(scope="session")
def builds(request: pytest.FixtureRequest, directory: Path) -> Iterator[Builds]:
    """What the tests that run ask for, and no more."""
    wanted = {name for item in request.session.items for name in item.fixturenames}
    with Builds(directory, wanted) as builds:
        yield builds


@dataclass(frozen=True)
class Dists:
    sdist: Path
    wheel: Path


@pytest.fixture(scope="session")
def dists(builds: Builds) -> Dists:
    (sdist,), (wheel,) = (builds.of("dists").glob(each) for each in ("*.tar.gz", "*.whl"))
    return Dists(sdist, wheel)


@pytest.fixture(scope="session")
def tree(builds: Builds) -> Path:
    return builds.of("tree")


@pytest.fixture(scope="session")
def deb(builds: Builds, tree: Path) -> Path:
    assert tree.exists()
    return builds.of("deb")


@pytest.fixture(scope="session")
def archive(builds: Builds, tree: Path) -> Path:
    assert tree.exists()
    return builds.of("archive")


@pytest.fixture(scope="session")
def image(archive: Path, directory: Path) -> Image:
    place = directory / "image"
    place.mkdir()
    return unpack(archive, place)


@pytest.fixture(scope="session")
def engine(archive: Path, report: Callable[[str, str], None]) -> Iterator[tuple[Engine, str]]:
    """What runs the image, and its name there: Podman, or nothing but a chroot."""
    require_parts("podman", "runc", "unshare")
    with Podman() as podman:
        name = podman.load(archive)
        try:
            run(*podman.command(name, Given()), "--version")
        except LabError as error:
            why = str(error).splitlines()[-1]
        else:
            report("engine", run("podman", "--version").strip())
            yield podman, name
            return
    with Chroot() as chroot:
        report("engine", f"none, so a chroot: {why}")
        yield chroot, chroot.load(archive)


@pytest.fixture
def switch(node: Node) -> Node:
    """A switch with a bridge br0 and a flow of priority 7."""
    node.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
    node.ofctl("add-flow", "br0", "priority=7,actions=drop")
    return node
