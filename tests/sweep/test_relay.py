"""Actors whose outbox is not empty are woken, by who holds the lock and by nobody before."""

import pytest

from loom_core.adapters.memory import MemoryStateStore
from loom_core.errors import ConflictError
from loom_core.ports.locks import Lock
from loom_core.ports.state import Document
from loom_core.relay import PARTITION, Relay

SENT = Document("o:00000000000000000007", {}, "e")


class Hub:
    def __init__(self):
        self.woken = []

    async def signal(self, entity, operation, given):
        assert (operation, given) == ("wake", {})
        self.woken.append(entity)


class Feed:
    """Pages of changes; a cursor is the number of the next."""

    def __init__(self, *pages):
        self.pages = pages

    async def changes(self, prefix, cursor, limit):
        at = 0 if cursor is None else int(cursor)
        page = self.pages[at] if at < len(self.pages) else []
        return [found for found in page if found[1].id.startswith(prefix)], str(min(at + 1, len(self.pages)))


def lock(token):
    return Lock("sweep", token, 60, 0)


async def test_each_actor_with_something_in_its_outbox_is_woken_once():
    feed = Feed(
        [("actors/A/1", SENT), ("actors/A/1", SENT)], [], [("actors/B/x/y", SENT), ("actors/A/1", SENT)]
    )
    hub = Hub()

    assert await Relay(feed, MemoryStateStore()).look(hub, lock(1)) == 2

    assert sorted(hub.woken) == ["A/1", "B/x/y"]


async def test_only_outboxes_of_actors_wake_anybody():
    others = [("actors/A/1", Document("j:1", {}, "e")), ("pipelines", SENT)]
    hub = Hub()

    assert await Relay(Feed(others), MemoryStateStore()).look(hub, lock(1)) == 0

    assert hub.woken == []


async def test_the_next_look_goes_on_where_the_last_one_ended():
    pages = [[("actors/A/1", SENT)]]
    store, hub = MemoryStateStore(), Hub()
    await Relay(Feed(*pages), store).look(hub, lock(1))
    pages += [[("actors/A/2", SENT)]]

    assert await Relay(Feed(*pages), store).look(hub, lock(2)) == 1

    assert hub.woken == ["A/1", "A/2"]


async def test_who_has_lost_the_lock_cannot_set_back_where_the_next_one_has_come_to():
    store = MemoryStateStore()
    await Relay(Feed([], [], [("actors/A/1", SENT)]), store).look(Hub(), lock(2))
    far = await store.read(PARTITION, "cursor")

    with pytest.raises(ConflictError, match="token"):
        await Relay(Feed([]), store).look(Hub(), lock(1))

    assert await store.read(PARTITION, "cursor") == far
