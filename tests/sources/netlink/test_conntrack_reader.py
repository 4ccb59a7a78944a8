"""Connection tracking is what each namespace's files say, and zones what the table says."""

import asyncio
import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

import agent.sources.conntrack_files
from agent.errors import Reason
from agent.health import SourceHealth
from agent.model.namespace import ConntrackTable
from agent.sources.conntrack import ConntrackReader
from agent.sources.conntrack_files import ConntrackFiles
from agent.sources.conntrack_zones import ConntrackZones
from agent.sources.rooms import Held, Rooms
from agent.store import Store
from lab.process import run, wait_until
from tests.sources.netlink.following import descriptors
from tests.sources.netlink.rooms_of import CAP_NET_ADMIN, inside, namespace, open_room, rooms_of
from tests.wire.netlink.record_counters import track

CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
ONE, TWO = "counters-c1", "counters-c2"
NO_FILE = Path("/nonexistent")
HEAD = "entries  insert_failed drop early_drop search_restart\n"


class Reading:
    """A reader of these rooms, and what it brought."""

    made: ClassVar[list["Reading"]] = []

    def __init__(self, rooms: Rooms, modules: Path, *, from_figures: bool = False) -> None:
        self.store = Store()
        self.health = SourceHealth("conntrack", configured=False)
        self.appeared = 0
        self.reader = ConntrackReader(
            rooms,
            self.store,
            self.health,
            5.0,
            self._appear,
            from_figures=from_figures,
            modules=modules,
        )
        self.made.append(self)

    def _appear(self) -> None:
        self.appeared += 1

    async def __call__(self) -> tuple[ConntrackTable, ...] | None:
        await self.reader.read()
        return self.store.conntrack_tables.whole(0.0).value

    @property
    def problems(self) -> dict[str, Any]:
        found: dict[str, Any] = self.health.status()["problems"]
        return found


class Files:
    """Ordinary files that say what the test says, open as the kernel's would be."""

    def __init__(self, directory: Path) -> None:
        self._paths = [directory / name for name in ("count", "max", "stat")]
        self.say("7\n", "262144\n", HEAD)
        self.opened = ConntrackFiles(*(os.open(path, os.O_RDONLY) for path in self._paths))

    def say(self, *texts: str) -> None:
        for path, text in zip(self._paths, texts, strict=True):
            path.write_text(text)

    def statistics(self, *cpus: tuple[int, int, int, int]) -> None:
        lines = (f"00000007  {a:08x} {b:08x} {c:08x} {d:08x}\n" for a, b, c, d in cpus)
        self._paths[2].write_text(HEAD + "".join(lines))


@pytest.fixture(autouse=True)
def _threads_end() -> Iterator[None]:
    yield
    while Reading.made:
        Reading.made.pop().reader.close()


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """As /sys/module, where the kernel has none of them built in."""
    for name in ("nf_conntrack", "nf_conntrack_netlink"):
        (tmp_path / "module" / name).mkdir(parents=True)
    return tmp_path / "module"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def faked(files: Files) -> Iterator[Rooms]:
    """Rooms of one namespace with these files."""
    rooms = Rooms()
    room = open_room("", conntrack=Held(files.opened))
    rooms.put(room)
    yield rooms
    room.leave()


def opened(name: str, open_files: Callable[[], ConntrackFiles | None]) -> ConntrackFiles:
    found = inside(name, open_files)
    assert found is not None
    return found


async def test_each_namespace_has_its_own_entries(modules: Path) -> None:
    with namespace(ONE), namespace(TWO), rooms_of("", ONE, TWO) as rooms:
        reading = Reading(rooms, modules)
        inside(ONE, lambda: track((0,) * 7))
        limit = int(run("cat", "/proc/sys/net/netfilter/nf_conntrack_max"))
        _, one, two = await reading() or ()
        assert one == ConntrackTable(ONE, 7, limit, 0, 0, 0, 0)
        assert two == ConntrackTable(TWO, 0, limit, 0, 0, 0, 0)
        assert reading.health.configured
        assert reading.health.up
        inside(TWO, lambda: track((0, 9)))
        assert [it.entries for it in await reading() or ()][1:] == [7, 2]


async def test_statistics_are_ledgers_of_every_cpu(
    faked: Rooms, files: Files, modules: Path
) -> None:
    reading, once = Reading(faked, modules), Reading(faked, modules, from_figures=True)
    files.statistics((5, 0xFFFFFFFF, 0, 1), (6, 10, 0, 1))
    assert await reading() == (ConntrackTable("", 7, 262144, 0, 0, 0, 0),)
    assert await once() == (ConntrackTable("", 7, 262144, 11, 0xFFFFFFFF + 10, 0, 2),)
    files.statistics((6, 3, 1, 0), (6, 10, 2, 1))
    assert await reading() == (ConntrackTable("", 7, 262144, 1, 4, 3, 0),)


async def test_statistics_that_cannot_be_read_do_not_cost_the_entries(
    faked: Rooms, files: Files, modules: Path
) -> None:
    reading = Reading(faked, modules)
    files.statistics((5, 5, 5, 5))
    await reading()
    files.say("8\n", "262144\n", "garbage")
    assert await reading() == (ConntrackTable("", 8, 262144),)
    assert reading.problems["tables (host)"]["reason"] == Reason.MALFORMED
    assert not reading.health.up
    files.statistics((6, 6, 6, 6))
    assert await reading() == (ConntrackTable("", 8, 262144, 1, 1, 1, 1),)
    assert reading.problems == {}


async def test_entries_that_are_no_number_are_malformed(
    faked: Rooms, files: Files, modules: Path
) -> None:
    reading = Reading(faked, modules)
    assert await reading() is not None
    files.say("many\n", "262144\n", HEAD)
    assert await reading() is None
    assert reading.problems["tables (host)"]["reason"] == Reason.MALFORMED


async def test_files_that_may_not_be_opened_are_denied_and_cost_the_room_nothing_else(
    tmp_path: Path, modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "max"
    limit.touch(0)
    monkeypatch.setattr(agent.sources.conntrack_files, "LIMIT_FILE", limit)

    def without_search() -> ConntrackFiles | None:
        return inside("", ConntrackFiles.open, without=CAP_DAC_READ_SEARCH)

    held = descriptors()
    files = inside("", without_search, without=CAP_DAC_OVERRIDE)
    assert files is not None
    assert descriptors() == held
    rooms = Rooms()
    room = open_room("", conntrack=Held(files))
    rooms.put(room)
    reading = Reading(rooms, modules)
    assert await reading() is None
    problem = reading.problems["tables (host)"]
    assert problem["reason"] == Reason.DENIED
    assert problem["detail"] == f"(host): {limit}: Permission denied"
    assert reading.health.configured
    room.leave()


async def test_files_longer_than_a_page_are_read_to_the_end(
    faked: Rooms, files: Files, modules: Path
) -> None:
    reading = Reading(faked, modules, from_figures=True)
    files.statistics(*[(1, 2, 3, 4)] * 1000)
    assert await reading() == (ConntrackTable("", 7, 262144, 1000, 2000, 3000, 4000),)


async def test_a_kernel_without_connection_tracking_is_no_failure(tmp_path: Path) -> None:
    rooms = Rooms()
    room = open_room("", conntrack=None)
    rooms.put(room)
    reading = Reading(rooms, tmp_path)
    assert await reading() == ()
    assert not reading.health.configured
    assert reading.problems == {}
    assert reading.appeared == 0
    room.leave()


async def test_tells_once_when_connection_tracking_appears(tmp_path: Path, files: Files) -> None:
    rooms = Rooms()
    without = open_room("", conntrack=None)
    rooms.put(without)
    reading = Reading(rooms, tmp_path)
    await reading()
    (tmp_path / "nf_conntrack").mkdir()
    for _ in range(3):
        await reading()
    assert reading.appeared == 1
    room = open_room("", conntrack=Held(files.opened))
    rooms.put(room)
    without.leave()
    assert len(await reading() or ()) == 1
    assert reading.health.configured
    # unloaded, and loaded again: the files are of a module that is gone
    room.leave()
    gone = open_room("", conntrack=Held(GoneFiles()))
    rooms.put(gone)
    (tmp_path / "nf_conntrack").rmdir()
    assert await reading() == ()
    assert reading.problems == {}
    assert reading.appeared == 1
    (tmp_path / "nf_conntrack").mkdir()
    for _ in range(3):
        await reading()
    assert reading.appeared == 2
    gone.leave()


class GoneFiles(ConntrackFiles):
    """Files of /proc/sys after their module was unloaded."""

    def __init__(self) -> None:
        count, limit = (os.open("/dev/null", os.O_RDONLY) for _ in range(2))
        super().__init__(count, limit, None)

    def read(self) -> Any:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


async def test_without_a_namespace_nothing_is_known(faked: Rooms, modules: Path) -> None:
    reading = Reading(faked, modules)
    assert await reading() is not None
    (room,) = faked.all()
    faked.remove("")
    assert await reading() is None
    assert len(reading.reader._ledgers) == 0
    room.leave()


def test_files_say_nothing_of_a_namespace_that_is_gone() -> None:
    with namespace(ONE) as name:
        files = opened(name, lambda: ConntrackFiles.open(stat_file=NO_FILE, modules=NO_FILE))
        assert files.read().statistics is None
        run("ip", "netns", "delete", name)

        def is_gone() -> bool:
            try:
                files.read()
            except FileNotFoundError:
                return True
            return False

        wait_until(is_gone, what="end of the namespace")
    files.close()


def test_netlink_says_what_the_file_does_not(modules: Path) -> None:
    with namespace(ONE):
        by_file = opened(ONE, ConntrackFiles.open)
        by_netlink = opened(ONE, lambda: ConntrackFiles.open(NO_FILE, modules))
        inside(ONE, lambda: track((0, 0, 5)))
        first, second = by_file.read(), by_netlink.read()
        assert second.entries == first.entries == 3
        assert first.statistics is not None
        assert second.statistics is not None
        assert {name: list(it) for name, it in first.statistics.items()} == {
            name: list(it) for name, it in second.statistics.items()
        }
        by_file.close()
        by_netlink.close()


async def test_netlink_without_the_right_says_which_one(modules: Path) -> None:
    files = opened("", lambda: ConntrackFiles.open(NO_FILE, modules))
    reading = inside("", files.read, without=CAP_NET_ADMIN)
    assert reading.entries_limit > 0
    assert reading.statistics is None
    assert reading.problem is not None
    assert reading.problem.reason is Reason.DENIED
    assert "CAP_NET_ADMIN" in reading.problem.detail
    files.close()


def test_files_need_no_right() -> None:
    reading = inside("", opened("", ConntrackFiles.open).read, without=CAP_NET_ADMIN)
    assert reading.problem is None
    assert reading.statistics is not None


def test_closed_files_leave_no_descriptor() -> None:
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - of this process, as it is
    for _ in range(20):
        files = opened("", ConntrackFiles.open)
        files.close()
        files.close()
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208 - the same


def zones_of(
    name: str, modules: Path, without: int | None = None
) -> tuple[dict[int, int] | None, dict[str, Any]]:
    """Read zones in a process-wide namespace of this name, twice."""
    store, health = Store(), SourceHealth("conntrack")

    async def read() -> None:
        zones = ConntrackZones(store, health, 5.0, modules=modules)
        for _ in range(2):
            await zones.read()
        zones.close()

    inside(name, lambda: asyncio.run(read()), without)
    value = store.conntrack_zones.whole(0.0).value
    return None if value is None else dict(value), health.status()["problems"]


def test_counts_entries_by_zone(modules: Path) -> None:
    zones = [0] * 3 + [5] * 400 + [65535] * 2
    with namespace(ONE) as name:
        assert zones_of(name, modules) == ({}, {})
        inside(name, lambda: track(tuple(zones)))
        assert zones_of(name, modules) == (dict(Counter(zones)), {})


def test_zones_are_not_asked_for_without_the_module(tmp_path: Path) -> None:
    value, problems = zones_of("", tmp_path)
    assert value is None
    assert problems["zones"]["reason"] == Reason.ABSENT
    assert "nf_conntrack_netlink is not loaded" in problems["zones"]["detail"]


def test_zones_without_the_right_say_which_one(modules: Path) -> None:
    value, problems = zones_of("", modules, without=CAP_NET_ADMIN)
    assert value is None
    assert problems["zones"]["reason"] == Reason.DENIED
    assert "CAP_NET_ADMIN" in problems["zones"]["detail"]
