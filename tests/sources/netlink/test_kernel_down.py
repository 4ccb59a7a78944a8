"""What the kernel does not tell any more is down, all of it, and comes back."""

import pytest

from agent.collectors import COLLECTORS
from agent.config import Settings
from agent.errors import ParseError, Reason, SourceError
from agent.health import SourceHealth
from agent.kernel_side import KernelSide
from agent.sources import known_links
from agent.store import Store
from agent.wire.netlink.links import LinkMessage, parse_link
from tests.sources.netlink.following import Following
from tests.sources.netlink.named import NamedNamespacesOfATest

LOST = SourceError(Reason.BROKEN, "links: no")


def netns_of(side: KernelSide) -> SourceHealth:
    (health,) = [each for each in side.sources if each.name == "netns"]
    return health


def kernel_side() -> KernelSide:
    return KernelSide(Settings(), Store(), COLLECTORS, 1.0)


def test_namespaces_are_not_followed_while_links_are_not() -> None:
    side = kernel_side()
    health = netns_of(side)
    health.configured = True
    health.good()
    side._down(LOST)
    assert not health.up
    assert health.status()["problems"]["netns"]["detail"] == LOST.detail


def test_namespaces_that_a_node_does_not_have_are_not_missed() -> None:
    side = kernel_side()
    side._down(LOST)
    facts = netns_of(side).facts()
    assert not facts.configured
    assert not any(facts.failures.values())


async def test_namespaces_are_good_when_they_are_followed_again(
    netns: NamedNamespacesOfATest,
) -> None:
    netns.add("a")
    following = Following(netns.path)
    async with following.running():
        assert following.netns_health.up
    following.netns_health.failed(LOST)
    async with following.running():
        await following.until(lambda: following.netns_health.up)


async def test_a_link_that_cannot_be_read_costs_no_other(
    netns: NamedNamespacesOfATest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later kernel may say something in a new way: what else it says is followed."""

    def parse(payload: bytes) -> LinkMessage:
        if b"new0\0" in payload:
            raise ParseError("2 bytes instead of a number of 4")
        return parse_link(payload)

    monkeypatch.setattr(known_links, "parse_link", parse)
    netns.add("a")
    netns.ip("a", "link add new0 type bridge", "link add old0 type bridge")
    following = Following(netns.path)
    async with following.running():
        await following.until(lambda: set(following.links("a")) == {"old0"})
        problem = following.links_health.status()["problems"]["messages"]
        assert problem["reason"] == Reason.MALFORMED
        assert problem["detail"] == "a: message of type 16: 2 bytes instead of a number of 4"
        netns.ip("a", "link add old1 type bridge")
        await following.until(lambda: set(following.links("a")) == {"old0", "old1"})
