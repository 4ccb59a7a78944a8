"""What the kernel side of a page says, beside what ip(8) says."""

import json
from collections.abc import Callable

from lab.agent import Agent
from lab.host import Host
from lab.process import wait_until
from tests.e2e.page import Page, labels_of, parse, value_of

STATES = ("up", "carrier", "mtu_bytes", "carrier_changes_total")
COUNTERS = {
    **{f"{way}_{what}": (way, what) for way in ("rx", "tx") for what in ("packets", "bytes")},
    **{f"{way}_{what}": (way, what) for way in ("rx", "tx") for what in ("dropped", "errors")},
}
"""Of netns_network_*_total, and where ip -s -j link has it."""

Devices = set[tuple[str, ...]]
"""(namespace, device)."""


def shown(agent: Agent) -> Page:
    return parse(agent.metrics())


def wait_for(agent: Agent, promise: Callable[[Page], bool], what: str) -> Page:
    """Scrape until the page is as promised, and return it."""

    def kept() -> Page | None:
        page = shown(agent)
        return page if promise(page) else None

    page = wait_until(kept, what=what)
    assert page is not None
    return page


def devices_of(page: Page) -> Devices:
    return labels_of(page, "netns_network_info", "netns", "device")


def families_of(page: Page) -> dict[str, Devices]:
    """Return the devices of each family that every link has."""
    names = ("info", *STATES, *(f"{name}_total" for name in COUNTERS))
    return {name: labels_of(page, f"netns_network_{name}", "netns", "device") for name in names}


def has_devices(devices: Devices) -> Callable[[Page], bool]:
    """Make the promise that every family has these devices, no more and no less.

    A new link's counters come with the next reading, a second after the last one at most.
    """
    return lambda page: all(found == devices for found in families_of(page).values())


Counted = dict[tuple[str, str], dict[str, float]]


def counted_by_page(page: Page) -> Counted:
    return {
        (netns, device): {
            name: only(page, f"netns_network_{name}_total", netns, device) for name in COUNTERS
        }
        for netns, device in devices_of(page)
    }


def counted_by_kernel(host: Host, *namespaces: str) -> Counted:
    found: Counted = {}
    for netns in namespaces:
        links = json.loads(host.run("ip", "-statistics", "-json", "link", "show", netns=netns))
        for link in links:
            stats = link["stats64"]
            found[netns, link["ifname"]] = {
                name: float(stats[way][what]) for name, (way, what) in COUNTERS.items()
            }
    return found


def only(page: Page, family: str, netns: str, device: str) -> float:
    """Return the value of this very device; in the host's own namespace there is no label."""
    rows = [(x, v) for x, v in page[family] if x.get("netns", "") == netns]
    return value_of({family: rows}, family, device=device)


def growth(before: Counted, after: Counted) -> Counted:
    """Return what grew, by device; those that did not are left out."""
    grown = {
        key: {name: after[key][name] - numbers[name] for name in numbers}
        for key, numbers in before.items()
    }
    return {
        key: {name: number for name, number in numbers.items() if number}
        for key, numbers in grown.items()
        if any(numbers.values())
    }
