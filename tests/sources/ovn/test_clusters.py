"""Clusters: any member will do that is connected to the others, and no other."""

import asyncio
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from agent.errors import Reason, SourceError
from agent.sources import ovn_databases
from tests.sources.ovn.servers import OvnServer, Southbounds, update

pytestmark = pytest.mark.usefixtures("open_vswitch", "prompt")


class Member(OvnServer):
    """A member of a cluster."""

    def __init__(self, directory: Path, first: "Member | None" = None) -> None:
        super().__init__(directory)
        self.raft = f"unix:{directory / 'raft'}"
        self._first = first

    def create(self) -> None:
        if self._first is None:
            command = ["create-cluster", self.file, self.schema_path, self.raft]
        else:
            command = ["join-cluster", self.file, self.database, self.raft, self._first.raft]
        subprocess.run(["ovsdb-tool", *command], check=True)

    def wait(self) -> None:
        """Wait until it has joined."""
        command = ["ovsdb-client", "wait", self.remote, self.database, "connected"]
        subprocess.run(["timeout", "20", *command], check=True)


@contextmanager
def cluster(directory: Path, size: int) -> Iterator[list[Member]]:
    with ExitStack() as stack:
        members: list[Member] = []
        for number in range(size):
            member = Member(directory / str(number), members[0] if members else None)
            members.append(stack.enter_context(member))
            member.wait()
        yield members


async def test_follows_a_cluster_of_one(tmp_path: Path) -> None:
    with cluster(tmp_path, 1) as (member,):
        (row,) = member.client.transact(member.client.insert("SB_Global", nb_cfg=1))
        observer = Southbounds(member.remote)
        async with observer.running():
            await observer.until(lambda it: it.nb_cfg == 1)
            member.client.transact(update("SB_Global", row, nb_cfg=2))
            await observer.until(lambda it: it.nb_cfg == 2)


async def test_leaves_a_member_that_lost_its_cluster_for_another_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster(tmp_path, 3) as members:
        members[0].client.transact(members[0].client.insert("SB_Global", nb_cfg=1))
        followed = Southbounds(members[1].remote)
        async with followed.running() as task:
            await followed.until(lambda it: it.nb_cfg == 1)
            # Paused, they are there for whoever connects and say nothing to each other.
            members[0].signal(signal.SIGSTOP)
            members[2].signal(signal.SIGSTOP)
            async with asyncio.timeout(20):
                await asyncio.wait([task])
            error = task.exception()
        assert isinstance(error, SourceError)
        assert error.reason is Reason.REFUSED
        assert error.detail == (
            f"{members[1].remote}: OVN_Southbound is not connected to its cluster"
        )
        with OvnServer(tmp_path / "other") as other:
            monkeypatch.setattr("random.randrange", lambda _: 0)
            observer = Southbounds(f"{members[1].remote},{other.remote}")
            async with observer.running():
                assert (await observer.until(lambda _: True)).nb_cfg is None
        for member in members:
            member.signal(signal.SIGCONT)


async def test_tries_members_one_after_the_other_and_remembers_which_one_worked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.randrange", lambda _: 0)
    with OvnServer(tmp_path / "b") as good:
        absent, refused = f"unix:{tmp_path}/a", f"unix:{tmp_path}/c"
        observer = Southbounds(f"{absent},{good.remote},{refused}")
        async with observer.running():
            await observer.until(lambda _: True)
            good.stop()
        good.start()
        async with observer.running():
            await observer.until(lambda _: True)
        good.stop()
        with pytest.raises(SourceError) as caught:
            await observer.source.run()
    assert caught.value.reason in (Reason.ABSENT, Reason.REFUSED)
    assert all(remote in caught.value.detail for remote in (absent, good.remote, refused))


async def test_a_paused_server_is_given_up_and_followed_again_when_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ovn_databases, "PATIENCE_SECONDS", (0.3, 1.0))
    with OvnServer(tmp_path) as server:
        (row,) = server.client.transact(server.client.insert("SB_Global", nb_cfg=1))
        observer = Southbounds(server.remote)
        async with observer.running() as task:
            await observer.until(lambda it: it.nb_cfg == 1)
            server.signal(signal.SIGSTOP)
            async with asyncio.timeout(20):
                await asyncio.wait([task])
            error = task.exception()
        assert isinstance(error, SourceError)
        assert error.reason is Reason.TIMEOUT
        async with observer.running():
            await asyncio.sleep(0.2)
            server.signal(signal.SIGCONT)
            await observer.until(lambda it: it.nb_cfg == 1)
            server.client.transact(update("SB_Global", row, nb_cfg=2))
            await observer.until(lambda it: it.nb_cfg == 2)


async def test_a_server_that_starts_again_is_followed_again(tmp_path: Path) -> None:
    with OvnServer(tmp_path) as server:
        (row,) = server.client.transact(server.client.insert("SB_Global", nb_cfg=1))
        observer = Southbounds(server.remote)
        async with observer.running() as task:
            await observer.until(lambda it: it.nb_cfg == 1)
            server.stop()
            async with asyncio.timeout(20):
                await asyncio.wait([task])
            error = task.exception()
        assert isinstance(error, SourceError)
        assert error.reason is Reason.BROKEN
        server.start()
        server.client.transact(update("SB_Global", row, nb_cfg=2))
        async with observer.running():
            await observer.until(lambda it: it.nb_cfg == 2)


async def test_another_schema_ends_the_connection(tmp_path: Path) -> None:
    with OvnServer(tmp_path, release="23.03") as server:
        server.client.transact(server.client.insert("SB_Global", nb_cfg=1))
        observer = Southbounds(server.remote)
        newer = OvnServer(tmp_path / "newer")
        async with observer.running() as task:
            await observer.until(lambda it: it.logical_flows is not None)
            convert = ["ovsdb-client", "convert", server.remote, newer.schema_path]
            await asyncio.to_thread(subprocess.run, convert, check=True)
            async with asyncio.timeout(20):
                await asyncio.wait([task])
            assert isinstance(task.exception(), SourceError)
        async with observer.running():
            known = await observer.until(lambda it: it.nb_cfg == 1)
    assert known.schema == newer.schema["version"]
