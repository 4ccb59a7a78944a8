"""Beside OVN's databases: all that names what the nodes count, and how the two are joined."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from lab.agent import Agent
from lab.ovn import OvnCloud
from lab.ovn_central import SOUTHBOUND_PORT, OvnCentral
from lab.ovn_chassis import Chassis
from lab.ovn_neutron import Instance
from lab.process import wait_until
from lab.prometheus import Prometheus
from tests.e2e.ovn_beside import Certificates, agent_beside, recorded
from tests.e2e.ovn_page import (
    ACL_STAGE,
    BFD_STATES,
    CONNECTED,
    EVERY_SCRAPE_READS,
    UP,
    agent_on,
    cookie_of,
    northbound_rows,
    southbound_rows,
    wait_for,
)
from tests.e2e.ovn_queries import QUERIES, Asked, asked, flows_of_nodes, rules
from tests.e2e.ovn_scrapes import Scrapes, no_counter_ever_went_down, no_scrape_was_late, traffic
from tests.e2e.page import Page, labels_of, value_of
from tests.sources.ovn.pki import DatedPki

pytestmark = [pytest.mark.e2e, pytest.mark.node, pytest.mark.timeout(240)]

Rows = list[dict[str, Any]]

NEXT_HOP = "203.0.113.1"
PAUSED_SECONDS, STATE_SECONDS = 60.0, 12.0
SLACK_SECONDS = 4.0
"""For what is seen from one scrape to the next."""
OF_SOUTHBOUND = {
    f"ovn_{name}"
    for name in (
        *("chassis_info", "tunnel_expected_info", "datapath_info"),
        *("port_binding_info", "port_binding_up", "logical_flow_info", "acl_info"),
    )
}
"""What stays true for a while when nobody says it any more."""
LEVELS = {"ovn_sb_nb_cfg", "ovn_chassis_nb_cfg", "ovn_chassis_nb_cfg_timestamp_seconds"}
FAILURES = "dataplane_agent_source_failures_total"
SOUTHBOUND, NORTHBOUND = {"source": "ovn_southbound"}, {"source": "ovn_northbound"}


class Stalled(NamedTuple):
    """A cloud whose Southbound takes connections and answers nothing, and that carries traffic.

    Attributes:
        names: Scrapes of the agent beside the databases.
        counts: Scrapes of a node's agent.
        before: What the first said when all was well.
        begin: Since when.
    """

    cloud: OvnCloud
    beside: Agent
    names: Scrapes
    counts: Scrapes
    before: Page
    begin: float


@pytest.fixture(scope="module")
def stalled(ovn_installed: None) -> Iterator[Stalled]:  # noqa: ARG001 - needed, not used
    """It stands still from the first test on, and the last one looks at it."""
    age = {"DATAPLANE_AGENT_SCRAPE__STATE_MAX_AGE_SECONDS": f"{STATE_SECONDS:g}"}
    with (
        OvnCloud() as cloud,
        agent_beside(cloud.central, {**EVERY_SCRAPE_READS, **age}) as beside,
        agent_on(cloud.chassis[0], env=EVERY_SCRAPE_READS) as on_chassis,
        Scrapes(beside) as names,
        Scrapes(on_chassis) as counts,
        traffic(cloud),
    ):
        before = names.wait(lambda page: page.keys() >= OF_SOUTHBOUND | LEVELS, "all of it")
        counts.wait(is_connected, "ovn-controller to be connected")
        cloud.central.pause_southbound()
        yield Stalled(cloud, beside, names, counts, before, time.monotonic())


def is_connected(page: Page) -> bool:
    return page.get(CONNECTED) == [({}, 1)]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    pki = DatedPki(tmp_path_factory.mktemp("pki"))
    authority = pki.authority()
    day = timedelta(days=1)
    return Certificates(
        authority, pki.leaf(authority), pki.leaf(authority), pki.dated(authority, -2 * day, -day)
    )


@pytest.fixture(scope="module")
def cloud(stalled: Stalled, certificates: Certificates) -> Iterator[OvnCloud]:  # noqa: ARG001 - its minute passes meanwhile
    """One with a router whose way out is watched by BFD; what a test breaks, it mends."""
    with OvnCloud(certificates.keys(certificates.server)) as cloud:
        cloud.add_router()
        watch_the_way_out(cloud.central)
        yield cloud


def watch_the_way_out(central: OvnCentral) -> None:
    (port,) = (
        row["name"]
        for row in northbound_rows(central, "Logical_Router_Port")
        if row["networks"] == "203.0.113.11/24"
    )
    (route,) = northbound_rows(central, "Logical_Router_Static_Route")
    central.nbctl(
        *("--id=@way", "create", "BFD", f"logical_port={port}", f'dst_ip="{NEXT_HOP}"'),
        *("--", "set", "Logical_Router_Static_Route", route["_uuid"], "bfd=@way"),
    )
    central.sync()


@pytest.fixture(scope="module")
def agent(cloud: OvnCloud) -> Iterator[Agent]:
    with agent_beside(cloud.central) as agent:
        yield agent
        assert "Traceback" not in agent.log


@pytest.fixture
def page(cloud: OvnCloud, agent: Agent) -> Page:
    """What it says of the newest configuration; whoever asks for another waits for that."""
    (wanted,) = southbound_rows(cloud.central, "SB_Global")
    return wait_for(
        agent,
        lambda page: (
            page.get("ovn_sb_nb_cfg") == [({}, wanted["nb_cfg"])]
            and "ovn_logical_flow_info" in page
        ),
        "the newest configuration",
    )


def names_of(rows: Rows, column: str) -> dict[str, str]:
    return {row["_uuid"]: str(row[column]) for row in rows}


# -- what the databases say ------------------------------------------------------------------------


def test_both_are_up_in_the_schema_they_have(page: Page, cloud: OvnCloud) -> None:
    assert value_of(page, UP, **SOUTHBOUND) == value_of(page, UP, **NORTHBOUND) == 1
    remotes = {
        "OVN_Northbound": cloud.central.northbound_unix,
        "OVN_Southbound": cloud.central.southbound_unix,
    }
    assert labels_of(page, "ovn_database_info", "database", "schema_version") == {
        (name, cloud.central.run("ovsdb-client", "get-schema-version", remote, name).strip())
        for name, remote in remotes.items()
    }


def test_every_chassis_has_its_series_and_its_generation(page: Page, cloud: OvnCloud) -> None:
    chassis = southbound_rows(cloud.central, "Chassis")
    assert labels_of(page, "ovn_chassis_info", "chassis", "hostname") == {
        (row["name"], row["hostname"]) for row in chassis
    }
    assert {labels["hostname"] for labels, _ in page["ovn_chassis_info"]} == {
        each.place.hostname for each in cloud.chassis
    }
    private = {row["name"]: row for row in southbound_rows(cloud.central, "Chassis_Private")}
    installed = {labels["chassis"]: value for labels, value in page["ovn_chassis_nb_cfg"]}
    assert installed == {name: row["nb_cfg"] for name, row in private.items()}
    (asked,) = northbound_rows(cloud.central, "NB_Global")
    for column in ("nb_cfg", "sb_cfg", "hv_cfg"):
        assert page[f"ovn_nb_{column}"] == [({}, asked[column])]
    assert set(installed.values()) == {asked["nb_cfg"]}
    for labels, since in page["ovn_chassis_nb_cfg_timestamp_seconds"]:
        said = private[labels["chassis"]]["nb_cfg_timestamp"]
        assert since == pytest.approx(said / 1000, abs=0.0005)


def test_every_encapsulation_is_an_end_of_tunnels(page: Page, cloud: OvnCloud) -> None:
    real = {
        (row["ip"], row["type"], row["chassis_name"])
        for row in southbound_rows(cloud.central, "Encap")
    }
    labels = ("remote_ip", "tunnel_type", "chassis")
    assert labels_of(page, "ovn_tunnel_expected_info", *labels) == real
    assert real == {
        (each.place.tunnel.ip, "geneve", each.place.system_id) for each in cloud.chassis
    }


def test_every_datapath_has_its_name_and_its_number(page: Page, cloud: OvnCloud) -> None:
    real = set()
    for row in southbound_rows(cloud.central, "Datapath_Binding"):
        ids = row["external_ids"]
        kind = "router" if "logical-router" in ids else "switch"
        uuid = ids[f"logical-{kind}"]
        real.add((str(row["tunnel_key"]), kind, ids["name"], ids["name2"], uuid))
    labels = ("datapath", "type", "name", "network", "uuid")
    assert labels_of(page, "ovn_datapath_info", *labels) == real
    rows = [
        *northbound_rows(cloud.central, "Logical_Switch"),
        *northbound_rows(cloud.central, "Logical_Router"),
    ]
    assert {(name, uuid) for _, _, name, _, uuid in real} == {
        (row["name"], row["_uuid"]) for row in rows
    }


def bindings(central: OvnCentral) -> set[tuple[str, ...]]:
    """Return logical port, type, chassis, datapath and key of each row."""
    chassis = names_of(southbound_rows(central, "Chassis"), "name")
    datapaths = names_of(southbound_rows(central, "Datapath_Binding"), "tunnel_key")
    return {
        (
            row["logical_port"],
            row["type"] or "vif",
            chassis[row["chassis"]] if row["chassis"] else "",
            datapaths[row["datapath"]],
            str(row["tunnel_key"]),
        )
        for row in southbound_rows(central, "Port_Binding")
    }


BINDING = ("logical_port", "type", "chassis", "datapath", "port_key")


def test_every_port_binding_has_its_series_and_says_whether_it_is_up(
    page: Page, cloud: OvnCloud
) -> None:
    real = bindings(cloud.central)
    assert labels_of(page, "ovn_port_binding_info", *BINDING) == real
    assert len(page["ovn_port_binding_info"]) == len(real)
    assert {row[1] for row in real} >= {"vif", "localport", "localnet", "patch", "chassisredirect"}
    assert {labels["logical_port"]: value for labels, value in page["ovn_port_binding_up"]} == {
        row["logical_port"]: int(row["up"])
        for row in southbound_rows(cloud.central, "Port_Binding")
        if row["up"] != []
    }


def test_every_session_of_bfd_has_its_state(page: Page, cloud: OvnCloud) -> None:
    real = {
        (row["logical_port"], row["dst_ip"]): BFD_STATES.index(row["status"])
        for row in southbound_rows(cloud.central, "BFD")
    }
    assert {
        (labels["logical_port"], labels["dst_ip"]): value for labels, value in page["ovn_bfd_state"]
    } == real
    assert [dst_ip for _, dst_ip in real] == [NEXT_HOP]


FLOW = ("cookie", "pipeline", "logical_table", "stage", "priority")


def flows(central: OvnCentral) -> set[tuple[str, ...]]:
    """Return cookie, pipeline, table, stage and priority of each logical flow."""
    return {
        (
            cookie_of(row["_uuid"]),
            row["pipeline"],
            str(row["table_id"]),
            row["external_ids"]["stage-name"],
            str(row["priority"]),
        )
        for row in southbound_rows(central, "Logical_Flow")
    }


def test_every_logical_flow_has_its_series(page: Page, cloud: OvnCloud) -> None:
    real = flows(cloud.central)
    assert labels_of(page, "ovn_logical_flow_info", *FLOW) == real
    assert len(page["ovn_logical_flow_info"]) == len(real) > 300


def test_every_acl_has_the_logical_flows_that_evaluate_it(page: Page, cloud: OvnCloud) -> None:
    acls = {row["_uuid"][:8]: row for row in northbound_rows(cloud.central, "ACL")}
    real = set()
    for flow in southbound_rows(cloud.central, "Logical_Flow"):
        hint = flow["external_ids"].get("stage-hint")
        if hint in acls and ACL_STAGE.fullmatch(flow["external_ids"]["stage-name"]):
            acl = acls[hint]
            where = cookie_of(flow["_uuid"]), flow["pipeline"], str(flow["table_id"])
            rule = acl["external_ids"].get("neutron:security_group_rule_id", "")
            real.add((*where, hint, acl["direction"], acl["action"], str(acl["priority"]), rule))
    labels = ("cookie", "pipeline", "logical_table", "acl", "direction", "action", "priority")
    assert labels_of(page, "ovn_acl_info", *labels, "security_group_rule_id") == real
    # Groups that nobody is in have rules that ovn-northd makes no flows of.
    without = set(acls) - {row[3] for row in real}
    assert without == {
        row.uuid[:8]
        for row in cloud.document.security_groups["a1b42dfb-939f-49e6-bcd3-493e2e3edbc0"]
    }


# -- what changes ----------------------------------------------------------------------------------


def test_a_port_that_goes_down_and_comes_up_again_is_followed(
    cloud: OvnCloud, agent: Agent
) -> None:
    guest, chassis = cloud.guests["instance04"].instance, cloud.chassis[1]
    key = {"logical_port": guest.port}

    def is_bound_to(where: str, up: int) -> Callable[[Page], bool]:
        def promise(page: Page) -> bool:
            (binding,) = (
                labels
                for labels, _ in page["ovn_port_binding_info"]
                if labels["logical_port"] == guest.port
            )
            is_up = value_of(page, "ovn_port_binding_up", **key)
            return (binding.get("chassis", ""), is_up) == (where, up)

        return promise

    wait_for(agent, is_bound_to(chassis.place.system_id, 1), "the port to be bound")
    unplug(chassis, guest)
    wait_for(agent, is_bound_to("", 0), "the port to go down")
    plug(chassis, guest)
    wait_for(agent, is_bound_to(chassis.place.system_id, 1), "the port to come up")


def unplug(chassis: Chassis, guest: Instance) -> None:
    chassis.switch.vsctl("remove", "Interface", guest.tap, "external_ids", "iface-id")


def plug(chassis: Chassis, guest: Instance) -> None:
    chassis.switch.vsctl("set", "Interface", guest.tap, f"external_ids:iface-id={guest.port}")


def test_a_network_that_comes_and_goes_is_followed(cloud: OvnCloud, agent: Agent) -> None:
    def has_it(page: Page) -> bool:
        return ("late",) in labels_of(page, "ovn_datapath_info", "name") and (
            "port of late",
        ) in labels_of(page, "ovn_port_binding_info", "logical_port")

    def is_whole(page: Page) -> bool:
        return labels_of(page, "ovn_logical_flow_info", *FLOW) == flows(cloud.central)

    cloud.central.nbctl("ls-add", "late", "--", "lsp-add", "late", "port of late")
    cloud.central.sync()
    wait_for(agent, has_it, "a new network")
    wait_for(agent, is_whole, "its logical flows")
    cloud.central.nbctl("ls-del", "late")
    cloud.central.sync()
    wait_for(agent, lambda page: not has_it(page), "the network to go")
    wait_for(agent, is_whole, "its logical flows to go")


@contextmanager
def paused(chassis: Chassis) -> Iterator[None]:
    """SIGSTOP an ovn-controller for as long as the block."""
    chassis.pause_controller()
    try:
        yield
    finally:
        chassis.resume_controller()


def test_who_lags_behind_is_seen(cloud: OvnCloud, agent: Agent) -> None:
    cloud.central.sync()
    names = [each.place.system_id for each in cloud.chassis]
    (wanted,) = northbound_rows(cloud.central, "NB_Global")

    def generations(page: Page) -> tuple[float, ...]:
        """Return those that were asked for, have come this far, and that each chassis has."""
        whole = (value_of(page, f"ovn_{name}") for name in ("nb_nb_cfg", "nb_sb_cfg", "sb_nb_cfg"))
        each = (value_of(page, "ovn_chassis_nb_cfg", chassis=name) for name in names)
        return *whole, value_of(page, "ovn_nb_hv_cfg"), *each

    now = wanted["nb_cfg"]
    with paused(cloud.chassis[1]):
        for _ in range(2):
            cloud.central.nbctl("--wait=sb", "sync")
        asked_for = (now + 2,) * 3
        wait_for(
            agent,
            lambda page: generations(page) == (*asked_for, now, now + 2, now),
            "the second chassis to lag",
        )
    cloud.central.sync()
    wait_for(agent, lambda page: generations(page) == (now + 3,) * 6, "nobody to lag")


# -- one chassis that asks for itself --------------------------------------------------------------


def own_bindings(cloud: OvnCloud, chassis: Chassis) -> set[tuple[str, ...]]:
    return {row for row in bindings(cloud.central) if row[2] == chassis.place.system_id}


def shows_only_its_own(page: Page, cloud: OvnCloud, chassis: Chassis) -> None:
    place = chassis.place
    assert labels_of(page, "ovn_chassis_info", "chassis", "hostname") == {
        (place.system_id, place.hostname)
    }
    assert labels_of(page, "ovn_tunnel_expected_info", "chassis", "remote_ip") == {
        (place.system_id, place.tunnel.ip)
    }
    own = own_bindings(cloud, chassis)
    assert labels_of(page, "ovn_port_binding_info", *BINDING) == own
    assert {(row[3],) for row in own} == labels_of(page, "ovn_datapath_info", "datapath")
    for name in ("ovn_logical_flow_info", "ovn_acl_info", "ovn_nb_nb_cfg"):
        assert name not in page, name


def is_told_of_itself(page: Page) -> bool:
    return "ovn_port_binding_info" in page and "ovn_chassis_nb_cfg" in page


def test_a_chassis_that_asks_where_ovn_controller_does_shows_only_its_own(cloud: OvnCloud) -> None:
    chassis = cloud.chassis[0]
    env = {"DATAPLANE_AGENT_OVN__CHASSIS_SOUTHBOUND": "ovn-remote"}
    with agent_on(chassis, env=env) as agent:
        page = wait_for(agent, is_told_of_itself, "its own rows")
        shows_only_its_own(page, cloud, chassis)
        assert value_of(page, "ovn_sb_nb_cfg") == value_of(page, "ovn_chassis_nb_cfg")


def test_what_concerns_others_is_not_even_sent_to_it(cloud: OvnCloud) -> None:
    chassis, other = cloud.chassis
    with recorded(chassis, (cloud.central.address, SOUTHBOUND_PORT)) as (port, heard):
        env = {"DATAPLANE_AGENT_OVN__CHASSIS_SOUTHBOUND": f"tcp:127.0.0.1:{port}"}
        with agent_on(chassis, env=env) as agent:
            page = wait_for(agent, is_told_of_itself, "its own rows")
            shows_only_its_own(page, cloud, chassis)
            before = value_of(page, "ovn_sb_nb_cfg")
            # Another's port changes; the generation that is wanted comes after that.
            unplug(other, cloud.guests["instance04"].instance)
            cloud.central.sync()
            plug(other, cloud.guests["instance04"].instance)
            cloud.central.sync()
            wait_for(
                agent, lambda page: value_of(page, "ovn_sb_nb_cfg") > before, "the next generation"
            )
    told = heard.decode()
    (own,) = (
        row["_uuid"]
        for row in southbound_rows(cloud.central, "Chassis")
        if row["name"] == chassis.place.system_id
    )
    ports = southbound_rows(cloud.central, "Port_Binding")
    assert {row["logical_port"] for row in ports if row["_uuid"] in told} == {
        row["logical_port"] for row in ports if row["chassis"] == own
    }
    assert chassis.place.system_id in told
    assert other.place.system_id not in told
    flows = southbound_rows(cloud.central, "Logical_Flow")
    assert [row for row in flows if row["_uuid"] in told] == []


# -- TLS -------------------------------------------------------------------------------------------


def test_a_southbound_over_tls_says_the_same(
    cloud: OvnCloud, page: Page, certificates: Certificates
) -> None:
    env = {
        **certificates.settings,
        "DATAPLANE_AGENT_OVN__DATABASES__SOUTHBOUND": cloud.central.southbound_tls,
    }
    with agent_beside(cloud.central, env) as agent:
        over_tls = wait_for(agent, lambda page: page.keys() >= OF_SOUTHBOUND, "all of it")
    for name in OF_SOUTHBOUND:
        assert in_order(over_tls[name]) == in_order(page[name]), name


@pytest.mark.usefixtures("ovn_installed")
def test_an_expired_certificate_is_called_that(certificates: Certificates) -> None:
    with OvnCentral(tls=certificates.keys(certificates.expired)) as central:
        env = {
            **certificates.settings,
            "DATAPLANE_AGENT_OVN__DATABASES__SOUTHBOUND": central.southbound_tls,
        }
        with agent_beside(central, env) as agent:
            page = wait_for(
                agent, lambda page: value_of(page, UP, **NORTHBOUND) == 1, "the Northbound"
            )
            source = json.loads(agent.get("/status").text)["sources"]["ovn_southbound"]
    assert value_of(page, UP, **SOUTHBOUND) == 0
    (problem,) = source["problems"].values()
    assert problem["reason"] == "refused"
    assert "certificate has expired" in problem["detail"]


# -- the documentation's queries -------------------------------------------------------------------


@pytest.mark.usefixtures("prometheus_installed")
def test_every_query_of_the_documentation_answers_what_it_is_asked(
    own_ovn_cloud: OvnCloud,
) -> None:
    """What the nodes lose and use, what their flows are, and what is wrong with them."""
    cloud = own_ovn_cloud
    compute1, compute2 = cloud.chassis
    one, other = (each.place.hostname for each in cloud.chassis)
    first, second = (cloud.guests[name].instance.port for name in ("instance01", "instance03"))
    assert len(QUERIES) == 8
    with asked(cloud) as prometheus:
        with traffic(cloud):
            prometheus.wait(
                {
                    (one, "br-int", "chk_in_port_sec"): True,
                    (one, "br-int", "ls_out_acl/lr_out_post_snat"): True,
                    (other, "br-int", "ls_out_acl/lr_out_post_snat"): True,
                },
                *("ovs_flow_table_info", "instance", "bridge", "name"),
            )
            prometheus.wait(
                {
                    (one, first, "from_instance"): True,
                    (one, first, "to_instance"): True,
                    (other, second, "to_instance"): True,
                },
                *("ovs_interface_info", "instance", "iface_id", "direction"),
            )
            prometheus.wait(
                rules(cloud), *("ovn_acl_info", "instance", "acl", "security_group_rule_id")
            )
            answer = prometheus.answer(
                *("ovn_logical_flow_info", "instance", "table", "priority", "match", "stage")
            )
            assert answer.keys() == flows_of_nodes(cloud)
        prometheus.nothing_is_wrong()
        with paused(compute2):
            compute2.switch.vsctl("del-port", compute2.tunnel(compute1))
            cloud.central.sbctl("set", "Port_Binding", second, "up=false")
            switch = cloud.document.network_row.columns["name"]
            cloud.central.nbctl("--wait=sb", "lsp-add", switch, "nobody's")
            prometheus.wait({(compute2.place.system_id,): True}, "ovn_sb_nb_cfg", "chassis")
            prometheus.wait({(compute1.place.tunnel.ip,): True}, "tunnel_expected", "remote_ip")
            prometheus.wait({(second,): False}, "binding_up", "logical_port")
        cloud.central.nbctl("lsp-del", "nobody's")
        cloud.central.sync()
        prometheus.nothing_is_wrong()
        cloud.central.kill_southbound()
        lost = ["not connected\n"] * 2
        wait_until(
            lambda: [each.controller_appctl("connection-status") for each in cloud.chassis] == lost,
            what="the loss",
        )
        with Prometheus(
            *(replace(job, interval="1s") for job in prometheus.prometheus.jobs)
        ) as new:
            begun_since = Asked(new, prometheus.hosts)
            begun_since.wait({(one,): False, (other,): False}, "database_connected", "instance")


# -- a Southbound that stands still ----------------------------------------------------------------


def test_a_southbound_that_stands_still_for_a_minute_is_missed_and_found_again(
    stalled: Stalled,
) -> None:
    cloud, beside, names, counts, before, begin = stalled
    wait_until(
        lambda: time.monotonic() > begin + PAUSED_SECONDS,
        timeout=2 * PAUSED_SECONDS,
        what="a minute to pass",  # the promise is about time passing
    )
    names.wait(lambda page: not OF_SOUTHBOUND & page.keys(), "old facts to go")
    end = time.monotonic()
    cloud.central.resume_southbound()
    cloud.central.sync()
    names.wait(lambda page: lasting(page) == lasting(before), "the same facts again")
    names.wait(lambda page: page.keys() >= LEVELS, "the newest generation")
    counts.wait(is_connected, "ovn-controller to be connected again")
    says_for_how_long(stalled, end)
    said = re.findall(
        r'event="source (up|down)" source=ovn_southbound(?: reason=(\w+))?', beside.log
    )
    assert said == [("up", ""), ("down", "timeout"), ("up", "")], beside.log
    assert {scrape.page[CONNECTED][0][1] for scrape in counts.since(begin, end)} == {0, 1}
    no_counter_ever_went_down(counts)
    for scrapes in names, counts:
        no_scrape_was_late(scrapes)
        started = {value_of(each.page, "process_start_time_seconds") for each in scrapes.all}
        assert len(started) == 1, "no restart"


def lasting(page: Page) -> dict[str, list[tuple[list[tuple[str, str]], float]]]:
    return {name: in_order(page.get(name, [])) for name in OF_SOUTHBOUND}


def in_order(rows: list[tuple[dict[str, str], float]]) -> list[tuple[list[tuple[str, str]], float]]:
    return sorted((sorted(labels.items()), value) for labels, value in rows)


def says_for_how_long(stalled: Stalled, end: float) -> None:
    """See what the agent says of a Southbound that it has lost: facts for a while, no levels."""
    scrapes = stalled.names.since(stalled.begin, end)
    lost = [scrape for scrape in scrapes if value_of(scrape.page, UP, **SOUTHBOUND) == 0]
    assert lost == scrapes[-len(lost) :], "it is not found before it answers"
    first = lost[0]
    assert lasting(first.page) == lasting(stalled.before)
    assert value_of(first.page, FAILURES, **SOUTHBOUND, reason="timeout") == 1
    for page, since in ((scrape.page, scrape.began - first.began) for scrape in lost):
        assert not LEVELS & page.keys()
        assert value_of(page, UP, **NORTHBOUND) == 1
        assert "ovn_nb_nb_cfg" in page
        if since < STATE_SECONDS - SLACK_SECONDS:
            assert page.keys() >= OF_SOUTHBOUND
        if since > STATE_SECONDS + SLACK_SECONDS:
            assert not OF_SOUTHBOUND & page.keys()
