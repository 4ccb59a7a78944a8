"""Interfaces and tunnels: the first look is a baseline, then what is told is what is different."""

import gc
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.events.change import MAX_CHARACTERS, Change
from agent.events.derive import Memory, Snapshot, derive
from agent.model.switch import Bridge, Interface, Port, Switch
from tests.events.nodes import INSTANCE, SHUT_OFF, TAP, VXLAN, bfd, changes, of_switch, switch
from tests.events.valid import documents, told

DOWN = replace(TAP, link_state=False)
UNKNOWN = replace(TAP, link_state=None)
BROKEN = replace(TAP, link_state=None, error="could not open network device tap1")


def test_what_is_there_at_first_is_no_event() -> None:
    assert of_switch(switch(TAP, BROKEN, VXLAN)) == []


def test_an_interface_that_comes_is_added_and_then_up() -> None:
    assert told(of_switch(switch(), switch(TAP))) == [
        ("interface_added", "br-int", "tap1"),
        ("interface_up", "br-int", "tap1"),
    ]


def test_it_is_the_same_when_its_link_is_known_later() -> None:
    assert told(of_switch(switch(), switch(UNKNOWN))) == [("interface_added", "br-int", "tap1")]
    assert told(of_switch(switch(), switch(UNKNOWN), switch(TAP))) == [
        ("interface_up", "br-int", "tap1")
    ]


def test_an_interface_that_goes_is_removed() -> None:
    assert told(of_switch(switch(TAP), switch())) == [("interface_removed", "br-int", "tap1")]


def test_an_interface_that_moves_to_another_bridge_is_added_there_and_removed_here() -> None:
    other = Switch(bridges=(Bridge("br-ex", ports=(Port("tap1", (TAP,)),)), Bridge("br-int")))
    assert told(of_switch(switch(TAP), other)) == [
        ("interface_added", "br-ex", "tap1"),
        ("interface_up", "br-ex", "tap1"),
        ("interface_removed", "br-int", "tap1"),
    ]


def test_a_link_that_goes_and_comes_is_told_once_each() -> None:
    (down,) = documents(of_switch(switch(TAP), switch(DOWN)))
    assert (down["kind"], down["admin_up"]) == ("interface_down", True)
    assert told(of_switch(switch(TAP), switch(DOWN), switch(replace(DOWN, mtu_bytes=1)))) == []
    assert told(of_switch(switch(TAP), switch(DOWN), switch(TAP))) == [
        ("interface_up", "br-int", "tap1")
    ]


def test_a_link_that_is_not_known_for_a_while_is_no_news() -> None:
    assert of_switch(switch(TAP), switch(UNKNOWN)) == []
    assert of_switch(switch(TAP), switch(UNKNOWN), switch(TAP)) == []
    assert told(of_switch(switch(TAP), switch(UNKNOWN), switch(DOWN))) == [
        ("interface_down", "br-int", "tap1")
    ]


def test_a_device_that_cannot_be_opened_is_told_with_the_reason_and_again_when_it_can() -> None:
    (error,) = documents(of_switch(switch(TAP), switch(BROKEN)))
    assert (error["kind"], error["error"]) == ("interface_error", BROKEN.error)
    (mended,) = documents(of_switch(switch(TAP), switch(BROKEN), switch(TAP)))
    assert mended["kind"] == "interface_error"
    assert "error" not in mended


def test_an_interface_that_comes_broken_is_added_and_then_has_its_error() -> None:
    kinds = [kind for kind, *_ in told(of_switch(switch(), switch(BROKEN)))]
    assert kinds == ["interface_added", "interface_error"]


def test_a_long_text_of_a_peer_is_cut() -> None:
    loud = replace(TAP, error="x" * 10**6)
    (document,) = documents(of_switch(switch(TAP), switch(loud)))
    assert len(document["error"]) == MAX_CHARACTERS


def test_whose_an_interface_is_stands_in_its_events_also_when_both_go_together() -> None:
    with_owner = Snapshot(switch=switch(TAP), domains={INSTANCE.uuid: INSTANCE})
    gone = Snapshot(switch=switch(), domains={})
    removed, stopped = documents(changes(with_owner, gone))
    for document in (removed, stopped):
        assert document["domain"] == "instance-00000001"
        assert document["instance_id"] == INSTANCE.uuid
        assert document["instance_name"] == "web"
        assert document["project_name"] == "shop"
    assert removed["kind"] == "interface_removed"
    assert (removed["iface_id"], removed["mac"]) == (TAP.iface_id, "fa:16:3e:00:00:01")


def test_without_libvirt_what_the_switch_says_of_the_owner_is_told() -> None:
    (document,) = documents(of_switch(switch(TAP), switch(DOWN)))
    assert document["instance_id"] == TAP.vm_uuid
    assert document["iface_id"] == TAP.iface_id
    assert "domain" not in document


def test_the_owner_is_known_while_libvirt_is_down() -> None:
    first = Snapshot(switch=switch(TAP), domains={INSTANCE.uuid: INSTANCE})
    (document,) = documents(changes(first, Snapshot(switch=switch(DOWN))))
    assert document["domain"] == "instance-00000001"


def test_a_domain_that_is_shut_off_owns_no_device_but_the_port_still_names_it() -> None:
    first = Snapshot(switch=switch(TAP), domains={SHUT_OFF.uuid: SHUT_OFF})
    (document,) = documents(changes(first, replace(first, switch=switch(DOWN))))
    assert document["instance_id"] == TAP.vm_uuid


@pytest.mark.parametrize(
    ("before", "after", "kind", "by"),
    [
        (bfd(forwarding=True), bfd(forwarding=False), "tunnel_down", "bfd"),
        (bfd(forwarding=False), bfd(forwarding=True), "tunnel_up", "bfd"),
        (bfd(state="up"), bfd(state="down"), "tunnel_down", "bfd"),
        (bfd(state="init"), bfd(state="up"), "tunnel_up", "bfd"),
        (replace(VXLAN, cfm_fault=False), replace(VXLAN, cfm_fault=True), "tunnel_down", "cfm"),
        (
            replace(VXLAN, egress_carrier=True),
            replace(VXLAN, egress_carrier=False),
            "tunnel_down",
            "egress_carrier",
        ),
        (VXLAN, replace(VXLAN, link_state=False), "tunnel_down", "link"),
        (VXLAN, bfd(forwarding=False, state="down"), "tunnel_down", "bfd"),
    ],
)
def test_a_tunnel_is_up_or_down_by_the_best_evidence_there_is_and_says_which(
    before: Interface, after: Interface, kind: str, by: str
) -> None:
    (document,) = documents(of_switch(switch(before), switch(after)))
    assert (document["kind"], document["by"]) == (kind, by)
    assert document["remote_ip"] == "192.0.2.2"


def test_what_is_remembered_keeps_no_switch_of_the_past() -> None:
    def bridges() -> int:
        gc.collect()
        return sum(isinstance(each, Bridge) for each in gc.get_objects())

    names = [f"tap{number}" for number in range(50)]
    rows = {name: replace(TAP, name=name) for name in names}
    memory, _ = derive(Memory(), Snapshot(switch=switch(*rows.values())))
    before = bridges()
    for name in names:
        rows[name] = replace(rows[name], link_state=False)
        memory, found = derive(memory, Snapshot(switch=switch(*rows.values())))
        assert len(found) == 1
    assert bridges() <= before + 1


def test_a_session_that_flaps_on_without_a_change_for_packets_is_no_event() -> None:
    assert (
        of_switch(switch(bfd(forwarding=False, state="down")), switch(bfd(forwarding=False))) == []
    )


def test_a_switch_that_is_lost_takes_nothing_away_and_what_changed_meanwhile_is_told() -> None:
    assert of_switch(switch(TAP), None) == []
    assert of_switch(switch(TAP), None, switch(TAP)) == []
    assert told(of_switch(switch(TAP), None, switch(VXLAN))) == [
        ("interface_added", "br-int", "vxlan1"),
        ("tunnel_up", "br-int", "vxlan1"),
        ("interface_removed", "br-int", "tap1"),
    ]


NAMES = st.sampled_from(["tap1", "tap2", "vxlan1"])
INTERFACES = st.builds(
    Interface,
    NAMES,
    st.sampled_from(["system", "vxlan"]),
    link_state=st.none() | st.booleans(),
    error=st.sampled_from([None, "no device", "busy"]),
    egress_carrier=st.none() | st.booleans(),
)
SWITCHES = st.lists(INTERFACES, max_size=3, unique_by=lambda each: each.name).map(
    lambda some: switch(*some)
)


class Consumer:
    """Knows what it is told, and nothing else."""

    def __init__(self) -> None:
        self.errors: dict[str, str | None] = {}
        self.up: dict[str, bool] = {}

    def hear(self, found: list[Change]) -> None:
        for document in documents(found):
            name = document["interface"]
            match document["kind"].split("_")[1]:
                case "added":
                    assert name not in self.errors, "added twice"
                    self.errors[name] = None
                case "removed":
                    del self.errors[name]
                    self.up.pop(name, None)
                case "error":
                    assert document.get("error") != self.errors[name], "no news"
                    self.errors[name] = document.get("error")
                case turn:
                    assert self.up.get(name) != (turn == "up"), "no news"
                    self.up[name] = turn == "up"


@given(st.lists(st.none() | SWITCHES, max_size=8))
def test_whoever_adds_up_the_events_knows_what_there_is(seen: list[Switch | None]) -> None:
    consumer = Consumer()
    memory, _ = derive(Memory(), Snapshot(switch=switch()))
    for each in seen:
        memory, found = derive(memory, Snapshot(switch=each))
        consumer.hear(found)
        if each is not None:
            errors = {interface.name: interface.error for _, _, interface in each.interfaces()}
            assert consumer.errors == errors
            for _, _, interface in each.interfaces():
                known = [interface.link_state]
                if interface.type == "vxlan":
                    known.insert(0, interface.egress_carrier)
                works = next((state for state in known if state is not None), None)
                assert works is None or consumer.up[interface.name] is works


@given(st.lists(SWITCHES, min_size=1, max_size=6))
def test_a_burst_that_becomes_one_look_leads_to_the_same_state(seen: list[Switch]) -> None:
    one_by_one, at_once = Consumer(), Consumer()
    memory, _ = derive(Memory(), Snapshot(switch=switch()))
    _, found = derive(memory, Snapshot(switch=seen[-1]))
    at_once.hear(found)
    for each in seen:
        memory, found = derive(memory, Snapshot(switch=each))
        one_by_one.hear(found)
    assert one_by_one.errors == at_once.errors
    # What was known of a link before the last look may be known to the one and not to the other.
    assert at_once.up.items() <= one_by_one.up.items()
