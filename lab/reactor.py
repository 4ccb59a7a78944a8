"""One thread that watches the descriptors of a lab: guests, wires, the controller."""

import os
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable


class Reactor:
    """Calls a function whenever its descriptor can be read, in a thread of its own.

    Descriptors given to ``watch`` belong to the reactor: ``close`` closes them.
    """

    def __init__(self, name: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._orders: deque[Callable[[], None]] = deque()
        self._bell, self._ear = socket.socketpair()
        self._ear.setblocking(False)  # noqa: FBT003 - the standard library's own signature
        self._selector.register(self._ear, selectors.EVENT_READ, self._obey)
        self._running = True
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    def watch(self, descriptor: int, on_readable: Callable[[], None]) -> None:
        """Call ``on_readable`` each time; it must not block. From any thread."""
        self._order(
            lambda: void(self._selector.register(descriptor, selectors.EVENT_READ, on_readable))
        )

    def drop(self, descriptor: int) -> None:
        """Stop watching a descriptor and close it. Only from within a callback."""
        self._selector.unregister(descriptor)
        os.close(descriptor)

    def close(self) -> None:
        """End the thread and close every descriptor."""
        if not self._running:
            return
        self._order(self._halt)
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            if key.fd != self._ear.fileno():
                os.close(key.fd)
        self._selector.close()
        self._bell.close()
        self._ear.close()

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.append(order)
        self._bell.send(b"!")

    def _obey(self) -> None:
        self._ear.recv(4096)
        while self._orders:
            self._orders.popleft()()

    def _halt(self) -> None:
        self._running = False

    def _loop(self) -> None:
        while self._running:
            for key, _ in self._selector.select():
                # an earlier callback of this round may have dropped it
                if key.fd in self._selector.get_map():
                    key.data()


def void(_result: object) -> None:
    """Forget a result, for lambdas that are called for what they do."""
