"""Known traffic on the cloud on OVN: each packet is counted where it was, and nowhere else."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from lab import frames, namespace
from lab.agent import Agent
from lab.ovn import OvnCloud
from lab.ovn_chassis import INTEGRATION_BRIDGE, PROVIDER, Chassis
from lab.ovn_router import OUTSIDE
from lab.ovn_traffic import KINDS, STRANGER, discover
from lab.process import wait_until
from tests.e2e.ovn_page import (
    ACLS,
    DROPPED,
    DROPPED_OF_INTERFACE,
    EVERY_SCRAPE_READS,
    PACKETS,
    UNATTRIBUTED,
    WAIT_SECONDS,
    acls_by_cookie,
    agent_on,
    counted,
    dumped,
    growth,
    logical_flows,
    table_names,
    total,
    wait_for,
)
from tests.e2e.page import Page
from tests.e2e.test_drops import HOUR, watching

pytestmark = [pytest.mark.e2e, pytest.mark.node]

DHCP = "DHCP"
DELIVERED = (DHCP, *(name for name, kind in KINDS.items() if kind.arrives))
REFUSED = tuple(name for name, kind in KINDS.items() if not kind.arrives)
COUNTS = {kind: 1 << number for number, kind in enumerate((*DELIVERED, *REFUSED))}
"""How many are sent of each: of every sum the bits say which kinds are in it."""

FROM, TO = "from_instance", "to_instance"
FOUND, DONE = "ls_in_l2_lkup", "ls_out_apply_port_sec"
"""The last stages of those that are bound for a port, and of those that reach it."""
ANY_OF_INSTANCES = "472a9f32-7b90-4552-a846-1a7662a35dc6"
ANY_OF_STRANGERS = "ba161ff7-0dd4-4ec5-95bc-39bcdf5de62f"
"""The document's rules of what its groups may send: all of IPv4."""
WITHIN_THE_GROUP = "633a039c-a369-4cae-b6ce-bc96e0596136"
ICMP, SSH, DROP = "icmp", "ssh", "drop"
"""The lab's own rules."""


@dataclass(frozen=True, slots=True)
class Met:
    """What a packet of a kind meets on a chassis.

    Attributes:
        stages: The last one of each way through a pipeline, an answer's too: it meets all before.
        acls: UUIDs of the rules, or the names of the lab's own.
        lost: The table where it is lost; empty for none.
        whose: Guest and direction of that.
    """

    stages: tuple[str, ...] = ()
    acls: tuple[str, ...] = ()
    lost: str = ""
    whose: tuple[str, str] = ("", "")


SPOOFED = Met(("ls_in_apply_port_sec",), (), "chk_in_port_sec", ("instance01", FROM))
FATES: Mapping[str, tuple[Met, Met]] = {
    "ping": (Met((FOUND, DONE, FOUND, DONE), (ANY_OF_INSTANCES, ICMP)), Met()),
    "ping through the tunnel": (
        Met((FOUND, DONE), (ANY_OF_INSTANCES,)),
        Met((DONE, FOUND), (ICMP,)),
    ),
    "ssh": (Met((FOUND, DONE), (ANY_OF_STRANGERS, SSH)), Met()),
    "ssh through the tunnel": (Met((FOUND,), (ANY_OF_STRANGERS,)), Met((DONE,), (SSH,))),
    "within a group": (Met((FOUND, DONE), (ANY_OF_INSTANCES, WITHIN_THE_GROUP)), Met()),
    # OVN answers to where it came from, and no rule is asked about that.
    DHCP: (Met(("ls_in_dhcp_response", DONE), (ANY_OF_INSTANCES,)), Met()),
    "refused by a rule": (
        Met((FOUND, "ls_out_acl"), (ANY_OF_STRANGERS, DROP), "ls_out_acl", ("instance01", TO)),
        Met(),
    ),
    "refused by a rule, through the tunnel": (
        Met((FOUND,), (ANY_OF_STRANGERS,)),
        Met(("ls_out_acl",), (DROP,), "ls_out_acl", ("instance03", TO)),
    ),
    "another's IP address": (SPOOFED, Met()),
    "another's MAC address": (SPOOFED, Met()),
}
"""By kind, on the first chassis and on the second."""


class Node(NamedTuple):
    chassis: Chassis
    agent: Agent

    def read(self) -> Page:
        return counted(self.chassis, self.agent)


@pytest.fixture(scope="module")
def nodes(ovn_cloud: OvnCloud) -> Iterator[tuple[Node, Node]]:
    one, other = ovn_cloud.chassis
    with (
        agent_on(one, env=EVERY_SCRAPE_READS) as first,
        agent_on(other, env=EVERY_SCRAPE_READS) as second,
    ):
        nodes = Node(one, first), Node(other, second)
        for node in nodes:
            wait_for(node.agent, lambda page: ACLS in page, "ledgers")
        yield nodes


def send(cloud: OvnCloud, kind: str, count: int) -> None:
    """Return when what arrives has arrived."""
    if kind == DHCP:
        asked = discover(cloud.guests["instance01"], count=count)
        wait_until(lambda: len(asked.offers) == count, what="offers")
        return
    sent = KINDS[kind](cloud, count)
    if kind.startswith("ping"):
        wait_until(lambda: sent.answered == count, what="answers")
    elif KINDS[kind].arrives:
        wait_until(lambda: sent.delivered == count, what="all that was sent")


# -- what is expected, by what the databases say of stages and rules -------------------------------


class Counted(NamedTuple):
    """What grew on a chassis, without what did not.

    Attributes:
        stages: By pipeline and name.
        acls: By UUID.
        lost: By table.
        whose: By interface and direction.
    """

    stages: Counter[tuple[str, str]]
    acls: Counter[str]
    lost: Counter[str]
    whose: Counter[tuple[str, str]]


def expected(cloud: OvnCloud, number: int, kinds: Iterable[str]) -> Counted:
    """Return what packets of these kinds make a chassis count."""
    found = Counted(Counter(), Counter(), Counter(), Counter())
    ways, rules = ways_to(cloud), rules_of(cloud)
    for kind in kinds:
        met, count = FATES[kind][number], COUNTS[kind]
        for stage in (stage for last in met.stages for stage in ways[last]):
            found.stages[stage] += count
        for acl in met.acls:
            found.acls[rules.get(acl, acl)] += count
        if met.lost:
            guest, direction = met.whose
            found.lost[met.lost] += count
            found.whose[cloud.guests[guest].instance.tap, direction] += count
    return found


def rules_of(cloud: OvnCloud) -> dict[str, str]:
    """Return the UUIDs of the lab's own rules, by name."""
    rules = {name: row.uuid for name, row in cloud.additions.users_rules.items()}
    return {**rules, DROP: cloud.additions.drop_rules["to-lport"].uuid}


def ways_to(cloud: OvnCloud) -> dict[str, list[tuple[str, str]]]:
    """Return pipeline and name of each stage of the document's switch up to each of them."""
    switch = cloud.document.network_row.columns["name"]
    stages = {
        (flow.pipeline, flow.table): flow.stage
        for flow in logical_flows(cloud.central)
        if flow.datapath == switch
    }
    return {
        last: [
            (pipeline, stage)
            for (pipeline, table), stage in stages.items()
            if pipeline == of_last and table <= number
        ]
        for (of_last, number), last in stages.items()
    }


# -- what was counted ------------------------------------------------------------------------------


def grown(cloud: OvnCloud, before: Page, after: Page) -> Counted:
    found = Counted(Counter(), Counter(), Counter(), Counter())
    uuids, names = acls_by_cookie(cloud), table_names(after)
    for labels, packets in growth(before, after, PACKETS):
        found.stages[labels["pipeline"], labels["stage"]] += packets
    for labels, packets in growth(before, after, ACLS):
        found.acls[uuids[labels["cookie"]]] += packets
    for labels, packets in growth(before, after, DROPPED):
        if labels["kind"] == "lost":
            found.lost[names[labels["bridge"], labels["table"]][0]] += packets
    for labels, packets in growth(before, after, DROPPED_OF_INTERFACE):
        found.whose[labels["interface"], labels["direction"]] += packets
    return found


def by_stage(cloud: OvnCloud, chassis: Chassis) -> Counter[tuple[str, str]]:
    """Return what ovs-ofctl says, added up by pipeline and stage."""
    stages = {flow.cookie: (flow.pipeline, flow.stage) for flow in logical_flows(cloud.central)}
    found: Counter[tuple[str, str]] = Counter()
    for flow in dumped(chassis):
        if flow.cookie in stages:
            found[stages[flow.cookie]] += flow.packets
    return found


@pytest.mark.parametrize(
    "kinds", [DELIVERED, REFUSED], ids=["what is delivered", "what is refused"]
)
def test_each_packet_is_counted_where_it_was_and_nowhere_else(
    ovn_cloud: OvnCloud, nodes: tuple[Node, Node], kinds: tuple[str, ...]
) -> None:
    before = [node.read() for node in nodes]
    dumps = [by_stage(ovn_cloud, node.chassis) for node in nodes]
    for kind in kinds:
        send(ovn_cloud, kind, COUNTS[kind])
    refused = sum(COUNTS[kind] for kind in kinds if kind in REFUSED)

    def read() -> list[Page] | None:
        pages = [node.read() for node in nodes]
        return pages if lost(pages) >= lost(before) + refused else None

    pages = wait_until(read, timeout=WAIT_SECONDS, what="all that is lost")
    assert pages is not None
    for number, node in enumerate(nodes):
        found = grown(ovn_cloud, before[number], pages[number])
        assert found == expected(ovn_cloud, number, kinds)
        assert found.stages == by_stage(ovn_cloud, node.chassis) - dumps[number]
        assert growth(before[number], pages[number], UNATTRIBUTED) == []
    assert lost(pages) - lost(before) == refused


def lost(pages: Iterable[Page]) -> float:
    return sum(total(page, DROPPED, kind="lost") for page in pages)


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("another's IP address", 0),
        ("refused by a rule, through the tunnel", 1),
    ],
)
def test_drops_names_stage_and_instance_of_what_one_loses(
    ovn_cloud: OvnCloud, kind: str, number: int
) -> None:
    chassis, fate = ovn_cloud.chassis[number], FATES[kind][number]
    name, direction = fate.whose
    guest = ovn_cloud.guests[name].instance
    env = {"DATAPLANE_AGENT_OVN__RUNDIR": str(chassis.ovn_rundir)}
    asked = (HOUR, "--json", f"--interface={guest.port}")
    with watching(chassis.switch, *asked, **env) as found:
        KINDS[kind](ovn_cloud, 7)
        for other in DELIVERED:
            send(ovn_cloud, other, 3)
        chassis.switch.appctl("revalidator/wait")
    assert found.code == 0, found.complained
    keys = ("table_name", "interface", "direction", "iface_id", "packets", "kind")
    (flow,) = found.answer["flows"]
    assert [flow[key] for key in keys] == [
        *(fate.lost, guest.tap, direction),
        *(guest.port, 7, "lost"),
    ]
    assert flow["attached_mac"] == guest.party.mac
    assert flow["vm_uuid"] == guest.server
    assert [bridge["pipeline"] for bridge in found.answer["bridges"]] == ["ovn"]
    assert found.answer["unattributed"] == []


def test_what_asks_for_a_router_is_lost_on_no_chassis(own_ovn_cloud: OvnCloud) -> None:
    """The chassis that is the way out answers, the other drops its copy of the same request."""
    cloud = own_ovn_cloud
    cloud.add_router()
    other = cloud.chassis[1]
    with agent_on(other, env=EVERY_SCRAPE_READS) as agent:
        wait_for(agent, lambda page: ACLS in page, "ledgers")
        before, dropped = counted(other, agent), dropped_requests(other)
        ask_on_the_wire(cloud, 5)
        wait_until(lambda: dropped_requests(other) >= dropped + 5, what="copies")
        after = counted(other, agent)
    assert lost([after]) == lost([before]) == 0
    assert growth(before, after, UNATTRIBUTED) == []


def ask_on_the_wire(cloud: OvnCloud, count: int) -> None:
    """Ask on the provider network who has the router's address."""
    wire = namespace.open_device(cloud.underlay.name, PROVIDER)
    try:
        for _ in range(count):
            os.write(wire, frames.arp_request(STRANGER._replace(ip="203.0.113.99"), OUTSIDE.ip))
    finally:
        os.close(wire)


def dropped_requests(chassis: Chassis) -> int:
    flows = chassis.switch.flows(INTEGRATION_BRIDGE)
    asking = f"arp_tpa={OUTSIDE.ip},arp_op=1"
    return sum(f.packets for f in flows if f.actions == "drop" and asking in f.match)
