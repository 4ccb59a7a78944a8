"""Instances have their names wherever an operator looks, and none where names are not wanted."""

import json
import re
from typing import Any

import pytest

from lab import traffic
from lab.compute import ComputeNode, neutron_port
from lab.instance import PROJECT, USER
from lab.process import wait_until
from tests.e2e.instance_page import (
    INFO,
    META,
    OPENSTACK,
    STATE,
    agent_on,
    counted_by_page,
    counted_by_virsh,
    series_of,
    wait_for_counters,
)
from tests.e2e.kernel_page import shown, wait_for
from tests.e2e.page import Page, labels_of, value_of
from tests.e2e.test_drops import HOUR, Watching, run, start, watching

pytestmark = [pytest.mark.e2e, pytest.mark.node]

AMPHORA, VIP, SSH = traffic.TAP_AMPHORA, traffic.TAP_VIP, traffic.TAP_SSH
WITHOUT_NAMES = {"DATAPLANE_AGENT_IDENTITY__NAMES": "false"}
ROUTER_PORT = "qr-b4b97d8a-7c"


def uri(node: ComputeNode) -> str:
    return f"--libvirt.uri={node.hypervisor.uri}"


def names_of(node: ComputeNode) -> set[str]:
    """Return every name that Nova wrote."""
    return {node.instance.name, node.instance.flavor, PROJECT, USER}


def owner_of(node: ComputeNode) -> dict[str, str]:
    return {
        "domain": node.instance.domain,
        "instance_id": node.instance.identity,
        "instance_name": node.instance.name,
        "project_name": PROJECT,
    }


def owner_in(row: dict[str, Any]) -> dict[str, str | None]:
    return {key: row[key] for key in ("domain", "instance_id", "instance_name", "project_name")}


# -- libvirtd that is started anew -----------------------------------------------------------------


def test_domains_stay_while_libvirtd_is_started_anew_and_their_counters_come_back_by_themselves(
    own_compute_node_with_domains: ComputeNode,
) -> None:
    node = own_compute_node_with_domains
    guest = node.guests[AMPHORA]

    def is_up(page: Page) -> bool:
        return value_of(page, "dataplane_agent_source_up", source="libvirt") == 1

    def described(page: Page) -> list[object]:
        return [page[STATE], *(series_of(page, name) for name in (OPENSTACK, META, INFO))]

    with agent_on(node) as agent:
        page = wait_for_counters(agent, node)
        before = described(page)
        assert is_up(page)
        node.hypervisor.kill_libvirtd()
        page = wait_for(agent, lambda page: not counted_by_page(page), "the counters to go")
        traffic.ping_out(node, 50)
        wait_until(lambda: guest.received_frames == 50, what="fifty answers")
        for _ in range(5):
            page = shown(agent)
            assert described(page) == before
            assert not counted_by_page(page)
            assert not is_up(page)
        node.hypervisor.start_libvirtd()
        virsh = counted_by_virsh(node.hypervisor)
        assert virsh[node.instance.domain, AMPHORA]["transmit_packets"] == 50
        page = wait_for(agent, lambda page: counted_by_page(page) == virsh, "libvirt's counters")
        assert described(page) == before
        assert is_up(page)
        assert agent.daemon.alive
    said = re.findall(r'event="source (up|down)" source=libvirt', agent.log)
    assert said == ["up", "down", "up"], agent.log


# -- dataplane-agent drops -------------------------------------------------------------------------


def lose(node: ComputeNode, port: int) -> None:
    """Lose packets of three taps: two of the amphora's, one of an instance without a domain."""
    traffic.spoofed(node, 7, AMPHORA)
    traffic.refused(node, 5, first_port=port)
    traffic.spoofed(node, 3, SSH)
    node.appctl("revalidator/wait")


def lost(found: Watching) -> dict[str, int]:
    """Return packets by interface."""
    return {one["interface"]: one["packets"] for one in found.answer["flows"]}


def test_drops_names_domain_instance_and_project(compute_node_with_domains: ComputeNode) -> None:
    node = compute_node_with_domains
    with watching(node, HOUR, "--json", uri(node)) as found:
        lose(node, 52000)
    assert found.code == 0, found.complained
    assert lost(found) == {AMPHORA: 7, VIP: 5, SSH: 3}
    owners = {one["interface"]: owner_in(one) for one in found.answer["flows"]}
    other = next(one["vm_uuid"] for one in found.answer["flows"] if one["interface"] == SSH)
    alone = {"domain": None, "instance_id": other, "instance_name": None, "project_name": None}
    assert owners == {AMPHORA: owner_of(node), VIP: owner_of(node), SSH: alone}
    assert found.complained == ""


def test_drops_names_them_to_a_person(compute_node_with_domains: ComputeNode) -> None:
    node = compute_node_with_domains
    with watching(node, HOUR, uri(node)) as found:
        lose(node, 52100)
    assert found.code == 0, found.complained
    instance = node.instance
    owner = {f"domain={instance.domain}", f"instance={instance.name}", f"project={PROJECT}"}
    said = details(found.said)
    assert said.keys() == {AMPHORA, VIP, SSH}
    assert said[AMPHORA] >= owner
    assert said[VIP] >= owner
    assert not {word.partition("=")[0] for word in said[SSH]} & {"domain", "instance", "project"}


def details(said: str) -> dict[str, set[str]]:
    """Return what is written below each flow, by its interface."""
    found: dict[str, set[str]] = {}
    below: set[str] = set()
    for line in said.splitlines():
        if re.match(r" +\d", line):
            below = found.setdefault(line.split()[-2], set())
        elif line.startswith("    "):
            below |= set(line.split())
    return found


@pytest.mark.parametrize("by", ["id", "name", "domain", "ID", "id without a domain"])
def test_drops_shows_one_instance_by_any_of_its_names(
    compute_node_with_domains: ComputeNode, by: str
) -> None:
    node = compute_node_with_domains
    instance = node.instance
    other = node.vsctl("get", "Interface", SSH, "external_ids:vm-uuid").strip().strip('"')
    wanted = {
        "id": instance.identity,
        "name": instance.name,
        "domain": instance.domain,
        "ID": instance.identity.upper(),
        "id without a domain": other,
    }[by]
    with watching(node, HOUR, "--json", uri(node), f"--instance={wanted}") as found:
        lose(node, 52200)
    assert found.code == 0, found.complained
    assert lost(found) == ({SSH: 3} if wanted == other else {AMPHORA: 7, VIP: 5})


def test_drops_says_which_instances_there_are_when_there_is_no_such_one(
    compute_node_with_domains: ComputeNode,
) -> None:
    node = compute_node_with_domains
    other = node.vsctl("get", "Interface", SSH, "external_ids:vm-uuid").strip().strip('"')
    done = run(node, uri(node), "--instance=web-1")
    assert (done.code, done.said) == (1, "")
    assert done.complained == f"no instance web-1; there are: {other}, {node.instance.domain}\n"


def test_drops_answers_without_names_while_libvirtd_stands_still(
    compute_node_with_domains: ComputeNode,
) -> None:
    node = compute_node_with_domains
    node.hypervisor.pause()
    try:
        with watching(node, HOUR, "--json", uri(node)) as found:
            lose(node, 52300)
    finally:
        node.hypervisor.resume()
    assert found.code == 0
    (said,) = found.complained.splitlines()
    assert said.startswith("not all instances are named: libvirt: ")
    assert lost(found) == {AMPHORA: 7, VIP: 5, SSH: 3}
    for one in found.answer["flows"]:
        assert one["instance_id"] == one["vm_uuid"] is not None
        assert (one["domain"], one["instance_name"], one["project_name"]) == (None, None, None)


# -- /status ---------------------------------------------------------------------------------------


def test_status_names_the_instance_of_each_device_and_of_those_that_cannot_be_opened(
    own_compute_node_with_domains: ComputeNode,
) -> None:
    node = own_compute_node_with_domains
    amphora: dict[str, str | None] = {**owner_of(node)}
    nobody = dict.fromkeys(amphora)
    other = node.vsctl("get", "Interface", SSH, "external_ids:vm-uuid").strip().strip('"')
    ids = f'external_ids:iface-id="{neutron_port(ROUTER_PORT)}"'
    mac = 'external_ids:attached-mac="fa:16:3e:00:00:01"'
    router = ("--", "set", "Interface", ROUTER_PORT, "type=internal", ids, mac)
    node.vsctl("add-port", "br-int", ROUTER_PORT, *router)
    with agent_on(node) as agent:

        def status() -> Any:
            return json.loads(agent.get("/status").text)

        def open_errors() -> dict[str, dict[str, str | None]]:
            return {row["interface"]: owner_in(row) for row in status()["open_errors"]}

        page = wait_for_counters(agent, node)
        assert (ROUTER_PORT,) in labels_of(page, "ovs_interface_info", "interface")
        whose = {AMPHORA: amphora, VIP: amphora, SSH: {**nobody, "instance_id": other}}
        assert status()["instances"] == {
            "followed": True,
            "domains": 1,
            "devices": 3,
            "interfaces": [
                {
                    "interface": tap,
                    "bridge": "br-int",
                    "iface_id": neutron_port(tap),
                    **whose[tap],
                }
                for tap in sorted(whose)
            ],
        }
        without_device = dict.fromkeys(("tap0ab9a23c-99", "tap635485ff-6c"), nobody)
        assert open_errors() == without_device
        node.hypervisor.destroy_domain(node.instance.domain)
        node.kill_vswitchd()
        node.start_vswitchd()
        wait_until(
            lambda: open_errors() == {**without_device, AMPHORA: amphora, VIP: amphora},
            what="the taps of the instance that is shut off to be missed by name",
        )


# -- identity.names --------------------------------------------------------------------------------


def everything(node: ComputeNode, env: dict[str, str]) -> dict[str, str]:
    """Return all that the agent and the command say, as text, by where it stands."""
    with agent_on(node, "--log.level=debug", env=env) as agent:
        wait_for_counters(agent, node)
        openmetrics = {"Accept": "application/openmetrics-text;version=1.0.0"}
        texts = {
            "page": agent.get().text,
            "OpenMetrics": agent.get(headers=openmetrics).text,
            "status": agent.get("/status").text,
        }
    texts["log"] = agent.log
    for form in ("--all-kinds", "--json"):
        with watching(node, HOUR, form, uri(node), **env) as found:
            lose(node, 52400)
        assert found.code == 0, found.complained
        texts[f"drops {form}"] = found.said + found.complained
    return texts


def test_no_name_of_novas_appears_anywhere_when_names_are_not_wanted(
    compute_node_with_domains: ComputeNode,
) -> None:
    node = compute_node_with_domains
    texts, names = everything(node, WITHOUT_NAMES), names_of(node)
    assert len(names) == 4
    found = {(place, name) for place, text in texts.items() for name in names if name in text}
    assert found == set()
    ids = {node.instance.identity, node.instance.project, node.instance.user}
    for place in ("page", "OpenMetrics"):
        assert {each for each in (*ids, node.instance.domain) if each not in texts[place]} == set()
    for place in ("status", "drops --json"):
        assert node.instance.identity in texts[place]
        assert node.instance.domain in texts[place]
    by_name = run_without_names(node, node.instance.name)
    assert (by_name.code, by_name.said) == (1, "")
    assert by_name.complained.startswith(f"no instance {node.instance.name}; there are: ")


def test_names_appear_where_they_are_wanted(compute_node_with_domains: ComputeNode) -> None:
    """Or the test above would search in vain."""
    node = compute_node_with_domains
    texts = everything(node, {})
    for place in ("page", "OpenMetrics"):
        assert {name for name in names_of(node) if name not in texts[place]} == set()
    for place in ("status", "drops --all-kinds", "drops --json"):
        assert node.instance.name in texts[place]
        assert PROJECT in texts[place]


def run_without_names(node: ComputeNode, instance: str) -> Watching:
    done = start(node, uri(node), f"--instance={instance}", **WITHOUT_NAMES)
    done.said, done.complained = done.process.communicate(timeout=60)
    return done
