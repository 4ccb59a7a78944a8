"""Events of libvirt: the library's own event loop in a thread, and which events are wanted.

The library has one event implementation for the whole process. Its default one waits in C, so that
a callback is the only Python that runs; the thread lives as long as the process. Callbacks only
put a word into a queue: they run while the library holds its own locks.
"""

import os
import threading
from collections.abc import Callable
from typing import Any

import libvirt

from agent.errors import Reason, SourceError
from agent.sources.hypervisor_errors import NOT_TEXT_ERRORS
from agent.sources.hypervisor_words import Heard

PAUSE_SECONDS = 1.0
LIFECYCLE = (
    "domain_defined",
    "domain_undefined",
    "domain_started",
    "domain_suspended",
    "domain_resumed",
    "domain_stopped",
    "domain_shutdown",
    "domain_pmsuspended",
    "domain_crashed",
)
"""virDomainEventType, by number; a number of a newer release is a change like any other."""
STARTED, STOPPED = "domain_started", "domain_stopped"
CHANGED = "domain_changed"
CHANGES = {
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED: "device_added",
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED: "device_removed",
    libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE: "metadata_changed",
}
"""After these a domain's XML is another."""
OCCURRENCES = {
    libvirt.VIR_DOMAIN_EVENT_ID_REBOOT: "domain_rebooted",
    libvirt.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION: "migration_iteration",
    libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE: "agent_lifecycle",
}
"""These are counted."""

Told = Callable[[Heard], None]

_lock = threading.Lock()
_running = False


def start_loop() -> None:
    """Start the library's event loop, once for the process, before any connection.

    Raises:
        SourceError: BROKEN if there are no more threads.
    """
    global _running  # noqa: PLW0603 - the library has one event loop for the process, too
    with _lock:
        if not _running:
            os.environ["LIBVIRT_AUTOSTART"] = "0"  # of a user's own daemon: nothing is started here
            libvirt.registerErrorHandler(_silence, None)
            libvirt.virEventRegisterDefaultImpl()
            try:
                threading.Thread(target=_turn, name="libvirt events", daemon=True).start()
            except RuntimeError as error:
                raise SourceError(Reason.BROKEN, f"events: {error}") from error
            _running = True


def _silence(_context: object, _error: object) -> None:
    """Print nothing: without a handler the library writes every error to stderr."""


def _turn() -> None:
    pause = threading.Event()
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError:
            pause.wait(PAUSE_SECONDS)  # poll() failed: not in a hurry


def subscribe(connection: Any, told: Told, callbacks: list[int]) -> None:
    """Ask for all events that are wanted; those that an old libvirtd does not have are left out.

    Args:
        connection: libvirt's.
        told: Gets each event, in the library's own thread.
        callbacks: Takes the callbacks' numbers, also of those before an error.

    Raises:
        libvirt.libvirtError: If not even the life cycle is told.
    """
    lifecycle = connection.domainEventRegisterAny(
        None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, _on_lifecycle, told
    )
    callbacks.append(lifecycle)
    for kind, name in (CHANGES | OCCURRENCES).items():
        opaque = told, name, kind in CHANGES
        try:
            callbacks.append(connection.domainEventRegisterAny(None, kind, _on_event, opaque))
        except (libvirt.libvirtError, *NOT_TEXT_ERRORS):
            if not connection.isAlive():
                raise


def unsubscribe(connection: Any, callbacks: list[int]) -> None:
    """Let go of the callbacks: each holds the connection."""
    for number in callbacks:
        try:
            connection.domainEventDeregisterAny(number)
        except (libvirt.libvirtError, *NOT_TEXT_ERRORS):
            continue  # the library has let go of it before it asked the other end


def _on_lifecycle(_connection: Any, domain: Any, event: int, detail: int, told: Told) -> None:
    name = LIFECYCLE[event] if 0 <= event < len(LIFECYCLE) else CHANGED
    left = name == STOPPED and detail == libvirt.VIR_DOMAIN_EVENT_STOPPED_MIGRATED
    told(Heard(name, domain.UUIDString(), changed=True, left=left))


def _on_event(_connection: Any, domain: Any, *rest: Any) -> None:
    told, name, changed = rest[-1]
    told(Heard(name, domain.UUIDString(), changed))
