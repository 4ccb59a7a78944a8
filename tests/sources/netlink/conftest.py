"""A directory of real namespaces for a test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require_parts
from tests.sources.netlink.named import NamedNamespacesOfATest, named_namespaces


@pytest.fixture
def netns(tmp_path: Path) -> Iterator[NamedNamespacesOfATest]:
    require_parts("ip", "bridge", "nsenter")
    with named_namespaces(tmp_path / "netns") as directory:
        yield directory
