"""Whatever a switch does, ledgers tell the truth of it, as far as it can be seen."""

from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from agent.model.flow import Fate, Totals
from agent.pipelines.ledger import BridgeLedger
from tests.pipelines.ledger_switch import (
    KIND_OF,
    OWNER_OF,
    Decoder,
    Entry,
    Identity,
    Switch,
    fate_of,
)

TABLES = range(3)
BOOKED = ("lost", "copy", "patch")
FLOW = st.tuples(st.sampled_from(TABLES), st.integers(0, len(KIND_OF) - 1))
PACKETS = st.one_of(st.integers(0, 6), st.integers(0, 2**40))
COUNT = st.one_of(st.integers(0, 6), st.sampled_from([2**63 - 3, 2**63, 2**64 - 2**47]))
TRAFFIC = st.lists(st.tuples(FLOW, PACKETS), max_size=4)


class LedgersOfASwitch(RuleBasedStateMachine):
    """A switch, its controller, its traffic, and an agent that reads it now and then.

    What a reading cannot see is known here: packets of counters that ended unread, and flows that
    were added again and count at least what they had (then ``last`` of them is not seen).
    ``above`` is what n_matched had before a table's flows were read for a baseline: as much
    may unattributed be too large. ``below`` is what passed between the two before a restart:
    as much may it be too small.
    """

    def __init__(self) -> None:
        super().__init__()
        self.switch, self.decoder, self.ledger = Switch(), Decoder(), BridgeLedger()
        self.ports = {1: "tap1", 2: "tap2"}
        self.totals: Totals | None = None
        self.fate = Fate()
        self.orders: dict[int, list[int]] = {}
        self.matched: dict[int, int] = {}
        self.known: dict[Identity, tuple[int | None, int]] = {}
        self.created: dict[Identity, int] = {}
        self.began_again = self.told = False
        self.unlisted: Counter[int] = Counter()
        self.above: Counter[int] = Counter()
        self.below: Counter[int] = Counter()
        self.between: Counter[int] = Counter()
        self.unsettled: set[int] = set()
        self.inexact: set[int] = set()
        self.interfaces: Counter[tuple[str, str]] = Counter()
        self.changes = Counter(added=0, removed=0, modified=0)
        self.attributes: dict[Identity, tuple[int, bool]] = {}

    # What happens to the switch.

    @initialize(flows=st.dictionaries(FLOW, COUNT, max_size=8), hidden=PACKETS, traffic=TRAFFIC)
    def has_flows_before_the_agent_starts(
        self, flows: dict[Identity, int], hidden: int, traffic: list[tuple[Identity, int]]
    ) -> None:
        for flow, count in flows.items():
            self.switch.add(flow, count, 0, resets=False)
        self.switch.send_hidden(0, hidden)
        self._read(traffic, None)

    @rule(flow=FLOW, packets=PACKETS)
    def packets_match(self, flow: Identity, packets: int) -> None:
        self.switch.send(flow, packets)

    @rule(packets=PACKETS)
    def packets_match_every_flow(self, packets: int) -> None:
        for flow in self.switch.flows():
            self.switch.send(flow, packets)

    @rule(table=st.sampled_from(TABLES), packets=PACKETS)
    def packets_match_a_hidden_flow(self, table: int, packets: int) -> None:
        self.switch.send_hidden(table, packets)

    @rule(flow=FLOW, cookie=st.integers(0, 3), resets=st.booleans())
    def controller_adds(self, flow: Identity, cookie: int, *, resets: bool) -> None:
        self.switch.add(flow, 0, cookie, resets=resets)

    @rule(flow=FLOW)
    def flow_goes(self, flow: Identity) -> None:
        self.switch.delete(flow)

    @rule(flow=FLOW, packets=PACKETS, resets=st.booleans())
    def flow_goes_and_comes_back(self, flow: Identity, packets: int, *, resets: bool) -> None:
        self.switch.delete(flow)
        self.switch.add(flow, 0, 0, resets=resets)
        self.switch.send(flow, packets)

    @rule(flow=FLOW, cookie=st.integers(0, 3))
    def controller_changes_the_cookie(self, flow: Identity, cookie: int) -> None:
        entry = self.switch.entry(flow)
        if entry is not None:
            entry.cookie = cookie

    @rule(table=st.sampled_from(TABLES))
    def table_empties(self, table: int) -> None:
        for flow in self.switch.flows():
            if flow[0] == table:
                self.switch.delete(flow)

    @rule(table=st.sampled_from(TABLES))
    def switch_lists_flows_in_another_order(self, table: int) -> None:
        self.switch.shuffle(table)

    @rule(flow=FLOW, silent=st.booleans())
    def switch_does_not_say_a_counter(self, flow: Identity, *, silent: bool) -> None:
        entry = self.switch.entry(flow)
        if entry is not None:
            entry.silent = silent

    @rule(port=st.sampled_from([1, 2]))
    def interface_goes_or_comes(self, port: int) -> None:
        if self.ports.pop(port, None) is None:
            self.ports[port] = f"tap{port}"

    @rule(kept=st.sets(FLOW), told=st.booleans())
    def switch_restarts(self, kept: set[Identity], *, told: bool) -> None:
        """The agent is told, as of another process, or not, as of a bridge made anew."""
        self.switch.unlisted = Counter(self.unlisted)
        self.switch.restart(kept)
        self.below += self.between
        self.began_again = True
        self.told = self.told or told

    # What the agent does.

    @rule()
    def agent_reads(self) -> None:
        self._read([], None)

    @rule(traffic=TRAFFIC, goes=FLOW)
    def agent_reads_while_packets_pass(
        self, traffic: list[tuple[Identity, int]], goes: Identity
    ) -> None:
        self._read(traffic, goes)

    def _read(self, traffic: list[tuple[Identity, int]], goes: Identity | None) -> None:
        matches = self.switch.table_statistics()
        for flow, packets in traffic:
            self.switch.send(flow, packets)
        if goes is not None:
            self.switch.delete(goes)
        self.between = self.switch.matched - Counter(matches)
        detected = self.told or any(matches.get(t, 0) < n for t, n in self.matched.items())
        self._expect(anew=self.began_again and detected)
        if self.began_again and not detected:
            self.inexact.update(TABLES)
        tables = self.decoder.read(self.switch)
        totals = self.ledger.add(
            tables, matches, self._fate(), dict(self.ports), restarted=self.told
        )
        self.matched = matches
        self.began_again = self.told = False
        self.unlisted = Counter(self.switch.unlisted)
        self._check_growth(totals)
        self._check_unattributed(totals)
        self._check_never_goes_down(totals)
        self.totals = totals

    def _fate(self) -> Fate:
        """Judge; the same object while structure is the same."""
        orders = {table: list(flows) for table, flows in self.switch.tables.items()}
        if orders != self.orders:
            self.fate, self.orders = fate_of(self.switch), orders
        return self.fate

    # What is true.

    def _expect(self, *, anew: bool) -> None:
        """Follow every flow that is read now, and know what of it can be seen."""
        first = self.totals is None
        flows = self.switch.flows()
        for row in [row for row in self.interfaces if row[0] not in self.ports.values()]:
            del self.interfaces[row]
        for flow, entry in flows.items():
            if flow in self.created and not first:
                seen = self._seen_again(flow, entry, anew=anew)
            elif first:
                seen = 0
                self.known[flow] = None, entry.epoch
            else:
                seen = 0 if entry.silent else entry.unread
                self.known[flow] = 0, entry.epoch
            if not entry.silent:
                self.known[flow] = entry.count, entry.epoch
                entry.unread = 0
            port, direction = OWNER_OF.get(flow[1], (0, ""))
            if port in self.ports:
                self.interfaces[self.ports[port], direction] += seen
        if first:
            self.switch.truth.clear()
            self.switch.unlisted.clear()
            self.switch.missed.clear()
            for entry in flows.values():
                entry.unread = 0
        else:
            self._expect_changes(flows)
        self._expect_unsettled(flows, first=first)
        self.known = {flow: self.known[flow] for flow in flows}
        self.created = {flow: entry.created for flow, entry in flows.items()}
        self.attributes = {flow: (entry.cookie, entry.resets) for flow, entry in flows.items()}

    def _seen_again(self, flow: Identity, entry: Entry, *, anew: bool) -> int:
        """Tell how many packets of a flow of the last reading this one can see."""
        last, epoch = self.known[flow]
        if anew or (entry.resets and entry.created != self.created[flow]):
            last, epoch = self.known[flow] = 0, entry.epoch
        if entry.silent:
            return 0
        if last is None:
            hidden = entry.unread
        elif epoch != entry.epoch and entry.count >= last:
            hidden = last
        else:
            hidden = 0
        self.switch.missed[flow[0], KIND_OF[flow[1]]] += hidden
        self.switch.unlisted[flow[0]] += hidden
        return entry.unread - hidden

    def _expect_changes(self, flows: dict[Identity, Entry]) -> None:
        self.changes["added"] += len(flows.keys() - self.created.keys())
        self.changes["removed"] += len(self.created.keys() - flows.keys())
        self.changes["modified"] += sum(
            self.attributes[flow] != (flows[flow].cookie, flows[flow].resets)
            for flow in flows.keys() & self.created.keys()
        )

    def _expect_unsettled(self, flows: dict[Identity, Entry], *, first: bool) -> None:
        unsettled = {flow[0] for flow, entry in flows.items() if entry.silent}
        self.inexact |= unsettled | self.unsettled
        for table in TABLES:
            if first or table in unsettled | self.unsettled:
                self.above[table] += self.between[table]
        self.unsettled = unsettled

    # What is promised.

    def _check_growth(self, totals: Totals) -> None:
        unread: Counter[tuple[int, str]] = Counter()
        for (table, number), entry in self.switch.flows().items():
            unread[table, KIND_OF[number]] += entry.unread
            for kind in BOOKED:
                assert (table, kind) in totals.dropped
        last = totals if self.totals is None else self.totals
        for row, packets in totals.dropped.items():
            if row not in last.dropped:
                assert packets == 0
                continue
            truth = self.switch.truth[row]
            assert packets <= truth
            assert packets == truth - self.switch.missed[row] - unread[row]
        assert totals.interfaces == {
            row: packets if row in last.interfaces else 0
            for row, packets in self.interfaces.items()
        }
        assert totals.changes == self.changes

    def _check_unattributed(self, totals: Totals) -> None:
        for table, packets in totals.unattributed.items():
            if self.totals is not None and table not in self.totals.unattributed:
                assert packets == 0
                continue
            truth = self.unlisted[table]
            assert packets <= truth + self.above[table]
            if table not in self.inexact and not self.between[table]:
                assert packets >= truth - self.below[table]

    def _check_never_goes_down(self, totals: Totals) -> None:
        if self.totals is None:
            assert not any(totals.dropped.values())
            assert not any(totals.unattributed.values())
            return
        for row, packets in self.totals.dropped.items():
            assert totals.dropped[row] >= packets
        for table, packets in self.totals.unattributed.items():
            assert totals.unattributed[table] >= packets
        for owner, packets in self.totals.interfaces.items():
            if owner[0] in self.ports.values():
                assert totals.interfaces[owner] >= packets


LedgersOfASwitch.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestLedgersOfASwitch = LedgersOfASwitch.TestCase
