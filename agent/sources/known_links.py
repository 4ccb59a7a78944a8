"""What is known of one namespace's links: messages are applied to it, values are built from it.

A message says how something is now, never how it changed: applying one twice, or an old one
before the newer one that follows it, ends well. So a dump and the events that came meanwhile need
no order among them.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from agent.errors import ParseError
from agent.model.link import Address, Link
from agent.model.namespace import Key, Namespace
from agent.wire.netlink.addresses import DELADDR, NEWADDR, parse_address
from agent.wire.netlink.forwarding import DELNEIGH, NEWNEIGH, Entry, parse_entry
from agent.wire.netlink.header import Message
from agent.wire.netlink.links import AF_BRIDGE, AF_UNSPEC, DELLINK, NEWLINK, parse_link

LOOPBACK = 1
"""LOOPBACK_IFINDEX (include/net/flow.h): ``lo`` of every namespace."""

_Place = tuple[int, str | None]
"""Where an entry is counted: (port of a bridge, None), or (vxlan device, remote VTEP)."""


class KnownLinks:
    """Links, addresses and forwarding entries of one namespace.

    Args:
        name: Of the namespace.
        most_entries: Forwarding entries remembered; with more there are none.
        key: Of the namespace, see ``Namespace.key``.
        addresses: Whether addresses are followed.

    Attributes:
        changed: Whether ``namespace`` returns something else than the last time.
        events: What was applied and changed something: ``link_added``, …
        refused: Why the last message that cannot be read was passed over; ``None`` for none.
    """

    def __init__(self, name: str, most_entries: int, *, addresses: bool, key: Key = ()) -> None:
        self.changed = True
        self.events: Counter[str] = Counter()
        self.refused: str | None = None
        self._most_entries = most_entries
        self._links: dict[int, Link] = {}
        self._addresses: dict[tuple[int, str], Address] = {}
        self._entries: dict[bytes, _Place] | None = {}
        self._counts: Counter[_Place] = Counter()
        self._places: dict[_Place, _Place] = {}
        self._shown = Namespace(name, addresses=() if addresses else None, key=key)
        self._stale: set[str] = set()
        self._apply = {
            NEWLINK: self._new_link,
            DELLINK: self._delete_link,
            NEWNEIGH: self._new_entry,
            DELNEIGH: self._delete_entry,
        }
        if addresses:
            self._apply |= {NEWADDR: self._new_address, DELADDR: self._delete_address}

    @property
    def too_many(self) -> bool:
        """Whether there were more forwarding entries than are remembered."""
        return self._entries is None

    def apply(self, message: Message) -> None:
        """Take an event, or a part of a dump; ignore what is about something else.

        One that cannot be read is passed over and noted: a kernel that says one thing in a new way
        must not cost all the others.
        """
        apply = self._apply.get(message.type)
        if apply is None:
            return
        try:
            apply(message.payload)
        except ParseError as error:
            self.refused = f"message of type {message.type}: {error}"

    def namespace(self) -> Namespace:
        """Return what is known now. What did not change is the same object as the last time."""
        parts: dict[str, object] = {}
        if "links" in self._stale:
            parts["links"] = dict(self._links)
        if "addresses" in self._stale:
            parts["addresses"] = tuple(self._addresses.values())
        if "entries" in self._stale:
            parts["forwarding"], parts["remotes"] = self._forwarding()
        if parts:
            self._shown = replace(self._shown, **parts)  # type: ignore[arg-type] # by name
        self._stale.clear()
        self.changed = False
        return self._shown

    def _touch(self, part: str, event: str) -> None:
        self._stale.add(part)
        self.changed = True
        self.events[event] += 1

    def _new_link(self, payload: bytes) -> None:
        message = parse_link(payload)
        index, link = message.index, message.link
        known = self._links.get(index)
        if message.family == AF_BRIDGE:
            if known is None or known.master is None or message.port_state is None:
                return  # it left meanwhile, or is the bridge itself
            link = replace(known, bridge_port_state=message.port_state)
        if link is None or link == known or index == LOOPBACK:
            return
        self._links[index] = link
        self._touch("links", "link_changed" if known else "link_added")

    def _delete_link(self, payload: bytes) -> None:
        message = parse_link(payload)
        # Of family AF_BRIDGE it says that a link left its bridge, and NEWLINK says so too.
        if message.family != AF_UNSPEC or self._links.pop(message.index, None) is None:
            return
        self._touch("links", "link_removed")
        for at in [at for at in self._addresses if at[0] == message.index]:
            del self._addresses[at]
            self._touch("addresses", "address_removed")
        self._forget_entries(message.index)

    def _new_address(self, payload: bytes) -> None:
        address = parse_address(payload)
        if address is None or address.index == LOOPBACK:
            return
        at = (address.index, address.address)
        known = self._addresses.get(at)
        if address != known:
            self._addresses[at] = address
            self._touch("addresses", "address_added")

    def _delete_address(self, payload: bytes) -> None:
        address = parse_address(payload)
        if address and self._addresses.pop((address.index, address.address), None):
            self._touch("addresses", "address_removed")

    def _new_entry(self, payload: bytes) -> None:
        if self._entries is None or (entry := parse_entry(payload)) is None:
            return
        place = _place(entry)
        if place == self._entries.get(entry.key):
            return
        self._forget_entry(entry.key)
        if place is None:
            return
        if len(self._entries) >= self._most_entries:
            self._give_up_entries()
            return
        self._entries[entry.key] = self._places.setdefault(place, place)
        self._counts[place] += 1
        self._touch("entries", "forwarding_added")

    def _delete_entry(self, payload: bytes) -> None:
        if self._entries is not None and (entry := parse_entry(payload)) is not None:
            self._forget_entry(entry.key)

    def _forget_entry(self, key: bytes) -> None:
        place = self._entries.pop(key, None) if self._entries is not None else None
        if place is None:
            return
        self._counts[place] -= 1
        if not self._counts[place]:
            del self._counts[place]
            del self._places[place]
        self._touch("entries", "forwarding_removed")

    def _forget_entries(self, index: int) -> None:
        if self._entries is None or not any(place[0] == index for place in self._counts):
            return
        for key in [key for key, place in self._entries.items() if place[0] == index]:
            self._forget_entry(key)

    def _give_up_entries(self) -> None:
        self._entries = None
        self._counts.clear()
        self._places.clear()
        self._stale.add("entries")
        self.changed = True

    def _forwarding(
        self,
    ) -> tuple[Mapping[int, int] | None, Mapping[tuple[int, str], int] | None]:
        if self._entries is None:
            return None, None
        return (
            {index: count for (index, remote), count in self._counts.items() if remote is None},
            {
                (index, remote): count
                for (index, remote), count in self._counts.items()
                if remote is not None
            },
        )


def _place(entry: Entry) -> _Place | None:
    """Return where an entry is counted; ``None`` for one that is not."""
    if entry.bridge:
        return None if entry.local else (entry.index, None)
    return (entry.index, entry.remote) if entry.remote is not None else None
