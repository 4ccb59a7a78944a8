"""The kernel's side as it is wired: what is expected, and what is told of it."""

import time

import pytest

from agent.collectors import COLLECTORS, link
from agent.config import Settings
from agent.errors import Reason, SourceError, UnknownFactError
from agent.families import Block
from agent.health import SourceHealth
from agent.kernel_side import KernelSide
from agent.model.link import Link
from agent.model.namespace import HOST, Namespace
from agent.model.node import AgentFacts
from agent.store import Store
from tests.clock import Clock
from tests.collectors.links import page


def side(*names: str, store: Store | None = None) -> KernelSide:
    chosen = tuple(each for each in COLLECTORS if each.name in names)
    return KernelSide(Settings(), store or Store(), chosen, 1.0)


def source(of: KernelSide, name: str) -> SourceHealth:
    (found,) = [each for each in of.sources if each.name == name]
    return found


def test_connections_are_expected_when_zones_were_asked_for_by_name() -> None:
    assert source(side("conntrack_zone"), "conntrack").configured
    assert not source(side("conntrack"), "conntrack").configured


@pytest.mark.parametrize("name", ["namespace", "linux_bridge", "tunnel"])
def test_a_quiet_node_that_is_only_followed_is_good_now(name: str) -> None:
    health = source(side(name), "rtnetlink")
    health.good("events")
    health._last_success_seconds = 1.0
    last = health.facts().last_success_seconds
    assert last is not None
    assert time.time() - last < 60


@pytest.mark.parametrize("name", ["link", "qdisc", "interface"])
def test_what_is_read_is_as_good_as_its_last_reading(name: str) -> None:
    health = source(side(name), "rtnetlink")
    health.good("counters")
    health._last_success_seconds = 1.0
    assert health.facts().last_success_seconds == 1.0


def test_the_status_says_how_much_is_followed() -> None:
    store = Store()
    kernel = side("link", store=store)
    assert kernel.status() == {"followed": False, "namespaces": 0, "links": 0}
    links = {2: Link(2, "a"), 3: Link(3, "b")}
    store.namespaces.put({HOST: Namespace(HOST, links), "x": Namespace("x", {2: Link(2, "a")})})
    assert kernel.status() == {"followed": True, "namespaces": 1, "links": 3}
    store.namespaces.lost()
    assert kernel.status() == {"followed": False, "namespaces": 1, "links": 3}


def test_a_lost_subscription_leaves_state_for_a_while_and_no_counter() -> None:
    clock = Clock()
    store = Store(60.0, clock)
    kernel = side("link", store=store)
    veth = Link(2, "v0", "veth", up=True, carrier=True, mtu_bytes=1500, carrier_changes=7)
    kernel._publish({HOST: Namespace(HOST, {2: veth})})
    kernel._down(SourceError(Reason.BROKEN, "the socket ended"))
    node = store.view(0.0, AgentFacts("0", "0"))
    said = [item for item in link.state(node) if isinstance(item, Block) and item.series]
    families = {item.family.name for item in said}
    assert families == {f"netns_network_{each}" for each in ("info", "up", "carrier", "mtu_bytes")}
    with pytest.raises(UnknownFactError):
        page(link.COLLECTOR, node)  # its counters
    assert not source(kernel, "rtnetlink").up
    clock.now += 61
    with pytest.raises(UnknownFactError, match="namespaces"):
        list(link.state(store.view(0.0, AgentFacts("0", "0"))))
