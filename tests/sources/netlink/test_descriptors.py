"""Descriptors are there for every namespace that the node has, also for one page."""

import re
import resource
from collections.abc import Iterator

import pytest

from agent.config import Settings
from agent.once import once
from tests.sources.netlink.named import NamedNamespacesOfATest

MANY = 60


@pytest.fixture
def low_limit() -> Iterator[None]:
    """As a shell has it: a low limit that may be raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("low_limit")
async def test_one_page_is_complete_though_the_shell_gives_few_descriptors(
    netns: NamedNamespacesOfATest,
) -> None:
    for number in range(MANY):
        netns.add(f"n{number}")
    page = await once(Settings.model_validate({"namespaces": {"directory": netns.path}}))
    assert len(re.findall(r"^netns_info\{", page, re.MULTILINE)) == MANY
    assert 'dataplane_agent_source_up{source="netns"} 1' in page
