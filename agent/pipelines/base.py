"""What a pipeline tells the judgement that no flow tells by itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from agent.model.flow import OWN_TABLE, Accounts, Effect, Flow
from agent.pipelines.reduced import Reduced

FROM_INSTANCE = "from_instance"
TO_INSTANCE = "to_instance"

Owner = tuple[int, str]
"""OpenFlow port, and ``FROM_INSTANCE`` or ``TO_INSTANCE``."""


@dataclass(frozen=True)
class Pipeline:
    """A pipeline that is not known: nothing but what OpenFlow says.

    Equal pipelines judge equally, whatever objects they are.

    Attributes:
        name: The ``pipeline`` of the judgement.
        names: Names of tables, whether they have flows or not.
        patch_ports: OpenFlow ports of the bridge that lead to another bridge.
        copies_share_tables: Copies and originals go through the same tables by design, so that a
            table is one of copies only if nothing but copies can reach it; else it is enough that
            copies can.
    """

    name: str = ""
    names: Mapping[int, str] = field(default_factory=dict)
    patch_ports: frozenset[int] = frozenset()
    copies_share_tables: bool = False

    def only_logs(self, table: int, effect: Effect) -> bool:  # noqa: ARG002  # for pipelines
        """Whether the controller only writes down what the flow sends it, and never sends it on.

        Args:
            table: Where the flow stands that has the effect, or that names the bucket's group.
            effect: One that punts.
        """
        return False

    def is_copy(self, flow: Flow) -> bool:  # noqa: ARG002  # for pipelines
        """Whether a sealed flow drops only copies, whatever reaches its table."""
        return False

    def attribute(self, flow: Flow) -> Owner | None:
        """Whose packets a lost flow loses; ``None`` when it is nobody's, or several ports'."""
        return self.sender(flow)

    def refuses(self, table: int) -> int | None:  # noqa: ARG002  # for pipelines
        """The register of ``MARKS`` whose bit refuses a packet in a table, to be dropped later."""
        return None

    def is_refusal(self, flow: Flow) -> bool:  # noqa: ARG002  # for pipelines
        """Whether a flow that sets that bit in such a table refuses what it matches."""
        return True

    def drops_refused(self, flow: Flow) -> bool:  # noqa: ARG002  # for pipelines
        """Whether a sealed flow drops only what a flow in a table of ``refuses`` refused."""
        return False

    def accounts(self, table: int, reduced: Reduced) -> Accounts | None:  # noqa: ARG002  # same
        """What the flows of a table count for besides table and interface."""
        return None

    def sender(self, flow: Flow) -> Owner | None:
        """The port that the flow matches as the one packets come in by; no patch port."""
        port = flow.scope.in_port
        return None if port is None or port in self.patch_ports else (port, FROM_INSTANCE)


@dataclass(frozen=True, eq=False)
class Structure:
    """A bridge's flows, as pipelines are recognised by.

    Attributes:
        tables: Flows by table, only tables that have some.
        effects: The distinct effects of each table.
        patch_ports: As in ``Pipeline``.
    """

    tables: Mapping[int, tuple[Flow, ...]]
    effects: Mapping[int, tuple[Effect, ...]]
    patch_ports: frozenset[int] = frozenset()

    @cached_property
    def continues(self) -> Mapping[int, frozenset[int]]:
        """Where flows of each table continue, themselves (groups left out)."""
        return {
            table: frozenset(
                table if target == OWN_TABLE else target
                for effect in effects
                for target in effect.tables
            )
            for table, effects in self.effects.items()
        }

    def has(self, *tables: int) -> bool:
        """Whether all of them have flows."""
        return self.tables.keys() >= set(tables)

    def can_miss(self, table: int) -> bool:
        """Whether a packet may match no flow of a table, because none matches everything."""
        return all(flow.match for flow in self.tables.get(table, ()))

    def default(self, table: int) -> Effect | None:
        """The effect of the flow of priority 0 that matches everything; ``None`` without one."""
        for flow in self.tables.get(table, ()):
            if flow.priority == 0 and not flow.match:
                return flow.effect
        return None
