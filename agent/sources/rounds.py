"""A round: one question to every namespace, for one scrape, in one thread."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from agent.errors import ParseError, Reason, SourceError
from agent.health import SourceHealth
from agent.sources.netlink_socket import source_error
from agent.sources.rooms import Closable, Held, Room

OTHERS = "(others)"
BEGUN_SHARE = 0.8

C = TypeVar("C", bound=Closable)
T = TypeVar("T")


def label(room: Room) -> str:
    """Return what a namespace is called in messages and as a part of a source's health."""
    return room.name or "(host)"


def ask_all(
    rooms: Sequence[Room],
    held: Callable[[Room], Held[C] | None],
    read: Callable[[C], T],
    timeout_seconds: float,
) -> tuple[list[tuple[Room, T]], dict[str, SourceError]]:
    """Read the same in every room.

    Rooms without the resource, and those that were retired meanwhile, are left out.

    Args:
        rooms: Where.
        held: Gives a room's resource.
        read: Reads it; may raise OSError and ParseError.
        timeout_seconds: For all together. The last fifth of it is not begun: what was read until
            then must still arrive before nobody waits any more.

    Returns:
        What was read, and by namespace (``label``) why it was not; ``OTHERS`` for all those whose
        turn did not come in time.

    Raises:
        SourceError: TIMEOUT if it was no namespace's turn in time.
    """
    found: list[tuple[Room, T]] = []
    failed: dict[str, SourceError] = {}
    deadline = time.monotonic() + BEGUN_SHARE * timeout_seconds
    for room in rooms:
        kept = held(room)
        if kept is None:
            continue
        if time.monotonic() > deadline:
            late = SourceError(
                Reason.TIMEOUT, f"{len(found)} of {len(rooms)} namespaces in {timeout_seconds:g} s"
            )
            if not found:
                raise late
            failed[OTHERS] = late
            break
        try:
            with kept.using() as resource:
                if resource is not None:
                    found.append((room, read(resource)))
        except (OSError, ParseError) as error:
            failed[label(room)] = source_error(label(room), error)
    return found, failed


class PartHealth:
    """Notes how rounds went in the health of a source that others share.

    Args:
        health: Of the source.
        part: Of the rounds; a namespace's is this with its name.
    """

    def __init__(self, health: SourceHealth, part: str) -> None:
        self._health = health
        self._part = part
        self._failed: set[str] = set()

    def done(self, failed: dict[str, SourceError], seconds: float, *, read: bool) -> None:
        """Note a round.

        Args:
            failed: By namespace, why it could not be read; others have no problem any more.
            seconds: How long it took.
            read: Whether anything was read at all.
        """
        for name in self._failed - failed.keys():
            self._health.clear(f"{self._part} {name}")
        for name, error in failed.items():
            self._health.failed(error, f"{self._part} {name}")
        self._failed = set(failed)
        if read:
            self._health.good(self._part, seconds)
        else:
            self._health.clear(self._part)

    def failed(self, error: SourceError) -> None:
        """Note that the round as a whole failed."""
        self._health.failed(error, self._part)
