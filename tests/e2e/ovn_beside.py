"""Who sits beside OVN's databases, or on the way to one."""

import select
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from lab import namespace
from lab.agent import Agent, Place
from lab.ovn_central import Keys, OvnCentral
from lab.ovn_chassis import Chassis
from lab.process import enter
from tests.exposition.pki import Identity

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WithCentral:
    """The namespace of the databases."""

    central: OvnCentral

    @property
    def enter(self) -> list[str]:
        return enter(self.central.name)

    def inside(self, work: Callable[[], T]) -> T:
        return namespace.inside(self.central.name, work)


def agent_beside(
    central: OvnCentral, env: Mapping[str, str] | None = None, host: Place | None = None
) -> Agent:
    """Make an agent that follows both databases, and nothing else of OVN."""
    environment = {
        "DATAPLANE_AGENT_OVS__ENABLED": "false",
        "DATAPLANE_AGENT_OVN__ENABLED": "false",
        "DATAPLANE_AGENT_OVN__DATABASES__NORTHBOUND": central.northbound_unix,
        "DATAPLANE_AGENT_OVN__DATABASES__SOUTHBOUND": central.southbound_unix,
        **(env or {}),
    }
    return Agent(central.rundir, env=environment, host=host or WithCentral(central))


@dataclass(frozen=True, slots=True)
class Certificates:
    """Who signs, and what it signed: the server's and the agent's."""

    authority: Identity
    server: Identity
    agent: Identity
    expired: Identity

    def keys(self, server: Identity) -> Keys:
        return Keys(server.key, server.cert, self.authority.cert)

    @property
    def settings(self) -> dict[str, str]:
        return {
            "DATAPLANE_AGENT_OVN__PRIVATE_KEY": str(self.agent.key),
            "DATAPLANE_AGENT_OVN__CERTIFICATE": str(self.agent.cert),
            "DATAPLANE_AGENT_OVN__CA_CERTIFICATE": str(self.authority.cert),
        }


@contextmanager
def recorded(chassis: Chassis, server: tuple[str, int]) -> Iterator[tuple[int, bytearray]]:
    """Give a port of the chassis that leads to a server, and what that says to who comes first."""
    heard = bytearray()
    listener = chassis.inside(partial(socket.create_server, ("127.0.0.1", 0)))

    def carry() -> None:
        client, _ = listener.accept()
        with client, chassis.inside(partial(socket.create_connection, server)) as far:
            while True:
                for ready in select.select([client, far], [], [])[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    if ready is far:
                        heard.extend(data)
                    (client if ready is far else far).sendall(data)

    thread = threading.Thread(target=carry, name="recorded", daemon=True)
    thread.start()
    with listener:
        yield listener.getsockname()[1], heard
        thread.join(timeout=10)
