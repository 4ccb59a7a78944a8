"""A table's flows by what they do: 100,000 flows of a firewall do about fifty different things."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from agent.model.flow import Effect, Flow

FIRST_TABLE = 0


NO_DATAPATH = -1


@dataclass(frozen=True, eq=False)
class Columns:
    """What accounts are told by, of each flow of a table.

    Attributes:
        datapaths: The distinct values of metadata that flows match, ``NO_DATAPATH`` for none.
        datapath: The place of each flow's in ``datapaths``.
        priorities: 0 to 65535.
        cookies: As the controller set them.
    """

    datapaths: tuple[int, ...]
    datapath: NDArray[np.int64]
    priorities: NDArray[np.int64]
    cookies: NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Reduced:
    """One table, read once as long as its tuple is the same.

    Attributes:
        flows: The tuple.
        patch_ports: What ``from_patch`` was read with.
        effects: The distinct effects of its flows.
        index: The place of each flow's effect in ``effects``.
        from_patch: In table 0, whether each flow matches a patch port; else ``None``.
        of_others: In table 0, places of effects that some flow has that matches none.
    """

    flows: tuple[Flow, ...]
    patch_ports: frozenset[int]
    effects: tuple[Effect, ...]
    index: NDArray[np.int64]
    from_patch: NDArray[np.bool_] | None = None
    of_others: tuple[int, ...] = ()

    @cached_property
    def columns(self) -> Columns:
        """What accounts are told by; made when a pipeline first asks for it."""
        flows, count = self.flows, len(self.flows)
        places: dict[int, int] = {}
        keys = [
            NO_DATAPATH if flow.scope.metadata is None else flow.scope.metadata for flow in flows
        ]
        datapath = [places.setdefault(key, len(places)) for key in keys]
        return Columns(
            tuple(places),
            np.array(datapath, np.int64),
            np.fromiter((flow.priority for flow in flows), np.int64, count),
            np.fromiter((flow.cookie for flow in flows), np.uint64, count),
        )

    @classmethod
    def of(cls, table: int, flows: tuple[Flow, ...], patch_ports: frozenset[int]) -> "Reduced":
        """Read a table.

        An effect is looked at once by object, before it is compared: hashing one costs more than
        everything else, and equal effects mostly are one object.
        """
        objects = {id(flow.effect): flow.effect for flow in flows}
        places: dict[Effect, int] = {}
        place_of = {key: places.setdefault(effect, len(places)) for key, effect in objects.items()}
        index = np.fromiter((place_of[id(flow.effect)] for flow in flows), np.int64, len(flows))
        if table != FIRST_TABLE:
            return cls(flows, patch_ports, tuple(places), index)
        from_patch = np.fromiter(
            (flow.scope.in_port in patch_ports for flow in flows), np.bool_, len(flows)
        )
        others = np.unique(index[~from_patch]).tolist()
        return cls(flows, patch_ports, tuple(places), index, from_patch, tuple(others))
