"""Network namespaces: the host's own and the named ones of /run/netns."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.model.link import Address, Link

HOST = ""
"""Name of the host's own namespace here; as a label it is left out."""

Key = tuple[int, ...]
"""What tells a namespace from all others, also from one that had its name; empty: not known."""

_ROLE = re.compile(r"(qrouter|fip|snat|qdhcp|ovnmeta)-(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Namespace:
    """What the kernel has in one namespace, without ``lo``.

    Attributes:
        name: Its name, ``HOST`` for the host's own.
        links: By index.
        addresses: Of its links; ``None`` when addresses are not followed.
        forwarding: Entries of bridges' forwarding tables by the index of the bridge's port,
            without the ports' own addresses (permanent); ``None`` when they are too many.
        remotes: Entries of vxlan devices' forwarding tables by (index, remote VTEP); likewise.
        key: Of this very namespace.
    """

    name: str
    links: Mapping[int, Link] = field(default_factory=dict)
    addresses: tuple[Address, ...] | None = None
    forwarding: Mapping[int, int] | None = field(default_factory=dict)
    remotes: Mapping[tuple[int, str], int] | None = field(default_factory=dict)
    key: Key = ()

    def is_of(self, key: Key) -> bool:
        """Whether a reading is of this namespace, and not of one that had its name before.

        Names and indexes are used again at once: what an old namespace counted would stand at the
        links of the new one.
        """
        return not key or not self.key or key == self.key

    @property
    def role(self) -> tuple[str, str]:
        """What neutron or OVN made it for, and the id in its name.

        Returns:
            qrouter, fip, snat, qdhcp or ovnmeta with the rest of the name; other and ``""``.
        """
        match = _ROLE.fullmatch(self.name)
        return (match[1], match[2]) if match else ("other", "")


@dataclass(frozen=True, slots=True)
class ConntrackTable:
    """Connection tracking of one namespace. ``None`` is what this kernel does not tell.

    Attributes:
        netns: ``HOST`` for the host's own.
        entries: Tracked connections.
        entries_limit: How many there may be.
        insert_failed: Connections that were not taken in, since the agent first saw it (a ledger:
            the kernel's are 32-bit, one a CPU), as all that follow.
        drop: Packets dropped because the table was full, or there was no memory.
        early_drop: Connections thrown out to make room.
        search_restart: Lookups that began again because the table changed size.
        key: Of the namespace that was read.
    """

    netns: str
    entries: int | None = None
    entries_limit: int | None = None
    insert_failed: int | None = None
    drop: int | None = None
    early_drop: int | None = None
    search_restart: int | None = None
    key: Key = field(default=(), compare=False)
