"""Pages in a row, while the cloud on OVN carries traffic and something happens to it."""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from itertools import cycle
from types import TracebackType
from typing import NamedTuple, Self

from lab.agent import Agent
from lab.ovn import OvnCloud
from lab.ovn_traffic import KINDS
from lab.process import wait_until
from tests.e2e.ovn_page import (
    ACLS,
    DROPPED,
    DROPPED_OF_INTERFACE,
    PACKETS,
    UNATTRIBUTED,
    WAIT_SECONDS,
)
from tests.e2e.page import Page, parse

SCRAPE_SECONDS = 0.5
TIMEOUT_SECONDS = 10.0
"""Prometheus's default."""

LEDGERS = {PACKETS, ACLS, DROPPED, DROPPED_OF_INTERFACE, UNATTRIBUTED}
"""What outlives ovn-controller, and flows."""
NEVER_DOWN = re.compile(r"(ovs_flow_table|ovs_interface_flow|ovn)_\w+_total")
OF_CONTROLLER = "ovn_controller_"
STARTED = "ovn_controller_start_time_seconds"


@contextmanager
def traffic(cloud: OvnCloud, packets_per_second: float = 50.0) -> Iterator[Counter[str]]:
    """Send every kind in turn, evenly, as long as the block runs.

    Returns:
        How many were sent of each; answers are not counted.
    """
    sent: Counter[str] = Counter()
    ended = threading.Event()

    def send() -> None:
        for name in cycle(KINDS):
            if ended.wait(1 / packets_per_second):
                return
            KINDS[name](cloud, 1)
            sent[name] += 1

    thread = threading.Thread(target=send, name="traffic", daemon=True)
    thread.start()
    try:
        yield sent
    finally:
        ended.set()
        thread.join()


class Scrape(NamedTuple):
    """An answer to a scrape.

    Attributes:
        began: On the monotonic clock, as ``seconds`` after.
        seconds: How long it took.
    """

    began: float
    seconds: float
    page: Page


class Scrapes:
    """Scrapes an agent twice a second from the beginning of the block to its end.

    Args:
        agent: Whom.
        timeout_seconds: What it says it waits for, as Prometheus does.

    Attributes:
        all: What was answered, oldest first.
    """

    def __init__(self, agent: Agent, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.all: list[Scrape] = []
        self._agent = agent
        self._headers = {"X-Prometheus-Scrape-Timeout-Seconds": f"{timeout_seconds:g}"}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._scrape, name="scrapes", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def wait(
        self, promise: Callable[[Page], bool], what: str, timeout: float = WAIT_SECONDS
    ) -> Page:
        """Return the first page that is as promised, of the scrapes that begin from now on."""
        now = time.monotonic()

        def kept() -> Page | None:
            assert self._thread.is_alive(), "a scrape has failed"
            pages = (scrape.page for scrape in self.since(now))
            return next((page for page in pages if promise(page)), None)

        page = wait_until(kept, timeout=timeout, what=what)
        assert page is not None
        return page

    def since(self, begin: float, end: float = float("inf")) -> list[Scrape]:
        """Return those that began and ended between two times."""
        return [
            each
            for each in tuple(self.all)
            if begin < each.began and each.began + each.seconds < end
        ]

    def _scrape(self) -> None:
        while not self._ended.is_set():
            began = time.monotonic()
            answer = self._agent.get(headers=self._headers)
            seconds = time.monotonic() - began
            assert answer.status == HTTPStatus.OK, answer.text
            lines = (line.rpartition(" ") for line in answer.text.splitlines() if line[:1] != "#")
            page = parse({series: float(value) for series, _, value in lines if series})
            self.all.append(Scrape(began, seconds, page))
            self._ended.wait(began + SCRAPE_SECONDS - time.monotonic())


def no_counter_ever_went_down(scrapes: Scrapes) -> None:
    """See it of every series; those of ovn-controller's own process as long as that lived."""
    last: dict[tuple[object, ...], float] = {}
    for scrape in scrapes.all:
        started = scrape.page.get(STARTED)
        for name, rows in scrape.page.items():
            if not NEVER_DOWN.fullmatch(name):
                continue
            process = str(started) if name.startswith(OF_CONTROLLER) else ""
            for labels, value in rows:
                key = name, process, frozenset(labels.items())
                assert value >= last.get(key, 0.0), (name, labels)
                last[key] = value
    assert {name for name, *_ in last} >= LEDGERS


def no_scrape_was_late(scrapes: Scrapes) -> None:
    assert max(scrape.seconds for scrape in scrapes.all) < TIMEOUT_SECONDS
