"""The thread that speaks to libvirt: one connection, from its opening to its end.

Every call of the library blocks until libvirt answers, so all are made here, one at a time, and
the event loop watches how long the current one takes (``Asking``). What nobody waits for any more
ends by itself, in this thread, when libvirt answers or keepalive gives it up.
"""

import contextlib
import itertools
import queue
import time
from collections import Counter
from typing import Any, Never

import libvirt

from agent.config import Settings
from agent.errors import Reason, SourceError
from agent.model.domain import DomainCounters
from agent.sources.handover import Handover
from agent.sources.hypervisor_domains import KnownDomains
from agent.sources.hypervisor_errors import NOT_TEXT_ERRORS, errors
from agent.sources.hypervisor_events import STARTED, STOPPED, start_loop, subscribe, unsubscribe
from agent.sources.hypervisor_words import Ask, Asking, Closed, Heard, Inbox, Stop, Told, Word
from agent.wire.domain_stats import columns

KEEPALIVE_SECONDS, KEEPALIVE_COUNT = 5, 3
"""A peer that says nothing for 20 s is given up by the library: every call ends then."""
PUBLISH_SECONDS = 0.05
"""Between two publications while more domains wait to be read."""
RETRY_SECONDS = 10.0
"""Until a domain that libvirt would not show is asked for again."""
MAX_WAITING = 2 * 16384
"""Domains that events told of and that are not read yet, twice of what libvirt lists
(REMOTE_DOMAIN_LIST_MAX); when there are more, they are listed instead."""
RELIST_SECONDS = 600.0
"""Some changes of a domain (virDomainUpdateDeviceFlags) make no event."""
MAX_LEFT = 1000
"""Domains that have moved to another node and are remembered for it."""
SETTLE_SECONDS = 10.0
"""Between the first list and the second. A libvirtd that has just started lists what it knew before
and ends, without an event, what it cannot take up again (qemuProcessReconnect)."""


class StoppedError(Exception):
    """Nobody wants to know any more."""


class Session:
    """What the thread does; ``run`` is it.

    Args:
        settings: The configuration.
        inbox: All that it is told: by events, by scrapes, by who wants it to end.
        handover: Gets what is found out.
        asking: What is asked, while it is.
    """

    def __init__(
        self,
        settings: Settings,
        inbox: Inbox,
        handover: Handover[Told],
        asking: Asking,
    ) -> None:
        self._uri = settings.libvirt.uri
        self._limit = settings.limits.domains
        self._names = settings.identity.names
        self._inbox = inbox
        self._handover = handover
        self._asking = asking
        self._told: Told | None = None
        self._events: Counter[str] = Counter()
        self._waiting: dict[str, None] = {}
        """uuids of domains to read, those that wait longest first."""
        self._left: dict[str, None] = {}
        self._interfaces: tuple[tuple[str, str], ...] = ()

    def run(self) -> Never:
        """Connect, list and follow.

        Raises:
            StoppedError: When told to end.
            SourceError: When libvirt cannot be reached or understood, or the connection ends.
        """
        with self._asking.of("connection"), errors(self._uri):
            start_loop()
            connection = libvirt.openReadOnly(self._uri)
        callbacks: list[int] = []
        known = KnownDomains(connection, self._limit, names=self._names)
        try:
            with self._asking.of("events"), errors(self._uri):
                connection.registerCloseCallback(self._on_closed, None)
                connection.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT)
                subscribe(connection, self._inbox.put, callbacks)
            self._follow(known)
        finally:
            known.let_go()
            with self._asking.of("end"):
                unsubscribe(connection, callbacks)
                for last_word in (connection.unregisterCloseCallback, connection.close):
                    with contextlib.suppress(libvirt.libvirtError, *NOT_TEXT_ERRORS):
                        last_word()

    def _on_closed(self, _connection: Any, reason: int, _opaque: object) -> None:
        self._inbox.put(Closed(reason))

    def _follow(self, known: KnownDomains) -> Never:
        list_at = retry_at = publish_at = 0.0
        pauses = itertools.chain((SETTLE_SECONDS,), itertools.repeat(RELIST_SECONDS))
        news = False
        while True:
            now = time.monotonic()
            next_at = min(list_at, retry_at) if known.refused else list_at
            self._listen(known, 0.0 if self._waiting else next_at - now)
            if len(self._waiting) > MAX_WAITING:
                self._waiting.clear()
                list_at = now
            if now >= retry_at:
                self._waiting |= dict.fromkeys(known.refused)
                retry_at = now + RETRY_SECONDS
            if now >= list_at:
                with self._asking.of("list of domains"):
                    self._waiting |= dict.fromkeys(known.list())
                # A list is published when it has been read to its end.
                list_at, publish_at = now + next(pauses), now + RELIST_SECONDS
                news = True
            if self._waiting:
                uuid = next(iter(self._waiting))
                del self._waiting[uuid]
                with self._asking.of("domain"), errors(self._uri):
                    known.read(uuid)
                news = True
            if news and (not self._waiting or time.monotonic() >= publish_at):
                self._publish(known)
                publish_at = time.monotonic() + PUBLISH_SECONDS
                news = False

    def _listen(self, known: KnownDomains, seconds: float) -> None:
        """Hear all that was said; wait so long for the first word."""
        with contextlib.suppress(queue.Empty):
            self._hear(self._inbox.get(seconds), known)
            while True:
                self._hear(self._inbox.get(0.0), known)

    def _hear(self, word: Word, known: KnownDomains) -> None:
        match word:
            case Stop():
                raise StoppedError
            case Closed(libvirt.VIR_CONNECT_CLOSE_REASON_KEEPALIVE):
                raise SourceError(Reason.TIMEOUT, f"{self._uri}: no sign of life")
            case Closed():
                raise SourceError(Reason.BROKEN, f"{self._uri}: the connection has ended")
            case Heard():
                self._events[word.name] += 1
                self._note_departure(word)
                if word.changed:
                    self._waiting[word.uuid] = None
                    known.changed(word.uuid)
                elif self._told is not None:
                    self._handover.put(self._told, dict(self._events))
            case Ask():
                self._answer(word, known)

    def _note_departure(self, heard: Heard) -> None:
        """Remember which domains have moved away: one that is gone does not say why."""
        if heard.name in (STARTED, STOPPED):
            self._left.pop(heard.uuid, None)
        if heard.left:
            self._left[heard.uuid] = None
            if len(self._left) > MAX_LEFT:
                del self._left[next(iter(self._left))]

    def _answer(self, ask: Ask, known: KnownDomains) -> None:
        answer: DomainCounters | SourceError
        try:
            with self._asking.of("statistics of domains"):
                interfaces, numbers = columns(known.statistics())
        except SourceError as error:
            # Another one: the frames that this one passed hold domains, and so descriptors, and
            # with it they would be a cycle, which any thread collects at any time.
            answer = SourceError(error.reason, error.detail)
        else:
            if interfaces != self._interfaces:
                self._interfaces = interfaces
            answer = DomainCounters(self._interfaces, numbers)
        self._handover.say(lambda: ask.answer.set_result(answer))

    def _publish(self, known: KnownDomains) -> None:
        now = Told(known.domains, known.problems, known.beyond, frozenset(self._left))
        if now != self._told:
            self._told = now
        self._handover.put(self._told, dict(self._events))
