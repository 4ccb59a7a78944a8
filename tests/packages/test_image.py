"""What is in the image, which is built without a registry."""

import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.container import Image
from tests.packages.builds import EPOCH

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PROGRAM = "/opt/dataplane-agent/"
USER = "65532:65532"
MILLION = 1e6


@pytest.fixture(scope="module")
def files(image: Image) -> dict[str, tarfile.TarInfo]:
    """Everything in its layer, by path."""
    (layer,) = image.layers
    with tarfile.open(layer, mode="r|*") as content:
        return {f"/{member.name.strip('./')}": member for member in content}


def test_it_starts_the_agent_as_a_user_without_rights(image: Image) -> None:
    config = image.config["config"]
    assert config["User"] == USER
    assert config["Entrypoint"] == [f"{PROGRAM}bin/dataplane-agent"]
    assert "Cmd" not in config


def test_it_is_as_small_as_documented(
    image: Image,
    files: dict[str, tarfile.TarInfo],
    report: Callable[[str, str], None],
    documented: Callable[[str], float],
) -> None:
    packed = sum(layer.stat().st_size for layer in image.layers) / MILLION
    unpacked = sum(file.size for file in files.values()) / MILLION
    report("image", f"{packed:.1f} MB packed, {unpacked:.1f} MB unpacked")
    assert packed == pytest.approx(documented("image, packed"), rel=0.1)
    assert unpacked == pytest.approx(documented("image, unpacked"), rel=0.1)


def test_it_holds_what_runs_and_nothing_to_work_with(files: dict[str, tarfile.TarInfo]) -> None:
    def executables(directory: str) -> set[str]:
        return {
            path
            for path, file in files.items()
            if path.startswith(directory) and not file.isdir() and file.mode & 0o111
        }

    assert executables("/usr/bin") | executables("/bin") == {"/usr/bin/python3.11"}
    assert executables("/usr/sbin") | executables("/sbin") == set()
    programs = {f"{PROGRAM}bin/{name}" for name in ("python3", "dataplane-agent")}
    assert executables(f"{PROGRAM}bin") == programs
    packages = {
        path.split("site-packages/")[1].split("/")[0] for path in files if "site-packages/" in path
    }
    assert {"agent", "aiohttp", "aiomqtt", "libvirt.py", "numpy", "ovs"} <= packages
    assert not packages & {"pip", "setuptools", "pytest"}
    assert not [path for path in files if path.startswith(PROGRAM) and "/tests/" in path]
    unread = ("/usr/share/man/", "/usr/share/locale/")
    assert not [path for path in files if path.startswith(unread)]


def test_no_file_is_above_the_rights_of_its_user(files: dict[str, tarfile.TarInfo]) -> None:
    loose = stat.S_ISUID | stat.S_ISGID | stat.S_IWGRP | stat.S_IWOTH
    assert {
        path
        for path, file in files.items()
        if (file.isfile() or file.isdir())
        and file.mode & loose
        and path not in {"/tmp", "/var/tmp"}  # noqa: S108 - the image's
    } <= {"/var/local", "/run/lock", "/var/lock", "/var/mail"}


def test_licenses_and_the_list_of_packages_are_in_it(files: dict[str, tarfile.TarInfo]) -> None:
    metadata = {path for path in files if path.endswith(".dist-info/METADATA")}
    assert len(metadata) > 20
    for name in ("dataplane_agent", "aiohttp", "numpy", "paho_mqtt"):
        assert [p for p in files if f"/{name}-" in p and "LICENSE" in p.upper()], name
    known = {Path(path).name for path in files if path.startswith("/var/lib/dpkg/status.d/")}
    documented = {path.split("/")[4] for path in files if path.startswith("/usr/share/doc/")}
    assert {"libc6", "libvirt0", "python3.11-minimal", "libssl3"} <= known
    assert {"libc6", "libvirt0", "python3.11-minimal", "libssl3"} <= documented


def test_nothing_in_it_is_younger_than_its_date(files: dict[str, tarfile.TarInfo]) -> None:
    assert max(file.mtime for file in files.values()) <= int(EPOCH)
