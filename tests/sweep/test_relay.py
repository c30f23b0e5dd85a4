"""Actors whose outbox is not empty are woken, by who holds the lock and by nobody before."""

from datetime import UTC, datetime

import pytest

from loom_core.adapters.memory import MemoryLockManager, MemoryStateStore
from loom_core.errors import ConflictError
from loom_core.journals.turns import TurnStates
from loom_core.ports.locks import Lock
from loom_core.ports.state import Document, Put
from loom_core.relay import PAGES, PARTITION, Relay
from loom_core.sweep import sweep

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


class Counted:
    """The feed of a store, and how often it was asked."""

    def __init__(self, store, meanwhile=None):
        self.store, self.meanwhile, self.asked = store, meanwhile, 0

    async def changes(self, prefix, cursor, limit):
        self.asked += 1
        assert self.asked <= PAGES, "it looks without end"
        if self.meanwhile:
            await self.meanwhile(self.asked)
        return await self.store.changes(prefix, cursor, limit)


async def test_a_look_ends_although_what_it_writes_itself_is_in_the_feed_too():
    store, hub = MemoryStateStore(), Hub()
    feed = Counted(store)
    for token in (1, 2, 3):
        await Relay(feed, store).look(hub, lock(token))
        await store.write("actors/A/1", [Put(SENT.id, {"n": token})])

    assert hub.woken == ["A/1", "A/1"]
    assert feed.asked < 10


async def test_a_look_ends_while_others_write_on_and_the_next_one_goes_on_from_there():
    store, hub = MemoryStateStore(), Hub()

    async def somebody_writes(asked):
        await store.write("actors/A/1", [Put(SENT.id, {"n": asked})])

    await Relay(Counted(store, somebody_writes), store).look(hub, lock(1))
    await store.write("actors/A/2", [Put(SENT.id, {})])
    await Relay(Counted(store), store).look(hub, lock(2))

    assert hub.woken == ["A/1", "A/2"]


async def test_a_cursor_of_another_store_is_given_up_for_a_new_one(caplog):
    store, hub = MemoryStateStore(), Hub()
    await store.write(PARTITION, [Put("cursor", {"cursor": "of a container that was restored"})])

    await Relay(store, store).look(hub, lock(1))
    await store.write("actors/A/1", [Put(SENT.id, {})])
    await Relay(store, store).look(hub, lock(2))

    assert hub.woken == ["A/1"]
    assert "from now on" in caplog.text


async def test_the_sweep_looks_at_outboxes_when_the_store_has_a_feed():
    store, hub = MemoryStateStore(), Quiet()
    relay = Relay(Feed([("actors/A/1", SENT)]), store)

    await sweep(hub, MemoryLockManager(), TurnStates(None), datetime(2026, 11, 21, tzinfo=UTC), relay)

    assert hub.woken == ["A/1"]
    assert (await store.read(PARTITION, "token")).body == {"token": 1}


class Quiet(Hub):
    async def page(self, prefix, statuses, limit, after):
        return [], None

    async def ended(self, prefix, before, limit):
        return []
