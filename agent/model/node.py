"""The node as one scrape sees it: what is known, and what is not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from agent.errors import Reason, UnknownFactError
from agent.model.bridge import BridgeReading
from agent.model.datapath import Bond, Conntrack, Datapath, Fdb, Pmd, Upcalls, Vswitchd
from agent.model.domain import DomainCounters, Domains, ShownInterfaces
from agent.model.flow import FlowReading
from agent.model.kernel_datapath import KernelDatapath
from agent.model.link import LinkCounters, LinkPatterns, Qdisc
from agent.model.namespace import ConntrackTable, Namespace
from agent.model.ovn import Northbound, OvnController, Release, Southbound
from agent.model.switch import Switch

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Known(Generic[T]):
    """A fact that is known, or not.

    Attributes:
        name: What it is called in messages.
        value: ``None`` when it is not known.
        live: False for a state whose subscription is lost and which is shown for a while longer;
            counters in it must not be shown, because they no longer move.
    """

    name: str
    value: T | None = None
    live: bool = True

    def require(self) -> T:
        """Return the value.

        Raises:
            UnknownFactError: If it is not known; the runner leaves the collector's families out.
        """
        if self.value is None:
            raise UnknownFactError(self.name)
        return self.value


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """A source's health. Times are Unix seconds; counts are since the agent started.

    Attributes:
        throttled: Readings that were refused to spare the peer.
        min_interval_seconds: Distance at which it may be read every time; ``None`` until known,
            or without a limit.
    """

    name: str
    configured: bool
    up: bool
    last_success_seconds: float | None
    read_seconds: float
    reads: int
    failures: Mapping[Reason, int]
    events: Mapping[str, int]
    deadline_exceeded: int
    throttled: int = 0
    min_interval_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class CollectorFacts:
    """How one collector did in this scrape. ``suppressed`` series were refused by a limit."""

    name: str
    success: bool
    duration_seconds: float
    series: int
    series_limit: int
    suppressed: int


@dataclass(frozen=True, slots=True)
class MqttFacts:
    """How publishing does. Dropped are events that no broker will ever get."""

    connected: bool
    queue_length: int
    events_dropped: int


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """The agent about itself.

    ``http_requests`` counts by (handler, status code); ``mqtt`` is ``None`` where it is off.
    """

    version: str
    config_hash: str
    sources: tuple[SourceFacts, ...] = ()
    collectors: tuple[CollectorFacts, ...] = ()
    http_requests: Mapping[tuple[str, str], int] = field(default_factory=dict)
    mqtt: MqttFacts | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """Everything that collectors may look at. Readings are there only when they are fresh.

    Mappings are by bridge name; ``namespaces`` by the namespace's, ``""`` for the host's own, and
    ``conntrack_zones`` are entries of the host's own table by zone, ``domains`` by uuid.
    ``link_patterns`` and ``domain_interfaces`` are settings.
    """

    agent: AgentFacts
    switch: Known[Switch] = Known("switch")
    bridges: Known[Mapping[str, BridgeReading]] = Known("bridges")
    flows: Known[Mapping[str, FlowReading]] = Known("flows")
    vswitchd: Known[Vswitchd] = Known("vswitchd")
    datapaths: Known[tuple[Datapath, ...]] = Known("datapaths")
    upcalls: Known[tuple[Upcalls, ...]] = Known("upcalls")
    pmds: Known[tuple[Pmd, ...]] = Known("pmds")
    fdbs: Known[tuple[Fdb, ...]] = Known("fdbs")
    bonds: Known[tuple[Bond, ...]] = Known("bonds")
    conntracks: Known[tuple[Conntrack, ...]] = Known("conntracks")
    namespaces: Known[Mapping[str, Namespace]] = Known("namespaces")
    link_counters: Known[LinkCounters] = Known("link counters")
    qdiscs: Known[tuple[Qdisc, ...]] = Known("qdiscs")
    conntrack_tables: Known[tuple[ConntrackTable, ...]] = Known("conntrack tables")
    conntrack_zones: Known[Mapping[int, int]] = Known("conntrack zones")
    kernel_datapaths: Known[tuple[KernelDatapath, ...]] = Known("kernel datapaths")
    domains: Known[Domains] = Known("domains")
    domain_counters: Known[DomainCounters] = Known("domain counters")
    ovn_controller: Known[OvnController] = Known("ovn-controller")
    ovn_release: Known[Release] = Known("OVN's release")
    northbound: Known[Northbound] = Known("Northbound")
    southbound: Known[Southbound] = Known("Southbound")
    link_patterns: LinkPatterns = field(default_factory=LinkPatterns)
    domain_interfaces: ShownInterfaces = "always"
