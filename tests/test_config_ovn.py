"""The settings of OVN: remotes, and what goes with what."""

from pathlib import Path

import pytest

from agent.addresses import parse_remotes
from agent.config import ConfigError, Settings, load


def loaded(tmp_path: Path, ovn: str) -> Settings:
    file = tmp_path / "agent.yaml"
    file.write_text(f"ovn: {ovn}\n")
    return load(file, {}, {})


def test_nothing_of_the_databases_is_asked_by_default() -> None:
    ovn = Settings().ovn
    assert (ovn.databases.northbound, ovn.databases.southbound) == (None, None)
    assert ovn.chassis_southbound is None


@pytest.mark.parametrize(
    ("remotes", "expected"),
    [
        ("unix:/run/ovn/ovnsb_db.sock", [("/run/ovn/ovnsb_db.sock", False)]),
        ("tcp:10.0.0.1:6642", [(("10.0.0.1", 6642), False)]),
        (
            "ssl:[fd00::1]:6642, ssl:ctl2:6642",
            [(("fd00::1", 6642), True), (("ctl2", 6642), True)],
        ),
        ("unix:/a,tcp:b:1", [("/a", False), (("b", 1), False)]),
    ],
)
def test_remotes_are_those_of_ovn_remote(remotes: str, expected: list[object]) -> None:
    assert [(address, tls) for _, address, tls in parse_remotes(remotes)] == expected
    assert [text for text, _, _ in parse_remotes(remotes)] == [
        text.strip() for text in remotes.split(",")
    ]


@pytest.mark.parametrize(
    "remotes", ["", "10.0.0.1:6642", "ssl:/path", "ptcp:6642", "tcp:a:1,", "ssl:a:0", "unix:"]
)
def test_anything_else_is_no_remote(tmp_path: Path, remotes: str) -> None:
    with pytest.raises(ConfigError, match=r"ovn\.databases\.southbound: .*: neither"):
        loaded(tmp_path, f'{{databases: {{southbound: "{remotes}"}}}}')


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("{databases: {southbound: 'ssl:a:6642'}}", "nobody else is trusted"),
        ("{chassis_southbound: 'ssl:a:6642'}", "nobody else is trusted"),
        ("{private_key: /k}", "go together"),
        ("{certificate: /c, ca_certificate: /ca}", "go together"),
        (
            "{databases: {southbound: 'tcp:a:1'}, chassis_southbound: ovn-remote}",
            "says all that chassis_southbound does",
        ),
        ("{enabled: maybe}", "ovn.enabled"),
        ("{rundir: /" + "x" * 100 + "}", "ovn.rundir"),
    ],
)
def test_what_does_not_go_together_is_said(tmp_path: Path, settings: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        loaded(tmp_path, settings)


def test_tls_without_a_certificate_of_its_own_is_for_servers_that_ask_for_none(
    tmp_path: Path,
) -> None:
    ovn = loaded(tmp_path, "{databases: {northbound: 'ssl:a:6641'}, ca_certificate: /ca}").ovn
    assert (ovn.private_key, ovn.ca_certificate) == (None, Path("/ca"))


def test_the_remote_of_ovn_controller_is_a_word(tmp_path: Path) -> None:
    assert loaded(tmp_path, "{chassis_southbound: ovn-remote}").ovn.chassis_southbound == (
        "ovn-remote"
    )


def test_without_ovn_its_controller_has_nothing_to_show(tmp_path: Path) -> None:
    enabled = loaded(tmp_path, "{enabled: false}").enabled()
    assert not {"ovn_controller", "ovn_flow"} & set(enabled)
    assert "ovn_database" in enabled, "it may stand beside the databases"
