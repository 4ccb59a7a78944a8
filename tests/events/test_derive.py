"""Controllers, namespaces, domains, ovs-vswitchd and sources: absent is not removed."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agent.events.change import Change, Kind
from agent.events.derive import Memory, Snapshot, SourceState, derive
from agent.model.domain import Domain
from agent.model.namespace import Namespace
from agent.model.switch import Controller, VswitchdProcess
from tests.events.nodes import (
    INSTANCE,
    ROUTER,
    SHUT_OFF,
    changes,
    namespaces,
    of_switch,
    switch,
)
from tests.events.valid import DESCRIBED, documents, told

TARGET = "tcp:127.0.0.1:6633"
LOST, REACHED = Controller(TARGET, connected=False), Controller(TARGET, connected=True)
MUTE = Controller(TARGET)
UP, DOWN = True, False


def controlled(*controllers: Controller | None) -> list[Change]:
    """Return what the last brings; ``None`` is a bridge without one."""
    return of_switch(*(switch(controllers=(each,) if each else ()) for each in controllers))


def of_namespaces(*snapshots: tuple[Namespace, ...] | None) -> list[Change]:
    return changes(
        *(Snapshot(namespaces=None if each is None else namespaces(*each)) for each in snapshots)
    )


def of_domains(*snapshots: tuple[Domain, ...] | None, departed: str = "") -> list[Change]:
    known = [
        Snapshot(domains=None if each is None else {domain.uuid: domain for domain in each})
        for each in snapshots
    ]
    known[-1] = replace(known[-1], departed=frozenset({departed}))
    return changes(*known)


def of_source(*states: bool | None) -> list[Change]:
    return changes(*(Snapshot(sources={"ovsdb": SourceState(each)}) for each in states))


def test_the_schema_describes_every_kind_and_no_other() -> None:
    kinds = {
        each["properties"]["kind"]["const"]
        for each in DESCRIBED["definitions"].values()
        if "kind" in each.get("properties", {})
    }
    assert kinds == {kind.value for kind in Kind}
    referred = {each["$ref"].rpartition("/")[2] for each in DESCRIBED["oneOf"]}
    assert referred == kinds | {"status"}


def test_a_controller_that_is_reached_or_lost_is_told() -> None:
    assert told(controlled(LOST, REACHED)) == [("controller_connected", "br-int", TARGET)]
    (lost,) = documents(controlled(REACHED, LOST))
    assert (lost["kind"], lost["configured"]) == ("controller_lost", True)


def test_a_controller_that_was_never_reached_is_not_lost() -> None:
    assert controlled(None, LOST) == []
    assert controlled(LOST, None) == []


def test_a_controller_that_ovs_vswitchd_says_nothing_of_is_no_news() -> None:
    assert controlled(REACHED, MUTE) == []
    assert controlled(REACHED, MUTE, REACHED) == []
    assert told(controlled(REACHED, MUTE, LOST)) == [("controller_lost", "br-int", TARGET)]


def test_a_controller_that_is_taken_out_while_connected_is_lost_and_not_configured() -> None:
    (lost,) = documents(controlled(REACHED, None))
    assert (lost["kind"], lost["configured"]) == ("controller_lost", False)


def test_of_two_controllers_with_one_target_either_will_do() -> None:
    both = switch(controllers=(LOST, REACHED))
    assert of_switch(both, switch(controllers=(REACHED, LOST))) == []


def test_a_namespace_that_comes_or_goes_is_told_with_its_role() -> None:
    (added,) = documents(of_namespaces((), (ROUTER,)))
    assert (added["kind"], added["netns"]) == ("namespace_added", "qrouter-1")
    assert (added["role"], added["id"]) == ("qrouter", "1")
    assert told(of_namespaces((ROUTER,), ())) == [("namespace_removed", "qrouter-1")]


def test_another_namespace_with_the_same_name_is_told_as_removed_and_added() -> None:
    again = replace(ROUTER, key=(4, 2))
    assert told(of_namespaces((ROUTER,), (again,))) == [
        ("namespace_removed", "qrouter-1"),
        ("namespace_added", "qrouter-1"),
    ]


def test_namespaces_that_are_not_followed_for_a_while_stay() -> None:
    assert of_namespaces((ROUTER,), None) == []
    assert of_namespaces((ROUTER,), None, (ROUTER,)) == []
    assert told(of_namespaces((ROUTER,), None, ())) == [("namespace_removed", "qrouter-1")]


def test_a_namespace_that_cannot_be_entered_is_not_removed_until_it_is() -> None:
    there, none = Snapshot(namespaces=namespaces(ROUTER)), Snapshot(namespaces=namespaces())
    hidden = replace(none, unreadable_namespaces=frozenset({"qrouter-1"}))
    assert changes(there, hidden) == []
    assert changes(there, hidden, there) == []
    assert told(changes(there, hidden, none)) == [("namespace_removed", "qrouter-1")]


def test_a_domain_that_starts_or_stops_is_told_with_its_owner() -> None:
    (started,) = documents(of_domains((SHUT_OFF,), (INSTANCE,)))
    assert (started["kind"], started["domain"]) == ("domain_started", "instance-00000001")
    assert (started["instance_name"], started["project_id"]) == ("web", "p1")
    assert told(of_domains((INSTANCE,), (SHUT_OFF,))) == [("domain_stopped", "instance-00000001")]
    assert told(of_domains((INSTANCE,), ())) == [("domain_stopped", "instance-00000001")]


def test_a_domain_that_is_defined_or_paused_is_no_event() -> None:
    paused = replace(INSTANCE, state=3)
    assert of_domains((), (SHUT_OFF,)) == []
    assert of_domains((SHUT_OFF,), ()) == []
    assert of_domains((INSTANCE,), (paused,), (INSTANCE,)) == []


def test_a_domain_that_libvirt_says_has_left_has_migrated() -> None:
    left = of_domains((INSTANCE,), (), departed=INSTANCE.uuid)
    assert told(left) == [("domain_migrated", "instance-00000001")]
    kept = of_domains((INSTANCE,), (SHUT_OFF,), departed=INSTANCE.uuid)
    assert told(kept) == [("domain_migrated", "instance-00000001")]


def test_domains_stay_while_libvirt_is_away() -> None:
    assert of_domains((INSTANCE,), None, (INSTANCE,)) == []
    assert told(of_domains((INSTANCE,), None, ())) == [("domain_stopped", "instance-00000001")]


def test_a_domain_that_libvirt_would_not_show_has_not_stopped() -> None:
    there, none = Snapshot(domains={INSTANCE.uuid: INSTANCE}), Snapshot(domains={})
    for name in (INSTANCE.uuid, INSTANCE.name):
        hidden = replace(none, unreadable_domains=frozenset({name}))
        assert changes(there, hidden) == []
        assert changes(there, hidden, there) == []
        assert told(changes(there, hidden, none)) == [("domain_stopped", "instance-00000001")]


def test_another_process_of_ovs_vswitchd_is_a_restart_also_after_a_time_without_any() -> None:
    old, new = VswitchdProcess(100, (1, 1)), VswitchdProcess(200, (2, 2))
    first, second, none = Snapshot(process=old), Snapshot(process=new), Snapshot()
    for seen in ((first, second), (first, none, second)):
        (document,) = documents(changes(*seen))
        assert document["kind"] == "vswitchd_restarted"
        assert (document["previous_pid"], document["pid"]) == (100, 200)
    assert changes(first, none, first) == []


def test_a_source_is_told_when_it_turns() -> None:
    assert told(of_source(UP, DOWN)) == [("source_down", "ovsdb")]
    assert told(of_source(UP, DOWN, UP)) == [("source_up", "ovsdb")]
    assert of_source(UP, DOWN, DOWN) == []


def test_a_source_that_is_up_from_the_start_is_no_news_and_one_that_is_down_is() -> None:
    assert of_source(None, UP) == []
    assert told(of_source(None, DOWN)) == [("source_down", "ovsdb")]


def test_why_a_source_is_down_is_told() -> None:
    down = Snapshot(sources={"ovsdb": SourceState(up=False, reason="absent", detail="no socket")})
    (document,) = documents(changes(down))
    assert (document["reason"], document["detail"]) == ("absent", "no socket")


SNAPSHOTS = st.builds(
    Snapshot,
    namespaces=st.none() | st.just(namespaces(ROUTER)) | st.just(namespaces()),
    unreadable_namespaces=st.sets(st.just("qrouter-1")).map(frozenset),
    domains=st.none()
    | st.sets(st.sampled_from([INSTANCE, SHUT_OFF]), max_size=1).map(
        lambda some: {domain.uuid: domain for domain in some}
    ),
    departed=st.sets(st.just(INSTANCE.uuid)).map(frozenset),
    sources=st.fixed_dictionaries({"a": st.builds(SourceState, st.none() | st.booleans())}),
)


@given(st.lists(SNAPSHOTS, max_size=10))
def test_what_comes_and_what_goes_takes_turns_whatever_happens(seen: list[Snapshot]) -> None:
    memory = Memory()
    last: dict[str, str] = {}
    for snapshot in seen:
        memory, found = derive(memory, snapshot)
        for document in documents(found):
            subject, _, turn = document["kind"].partition("_")
            gone = turn in {"removed", "stopped", "migrated", "down"}
            word = "gone" if gone else "there"
            assert last.get(subject) != word, document
            last[subject] = word


@given(SNAPSHOTS)
def test_the_same_again_is_no_event(snapshot: Snapshot) -> None:
    assert changes(snapshot, snapshot) == []
