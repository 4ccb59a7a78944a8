"""The unit, its drop-ins and its files by systemd's own tools."""

import re
import subprocess
from pathlib import Path

import pytest

from agent import config
from tests.conftest import require_parts
from tests.deploy.units import DEPLOY, PROGRAM, SYSTEM, UNIT, analyze, install, open_doors, security

PROFILES = {"": 4.0, "least": 2.5, "full": 4.0}
"""How exposed the service may be, by drop-in."""
TOOLS = ("systemd-analyze", "systemd-sysusers")


@pytest.fixture(scope="module", autouse=True)
def _systemd_installed() -> None:
    require_parts(*TOOLS)


@pytest.fixture(params=PROFILES)
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path, profile: str) -> Path:
    return install(tmp_path, *filter(None, [profile]))


def test_systemd_finds_nothing_wrong_with_the_unit(root: Path) -> None:
    shown = analyze(root, "verify", UNIT)
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, "", "")


def test_systemd_would_find_a_mistake_in_a_drop_in(tmp_path: Path) -> None:
    root = install(tmp_path, "least")
    (root / SYSTEM / f"{UNIT}.d" / "wrong.conf").write_text("[Service]\nProtectSytem=strict\n")
    assert "ProtectSytem" in analyze(root, "verify", UNIT).stderr


def test_the_service_is_exposed_no_more_than_its_profile_allows(root: Path, profile: str) -> None:
    shown = security(root, PROFILES[profile])
    assert shown.returncode == 0, shown.stdout


def test_a_service_without_hardening_would_be_found_too_exposed(tmp_path: Path) -> None:
    root = install(tmp_path)
    (root / SYSTEM / UNIT).write_text(f"[Service]\nExecStart={PROGRAM}\n")
    assert security(root, max(PROFILES.values())).returncode != 0


def test_every_door_that_stays_open_is_explained_in_the_unit(root: Path, profile: str) -> None:
    explained = (DEPLOY / UNIT).read_text()
    if profile:
        explained += (DEPLOY / f"{profile}.conf").read_text()
    comments = "\n".join(line for line in explained.splitlines() if line.startswith("#"))
    doors = open_doors(root)
    assert doors
    for door in doors:
        # DAC_OVERRIDE of "CapabilityBoundingSet=~CAP_(DAC_*|FOWNER|IPC_OWNER)" and the like
        word = "DAC_OVERRIDE" if "DAC_" in door else door.partition("~CAP_")[2] or door
        name = word.partition("=")[0]
        assert name in comments or name == "AmbientCapabilities", door


def test_the_group_of_the_sockets_is_taken_by_the_units_of_open_vswitch_and_ovn(
    tmp_path: Path,
) -> None:
    root = install(tmp_path)
    for unit in ("ovsdb-server", "ovs-vswitchd", "ovn-controller"):
        drop_ins = root / SYSTEM / f"{unit}.service.d"
        drop_ins.mkdir()
        (drop_ins / "group.conf").write_bytes((DEPLOY / "openvswitch-group.conf").read_bytes())
        shown = analyze(root, "cat-config", f"systemd/system/{unit}.service")
        assert "Group=openvswitch\nUMask=0007" in shown.stdout
        assert "openvswitch-group" not in analyze(root, "verify", f"{unit}.service").stderr


def test_the_user_owns_nothing_and_cannot_log_in(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", str(DEPLOY / "dataplane-agent.sysusers")],
        check=True,
        capture_output=True,
        timeout=60,
    )
    (user,) = [x for x in (tmp_path / "etc/passwd").read_text().splitlines() if x]
    name, _, uid, _, _, home, shell = user.split(":")
    assert (name, home) == ("dataplane-agent", "/")
    assert 0 < int(uid) < 1000
    assert shell.endswith("/nologin")
    groups = (tmp_path / "etc/group").read_text().splitlines()
    assert sorted(group.split(":")[0] for group in groups) == ["dataplane-agent", "openvswitch"]
    assert all(group.endswith(":") for group in groups)  # nobody's second group


def test_the_environment_file_names_the_configuration_that_is_installed() -> None:
    lines = (DEPLOY / "dataplane-agent.default").read_text().splitlines()
    set_lines = [line for line in lines if line and not line.startswith("#")]
    assert set_lines == ['ARGS="--config.file=/etc/dataplane-agent/config.yml"']
    names = [line[2:].partition("=")[0] for line in lines if line.startswith("# DATAPLANE_AGENT_")]
    assert names
    environ = {line[2:].partition("=")[0]: line.partition("=")[2] for line in lines if "__" in line}
    assert config.load(None, environ, {}).log.level == "debug"


def test_the_default_configuration_changes_nothing() -> None:
    assert config.load(DEPLOY / "config.yml", {}, {}) == config.load(None, {}, {})


def test_what_the_default_configuration_proposes_can_be_used(tmp_path: Path) -> None:
    text = (DEPLOY / "config.yml").read_text()
    proposed = re.sub(r"^  # (\w+: \S)", r"  \1", text, flags=re.MULTILINE)
    (tmp_path / "config.yml").write_text(proposed)
    settings = config.load(tmp_path / "config.yml", {}, {})
    assert settings.web.listen_address == ["192.0.2.10:10978"]
    assert settings.web.config_file == Path("/etc/dataplane-agent/web.yml")


def test_least_misses_no_namespaces_that_it_may_not_enter() -> None:
    lines = (DEPLOY / "least.conf").read_text().splitlines()
    environ = dict(
        line.removeprefix("Environment=").split("=", 1)
        for line in lines
        if line.startswith("Environment=")
    )
    assert config.load(None, environ, {}).namespaces.include == []
