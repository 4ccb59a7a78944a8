"""State lives a while without its subscription; a reading lives for its scrape."""

from agent.model.link import LinkPatterns
from agent.model.node import AgentFacts
from agent.model.switch import Switch
from agent.store import Reading, State, Store
from tests.clock import Clock
from tests.collectors import sample

FOR_EVENTS = {"departed", "vswitchd_process"}
"""No collector looks at these."""


def state(clock: Clock) -> State[str]:
    return State("switch", 60.0, clock)


def test_state_that_was_never_said_is_not_known() -> None:
    assert state(Clock()).known().value is None


def test_state_is_served_as_long_as_its_subscription_lives() -> None:
    clock = Clock()
    switch = state(clock)
    switch.put("a")
    clock.sleep(1e6)
    assert (switch.known().value, switch.known().live) == ("a", True)


def test_state_without_subscription_is_served_for_its_max_age_and_says_that_it_is_not_live() -> (
    None
):
    clock = Clock()
    switch = state(clock)
    switch.put("a")
    switch.lost()
    clock.sleep(60.0)
    assert (switch.known().value, switch.known().live) == ("a", False)
    clock.sleep(0.001)
    assert switch.known().value is None


def test_failing_again_does_not_make_state_younger() -> None:
    clock = Clock()
    switch = state(clock)
    switch.put("a")
    for _ in range(7):
        switch.lost()
        clock.sleep(10.0)
    assert switch.known().value is None


def test_state_that_is_said_again_is_live_again_for_good() -> None:
    clock = Clock()
    switch = state(clock)
    switch.put("a")
    switch.lost()
    clock.sleep(59)
    switch.put("b")
    clock.sleep(1e6)
    assert (switch.known().value, switch.known().live) == ("b", True)
    switch.lost()
    clock.sleep(59)
    assert switch.known().value == "b"


def test_state_of_a_peer_that_is_gone_is_withdrawn_at_once() -> None:
    switch = state(Clock())
    switch.put("a")
    switch.withdraw()
    assert switch.known().value is None
    switch.lost()
    assert switch.known().value is None
    switch.put("b")
    assert switch.known().value == "b"


def test_state_that_aged_out_does_not_come_back_by_itself() -> None:
    clock = Clock()
    switch = state(clock)
    switch.put("a")
    switch.lost()
    clock.sleep(61)
    assert switch.known().value is None
    clock.sleep(-61)  # even by a clock that errs
    assert switch.known().value is None


def test_a_reading_is_for_scrapes_that_ask_for_no_younger_one() -> None:
    clock = Clock()
    reading = Reading[int]("datapaths", clock)
    assert reading.whole(0).value is None
    reading.put(5)
    taken = clock()
    assert reading.whole(taken).value == 5
    assert reading.whole(taken - 1).value == 5
    assert reading.whole(taken + 0.001).value is None


def test_a_reading_of_nothing_is_known() -> None:
    reading = Reading[tuple[int, ...]]("pmds", Clock())
    reading.put(())
    assert reading.whole(0).require() == ()


def test_parts_of_a_reading_grow_old_one_by_one() -> None:
    clock = Clock()
    reading = Reading[int]("bridges", clock)
    reading.put(1, "br-int")
    clock.sleep(1)
    reading.put(2, "br-tun")
    assert reading.parts(1000.0).value == {"br-int": 1, "br-tun": 2}
    assert reading.parts(1000.5).value == {"br-tun": 2}
    assert reading.parts(1001.5).value is None


def test_withdraws_what_a_broken_part_said_and_only_that() -> None:
    reading = Reading[int]("bridges", Clock())
    reading.put(1, "br-int")
    reading.put(2, "br-tun")
    reading.withdraw("br-int")
    reading.withdraw("never-there")
    assert reading.parts(0).value == {"br-tun": 2}
    reading.withdraw("br-tun")
    assert reading.parts(0).value is None


def test_a_node_once_seen_does_not_change_under_its_reader() -> None:
    store = Store(clock=Clock())
    store.bridges.put(sample.BRIDGES["br-int"], "br-int")
    node = store.view(0, AgentFacts("0", "0"))
    store.bridges.withdraw("br-int")
    assert node.bridges.require().keys() == {"br-int"}


def test_a_view_has_every_fact_under_its_own_name() -> None:
    clock = Clock()
    store = Store(state_max_age_seconds=60, clock=clock)
    agent = AgentFacts("0", "0")
    facts = [name for name, fact in vars(store).items() if isinstance(fact, State | Reading)]
    names = [name for name in facts if name not in FOR_EVENTS]
    unknown = store.view(0, agent)
    proper = {
        "ovn_controller": "ovn-controller",
        "ovn_release": "OVN's release",
        "northbound": "Northbound",
        "southbound": "Southbound",
    }
    assert [getattr(unknown, name).name for name in names] == [
        proper.get(name, name.replace("_", " ")) for name in names
    ]
    assert [name for name in names if getattr(unknown, name).value is not None] == []
    store.switch.put(Switch())
    store.conntracks.put(())
    known = store.view(clock(), agent)
    assert [name for name in names if getattr(known, name).value is not None] == [
        "switch",
        "conntracks",
    ]
    assert known.agent is agent


def test_a_view_has_the_patterns_of_links_that_the_store_was_made_with() -> None:
    patterns = LinkPatterns(include=("wg*",), exclude=("docker0",))
    agent = AgentFacts("0", "0")
    assert Store(link_patterns=patterns).view(0, agent).link_patterns == patterns
    assert Store().view(0, agent).link_patterns == LinkPatterns()


def test_whoever_wants_to_know_is_told_of_each_change_of_state_once() -> None:
    told: list[str] = []
    clock = Clock()
    switch = state(clock)
    switch.put("unheard")
    switch.on_change = lambda: told.append(str(switch.known().value))
    switch.put("a")
    switch.lost()
    switch.lost()
    switch.withdraw()
    assert told == ["a", "a", "None"]


def test_state_says_whether_it_is_only_the_part_that_was_read_so_far() -> None:
    switch = state(Clock())
    assert not switch.complete
    switch.put("a", complete=False)
    assert not switch.complete
    switch.put("b")
    assert switch.complete
