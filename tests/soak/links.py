"""Change links and namespaces all the time while an agent scrapes itself, and see it stay whole.

Run as ``PYTHONPATH=. python tests/soak/links.py CHANGES [NAMESPACES] [SEED]``, as root. Links,
tunnels, bridge members and namespaces come, are renamed, are moved and go, as fast as ip(8) can; in
other namespaces frames are sent. Now and then all is quiet: then every link, its state and its
counters must be those that ``ip -s link`` shows. Then namespaces are made and deleted, so many. At
the end memory and descriptors must be what they were. Ends with status 1 if not.
"""

import argparse
import json
import random
import re
import secrets
import sys
import time

from lab.many_links import ManyLinks
from lab.observed import Observed
from lab.process import LabError, wait_until
from tests.page import Series, series

NAMESPACES, LINKS = 40, 10
SCRAPE_SECONDS = 0.25
BATCH = 50
QUIET_EVERY = 20
WARM_UP = 0.3
MOST_GROWTH = 1.15
SETTLE_SECONDS = 15.0
COUNTERS = {
    "rx_packets": ("rx", "packets"),
    "tx_packets": ("tx", "packets"),
    "rx_bytes": ("rx", "bytes"),
    "tx_bytes": ("tx", "bytes"),
    "rx_dropped": ("rx", "dropped"),
    "tx_dropped": ("tx", "dropped"),
    "rx_errors": ("rx", "errors"),
    "tx_errors": ("tx", "errors"),
}
Figures = dict[tuple[str, str, str], float]
"""By (namespace, device, what)."""


class Churn:
    """Changes of one host, written for ``ip -batch``."""

    def __init__(self, host: ManyLinks, seed: int) -> None:
        self.changes = 0
        self._host = host
        self._random = random.Random(seed)  # noqa: S311 - so that a run can be repeated
        self._number = 0
        self._left: list[str] = []

    def batch(self) -> None:
        """Make some changes; what they make, they or a later batch take away."""
        lines: list[str] = []
        while len(lines) < BATCH:
            self._number += 1
            lines += self._random.choice((self._veth, self._tunnel, self._namespace))(self._number)
        if self._random.random() < 0.5:
            lines, self._left = lines + self._left, []
        self._host.run("ip", "-batch", "-", stdin="\n".join(lines))
        self.changes += len(lines)

    def namespaces(self, count: int) -> None:
        """Make namespaces and delete them, some at a time."""
        for first in range(0, count, BATCH):
            names = [f"soak-{number}" for number in range(first, first + BATCH)]
            lines = [f"netns {what} {name}" for what in ("add", "delete") for name in names]
            self._host.run("ip", "-batch", "-", stdin="\n".join(lines))

    def rest(self) -> None:
        """Take away what is left."""
        self._host.run("ip", "-batch", "-", stdin="\n".join(self._left))
        self.changes += len(self._left)
        self._left = []

    def _veth(self, number: int) -> list[str]:
        one, two = f"c{number}a", f"c{number}b"
        self._left.append(f"link delete {one}r")
        return [
            f"link add {one} type veth peer name {two}",
            f"link set {one} up",
            f"link set {one} down",
            f"link set {one} name {one}r",
            f"link set {two} netns {self._random.choice(self._host.names)}",
        ]

    def _tunnel(self, number: int) -> list[str]:
        bridge, vxlan = f"brq{number}", f"vxlan-{number}"
        self._left += [f"link delete {vxlan}", f"link delete {bridge}"]
        return [
            f"link add {bridge} type bridge",
            f"link add {vxlan} type vxlan id {number} local 172.16.0.31 dstport 8472",
            f"link set {vxlan} master {bridge}",
            f"link set {bridge} up",
        ]

    def _namespace(self, number: int) -> list[str]:
        name, device = f"qdhcp-{number}", f"d{number}"
        self._left.append(f"netns delete {name}")
        return [
            f"netns add {name}",
            f"link add {device} netns {name} type veth peer name {device}p netns {name}",
        ]


def shown_by_ip(host: ManyLinks) -> Figures:
    """Return what ``ip -s link`` shows in all namespaces of the host."""
    found: Figures = {}
    names = host.run("ip", "netns", "list")
    for netns in ("", *(line.split()[0] for line in names.splitlines() if line)):
        for link in json.loads(host.run("ip", "-s", "-j", "link", netns=netns) or "[]"):
            device = link.get("ifname")
            if device in (None, "lo"):
                continue
            found[netns, device, "mtu_bytes"] = link["mtu"]
            found[netns, device, "up"] = "UP" in link["flags"]
            for what, (way, field) in COUNTERS.items():
                found[netns, device, what] = link["stats64"][way][field]
    return found


def shown_by_agent(page: Series) -> Figures:
    """Return the same of a page."""
    found: Figures = {}
    for (name, labels), value in page.items():
        what = re.fullmatch(r"netns_network_(\w+?)(_total)?", name)
        if what and (what[1] in COUNTERS or what[1] in ("mtu_bytes", "up")):
            by = dict(labels)
            found[by.get("netns", ""), by["device"], what[1]] = value
    return found


def differences(host: ManyLinks, agent: Observed) -> list[object]:
    """Return the first few figures that are not the same."""
    ours = shown_by_agent(series(agent.page().encode()))
    theirs = shown_by_ip(host)
    return [
        (key, ours.get(key), theirs.get(key))
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key)
    ][:5]


def run(changes: int, namespaces: int, seed: int) -> str:
    """Return what went wrong; empty for nothing."""
    with ManyLinks(NAMESPACES, LINKS) as host, Observed(host, SCRAPE_SECONDS) as agent:
        churn = Churn(host, seed)
        agree(host, agent)
        warm: dict[str, int] = {}
        turns, began = 0, time.monotonic()
        worst_turn = worst_lag = 0.0
        agent.report()
        while churn.changes < changes:
            turns += 1
            churn.batch()
            host.send()
            if turns % QUIET_EVERY == 0:
                agree(host, agent)
            report = agent.report()
            worst_turn = max(worst_turn, report["worst_turn_seconds"])
            worst_lag = max(worst_lag, report["worst_lag_seconds"])
            agent.seen()
            if churn.changes > WARM_UP * changes and not warm:
                churn.rest()
                agree(host, agent)
                warm = agent.report()
        elapsed = time.monotonic() - began
        churn.rest()
        churn.namespaces(namespaces)
        agree(host, agent)
        now = agent.report()
        say(
            f"{churn.changes} changes in {elapsed:.0f} s, {now['scrapes']} scrapes; resident"
            f" {warm['resident_kib']} then {now['resident_kib']} KiB, descriptors"
            f" {warm['descriptors']} then {now['descriptors']}, threads {warm['threads']} then"
            f" {now['threads']}; the loop busy at most {1e3 * worst_turn:.1f} ms at a time, late at"
            f" most {1e3 * worst_lag:.1f} ms; events {now['events']['rtnetlink']},"
            f" {now['events']['netns']}"
        )
        if now["resident_kib"] > MOST_GROWTH * warm["resident_kib"]:
            return "memory has grown"
        if now["descriptors"] != warm["descriptors"] or now["threads"] > warm["threads"]:
            return "descriptors or threads have grown"
        return ""


def agree(host: ManyLinks, agent: Observed) -> None:
    """Wait until the page shows what ip shows.

    Raises:
        LabError: If it does not; with the differences.
    """
    try:
        wait_until(lambda: not differences(host, agent), SETTLE_SECONDS, "the page to be ip's")
    except LabError as error:
        raise LabError(f"{error}: {differences(host, agent)}") from error


def say(line: str) -> None:
    """Write a line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Run and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("changes", type=int)
    parser.add_argument("namespaces", type=int, nargs="?", default=10_000)
    parser.add_argument("seed", type=int, nargs="?", default=secrets.randbits(32))
    arguments = parser.parse_args()
    say(f"seed {arguments.seed}")
    try:
        wrong = run(arguments.changes, arguments.namespaces, arguments.seed)
    except LabError as error:
        wrong = str(error)
    say(f"links: {wrong or 'whole'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
