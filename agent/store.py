"""The current node: the only place that remembers what peers said.

Two kinds of knowledge, two rules for growing old. *State* comes from a subscription and is true
until the next event; when the subscription is lost it is shown a while longer. A *reading* holds
counters and levels and is shown only to scrapes that it was taken for: a counter shown again
reads as a rate of zero and then as a spike, an omitted one as nothing wrong.
"""

import time
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from agent.model.bridge import BridgeReading
from agent.model.datapath import Bond, Conntrack, Datapath, Fdb, Pmd, Upcalls, Vswitchd
from agent.model.domain import DomainCounters, Domains, ShownInterfaces
from agent.model.flow import FlowReading
from agent.model.kernel_datapath import KernelDatapath
from agent.model.link import LinkCounters, LinkPatterns, Qdisc
from agent.model.namespace import ConntrackTable, Namespace
from agent.model.node import AgentFacts, Known, Node
from agent.model.ovn import Northbound, OvnController, Release, Southbound
from agent.model.switch import Switch, VswitchdProcess

T = TypeVar("T")


class State(Generic[T]):
    """What a subscription keeps current.

    Args:
        name: What it is called in messages.
        max_age_seconds: How long it is shown after its subscription is lost.
        clock: Monotonic seconds.
    """

    def __init__(self, name: str, max_age_seconds: float, clock: Callable[[], float]) -> None:
        self._name = name
        self._max_age_seconds = max_age_seconds
        self._clock = clock
        self._value: T | None = None
        self._lost_at: float | None = None
        self.complete = False
        """Whether it says all that there is, not only the part that was read so far."""
        self.on_change: Callable[[], None] | None = None
        """Called after each change, where somebody wants to know."""

    def put(self, value: T, *, complete: bool = True) -> None:
        """Take what the subscription says now."""
        self._value = value
        self._lost_at = None
        self.complete = complete
        self._tell()

    def lost(self) -> None:
        """Begin to age: the subscription broke, the peer may come back with the same."""
        if self._lost_at is None:
            self._lost_at = self._clock()
            self._tell()

    def withdraw(self) -> None:
        """Forget at once: the peer is gone."""
        self._value = None
        self._tell()

    def _tell(self) -> None:
        if self.on_change is not None:
            self.on_change()

    def known(self) -> Known[T]:
        """Return the value while it may be shown."""
        live = self._lost_at is None
        if self._lost_at is not None and self._clock() - self._lost_at > self._max_age_seconds:
            self._value = None
        return Known(self._name, self._value, live)


class Reading(Generic[T]):
    """What readers brought, in parts (bridges) that are taken and grow old one by one."""

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self._name = name
        self._clock = clock
        self._parts: dict[str, tuple[float, T]] = {}

    def put(self, value: T, part: str = "", taken: float | None = None) -> None:
        """Take a reading.

        Args:
            value: What the peer said.
            part: Which of several peers.
            taken: When the peer was first asked for it, by the store's clock; ``None`` for now.
                A reading is as old as its oldest number.
        """
        self._parts[part] = (self._clock() if taken is None else taken, value)

    def withdraw(self, part: str = "") -> None:
        """Forget a part: its peer failed or is gone."""
        self._parts.pop(part, None)

    def replace(self, value: T | None, taken: float) -> None:
        """Take a reading without parts, or none: then what was known is withdrawn."""
        if value is None:
            self.withdraw()
        else:
            self.put(value, taken=taken)

    def parts(self, since: float) -> Known[Mapping[str, T]]:
        """Return the parts asked for at or after ``since``; not known when there is none."""
        fresh = {part: value for part, (taken, value) in self._parts.items() if taken >= since}
        return Known(self._name, fresh or None)

    def whole(self, since: float) -> Known[T]:
        """Return the one part of a reading that has no parts."""
        taken, value = self._parts.get("", (0.0, None))
        return Known(self._name, value if taken >= since else None)


class Store:
    """The current node.

    Args:
        state_max_age_seconds: How long state is shown after its subscription is lost.
        clock: Monotonic seconds.
        link_patterns: A setting that collectors look at.
        domain_interfaces: Another one.
    """

    def __init__(
        self,
        state_max_age_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        link_patterns: LinkPatterns | None = None,
        domain_interfaces: ShownInterfaces = "always",
    ) -> None:
        self.clock = clock
        self._domain_interfaces: ShownInterfaces = domain_interfaces
        self._link_patterns = link_patterns or LinkPatterns()
        self.switch = State[Switch]("switch", state_max_age_seconds, clock)
        self.bridges = Reading[BridgeReading]("bridges", clock)
        self.flows = Reading[FlowReading]("flows", clock)
        self.vswitchd = Reading[Vswitchd]("vswitchd", clock)
        self.datapaths = Reading[tuple[Datapath, ...]]("datapaths", clock)
        self.upcalls = Reading[tuple[Upcalls, ...]]("upcalls", clock)
        self.pmds = Reading[tuple[Pmd, ...]]("pmds", clock)
        self.fdbs = Reading[tuple[Fdb, ...]]("fdbs", clock)
        self.bonds = Reading[tuple[Bond, ...]]("bonds", clock)
        self.conntracks = Reading[tuple[Conntrack, ...]]("conntracks", clock)
        self.namespaces = State[Mapping[str, Namespace]]("namespaces", state_max_age_seconds, clock)
        self.link_counters = Reading[LinkCounters]("link counters", clock)
        self.qdiscs = Reading[tuple[Qdisc, ...]]("qdiscs", clock)
        self.conntrack_tables = Reading[tuple[ConntrackTable, ...]]("conntrack tables", clock)
        self.conntrack_zones = Reading[Mapping[int, int]]("conntrack zones", clock)
        self.kernel_datapaths = Reading[tuple[KernelDatapath, ...]]("kernel datapaths", clock)
        self.domains = State[Domains]("domains", state_max_age_seconds, clock)
        self.departed = State[frozenset[str]]("departed domains", state_max_age_seconds, clock)
        """uuids of domains that have left for another node: they were stopped by a migration."""
        self.vswitchd_process = State[VswitchdProcess](
            "ovs-vswitchd's process", state_max_age_seconds, clock
        )
        self.domain_counters = Reading[DomainCounters]("domain counters", clock)
        self.ovn_controller = Reading[OvnController]("ovn-controller", clock)
        # Of the ovn-controller that wrote the flows; they stay when it ends.
        self.ovn_release = State[Release]("OVN's release", state_max_age_seconds, clock)
        self.northbound = State[Northbound]("Northbound", state_max_age_seconds, clock)
        self.southbound = State[Southbound]("Southbound", state_max_age_seconds, clock)

    def view(self, since: float, agent: AgentFacts) -> Node:
        """Return the node with state as it is and readings taken at or after ``since``."""
        return Node(
            agent=agent,
            switch=self.switch.known(),
            bridges=self.bridges.parts(since),
            flows=self.flows.parts(since),
            vswitchd=self.vswitchd.whole(since),
            datapaths=self.datapaths.whole(since),
            upcalls=self.upcalls.whole(since),
            pmds=self.pmds.whole(since),
            fdbs=self.fdbs.whole(since),
            bonds=self.bonds.whole(since),
            conntracks=self.conntracks.whole(since),
            namespaces=self.namespaces.known(),
            link_counters=self.link_counters.whole(since),
            qdiscs=self.qdiscs.whole(since),
            conntrack_tables=self.conntrack_tables.whole(since),
            conntrack_zones=self.conntrack_zones.whole(since),
            kernel_datapaths=self.kernel_datapaths.whole(since),
            domains=self.domains.known(),
            domain_counters=self.domain_counters.whole(since),
            ovn_controller=self.ovn_controller.whole(since),
            ovn_release=self.ovn_release.known(),
            northbound=self.northbound.known(),
            southbound=self.southbound.known(),
            link_patterns=self._link_patterns,
            domain_interfaces=self._domain_interfaces,
        )
