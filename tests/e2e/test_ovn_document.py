"""The document's cloud on OVN, from the real one to the pages of its nodes: all of it, no more."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lab.agent import Agent
from lab.ovn import OvnCloud
from lab.ovn_chassis import INTEGRATION_BRIDGE, TUNNEL_BRIDGE, Chassis
from lab.recorded import parse_show
from tests.e2e.ovn_page import (
    ACL_STAGE,
    ACLS,
    BFD_STATES,
    CONNECTED,
    EVERY_SCRAPE_READS,
    PACKETS,
    UP,
    agent_on,
    cookie_of,
    dumped,
    logical_flows,
    northbound_rows,
    southbound_rows,
    switch_rows,
    table_names,
    wait_for,
)
from tests.e2e.page import Page, labels_of, parse, value_of

pytestmark = [pytest.mark.e2e, pytest.mark.node]

DROP_EVENTS = {
    *("lflow_cache_full", "lflow_cache_mem_full"),
    *("pinctrl_drop_buffered_packets_map", "pinctrl_drop_controller_event"),
    *("pinctrl_drop_put_mac_binding", "pinctrl_drop_put_vport_binding"),
    *("rconn_discarded", "rconn_overflow"),
}


class Seen(NamedTuple):
    """A chassis, and what its agent said of it when nothing was going on.

    Attributes:
        other: The chassis at the other end of its tunnel.
    """

    cloud: OvnCloud
    chassis: Chassis
    other: Chassis
    agent: Agent
    page: Page


@pytest.fixture(scope="module")
def cloud(ovn_installed: None) -> Iterator[OvnCloud]:  # noqa: ARG001 - needed, not used
    """One with a router, which the document has not, and so with BFD."""
    with OvnCloud() as cloud:
        cloud.add_router()
        cloud.central.sync()
        yield cloud


@pytest.fixture(scope="module", params=[0, 1], ids=["compute1", "compute2"])
def seen(request: pytest.FixtureRequest, cloud: OvnCloud) -> Iterator[Seen]:
    chassis, other = cloud.chassis[request.param], cloud.chassis[1 - request.param]
    with agent_on(chassis, env=EVERY_SCRAPE_READS) as agent:
        page = wait_for(agent, is_complete, "a page of all sources")
        yield Seen(cloud, chassis, other, agent, page)


def is_complete(page: Page) -> bool:
    """The first scrape connects, and may come before the kernel's namespaces are open."""
    up = {labels["source"] for labels, value in page[UP] if value == 1}
    return up >= {"conntrack", "openflow", "unixctl"} and ACLS in page


# -- the node of the document ----------------------------------------------------------------------


def test_all_sources_are_up_and_no_collector_misses_a_thing(seen: Seen) -> None:
    assert {labels["source"] for labels, value in seen.page[UP] if value == 1} == {
        *("conntrack", "netns", "openflow", "ovn_controller", "ovsdb", "rtnetlink", "unixctl")
    }
    failed = [x for x, v in seen.page["dataplane_agent_scrape_collector_success"] if v != 1]
    assert failed == []


def test_every_bridge_has_its_series(seen: Seen) -> None:
    real = {
        (row["name"], row["datapath_type"], str(row["fail_mode"] or ""), row["datapath_id"])
        for row in switch_rows(seen.chassis, "Bridge")
    }
    labels = ("bridge", "datapath_type", "fail_mode", "datapath_id")
    assert labels_of(seen.page, "ovs_bridge_info", *labels) == real
    document = seen.cloud.document.switch.bridges.values()
    assert {(name, mode) for name, _, mode, _ in real if name != TUNNEL_BRIDGE} == {
        (bridge.name, bridge.fail_mode) for bridge in document
    }
    (switch,) = switch_rows(seen.chassis, "Open_vSwitch")
    assert labels_of(seen.page, "ovs_build_info", "ovs_version") == {(switch["ovs_version"],)}


def interfaces(chassis: Chassis) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return bridge and row of each interface."""
    shown = parse_show(chassis.switch.vsctl("show")).bridges.values()
    bridges = {name: bridge.name for bridge in shown for name in bridge.interfaces}
    rows = {row["name"]: row for row in switch_rows(chassis, "Interface")}
    assert rows.keys() == bridges.keys()
    return {name: (bridges[name], row) for name, row in rows.items()}


def test_every_port_has_its_series(seen: Seen) -> None:
    real = interfaces(seen.chassis)
    assert labels_of(
        seen.page, "ovs_interface_info", "bridge", "interface", "type", "ofport", "mac"
    ) == {
        (bridge, name, row["type"] or "system", str(row["ofport"]), row["mac_in_use"])
        for name, (bridge, row) in real.items()
    }
    everywhere = {(bridge, name) for name, (bridge, _) in real.items()}
    for name in ("rx_packets", "tx_packets", "rx_bytes", "tx_bytes"):
        shown = labels_of(seen.page, f"ovs_interface_{name}_total", "bridge", "interface")
        assert shown == everywhere, name
    document = {
        (bridge.name, interface.name, interface.type or "system")
        for bridge in seen.cloud.document.switch.bridges.values()
        for interface in bridge.interfaces.values()
    }
    assert document < labels_of(seen.page, "ovs_interface_info", "bridge", "interface", "type")


def test_every_logical_port_that_is_bound_is_known_by_its_interface(seen: Seen) -> None:
    printed = seen.chassis.controller_appctl("debug/dump-local-bindings")
    bindings = re.findall(
        r"^name: \[(\S+)\], OVS interface name : \[(\S+)\]", printed, re.MULTILINE
    )
    assert len(bindings) == 5
    named = labels_of(seen.page, "ovs_interface_info", "iface_id", "interface")
    assert {row for row in named if row[0]} == set(bindings)
    (row,) = (
        row
        for row in southbound_rows(seen.cloud.central, "Chassis")
        if row["name"] == seen.chassis.place.system_id
    )
    ports = southbound_rows(seen.cloud.central, "Port_Binding")
    here = {port["logical_port"] for port in ports if port["chassis"] == row["_uuid"]}
    vifs = {port["logical_port"] for port in ports if port["type"] == ""} & here
    everywhere = {port["logical_port"] for port in ports if port["type"] == "localport"}
    assert {logical_port for logical_port, _ in bindings} == vifs | everywhere
    assert seen.page["ovn_controller_local_bindings"] == [
        ({"type": "container"}, 0),
        ({"type": "localport"}, len(everywhere)),
        ({"type": "vif"}, len(vifs)),
        ({"type": "virtual"}, 0),
    ]


def test_instances_are_those_that_nova_wrote_there(seen: Seen) -> None:
    guests = [g.instance for g in seen.cloud.guests.values()]
    labels = ("interface", "bridge", "iface_id", "instance_id", "attached_mac")
    assert labels_of(seen.page, "dataplane_instance_interface_info", *labels) == {
        (each.tap, INTEGRATION_BRIDGE, each.port, each.server, each.party.mac)
        for each in guests
        if seen.cloud.chassis[each.place] is seen.chassis
    }


def test_the_patch_port_says_which_physical_network_it_leads_to(seen: Seen) -> None:
    logical_ports = {
        row["logical_port"]: row["options"]["network_name"]
        for row in southbound_rows(seen.cloud.central, "Port_Binding")
        if row["type"] == "localnet"
    }
    assert logical_ports.keys() == {seen.cloud.document.provider_port}
    real = interfaces(seen.chassis)
    of_port = {row["name"]: row["external_ids"] for row in switch_rows(seen.chassis, "Port")}
    expected = {
        (name, of_port[name]["ovn-localnet-port"], real[row["options"]["peer"]][0])
        for name, (bridge, row) in real.items()
        if row["type"] == "patch" and bridge == INTEGRATION_BRIDGE
    }
    labels = ("interface", "logical_port", "provider_bridge", "physical_network")
    assert labels_of(seen.page, "ovn_localnet_port_info", *labels) == {
        (*row, logical_ports[row[1]]) for row in expected
    }
    assert len(expected) == 1


def test_the_tunnel_has_its_far_end_and_its_key(seen: Seen) -> None:
    real = {
        (name, bridge, row["type"], row["options"]["remote_ip"], row["options"]["key"])
        for name, (bridge, row) in interfaces(seen.chassis).items()
        if row["type"] == "geneve"
    }
    labels = ("device", "bridge", "tunnel_type", "remote_ip", "key")
    assert labels_of(seen.page, "dataplane_tunnel_endpoint_info", *labels) == real
    other = seen.other.place
    (chassis,) = (
        row
        for row in southbound_rows(seen.cloud.central, "Chassis")
        if row["name"] == other.system_id
    )
    encaps = southbound_rows(seen.cloud.central, "Encap")
    assert {(kind, ip, key) for _, _, kind, ip, key in real} == {
        (encap["type"], encap["ip"], "flow")
        for encap in encaps
        if encap["_uuid"] in (chassis["encaps"], *chassis["encaps"])
    }


def test_bfd_of_the_tunnel_is_what_the_switch_says(seen: Seen) -> None:
    device = seen.chassis.tunnel(seen.other)
    _, row = interfaces(seen.chassis)[device]
    status = row["bfd_status"]
    key = {"bridge": INTEGRATION_BRIDGE, "interface": device}
    real = {
        "state": BFD_STATES.index(status["state"]),
        "remote_state": BFD_STATES.index(status["remote_state"]),
        "forwarding": status["forwarding"] == "true",
        "flaps_total": float(status["flap_count"]),
    }
    shown = {name: seen.page[f"ovs_interface_bfd_{name}"] for name in real}
    assert shown == {name: [(key, value)] for name, value in real.items()}
    assert real["state"] == real["remote_state"] == BFD_STATES.index("up")


def test_the_metadata_namespace_has_its_role_and_its_network(seen: Seen) -> None:
    printed = seen.chassis.run("ip", "netns", "list").splitlines()
    real = {
        (line.split()[0], "ovnmeta", line.split()[0].removeprefix("ovnmeta-")) for line in printed
    }
    assert labels_of(seen.page, "netns_info", "netns", "role", "id") == real
    network = seen.cloud.document.network["id"]
    assert real == {(f"ovnmeta-{network}", "ovnmeta", network)}
    ((netns, _, _),) = real
    links = json.loads(seen.chassis.run("ip", "-json", "link", "show", netns=netns))
    labels = ("netns", "device", "mac")
    within = {row for row in labels_of(seen.page, "netns_network_info", *labels) if row[0]}
    assert within == {
        (netns, link["ifname"], link["address"]) for link in links if link["ifname"] != "lo"
    }


@pytest.mark.parametrize("bridge", ["br-int", "br-provider", "br-mgmt", "br-eth0"])
def test_every_flow_has_its_series_and_its_cookie(seen: Seen, bridge: str) -> None:
    flows = dumped(seen.chassis, bridge)
    key = ("table", "priority", "match")
    real = {(str(flow.table), str(flow.priority), flow.match) for flow in flows}
    assert len(real) == len(flows)
    of_bridge = {
        name: [(labels, value) for labels, value in seen.page[name] if labels["bridge"] == bridge]
        for name in ("ovs_flow_packets_total", "ovs_flow_info")
    }
    assert labels_of(of_bridge, "ovs_flow_packets_total", *key) == real
    assert labels_of(of_bridge, "ovs_flow_info", *key, "cookie") == {
        (str(flow.table), str(flow.priority), flow.match, flow.cookie) for flow in flows
    }
    assert value_of(seen.page, "ovs_bridge_flows", bridge=bridge) == len(flows)


def test_the_datapath_has_the_lookups_that_dpctl_prints(seen: Seen) -> None:
    def printed() -> tuple[int, ...]:
        text = seen.chassis.switch.appctl("dpctl/show")
        found = re.search(r"lookups: hit:(\d+) missed:(\d+) lost:(\d+)", text)
        assert found
        return tuple(map(int, found.groups()))

    before, page, after = printed(), parse(seen.agent.metrics()), printed()
    names = ("hits", "missed", "lost")
    shown = tuple(
        value_of(page, f"ovs_datapath_lookup_{name}_total", datapath="netdev@ovs-netdev")
        for name in names
    )
    assert all(a <= b <= c for a, b, c in zip(before, shown, after, strict=True))
    assert before[0] > 0, "BFD at least"


# -- what the node's database says to ovn-controller -----------------------------------------------


def test_encapsulation_mappings_and_remote_are_those_of_the_database(seen: Seen) -> None:
    (row,) = switch_rows(seen.chassis, "Open_vSwitch")
    ids = row["external_ids"]
    for name, label, key in (
        ("encap_ip", "ipaddress", "ovn-encap-ip"),
        ("encap_type", "type", "ovn-encap-type"),
        ("bridge_mappings", "mapping", "ovn-bridge-mappings"),
        ("sb_connection_method", "connection_method", "ovn-remote"),
    ):
        assert seen.page[f"ovn_controller_{name}"] == [({label: ids[key]}, 1)], name
    assert seen.page["ovn_controller_monitor_all"] == [({}, 0)]
    encaps = southbound_rows(seen.cloud.central, "Encap")
    assert {(ids["ovn-encap-ip"], ids["ovn-encap-type"])} == {
        (encap["ip"], encap["type"])
        for encap in encaps
        if encap["chassis_name"] == seen.chassis.place.system_id
    }


def test_the_installed_generation_is_the_one_that_was_asked_for(seen: Seen) -> None:
    seen.cloud.central.sync()
    (wanted,) = northbound_rows(seen.cloud.central, "NB_Global")
    (private,) = (
        row
        for row in southbound_rows(seen.cloud.central, "Chassis_Private")
        if row["name"] == seen.chassis.place.system_id
    )
    page = wait_for(
        seen.agent,
        lambda page: value_of(page, "ovn_controller_nb_cfg") == wanted["nb_cfg"],
        "the generation",
    )
    assert private["nb_cfg"] == wanted["nb_cfg"] == wanted["hv_cfg"]
    since = value_of(page, "ovn_controller_nb_cfg_timestamp_seconds")
    assert since == pytest.approx(private["nb_cfg_timestamp"] / 1000, abs=0.0005)


# -- what ovn-controller says of itself ------------------------------------------------------------


def test_release_and_connection_are_what_ovn_controller_says(seen: Seen) -> None:
    lines = seen.chassis.controller_appctl("version").split("\n")
    (build,) = seen.page["ovn_controller_build_info"]
    assert (build[0]["version"], build[0]["ovs_lib_version"]) == (
        lines[0].removeprefix("ovn-controller "),
        lines[1].removeprefix("Open vSwitch Library "),
    )
    assert seen.chassis.controller_appctl("connection-status") == "connected\n"
    assert seen.page[CONNECTED] == [({}, 1)]


def test_it_began_when_its_process_did(seen: Seen) -> None:
    pid = str(seen.chassis.controller.pid)
    ticks = int(Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[19])
    booted = next(
        int(line.split()[1])
        for line in Path("/proc/stat").read_text().splitlines()
        if line.startswith("btime ")
    )
    since = value_of(seen.page, "ovn_controller_start_time_seconds")
    assert since == pytest.approx(booted + ticks / os.sysconf("SC_CLK_TCK"), abs=1.5)


Nodes = dict[str, tuple[int, ...]]


def engine(chassis: Chassis) -> Nodes:
    """Return recomputes, computes and cancels by node."""
    text = chassis.controller_appctl("inc-engine/show-stats")
    found = re.findall(
        r"^Node: (\S+)\n- recompute: +(\d+)\n- compute: +(\d+)\n- (?:abort|cancel): +(\d+)$",
        text,
        re.MULTILINE,
    )
    assert len(found) == text.count("Node:")
    return {name: tuple(map(int, numbers)) for name, *numbers in found}


def test_every_node_of_the_engine_has_its_three_counters(seen: Seen) -> None:
    before = engine(seen.chassis)
    page = parse(seen.agent.metrics())
    after = engine(seen.chassis)
    for number, name in enumerate(("recompute", "compute", "cancel")):
        shown = {
            labels["engine_node"]: value
            for labels, value in page[f"ovn_controller_engine_{name}_total"]
        }
        assert shown.keys() == before.keys() == after.keys()
        for node, value in shown.items():
            assert before[node][number] <= value <= after[node][number], (name, node)
    assert before["logical_flow_output"][0] > 0


def coverage(chassis: Chassis) -> dict[str, int]:
    text = chassis.controller_appctl("coverage/show")
    return {name: int(n) for name, n in re.findall(r"^(\w+) .* total: (\d+)$", text, re.MULTILINE)}


def test_coverage_has_every_event_and_drops_from_0(seen: Seen) -> None:
    before = coverage(seen.chassis)
    page = parse(seen.agent.metrics())
    after = coverage(seen.chassis)
    shown = {
        labels["event"]: value for labels, value in page["ovn_controller_coverage_events_total"]
    }
    assert shown.keys() >= before.keys() | DROP_EVENTS
    for event in shown.keys() & before.keys():
        assert before[event] <= shown[event] <= after[event], event
    for event in shown.keys() - after.keys():
        read = seen.chassis.controller_appctl("coverage/read-counter", event)
        assert int(read) == shown[event] == 0, event


def test_memory_cache_and_stopwatches_are_those_it_prints(seen: Seen) -> None:
    memory = dict(each.split(":") for each in said(seen, "memory/show").split())
    assert labels_of(seen.page, "ovn_controller_memory_usage", "facility") == {
        (each,) for each in memory
    }
    cache = dict(
        re.findall(r"^(.+?) *: *(\w+)$", said(seen, "lflow-cache/show-stats"), re.MULTILINE)
    )
    assert seen.page["ovn_controller_lflow_cache_enabled"] == [({}, cache.pop("Enabled") == "true")]
    assert {
        labels["cache"]: value for labels, value in seen.page["ovn_controller_lflow_cache_entries"]
    } == {name: int(value) for name, value in cache.items() if name.startswith("cache-")}
    watches = set(
        re.findall(r"^Statistics for '(.+)'$", said(seen, "stopwatch/show"), re.MULTILINE)
    )
    shown = labels_of(seen.page, "ovn_controller_stopwatch_samples_total", "stopwatch")
    assert shown == {(each,) for each in watches}


def said(seen: Seen, command: str) -> str:
    return seen.chassis.controller_appctl(command)


# -- logical flows ---------------------------------------------------------------------------------


def test_every_stage_that_has_flows_here_is_counted_and_no_other(seen: Seen) -> None:
    cookies = {flow.cookie for flow in dumped(seen.chassis)}
    real = {
        (flow.pipeline, flow.stage)
        for flow in logical_flows(seen.cloud.central)
        if flow.cookie in cookies
    }
    assert labels_of(seen.page, PACKETS, "pipeline", "stage") == real
    kinds = {(pipeline, stage[:3]) for pipeline, stage in real}
    assert kinds == {("ingress", "ls_"), ("egress", "ls_"), ("ingress", "lr_"), ("egress", "lr_")}
    assert len(real) > 55


def test_every_table_is_named_by_the_stages_whose_flows_it_has(seen: Seen) -> None:
    stages = {flow.cookie: flow.stage for flow in logical_flows(seen.cloud.central)}
    names = table_names(seen.page)
    met = 0
    for flow in dumped(seen.chassis):
        if flow.cookie in stages:
            assert stages[flow.cookie] in names[INTEGRATION_BRIDGE, str(flow.table)], flow.text
            met += 1
    assert met > 300


def test_every_acl_that_has_flows_here_is_counted_and_no_other(seen: Seen) -> None:
    cookies = {flow.cookie for flow in dumped(seen.chassis)}
    acls = {row["_uuid"][:8] for row in northbound_rows(seen.cloud.central, "ACL")}
    real = {
        (cookie, row["pipeline"], str(row["table_id"]), row["external_ids"]["stage-hint"])
        for row in southbound_rows(seen.cloud.central, "Logical_Flow")
        if (cookie := cookie_of(row["_uuid"])) in cookies
        and ACL_STAGE.fullmatch(row["external_ids"]["stage-name"])
        and row["external_ids"].get("stage-hint") in acls
    }
    assert labels_of(seen.page, ACLS, "cookie", "pipeline", "logical_table") == {
        row[:3] for row in real
    }
    assert len({hint for *_, hint in real}) > 8
