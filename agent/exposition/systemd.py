"""sd_notify(3): READY, STOPPING and the watchdog, without a library for 20 lines."""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Never

from agent import log

logger = log.get(__name__)


def notify(state: str, patience_seconds: float = 0.0) -> bool:
    """Send a state to systemd.

    Args:
        state: For example ``READY=1``.
        patience_seconds: How long to wait for a place in systemd's queue; the loop waits too.

    Returns:
        Whether systemd asked for it and could be told; it is never worth failing for.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as peer:
            peer.settimeout(patience_seconds)
            peer.sendto(state.encode(), address)
    except OSError:
        return False
    return True


def watchdog_interval_seconds() -> float | None:
    """Return how often systemd wants to hear from this process: half of WatchdogSec.

    Returns:
        ``None`` without a watchdog, or when it is meant for another process.
    """
    pid = os.environ.get("WATCHDOG_PID")
    if pid is not None and pid != str(os.getpid()):
        return None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    return int(microseconds) / 2e6


async def feed_watchdog(interval_seconds: float, serves: Callable[[], bool]) -> Never:
    """Tell systemd for ever that the loop answers, as long as it is of use to anybody.

    Args:
        interval_seconds: Between two looks.
        serves: Whether pages get done. If not, systemd is left to end the process.
    """
    said = False
    while True:
        if serves():
            notify("WATCHDOG=1")
            said = False
        elif not said:
            logger.error("no page gets done", result="systemd is not told that all is well")
            said = True
        await asyncio.sleep(interval_seconds)
