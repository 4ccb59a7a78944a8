"""Kernel datapaths are read past ovs-vswitchd, and a kernel without them is no fault."""

import errno
import io
import logging
import os
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config import load
from agent.errors import ParseError, Reason
from agent.health import SourceHealth
from agent.model.kernel_datapath import ZoneLimit
from agent.sources.ovs_genl import OvsGenlSource
from agent.sources.ovs_genl_kernel import LIST_SECONDS, GenericSocket, Kernel
from agent.sources.ovs_genl_messages import read_datapaths, read_zone_limits
from agent.sources.rooms import Held
from agent.store import Store
from agent.wire.netlink.allowed import GENL_CTRL
from agent.wire.netlink.attributes import attribute
from agent.wire.netlink.families import list_families, read_families
from agent.wire.netlink.header import Flag, Message, messages
from agent.wire.unixctl.dpctl import parse_dpctl_show
from tests.clock import Clock
from tests.logs import Logged
from tests.sources.netlink.openvswitch import FIXTURES, INDEX, OpenVSwitch
from tests.wire.netlink.recorded import FIXTURES as WIRE_FIXTURES

NAME, STATS, MEGAFLOW_STATS, CACHE_SIZE = 1, 3, 4, 7
UNKNOWN = 2**64 - 1


def datapath(*attributes: bytes, index: int = INDEX) -> bytes:
    return struct.pack("=BBHi", 1, 2, 0, index) + b"".join(attributes)


def named(name: str, *attributes: bytes, index: int = INDEX) -> bytes:
    return datapath(attribute(NAME, name.encode() + b"\0"), *attributes, index=index)


def as_messages(*payloads: bytes) -> list[Message]:
    return [Message(32, Flag.MULTI, 1, payload) for payload in payloads]


def limits(*rows: tuple[int, int, int]) -> bytes:
    return datapath(attribute(1, b"".join(struct.pack("=iII", *row) for row in rows)))


class Agent:
    """A source whose kernel is the test's."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.node = OpenVSwitch()
        self.store = Store(clock=self.clock)
        self.health = SourceHealth("ovs_genl")
        self.source = OvsGenlSource(load(None, {}, {}), self.store, self.health)
        self.kernel = self.node.kernel(self.clock)
        self.source._kernel = cast(Any, Held(self.kernel))

    async def names(self) -> list[str] | None:
        """Read and return the names of the datapaths, ``None`` when they are not known."""
        await self.source.read()
        known = self.store.kernel_datapaths.whole(self.clock()).value
        return None if known is None else [each.datapath.name for each in known]

    def failures(self) -> dict[Reason, int]:
        return {reason: n for reason, n in self.health.facts().failures.items() if n}


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    made = Agent()
    yield made
    made.source.close()


def test_reads_what_ovs_dpctl_shows() -> None:
    (found,) = OpenVSwitch().kernel().read() or ()
    (expected,) = parse_dpctl_show((WIRE_FIXTURES / "vports-6.1.txt").read_text())
    assert found.datapath == expected
    assert min(expected.hits or 0, expected.missed or 0, expected.flows or 0) > 0
    assert min(expected.masks or 0, expected.masks_hit or 0, expected.mask_cache_hits or 0) > 0
    assert len(found.vports) == expected.ports == 8
    numbers = [each.stats.number for each in found.vports]
    assert numbers == sorted(numbers)


def test_reads_the_limits_that_ct_get_limits_shows() -> None:
    (found,) = OpenVSwitch().kernel().read() or ()
    lines = (FIXTURES / "zone-limits-6.1.txt").read_text().splitlines()
    rows = [[int(part.split("=")[1]) for part in line.split(",")] for line in lines[1:]]
    assert lines[0] == "default limit=0"
    assert found.zone_limits == tuple(ZoneLimit(*row) for row in rows if row[1])
    assert [(each.zone, each.entries) for each in found.zone_limits or ()] == [(5, 7), (6, 0)]


def test_finds_its_families_in_the_list_of_a_real_kernel() -> None:
    listed = list(messages((FIXTURES / "families-6.1.bin").read_bytes()))
    assert len(listed) > 10
    found = read_families(each for each in listed if each.type == GENL_CTRL)
    assert found == {"ovs_datapath": 32, "ovs_vport": 33, "ovs_ct_limit": 37}


def test_never_asks_for_a_family_by_its_name() -> None:
    node = OpenVSwitch()
    node.kernel().read()
    asked = [each for each in node.asked if each.type == GENL_CTRL]
    assert [(each.flags, each.payload) for each in asked] == [
        (Flag.REQUEST | Flag.DUMP, b"\3\1\0\0")
    ]


def test_this_machines_kernel_answers() -> None:
    found: dict[str, int] = {}
    generic = GenericSocket(5.0)
    try:
        listed = generic.dump(GENL_CTRL, list_families())
        found = read_families(listed)
    finally:
        generic.close()
    assert len(listed) > 3
    kernel = Kernel(5.0)
    try:
        assert (kernel.read() is None) == ("ovs_datapath" not in found)
    finally:
        kernel.close()


def test_leaves_no_descriptor_open() -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - it opens one itself, both times
    kernel = Kernel(5.0)
    for _ in range(3):
        kernel.read()
        kernel.close()
    kernel.close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - the same


def test_looks_for_the_families_only_now_and_then_while_they_are_not_there() -> None:
    node, clock = OpenVSwitch(), Clock()
    node.unload()
    kernel = node.kernel(clock)
    for _ in range(50):
        assert kernel.read() is None
        clock.sleep(LIST_SECONDS / 20)
    assert node.lists() == 3
    node.load(40)
    clock.sleep(LIST_SECONDS)
    assert kernel.read()


def test_lists_the_families_once_while_they_stay() -> None:
    node, clock = OpenVSwitch(), Clock()
    kernel = node.kernel(clock)
    for _ in range(20):
        assert kernel.read()
        clock.sleep(LIST_SECONDS)
    assert (node.lists(), node.opened) == (1, 1)


def test_finds_the_families_again_when_the_module_was_loaded_anew() -> None:
    node = OpenVSwitch()
    kernel = node.kernel()
    before = kernel.read()
    node.load(44)
    assert kernel.read() == before
    node.unload()
    assert kernel.read() is None


def test_a_module_without_a_datapath_is_a_reading_of_none() -> None:
    node = OpenVSwitch()
    node.datapaths = []
    assert node.kernel().read() == ()
    assert [each.type for each in node.asked] == [GENL_CTRL, node.numbers["ovs_datapath"]]


def test_a_datapath_that_goes_while_it_is_read_is_left_out() -> None:
    node = OpenVSwitch()
    node.datapaths = [named("dp2", index=9), *node.datapaths]
    (found,) = node.kernel().read() or ()
    assert found.datapath.name == "system@ovs-system"


def test_datapaths_have_their_own_ports_and_stand_by_name() -> None:
    node = OpenVSwitch()
    node.datapaths = [named("z", index=9), *node.datapaths, named("a", index=8)]
    node.vports.update({8: [], 9: node.vports[INDEX][:3]})
    found = node.kernel().read() or ()
    assert [(each.datapath.name, each.datapath.ports) for each in found] == [
        ("system@a", 0),
        ("system@ovs-system", 8),
        ("system@z", 3),
    ]


def test_a_kernel_without_limits_of_zones_has_none() -> None:
    node = OpenVSwitch()
    del node.numbers["ovs_ct_limit"]
    (found,) = node.kernel().read() or ()
    assert found.zone_limits is None


def test_default_and_unlimited_zones_have_no_limit() -> None:
    found = read_zone_limits(as_messages(limits((-1, 50, 0), (9, 5, 1), (3, 0, 0), (0, 7, 7))))
    assert found == (ZoneLimit(0, 7, 7), ZoneLimit(9, 5, 1))
    assert read_zone_limits(as_messages(datapath())) == ()


def test_an_older_kernel_has_no_mask_cache() -> None:
    stats = attribute(STATS, struct.pack("=4Q", 1, 2, 3, 4))
    megaflows = attribute(MEGAFLOW_STATS, struct.pack("=QIIQQ", 5, 6, 0, 0, 0))
    (found,) = read_datapaths(as_messages(named("dp0", stats, megaflows))).values()
    assert (found.hits, found.missed, found.lost, found.flows) == (1, 2, 3, 4)
    assert (found.masks_hit, found.masks) == (5, 6)
    assert (found.mask_cache_hits, found.mask_cache_size_entries) == (None, None)


def test_what_the_kernel_does_not_say_is_not_known() -> None:
    stats = attribute(STATS, struct.pack("=4Q", 1, UNKNOWN, 3, 4))
    (some,) = read_datapaths(as_messages(named("dp0", stats))).values()
    assert (some.hits, some.missed, some.masks, some.masks_hit) == (1, None, None, None)


@pytest.mark.parametrize(
    "broken",
    [
        lambda: read_datapaths(as_messages(datapath())),
        lambda: read_datapaths(as_messages(b"\1\2\0\0")),
        # What comes after a short attribute must not be read as if it belonged to it.
        lambda: read_datapaths(
            as_messages(named("d", attribute(STATS, bytes(24)), attribute(CACHE_SIZE, bytes(4))))
        ),
        lambda: read_datapaths(as_messages(named("d", attribute(CACHE_SIZE, b"\1")))),
        lambda: read_zone_limits(as_messages(datapath(attribute(1, bytes(13))))),
        lambda: read_families(as_messages(b"\1\2\0\0" + attribute(2, b"ovs_vport\0"))),
        lambda: read_families(as_messages(b"\1\2\0\0" + attribute(1, b"\1\0"))),
    ],
)
def test_refuses_what_is_too_short_or_has_no_identity(broken: Callable[[], object]) -> None:
    with pytest.raises(ParseError):
        broken()


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (read_families, "families"),
        (read_datapaths, "datapaths"),
        (read_zone_limits, "zone-limits"),
    ],
)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_changed_messages_are_read_or_refused_and_nothing_is_logged(
    read: Callable[[Iterable[Message]], object], name: str, data: st.DataObject
) -> None:
    recorded = [m.payload for m in messages((FIXTURES / f"{name}-6.1.bin").read_bytes())]
    payload = bytearray(data.draw(st.sampled_from(recorded)))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, max(0, len(payload) - 1)))
        payload[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    logging.getLogger("pyroute2").addHandler(handler)
    try:
        with suppress(ParseError):
            read(as_messages(bytes(payload)))
    finally:
        logging.getLogger("pyroute2").removeHandler(handler)
    assert lines.getvalue() == ""


async def test_a_kernel_that_never_had_a_datapath_is_no_failure(
    agent: Agent, logged: Logged
) -> None:
    agent.node.unload()
    for _ in range(3):
        assert await agent.names() is None
        agent.clock.sleep(LIST_SECONDS)
    assert (agent.health.configured, agent.health.up, agent.failures()) == (False, False, {})
    assert logged() == []


async def test_is_expected_from_the_first_datapath_on(agent: Agent) -> None:
    datapaths, agent.node.datapaths = agent.node.datapaths, []
    assert await agent.names() == []
    assert not agent.health.configured
    agent.node.datapaths = datapaths
    assert await agent.names() == ["system@ovs-system"]
    assert (agent.health.configured, agent.health.up) == (True, True)


async def test_a_module_that_goes_is_absent_and_what_it_said_is_withdrawn(agent: Agent) -> None:
    assert await agent.names() == ["system@ovs-system"]
    agent.node.unload()
    assert await agent.names() is None
    assert (agent.health.configured, agent.health.up) == (True, False)
    assert agent.failures() == {Reason.ABSENT: 1}
    agent.node.load(50)
    agent.clock.sleep(LIST_SECONDS)
    assert await agent.names() == ["system@ovs-system"]
    assert agent.health.up


async def test_a_datapath_that_is_deleted_is_gone_and_the_source_is_good(agent: Agent) -> None:
    await agent.names()
    agent.node.datapaths = []
    assert await agent.names() == []
    assert (agent.health.up, agent.failures()) == (True, {})


def _garble(node: OpenVSwitch) -> None:
    node.datapaths = [named("dp0", attribute(STATS, bytes(8)))]


def _garble_ports(node: OpenVSwitch) -> None:
    node.vports[INDEX] = [node.vports[INDEX][0][:-3]]


def _silence(node: OpenVSwitch) -> None:
    node.silent = True


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (_garble, Reason.MALFORMED),
        (_garble_ports, Reason.MALFORMED),
        (_silence, Reason.TIMEOUT),
    ],
)
async def test_says_what_is_wrong_withdraws_what_was_said_and_comes_back(
    agent: Agent, fault: Callable[[OpenVSwitch], None], reason: Reason
) -> None:
    whole = agent.node
    await agent.names()
    broken = OpenVSwitch()
    fault(broken)
    agent.node.datapaths, agent.node.vports = broken.datapaths, broken.vports
    agent.node.silent = broken.silent
    assert await agent.names() is None
    assert agent.failures() == {reason: 1}
    fresh = OpenVSwitch()
    whole.datapaths, whole.vports, whole.silent = fresh.datapaths, fresh.vports, False
    assert await agent.names() == ["system@ovs-system"]  # at once, by another socket
    assert (agent.health.up, whole.opened) == (True, 2)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EAFNOSUPPORT, Reason.ABSENT),
        (errno.EPERM, Reason.DENIED),
        (errno.EMFILE, Reason.BROKEN),
    ],
)
async def test_says_why_there_is_no_socket(agent: Agent, number: int, reason: Reason) -> None:
    def refuse(_timeout: float) -> GenericSocket:
        raise OSError(number, os.strerror(number))

    agent.kernel._connect = refuse
    assert await agent.names() is None
    assert agent.failures() == {reason: 1}


async def test_a_closed_source_asks_nobody(agent: Agent) -> None:
    await agent.names()
    asked = len(agent.node.asked)
    agent.source.close()
    assert await agent.names() is None
    assert len(agent.node.asked) == asked


def test_a_kernel_without_open_vswitch_costs_no_library() -> None:
    """What decodes datapaths takes 0.14 s and 22 MB: nodes of Linux bridges do not pay for it."""
    script = (
        "import sys\n"
        "from tests.sources.netlink.openvswitch import OpenVSwitch\n"
        "node = OpenVSwitch()\n"
        "node.unload()\n"
        "assert node.kernel().read() is None and node.lists() == 1\n"
        "assert 'pyroute2' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[3], check=True)
