"""Whose packets were lost: a ledger for each interface and direction."""

from collections.abc import Sequence

from agent.model.flow import Fate, TableFlows
from agent.pipelines.ledger import BridgeLedger
from tests.pipelines.ledger_switch import add, codes, table_flows

OWNED = Fate(
    {71: codes(["lost", "lost", "lost"]), 81: codes(["lost"])},
    {71: {0: (5, "from_instance"), 1: (6, "from_instance")}, 81: {0: (5, "to_instance")}},
)
PORTS = {5: "tap5", 6: "tap6", 7: "tap7"}


def owned(packets: Sequence[int], other: int = 0, *, first: bool = False) -> list[TableFlows]:
    """Return tables 71 and 81, whose lost flows have owners."""
    return [table_flows(71, packets, first=first), table_flows(81, [other], first=first)]


def test_has_a_row_for_each_owner_in_the_directions_that_it_has() -> None:
    totals = add(BridgeLedger(), *owned([1, 1, 1], first=True), fate=OWNED, ports=PORTS)
    assert totals.interfaces == {
        ("tap5", "from_instance"): 0,
        ("tap5", "to_instance"): 0,
        ("tap6", "from_instance"): 0,
    }


def test_books_lost_packets_to_their_owner() -> None:
    ledger = BridgeLedger()
    add(ledger, *owned([0, 0, 0], first=True), fate=OWNED, ports=PORTS)
    totals = add(ledger, *owned([1, 2, 4], 8), fate=OWNED, ports=PORTS)
    assert totals.interfaces == {
        ("tap5", "from_instance"): 1,
        ("tap5", "to_instance"): 8,
        ("tap6", "from_instance"): 2,
    }
    assert totals.dropped[71, "lost"] == 7


def test_books_nothing_to_an_owner_whose_flow_loses_nothing() -> None:
    fate = Fate({71: codes(["copy"])}, {71: {0: (5, "from_instance")}})
    ledger = BridgeLedger()
    add(ledger, table_flows(71, [0], first=True), fate=fate, ports=PORTS)
    totals = add(ledger, table_flows(71, [9]), fate=fate, ports=PORTS)
    assert totals.interfaces == {("tap5", "from_instance"): 0}


def test_books_to_a_port_only_while_it_has_a_name() -> None:
    ledger = BridgeLedger()
    add(ledger, *owned([0, 0, 0], first=True), fate=OWNED, ports={6: "tap6"})
    totals = add(ledger, *owned([3, 0, 0]), fate=OWNED, ports={6: "tap6"})
    assert totals.interfaces == {("tap6", "from_instance"): 0}
    totals = add(ledger, *owned([5, 0, 0]), fate=OWNED, ports=PORTS)
    assert totals.interfaces["tap5", "from_instance"] == 2
    assert totals.dropped[71, "lost"] == 5


def test_keeps_the_row_of_an_interface_whose_flows_are_gone() -> None:
    ledger = BridgeLedger()
    add(ledger, *owned([0, 0, 0], first=True), fate=OWNED, ports=PORTS)
    add(ledger, *owned([3, 0, 0]), fate=OWNED, ports=PORTS)
    totals = add(ledger, fate=Fate(), ports=PORTS)
    assert totals.interfaces["tap5", "from_instance"] == 3


def test_forgets_an_interface_that_is_gone() -> None:
    ledger = BridgeLedger()
    add(ledger, *owned([0, 0, 0], first=True), fate=OWNED, ports=PORTS)
    add(ledger, *owned([3, 4, 0]), fate=OWNED, ports=PORTS)
    totals = add(ledger, *owned([3, 4, 0]), fate=OWNED, ports={6: "tap6"})
    assert totals.interfaces == {("tap6", "from_instance"): 4}
