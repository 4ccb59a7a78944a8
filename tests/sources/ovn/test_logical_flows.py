"""Very many logical flows cost little memory, and nobody else any time."""

import asyncio
import gc
import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.model.ovn import cookie_of
from agent.sources import ovn_logical_flows
from tests.sources.ovn.servers import OvnServer, Southbounds, update, write_database

pytestmark = pytest.mark.usefixtures("open_vswitch", "prompt")

MANY = 100_000
MOST_BYTES_A_FLOW = 1500
LONGEST_GAP_SECONDS = 0.5
LONGEST_LOAD_SECONDS = 100


def uuids(count: int) -> list[str]:
    choose = random.Random(1)  # noqa: S311 (a test's)
    return [f"{choose.getrandbits(32):08x}-0000-4000-8000-{number:012x}" for number in range(count)]


def flows(count: int) -> dict[str, Any]:
    """Rows by UUID, in all tables of the pipelines, most in few of them."""
    choose = random.Random(2)  # noqa: S311 (a test's)
    return {
        uuid: {
            "pipeline": "ingress" if number % 3 else "egress",
            "table_id": min(30, int(choose.expovariate(0.5))),
            "priority": (0, 100, 2001, 2002)[number % 4],
            "match": "",
            "actions": "",
            "external_ids": [
                "map",
                [["stage-hint", f"{number // 3:08x}"], ["stage-name", f"stage-{number % 40}"]],
            ],
        }
        for number, uuid in enumerate(uuids(count))
    }


def resident_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) << 10


@contextmanager
def frozen() -> Iterator[None]:
    """Keep what is there out of collections of garbage, as the daemon does when it has started."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class Ticker:
    """Remembers for how long the loop did not come round.

    In CPU time of the process, so that nothing is said of what else the machine is busy with.
    """

    def __init__(self) -> None:
        self.longest_seconds = 0.0

    async def run(self) -> None:
        last = time.process_time()
        while True:
            await asyncio.sleep(0.005)
            now = time.process_time()
            self.longest_seconds = max(self.longest_seconds, now - last)
            last = now


async def test_a_hundred_thousand_leave_memory_and_time_to_others(tmp_path: Path) -> None:
    server = OvnServer(tmp_path)
    first = uuids(1)[0]
    write_database(server.file, server.schema, {"Logical_Flow": flows(MANY)})
    ticker = Ticker()
    with server, frozen():
        observer = Southbounds(server.remote)
        before, began = resident_bytes(), time.monotonic()
        ticking = asyncio.create_task(ticker.run())
        async with observer.running():
            known = await observer.until(
                lambda it: it.logical_flows is not None, LONGEST_LOAD_SECONDS
            )
            seconds, grown = time.monotonic() - began, resident_bytes() - before
            server.client.transact(update("Logical_Flow", first, priority=5))
            changed = await observer.until(
                lambda it: any(each.priority == 5 for each in it.logical_flows or ())
            )
            ticking.cancel()
            await asyncio.wait([ticking])
    assert known.logical_flows is not None
    assert len(known.logical_flows) == len(set(known.logical_flows)) == MANY
    assert {each.cookie for each in known.logical_flows} == set(map(cookie_of, uuids(MANY)))
    assert changed.logical_flows is not None
    assert sum(each.priority == 5 for each in changed.logical_flows) == 1
    gap = ticker.longest_seconds
    print(f"{seconds:.1f} s, {grown // MANY} bytes a flow, longest gap {1000 * gap:.0f} ms")  # noqa: T201
    assert grown < MOST_BYTES_A_FLOW * MANY
    assert gap < LONGEST_GAP_SECONDS


async def test_a_great_change_is_shown_as_a_whole(tmp_path: Path) -> None:
    """20,000 rows in one transaction, in a message that is taken in pieces."""
    server = OvnServer(tmp_path)
    with server:
        client = server.client
        observer = Southbounds(server.remote)
        async with observer.running():
            await observer.until(lambda it: it.logical_flows == ())
            rows = [client.insert("Logical_Flow", **row) for row in flows(20_000).values()]
            await asyncio.to_thread(client.transact, *rows)
            await observer.until(lambda it: bool(it.logical_flows))
            delete = {"op": "delete", "table": "Logical_Flow", "where": []}
            await asyncio.to_thread(client.transact, delete)
            await observer.until(lambda it: it.logical_flows == ())
    assert {len(it.logical_flows or ()) for it in observer.known} == {0, 20_000}


async def test_too_many_are_left_out_as_a_whole_and_not_asked_for_again(tmp_path: Path) -> None:
    server = OvnServer(tmp_path)
    rows = flows(100)
    write_database(
        server.file,
        server.schema,
        {"Logical_Flow": rows, "SB_Global": {uuids(1)[0]: {"nb_cfg": 1}}},
    )
    with server:
        observer = Southbounds(server.remote, limits={"logical_flows": 50})
        async with observer.running():
            known = await observer.until(lambda it: bool(it.left_out))
            assert known.logical_flows is None
            assert 50 < known.left_out["Logical_Flow"] <= 100
            server.client.transact(
                update("SB_Global", uuids(1)[0], nb_cfg=2),
                update("Logical_Flow", next(iter(rows)), priority=5),
            )
            known = await observer.until(lambda it: it.nb_cfg == 2)
            await asyncio.sleep(0.1)
    assert known.logical_flows is None
    assert "logical_flow_changed" not in observer.events


async def test_those_that_become_too_many_are_left_out(tmp_path: Path) -> None:
    server = OvnServer(tmp_path)
    write_database(server.file, server.schema, {"Logical_Flow": flows(50)})
    with server:
        observer = Southbounds(server.remote, limits={"logical_flows": 50})
        async with observer.running():
            await observer.until(lambda it: it.logical_flows is not None)
            server.client.transact(
                server.client.insert("Logical_Flow", pipeline="ingress", match="", actions="")
            )
            known = await observer.until(lambda it: bool(it.left_out))
    assert (known.logical_flows, known.left_out) == (None, {"Logical_Flow": 51})


async def test_every_other_table_has_a_limit_of_its_own(tmp_path: Path) -> None:
    server = OvnServer(tmp_path)
    with server:
        client = server.client
        client.transact(
            client.insert("SB_Global", nb_cfg=1),
            *(client.insert("Datapath_Binding", tunnel_key=key) for key in range(1, 12)),
        )
        observer = Southbounds(server.remote, limits={"ovn_rows": 10})
        async with observer.running():
            known = await observer.until(lambda _: True)
    assert (known.nb_cfg, known.datapaths) == (1, ())
    assert known.left_out == {"Datapath_Binding": 11}


async def test_a_generation_is_not_taken_from_the_wrong_table(tmp_path: Path) -> None:
    """Chassis has a column of that name, which nobody writes any more."""
    server = OvnServer(tmp_path)
    with server:
        client = server.client
        encap = client.insert("Encap", type="geneve", ip="x", chassis_name="hv1")
        client.transact(
            encap | {"uuid-name": "e"},
            client.insert("Chassis", name="hv1", encaps=["named-uuid", "e"]),
            *(client.insert("Chassis_Private", name=f"hv{number}") for number in range(3)),
        )
        observer = Southbounds(server.remote, limits={"ovn_rows": 2})
        async with observer.running():
            known = await observer.until(lambda _: True)
    assert known.left_out == {"Chassis_Private": 3}
    assert known.chassis[0].nb_cfg is None


class Answers:
    """A database that answers for so many rows of each table of the pipeline."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes
        self.pieces: list[int] = []
        self.now = 0.0
        self.flows = ovn_logical_flows.LogicalFlows(1 << 30)
        self.flows.last_table = len(sizes) - 1
        self._before = 0

    def change(self, where: list[Any]) -> None:
        last = len(self.sizes) - 1 if where == [True] else where[0][2]
        rows = sum(self.sizes[: last + 1]) - self._before
        self._before += rows
        self.pieces.append(rows)
        self.now += 1.0
        self.flows.flows |= {str(self._before - number): None for number in range(rows)}  # type: ignore[misc]

    def load(self) -> float:
        loading = ovn_logical_flows.Loading(self.flows, self.change, lambda: self.now)
        while loading.due is not None:
            self.now = max(self.now, loading.due)
            loading.run()
        return self.now


@pytest.mark.parametrize(
    ("sizes", "pieces"),
    [
        ([0] * 35, [0] * 6),
        ([100] * 35, [100, 200, 400, 800, 1600, 400]),
        ([15_000] * 8, [15_000] * 8),
        ([40_000] * 11 + [20_000, 9_000, 9_000], [40_000] * 11 + [29_000, 9_000]),
        ([1000, 30_000, 30_000, 30_000, 0, 0], [1000, 60_000, 30_000, 0, 0]),
    ],
)
def test_asks_in_pieces_that_fit(sizes: list[int], pieces: list[int]) -> None:
    """However small a step, a table of the pipeline is one piece."""
    database = Answers(sizes)
    seconds = database.load()
    assert database.pieces == pieces
    assert database.flows.whole
    assert seconds == 1.25 * len(pieces) - 0.25


def test_a_piece_is_a_question_that_every_release_understands() -> None:
    """A condition must not name a table that the schema does not allow."""
    asked: list[Any] = []
    flows = ovn_logical_flows.LogicalFlows(10)
    flows.last_table = 23
    loading = ovn_logical_flows.Loading(flows, asked.append, lambda: 0.0)
    while loading.due is not None:
        loading.run()
    assert json.dumps(asked[-1]) == "[true]"
    assert all(where[0][2] <= 23 for where in asked[:-1])
