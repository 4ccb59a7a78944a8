"""A thread enters namespaces and comes back, and a directory is watched wherever it is."""

import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import Reason, SourceError
from agent.sources.netns import (
    Entrance,
    GoneError,
    Identity,
    LostError,
    home_identity,
    identity_of,
    look,
    opened,
)
from agent.sources.watched_directory import WatchedDirectory
from tests.sources.netlink.named import NamedNamespacesOfATest, in_thread
from tests.sources.netlink.rooms_of import _give_up, inside

CAP_SYS_ADMIN = 21
HERE = Path("/proc/thread-self/ns/net")


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[WatchedDirectory]:
    directory = WatchedDirectory(tmp_path / "above" / "names")
    yield directory
    directory.close()


def where() -> Identity:
    return identity_of(HERE.stat())


def said(watched: WatchedDirectory) -> set[bytes] | None:
    """Wait for the kernel's word and return it."""
    assert select.select([watched], [], [], 5)[0]
    return watched.read()


def test_enters_a_namespace_and_comes_back(netns: NamedNamespacesOfATest) -> None:
    path = netns.add("a")

    def work() -> None:
        home = where()
        entrance = Entrance()
        with opened(path) as descriptor:
            identity = identity_of(os.fstat(descriptor))
            with entrance.inside(descriptor, "a"):
                assert where() == identity
                assert {name for _, name in socket.if_nameindex()} == {"lo"}
            assert where() == home
            with pytest.raises(ZeroDivisionError), entrance.inside(descriptor, "a"):
                _ = 1 / 0
            assert where() == home
        entrance.close()

    in_thread(work)
    assert where() == home_identity()


def test_tells_namespaces_from_other_files_without_opening_them(
    netns: NamedNamespacesOfATest,
) -> None:
    device, inode = home_identity()
    path = netns.add("a")
    found = look(path, device)
    assert found is not None
    assert found != (device, inode)
    netns.file("plain").touch()
    os.mkfifo(netns.file("fifo"))
    netns.file("directory").mkdir()
    netns.file("dangling").symlink_to("/nowhere")
    assert look(netns.file("plain"), device) is None
    assert look(netns.file("fifo"), device) is None
    for name in ("directory", "dangling", "missing"):
        with pytest.raises(FileNotFoundError):
            look(netns.file(name), device)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", ["plain", "fifo", "missing"])
def test_what_is_no_namespace_is_gone_and_a_fifo_keeps_nobody_waiting(
    netns: NamedNamespacesOfATest, kind: str
) -> None:
    path = netns.file(kind)
    if kind == "plain":
        path.touch()
    elif kind == "fifo":
        os.mkfifo(path)
    with pytest.raises(GoneError), opened(path):
        pass
    assert path.exists() == (kind != "missing")  # and nothing was made


def test_a_namespace_of_another_type_is_refused_by_name() -> None:
    with pytest.raises(SourceError) as caught, opened(Path("/proc/self/ns/uts")):
        pass
    assert caught.value.reason is Reason.ABSENT
    assert caught.value.detail == "uts is a namespace, but not of the network"


def test_says_which_right_entering_needs(netns: NamedNamespacesOfATest) -> None:
    path = netns.add("a")

    def work() -> None:
        entrance = Entrance()
        try:
            with (
                opened(path) as descriptor,
                pytest.raises(SourceError) as caught,
                entrance.inside(descriptor, "a"),
            ):
                pass
        finally:
            entrance.close()
        assert caught.value.reason is Reason.DENIED
        assert caught.value.detail == "entering a needs CAP_SYS_ADMIN"
        assert where() == home_identity()

    inside("", work, without=CAP_SYS_ADMIN)


def test_a_thread_that_cannot_come_back_is_lost(netns: NamedNamespacesOfATest) -> None:
    path = netns.add("a")

    def work() -> None:
        entrance = Entrance()
        try:
            with (
                opened(path) as descriptor,
                pytest.raises(LostError),
                entrance.inside(descriptor, "a"),
            ):
                _give_up(CAP_SYS_ADMIN)
        finally:
            entrance.close()

    in_thread(work)
    assert where() == home_identity()


def test_names_come_and_go_in_a_watched_directory(tmp_path: Path) -> None:
    watched = WatchedDirectory(tmp_path)
    assert watched.watch()
    assert watched.read() == set()
    (tmp_path / "a").touch()
    (tmp_path / os.fsdecode(b"b\xff")).touch()
    assert said(watched) == {b"a", b"b\xff"}
    (tmp_path / "a").rename(tmp_path / "c")
    (tmp_path / "c").unlink()
    assert said(watched) == {b"a", b"c"}
    watched.close()


def test_a_directory_is_awaited_from_the_nearest_one_that_is_there(
    tmp_path: Path, watched: WatchedDirectory
) -> None:
    assert not watched.watch()
    (tmp_path / "unrelated").touch()
    assert said(watched) == set()
    (tmp_path / "above").mkdir()
    assert said(watched) is None
    assert not watched.watch()
    (tmp_path / "above" / "names").mkdir()
    assert said(watched) is None
    assert watched.watch()
    (tmp_path / "above" / "names" / "a").touch()
    assert said(watched) == {b"a"}


def test_a_directory_that_goes_is_awaited_again(tmp_path: Path, watched: WatchedDirectory) -> None:
    path = tmp_path / "above" / "names"
    path.mkdir(parents=True)
    assert watched.watch()
    path.rmdir()
    assert said(watched) is None
    assert not watched.watch()
    path.mkdir()
    assert said(watched) is None
    assert watched.watch()
    path.rename(path.with_name("moved"))
    assert said(watched) is None
    assert not watched.watch()


def test_too_many_names_at_once_are_listed_again(tmp_path: Path, watched: WatchedDirectory) -> None:
    path = tmp_path / "above" / "names"
    path.mkdir(parents=True)
    assert watched.watch()
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    name = path / "a"
    for _ in range(most // 2 + 1):  # equal events that follow each other are one
        name.touch()
        name.unlink()
    answers = []
    while select.select([watched], [], [], 0)[0]:
        answers.append(watched.read())
    assert None in answers


def test_a_file_in_the_place_of_the_directory_is_as_good_as_none(
    tmp_path: Path, watched: WatchedDirectory
) -> None:
    (tmp_path / "above").touch()
    assert not watched.watch()
    (tmp_path / "above").unlink()
    assert said(watched) is None


def test_leaves_no_descriptor_open(tmp_path: Path) -> None:
    held = Path("/proc/self/fd")
    before = len(list(held.iterdir()))
    for _ in range(10):
        watched = WatchedDirectory(tmp_path)
        watched.watch()
        watched.close()
        Entrance().close()
    assert len(list(held.iterdir())) == before
