"""The examples for containers: one set of rights, in words that the tools take."""

import subprocess
from pathlib import Path

import yaml

from agent import __version__
from lab.container import EXAMPLES, QUADLET, quadlet
from tests.conftest import require_parts

VALUES = {
    "Network": "host",
    "ReadOnly": "true",
    "DropCapability": "all",
    "NoNewPrivileges": "true",
    "PodmanArgs": "--pid=host",
    "SecurityLabelDisable": "true",
}
"""What lab.container gives every container, or reads in no other way."""


def test_the_quadlet_says_what_the_tests_run() -> None:
    assert dict(quadlet()).items() >= VALUES.items()
    repeated = {"Volume", "AddCapability"}
    known = {"ContainerName", "Image", "Exec", "User", "Group", *VALUES, *repeated}
    keys = [key for key, _ in quadlet()]
    assert set(keys) == known
    assert {key for key in keys if keys.count(key) > 1} == repeated


def test_the_examples_give_the_same_rights_and_mounts() -> None:
    (play,) = yaml.safe_load((EXAMPLES / "kolla-ansible" / "dataplane-agent.yml").read_text())
    variables = play["vars"]
    volumes = [value for key, value in quadlet() if key == "Volume"]
    capabilities = [value for key, value in quadlet() if key == "AddCapability"]
    assert variables["dataplane_agent_volumes"] == volumes
    assert variables["dataplane_agent_capabilities"] == capabilities
    assert variables["dataplane_agent_image"] == dict(quadlet())["Image"]
    docker, podman = (
        next(task[module] for task in play["tasks"] if module in task)
        for module in ("community.docker.docker_container", "containers.podman.podman_container")
    )
    for task in (docker, podman):
        assert task["read_only"] is True
        assert (task["user"], task["cap_drop"]) == ("0:0", ["all"])
    options = ["no-new-privileges", "label=disable"]
    assert docker["security_opts"] == podman["security_opt"] == options
    assert (docker["network_mode"], podman["network"]) == ("host", "host")
    assert (docker["pid_mode"], podman["pid"]) == ("host", "host")


def test_the_examples_name_this_version() -> None:
    assert dict(quadlet())["Image"] == f"localhost/dataplane-agent:{__version__}"


def test_systemd_takes_the_service_that_the_quadlet_becomes(tmp_path: Path) -> None:
    """Podman's generator leaves all sections but [Container] as they are."""
    require_parts("systemd-analyze")
    before, rest = QUADLET.read_text().split("[Container]")
    after = rest[rest.index("[Service]") :]
    service = after.replace("[Service]", "[Service]\nType=notify\nExecStart=/bin/true")
    unit = tmp_path / "dataplane-agent.service"
    unit.write_text(before + service)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
