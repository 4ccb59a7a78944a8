"""A libvirtd that does what the test says, with one domain that has one tap."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.libvirt_server import LibvirtServer
from tests.sources.libvirt.following import NAME, made


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LibvirtServer]:
    with LibvirtServer(tmp_path / "sock", [made(NAME, "tap1")]) as server:
        yield server
