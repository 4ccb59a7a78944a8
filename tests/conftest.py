"""Real nodes for tests, and the one place that decides what a missing real part means."""

import logging
import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

from lab.compute import ComputeNode
from lab.linux_bridge import LinuxBridgeNode
from lab.node import Node
from lab.ovn import OvnCloud
from lab.process import end_on_signals, missing_parts
from lab.wide import WideNode
from tests.logs import Logged, capture

OPEN_VSWITCH = ("ovs-vswitchd", "ovsdb-server", "ovs-vsctl", "ovs-ofctl", "ip", "nsenter")
OVN = ("ovn-northd", "ovn-controller", "ovn-nbctl", "ovn-sbctl", "ovn-appctl", "ovsdb-tool")
LIBVIRT = ("libvirtd", "virsh", "qemu-system-x86_64", "ip", "nsenter")
WIDE_INTERFACES = 500

# How long an example takes says how busy the machine is.
settings.register_profile(
    "busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy machine")


def require_parts(*commands: str) -> None:
    """A missing real part fails in CI; on a person's own machine it skips, and says what for."""
    if missing := missing_parts(*commands):
        reason = f"missing: {', '.join(missing)} (make setup, as root)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def pytest_configure() -> None:
    """A test run that is ended with SIGTERM takes its nodes down first."""
    end_on_signals()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "node" in item.path.parts:
            item.add_marker(pytest.mark.node)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo log.configure: it holds on to the stderr of the test that called it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = [each for each in root.handlers if each in handlers]
    root.setLevel(level)


@pytest.fixture(scope="session")
def open_vswitch() -> None:
    require_parts(*OPEN_VSWITCH)


@pytest.fixture(scope="session")
def prometheus_installed() -> None:
    require_parts("prometheus", "promtool")


@pytest.fixture(scope="session")
def compute_node() -> Iterator[ComputeNode]:
    """The recorded node, shared: look at it and send through it, but break nothing."""
    require_parts(*OPEN_VSWITCH)
    with ComputeNode() as node:
        yield node


@pytest.fixture
def own_compute_node() -> Iterator[ComputeNode]:
    """The recorded node, one for this test; it may be broken."""
    require_parts(*OPEN_VSWITCH)
    with ComputeNode(wait_for_status=False) as node:
        yield node


@pytest.fixture(scope="session")
def libvirt_installed() -> None:
    require_parts(*LIBVIRT)


@pytest.fixture(scope="session")
def compute_node_with_domains() -> Iterator[ComputeNode]:
    """The recorded node with its instance as a domain, shared: look and send, but break nothing."""
    require_parts(*OPEN_VSWITCH, *LIBVIRT)
    with ComputeNode(wait_for_status=False, domains=True) as node:
        yield node


@pytest.fixture
def own_compute_node_with_domains() -> Iterator[ComputeNode]:
    """The recorded node with its instance as a domain, one for this test; it may be broken."""
    require_parts(*OPEN_VSWITCH, *LIBVIRT)
    with ComputeNode(wait_for_status=False, domains=True) as node:
        yield node


@pytest.fixture(scope="session")
def linux_bridge_with_domains() -> Iterator[LinuxBridgeNode]:
    """The recorded node of Linux bridges with its instance as a domain, shared."""
    require_parts(*LIBVIRT)
    with LinuxBridgeNode(domains=True) as node:
        yield node


@pytest.fixture(scope="session")
def ovn_installed() -> None:
    require_parts(*OPEN_VSWITCH, *OVN)


@pytest.fixture(scope="session")
def ovn_cloud() -> Iterator[OvnCloud]:
    """The recorded cloud on OVN, shared: look at it and send through it, but break nothing."""
    require_parts(*OPEN_VSWITCH, *OVN)
    with OvnCloud() as cloud:
        yield cloud


@pytest.fixture
def own_ovn_cloud() -> Iterator[OvnCloud]:
    """The recorded cloud on OVN, one for this test; it may be broken."""
    require_parts(*OPEN_VSWITCH, *OVN)
    with OvnCloud() as cloud:
        yield cloud


@pytest.fixture
def node() -> Iterator[Node]:
    """An empty node for this test; it may be broken."""
    require_parts(*OPEN_VSWITCH)
    with Node() as node:
        yield node


@pytest.fixture(scope="session")
def wide_node() -> Iterator[WideNode]:
    """A shared node with 500 interfaces and no traffic."""
    require_parts(*OPEN_VSWITCH)
    with WideNode(WIDE_INTERFACES) as node:
        yield node


@pytest.fixture
def logged() -> Logged:
    """Return what was logged since the last call."""
    return capture()
