"""What takes long, begun at once and two at a time, so that a machine of two cores has no pause."""

import os
import re
import subprocess
import threading
from collections.abc import Callable, Container, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

from lab.process import run
from tests.conftest import require_parts

ROOT = Path(__file__).parents[2]
EPOCH = "1700000000"
BUILD_SECONDS = 400
SYSTEM_PYTHON = "/usr/bin/python3"
LOCKS = ("", "-mqtt")


def command(*argv: str | Path, cwd: Path = ROOT, **env: str) -> str:
    """Run one to its end; return what it prints."""
    done = subprocess.run(
        argv,
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH, **env},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Builds:
    """Files and directories by the name of their step.

    Args:
        directory: For all of them.
        wanted: Steps to begin; a step finds those that it needs among them.
    """

    def __init__(self, directory: Path, wanted: Container[str]) -> None:
        self._pool = ThreadPoolExecutor(max_workers=2)
        self._begun: dict[str, Future[Path]] = {}
        ready = threading.Event()
        for name, step in STEPS.items():
            if name in wanted:
                place = directory / name
                place.mkdir()
                self._begun[name] = self._pool.submit(self._do, step, place, ready)
        ready.set()

    def _do(
        self, step: Callable[["Builds", Path], Path], place: Path, ready: threading.Event
    ) -> Path:
        ready.wait()
        return step(self, place)

    def of(self, name: str) -> Path:
        """Wait for a step and return what it made."""
        return self._begun[name].result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)


def dists(_: Builds, place: Path) -> Path:
    """The directory with sdist and wheel."""
    command("deploy/dist.sh", place)
    return place


def tree(_: Builds, place: Path) -> Path:
    """The agent below /opt, of which image and .deb are made."""
    require_parts("strip", "gcc", "pkg-config")
    command("deploy/tree.sh", place)
    return place


def archive(builds: Builds, place: Path) -> Path:
    """The image as an OCI archive."""
    require_parts("mmdebstrap", "buildah")
    return Path(command("deploy/container/build.sh", builds.of("tree"), place).strip())


def deb(builds: Builds, place: Path) -> Path:
    """The Debian package."""
    require_parts("dpkg-buildpackage", "dh")
    return Path(command("deploy/debian/build.sh", builds.of("tree"), place).strip())


def machine_root(builds: Builds, place: Path) -> Path:
    """The root of a Debian with what the package depends on, and little else."""
    require_parts("mmdebstrap")
    # what makes its user is systemd's own tool without systemd, the second of its alternatives
    names = ",".join(each[:2][-1] for each in depends(builds.of("deb")))
    release = Path("/etc/os-release").read_text()
    (codename,) = re.findall(r"^VERSION_CODENAME=(.+)$", release, re.MULTILINE)
    options = ("--variant=essential", "--mode=root", "--dpkgopt=force-unsafe-io")
    # merged from the start: Debian's tool for machines that are not brings all of Perl
    merged = ("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", "--include=usr-is-merged")
    command("mmdebstrap", *options, *merged, f"--include={names}", codename, place / "root")
    return place / "root"


def depends(deb: Path) -> Iterable[list[str]]:
    """Yield what a package depends on: the names of each one's alternatives."""
    for each in run("dpkg-deb", "--field", str(deb), "Depends").split(","):
        yield [name.split("(")[0].strip() for name in each.split("|")]


def findings(builds: Builds, place: Path) -> Path:
    """What lintian says; a first line that is not 0 is its exit status."""
    require_parts("lintian")
    done = subprocess.run(
        ["lintian", "--no-cfg", "--allow-root", "--fail-on=error,warning", builds.of("deb")],
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    (place / "said").write_text(f"{done.returncode}\n{done.stdout}{done.stderr}")
    return place / "said"


def pip_program(builds: Builds, place: Path) -> Path:
    """The command in a fresh environment of the hashed locks."""
    (wheel,) = builds.of("dists").glob("*.whl")
    command(SYSTEM_PYTHON, "-m", "venv", place / "venv")
    pip = (place / "venv/bin/python", "-m", "pip", "--quiet")
    locks = [f"--requirement={ROOT / f'requirements{each}.lock'}" for each in LOCKS]
    command(*pip, "install", "--no-compile", "--require-hashes", *locks, cwd=place)
    command(*pip, "install", "--no-compile", "--no-deps", wheel, cwd=place)
    command(*pip, "check", cwd=place)
    return place / "venv/bin/dataplane-agent"


def pinned(lock: str) -> dict[str, str]:
    """Versions by name, as one of the locks has them."""
    text = (ROOT / f"requirements{lock}.lock").read_text()
    return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))


def pipx_program(builds: Builds, place: Path) -> Path:
    """The command as pipx installs it, with the versions of the locks."""
    require_parts("pipx")
    (wheel,) = builds.of("dists").glob("*.whl")
    constraints = place / "constraints.txt"
    versions = {name: version for lock in LOCKS for name, version in pinned(lock).items()}
    constraints.write_text("".join(f"{name}=={each}\n" for name, each in versions.items()))
    arguments = f"--pip-args=--no-compile --constraint={constraints}"
    spec = f"dataplane-agent[mqtt] @ {wheel.as_uri()}"
    command("pipx", "install", arguments, spec, cwd=place, **pipx(place))
    return place / "bin/dataplane-agent"


def pipx(place: Path) -> dict[str, str]:
    """Variables that keep pipx to a directory."""
    return {
        "PIPX_HOME": str(place / "home"),
        "PIPX_BIN_DIR": str(place / "bin"),
        "PIPX_DEFAULT_PYTHON": SYSTEM_PYTHON,
    }


STEPS: dict[str, Callable[[Builds, Path], Path]] = {
    step.__name__: step
    for step in (tree, dists, archive, deb, pip_program, pipx_program, machine_root, findings)
}
"""In the order in which they begin: a step comes after those that it waits for."""
