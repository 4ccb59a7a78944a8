"""Whose packets were lost: a ledger for each interface and direction."""

from collections.abc import Sequence

from agent.model.flow import ABSENT, Fate, TableFlows
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
    assert totals.interfaces["tap5", "from_instance"] == 0, "a new row shows 0 once"
    totals = add(ledger, *owned([5, 0, 0]), fate=OWNED, ports=PORTS)
    assert totals.interfaces["tap5", "from_instance"] == 2
    assert totals.dropped[71, "lost"] == 5


def test_does_not_book_to_a_port_what_the_one_lost_that_had_its_number_before() -> None:
    ledger = BridgeLedger()
    add(ledger, *owned([0, 0, 0], first=True), fate=OWNED, ports=PORTS)
    add(ledger, *owned([1, 0, 0]), fate=OWNED, ports=PORTS)
    other = PORTS | {5: "tap55"}
    add(ledger, *owned([9, 2, 0]), fate=OWNED, ports=other)
    totals = add(ledger, *owned([12, 2, 0]), fate=OWNED, ports=other)
    assert totals.interfaces["tap55", "from_instance"] == 3
    assert totals.interfaces["tap6", "from_instance"] == 2
    assert totals.dropped[71, "lost"] == 14


def test_books_to_a_port_that_took_over_a_number_what_its_own_flow_lost() -> None:
    ledger = BridgeLedger()
    add(ledger, *owned([7, 0, 0], first=True), fate=OWNED, ports=PORTS)
    other = PORTS | {5: "tap55"}
    new = table_flows(71, [4, 0, 0], before=[ABSENT, 1, 2]), table_flows(81, [0])
    add(ledger, *new, fate=OWNED, ports=other)
    totals = add(ledger, *owned([4, 0, 0]), fate=OWNED, ports=other)
    assert totals.interfaces["tap55", "from_instance"] == 4


def test_keeps_its_rows_while_the_ports_are_not_known() -> None:
    ledger = BridgeLedger()
    add(ledger, *owned([0, 0, 0], first=True), fate=OWNED, ports=PORTS)
    before = add(ledger, *owned([3, 4, 0]), fate=OWNED, ports=PORTS)
    add(ledger, *owned([3, 4, 0]), fate=Fate(), ports={})
    totals = add(ledger, *owned([3, 4, 0]), fate=OWNED, ports=PORTS)
    assert totals.interfaces == before.interfaces


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
