"""A Northbound's rows, as far as they are wanted, and the model made of them.

ACLs are the one thing that a person finds there and nowhere else: by their UUIDs logical flows
say what they are made of, and their external_ids say what Neutron made them of.
"""

from collections.abc import Mapping
from operator import attrgetter
from typing import NamedTuple

from agent.model.ovn import Acl, Northbound
from agent.sources.ovn_contents import Made
from agent.sources.ovsdb_monitor import EVERYTHING, Where
from agent.sources.ovsdb_table import RowTable
from agent.wire.ovsdb import INTEGER, TEXT, Kind, texts


class _Global(NamedTuple):
    nb_cfg: int | None
    sb_cfg: int | None
    hv_cfg: int | None


class _Acl(NamedTuple):
    direction: str | None
    action: str | None
    priority: int | None
    name: str | None
    external_ids: tuple[str | None]
    tier: int | None


_KINDS: Mapping[str, Kind] = {
    "action": TEXT,
    "direction": TEXT,
    "external_ids": texts("neutron:security_group_rule_id"),
    "hv_cfg": INTEGER,
    "name": TEXT,
    "nb_cfg": INTEGER,
    "priority": INTEGER,
    "sb_cfg": INTEGER,
    "tier": INTEGER,
}


class NorthboundContents:
    """A Northbound as it is followed over one connection.

    Args:
        rows: How many may be remembered of a table.
        without: Tables that are left out.

    Attributes:
        tables: What is asked for, by name.
        flows: There are none.
    """

    flows = None

    def __init__(self, rows: int, without: frozenset[str]) -> None:
        self._global = RowTable("NB_Global", _Global, _KINDS, rows)
        self._acls = RowTable("ACL", _Acl, _KINDS, rows)
        wanted = (self._global, self._acls)
        self.tables = {table.name: table for table in wanted if table.name not in without}
        self._made = Made(self._acls, _acl, attrgetter("uuid"))

    def conditions(self) -> Mapping[str, Where]:
        """Return which rows are wanted, by table."""
        return dict.fromkeys(self.tables, EVERYTHING)

    def build(self, schema: str | None, left_out: Mapping[str, int]) -> Northbound:
        """Return what is known; to be called when the tables hold whole transactions."""
        known = next(iter(self._global.rows.values()), _Global(None, None, None))
        return Northbound(
            schema=schema,
            nb_cfg=known.nb_cfg,
            sb_cfg=known.sb_cfg,
            hv_cfg=known.hv_cfg,
            acls=self._made.all(),
            left_out=dict(left_out),
        )


def _acl(uuid: str, row: _Acl) -> Acl:
    (rule,) = row.external_ids
    return Acl(
        uuid=uuid,
        direction=row.direction or "",
        action=row.action or "",
        priority=row.priority or 0,
        name=row.name or None,
        security_group_rule_id=rule or None,
        tier=row.tier or 0,
    )
