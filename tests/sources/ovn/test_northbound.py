"""What a Northbound says becomes the model, in every release."""

import asyncio
from pathlib import Path

import pytest

from agent.model.ovn import Acl, Northbound
from tests.sources.ovn.servers import (
    RELEASES,
    Northbounds,
    OvnServer,
    mutate,
    named,
    references,
    texts,
    update,
)

pytestmark = pytest.mark.usefixtures("open_vswitch", "prompt")

RULE = "0dd2b8c5-4a8f-4b8a-8f0a-2f3c1c2f7f0e"


@pytest.mark.parametrize("release", RELEASES)
async def test_knows_acls_and_generations_and_follows_them(tmp_path: Path, release: str) -> None:
    with OvnServer(tmp_path, "OVN_Northbound", release) as server:
        client = server.client
        tiered = client.has("ACL", "tier")
        top, one, two, switch = client.transact(
            client.insert("NB_Global", nb_cfg=5, sb_cfg=4, hv_cfg=3),
            client.insert(
                "ACL",
                direction="to-lport",
                action="allow-related",
                priority=1002,
                match="outport == @pg",
                external_ids=texts(**{"neutron:security_group_rule_id": RULE, "x": "y"}),
            )
            | {"uuid-name": "a"},
            client.insert(
                "ACL",
                direction="from-lport",
                action="drop",
                priority=1001,
                match="ip",
                name="deny",
                tier=2,
            )
            | {"uuid-name": "b"},
            client.insert("Logical_Switch", name="s", acls=["set", [named("a"), named("b")]]),
        )
        observer = Northbounds(server.remote)
        async with observer.running():
            known = await observer.until(lambda _: True)
            first = Acl(one, "to-lport", "allow-related", 1002, security_group_rule_id=RULE)
            second = Acl(two, "from-lport", "drop", 1001, "deny", tier=2 if tiered else 0)
            assert known == Northbound(
                server.schema["version"], 5, 4, 3, tuple(sorted((first, second), key=acl_uuid))
            )
            client.transact(
                update("NB_Global", top, hv_cfg=5),
                update("ACL", one, name="named", action="reject"),
                mutate("ACL", one, ["external_ids", "delete", ["set", ["x"]]]),
                mutate("Logical_Switch", switch, ["acls", "delete", references(two)]),
            )
            known = await observer.until(lambda it: it.hv_cfg == 5)
            await asyncio.sleep(0)  # events come after the publication
    assert known.acls == (
        Acl(one, "to-lport", "reject", 1002, "named", security_group_rule_id=RULE),
    )
    assert observer.events == {"nb_global_changed": 1, "acl_changed": 1, "acl_removed": 1}


def acl_uuid(acl: Acl) -> str:
    return acl.uuid


async def test_an_empty_database_is_a_northbound_without_anything(tmp_path: Path) -> None:
    with OvnServer(tmp_path, "OVN_Northbound") as server:
        observer = Northbounds(server.remote)
        async with observer.running():
            known = await observer.until(lambda _: True)
    assert known == Northbound(schema=server.schema["version"])


async def test_leaves_out_acls_when_there_are_too_many(tmp_path: Path) -> None:
    with OvnServer(tmp_path, "OVN_Northbound") as server:
        client = server.client
        acls = [
            client.insert("ACL", direction="to-lport", action="drop", priority=1, match=str(number))
            | {"uuid-name": f"a{number}"}
            for number in range(30)
        ]
        names = [named(f"a{number}") for number in range(30)]
        client.transact(
            client.insert("NB_Global", nb_cfg=5),
            *acls,
            client.insert("Logical_Switch", name="s", acls=["set", names]),
        )
        observer = Northbounds(server.remote, limits={"ovn_rows": 20})
        async with observer.running():
            known = await observer.until(lambda _: True)
    assert known.nb_cfg == 5
    assert known.acls == ()
    assert known.left_out == {"ACL": 30}
