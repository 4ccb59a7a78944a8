"""OVN: what its controller says of itself, and what its databases say of the whole network.

Logical flows, ports and datapaths have names in the Southbound database only (ovn-sb(5)). A
compute node sees their numbers: ``metadata`` is a datapath's tunnel_key, ``reg14`` and ``reg15``
are tunnel_keys of ports, a cookie is the first 32 bits of the UUID of a logical flow.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

UUID_DIGITS = 8
"""What OVN shows of a UUID where it is short: cookies, and ``stage-hint`` of logical flows."""


def short(uuid: str) -> str:
    """Return the first 8 hex digits of a UUID, in lower case."""
    return uuid[:UUID_DIGITS].lower()


def cookie_of(uuid: str) -> str:
    """Return the cookie of a logical flow's OpenFlow flows as ovs-ofctl prints it: ``0x5c253e91``.

    Args:
        uuid: Of the row in Logical_Flow, 36 characters.

    Raises:
        ValueError: If it does not begin with hex digits.
    """
    return f"{int(uuid[:UUID_DIGITS], 16):#x}"


@dataclass(frozen=True, slots=True)
class Release:
    """What ``version`` on ovn-controller prints.

    Attributes:
        ovn: ``23.03.1``.
        ovs_library: Of the Open vSwitch that it is built with; ``None`` where it does not say.
    """

    ovn: str
    ovs_library: str | None = None


NO_RELEASE = Release("")
"""Of a node where there never was an ovn-controller, which is not the same as not known."""


@dataclass(frozen=True, slots=True)
class LflowCache:
    """``lflow-cache/show-stats``: translations of logical flows that need not be made again.

    Attributes:
        enabled: Whether it is used.
        entries: By kind: ``conj-id`` (before 21.12 or so), ``cache-expr``, ``cache-matches``, as
            the release prints them.
        memory_bytes: What it occupies.
        high_watermark: Most entries since it was last trimmed; ``None`` in 21.03.
        trims: How often it was trimmed; ``None`` likewise.
    """

    enabled: bool
    entries: Mapping[str, int] = field(default_factory=dict)
    memory_bytes: int | None = None
    high_watermark: int | None = None
    trims: int | None = None


@dataclass(frozen=True, slots=True)
class EngineNode:
    """A node of the incremental engine: ``inc-engine/show-stats``.

    Attributes:
        recomputes: How often it was computed from nothing.
        computes: How often only what changed was computed.
        cancels: How often it was cancelled; ``abort`` before 24.09.
    """

    recomputes: int
    computes: int
    cancels: int


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """How long a part of the main loop takes: ``stopwatch/show``. All times in seconds.

    Attributes:
        samples: How often it ran.
        maximum: Longest of all.
        minimum: Shortest of all.
        percentile_95: As the stopwatch estimates it.
        short_term_average: Moving average over about 2 samples.
        long_term_average: Moving average over about 99.
    """

    samples: int
    maximum: float
    minimum: float
    percentile_95: float
    short_term_average: float
    long_term_average: float


@dataclass(frozen=True, slots=True)
class LocalBinding:
    """A logical port that has an interface here: ``debug/dump-local-bindings``.

    It may be bound elsewhere still, while its instance migrates.

    Attributes:
        logical_port: Its name in the Northbound, a Neutron port.
        interface: The Interface of Open vSwitch; ``None`` where it is not there (any more).
        type: ``vif`` or ``localport``; of child ports what the release prints; ``None`` for a name
            that has an interface but no binding.
        parent: Of a child port, the port it is in.
    """

    logical_port: str
    interface: str | None = None
    type: str | None = None
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class OvnController:
    """One reading of ovn-controller's control socket. What a release lacks, or what failed, is
    ``None``, and of ``coverage`` and ``memory`` empty.

    Attributes:
        start_time_seconds: Unix time at which the process started.
        southbound_connected: connection-status.
        coverage: coverage/show, drop counters of this release from 0.
        memory: memory/show, counts of unlike things by facility.
        lflow_cache: See there.
        engine: By node of the incremental engine.
        stopwatches: By name.
        bindings: Logical ports bound here.
        problems: A line for each command that failed.
    """  # noqa: D205  # one thought

    start_time_seconds: float | None = None
    southbound_connected: bool | None = None
    coverage: Mapping[str, int] = field(default_factory=dict)
    memory: Mapping[str, int] = field(default_factory=dict)
    lflow_cache: LflowCache | None = None
    engine: Mapping[str, EngineNode] | None = None
    stopwatches: Mapping[str, Stopwatch] | None = None
    bindings: tuple[LocalBinding, ...] | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """What a node's own database says to ovn-controller: Open_vSwitch.external_ids.

    A key with ``-<system-id>`` behind it goes before the same without (ovn-controller(8)).

    Attributes:
        encap_ips: ovn-encap-ip, comma separated there.
        encap_types: ovn-encap-type, likewise: geneve, vxlan, stt.
        bridge_mappings: ovn-bridge-mappings: bridge by physical network.
        remote: ovn-remote: where the Southbound is, as it stands there.
        bridge: ovn-bridge, ``br-int`` where it is not set.
        monitor_all: ovn-monitor-all: whether it follows the whole Southbound.
    """

    encap_ips: tuple[str, ...] = ()
    encap_types: tuple[str, ...] = ()
    bridge_mappings: Mapping[str, str] = field(default_factory=dict)
    remote: str | None = None
    bridge: str = "br-int"
    monitor_all: bool = False


@dataclass(frozen=True, slots=True)
class Encap:
    """A tunnel endpoint of a chassis: a row of Encap. ``type`` is geneve, vxlan or stt."""

    type: str
    ip: str


@dataclass(frozen=True, slots=True)
class Chassis:
    """A node that runs ovn-controller: rows of Chassis and Chassis_Private of one name.

    Attributes:
        name: Its system-id.
        hostname: As the node calls itself.
        encaps: Its tunnel endpoints, sorted.
        nb_cfg: Generation of the configuration that it has installed: Chassis_Private's, before
            20.09 Chassis's.
        nb_cfg_timestamp_seconds: Since when, Unix time; ``None`` before 20.09 and until it said so.
    """

    name: str
    hostname: str | None = None
    encaps: tuple[Encap, ...] = ()
    nb_cfg: int | None = None
    nb_cfg_timestamp_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class DatapathBinding:
    """A logical switch or router: a row of Datapath_Binding.

    Attributes:
        tunnel_key: Its ``metadata`` on every node.
        type: ``switch`` or ``router``; ``None`` where the row does not say.
        name: Of the switch or router in the Northbound: neutron-<network id>.
        name2: What a person calls it: the network's name.
        uuid: Of the row in the Northbound, Logical_Switch or Logical_Router.
    """

    tunnel_key: int
    type: str | None = None
    name: str | None = None
    name2: str | None = None
    uuid: str | None = None


@dataclass(frozen=True, slots=True)
class PortBinding:
    """A logical port: a row of Port_Binding.

    Attributes:
        logical_port: Its name.
        type: ``vif`` where the database has the empty string; else patch, localport, localnet,
            l3gateway, chassisredirect, virtual, external, remote, vtep ...
        datapath: tunnel_key of its datapath; ``None`` while that row is not known.
        tunnel_key: Its reg14 and reg15.
        chassis: Name of the chassis that has it; ``None`` while none has.
        up: Whether its flows are installed there; ``None`` before 21.03 and for what cannot be up.
    """

    logical_port: str
    type: str = "vif"
    datapath: int | None = None
    tunnel_key: int | None = None
    chassis: str | None = None
    up: bool | None = None


@dataclass(frozen=True, slots=True)
class BfdSession:
    """A session that a logical port asked for: a row of BFD.

    Attributes:
        logical_port: Of a router.
        dst_ip: The other end.
        status: admin_down, down, init or up.
        chassis: Name of the chassis that runs it; ``None`` before 24.03.
    """

    logical_port: str
    dst_ip: str
    status: str | None = None
    chassis: str | None = None


@dataclass(frozen=True, slots=True)
class LogicalFlow:
    """A row of Logical_Flow, without what it matches and does.

    Attributes:
        cookie: ``cookie_of`` its UUID.
        pipeline: ingress or egress.
        table_id: Its number in that pipeline, as ``ovn-sbctl lflow-list`` prints it.
        priority: 0 to 65535.
        stage: external_ids:stage-name: ``ls_out_acl_eval``.
        hint: external_ids:stage-hint: ``short`` of the row in the Northbound it is made of.
    """

    cookie: str
    pipeline: str
    table_id: int
    priority: int
    stage: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Southbound:
    """What is known of a Southbound database.

    Attributes:
        schema: Version of its schema.
        nb_cfg: SB_Global.nb_cfg: the generation that chassis are to install.
        chassis: Sorted by name.
        datapaths: Sorted by tunnel_key.
        bindings: Sorted by logical_port.
        bfd: Sorted.
        logical_flows: In no order; ``None`` where they are not followed.
        left_out: How many rows are beyond a limit, by table.
    """

    schema: str | None = None
    nb_cfg: int | None = None
    chassis: tuple[Chassis, ...] = ()
    datapaths: tuple[DatapathBinding, ...] = ()
    bindings: tuple[PortBinding, ...] = ()
    bfd: tuple[BfdSession, ...] = ()
    logical_flows: tuple[LogicalFlow, ...] | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Acl:
    """A row of ACL.

    Attributes:
        uuid: Of the row, 36 characters.
        direction: from-lport or to-lport.
        action: allow, allow-related, allow-stateless, drop, reject, pass.
        priority: 0 to 32767; of its logical flows 1000 more.
        name: Mostly not set by Neutron.
        security_group_rule_id: external_ids:neutron:security_group_rule_id.
        tier: 0 before 23.06.
    """

    uuid: str
    direction: str
    action: str
    priority: int
    name: str | None = None
    security_group_rule_id: str | None = None
    tier: int = 0


@dataclass(frozen=True, slots=True)
class Northbound:
    """What is known of a Northbound database.

    Attributes:
        schema: Version of its schema.
        nb_cfg: NB_Global.nb_cfg: the generation that the CMS asked for.
        sb_cfg: The one that northd has written to the Southbound.
        hv_cfg: The one that every chassis has installed.
        acls: Sorted by uuid.
        left_out: How many rows are beyond a limit, by table.
    """

    schema: str | None = None
    nb_cfg: int | None = None
    sb_cfg: int | None = None
    hv_cfg: int | None = None
    acls: tuple[Acl, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
