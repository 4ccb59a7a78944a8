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
        offloaded_flows: Flows in hardware, from ``dpctl/offload-stats-show``; ``None`` where
            hardware offload is off or the release does not say.
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
    offloaded_flows: int | None = None


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
    """One thread of ``dpif-netdev/pmd-stats-show`` or, from 4.0 on, ``pmd-perf-show``.

    ``None`` is what was not printed. ``numa`` and ``cpu`` are text, ``main`` for ovs-vswitchd's
    main thread, empty where not said. Packets are counted by how they were classified, cycles are
    the CPU's; ``used_cycles`` are the busy and the idle ones together, the only ones that 4.0
    prints. All restart with the thread and with ``pmd-stats-clear``.
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
    used_cycles: int | None = None
    phwol_hit: int | None = None
    simple_match_hit: int | None = None


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


@dataclass(frozen=True, slots=True)
class UnixctlReading:
    """All that one reading of ovs-vswitchd's control socket brought.

    A part is ``None`` when its command failed or this release does not have it, and empty when
    there is nothing of the kind, or it was not asked for.

    Attributes:
        vswitchd: The daemon itself; its mappings are empty when their command failed.
        datapaths: One element a datapath.
        upcalls: One element a datapath.
        pmds: One element a thread of the userspace datapath; empty without one.
        fdbs: Of the bridges that were asked about and exist.
        bonds: Bonds with their members.
        conntracks: Of the userspace datapaths; the kernel's table is not read here.
        problems: One line for each command that failed, for a person.
    """

    vswitchd: Vswitchd
    datapaths: tuple[Datapath, ...] | None
    upcalls: tuple[Upcalls, ...] | None
    pmds: tuple[Pmd, ...] | None
    fdbs: tuple[Fdb, ...] | None
    bonds: tuple[Bond, ...] | None
    conntracks: tuple[Conntrack, ...] | None
    problems: tuple[str, ...] = ()
