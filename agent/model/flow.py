"""Flows as OpenFlow tells them: what each is, what it does, and its counters in columns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.uint64]
"""n_packets or n_bytes of a table's flows, in the order of its flows."""
UNKNOWN = np.uint64(0xFFFFFFFFFFFFFFFF)
"""All-ones on the wire: the switch does not know the number."""
ABSENT = -1
"""In ``TableFlows.before``: the flow was not there."""
MARKS = {8: 1 << 17, 10: 1 << 12}
"""Bits of registers, as masks, by which OVN notes that a later table shall drop the packet:
REGBIT_ACL_VERDICT_DROP in northd/northd.c, MLF_CHECK_PORT_SEC_BIT in lib/logical-fields.h."""
OWN_TABLE = 255
"""OFPTT_ALL as the table of a resubmit: the table that the flow stands in."""


class Scope(NamedTuple):
    """What a match names exactly and whole, of the fields that tell whose packets a flow meets.

    ``None`` where the match does not have the field, or only with a mask.

    Attributes:
        in_port: OpenFlow port number.
        reg5: Neutron's firewall: the port's OpenFlow number.
        reg14: OVN: key of the logical port that packets came in by.
        reg15: OVN: key of the logical port that packets go out by.
        metadata: OVN: key of the datapath.
    """

    in_port: int | None = None
    reg5: int | None = None
    reg14: int | None = None
    reg15: int | None = None
    metadata: int | None = None


@dataclass(frozen=True, slots=True)
class Effect:
    """What a flow's instructions, or the actions of a group's bucket, do with a packet.

    As far as its fate needs: equal effects are judged equally. Contents of clone count as if
    they stood outside.

    Attributes:
        action: The kind of action that decides, the ``action`` label.
        delivers: Sends the packet out: output in any form but to CONTROLLER or to none, or an
            action that is not known, which may.
        punts: Sends it to a controller.
        userdata: Of each controller action in order; ``b""`` for one without.
        groups: Groups that apply_actions names.
        tables: Where it continues, in order: resubmit, goto_table, ct with ``table=``.
            ``OWN_TABLE`` means the flow's own.
        goes_to: The one of them that is goto_table: the packet's action set goes along.
        writes_output: write_actions puts an output into the action set.
        writes_groups: Groups that write_actions puts there.
        clears: clear_actions empties it before.
        conjunction: It is a clause of a conjunction: it does nothing by itself.
        marks: Registers of ``MARKS`` whose bit it sets.
    """

    action: str = "drop"
    delivers: bool = False
    punts: bool = False
    userdata: tuple[bytes, ...] = ()
    groups: tuple[int, ...] = ()
    tables: tuple[int, ...] = ()
    goes_to: int | None = None
    writes_output: bool = False
    writes_groups: tuple[int, ...] = ()
    clears: bool = False
    conjunction: bool = False
    marks: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Group:
    """A group's description.

    Attributes:
        group_id: Its number.
        sends_copies: Of type all: each bucket gets a copy; else one bucket gets the packet.
        buckets: What each does; none drops.
    """

    group_id: int
    sends_copies: bool
    buckets: tuple[Effect, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """A flow's identity and its description; compared by identity, kept between readings.

    Attributes:
        table_id: OpenFlow table.
        priority: 0 to 65535.
        match: As ``ovs-ofctl --names dump-flows`` writes it, without the priority.
        cookie: As the controller set it.
        scope: Whose packets it meets.
        effect: What it does with them.
        output: The one OpenFlow port that it sends to; ``None`` without, or with several.
    """

    table_id: int
    priority: int
    match: str
    cookie: int
    scope: Scope = Scope()  # noqa: RUF009 - a tuple: nobody can change the one default
    effect: Effect = Effect()
    output: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TableFlows:
    """One table, read completely.

    Attributes:
        table_id: OpenFlow table.
        flows: In the switch's order. The same tuple as in the reading before when nothing but
            numbers changed: what depends on flows alone is computed again only for another tuple.
        packets: n_packets of each; ``UNKNOWN`` where the switch does not say.
        octets: n_bytes of each, likewise.
        before: Where each flow stood in the last complete reading of this table, ``ABSENT`` for
            one that is new; ``None`` when all stand where they stood. A flow is the same when
            table, priority and match are, whatever became of cookie and actions.
        restarted: Indexes of flows whose counters the switch set to zero when it added them
            again (flag reset_counts, with another time of creation).
        modified: How many have another cookie, other flags, timeouts or instructions than before.
        first: Whether this is the first complete reading: then ``before`` says nothing.
        returned: Last packets and bytes, by index, of new flows that the reading before missed
            because it took the table in pieces.
        partial: Whether flows are missing that may still be there, for that reason.
    """

    table_id: int
    flows: tuple[Flow, ...]
    packets: Counts
    octets: Counts
    before: NDArray[np.int64] | None = None
    restarted: tuple[int, ...] = ()
    modified: int = 0
    first: bool = False
    returned: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    partial: bool = False


class Stage(NamedTuple):
    """Where in OVN's logical pipelines packets are.

    Attributes:
        pipeline: ingress or egress.
        name: As northd calls it, ``ls_out_acl``; ``ls_out_4`` where the release is not known here.
        datapath: Key of the datapath (metadata); ``None`` for all of this kind, switch or router.
    """

    pipeline: str
    name: str
    datapath: int | None = None


class AclFlow(NamedTuple):
    """A logical flow that evaluates an ACL of OVN's.

    Attributes:
        cookie: Of its OpenFlow flows.
        pipeline: ingress or egress.
        table_id: Its number in that pipeline.
    """

    cookie: int
    pipeline: str
    table_id: int


Account = Stage | AclFlow
"""What packets are added up by besides table and interface."""


@dataclass(frozen=True, slots=True, eq=False)
class Accounts:
    """Which flows of a table count for which account; one may count for several.

    Attributes:
        rows: The accounts.
        flows: Indexes of flows.
        row_of: For each of them the place of its account in ``rows``.
    """

    rows: tuple[Account, ...]
    flows: NDArray[np.int64]
    row_of: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Totals:
    """What a bridge's ledgers add up to. All count from the start of the agent.

    Attributes:
        dropped: Packets by (table, kind): lost, copy or patch.
        interfaces: Packets lost by (interface, direction): from_instance or to_instance.
        unattributed: Packets by table that matched, but that no reading of flows accounts for.
        changes: Flows added, removed, modified.
        accounts: Packets by account, those that have flows now or had some lately.
    """

    dropped: Mapping[tuple[int, str], int] = field(default_factory=dict)
    interfaces: Mapping[tuple[str, str], int] = field(default_factory=dict)
    unattributed: Mapping[int, int] = field(default_factory=dict)
    changes: Mapping[str, int] = field(default_factory=dict)
    accounts: Mapping[Account, int] = field(default_factory=dict)


KINDS = ("open", "lost", "copy", "patch", "closed", "conjunction")
"""What becomes of the packets of a flow; see ``pipelines/fate.py``. Codes are places here."""


@dataclass(frozen=True, slots=True, eq=False)
class Fate:
    """The judgement over a bridge's flows; the same object until structure changes.

    Attributes:
        kinds: By table, the code (place in ``KINDS``) of each flow, in the order of the flows.
        owners: By table, index -> (OpenFlow port, direction) of flows of kind lost whose packets
            belong to one port.
        names: Names of tables, where the pipeline is known.
        accounts: By table, what its flows count for besides.
        pipeline: ``neutron``, ``ovn``, ... or ``""`` when it is not known.
    """

    kinds: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict)
    owners: Mapping[int, Mapping[int, tuple[int, str]]] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    pipeline: str = ""
    accounts: Mapping[int, Accounts] = field(default_factory=dict)

    def name_of(self, table_id: int, index: int) -> str | None:
        """Return what a flow's table is for; of one that switches and routers share, its own."""
        accounts = self.accounts.get(table_id)
        if accounts is not None:
            for place in np.flatnonzero(accounts.flows == index).tolist():
                row = accounts.rows[int(accounts.row_of[place])]
                if isinstance(row, Stage):
                    return row.name
        return self.names.get(table_id)


@dataclass(frozen=True, slots=True)
class FlowReading:
    """The flows of a bridge, read table by table, each table complete.

    Attributes:
        bridge: Its name.
        tables: Those that have flows, by number.
        fate: What becomes of their packets.
        totals: The ledgers.
        shown: By table, indexes of the flows that have series; ``None`` for all of them, a table
            that is missing for none.
        left_out: How many flows have no series, by the rules of ``flows.mode``.
        process: Process id of the ovs-vswitchd that was asked; ``None`` when it lives in another
            pid namespace.
    """

    bridge: str
    tables: tuple[TableFlows, ...] = ()
    fate: Fate = field(default_factory=Fate)
    totals: Totals = field(default_factory=Totals)
    shown: Mapping[int, NDArray[np.int64] | None] = field(default_factory=dict)
    left_out: int = 0
    process: int | None = None
