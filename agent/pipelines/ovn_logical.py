"""OVN's two logical pipelines among OpenFlow's tables: stages, ACLs, and flows that refuse.

A table of the logical pipelines is a stage of switches and another one of routers; whose flow it
is says its datapath (metadata), and what the datapath is say its flows for what comes in: a router
admits by the address that a frame is for, a switch does not look at it
(build_adm_ctrl_flows_for_lrouter_port and build_lswitch_port_sec_op in northd/northd.c).

Many packets are not dropped where they are refused. ``ls_in_check_port_sec`` has the flows of
CHK_IN_PORT_SEC, one for each port, set a bit, and the next stage drops what has it, whosever it is;
so do ACLs from 23.06 on. Such packets are booked where they are refused: that flow says whose they
were.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.model.flow import Account, Accounts, AclFlow, Flow, Stage
from agent.model.ovn_stages import ACL_PRIORITIES, ACL_STAGES, stage_name, stages
from agent.pipelines.base import Structure
from agent.pipelines.reduced import Columns, Reduced

LOG_INGRESS_PIPELINE = 8
"""Of controller/lflow.h, in every release."""
INGRESS, EGRESS = "ingress", "egress"
SWITCH, ROUTER = "switch", "router"

PORT_SECURITY_TABLES = frozenset(("chk_in_port_sec", "chk_in_port_sec_nd", "chk_out_port_sec"))
ACL_REGISTER, PORT_SECURITY_REGISTER = 8, 10
"""Where the bits of ``MARKS`` are that refuse."""
REFUSED_BY_PORT_SECURITY = "reg0=0x8000/0x8000"
"""REGBIT_PORT_SEC_DROP in northd/northd.c: what a flow matches that drops what was refused."""
REFUSED_BY_ACL = "reg8=0x20000/0x20000"


@dataclass(frozen=True)
class Logical:
    """Where the logical pipelines are, and what the datapaths are.

    Attributes:
        ingress: OpenFlow tables of the ingress pipeline.
        egress: Of the egress pipeline; empty where it cannot be told.
        release: Of ovn-controller; ``None`` while it is not known: then there are no accounts.
        routers: Datapaths that are routers.
        switches: Datapaths that are switches.
        by_datapath: Whether each datapath has stages of its own.
        verdicts: Pipelines in which ACLs note a verdict that the next stage carries out.
    """

    ingress: range = range(0)
    egress: range = range(0)
    release: str | None = None
    routers: frozenset[int] = field(default_factory=frozenset)
    switches: frozenset[int] = field(default_factory=frozenset)
    by_datapath: bool = False
    verdicts: frozenset[str] = field(default_factory=frozenset)

    def place(self, table: int) -> tuple[str, int] | None:
        """Return pipeline and number of the logical table that a table of OpenFlow's is."""
        if table in self.ingress:
            return INGRESS, table - self.ingress.start
        if table in self.egress:
            return EGRESS, table - self.egress.start
        return None

    def names(self) -> Mapping[int, str]:
        """Name the tables of both pipelines: ``ls_in_acl/lr_in_policy``, the switches' stage first.

        Empty where the release is not known.
        """
        found: dict[int, str] = {}
        for table in (*self.ingress, *self.egress):
            pipeline, number = self.place(table) or (INGRESS, 0)
            names = [
                names[number]
                for kind in (SWITCH, ROUTER)
                if number < len(names := stages(self.release or "", kind, pipeline))
            ]
            if names:
                found[table] = "/".join(names)
        return found

    def evaluates_acls(self, table: int) -> bool:
        """Whether a table is one in which switches evaluate ACLs."""
        place = self.place(table)
        if place is None or self.release is None:
            return False
        return bool(ACL_STAGES.fullmatch(stage_name(self.release, SWITCH, *place)))

    def refuses(self, table: int, name: str | None) -> int | None:
        """Return the register whose bit refuses a packet in a table; ``None`` in most of them.

        Not by the release: while northd is of another one the stages are not where they should be,
        and a verdict is one wherever it is noted.
        """
        if name in PORT_SECURITY_TABLES:
            return PORT_SECURITY_REGISTER
        place = self.place(table)
        return ACL_REGISTER if place and place[0] in self.verdicts else None

    def is_refusal(self, flow: Flow) -> bool:
        """Whether a flow that sets the bit refuses: routers use the same register otherwise."""
        return self.place(flow.table_id) is None or flow.scope.metadata in self.switches

    def drops_refused(self, flow: Flow) -> bool:
        """Whether a flow that drops executes what a flow of ``refuses`` decided."""
        place = self.place(flow.table_id)
        if flow.scope.metadata not in self.switches or place is None:
            return False
        fields = flow.match.split(",")
        return REFUSED_BY_PORT_SECURITY in fields or (
            REFUSED_BY_ACL in fields and place[0] in self.verdicts
        )

    def accounts(self, table: int, reduced: Reduced) -> Accounts | None:
        """Say which flows of a table count for which stage and which ACL."""
        place = self.place(table)
        if place is None or self.release is None:
            return None
        columns = reduced.columns
        rows: dict[Account, int] = {}
        stage_of = self._stages(place, columns.datapaths, rows)[columns.datapath]
        flows = np.flatnonzero(stage_of >= 0)
        row_of = stage_of[flows]
        if self.evaluates_acls(table):
            acls, acl_of = self._acls(place, columns, rows)
            flows, row_of = np.concatenate((flows, acls)), np.concatenate((row_of, acl_of))
        return Accounts(tuple(rows), flows, row_of) if rows else None

    def _stages(
        self, place: tuple[str, int], datapaths: Iterable[int], rows: dict[Account, int]
    ) -> NDArray[np.int64]:
        """Return the row of each datapath's stage, -1 where it is not known what it is."""
        pipeline, number = place
        found = []
        for key in datapaths:
            kind = self._kind(key)
            if kind is None:
                found.append(-1)
                continue
            name = stage_name(self.release or "", kind, pipeline, number)
            stage = Stage(pipeline, name, key if self.by_datapath else None)
            found.append(rows.setdefault(stage, len(rows)))
        return np.array(found, np.int64)

    def _acls(
        self, place: tuple[str, int], columns: Columns, rows: dict[Account, int]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the flows that evaluate an ACL, and the row of each."""
        switches = np.array([key in self.switches for key in columns.datapaths], np.bool_)
        theirs = (
            switches[columns.datapath]
            & (columns.priorities >= ACL_PRIORITIES.start)
            & (columns.priorities < ACL_PRIORITIES.stop)
            & (columns.cookies != 0)
        )
        flows = np.flatnonzero(theirs)
        row_of = [
            rows.setdefault(AclFlow(cookie, *place), len(rows))
            for cookie in columns.cookies[flows].tolist()
        ]
        return flows, np.array(row_of, np.int64)

    def _kind(self, datapath: int) -> str | None:
        if datapath in self.switches:
            return SWITCH
        return ROUTER if datapath in self.routers else None


def find(
    bridge: Structure,
    egress: int | None,
    own: Iterable[int],
    release: str | None,
    *,
    by_datapath: bool = False,
) -> Logical:
    """Find the pipelines.

    Args:
        bridge: OVN's.
        egress: Where the egress pipeline begins: where CHECK_LOOPBACK continues.
        own: ovn-controller's own tables behind the ingress pipeline.
        release: Of ovn-controller.
        by_datapath: Whether each datapath has stages of its own.
    """
    first = min(own, default=None)
    if egress is None or first is None or not LOG_INGRESS_PIPELINE < first < egress:
        return Logical(release=release)
    routers, switches = _datapaths(bridge.tables.get(LOG_INGRESS_PIPELINE, ()))
    pipelines = {
        INGRESS: range(LOG_INGRESS_PIPELINE, first),
        EGRESS: range(egress, _end(bridge, egress)),
    }
    verdicts = (
        name
        for name, tables in pipelines.items()
        if any(_notes_verdicts(bridge, table, switches) for table in tables)
    )
    return Logical(
        pipelines[INGRESS],
        pipelines[EGRESS],
        release,
        routers,
        switches,
        by_datapath=by_datapath,
        verdicts=frozenset(verdicts),
    )


def _notes_verdicts(bridge: Structure, table: int, switches: frozenset[int]) -> bool:
    if not any(ACL_REGISTER in effect.marks for effect in bridge.effects.get(table, ())):
        return False
    return any(
        ACL_REGISTER in flow.effect.marks and flow.scope.metadata in switches
        for flow in bridge.tables.get(table, ())
    )


def _end(bridge: Structure, egress: int) -> int:
    """Return the first table behind the egress pipeline: one with a flow that matches everything.

    All flows of a logical pipeline match a datapath; SAVE_INPORT is the next that has another.
    """
    later = [table for table in bridge.tables if table > egress and bridge.default(table)]
    return min(later, default=egress)


def _datapaths(flows: Iterable[Flow]) -> tuple[frozenset[int], frozenset[int]]:
    """Tell routers from switches by what goes on from the first table."""
    by_address: dict[int, bool] = {}
    for flow in flows:
        if flow.scope.metadata is not None and flow.effect.tables:
            admits = "dl_dst=" in flow.match
            by_address[flow.scope.metadata] = by_address.get(flow.scope.metadata, True) and admits
    routers = frozenset(key for key, admits in by_address.items() if admits)
    return routers, frozenset(by_address) - routers
