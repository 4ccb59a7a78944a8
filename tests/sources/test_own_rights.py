"""What check says about the process itself."""

import os
from pathlib import Path

import pytest

from agent.sources.own_rights import own_rights

WHO = f"uid {os.geteuid()}, groups {' '.join(map(str, sorted({os.getegid(), *os.getgroups()})))}"


def said(tmp_path: Path, text: str) -> str:
    (tmp_path / "status").write_text(text)
    rights = own_rights(tmp_path / "status")
    assert rights.startswith(f"{WHO}, ")
    return rights.removeprefix(f"{WHO}, ")


@pytest.mark.parametrize(
    ("effective", "rights"),
    [
        (
            "000001ffffffffff",
            "CAP_DAC_OVERRIDE, CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_SYS_PTRACE",
        ),
        (
            "0000000000201002",  # those of the unit
            "CAP_DAC_OVERRIDE, CAP_NET_ADMIN, CAP_SYS_ADMIN; without CAP_SYS_PTRACE",
        ),
        (
            "0000000000000000",
            "no capability; without CAP_DAC_OVERRIDE, CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_SYS_PTRACE",
        ),
    ],
)
def test_capabilities_are_named_and_those_it_is_without(
    tmp_path: Path, effective: str, rights: str
) -> None:
    lines = f"Name:\tpython3\nCapPrm:\t000001ffffffffff\nCapEff:\t{effective}\n"
    assert said(tmp_path, lines) == rights


@pytest.mark.parametrize("text", ["", "CapEff:\n", "CapEff:\tffffffffffffffgg\n", "CapPrm:\t0\n"])
def test_capabilities_that_cannot_be_read_are_not_known(tmp_path: Path, text: str) -> None:
    assert said(tmp_path, text) == "capabilities not known"


def test_without_proc_they_are_not_known(tmp_path: Path) -> None:
    assert own_rights(tmp_path / "missing") == f"{WHO}, capabilities not known"


def test_of_this_process_they_are_known() -> None:
    assert "CAP_DAC_OVERRIDE" in own_rights()
