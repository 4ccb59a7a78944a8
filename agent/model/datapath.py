"""What ovs-vswitchd says about itself and its datapaths over unixctl."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Datapath:
    """One block of ``dpctl/show``. Counts are packets unless named otherwise.

    Attributes:
        name: ``type@name``, for example ``system@ovs-system`` or ``netdev@ovs-netdev``.
        hits: Packets that matched an installed flow.
        missed: Packets that went up to ovs-vswitchd.
        lost: Packets dropped on the way up.
        flows: Installed datapath flows.
        masks: Distinct masks; ``None`` where the datapath has none (userspace).
        masks_hit: Masks visited for all packets together.
        mask_cache_hits: Packets whose mask came from the cache (kernel 5.10 and later).
        mask_cache_size_entries: Size of that cache.
        ports: How many ports the datapath has.
    """

    name: str
    hits: int | None = None
    missed: int | None = None
    lost: int | None = None
    flows: int | None = None
    masks: int | None = None
    masks_hit: int | None = None
    mask_cache_hits: int | None = None
    mask_cache_size_entries: int | None = None
    ports: int | None = None


@dataclass(frozen=True, slots=True)
class Upcalls:
    """One block of ``upcall/show``: the revalidators' view of a datapath.

    Attributes:
        datapath: ``type@name``.
        flows: Datapath flows they look after.
        flow_limit: How many they would allow at present.
        dump_duration_seconds: How long the last pass over all flows took.
        offloaded_flows: Flows in hardware; ``None`` where the release does not say.
    """

    datapath: str
    flows: int | None = None
    flow_limit: int | None = None
    dump_duration_seconds: float | None = None
    offloaded_flows: int | None = None


@dataclass(frozen=True, slots=True)
class Pmd:
    """One thread of ``dpif-netdev/pmd-perf-show``; ``numa`` and ``cpu`` as text, ``main`` for the main thread.

    Packets by how they were classified; cycles of the CPU, busy or idle. ``None``: not printed.
    """

    numa: str
    cpu: str
    emc_hit: int | None = None
    smc_hit: int | None = None
    megaflow_hit: int | None = None
    upcall_success: int | None = None
    upcall_failed: int | None = None
    busy_cycles: int | None = None
    idle_cycles: int | None = None


@dataclass(frozen=True, slots=True)
class Fdb:
    """``fdb/stats-show`` of a bridge: its MAC learning table (NORMAL's)."""

    bridge: str
    entries: int | None = None
    expired: int | None = None
    evicted: int | None = None
    moved: int | None = None


@dataclass(frozen=True, slots=True)
class BondMember:
    """A member of a bond. ``lacp_current`` is True while its partner's LACP state is current."""

    name: str
    enabled: bool | None = None
    active: bool | None = None
    lacp_current: bool | None = None


@dataclass(frozen=True, slots=True)
class Bond:
    """One block of ``bond/show``, with the member states of ``lacp/show``."""

    port: str
    mode: str | None = None
    lacp_status: str | None = None
    members: tuple[BondMember, ...] = ()


@dataclass(frozen=True, slots=True)
class Conntrack:
    """``dpctl/ct-get-nconns`` and ``dpctl/ct-get-maxconns`` of a datapath."""

    datapath: str
    entries: int | None = None
    entries_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Vswitchd:
    """What one reading of ovs-vswitchd says about the daemon itself.

    Attributes:
        start_time_seconds: Unix time at which the process started; ``None`` when /proc does not
            show it (another pid namespace).
        coverage: Event counts of ``coverage/show``, and drop counters read as 0.
        memory: Counts of unlike things by facility, from ``memory/show``.
    """

    start_time_seconds: float | None
    coverage: Mapping[str, int]
    memory: Mapping[str, int]
