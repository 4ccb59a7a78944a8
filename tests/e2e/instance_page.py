"""What a page says of instances, beside what virsh(1) says."""

from collections.abc import Iterator
from xml.etree import ElementTree as ET

from lab.agent import Agent
from lab.compute import ComputeNode
from lab.hypervisor import Hypervisor
from lab.linux_bridge import LinuxBridgeNode
from tests.e2e.kernel_page import Counted, wait_for
from tests.e2e.page import Page

RecordedNode = ComputeNode | LinuxBridgeNode

STATE, OPENSTACK, META = (
    "libvirt_domain_state",
    "libvirt_domain_openstack_info",
    "libvirt_domain_interface_meta",
)
INFO = "dataplane_instance_interface_info"
COUNTERS = {
    f"{way}_{what}": f"{short}_{word}"
    for way, short in (("receive", "rx"), ("transmit", "tx"))
    for what, word in (
        ("bytes", "bytes"),
        ("packets", "packets"),
        ("errors", "errs"),
        ("drops", "drop"),
    )
}
"""What virsh domifstat calls each of libvirt_domain_interface_stats_*_total."""
STATES = {"running": 1, "paused": 3, "shut off": 5}
"""virDomainState, by virsh's word for it."""

Series = set[frozenset[tuple[str, str]]]
"""The labels of each series of a family; those that are empty are on no page."""


def family(counter: str) -> str:
    return f"libvirt_domain_interface_stats_{counter}_total"


def series_of(page: Page, name: str) -> Series:
    found = [frozenset(labels.items()) for labels, _ in page.get(name, [])]
    assert len(found) == len(set(found))
    return set(found)


def series(**labels: str | None) -> frozenset[tuple[str, str]]:
    return frozenset((name, value) for name, value in labels.items() if value)


def agent_on(node: RecordedNode, *arguments: str, env: dict[str, str] | None = None) -> Agent:
    """Make the agent of a recorded node, on it."""
    rundir = node.rundir if isinstance(node, ComputeNode) else node.directory
    uri = f"--libvirt.uri={node.hypervisor.uri}"
    return Agent(rundir, uri, *arguments, env=env, host=node)


def wait_for_counters(agent: Agent, node: RecordedNode) -> Page:
    """Scrape until all eight counters of each interface are there.

    The first scrape may come before libvirt has answered.
    """
    return wait_for(
        agent,
        lambda page: counted_by_page(page).keys() == taps(node.hypervisor),
        "libvirt's counters",
    )


def counted_by_page(page: Page) -> Counted:
    """Return the eight counters by domain and device."""
    found: Counted = {}
    for counter in COUNTERS:
        for labels, value in page.get(family(counter), []):
            found.setdefault((labels["domain"], labels["target_device"]), {})[counter] = value
    return found


# -- virsh -----------------------------------------------------------------------------------------


def states(hypervisor: Hypervisor) -> dict[str, int]:
    rows = [line.split(maxsplit=2) for line in hypervisor.virsh("list", "--all").splitlines()]
    return {name: STATES[state.strip()] for _, name, state in filter(None, rows)}


def taps(hypervisor: Hypervisor) -> set[tuple[str, str]]:
    """Return domain and device of each interface."""
    return {
        (domain, line.split()[0])
        for domain in states(hypervisor)
        for line in hypervisor.virsh("domiflist", domain).splitlines()
        if line.strip()
    }


def counted_by_virsh(hypervisor: Hypervisor) -> Counted:
    found: Counted = {}
    for domain, device in taps(hypervisor):
        numbers = hypervisor.domifstat(domain, device)
        assert numbers.keys() == set(COUNTERS.values())
        found[domain, device] = {name: float(numbers[word]) for name, word in COUNTERS.items()}
    return found


def xml(hypervisor: Hypervisor, domain: str) -> ET.Element:
    return ET.fromstring(hypervisor.virsh("dumpxml", domain))  # noqa: S314 - the lab's own libvirt


def attribute(element: ET.Element, path: str, name: str) -> str | None:
    found = element.find(path)
    return None if found is None else found.get(name)


def plugs(hypervisor: Hypervisor) -> Iterator[tuple[str, ET.Element]]:
    """Yield domain and element of each interface."""
    for domain in states(hypervisor):
        for plug in xml(hypervisor, domain).findall("devices/interface"):
            yield domain, plug
