"""Instances as libvirt describes them, followed by its events; their counters, read for a scrape.

The library is C and blocks, so it has a thread (``hypervisor_session``), which a stopped libvirtd
holds up for as long as it likes: this source is down then, and nothing else. It is loaded only
when there is a socket: a node without instances pays nothing for it.
"""

import asyncio
import threading
import time
from pathlib import Path
from typing import Never

import numpy as np

from agent.addresses import libvirt_sockets
from agent.config import Settings
from agent.errors import Reason, SourceError
from agent.health import SourceHealth
from agent.model.domain import FIELDS, DomainCounters
from agent.sources.handover import Handover
from agent.sources.hypervisor_words import Ask, Asking, Inbox, Told
from agent.store import Store

EVENTS, STATISTICS = "events", "statistics"
"""Parts of the source: the subscription, and what scrapes ask."""
STOP_SECONDS = 1.0
WATCH_SECONDS = 1.0
"""How often it is looked whether libvirt still answers."""
NOTHING = DomainCounters((), np.zeros((0, len(FIELDS)), np.uint64))


class HypervisorSource:
    """Follows the domains of one libvirt, and brings what their interfaces count into the store.

    Args:
        settings: The configuration.
        store: Takes domains and counters.
        health: Of source libvirt: its parts ``events``, ``statistics`` and ``domain NAME`` for a
            domain whose XML cannot be read; events ``domain_started`` and so on. Configured once
            there is a socket, or libvirt was found, unless the settings say more.

    Attributes:
        settled: Set once the domains are known or cannot be.
    """

    def __init__(self, settings: Settings, store: Store, health: SourceHealth) -> None:
        self.settled = asyncio.Event()
        self.health = health
        self._settings = settings
        self._store = store
        self._sockets = tuple(map(Path, libvirt_sockets(settings.libvirt.uri)))
        self._timeout_seconds = settings.timeouts.libvirt_seconds
        self._inbox: Inbox | None = None
        self._told: Told | None = None
        self._asked: asyncio.Future[DomainCounters | SourceError] | None = None
        self._stuck: threading.Thread | None = None

    async def run(self) -> Never:
        """Follow the domains until cancelled.

        Raises:
            SourceError: When libvirt cannot be reached or understood, does not answer in time, or
                the connection ends.
        """
        uri = self._settings.libvirt.uri
        if self._stuck is not None and self._stuck.is_alive():
            raise SourceError(Reason.TIMEOUT, f"{uri}: the last attempt is still stuck")
        if self._sockets and not any(map(_is_there, self._sockets)):
            names = ", ".join(map(str, self._sockets))
            raise SourceError(Reason.ABSENT, f"no socket of libvirt: {names}")
        self.health.configured |= bool(self._sockets)
        inbox = Inbox()
        handover = Handover(self._publish, self.health.event)
        asking = Asking()
        worker = threading.Thread(
            target=_work,
            args=(self._settings, inbox, handover, asking),
            name="libvirt",
            daemon=True,
        )
        try:
            worker.start()
        except RuntimeError as error:  # no more threads
            raise SourceError(Reason.BROKEN, f"{uri}: {error}") from error
        self._inbox, self._asked, self._told = inbox, None, None
        try:
            while not (await asyncio.wait({handover.failure}, timeout=WATCH_SECONDS))[0]:
                if what := asking.late(self._timeout_seconds):
                    raise SourceError(
                        Reason.TIMEOUT,
                        f"{uri}: {what}: no answer in {self._timeout_seconds:g} s",
                    )
            raise handover.failure.result()
        finally:
            self._inbox = self._told = None
            self._answer_nobody()
            handover.close()
            inbox.stop()
            # Not wait_for() and not timeout(): in a task that is being cancelled Python 3.11's
            # lose the one or the other, and a process that is told to stop would not.
            await asyncio.wait({handover.finished}, timeout=STOP_SECONDS)
            self._stuck = None if handover.finished.done() else worker

    def down(self, error: SourceError) -> None:
        """Take that following has ended, or could not begin.

        Domains go on without libvirtd, also while its socket is gone for a restart, so they are
        shown for a while longer; a node that never had one has no domains, which is not the same
        as not known.
        """
        if error.reason is Reason.ABSENT and not self.health.configured:
            self._store.domains.put({})
        else:
            self.health.configured = True
            self.health.failed(error, EVENTS)
            self.health.keep_parts({EVENTS})
            self._store.domains.lost()
        self.settled.set()

    async def read(self) -> None:
        """Read the counters once; what was said before is withdrawn when they cannot be read."""
        inbox, began, taken = self._inbox, time.perf_counter(), self._store.clock()
        if inbox is None or self._told is None:  # not connected, or not yet
            there_is_none = self.settled.is_set() and not self.health.configured
            self._store.domain_counters.replace(NOTHING if there_is_none else None, taken)
            return
        try:
            counters = await self._ask(inbox)
        except SourceError as error:
            self._store.domain_counters.withdraw()
            if self._inbox is inbox:  # otherwise it is told already why it has ended
                self.health.failed(error, STATISTICS)
            return
        self._store.domain_counters.put(counters, taken=taken)
        self.health.good(STATISTICS, time.perf_counter() - began)

    async def _ask(self, inbox: Inbox) -> DomainCounters:
        if self._asked is not None and not self._asked.done():
            raise SourceError(Reason.TIMEOUT, "statistics: the last question is still unanswered")
        answer: asyncio.Future[DomainCounters | SourceError]
        self._asked = answer = asyncio.get_running_loop().create_future()
        inbox.put(Ask(answer))
        # Not wait_for(), as above. What comes too late is for nobody.
        await asyncio.wait({answer}, timeout=self._timeout_seconds)
        if not answer.done():
            raise SourceError(
                Reason.TIMEOUT, f"statistics: no answer in {self._timeout_seconds:g} s"
            )
        if isinstance(given := answer.result(), SourceError):
            raise given
        return given

    def _answer_nobody(self) -> None:
        """Let nobody wait for what will not be answered any more."""
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(SourceError(Reason.BROKEN, "the connection has ended"))

    def _publish(self, told: Told) -> None:
        before, self._told = self._told or Told({}), told
        self.health.configured = True
        if told is not before:
            self._store.departed.put(told.left)
            self._store.domains.put(told.domains)
            parts = {f"domain {name}": error for name, error in told.problems.items()}
            self.health.keep_parts({EVENTS, STATISTICS, *parts})
            for name, error in told.problems.items():
                if error is not before.problems.get(name):
                    self.health.failed(error, f"domain {name}")
            self.health.note(
                (f"{told.beyond} domains are left out: limits.domains",) if told.beyond else ()
            )
        self.health.good(EVENTS)
        self.settled.set()


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:  # libvirt says so, too
        return True


def _work(
    settings: Settings,
    inbox: Inbox,
    handover: Handover[Told],
    asking: Asking,
) -> None:
    """Be the worker thread: follow, say why that ended."""
    try:
        # Here and not above: the library is optional, and loads a dozen others.
        from agent.sources.hypervisor_session import Session, StoppedError  # noqa: PLC0415
    except (ImportError, AttributeError) as error:  # or one that is too old
        handover.end(SourceError(Reason.ABSENT, f"libvirt-python cannot be loaded: {error}"))
        return
    except OSError as error:  # no more descriptors
        handover.end(SourceError(Reason.BROKEN, f"libvirt-python cannot be loaded: {error}"))
        return
    try:
        Session(settings, inbox, handover, asking).run()
    except StoppedError:
        handover.end(None)
    except SourceError as error:
        # Another one: the frames that this one passed hold domains, and so descriptors.
        handover.end(SourceError(error.reason, error.detail))
    except Exception as error:  # noqa: BLE001 (a bug: run() raises it in the main thread)
        handover.end(error)
