"""The workflow of CI calls what is there, and has no more rights than it needs."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    return found


def steps(jobs: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in jobs.values() for step in job["steps"]]


def test_github_can_read_it() -> None:
    check = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run(
        [check, "--builtin-schema=vendor.github-workflows", WORKFLOW],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_target_that_it_makes_exists(jobs: dict[str, Any]) -> None:
    named = {
        target
        for step in steps(jobs)
        for line in re.findall(r"^make (.+)$", step.get("run", ""), re.MULTILINE)
        for target in line.split()
    }
    assert named == {"test", "wheel", "deb", "image"}
    for target in named:
        done = subprocess.run(
            ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_every_action_is_pinned_by_commit(jobs: dict[str, Any]) -> None:
    used = [step["uses"] for step in steps(jobs) if "uses" in step]
    assert used
    assert [each for each in used if not re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", each)] == []


def test_only_the_release_may_write(jobs: dict[str, Any]) -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert {name for name, job in jobs.items() if "permissions" in job} == {"release"}
    assert jobs["release"]["needs"] == ["test", "packages"]


def test_nothing_that_a_stranger_writes_is_put_into_a_command(jobs: dict[str, Any]) -> None:
    assert [step for step in steps(jobs) if "${{" in step.get("run", "")] == []
