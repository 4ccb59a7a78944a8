"""What is given to people, built once for all tests."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.node import Node

ROOT = Path(__file__).parents[2]
EPOCH = "1700000000"
BUILD_SECONDS = 400


def build(script: str, *arguments: Path) -> str:
    """Run one of deploy's scripts; return what it prints."""
    done = subprocess.run(
        [ROOT / "deploy" / script, *arguments],
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@dataclass(frozen=True)
class Dists:
    sdist: Path
    wheel: Path


@pytest.fixture(scope="session")
def dists(tmp_path_factory: pytest.TempPathFactory) -> Dists:
    out = tmp_path_factory.mktemp("dists")
    build("dist.sh", out)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return Dists(sdist, wheel)


@pytest.fixture
def switch(node: Node) -> Node:
    """A switch with a bridge br0 and a flow of priority 7."""
    node.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
    node.ofctl("add-flow", "br0", "priority=7,actions=drop")
    return node
