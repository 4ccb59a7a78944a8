"""Lines of logical flows and ACLs, kept between scrapes: a large network has 100,000 of them.

ovn-northd changes a few at a time, so only what changed is written again; rows that stay are the
same objects.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from agent.families import Block, Family, escape
from agent.model.ovn import Acl, LogicalFlow, short
from agent.model.ovn_stages import ACL_PRIORITIES, ACL_STAGES

MOST_PLACES = 1000
"""Stages that texts are remembered of; there are some 130."""
KEY = ("cookie", "pipeline", "logical_table")


class _Line(NamedTuple):
    """A logical flow that is kept, so that nobody else gets its id.

    Attributes:
        flow: It.
        key: Label text of ``KEY``, without the closing brace.
        info: Its line.
        hint: Of the ACL that it evaluates; ``None`` for a flow that evaluates none.
    """

    flow: LogicalFlow
    key: str
    info: bytes
    hint: str | None


class FlowLines:
    """The series of logical flows and of the ACLs that they evaluate.

    32 bits of a UUID are not enough to tell all flows of a large network: two flows of one key are
    left out, and so is an ACL of which another has the first 8 digits.

    Args:
        info: The family of logical flows: ``KEY``, stage, priority.
        acl: That of ACLs: ``KEY``, acl, name, direction, action, priority, security_group_rule_id.
    """

    def __init__(self, info: Family, acl: Family) -> None:
        self._info, self._acl = info, acl
        self._flows: Sequence[LogicalFlow] | None = None
        self._acls: Sequence[Acl] | None = None
        self._known: dict[int, _Line] = {}
        self._counts: dict[str, int] = {}
        self._ambiguous: set[str] = set()
        self._places: dict[tuple[str, int, str | None], tuple[str, str, bool]] = {}
        self._acl_lines: dict[int, tuple[Acl | None, bytes]] = {}
        self.blocks = Block(info, b"", 0), Block(acl, b"", 0)
        self.left_out = 0

    def update(self, flows: Sequence[LogicalFlow], acls: Sequence[Acl] | None) -> None:
        """Take what is known now; ``blocks`` and ``left_out`` say it then.

        Without ACLs (``None``) there are no series of them: half of their labels would not tell
        whether a rule is unknown or the database is.
        """
        if flows is not self._flows:
            self._flows = flows
            self._take({id(flow): flow for flow in flows})
        elif acls is self._acls:
            return
        self._acls = acls
        shown = [line for line in self._known.values() if line.key not in self._ambiguous]
        self.left_out = len(self._known) - len(shown)
        text = b"".join([line.info for line in shown])
        self.blocks = Block(self._info, text, len(shown)), self._evaluations(shown, acls)

    def _take(self, flows: Mapping[int, LogicalFlow]) -> None:
        known, counts = self._known, self._counts
        for gone in known.keys() - flows.keys():
            key = known.pop(gone).key
            counts[key] -= 1
            if counts[key] < 2:  # noqa: PLR2004 - one alone can be told
                self._ambiguous.discard(key)
            if not counts[key]:
                del counts[key]
        for new in flows.keys() - known.keys():
            line = self._write(flows[new])
            known[new] = line
            counts[line.key] = count = counts.get(line.key, 0) + 1
            if count > 1:
                self._ambiguous.add(line.key)

    def _write(self, flow: LogicalFlow) -> _Line:
        place = flow.pipeline, flow.table_id, flow.stage
        tail, stage, evaluates = self._places.get(place) or self._place(place)
        key = f'{{cookie="{flow.cookie}"{tail}'
        info = f'{self._info.name}{key}{stage}{flow.priority}"}} 1\n'.encode("utf-8", "replace")
        hint = flow.hint if evaluates and flow.priority in ACL_PRIORITIES else None
        return _Line(flow, key, info, hint)

    def _place(self, place: tuple[str, int, str | None]) -> tuple[str, str, bool]:
        """Return what follows the cookie, what follows the key, and whether ACLs are evaluated."""
        pipeline, table_id, name = place
        if len(self._places) > MOST_PLACES:  # of a server that makes names up
            self._places.clear()
        stage = f',stage="{escape(name)}"' if name else ""
        known = (
            f',pipeline="{escape(pipeline)}",logical_table="{table_id}"',
            f'{stage},priority="',
            bool(ACL_STAGES.fullmatch(name or "")),
        )
        self._places[place] = known
        return known

    def _evaluations(self, lines: Sequence[_Line], acls: Sequence[Acl] | None) -> Block:
        if acls is None:
            self._acl_lines = {}
            return Block(self._acl, b"", 0)
        by_hint: dict[str, Acl | None] = {}
        for acl in acls:
            hint = short(acl.uuid)
            by_hint[hint] = None if hint in by_hint else acl
        old, new = self._acl_lines, {}
        for line in lines:
            if line.hint is None:
                continue
            found = by_hint.get(line.hint)
            if found is None and line.hint in by_hint:
                continue
            place = id(line.flow)
            before = old.get(place)
            same = before is not None and before[0] is found
            new[place] = before if before and same else (found, self._describe(line, found))
        self._acl_lines = new
        return Block(self._acl, b"".join([text for _, text in new.values()]), len(new))

    def _describe(self, line: _Line, acl: Acl | None) -> bytes:
        values = {"acl": line.hint or ""}
        if acl is not None:
            values |= {
                "name": acl.name or "",
                "direction": acl.direction,
                "action": acl.action,
                "priority": str(acl.priority),
                "security_group_rule_id": acl.security_group_rule_id or "",
            }
        labels = "".join([f',{name}="{escape(text)}"' for name, text in values.items() if text])
        return f"{self._acl.name}{line.key}{labels}}} 1\n".encode("utf-8", "replace")
