"""What a collector is."""

from collections.abc import Callable
from dataclasses import dataclass

from agent.families import Family, Output
from agent.model.node import Node


@dataclass(frozen=True, slots=True)
class Collector:
    """One subject of the page.

    Attributes:
        name: Its name in flags, ``collect[]`` and the ``collector`` label.
        families: Everything it can yield, in the order of the documentation.
        collect: Node -> samples; pure. Several where the subject has several origins: each may
            raise UnknownFactError for what is not known now, the others still speak.
        reads: The readers that must run for it before a scrape: openflow, flows, unixctl, links,
            qdiscs, conntrack, conntrack_zones, libvirt, ovn_controller, ovs_genl.
        follows: The subscriptions it shows the state of besides the database's: rtnetlink,
            addresses, libvirt, ovn_northbound, ovn_southbound.
        on_request: Runs only when it is switched on by name.
        detail: The families that are left out first, in this order, above the series limit.
    """

    name: str
    families: tuple[Family, ...]
    collect: tuple[Callable[[Node], Output], ...]
    reads: tuple[str, ...] = ()
    detail: tuple[Family, ...] = ()
    on_request: bool = False
    follows: tuple[str, ...] = ()
