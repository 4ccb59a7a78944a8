"""The next namespace gets the inode of one that is gone, and nothing else of it."""

from agent.sources.rooms import Room
from tests.sources.netlink.following import Following
from tests.sources.netlink.named import NamedNamespacesOfATest


def room_of(following: Following, name: str) -> Room:
    (room,) = [each for each in following.rooms.all() if each.name == name]
    return room


async def test_a_namespace_with_the_inode_of_another_is_another(
    netns: NamedNamespacesOfATest,
) -> None:
    keys, identities = set(), set()
    async with Following(netns.path).running() as following:
        for number in range(50):
            name = f"n{number}"
            netns.add(name)
            await following.until_named(name)
            room = room_of(following, name)
            keys.add(room.key)
            identities.add(room.identity)
            netns.delete(name)
            await following.until_named()
    assert len(keys) == 50
    assert len(identities) < 50


async def test_a_namespace_that_is_opened_anew_is_the_same(netns: NamedNamespacesOfATest) -> None:
    netns.add("a")
    async with Following(netns.path).running() as following:
        before = room_of(following, "a")
        following.source.reopen()
        await following.until(lambda: room_of(following, "a") is not before)
        assert room_of(following, "a").key == before.key
