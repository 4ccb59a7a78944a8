"""A compute node asks a Southbound for what concerns it, and for nothing else."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent.model.ovn import Chassis, DatapathBinding, Encap, PortBinding
from agent.sources import ovn_southbound
from tests.sources.ovn.servers import (
    RELEASES,
    Client,
    OvnServer,
    Southbounds,
    delete,
    named,
    reference,
    update,
)

pytestmark = pytest.mark.usefixtures("open_vswitch", "prompt")


def chassis(client: Client, name: str) -> list[dict[str, Any]]:
    encap = client.insert("Encap", type="geneve", ip=f"ip-of-{name}", chassis_name=name)
    rows = [
        encap | {"uuid-name": f"encap_{name}"},
        client.insert("Chassis", name=name, hostname=f"host-{name}", encaps=named(f"encap_{name}")),
    ]
    if client.has("Chassis_Private"):
        rows.append(client.insert("Chassis_Private", name=name, nb_cfg=4))
    return rows


def add_chassis(client: Client, name: str) -> str:
    return client.transact(*chassis(client, name))[1]


def add_datapath(client: Client, key: int) -> str:
    return client.transact(client.insert("Datapath_Binding", tunnel_key=key))[0]


def add_port(
    client: Client, name: str, key: int, datapath: str, where: str = "", **row: Any
) -> str:
    if where:
        row["chassis"] = reference(where)
    return client.transact(
        client.insert(
            "Port_Binding",
            logical_port=name,
            tunnel_key=key,
            datapath=reference(datapath),
            **row,
        )
    )[0]


@pytest.mark.parametrize("release", RELEASES)
async def test_knows_its_chassis_and_what_is_bound_there(tmp_path: Path, release: str) -> None:
    with OvnServer(tmp_path, release=release) as server:
        client = server.client
        here, there = (add_chassis(client, name) for name in ("hv1", "hv2"))
        one, two, three = (add_datapath(client, key) for key in (11, 12, 13))
        add_port(client, "p1", 1, one, here)
        moved = add_port(client, "p2", 2, two, there)
        add_port(client, "p3", 3, three)
        observer = Southbounds(server.remote, chassis="hv1")
        async with observer.running():
            known = await observer.until(lambda it: bool(it.bindings))
            assert observer.known == [known]  # all of it at once
            assert [it.name for it in known.chassis] == ["hv1"]
            assert known.chassis[0].encaps == (Encap("geneve", "ip-of-hv1"),)
            assert known.chassis[0].nb_cfg == (4 if client.has("Chassis_Private") else 0)
            assert [it.logical_port for it in known.bindings] == ["p1"]
            assert [it.tunnel_key for it in known.datapaths] == [11]
            assert known.logical_flows is None
            client.transact(update("Port_Binding", moved, chassis=reference(here)))
            known = await observer.until(lambda it: len(it.bindings) == 2)
            assert [it.datapath for it in known.bindings] == [11, 12]
            assert [it.tunnel_key for it in known.datapaths] == [11, 12]
            client.transact(update("Port_Binding", moved, chassis=["set", []]))
            known = await observer.until(lambda it: len(it.bindings) == 1)
            assert [it.tunnel_key for it in known.datapaths] == [11]


async def test_finds_its_chassis_when_it_registers_and_again_under_another_uuid(
    tmp_path: Path,
) -> None:
    with OvnServer(tmp_path) as server:
        client = server.client
        datapath = add_datapath(client, 5)
        port = add_port(client, "p1", 1, datapath)
        observer = Southbounds(server.remote, chassis="hv1")
        async with observer.running():
            known = await observer.until(lambda _: True)
            assert (known.chassis, known.bindings, known.datapaths) == ((), (), ())
            first = add_chassis(client, "hv1")
            client.transact(update("Port_Binding", port, chassis=reference(first)))
            known = await observer.until(lambda it: bool(it.bindings))
            assert known.bindings == (PortBinding("p1", "vif", 5, 1, "hv1"),)
            encap = client.insert("Encap", type="vxlan", ip="new", chassis_name="hv1")
            second = client.transact(
                delete("Chassis", first),
                {"op": "delete", "table": "Encap", "where": []},
                encap | {"uuid-name": "e"},
                client.insert("Chassis", name="hv1", encaps=named("e")),
            )[1]
            client.transact(update("Port_Binding", port, chassis=reference(second), up=True))
            known = await observer.until(lambda it: any(each.up for each in it.bindings))
    assert known.bindings == (PortBinding("p1", "vif", 5, 1, "hv1", up=True),)
    assert known.chassis == (Chassis("hv1", encaps=(Encap("vxlan", "new"),), nb_cfg=4),)


async def test_knows_ports_that_are_on_their_way_to_it(tmp_path: Path) -> None:
    with OvnServer(tmp_path) as server:
        client = server.client
        here, there = (add_chassis(client, name) for name in ("hv1", "hv2"))
        datapath = add_datapath(client, 5)
        add_port(client, "p1", 1, datapath, there, additional_chassis=reference(here))
        observer = Southbounds(server.remote, chassis="hv1")
        async with observer.running():
            known = await observer.until(lambda it: bool(it.bindings))
    # whose it is now is not asked for
    assert known.bindings == (PortBinding("p1", "vif", 5, 1, chassis=None),)


async def test_asks_for_all_datapaths_when_it_has_ports_in_very_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ovn_southbound, "MOST_CONDITIONS", 2)
    with OvnServer(tmp_path) as server:
        client = server.client
        here = add_chassis(client, "hv1")
        datapaths = [add_datapath(client, key) for key in (11, 12, 13, 14)]
        ports = [
            add_port(client, f"p{number}", number, datapath, here)
            for number, datapath in enumerate(datapaths[:3], 1)
        ]
        observer = Southbounds(server.remote, chassis="hv1")
        async with observer.running():
            known = await observer.until(lambda it: len(it.bindings) == 3)
            assert [it.tunnel_key for it in known.datapaths] == [11, 12, 13, 14]
            client.transact(delete("Port_Binding", ports[2]))
            known = await observer.until(lambda it: len(it.bindings) == 2)
            assert known.datapaths == (DatapathBinding(11), DatapathBinding(12))


async def test_what_happens_elsewhere_is_not_heard_of(tmp_path: Path) -> None:
    with OvnServer(tmp_path) as server:
        client = server.client
        here, there = (add_chassis(client, name) for name in ("hv1", "hv2"))
        datapath = add_datapath(client, 5)
        mine = add_port(client, "p1", 1, datapath, here)
        other = add_port(client, "p2", 2, datapath, there)
        observer = Southbounds(server.remote, chassis="hv1")
        async with observer.running():
            await observer.until(lambda it: bool(it.bindings))
            for number in range(100):
                client.transact(update("Port_Binding", other, up=bool(number % 2)))
            client.transact(update("Port_Binding", mine, up=True))
            await observer.until(lambda it: it.bindings[0].up is True)
            await asyncio.sleep(0)  # events come after the publication
    assert len(observer.known) == 2
    assert observer.events == {"port_binding_changed": 1}
