"""What a Southbound says becomes the model, in every release, and only changes are made again."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from agent.model.ovn import (
    BfdSession,
    Chassis,
    DatapathBinding,
    Encap,
    LogicalFlow,
    PortBinding,
    Southbound,
    cookie_of,
)
from agent.sources import ovn_following
from tests.sources.ovn.servers import (
    RELEASES,
    Client,
    OvnServer,
    Southbounds,
    delete,
    mutate,
    named,
    reference,
    references,
    texts,
    update,
)

pytestmark = pytest.mark.usefixtures("open_vswitch", "prompt")

SWITCH = "11111111-2222-4333-8444-555555555555"
SWITCH_IDS = {"logical-switch": SWITCH, "name": "neutron-net", "name2": "blue"}
ROUTER = "66666666-7777-4888-8999-aaaaaaaaaaaa"
STAGE = "ls_out_acl_eval"
FLOW_IDS = {"stage-name": STAGE, "stage-hint": "5c253e91", "source": "northd.c:1"}
SINCE_MS = 1_700_000_000_123


class Rows(NamedTuple):
    """UUIDs of what ``fill`` inserted."""

    sb_global: str
    encap: str
    second_encap: str
    chassis: str
    switch: str
    router: str
    port: str
    patch: str
    acl_flow: str
    other_flow: str
    private: str = ""
    bfd: str = ""


def fill(client: Client) -> Rows:
    """Insert a chassis with a port on a switch beside a router, as ovn-northd would."""
    insert = client.insert
    operations = [
        insert("SB_Global", nb_cfg=7),
        insert("Encap", type="geneve", ip="192.0.2.1", chassis_name="hv1") | {"uuid-name": "e1"},
        insert("Encap", type="vxlan", ip="192.0.2.1", chassis_name="hv1") | {"uuid-name": "e2"},
        insert(
            "Chassis",
            name="hv1",
            hostname="node-1",
            encaps=["set", [named("e1"), named("e2")]],
            nb_cfg=5,
        )
        | {"uuid-name": "c"},
        insert(
            "Datapath_Binding",
            tunnel_key=3,
            type="logical-switch",
            nb_uuid=reference(SWITCH),
            external_ids=texts(
                **{"logical-switch": SWITCH, "name": "neutron-net", "name2": "blue"}
            ),
        )
        | {"uuid-name": "d"},
        insert(
            "Datapath_Binding",
            tunnel_key=2,
            type="logical-router",
            nb_uuid=reference(ROUTER),
            external_ids=texts(**{"logical-router": ROUTER, "name": "neutron-router"}),
        )
        | {"uuid-name": "r"},
        insert(
            "Port_Binding",
            logical_port="port-b",
            datapath=named("d"),
            tunnel_key=4,
            chassis=named("c"),
            up=True,
        ),
        insert(
            "Port_Binding", logical_port="port-a", datapath=named("r"), tunnel_key=1, type="patch"
        ),
        insert(
            "Logical_Flow",
            logical_datapath=named("d"),
            pipeline="egress",
            table_id=4,
            priority=2002,
            match="outport == @pg",
            actions="next;",
            external_ids=texts(**FLOW_IDS),
        ),
        insert(
            "Logical_Flow",
            logical_datapath=named("d"),
            pipeline="ingress",
            table_id=0,
            priority=0,
            match="1",
            actions="drop;",
        ),
    ]
    if client.has("Chassis_Private"):
        operations.append(
            insert("Chassis_Private", name="hv1", nb_cfg=6, nb_cfg_timestamp=SINCE_MS)
        )
    if client.has("BFD"):
        operations.append(
            insert(
                "BFD",
                logical_port="lrp-1",
                dst_ip="192.0.2.9",
                status="up",
                chassis_name="hv1",
                src_port=50000,
            )
        )
    return Rows(*client.transact(*operations))


def expected(client: Client, rows: Rows) -> Southbound:
    private = client.has("Chassis_Private")
    bfd = (
        BfdSession("lrp-1", "192.0.2.9", "up", "hv1" if client.has("BFD", "chassis_name") else None)
        if client.has("BFD")
        else None
    )
    return Southbound(
        nb_cfg=7,
        chassis=(
            Chassis(
                "hv1",
                "node-1",
                (Encap("geneve", "192.0.2.1"), Encap("vxlan", "192.0.2.1")),
                nb_cfg=6 if private else 5,
                nb_cfg_timestamp_seconds=SINCE_MS / 1000 if private else None,
            ),
        ),
        datapaths=(
            DatapathBinding(2, "router", "neutron-router", None, ROUTER),
            DatapathBinding(3, "switch", "neutron-net", "blue", SWITCH),
        ),
        bindings=(
            PortBinding("port-a", "patch", 2, 1),
            PortBinding(
                "port-b", "vif", 3, 4, "hv1", up=True if client.has("Port_Binding", "up") else None
            ),
        ),
        bfd=(bfd,) if bfd else (),
        logical_flows=(
            LogicalFlow(cookie_of(rows.acl_flow), "egress", 4, 2002, STAGE, "5c253e91"),
            LogicalFlow(cookie_of(rows.other_flow), "ingress", 0, 0),
        ),
    )


def sorted_flows(known: Southbound) -> list[LogicalFlow]:
    return sorted(known.logical_flows or (), key=lambda flow: flow.cookie)


@pytest.mark.parametrize("release", RELEASES)
async def test_knows_what_the_database_holds(tmp_path: Path, release: str) -> None:
    with OvnServer(tmp_path, release=release) as server:
        client = server.client
        want = expected(client, fill(client))
        observer = Southbounds(server.remote)
        async with observer.running():
            known = await observer.until(lambda it: it.logical_flows is not None)
    assert known.schema == server.schema["version"]
    assert sorted_flows(known) == sorted_flows(want)
    for part in ("nb_cfg", "chassis", "datapaths", "bindings", "bfd", "left_out"):
        assert getattr(known, part) == getattr(want, part)
    assert observer.events == {}


@pytest.mark.parametrize("release", RELEASES)
async def test_follows_every_kind_of_change(tmp_path: Path, release: str) -> None:
    with OvnServer(tmp_path, release=release) as server:
        client = server.client
        rows = fill(client)
        observer = Southbounds(server.remote)
        async with observer.running():
            before = await observer.until(lambda it: it.logical_flows is not None)
            client.transact(
                update("SB_Global", rows.sb_global, nb_cfg=8),
                # a map: one key has another value, one is gone, one is new
                mutate(
                    "Datapath_Binding",
                    rows.switch,
                    ["external_ids", "delete", ["set", ["name2", "name"]]],
                    ["external_ids", "insert", texts(name="renamed", other="x")],
                ),
                # a set of references: one is gone; a single value; one that may be empty
                mutate(
                    "Chassis", rows.chassis, ["encaps", "delete", references(rows.second_encap)]
                ),
                delete("Encap", rows.second_encap),
                update("Chassis", rows.chassis, hostname="node-2"),
                update("Datapath_Binding", rows.router, tunnel_key=9),
                update("Port_Binding", rows.port, chassis=["set", []], type="virtual"),
                delete("Port_Binding", rows.patch),
                mutate(
                    "Logical_Flow",
                    rows.acl_flow,
                    ["external_ids", "delete", texts(**{"stage-hint": "5c253e91"})],
                ),
                update("Logical_Flow", rows.acl_flow, priority=1, table_id=5),
                delete("Logical_Flow", rows.other_flow),
                client.insert(
                    "Port_Binding",
                    logical_port="port-0",
                    datapath=reference(rows.router),
                    tunnel_key=7,
                ),
            )
            known = await observer.until(lambda it: it.nb_cfg == 8)
            await asyncio.sleep(0)  # events come after the publication
    assert known.chassis[0].hostname == "node-2"
    assert known.chassis[0].encaps == (Encap("geneve", "192.0.2.1"),)
    assert known.datapaths == (
        DatapathBinding(3, "switch", "renamed", None, SWITCH),
        DatapathBinding(9, "router", "neutron-router", None, ROUTER),
    )
    assert known.bindings == (
        PortBinding("port-0", "vif", 9, 7),
        PortBinding("port-b", "virtual", 3, 4, up=before.bindings[1].up),
    )
    assert known.logical_flows == (LogicalFlow(cookie_of(rows.acl_flow), "egress", 5, 1, STAGE),)
    assert observer.events == {
        "sb_global_changed": 1,
        "chassis_changed": 1,
        "encap_removed": 1,
        "datapath_binding_changed": 2,
        "port_binding_changed": 1,
        "port_binding_added": 1,
        "port_binding_removed": 1,
        "logical_flow_changed": 1,
    }


async def test_makes_only_what_changed_again(tmp_path: Path) -> None:
    with OvnServer(tmp_path) as server:
        client = server.client
        rows = fill(client)
        observer = Southbounds(server.remote)
        async with observer.running():
            before = await observer.until(lambda it: it.logical_flows is not None)
            client.transact(update("Port_Binding", rows.patch, tunnel_key=8))
            known = await observer.until(lambda it: it.bindings[0].tunnel_key == 8)
    assert known.bindings[0] is not before.bindings[0]
    assert known.bindings[1] is before.bindings[1]
    assert known.chassis is before.chassis
    assert known.datapaths[0] is before.datapaths[0]
    assert known.bfd[0] is before.bfd[0]
    assert known.logical_flows
    assert before.logical_flows
    assert {id(it) for it in known.logical_flows} == {id(it) for it in before.logical_flows}


async def test_a_flood_of_changes_is_published_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ovn_following, "PUBLISH_SECONDS", 0.5)
    with OvnServer(tmp_path) as server:
        client = server.client
        rows = fill(client)
        observer = Southbounds(server.remote)
        async with observer.running():
            await observer.until(lambda it: it.logical_flows is not None)
            count = len(observer.known)
            for number in range(500):
                client.transact(update("SB_Global", rows.sb_global, nb_cfg=100 + number))
            await observer.until(lambda it: it.nb_cfg == 599)
    assert observer.events["sb_global_changed"] <= 500
    elapsed = observer.at[-1] - observer.at[count - 1]
    assert len(observer.known) - count <= elapsed / 0.5 + 1
    gaps = [later - at for at, later in pairwise(observer.at)]
    assert all(gap > 0.45 for gap in gaps[count:])


async def test_goes_without_logical_flows_when_they_are_not_wanted(tmp_path: Path) -> None:
    with OvnServer(tmp_path) as server:
        rows = fill(server.client)
        observer = Southbounds(
            server.remote, ovn={"databases": {"southbound": "unix:x", "logical_flows": False}}
        )
        async with observer.running():
            await observer.until(lambda it: bool(it.bindings))
            server.client.transact(update("SB_Global", rows.sb_global, nb_cfg=8))
            await observer.until(lambda it: it.nb_cfg == 8)
    assert {it.logical_flows for it in observer.known} == {None}


async def test_an_empty_database_is_a_southbound_without_anything(tmp_path: Path) -> None:
    with OvnServer(tmp_path) as server:
        observer = Southbounds(server.remote)
        async with observer.running():
            known = await observer.until(lambda it: it.logical_flows is not None)
    assert known == Southbound(schema=server.schema["version"], logical_flows=())
