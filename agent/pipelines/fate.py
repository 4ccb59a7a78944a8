"""Fate: which flows lose packets, as opposed to which flows say ``drop``.

``actions=drop`` does not mean lost, and a lost packet need not meet it. Neutron's firewall accepts
a new connection to an instance with ``ct(commit),output:5,resubmit(,92)``, and table 92 drops what
arrives there: copies of packets that have been delivered (92 exists to log them). It refuses a
spoofed packet in table 71 with ``resubmit(,93)``, and table 93 drops it. Adding up drops would
count every accepted connection as a loss; adding up n_packets along the way would count the
spoofed packet twice. n_packets counts visits, not packets.

So what a flow does is followed to the end:

- A flow is *open* when it delivers, punts to a controller, or continues (resubmit, goto_table, ct
  with ``table=``, also inside clone and buckets of groups) to a table with an open flow: the least
  fixed point, so a loop is not a way out. It delivers by any output (NORMAL and output to
  registers among them), by a group that is not proven to deliver nothing, and by ending the
  pipeline with an action set that may hold either. What the action set may hold when a packet
  comes into a table is a least fixed point too (``graph.incoming_sets``). A flow that is a clause
  of a conjunction does nothing by itself and is left out: kind ``conjunction``.
- Every other flow is *sealed*: its packets go nowhere. A table without an open flow is *closed*.
  A table without flows is closed too: what matches nothing is in table statistics. But with an
  action set that may hold an output it delivers, so such a table is open to what it may miss.
- A sealed flow is booked where it stands in an open table, or in table 0. Elsewhere it is
  ``closed``: its packets were booked where they were sent from, or are copies that a delivering
  flow sent. So a packet that is not copied is booked at most once: 93 is closed, the flow in 71 is
  booked. (The one exception: table 0 of a bridge where nothing at all is open books a packet at
  each visit, and its flows may send it there again.)

Booked as

- ``copy`` if its table can be reached beside a delivery or beside a second live branch, a branch
  into an open table: ``resubmit(,10),resubmit(,20)`` where 10 delivers and 20 drops loses
  nothing. So can everything that is reached from there. Buckets of a group of type all are beside
  each other, those of other types are not. Where copies and originals share tables by design, in
  OVN, only if it cannot be reached otherwise.
- ``patch`` if it can be reached only from flows of table 0 that match a patch port: mostly copies
  that NORMAL flooded across a patch pair.
- ``lost`` otherwise. Alerts look at this one.

Pipelines know better in places: a controller that only logs delivers nothing (``only_logs``), some
drops are of copies by their match (``is_copy``), and what one flow refuses by a bit another one
drops later (``refuses``): such packets are booked once too, where they are refused, which is where
they still have a name.

Not seen: ``exit``, output to the in_port or to a port that is gone, limits of resubmit, drops of
NORMAL itself, meters, policing, limits of conntrack, tunnels without a neighbour, MTU; which of
two flows a packet could have matched; a bucket that drops what others of its group deliver; and
that a table that copies reach (``copy``) may lose originals as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.model.flow import KINDS, Accounts, Fate, Flow, Group
from agent.pipelines import neutron, ovn
from agent.pipelines.base import Owner, Pipeline, Structure
from agent.pipelines.graph import Graph, Node, build
from agent.pipelines.reduced import Reduced

OPEN, LOST, COPY = KINDS.index("open"), KINDS.index("lost"), KINDS.index("copy")
PATCH, CLOSED = KINDS.index("patch"), KINDS.index("closed")
CONJUNCTION = KINDS.index("conjunction")

Tables = Mapping[int, tuple[Flow, ...]]
Codes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What became of a table, with what it depends on."""

    reduced: Reduced
    codes: bytes
    pipeline: Pipeline
    kinds: Codes
    owners: Mapping[int, Owner]
    accounts: Accounts | None


@dataclass(frozen=True, slots=True)
class _Ways:
    """How nodes are reached.

    Attributes:
        open: Nodes from which a delivery can be reached.
        copies: Tables of copies.
        others: Tables that can be reached from a flow of table 0 that matches no patch port.
        reached: Tables that can be reached at all.
    """

    open: frozenset[Node]
    copies: frozenset[Node]
    others: frozenset[Node]
    reached: frozenset[Node]


class Judge:
    """Judges the flows of one bridge; keeps what did not change between readings.

    Args:
        by_datapath: Whether each of OVN's datapaths has accounts of its own.
    """

    def __init__(self, *, by_datapath: bool = False) -> None:
        self._by_datapath = by_datapath
        self._release: str | None = None
        self._tables: dict[int, tuple[Flow, ...]] | None = None
        self._groups: Mapping[int, Group] | None = None
        self._patch_ports: frozenset[int] = frozenset()
        self._reduced: dict[int, Reduced] = {}
        self._verdicts: dict[int, _Verdict] = {}
        self._fate = Fate()

    def judge(
        self,
        tables: Tables,
        groups: Mapping[int, Group] | None,
        patch_ports: frozenset[int],
        release: str | None = None,
    ) -> Fate:
        """Say what becomes of the packets of each flow.

        Args:
            tables: The flows of each table. A table is judged as before while its tuple is the
                same object.
            groups: Descriptions by number. ``None`` if they are not known; then, and where one is
                missing, a group may deliver.
            patch_ports: OpenFlow ports of type patch.
            release: Of the ovn-controller on this node; ``None`` where there is none, or it is not
                known yet: OVN's stages have no names then.

        Returns:
            The judgement: the same object as before if nothing it depends on has changed. The
            arrays of a table are the same as before if nothing has changed for the table.
        """
        if self._same(tables, groups, patch_ports) and release == self._release:
            return self._fate
        self._release = release
        self._reduced = {
            table: self._reduce(table, flows, patch_ports)
            for table, flows in tables.items()
            if flows
        }
        self._fate = self._judge(groups, patch_ports)
        self._tables, self._patch_ports = dict(tables), patch_ports
        self._groups = None if groups is None else dict(groups)
        return self._fate

    def _same(
        self, tables: Tables, groups: Mapping[int, Group] | None, patch_ports: frozenset[int]
    ) -> bool:
        before = self._tables
        return (
            before is not None
            and before.keys() == tables.keys()
            and all(before[table] is flows for table, flows in tables.items())
            and self._patch_ports == patch_ports
            and self._groups == groups
        )

    def _reduce(self, table: int, flows: tuple[Flow, ...], patch_ports: frozenset[int]) -> Reduced:
        before = self._reduced.get(table)
        if before is not None and before.flows is flows and before.patch_ports == patch_ports:
            return before
        return Reduced.of(table, flows, patch_ports)

    def _judge(self, groups: Mapping[int, Group] | None, patch_ports: frozenset[int]) -> Fate:
        tables = {table: reduced.flows for table, reduced in self._reduced.items()}
        effects = {table: reduced.effects for table, reduced in self._reduced.items()}
        structure = Structure(tables, effects, patch_ports)
        pipeline = (
            ovn.recognise(structure, self._release, by_datapath=self._by_datapath)
            or neutron.recognise(structure)
            or Pipeline(patch_ports=patch_ports)
        )
        graph = build(effects, groups, pipeline.only_logs, structure.can_miss)
        ways = self._ways(graph, pipeline)
        self._verdicts = {
            table: self._verdict(table, self._codes(table, graph, ways), pipeline)
            for table in self._reduced
        }
        return Fate(
            {table: verdict.kinds for table, verdict in self._verdicts.items()},
            {table: verdict.owners for table, verdict in self._verdicts.items() if verdict.owners},
            pipeline.names,
            pipeline.name,
            {
                table: verdict.accounts
                for table, verdict in self._verdicts.items()
                if verdict.accounts is not None
            },
        )

    def _ways(self, graph: Graph, pipeline: Pipeline) -> _Ways:
        opened = graph.open_nodes()
        reached = graph.reach([0], opened)
        copies = graph.reach(graph.beside(reached, opened), opened)
        if pipeline.copies_share_tables:
            copies -= graph.alone([0], opened)
        first = self._reduced.get(0)
        seeds = {
            unit
            for effect in (first.of_others if first else ())
            for unit in graph.rows[0][effect]
            if unit in opened
        }
        return _Ways(opened, copies, graph.reach(seeds, opened), reached)

    def _codes(self, table: int, graph: Graph, ways: _Ways) -> bytes:
        """Return the code of each distinct effect of a table."""
        if table != 0 and table not in ways.open:
            sealed = CLOSED
        elif table in ways.copies:
            sealed = COPY
        elif table != 0 and table in ways.reached and table not in ways.others:
            sealed = PATCH
        else:
            sealed = LOST
        return bytes(
            CONJUNCTION
            if effect.conjunction
            else (OPEN if any(unit in ways.open for unit in row) else sealed)
            for effect, row in zip(self._reduced[table].effects, graph.rows[table], strict=False)
        )

    def _verdict(self, table: int, codes: bytes, pipeline: Pipeline) -> _Verdict:
        reduced = self._reduced[table]
        before = self._verdicts.get(table)
        if (
            before is not None
            and before.reduced is reduced
            and before.codes == codes
            and before.pipeline == pipeline
        ):
            return before
        kinds = np.frombuffer(codes, np.uint8)[reduced.index]
        if reduced.from_patch is not None:
            kinds[reduced.from_patch & (kinds == LOST)] = PATCH
        for index in np.flatnonzero((kinds == LOST) | (kinds == PATCH)).tolist():
            if pipeline.is_copy(reduced.flows[index]):
                kinds[index] = COPY
            elif pipeline.drops_refused(reduced.flows[index]):
                kinds[index] = CLOSED
        register = pipeline.refuses(table)
        if register is not None:
            refuses = [register in effect.marks for effect in reduced.effects]
            for index in np.flatnonzero(np.array(refuses, np.bool_)[reduced.index]).tolist():
                if pipeline.is_refusal(reduced.flows[index]):
                    kinds[index] = LOST
        owners = {
            index: owner
            for index in np.flatnonzero(kinds == LOST).tolist()
            if (owner := pipeline.attribute(reduced.flows[index])) is not None
        }
        kinds.flags.writeable = False
        accounts = pipeline.accounts(table, reduced)
        return _Verdict(reduced, codes, pipeline, kinds, owners, accounts)
